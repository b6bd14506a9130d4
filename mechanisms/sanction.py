"""Sanction: after each round every player may punish another, or each of the others, at a cost to herself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ..envs.core import validate
from ..envs.core.arrays import Array, device_of, full, namespace, to_float, to_int, total
from ..envs.core.fields import Choice, Field, Integer, Role
from ..envs.core.game import Acts, Game, Measure, Seen, Stage
from ..envs.core.mechanism import Institution, Mechanism, Unfit, joined, parted, players_of, told


@dataclass(frozen=True)
class Sanction(Mechanism):
    """Costly peer punishment (Fehr and Gächter 2002, doi:10.1038/415137a; Ostrom, Walker and Gardner 1992).

    With ``second_order`` there is a metanorm (Axelrod 1986, doi:10.2307/1960858): who sanctioned nobody, though another
    player was sanctioned, is idle, and after the sanctions each may sanction one who is idle, at the same cost and fine.

    With ``points`` each gives each of the others points, as in the experiments of Fehr and Gächter (10 at most, at a cost
    of 1 and a fine of 3 each), and a point is a sanction; with ``second_order`` also in the second stage.

    Parameters
    ----------
    cost
        What a sanction, or a point, costs the one who imposes it, in units of reward.
    fine
        What it takes from the one who is sanctioned. Both are lost to all: welfare falls by cost + fine.
    roles
        Roles that sanction and are sanctioned; empty for all.
    second_order
        Whether those who are idle can be sanctioned for it, in a second stage. It takes 3 players.
    error
        Probability, for each sanction of either stage, that it falls on a player who was not meant instead: any but the
        one who imposes it, all equally likely. It takes 3 players, and sanctions that are not given in points.
    points
        Most points that one can give another for a round; 0 for one sanction at most, on one other player.
    """

    cost: float = 1.0
    fine: float = 3.0
    roles: tuple[str, ...] = ()
    second_order: bool = False
    error: float = 0.0
    points: int = 0

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        object.__setattr__(self, "roles", validate.names("roles", self.roles))
        validate.real("cost", self.cost, 0.0)
        validate.real("fine", self.fine, 0.0)
        validate.probability("error", self.error)
        validate.whole("points", self.points, 0, 1_000)
        if self.points and self.error:
            raise ValueError(f"error: 0 where points are given, got {self.error!r} with points={self.points}")

    def apply(self, game: Game) -> Game:
        """Return the game with a sanctioning stage after each round."""
        return MetaSanctioned(game, self) if self.second_order else Sanctioned(game, self)


class SanctionState(NamedTuple):
    """Sanctions received in the last round (*batch, players), and how many were imposed so far (*batch)."""

    received: Array
    imposed: Array


class Sanctioned(Institution):
    """A game with a sanctioning stage after each round."""

    mechanism: Sanction
    closing: tuple[Stage, ...] = (
        Stage("sanction", "each may punish one other player for the round that has just been played"),
    )
    own_reports: tuple[Measure, ...] = (
        Measure("sanctions", "sanctions imposed in an episode", "number of sanctions", "sanctions", better="lower"),
    )

    def __init__(self, base: Game, mechanism: Sanction) -> None:
        super().__init__(base, mechanism)
        self.involved = mechanism.roles or tuple(role.name for role in base.roles)
        self.people = players_of(base, self.involved)
        if len(self.people) < 2:
            raise Unfit(f"roles: at least 2 players must be able to sanction, got {', '.join(self.people)}")
        if len(self.people) < 3 and (mechanism.error or mechanism.second_order):
            which = (
                "error: a sanction can hit another than was meant"
                if mechanism.error
                else "second_order: one can be idle"
            )
            raise Unfit(f"{which} only among 3 players or more, got {', '.join(self.people)}")
        self.own_draws = len(self.people) if mechanism.error else 0
        if mechanism.points:
            means = "each may punish each of the others for the round that has just been played"
            self.closing = (Stage("sanction", means), *self.closing[1:])
            measure = Measure("sanctions", "points given in an episode", "number of points", "points", better="lower")
            self.own_reports = (measure, *self.own_reports[1:])

    @property
    def terms(self) -> str:
        """The institution in words."""
        if self.mechanism.points:
            return (
                f"After each round each of {', '.join(self.people)} may give each of the others up to {self.mechanism.points} "
                f"points. A point costs the one who gives it {self.mechanism.cost:g} and takes {self.mechanism.fine:g} from the "
                "one who gets it."
            )
        said = (
            f"After each round each of {', '.join(self.people)} may sanction one other: that costs her "
            f"{self.mechanism.cost:g} and takes {self.mechanism.fine:g} from the one sanctioned."
        )
        if not self.mechanism.error:
            return said
        return (
            f"{said} With probability {self.mechanism.error:g} a sanction falls instead on one who was not meant, any but the "
            "one who imposes it."
        )

    @property
    def _most(self) -> int:
        """Most sanctions that one can receive for a round."""
        return len(self.people) * max(self.mechanism.points, 1)

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show how often each was sanctioned in the last round."""
        count, what = Integer(0, self._most), "points" if self.mechanism.points else "sanctions"
        fined = Field("fined", count, f"{what} you received for the last round", verifiable=True)
        fines = Field("fines", count, f"{what} each received for the last round", each=self.people, verifiable=True)
        return (fined, fines) if role.name in self.involved else (fines,)

    def acts(self, role: Role) -> tuple[Field, ...]:
        """Ask whom to punish."""
        if role.name not in self.involved:
            return ()
        if self.mechanism.points:
            return (self._points("points", "points that you give each (none for yourself count)", "sanction"),)
        whom = Choice(("nobody", *self.people))
        return (Field("punish", whom, "whom you sanction (naming yourself sanctions nobody)", stage="sanction"),)

    def _points(self, name: str, means: str, stage: str) -> Field:
        return Field(name, Integer(0, self.mechanism.points), means, "points", each=self.people, stage=stage)

    def begin(self, base: Any, u: Array) -> Any:
        """Start with a clean record."""
        batch = tuple(u.shape[:-1])
        return SanctionState(full(u, (*batch, len(self.people)), 0, integer=True), full(u, batch, 0.0))

    def meet(
        self, stage: Array, own: Any, base: Any, acts: Mapping[str, Acts], u: Array
    ) -> tuple[Any, dict[str, Array], Array | None]:
        """Impose the sanctions."""
        hits = self._astray(self._aimed(acts, "sanction"), u)
        imposed, received = total(hits), total(hits, axis=-2)
        pay = self._pay(imposed, received)
        own = SanctionState(received, own.imposed + to_float(total(imposed)))
        return own, parted(pay, self.base, self.involved), total(pay)

    def _pay(self, imposed: Array, received: Array) -> Array:
        return -self.mechanism.cost * to_float(imposed) - self.mechanism.fine * to_float(received)

    def _aimed(self, acts: Mapping[str, Acts], stage: str) -> Array:
        """Return how many sanctions each aims at whom at a stage, none at herself, (*batch, players, players)."""
        points, idle = self.mechanism.points, "" if stage == "sanction" else "_idle"
        parts = [acts[name][("points" if points else "punish") + idle] for name in self.involved]
        people = self._people(parts[0])
        others = people[:, None] != people
        if points:
            given = parts[0] if len(parts) == 1 else namespace(parts[0]).concat(parts, axis=-2)
            return to_int(given) * to_int(others)
        target = to_int(joined(dict(zip(self.involved, parts, strict=True)), self.involved)) - 1
        return to_int((target[..., :, None] == people) & others)

    def _people(self, like: Array) -> Array:
        return namespace(like).arange(len(self.people), device=device_of(like))

    def _astray(self, hits: Array, u: Array) -> Array:
        """Say who is hit, given who is meant: one uniform number each says whether a sanction errs, and on whom."""
        error = self.mechanism.error
        if not error:
            return hits
        xp, people = namespace(hits), self._people(hits)
        meant = xp.argmax(hits, axis=-1)
        first, second = xp.minimum(meant, people), xp.maximum(meant, people)
        draw = xp.clip(u, None, error) / error
        k = to_int(xp.floor(draw * (len(self.people) - 2)))  # of those who are neither meant nor the imposer
        k = k + to_int(k >= first)
        k = k + to_int(k >= second)
        errs = (u < error) & xp.any(hits > 0, axis=-1)
        return xp.where(errs[..., None], to_int(k[..., None] == people), hits)

    def show(self, own: Any, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show everyone the last round's sanctions."""
        fined = {"fined": parted(own.received, self.base, self.involved)}
        return told(self.base, seen, {"fines": own.received}, fined)

    def account(self, own: Any) -> dict[str, Array]:
        """Return the number of sanctions."""
        return {"sanctions": own.imposed}


class MetaState(NamedTuple):
    """As in SanctionState; who was idle last, 0 or 1 (*batch, players), and sanctions imposed on the idle (*batch)."""

    received: Array
    imposed: Array
    idle: Array
    second: Array


class MetaSanctioned(Sanctioned):
    """A game with a sanctioning stage after each round, and another in which those who sanctioned nobody are sanctioned."""

    closing = (
        *Sanctioned.closing,
        Stage("metasanction", "each may punish one who sanctioned nobody although another player was sanctioned"),
    )
    own_reports = (
        *Sanctioned.own_reports,
        Measure(
            "metasanctions",
            "sanctions imposed in an episode on those who sanctioned nobody",
            "number of sanctions of the second stage",
            "sanctions",
            source="Axelrod 1986",
            better="lower",
        ),
    )

    def __init__(self, base: Game, mechanism: Sanction) -> None:
        super().__init__(base, mechanism)
        if mechanism.points:
            means = "each may punish those who sanctioned nobody although another player was sanctioned"
            self.closing = (self.closing[0], Stage("metasanction", means))
            second = replace(self.own_reports[1], formula="number of points of the second stage", unit="points")
            self.own_reports = (self.own_reports[0], second)

    @property
    def terms(self) -> str:
        """The institution in words."""
        if self.mechanism.points:
            return (
                f"{super().terms} Who gave no points, though another player got some, is idle. Then each may give up to "
                f"{self.mechanism.points} points to each who is idle, at the same cost and to the same effect."
            )
        return (
            f"{super().terms} Who sanctioned nobody, though another player was sanctioned, is idle. Then each may sanction one "
            "who is idle, at the same cost and to the same effect."
        )

    @property
    def _most(self) -> int:
        return 2 * super()._most

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show the sanctions, and who was idle."""
        means = "whether each sanctioned nobody for the last round although another player was sanctioned"
        return (*super().sees(role), Field("idle", Choice(("no", "yes")), means, each=self.people, verifiable=True))

    def acts(self, role: Role) -> tuple[Field, ...]:
        """Ask whom to punish, first for the round and then for being idle."""
        if role.name not in self.involved:
            return ()
        if self.mechanism.points:
            means = "points that you give each for being idle (none for yourself, or for one who is not idle, count)"
            return (*super().acts(role), self._points("points_idle", means, "metasanction"))
        means = "whom you sanction for being idle (naming yourself, or one who is not idle, sanctions nobody)"
        again = Field("punish_idle", Choice(("nobody", *self.people)), means, stage="metasanction")
        return (*super().acts(role), again)

    def begin(self, base: Any, u: Array) -> MetaState:
        """Start with a clean record."""
        first = super().begin(base, u)
        return MetaState(first.received, first.imposed, first.received, first.imposed)

    def meet(
        self, stage: Array, own: MetaState, base: Any, acts: Mapping[str, Acts], u: Array
    ) -> tuple[MetaState, dict[str, Array], Array | None]:
        """Impose the sanctions of the first or of the second stage."""
        xp = namespace(own.received)
        again = stage == len(self.stages) - 1
        lazy = self._aimed(acts, "metasanction") * own.idle[..., None, :]
        hits = xp.where(again[..., None, None], lazy, self._aimed(acts, "sanction"))
        hits = self._astray(hits, u)
        imposed, received = total(hits), total(hits, axis=-2)
        others = total(received)[..., None] - received
        count = to_float(total(imposed))
        own = MetaState(
            received=xp.where(again[..., None], own.received + received, received),
            imposed=xp.where(again, own.imposed, own.imposed + count),
            idle=xp.where(again[..., None], own.idle, to_int((imposed == 0) & (others > 0))),
            second=xp.where(again, own.second + count, own.second),
        )
        pay = self._pay(imposed, received)
        return own, parted(pay, self.base, self.involved), total(pay)

    def show(self, own: MetaState, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show everyone the sanctions, and who was idle."""
        return told(self.base, super().show(own, base, seen), {"idle": own.idle}, {})

    def account(self, own: MetaState) -> dict[str, Array]:
        """Return the number of sanctions of either stage."""
        return {"sanctions": own.imposed, "metasanctions": own.second}
