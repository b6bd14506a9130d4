"""Forget: what players see of earlier rounds is wiped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from ..envs.core import validate
from ..envs.core.arrays import Array, full, namespace, select, to_float
from ..envs.core.game import Game, Measure, Outcome, Seen
from ..envs.core.mechanism import Institution, Mechanism, Unfit, chosen
from ._limits import among, rounds_of, said


@dataclass(frozen=True)
class Forget(Mechanism):
    """Imperfect recall (Kuhn 1953; Piccione and Rubinstein 1997): some fields show what they showed at the start.

    Strategies that answer to the past, threats and rewards included, lose what they answer to. It is drawn at the end of
    a round and lasts to the end of the next, for all fields, roles and players alike; they are not told. What is wiped is
    what is seen, not what happened: a field that adds up over rounds is back when the wipe is over. A policy that keeps
    notes of its own keeps them. Mechanisms outside this one (``game | Forget(...) | Contract(...)``) read the fields as
    they are shown.

    Parameters
    ----------
    fields
        Fields that players see and that remember earlier rounds.
    rounds
        Rounds in which they can be wiped, from 2 on; empty for every round.
    probability
        Probability of a wipe, in each of these rounds; 0 is the game itself.
    roles
        Roles that forget; empty for all that see the field.
    """

    fields: tuple[str, ...]
    rounds: tuple[int, ...] = ()
    probability: float = 1.0
    roles: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        for name in ("fields", "roles"):
            object.__setattr__(self, name, validate.names(name, getattr(self, name)))
        if not self.fields or "stage" in self.fields:
            raise ValueError(f"fields: names of fields that players see, but not 'stage', got {self.fields!r}")
        object.__setattr__(self, "rounds", rounds_of(self.rounds, 2))
        validate.probability("probability", self.probability)

    @classmethod
    def suited(cls, game: Game) -> Self:
        """Return a wipe, half of the time, of the first field that somebody sees."""
        for role in game.roles:
            for field in role.sees:
                if field.name != "stage":
                    return cls((field.name,), probability=0.5)
        raise Unfit(f"fields: nobody in {game.name} sees anything")

    def apply(self, game: Game) -> Game:
        """Return the game with the fields wiped."""
        return game if self.probability == 0 else Forgetful(game, self)


class ForgetState(NamedTuple):
    """What was seen first, {role: {field: (*batch, count, *components)}}; whether it is seen now, and wipes so far (*batch)."""

    first: dict[str, dict[str, Array]]
    wiped: Array
    wipes: Array


class Forgetful(Institution):
    """A game in which what is seen of the past is wiped."""

    mechanism: Forget

    def __init__(self, base: Game, mechanism: Forget) -> None:
        super().__init__(base, mechanism)
        roles = chosen(base, mechanism.roles)
        self.fields = {
            name: tuple(f.name for f in base.role(name).sees if f.name in mechanism.fields) for name in roles
        }
        for field in mechanism.fields:
            if not any(field in fields for fields in self.fields.values()):
                known = sorted({f.name for name in roles for f in base.role(name).sees} - {"stage"})
                raise Unfit(
                    f"fields: no {' or '.join(roles)} of {base.name} sees {field!r}; there are: {', '.join(known)}"
                )
        self.own_draws = 1 if mechanism.probability < 1 else 0
        self.label = f"wipes_{'_'.join(mechanism.fields)}"
        means = f"rounds of an episode in which {', '.join(mechanism.fields)} was wiped"
        self.own_reports = (Measure(self.label, means, "number of rounds", "rounds", better="lower"),)

    @property
    def terms(self) -> str:
        """What is forgotten, in words."""
        dial = self.mechanism
        who = " and ".join(f"each {name}" for name, fields in self.fields.items() if fields)
        when = f"in {said(dial.rounds)}" if dial.rounds else "in each round after the first"
        often = "" if dial.probability == 1 else f" with probability {dial.probability:g}"
        return f"Memory is wiped {when}{often}: what {who} sees as {' and '.join(dial.fields)} is then what it was at the start."

    def begin(self, base: Any, u: Array) -> ForgetState:
        """Keep what is seen first."""
        seen, batch = self.base.view(base), tuple(u.shape[:-1])
        first = {name: {field: seen[name][field] for field in fields} for name, fields in self.fields.items() if fields}
        return ForgetState(first, full(u, batch, 0, integer=True) > 0, full(u, batch, 0.0))

    def settle(self, own: ForgetState, outcome: Outcome, ended: Array, u: Array) -> tuple[ForgetState, Outcome]:
        """At a round's end say whether memory is wiped for the next."""
        wiped = among(self.base.round(outcome.state) + 1, self.mechanism.rounds)
        if self.own_draws:
            wiped = wiped & (u[..., 0] < self.mechanism.probability)
        wiped = namespace(wiped).where(ended, wiped, own.wiped)
        return own._replace(wiped=wiped, wipes=own.wipes + to_float(wiped & ended & ~outcome.done)), outcome

    def show(self, own: ForgetState, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show what was seen first where memory is wiped."""
        now = {name: {field: seen[name][field] for field in first} for name, first in own.first.items()}
        shown = select(own.wiped, own.first, now)
        return {name: {**fields, **shown.get(name, {})} for name, fields in seen.items()}

    def account(self, own: ForgetState) -> dict[str, Array]:
        """Return the rounds in which memory was wiped."""
        return {self.label: own.wipes}
