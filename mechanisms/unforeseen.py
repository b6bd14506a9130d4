"""Unforeseen: contingencies that no term can name, in which what a court could verify is void."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from ..envs.core import validate
from ..envs.core.arrays import Array, align, full, namespace, to_float, to_int
from ..envs.core.fields import Choice, Field, Role
from ..envs.core.game import Game, Measure, Outcome, Seen, spread
from ..envs.core.mechanism import Institution, Mechanism, Unfit

FIELD = "event"


@dataclass(frozen=True)
class Unforeseen(Mechanism):
    """Events that nobody thought of, or could describe beforehand (Tirole 1999; Maskin and Tirole 1999).

    An event happens once the acts of a round are chosen. It leaves payoffs alone and voids the record: until the next
    move every verifiable field of the game shows its null value, to players and to whatever stands on top of the game.
    The null value is ``none`` where that is an option and otherwise the first option; of numbers the one nearest to
    zero. That an event happened is seen by all and verifiable to nobody, so no contract can make an exception for it:
    ``game | Unforeseen(p) | Contract(...)`` is enforced after an event as if the null values were the facts. Nothing is
    then owed under a ``Quota`` whose limit is not below the null value, or under ``Compensation`` (nobody did wrong where
    all show the same), so that the same acts lead to 1 - p times the
    breaches that are found without events. Terms that call the null
    value itself wrong are enforced against the innocent: they were written without this in mind.

    Parameters
    ----------
    probability
        That an event happens in a round; 0 is the game itself, at 1 nothing can be enforced.
    fields
        The verifiable fields that are voided; empty for all of them.
    """

    probability: float = 0.1
    fields: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.probability("probability", self.probability)
        object.__setattr__(self, "fields", validate.names("fields", self.fields))

    @classmethod
    def suited(cls, game: Game) -> Self:
        """Return rare events; a game must show something verifiable."""
        if not any(field.verifiable for role in game.roles for field in role.sees):
            raise Unfit(f"fields: nobody in {game.name} sees a verifiable field")
        return cls()

    def apply(self, game: Game) -> Game:
        """Return the game with unforeseen events."""
        return game if self.probability == 0 else Surprised(game, self)


def null_value(field: Field) -> float:
    """Return what a field shows where its record is void, as a number or as the index of an option."""
    space = field.space
    if isinstance(space, Choice):
        return space.options.index("none") if "none" in space.options else 0
    return min(max(0, space.low), space.high)


class EventState(NamedTuple):
    """Whether the record of the round just completed is void (0 or 1), and events so far, both (*batch)."""

    event: Array
    events: Array


class Surprised(Institution):
    """A game with unforeseen events."""

    mechanism: Unforeseen
    own_draws = 1
    own_reports = (
        Measure(
            "unforeseen", "rounds in which something unforeseen happened", "number of rounds", "rounds", better="lower"
        ),
    )

    def __init__(self, base: Game, mechanism: Unforeseen) -> None:
        super().__init__(base, mechanism)
        wanted = mechanism.fields
        self.voided = {
            role.name: tuple(f for f in role.sees if f.verifiable and (not wanted or f.name in wanted))
            for role in base.roles
        }
        self.names = tuple(dict.fromkeys(field.name for fields in self.voided.values() for field in fields))
        known = sorted({field.name for role in base.roles for field in role.sees if field.verifiable})
        for name in wanted:
            if name not in known:
                raise Unfit(
                    f"fields: {name!r} is no verifiable field of {base.name}; there are: {', '.join(known) or 'none'}"
                )
        if not known:
            raise Unfit(f"fields: nobody in {base.name} sees a verifiable field")
        if any(field.name == FIELD for role in base.roles for field in role.sees):
            raise Unfit(f"{base.name} already has a field {FIELD!r}; put unforeseen events on it once")

    @property
    def terms(self) -> str:
        """The uncertainty in words."""
        return (
            f"In each round, with probability {self.mechanism.probability:g}, something happens after all have acted that no "
            f"agreement can name. It changes no payoff, but until the next move the record shows nothing of what was done: "
            f"{', '.join(self.names)} read as if nothing had happened, also to whoever enforces an agreement. All see that it "
            "happened; nobody can prove it."
        )

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show that an event happened."""
        means = "whether something unforeseen has just happened, which voids the record of the round"
        return (Field(FIELD, Choice(("none", "unforeseen")), means),)

    def begin(self, base: Any, u: Array) -> EventState:
        """Start without an event."""
        batch = tuple(u.shape[:-1])
        return EventState(full(u, batch, 0, integer=True), full(u, batch, 0.0))

    def settle(self, own: EventState, outcome: Outcome, ended: Array, u: Array) -> tuple[EventState, Outcome]:
        """Let an event happen where a round was completed; the next move ends its effect."""
        event = (u[..., 0] < self.mechanism.probability) & ended
        return EventState(to_int(event), own.events + to_float(event)), outcome

    def show(self, own: EventState, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show null values where the record is void."""
        void, xp, shown = own.event == 1, namespace(own.event), {}
        for role in self.base.roles:
            fields = {**seen[role.name], FIELD: spread(own.event, role.count)}
            for field in self.voided[role.name]:
                values = fields[field.name]
                fields[field.name] = xp.where(align(void, values), null_value(field), values)
            shown[role.name] = fields
        return shown

    def account(self, own: EventState) -> dict[str, Array]:
        """Return the number of events."""
        return {"unforeseen": own.events}
