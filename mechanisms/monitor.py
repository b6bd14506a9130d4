"""Monitor: what players do is looked at, and becomes a fact on which a contract can condition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from ..envs.core import validate
from ..envs.core.arrays import Array, full, namespace, to_float, to_int
from ..envs.core.chance import normal
from ..envs.core.fields import Choice, Field, Role, Space
from ..envs.core.game import Acts, Game, Measure, Outcome, Seen, shared, spread
from ..envs.core.mechanism import Institution, Mechanism, Unfit
from .prosocial import chosen, names

UNSEEN = "unseen"


@dataclass(frozen=True)
class Monitor(Mechanism):
    """Looks at acts that nobody sees otherwise (Becker 1968, doi:10.1086/259394; Holmström 1979, doi:10.2307/3003320).

    After each round the monitor looks at each player who decides ``field``, with a probability. What it finds is shown as
    verifiable fields until the next round's end: ``found_<field>``, what it found that one did oneself, the same for all
    roles so that a ``Contract`` can bind them by it, and ``found_<field>_of`` for everyone who is watched. Where it did not
    look a choice reads ``"unseen"``; a number reads the value nearest to zero, and ``looked_<field>`` (and
    ``looked_<field>_of``) says so. It finds what was decided as the act comes to it, with or without consequences: the
    harvest that was tried, the effort of an agent that refused. The game under a commitment to the act is watched by
    ``game | Monitor(...) | Commit(...)``.

    Parameters
    ----------
    field
        The act: a field that players decide.
    probability
        Probability of a look at a player and round, independent of all others; 0 is the game itself.
    noise
        Standard deviation of a normal error of what is found, in the field's unit, rounded and clipped to its space; for a
        choice the probability that another option is found, all others equally likely.
    most
        Most looks a round, at players chosen at random of those who would be looked at; None for no limit.
    cost
        Cost of a look in units of reward, shared equally by all players who are shown what is found, and lost to all.
    to
        Roles to whom it is shown; empty for all.
    """

    field: str
    probability: float = 1.0
    noise: float = 0.0
    most: int | None = None
    cost: float = 0.0
    to: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.probability("probability", self.probability)
        validate.real("noise", self.noise, 0.0)
        if self.most is not None:
            validate.whole("most", self.most, 0, 1_000_000)
        validate.real("cost", self.cost, 0.0)
        object.__setattr__(self, "to", names("to", self.to))

    @classmethod
    def suited(cls, game: Game) -> Self:
        """Return a monitor that looks half of the time at the last act that nobody sees, or at the last act."""
        seen = {field.name for role in game.roles for field in role.sees}
        acts = [field.name for role in reversed(game.roles) for field in reversed(role.acts)]
        for name in sorted(acts, key=lambda name: name in seen):
            try:
                Column.of(game, name, "acts")
            except Unfit:
                continue
            return cls(name, 0.5, 0.1, 1, 0.25)
        raise Unfit(f"field: nobody in {game.name} decides anything that all decide alike")

    def apply(self, game: Game) -> Game:
        """Return the game with what is done made visible."""
        return game if self.probability == 0 or self.most == 0 else Monitored(game, self)


class MonitorState(NamedTuple):
    """Acts of the present round and what was found of the last (*batch, players, components), who was looked at (1 or 0,
    *batch, players), and looks so far (*batch).
    """

    acts: Array
    found: Array
    looked: Array
    looks: Array


class Monitored(Institution):
    """A game in which acts are looked at after each round."""

    mechanism: Monitor

    def __init__(self, base: Game, mechanism: Monitor) -> None:
        super().__init__(base, mechanism)
        name, dial = mechanism.field, mechanism
        self.watched = Column.of(base, name, "acts")
        self.to = chosen(base, dial.to, "to")
        self.payers = sum(base.role(role).count for role in self.to)
        space = self.watched.field.space
        self.chooses = isinstance(space, Choice)
        if isinstance(space, Choice) and dial.noise:
            validate.probability(f"noise (field {name!r} is a choice)", dial.noise)
            if len(space.options) < 2:
                raise Unfit(f"noise: field {name!r} has only one option, so that no other can be found")
        self.shown = self.watched.blanked(UNSEEN)
        count, size = len(self.watched.players), len(self.watched.players) * self.watched.width
        # uniform numbers: who is looked at, in which order, and errors
        self.parts = (
            count if dial.probability < 1 else 0,
            0 if dial.most is None else count,
            2 * size * (dial.noise > 0),
        )
        self.own_draws = sum(self.parts)
        words = f"players who were looked at in an episode, for their {name}"
        self.own_reports = (Measure(f"looks_{name}", words, "number of looks", "looks", better="lower"),)

    @property
    def terms(self) -> str:
        """The institution in words."""
        dial, who = self.mechanism, ", ".join(self.watched.players)
        often = "" if dial.probability == 1 else f" with probability {dial.probability:g} each"
        limit = "" if dial.most is None else f", at {dial.most} of them at most"
        wrong = ""
        if dial.noise:
            wrong = f" What it finds has a random error with standard deviation {dial.noise:g}."
            if self.chooses:
                wrong = f" What it finds is wrong with probability {dial.noise:g}."
        cost = f" Each look costs {dial.cost:g}, shared by those who are shown what is found." if dial.cost else ""
        return (
            f"After each round a monitor looks at {who}{often}{limit}, and shows each {' and each '.join(self.to)} what the "
            f"{dial.field} of those was. A court can rely on it.{wrong}{cost}"
        )

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show what was found."""
        if role.name not in self.to:
            return ()
        name, field = self.mechanism.field, self.watched.field
        own = "what the monitor found that you did last round"
        if not any(watched == role.name for watched, _ in self.watched.seats):
            own = "what the monitor found that you did last round: nothing, it does not look at you"
        fields = (
            Field(f"found_{name}", self.shown, f"{own} ({name})", field.unit, field.each, verifiable=True),
            self.watched.table(
                f"found_{name}_of", self.shown, f"the {name}{self.watched.whose} that the monitor found last round"
            ),
        )
        if self.chooses:
            return fields
        space = Choice((UNSEEN, "seen"))
        looked = Field(
            f"looked_{name}", space, f"whether the monitor looked at your {name} last round", verifiable=True
        )
        means = f"whether the monitor looked at the {name}{self.watched.whose} last round"
        return (*fields, looked, self.watched.flags(f"looked_{name}_of", space, means))

    def begin(self, base: Any, u: Array) -> MonitorState:
        """Start with nothing done and nothing found."""
        acts, found = self.watched.nothing(u), self.watched.nothing(u, UNSEEN)
        return MonitorState(acts, found, to_int(acts[..., 0] * 0), full(u, tuple(u.shape[:-1]), 0.0))

    def observe(self, own: MonitorState, base: Any, acts: Mapping[str, Acts]) -> MonitorState:
        """Keep the act where it is decided."""
        here = self.base.stage(base) == self.watched.stage
        values = self.watched.gather({role: acts[role][self.mechanism.field] for role, _ in self.watched.seats})
        return own._replace(acts=namespace(values).where(here[..., None, None], values, own.acts))

    def settle(self, own: MonitorState, outcome: Outcome, ended: Array, u: Array) -> tuple[MonitorState, Outcome]:
        """At a round's end choose whom to look at, look, and collect the cost."""
        dial, first, second = self.mechanism, self.parts[0], self.parts[0] + self.parts[1]
        xp = namespace(u, own.acts)
        looked = own.looked * 0 + 1
        if dial.probability < 1:
            looked = to_int(u[..., :first] < dial.probability)
        if dial.most is not None:
            turn = xp.where(looked == 1, u[..., first:second], 2.0)
            before = xp.sum(to_int(turn[..., None, :] < turn[..., :, None]), axis=-1)
            looked = looked * to_int(before < dial.most)
        found = self._read(own.acts, u[..., second:])
        found = xp.where(looked[..., None] == 1, found, self.watched.nothing(u, UNSEEN))
        looks = to_float(xp.sum(looked, axis=-1)) * to_float(ended)
        own = MonitorState(
            own.acts,
            xp.where(ended[..., None, None], found, own.found),
            xp.where(ended[..., None], looked, own.looked),
            own.looks + looks,
        )
        if not dial.cost:
            return own, outcome
        share = (dial.cost / self.payers) * looks[..., None]
        rewards = {name: pay - share if name in self.to else pay for name, pay in outcome.rewards.items()}
        return own, outcome._replace(rewards=rewards, welfare=outcome.welfare - dial.cost * looks)

    def _read(self, acts: Array, u: Array) -> Array:
        """Return what a look finds, with an error."""
        noise, field = self.mechanism.noise, self.watched.field
        if not noise:
            return acts
        size = u.shape[-1] // 2
        one, other = (part.reshape(tuple(acts.shape)) for part in (u[..., :size], u[..., size:]))
        if isinstance(field.space, Choice):
            count = len(field.space.options)
            another = (acts + 1 + to_int(namespace(u).floor(other * (count - 1)))) % count
            return namespace(u).where(one < noise, another, acts)
        value = field.clip(to_float(acts) + noise * normal(one, other))
        return to_int(value) if field.discrete else value

    def show(self, own: MonitorState, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show what was found to those for whom it is."""
        name, shown = self.mechanism.field, dict(seen)
        blank = self.watched.nothing(own.looks[..., None], UNSEEN)[..., 0, :]
        for role in (self.base.role(role) for role in self.to):
            mine = self.watched.own(role, own.found, blank)
            extra = {f"found_{name}": mine, f"found_{name}_of": self.watched.told(own.found, role.count)}
            if not self.chooses:
                looked = self.watched.own(role, own.looked[..., None], blank[..., :1] * 0, single=True)
                extra |= {f"looked_{name}": to_int(looked)}
                extra |= {f"looked_{name}_of": self.watched.flagged(own.looked, role.count)}
            shown[role.name] = {**seen[role.name], **extra}
        return shown

    def account(self, own: MonitorState) -> dict[str, Array]:
        """Return the number of looks."""
        return {f"looks_{self.mechanism.field}": own.looks}


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
