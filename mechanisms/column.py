"""Column: one field of several players as one array."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from ..envs.core.arrays import Array, full, namespace, to_float, to_int
from ..envs.core.fields import Choice, Field, Role, Space, Text
from ..envs.core.game import Acts, Game, shared, spread
from ..envs.core.mechanism import Unfit


@dataclass(frozen=True)
class Column:
    """One field of several players, held as an array (*batch, players, components): one component for a single value.

    ``stage`` is the index of the stage at which acts are decided, 0 for what is seen.
    """

    field: Field
    seats: tuple[tuple[str, int], ...]
    players: tuple[str, ...]
    stage: int = 0

    @classmethod
    def of(cls, game: Game, name: str, kind: str, roles: tuple[str, ...] = ()) -> Self:
        """Return the field of that name which the roles (empty for all that do) see or decide; Unfit if they do not."""
        verb = "sees" if kind == "sees" else "decides"
        fields, seats, players = [], [], []
        for role in game.roles:
            found = [f for f in (role.sees if kind == "sees" else role.acts) if f.name == name and name != "stage"]
            if not found or (roles and role.name not in roles):
                continue
            field = found[0]
            sitting = field.by if field.by is not None else tuple(range(role.count))
            fields.append(field)
            seats += [(role.name, i) for i in sitting]
            players += [role.players[i] for i in sitting]
        if not fields:
            known = sorted({f.name for r in game.roles for f in (r.sees if kind == "sees" else r.acts)} - {"stage"})
            who = " or ".join(roles) if roles else "nobody"
            denies = f"no {who}" if roles else who
            raise Unfit(f"field: {denies} in {game.name} {verb} {name!r}; there are: {', '.join(known) or 'none'}")
        first = fields[0]
        if isinstance(first.space, Text):
            raise Unfit(f"field: {name!r} of {game.name} is free text, neither a number nor a choice")
        if any((f.space, f.each, f.stage) != (first.space, first.each, first.stage) for f in fields):
            raise Unfit(f"field: {name!r} is not the same for all roles of {game.name} that {verb[:-1]} it")
        stage = [s.name for s in game.stages].index(first.stage) if kind == "acts" else 0
        return cls(first, tuple(seats), tuple(players), stage)

    @property
    def width(self) -> int:
        """Components."""
        return len(self.field.each) or 1

    @property
    def whose(self) -> str:
        """Whose values are shown, where that is not said value by value."""
        return f" of {self.players[0]}" if len(self.players) == 1 else ""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the values of all players; none for a single value."""
        if len(self.players) == 1 or not self.field.each:
            return self.field.each if len(self.players) == 1 else self.players
        return tuple(f"{player} {part}" for player in self.players for part in self.field.each)

    def blanked(self, blank: str) -> Space:
        """Return the space with a blank: one more option of a choice, none for a number."""
        space = self.field.space
        if not isinstance(space, Choice):
            return space
        if blank in space.options:
            raise Unfit(f"field: {self.field.name!r} has an option {blank!r} already")
        return Choice((*space.options, blank))

    def nothing(self, like: Array, blank: str = "") -> Array:
        """Return blanks, or where no word for them is given the values nearest to zero; ``like`` is (*batch, any)."""
        low, high = self.field.space.low, self.field.space.high
        value = high + 1 if blank and isinstance(self.field.space, Choice) else min(max(0, low), high)
        shape = (*like.shape[:-1], len(self.players), self.width)
        return full(like, shape, value, integer=self.field.discrete)

    def gather(self, parts: Mapping[str, Array]) -> Array:
        """Collect {role: (*batch, count, *components)}."""
        each = bool(self.field.each)
        values = [parts[role][..., i, :] if each else parts[role][..., i, None] for role, i in self.seats]
        stacked = namespace(values[0]).stack(values, axis=-2)
        return to_int(stacked) if self.field.discrete else to_float(stacked)

    def table(self, name: str, space: Space, means: str) -> Field:
        """Return a verifiable field that shows everybody's values."""
        return Field(name, space, means, self.field.unit, self.labels, verifiable=True)

    def told(self, values: Array, count: int) -> Array:
        """Show everybody's values (*batch, players, components) to every player of a role."""
        flat = values.reshape((*values.shape[:-2], len(self.players) * self.width))
        return shared(flat, count) if self.labels else spread(flat[..., 0], count)

    def flags(self, name: str, space: Space, means: str) -> Field:
        """Return a verifiable field that shows one thing a player."""
        return Field(name, space, means, each=self.players if len(self.players) > 1 else (), verifiable=True)

    def flagged(self, values: Array, count: int) -> Array:
        """Show (*batch, players) to every player of a role."""
        return shared(values, count) if len(self.players) > 1 else spread(values[..., 0], count)

    def own(self, role: Role, values: Array, blank: Array, *, single: bool = False) -> Array:
        """Show players of a role their own of values (*batch, players, components), or a blank (*batch, components)."""
        place = {seat: k for k, seat in enumerate(self.seats)}
        rows = [values[..., place[role.name, i], :] if (role.name, i) in place else blank for i in range(role.count)]
        found = namespace(values).stack(rows, axis=-2)
        return found[..., 0] if single or not self.field.each else found

    def decided(self, acts: Mapping[str, Acts], name: str) -> Array:
        """Return what the players decide in another field, a choice: integer (*batch, players)."""
        values = [acts[role][name][..., i] for role, i in self.seats]
        return to_int(namespace(values[0]).stack(values, axis=-1))

    def replaced(self, old: Array, values: Array, role: str) -> Array:
        """Return one role's acts (*batch, count, *components) with the players' own in the place of theirs."""
        place = {seat: k for k, seat in enumerate(self.seats)}
        each, count = bool(self.field.each), old.shape[-2 if self.field.each else -1]
        old = to_int(old) if self.field.discrete else to_float(old)
        rows = []
        for i in range(count):
            mine = old[..., i, :] if each else old[..., i]
            if (role, i) in place:
                mine = values[..., place[role, i], :] if each else values[..., place[role, i], 0]
            rows.append(mine)
        return namespace(values).stack(rows, axis=-2 if each else -1)

    def scattered(self, values: Array, game: Game) -> dict[str, Array]:
        """Return (*batch, players) by role, {role: (*batch, count)}, 0 for other players of these roles."""
        place = {seat: k for k, seat in enumerate(self.seats)}
        parts, zero, xp = {}, values[..., 0] * 0, namespace(values)
        for name in dict.fromkeys(role for role, _ in self.seats):
            seats = [place.get((name, i)) for i in range(game.role(name).count)]
            parts[name] = xp.stack([zero if k is None else values[..., k] for k in seats], axis=-1)
        return parts
