"""Sanction: after each round every player may punish another, at a cost to herself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..envs.core import validate
from ..envs.core.arrays import Array, device_of, full, namespace, to_float, to_int
from ..envs.core.fields import Choice, Field, Integer, Role
from ..envs.core.game import Acts, Game, Measure, Seen, Stage, shared
from ..envs.core.mechanism import Institution, Mechanism, Unfit, joined, parted, players_of


@dataclass(frozen=True)
class Sanction(Mechanism):
    """Costly peer punishment (Fehr and Gächter 2002, doi:10.1038/415137a; Ostrom, Walker and Gardner 1992).

    Parameters
    ----------
    cost
        What a sanction costs the one who imposes it, in units of reward.
    fine
        What it takes from the one who is sanctioned. Both are lost to all: welfare falls by cost + fine.
    roles
        Roles that sanction and are sanctioned; empty for all.
    """

    cost: float = 1.0
    fine: float = 3.0
    roles: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.real("cost", self.cost, 0.0)
        validate.real("fine", self.fine, 0.0)

    def apply(self, game: Game) -> Game:
        """Return the game with a sanctioning stage after each round."""
        return Sanctioned(game, self)


class SanctionState(NamedTuple):
    """Sanctions received in the last round (*batch, players), and how many were imposed so far (*batch)."""

    received: Array
    imposed: Array


class Sanctioned(Institution):
    """A game with a sanctioning stage after each round."""

    mechanism: Sanction
    closing = (Stage("sanction", "each may punish one other player for the round that has just been played"),)
    own_reports = (
        Measure("sanctions", "sanctions imposed in an episode", "number of sanctions", "sanctions", better="lower"),
    )

    def __init__(self, base: Game, mechanism: Sanction) -> None:
        super().__init__(base, mechanism)
        self.involved = mechanism.roles or tuple(role.name for role in base.roles)
        self.people = players_of(base, self.involved)
        if len(self.people) < 2:
            raise Unfit(f"roles: at least 2 players must be able to sanction, got {', '.join(self.people)}")

    @property
    def terms(self) -> str:
        """The institution in words."""
        return (
            f"After each round each of {', '.join(self.people)} may sanction one other: that costs her "
            f"{self.mechanism.cost:g} and takes {self.mechanism.fine:g} from the one sanctioned."
        )

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show how often each was sanctioned in the last round."""
        count = Integer(0, len(self.people))
        fined = Field("fined", count, "sanctions you received for the last round", verifiable=True)
        fines = Field("fines", count, "sanctions each received for the last round", each=self.people, verifiable=True)
        return (fined, fines) if role.name in self.involved else (fines,)

    def acts(self, role: Role) -> tuple[Field, ...]:
        """Ask whom to punish."""
        if role.name not in self.involved:
            return ()
        whom = Choice(("nobody", *self.people))
        return (Field("punish", whom, "whom you sanction (naming yourself sanctions nobody)", stage="sanction"),)

    def begin(self, base: Any, u: Array) -> SanctionState:
        """Start with a clean record."""
        batch = tuple(u.shape[:-1])
        return SanctionState(full(u, (*batch, len(self.people)), 0, integer=True), full(u, batch, 0.0))

    def meet(
        self, stage: Array, own: SanctionState, base: Any, acts: Mapping[str, Acts], u: Array
    ) -> tuple[SanctionState, dict[str, Array], Array | None]:
        """Impose the sanctions."""
        target = to_int(joined({name: acts[name]["punish"] for name in self.involved}, self.involved)) - 1
        xp, n = namespace(target), len(self.people)
        people = xp.arange(n, device=device_of(target))
        hits = (target[..., :, None] == people) & (people[:, None] != people)
        imposed, received = xp.sum(to_int(hits), axis=-1), xp.sum(to_int(hits), axis=-2)
        pay = -self.mechanism.cost * to_float(imposed) - self.mechanism.fine * to_float(received)
        own = SanctionState(received, own.imposed + to_float(xp.sum(imposed, axis=-1)))
        return own, parted(pay, self.base, self.involved), xp.sum(pay, axis=-1)

    def show(self, own: SanctionState, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show everyone the last round's sanctions."""
        fined = parted(own.received, self.base, self.involved)
        shown = {}
        for role in self.base.roles:
            extra = {"fines": shared(own.received, role.count)}
            if role.name in self.involved:
                extra["fined"] = fined[role.name]
            shown[role.name] = {**seen[role.name], **extra}
        return shown

    def account(self, own: SanctionState) -> dict[str, Array]:
        """Return the number of sanctions."""
        return {"sanctions": own.imposed}
