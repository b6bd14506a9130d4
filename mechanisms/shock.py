"""Shock: after a round a shock changes what it paid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..envs.core import validate
from ..envs.core.arrays import Array, full, namespace, to_float, total
from ..envs.core.fields import Field, Real, Role
from ..envs.core.game import Game, Measure, Outcome, Seen, shared, spread
from ..envs.core.mechanism import Institution, Mechanism, Unfit, joined, parted, players_of

KINDS = ("multiply", "add")


@dataclass(frozen=True)
class Shock(Mechanism):
    """A shock to the rewards of a round that nobody can foresee and everybody sees afterwards.

    A shock is ``mean + size`` or ``mean - size`` with equal chances. It multiplies what a player was paid in the round
    by 1 + shock, or is added to it. Resources change, and welfare with them. Whether a round is hit and the sign are
    separate draws: a higher probability adds shocks to those there are. Where play does not depend on them, shocks of
    mean zero leave expected welfare as it is and add to its variance, with R_t the round's rewards of all together,
    probability x size^2 x sum_t E[R_t^2] (common, multiply) or probability x size^2 x n^2 T (common, add).

    Parameters
    ----------
    probability
        That a shock follows a round; 0 is the game itself.
    size
        Standard deviation of a shock: a share of the reward (multiply), or units of reward (add).
    mean
        Mean of a shock; with ``multiply`` |mean| + size is at most 1, so that a shock can take all but no more.
    kind
        ``"multiply"`` or ``"add"``.
    common
        Whether one shock hits all; otherwise each player has its own, independent ones.
    """

    probability: float = 0.1
    size: float = 0.5
    mean: float = 0.0
    kind: str = "multiply"
    common: bool = True

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.probability("probability", self.probability)
        check_shock(self.size, self.mean, self.kind)

    def apply(self, game: Game) -> Game:
        """Return the game with shocks."""
        null = self.probability == 0 or (self.size == 0 and self.mean == 0)
        return game if null else Shocked(game, self, self)


def check_shock(size: float, mean: float, kind: str) -> None:
    """Refuse a shock out of range."""
    validate.one_of("kind", kind, KINDS)
    validate.real("mean", mean, *((-1.0, 1.0) if kind == "multiply" else ()))
    validate.real("size", size, 0.0, *((1.0 - abs(mean),) if kind == "multiply" else ()))


class ShockState(NamedTuple):
    """Probability (*batch), last round's shock (*batch, 1 or players), earned in the round so far, and shocks so far."""

    probability: Array
    shock: Array
    earned: Array
    shocks: Array


class Shocked(Institution):
    """A game whose rounds are hit by shocks."""

    own_reports: tuple[Measure, ...] = (
        Measure("shocks", "shocks in an episode, over all players if each has its own", "number of shocks", "shocks"),
    )

    def __init__(self, base: Game, mechanism: Mechanism, shock: Shock) -> None:
        super().__init__(base, mechanism)
        self.law = shock
        self.everyone = tuple(role.name for role in base.roles)
        self.people = players_of(base, self.everyone)
        self.width = 1 if shock.common else len(self.people)
        self.own_draws = 2 * self.width
        for role in base.roles:
            if any(field.name == "shock" for field in role.sees):
                raise Unfit(f"{base.name}: role {role.name} already sees a field 'shock'; put shocks on it once")

    @property
    def odds(self) -> str:
        """The probability of a shock in words."""
        return f"with probability {self.law.probability:g}"

    @property
    def terms(self) -> str:
        """The uncertainty in words."""
        law, whose = self.law, "every player's reward" if self.law.common else "a player's reward"
        high, low = law.mean + law.size, law.mean - law.size
        if law.kind == "multiply":
            how = f"multiplies {whose} of that round by {1 + high:g} or by {1 + low:g}, with equal chances"
        else:
            how = f"adds {high:g} or {low:g} to {whose} of that round, with equal chances"
        who = "it is the same for all" if law.common else "each player has its own, independently of the others"
        return f"After each round, {self.odds}, a shock {how}; {who}. All see the shocks of the last round."

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show last round's shock, or those of all."""
        law = self.law
        space = Real(min(law.mean - law.size, 0.0), max(law.mean + law.size, 0.0))
        what = "share by which it changed its reward" if law.kind == "multiply" else "what it added to its reward"
        if law.common:
            return (Field("shock", space, f"last round's shock to all ({what}), 0 if none", verifiable=True),)
        means = f"last round's shock to each ({what}), 0 if none"
        return (Field("shock", space, means, each=self.people, verifiable=True),)

    def begin(self, base: Any, u: Array) -> ShockState:
        """Start without a shock."""
        batch = tuple(u.shape[:-1])
        zero = full(u, batch, 0.0)
        none, earned = full(u, (*batch, self.width), 0.0), full(u, (*batch, len(self.people)), 0.0)
        return ShockState(zero + self.law.probability, none, earned, zero)

    def settle(self, own: ShockState, outcome: Outcome, ended: Array, u: Array) -> tuple[ShockState, Outcome]:
        """Where a round was completed, change what it paid."""
        xp, law = namespace(own.shock), self.law
        after = ended[..., None]
        earned = own.earned + joined(outcome.rewards, self.everyone)
        hit = to_float((u[..., : self.width] < own.probability[..., None]) & after)
        sign = 2.0 * to_float(u[..., self.width : 2 * self.width] < 0.5) - 1.0
        shock = hit * (law.mean + law.size * sign)
        change = shock * (earned if law.kind == "multiply" else earned * 0.0 + 1.0)
        own = ShockState(
            own.probability,
            xp.where(after, shock, own.shock),
            xp.where(after, 0.0, earned),
            own.shocks + total(hit),
        )
        paid: Mapping[str, Array] = parted(change, self.base, self.everyone)
        rewards = {name: pay + paid[name] for name, pay in outcome.rewards.items()}
        return own, outcome._replace(rewards=rewards, welfare=outcome.welfare + total(change))

    def show(self, own: ShockState, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show everyone the shock."""
        shown = {}
        for role in self.base.roles:
            shock = spread(own.shock[..., 0], role.count) if self.law.common else shared(own.shock, role.count)
            shown[role.name] = {**seen[role.name], "shock": shock}
        return shown

    def account(self, own: ShockState) -> dict[str, Array]:
        """Return the number of shocks."""
        return {"shocks": own.shocks}
