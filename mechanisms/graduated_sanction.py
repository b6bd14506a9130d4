"""GraduatedSanction: who breaks a rule is found out by chance, and pays more each time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from ..envs.core import validate
from ..envs.core.arrays import Array, full, namespace, to_float, to_int
from ..envs.core.fields import Field, Integer, Real, Role
from ..envs.core.game import Game, Measure, Outcome, Seen
from ..envs.core.mechanism import Institution, Mechanism, parted, players_of, told
from .rule import Rule


@dataclass(frozen=True)
class GraduatedSanction(Mechanism):
    """Fines that begin low and grow with every breach that was found out (Ostrom 1990, design principle 5).

    A breach that is found out costs min(fine + step x earlier, most), where ``earlier`` is how many breaches of the same
    player were found out before. Fines are lost to all: welfare falls by them. Nobody is asked anything.

    Parameters
    ----------
    field
        The verifiable field on which the rule is, each player's own, as it stands after a round.
    wrong
        Options of the field that break the rule.
    limit
        Where the field is a number: values above it break the rule. Either this or ``wrong`` is given.
    fine
        Fine for the first breach that is found out, in units of reward.
    step
        What each breach found out before adds to it, in units of reward.
    most
        Highest fine, in units of reward; 0 is the game itself.
    detection
        Probability that a breach is found out, drawn for each player and round; 0 is the game itself.
    roles
        Roles to which the rule applies; empty for all that see the field.
    """

    field: str
    wrong: tuple[str, ...] = ()
    limit: float | None = None
    fine: float = 1.0
    step: float = 1.0
    most: float = 10.0
    detection: float = 1.0
    roles: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        object.__setattr__(self, "wrong", validate.names("wrong", self.wrong))
        object.__setattr__(self, "roles", validate.names("roles", self.roles))
        validate.real("most", self.most, 0.0)
        validate.real("fine", self.fine, 0.0)
        validate.real("step", self.step, 0.0)
        validate.probability("detection", self.detection)
        _ = self.rule

    @property
    def rule(self) -> Rule:
        """What is fined."""
        return Rule(self.field, self.wrong, self.limit)

    @classmethod
    def suited(cls, game: Game) -> Self:
        """Return fines by the first verifiable fact, with breaches that may go unnoticed."""
        rule = Rule.suited(game)
        return cls(rule.field, rule.options, rule.limit, detection=0.7)

    def apply(self, game: Game) -> Game:
        """Return the game with fines after each round."""
        free = self.detection == 0 or self.most == 0 or (self.fine == 0 and self.step == 0)
        return game if free else Graduated(game, self)


class GraduatedState(NamedTuple):
    """Breaches found out so far, and the last round's fine (*batch, players); breaches, found out or not, and fines (*batch)."""

    record: Array
    fined: Array
    breaches: Array
    paid: Array


class Graduated(Institution):
    """A game with fines that grow."""

    mechanism: GraduatedSanction
    own_reports = (
        Measure(
            "offences",
            "breaches of the rule a player and round, found out or not",
            "#{(i, t): i breaks the rule in t} / (n T)",
            source="Ostrom 1990",
            better="lower",
        ),
        Measure("penalties", "fines paid in an episode, all players together", "sum_it fine_it", better="lower"),
    )

    def __init__(self, base: Game, mechanism: GraduatedSanction) -> None:
        super().__init__(base, mechanism)
        self.rule = mechanism.rule
        self.held = self.rule.holders(base, mechanism.roles)
        self.people = players_of(base, self.held)
        self.own_draws = len(self.people) if mechanism.detection < 1.0 else 0

    @property
    def terms(self) -> str:
        """The institution in words."""
        dial = self.mechanism
        chance = "" if dial.detection == 1.0 else f" with probability {dial.detection:g}"
        return (
            f"A rule holds for {', '.join(self.people)}; it is broken by: {self.rule.text}. After each round a breach is found "
            f"out{chance}. The first that is found out costs {min(dial.fine, dial.most):g}, and each later one of the same "
            f"player {dial.step:g} more than the one before, up to {dial.most:g}. Fines are lost."
        )

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show everyone's record, and one's own fine."""
        means = "how many breaches of each were found out so far"
        record = Field("record", Integer(0, self.base.rounds), means, each=self.people, verifiable=True)
        penalty = Field("penalty", Real(0.0, self.mechanism.most), "your fine for the last round", verifiable=True)
        return (record, penalty) if role.name in self.held else (record,)

    def begin(self, base: Any, u: Array) -> GraduatedState:
        """Start with a clean record."""
        batch = tuple(u.shape[:-1])
        shape, zero = (*batch, len(self.people)), full(u, batch, 0.0)
        return GraduatedState(full(u, shape, 0, integer=True), full(u, shape, 0.0), zero, zero)

    def settle(self, own: GraduatedState, outcome: Outcome, ended: Array, u: Array) -> tuple[GraduatedState, Outcome]:
        """Fine the breaches that are found out."""
        xp, dial = namespace(own.record), self.mechanism
        broken = self.rule.broken(self.base, self.base.view(outcome.state), self.held) & ended[..., None]
        found = broken & (u < dial.detection) if self.own_draws else broken
        fine = xp.clip(dial.fine + dial.step * to_float(own.record), None, dial.most)
        due = fine * to_float(found)
        paid = xp.sum(due, axis=-1)
        own = GraduatedState(
            record=own.record + to_int(found),
            fined=xp.where(ended[..., None], due, own.fined),
            breaches=own.breaches + xp.mean(to_float(broken), axis=-1),
            paid=own.paid + paid,
        )
        lost = parted(due, self.base, self.held)
        rewards = {name: pay - lost[name] if name in lost else pay for name, pay in outcome.rewards.items()}
        return own, outcome._replace(rewards=rewards, welfare=outcome.welfare - paid)

    def show(self, own: GraduatedState, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show everyone the record."""
        return told(self.base, seen, {"record": own.record}, {"penalty": parted(own.fined, self.base, self.held)})

    def account(self, own: GraduatedState) -> dict[str, Array]:
        """Return breaches and fines."""
        return {"offences": own.breaches / self.rounds, "penalties": own.paid}
