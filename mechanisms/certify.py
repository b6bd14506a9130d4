"""Certify: a private field can be proved to others, at a cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isinf
from typing import Any, NamedTuple, Self

from ..envs.core import validate
from ..envs.core.arrays import Array, full, namespace, to_float, to_int, total
from ..envs.core.chance import whole
from ..envs.core.fields import Choice, Field, Role
from ..envs.core.game import Acts, Game, Measure, Seen, Stage
from ..envs.core.mechanism import Institution, Mechanism, Unfit
from .column import Column
from .disclose import holders, private

NONE = "no certificate"


@dataclass(frozen=True)
class Certify(Mechanism):
    """Costly certificates (Verrecchia 1983, doi:10.1016/0165-4101(83)90011-3; Jovanovic 1982).

    Before each round each holder may buy a certificate of its private field. It is shown, verifiable, until the next
    round's certificates are bought. With probability ``accuracy`` it states the field as it was at the purchase;
    otherwise it states a value drawn from the field's space, all equally likely. Its cost is lost to all. Because a
    certificate costs something, not all is revealed: whose gain from being known is less than the cost buys none.

    Parameters
    ----------
    field
        The private field.
    cost
        Price of a certificate, in units of reward.
    accuracy
        Probability that it is true; 0, a certificate of nothing, is the game itself.
    of
        Roles of the holders; empty for all roles that see the field.
    to
        Roles to whom certificates are shown, besides the holders; empty for all.
    """

    field: str
    cost: float = 0.1
    accuracy: float = 1.0
    of: tuple[str, ...] = ()
    to: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.real("cost", self.cost, 0.0)
        validate.probability("accuracy", self.accuracy)
        object.__setattr__(self, "of", validate.names("of", self.of))
        object.__setattr__(self, "to", validate.names("to", self.to))

    @classmethod
    def suited(cls, game: Game) -> Self:
        """Return certificates, right nine times in ten if they can be wrong, of what a game's players see in private."""
        name = private(game)
        space = Column.of(game, name, "sees").field.space
        return cls(name, accuracy=1.0 if isinf(space.low) or isinf(space.high) else 0.9)

    def apply(self, game: Game) -> Game:
        """Return the game with certificates for sale before each round."""
        return game if self.accuracy == 0 else Certified(game, self)


class CertifyState(NamedTuple):
    """What certificates state (*batch, players, components), who has one (1 or 0, *batch, players), and how many were
    bought so far (*batch).
    """

    stated: Array
    bought: Array
    sold: Array


class Certified(Institution):
    """A game with certificates for sale before each round."""

    mechanism: Certify

    def __init__(self, base: Game, mechanism: Certify) -> None:
        super().__init__(base, mechanism)
        name = mechanism.field
        self.held, self.to = holders(base, name, mechanism.of, mechanism.to)
        space = self.held.field.space
        if mechanism.accuracy < 1 and (isinf(space.low) or isinf(space.high)):
            raise Unfit(f"accuracy: below 1 a field needs bounds, {name!r} is {space}; take accuracy 1")
        self.shown = self.held.blanked(NONE)
        self.opening = (Stage(f"certify_{name}", f"{', '.join(self.held.players)} may have their {name} certified"),)
        means = f"certificates of {name} bought in an episode"
        self.own_reports = (Measure(f"certificates_{name}", means, "number of certificates", "certificates"),)
        self.own_draws = len(self.held.players) * (1 + self.held.width) if mechanism.accuracy < 1 else 0

    @property
    def terms(self) -> str:
        """The institution in words."""
        dial, who = self.mechanism, ", ".join(self.held.players)
        right = "It is always true."
        if dial.accuracy < 1:
            right = (
                f"It is true with probability {dial.accuracy:g}, and otherwise states any value, all equally likely."
            )
        return (
            f"Before each round {who} may buy a certificate of the {dial.field} that they see, for {dial.cost:g}. {right} "
            f"It is shown to each {' and each '.join(self.to)}, and a court can rely on it."
        )

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show the certificates."""
        if role.name not in self.to:
            return ()
        name = self.mechanism.field
        fields = (
            self.held.table(
                f"certified_{name}", self.shown, f"the {name}{self.held.whose} that the last certificate states"
            ),
        )
        if isinstance(self.shown, Choice):
            return fields
        space = Choice((NONE, "certificate"))
        return (
            *fields,
            self.held.flags(
                f"certificate_{name}", space, f"whether there is a certificate of the {name}{self.held.whose}"
            ),
        )

    def acts(self, role: Role) -> tuple[Field, ...]:
        """Ask the holders."""
        if all(holder != role.name for holder, _ in self.held.seats):
            return ()
        name, stage = self.mechanism.field, self.opening[0].name
        means = f"whether you buy a certificate of your {name}"
        return (Field(f"certify_{name}", Choice(("no", "buy")), means, stage=stage),)

    def begin(self, base: Any, u: Array) -> CertifyState:
        """Start without certificates."""
        stated = self.held.nothing(u, NONE)
        return CertifyState(stated, to_int(stated[..., 0] * 0), full(u, tuple(u.shape[:-1]), 0.0))

    def meet(
        self, stage: Array, own: CertifyState, base: Any, acts: Mapping[str, Acts], u: Array
    ) -> tuple[CertifyState, dict[str, Array], Array | None]:
        """Sell certificates."""
        name, seen, held = self.mechanism.field, self.base.view(base), self.held
        bought = held.decided(acts, f"certify_{name}")
        xp = namespace(bought)
        stated = held.gather({role: seen[role][name] for role, _ in held.seats})
        if self.own_draws:
            n, space = len(held.players), held.field.space
            other = u[..., n:].reshape(tuple(stated.shape))
            if held.field.discrete:
                other = whole(other, int(space.low), int(space.high))
            else:
                other = space.low + other * (space.high - space.low)
            stated = xp.where((u[..., :n] < self.mechanism.accuracy)[..., None], stated, other)
        stated = xp.where(bought[..., None] == 1, stated, held.nothing(stage[..., None], NONE))
        paid = -self.mechanism.cost * to_float(bought)
        own = CertifyState(stated, bought, own.sold + total(to_float(bought)))
        return own, held.scattered(paid, self.base), total(paid)

    def show(self, own: CertifyState, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show certificates to those to whom they are shown."""
        name, shown = self.mechanism.field, dict(seen)
        for role in (self.base.role(role) for role in self.to):
            extra = {f"certified_{name}": self.held.told(own.stated, role.count)}
            if not isinstance(self.shown, Choice):
                extra[f"certificate_{name}"] = self.held.flagged(own.bought, role.count)
            shown[role.name] = {**seen[role.name], **extra}
        return shown

    def account(self, own: CertifyState) -> dict[str, Array]:
        """Return the number of certificates."""
        return {f"certificates_{self.mechanism.field}": own.sold}
