"""Rule: which acts are wrong, by a verifiable fact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from ..envs.core import validate
from ..envs.core.arrays import Array
from ..envs.core.fields import Choice, Role, find
from ..envs.core.game import Game, Seen
from ..envs.core.mechanism import Unfit, joined


@dataclass(frozen=True)
class Rule:
    """Which acts are wrong, by a verifiable field: those above a limit, those below a least value, or some options.

    Parameters
    ----------
    field
        The verifiable field, each player's own, as it stands after a round.
    options
        Options of the field, where it is a choice.
    limit
        Where the field is a number: values above it are wrong.
    least
        Where the field is a number: values below it are wrong. One of this, ``limit`` and ``options`` is given.
    sort
        ``"wrong"``: the options are wrong and all others right; ``"good"``: the other way round.
    """

    field: str
    options: tuple[str, ...] = ()
    limit: float | None = None
    sort: str = "wrong"
    least: float | None = None

    def __post_init__(self) -> None:
        """Ask for options, a limit or a least value."""
        if bool(self.options) + (self.limit is not None) + (self.least is not None) != 1:
            least = "" if self.least is None else f" and least={self.least!r}"
            raise ValueError(
                f"{self.sort}, limit: either the options of {self.field!r} that are {self.sort}, or a limit if it is a "
                f"number; got {self.sort}={self.options!r} and limit={self.limit!r}{least}"
            )
        for name in ("limit", "least"):
            if (bound := getattr(self, name)) is not None:
                validate.real(name, bound)

    @classmethod
    def suited(cls, game: Game) -> Self:
        """Return a rule on the first verifiable fact that some role sees of its own: the second option is wrong, or more
        than the middle of a number's range (1 if it has no end).

        Raises
        ------
        Unfit
            If there is none.
        """
        for role in game.roles:
            for field in role.sees:
                if field.verifiable and not field.each:
                    space = field.space
                    if isinstance(space, Choice):
                        return cls(field.name, (space.options[min(1, space.high)],))
                    middle = (space.low + space.high) / 2
                    return cls(field.name, limit=middle if abs(middle) < 1e9 else 1.0)
        raise Unfit(f"field: nobody in {game.name} sees a single verifiable fact")

    def holders(self, game: Game, roles: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return the roles to which the rule applies: those given, or all that see the field as verifiable.

        Raises
        ------
        Unfit
            If the field is not there, not verifiable, not single or not of the kind that the rule needs.
        """
        known = [role.name for role in game.roles]
        if strange := [name for name in roles if name not in known]:
            raise Unfit(f"roles: {game.name} has no role {strange[0]!r}; it has: {', '.join(known)}")
        facts = {r.name: [f.name for f in r.sees if f.verifiable and not f.each] for r in game.roles}
        held = roles or tuple(name for name in known if self.field in facts[name])
        if not held or any(self.field not in facts[name] for name in held):
            there = ", ".join(sorted({fact for name in held or known for fact in facts[name]})) or "none"
            raise Unfit(
                f"field: {self.field!r} is not a single verifiable fact that {', '.join(held or known)} can see in "
                f"{game.name}; there are: {there}"
            )
        for name in held:
            space = find(game.role(name).sees, self.field, name).space
            if not self.options and isinstance(space, Choice):
                bound = "limit" if self.least is None else "least"
                raise Unfit(
                    f"{bound}: field {self.field!r} is {space}; say in `{self.sort}` which options are {self.sort}"
                )
            if self.options and not (isinstance(space, Choice) and set(self.options) <= set(space.options)):
                listed = ", ".join(map(repr, self.options))
                raise Unfit(
                    f"{self.sort}: {listed} must be among the options of field {self.field!r}, which is {space}"
                )
        return held

    def broken(self, game: Game, seen: Mapping[str, Seen], roles: tuple[str, ...]) -> Array:
        """Say who did wrong, (*batch, players), by what the players of some roles see after a round."""
        return joined({name: self._judge(game.role(name), seen[name][self.field]) for name in roles}, roles)

    def _judge(self, role: Role, did: Array) -> Array:
        if self.limit is not None:
            return did > self.limit
        if self.least is not None:
            return did < self.least
        space = find(role.sees, self.field, role.name).space
        assert isinstance(space, Choice)
        found = did < 0
        for option in self.options:
            found = found | (did == space.options.index(option))
        return found if self.sort == "wrong" else ~found

    @property
    def text(self) -> str:
        """The wrong acts in words, or the good ones."""
        if self.limit is not None:
            return f"{self.field} {'above' if self.sort == 'wrong' else 'up to'} {self.limit:g}"
        if self.least is not None:
            return f"{self.field} {'below' if self.sort == 'wrong' else 'of at least'} {self.least:g}"
        return f"{self.field} " + " or ".join(f'"{option}"' for option in self.options)
