"""Monitor: what players do is looked at, and becomes a fact on which a contract can condition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from ..envs.core import validate
from ..envs.core.arrays import Array, full, namespace, to_float, to_int
from ..envs.core.chance import normal
from ..envs.core.fields import Choice, Field, Role
from ..envs.core.game import Acts, Game, Measure, Outcome, Seen
from ..envs.core.mechanism import Institution, Mechanism, Unfit, chosen
from .column import Column

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
        object.__setattr__(self, "to", validate.names("to", self.to))

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
