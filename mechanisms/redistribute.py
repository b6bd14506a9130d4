"""Redistribute: a share of everybody's reward is pooled and divided anew after each round."""

from __future__ import annotations

from dataclasses import dataclass

from ..envs.core import validate
from ..envs.core.arrays import Array, device_of, namespace, total
from ..envs.core.fields import Field, Real
from ..envs.core.game import Game
from ..envs.core.mechanism import Mechanism, Unfit, chosen
from .tax import Fiscal, each_of

BY = ("equal", "need")


@dataclass(frozen=True)
class Redistribute(Mechanism):
    """Sharing: each keeps (1 - share) of a round's reward, gain or loss, and the rest is pooled and divided.

    With share 1 divided equally all want what is best for all (Marschak and Radner 1972): in a symmetric prisoner's
    dilemma with 2R >= T + S and T + S >= 2P cooperation is dominant, and it is from share = 2 max(T - R, P - S) / (T - S)
    on. Rewards count as money: what one loses another can be given.

    Parameters
    ----------
    share
        Share of a round's reward that is pooled, from 0 (the game itself) to 1.
    by
        ``"equal"``: the pool is divided equally. ``"need"``: it raises those who hold least, after pooling, to a common
        level as far as it goes; a pool of losses is borne by those who hold most, brought down to a common level. What a
        player holds is all that she earned so far, after this sharing.
    roles
        Roles that share; empty for all.
    """

    share: float = 0.5
    by: str = "equal"
    roles: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.probability("share", self.share)
        validate.one_of("by", self.by, BY)
        object.__setattr__(self, "roles", validate.names("roles", self.roles))

    def apply(self, game: Game) -> Game:
        """Return the game with sharing after each round."""
        return game if self.share == 0 else Redistributed(game, self)


class Redistributed(Fiscal):
    """A game with sharing."""

    mechanism: Redistribute

    def __init__(self, base: Game, mechanism: Redistribute) -> None:
        roles = chosen(base, mechanism.roles)
        volume = ("moved", "reward moved between players by sharing in an episode", "sum_it |got_it - pooled_it| / 2")
        super().__init__(base, mechanism, "sharing", roles, (), volume)
        if self.n < 2:
            raise Unfit(f"roles: at least 2 players must share, got {', '.join(self.people)}")

    @property
    def terms(self) -> str:
        """The sharing in words."""
        divided = {
            "equal": "divided equally among them",
            "need": (
                "given to those of them who then hold least, to raise them to a common level as far as it goes; if it is "
                "a loss it is borne by those who hold most"
            ),
        }[self.mechanism.by]
        return (
            f"After each round {each_of(self.involved)} puts {100 * self.mechanism.share:g}% of what the round paid, gain "
            f"or loss, into a pool that is {divided}."
        )

    @property
    def books(self) -> tuple[tuple[str, Field, tuple[str, ...]], ...]:
        """What was put into the pool, and what came out of it."""
        pooled = Field("pooled", Real(), "what you last put into the pool", verifiable=True)
        got = Field("pool_share", Real(), "what you last got from the pool", verifiable=True)
        return (("taken", pooled, self.involved), ("given", got, self.involved))

    def counts(self, taken: Array, given: Array) -> Array:
        """Count what changes hands."""
        return total(namespace(taken).abs(given - taken)) / 2.0

    def reckon(self, income: Array, wealth: Array, quantity: Array) -> tuple[Array, Array]:
        """Pool and divide."""
        xp, pooled = namespace(income), self.mechanism.share * income
        pool = total(pooled)[..., None]
        if self.mechanism.by == "equal":
            return pooled, pooled * 0.0 + pool / self.n
        held = wealth - pooled
        return pooled, xp.where(pool >= 0.0, raised(held, pool), -raised(-held, -pool))


def raised(held: Array, pool: Array) -> Array:
    """Return what each (*batch, n) is given if a pool (*batch, 1), not negative, raises the least to a common level.

    The level is the least over k of (pool + the k smallest) / k.
    """
    xp, n = namespace(held), held.shape[-1]
    numbers = xp.arange(1, n + 1, dtype=xp.float64, device=device_of(held))
    levels = (pool + xp.cumulative_sum(xp.sort(held, axis=-1), axis=-1)) / numbers
    return xp.clip(xp.min(levels, axis=-1, keepdims=True) - held, 0.0, None)
