"""Noise: players see a quantity with an error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from ..envs.core import validate
from ..envs.core.arrays import Array, absent, select, to_float, to_int
from ..envs.core.chance import normal
from ..envs.core.fields import Choice, Field, Text, find
from ..envs.core.game import Game, Outcome, Seen
from ..envs.core.mechanism import Institution, Mechanism, Unfit


@dataclass(frozen=True)
class Noise(Mechanism):
    """Normal errors in what is seen, drawn afresh for each player, component and round; payoffs are untouched.

    Parameters
    ----------
    field
        The field that is seen with an error, in every role that sees it. Values are rounded and clipped to its space.
    sd
        Standard deviation of the error, in the field's unit; 0 is the game itself.
    """

    field: str
    sd: float

    def __post_init__(self) -> None:
        """Refuse a negative deviation."""
        validate.real("sd", self.sd, 0.0)

    @classmethod
    def suited(cls, game: Game) -> Self:
        """Return noise on the first number that somebody sees."""
        for role in game.roles:
            for field in role.sees:
                if not isinstance(field.space, Choice | Text):
                    return cls(field.name, 1.0)
        raise Unfit(f"field: nobody in {game.name} sees a number")

    def apply(self, game: Game) -> Game:
        """Return the game with the field blurred."""
        return game if self.sd == 0 else Blurred(game, self)


class NoiseState(NamedTuple):
    """The errors of the present round, {role: (*batch, count, *components)}."""

    errors: dict[str, Array]


class Blurred(Institution):
    """A game one of whose fields is seen with an error."""

    mechanism: Noise

    def __init__(self, base: Game, mechanism: Noise) -> None:
        super().__init__(base, mechanism)
        self.blurred: dict[str, tuple[Field, tuple[int, ...]]] = {}
        for role in base.roles:
            if any(field.name == mechanism.field for field in role.sees):
                field = find(role.sees, mechanism.field, role.name)
                if isinstance(field.space, Choice | Text):
                    raise Unfit(f"field: {field.name!r} is {field.space}; noise needs a number")
                self.blurred[role.name] = (field, (role.count, *field.shape))
        if not self.blurred:
            known = sorted({field.name for role in base.roles for field in role.sees})
            raise Unfit(f"field: nobody in {base.name} sees {mechanism.field!r}; there are: {', '.join(known)}")
        self.own_draws = sum(2 * math.prod(shape) for _, shape in self.blurred.values())

    @property
    def terms(self) -> str:
        """The uncertainty in words."""
        return (
            f"What you see of {self.mechanism.field} is only an estimate: it has a random error with standard deviation "
            f"{self.mechanism.sd:g}."
        )

    def _draw(self, u: Array) -> NoiseState:
        errors, begin = {}, 0
        for name, (_, shape) in self.blurred.items():
            size = math.prod(shape)
            first, second = u[..., begin : begin + size], u[..., begin + size : begin + 2 * size]
            errors[name] = (self.mechanism.sd * normal(first, second)).reshape((*u.shape[:-1], *shape))
            begin += 2 * size
        return NoiseState(errors)

    def begin(self, base: Any, u: Array) -> NoiseState:
        """Draw the first errors."""
        return self._draw(u)

    def settle(self, own: NoiseState, outcome: Outcome, ended: Array, u: Array) -> tuple[NoiseState, Outcome]:
        """Draw new errors where a round was completed, so that nobody reads the same value twice."""
        if absent(ended):
            return own, outcome
        return select(ended, self._draw(u), own), outcome

    def show(self, own: NoiseState, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show the field with its error."""
        shown = dict(seen)
        for name, (field, _) in self.blurred.items():
            true = seen[name][field.name]
            value = field.clip(to_float(true) + own.errors[name])
            shown[name] = {**seen[name], field.name: to_int(value) if field.discrete else value}
        return shown
