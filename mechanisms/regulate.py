"""Regulate: an act is held to a value or within limits, always or in some rounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from ..envs.core import validate
from ..envs.core.arrays import Array, look_up, namespace, to_int
from ..envs.core.fields import Choice, Field, Role
from ..envs.core.game import Acts, Game, Seen, spread
from ..envs.core.mechanism import Institution, Layered, Mechanism, Unfit
from ._limits import among, between, check_limits, check_option, decided_by, middling, numbers, rounds_of, said


@dataclass(frozen=True)
class Regulate(Mechanism):
    """Limits that nobody can overstep: a price cap (Littlechild 1983), a floor, a mandate, a move that is forced.

    What a player decides beyond the limits is carried out at the nearest value within them, and nobody pays for it. In
    stated rounds only, and for one player, it is the forced deviation by which Calvano et al. (2020,
    doi:10.1257/aer.20190623) ask whether a price war follows. Unlike under ``Commit``, where players bind themselves, those
    who are regulated have no say. Mechanisms within this one (``game | Monitor(...) | Regulate(...)``) find the act as
    it was carried out.

    Parameters
    ----------
    field
        The act: a field that players decide.
    low, high
        Least and most that it can be, in its unit, both included; None for no limit. The options of a choice count as
        the numbers that they are. Neither, and no ``option``, is the game itself.
    option
        The option to which a choice is held; empty where there are limits.
    rounds
        Rounds in which it is held, the first being 1; empty for every round.
    who
        Roles and players who are held; empty for all who decide the act.
    """

    field: str
    low: float | None = None
    high: float | None = None
    option: str = ""
    rounds: tuple[int, ...] = ()
    who: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        check_limits(self.low, self.high)
        if self.option and (self.low is not None or self.high is not None):
            raise ValueError(
                f"option: empty where there are limits, got {self.option!r} with low={self.low} and high={self.high}"
            )
        object.__setattr__(self, "rounds", rounds_of(self.rounds))
        object.__setattr__(self, "who", validate.names("who", self.who))

    @classmethod
    def suited(cls, game: Game) -> Self:
        """Return a cap in the middle of the range of the first act, or its first option."""
        name, middle, option = middling(game)
        return cls(name, high=middle, option=option)

    def apply(self, game: Game) -> Game:
        """Return the game with the act held."""
        return game if self.low is None and self.high is None and not self.option else Regulated(game, self)


class Regulated(Institution):
    """A game in which an act is held."""

    mechanism: Regulate

    def __init__(self, base: Game, mechanism: Regulate) -> None:
        super().__init__(base, mechanism)
        self.held = decided_by(base, mechanism.field, mechanism.who)
        field = self.held.field
        low = -math.inf if mechanism.low is None else mechanism.low
        high = math.inf if mechanism.high is None else mechanism.high
        self.instead: tuple[int, ...] = ()
        """Of a choice: the option that is carried out for each."""
        self.least, self.most = max(low, field.space.low), min(high, field.space.high)
        if mechanism.option:
            self.instead = (check_option(field, mechanism.option, "option"),) * (int(field.space.high) + 1)
        elif isinstance(field.space, Choice):
            worth = numbers(field)
            within = [k for k, value in enumerate(worth) if low <= value <= high]
            if not within:
                raise Unfit(f"low, high: no option of {field.name!r} is {self._limits}; it is {field.space}")
            self.instead = tuple(min(within, key=lambda k: abs(worth[k] - value)) for value in worth)
        elif field.discrete:
            self.least = self.least if math.isinf(self.least) else math.ceil(self.least)
            self.most = self.most if math.isinf(self.most) else math.floor(self.most)
        if not self.instead and self.least > self.most:
            raise Unfit(f"low, high: {field.name!r} is {field.space} and never {self._limits}")

    @property
    def _limits(self) -> str:
        dial = self.mechanism
        return f'"{dial.option}"' if dial.option else between(dial.low, dial.high)

    @property
    def terms(self) -> str:
        """The regulation in words."""
        dial, unit = self.mechanism, f" {self.held.field.unit}" if self.held.field.unit else ""
        when = f"In {said(dial.rounds)} the" if dial.rounds else "The"
        how = "Whatever else is decided, that is done"
        if not dial.option and dial.low != dial.high:
            how = "What is decided beyond that is done at the nearest value that is allowed"
        return f"{when} {dial.field} of {', '.join(self.held.players)} is {self._limits}{unit}. {how}."

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show whether the regulation holds in the coming round, where it does not always."""
        if not self.mechanism.rounds:
            return ()
        means = f"whether the {self.mechanism.field} of {', '.join(self.held.players)} is regulated in this round"
        return (Field(f"regulated_{self.mechanism.field}", Choice(("no", "yes")), means, verifiable=True),)

    def _now(self, base: Any) -> Array:
        """Say in which worlds it holds in the round that is being played, (*batch)."""
        return among(self.base.round(base) + 1, self.mechanism.rounds)

    def bend(self, own: Any, base: Any, acts: Mapping[str, Acts], u: Array | None) -> Mapping[str, Acts]:
        """Carry out what is allowed."""
        name = self.mechanism.field
        asked = self.held.gather({role: acts[role][name] for role, _ in self.held.seats})
        xp = namespace(asked)
        if self.instead:
            done = look_up(asked, self.instead, asked)
        else:
            least, most = (None if math.isinf(x) else x for x in (self.least, self.most))
            done = asked if least is None and most is None else xp.clip(asked, least, most)
        if self.mechanism.rounds:
            done = xp.where(self._now(base)[..., None, None], done, asked)
        bent = {role: dict(parts) for role, parts in acts.items()}
        for role in {role for role, _ in self.held.seats}:
            bent[role][name] = self.held.replaced(acts[role][name], done, role)
        return bent

    def foreseen(self, state: Layered, acts: Mapping[str, Acts]) -> Mapping[str, Acts]:
        """Return the acts as they are carried out: nothing is left to chance."""
        return self.bend(state.own, state.base, acts, None)

    def show(self, own: Any, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show everyone whether the regulation holds."""
        if not self.mechanism.rounds:
            return seen
        field, now = f"regulated_{self.mechanism.field}", to_int(self._now(base))
        return {role.name: {**seen[role.name], field: spread(now, role.count)} for role in self.base.roles}
