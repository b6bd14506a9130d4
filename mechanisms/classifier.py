"""Classifier: an institution labels what each did right or wrong, in public; and the rules by which others judge too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from ..envs.core import validate
from ..envs.core.arrays import Array, full, namespace, to_float, to_int
from ..envs.core.fields import Choice, Field, Role
from ..envs.core.game import Game, Measure, Outcome, Seen
from ..envs.core.mechanism import Institution, Mechanism, parted, players_of, told
from .rule import Rule

LABELS = ("right", "wrong", "none")


@dataclass(frozen=True)
class Classifier(Mechanism):
    """An institution that says in public what was right and what was wrong, and does nothing else (Hadfield and Weingast
    2012, doi:10.1093/jla/las008).

    The label is a verifiable field on which a contract can condition, for example ``Compensation(field="label",
    wrong="wrong", right="right")``. Players are not told when the institution changes its mind: they see it in labels.

    Parameters
    ----------
    field
        The verifiable field that is judged, each player's own, as it stands after a round.
    wrong
        Options of the field that are wrong at first; all others are right.
    limit
        Where the field is a number: values above it are wrong at first. Either this or ``wrong`` is given.
    accuracy
        Probability that a label is what the institution's present view of the act says, drawn for each player and
        round; else it is the opposite.
    changes
        Probability that after a round the institution changes its mind: what was wrong is right from then on, and the
        other way round, until it changes again.
    roles
        Roles that are judged; empty for all that see the field.
    """

    field: str
    wrong: tuple[str, ...] = ()
    limit: float | None = None
    accuracy: float = 1.0
    changes: float = 0.0
    roles: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        object.__setattr__(self, "wrong", validate.names("wrong", self.wrong))
        object.__setattr__(self, "roles", validate.names("roles", self.roles))
        validate.probability("accuracy", self.accuracy)
        validate.probability("changes", self.changes)
        _ = self.rule

    @property
    def rule(self) -> Rule:
        """What is wrong at first."""
        return Rule(self.field, self.wrong, self.limit)

    @classmethod
    def suited(cls, game: Game) -> Self:
        """Return a classifier of the first verifiable fact, which errs and changes its mind."""
        rule = Rule.suited(game)
        return cls(rule.field, rule.options, rule.limit, accuracy=0.9, changes=0.2)

    def apply(self, game: Game) -> Game:
        """Return the game with a label for everybody after each round."""
        return Classified(game, self)


class ClassifierState(NamedTuple):
    """Labels (*batch, players), indices of LABELS; whether the view is reversed, 0 or 1 (*batch); and books (*batch)."""

    label: Array
    reversed: Array
    wrong: Array
    turns: Array


class Classified(Institution):
    """A game in which an institution labels acts."""

    mechanism: Classifier
    own_reports = (
        Measure(
            "labelled_wrong",
            "share of acts that were labelled wrong",
            "#{(i, t): label_it = wrong} / (n T)",
            source="Hadfield and Weingast 2012",
            better="lower",
        ),
        Measure(
            "mind_changes", "changes of mind of the institution in an episode", "number of changes", better="lower"
        ),
    )

    def __init__(self, base: Game, mechanism: Classifier) -> None:
        super().__init__(base, mechanism)
        self.rule = mechanism.rule
        self.judged = self.rule.holders(base, mechanism.roles)
        self.people = players_of(base, self.judged)
        self.errs = len(self.people) if mechanism.accuracy < 1.0 else 0
        self.own_draws = self.errs + (1 if mechanism.changes else 0)

    @property
    def terms(self) -> str:
        """The institution in words."""
        dial = self.mechanism
        said = [
            f"After each round an institution labels what each of {', '.join(self.people)} did as right or wrong, for all to "
            f"see; at first wrong is: {self.rule.text}."
        ]
        if self.errs:
            said.append(f"Each label is mistaken with probability {1 - dial.accuracy:.4g}.")
        if dial.changes:
            said.append(
                f"After each round the institution changes its mind with probability {dial.changes:g}: what was wrong is then "
                "right, and what was right is wrong, until it changes again. Nobody is told of it."
            )
        return " ".join(said)

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show the labels."""
        space = Choice(LABELS)
        own = Field("label", space, "what your last act was labelled (none before the first round)", verifiable=True)
        means = "what each one's last act was labelled"
        every = Field("labels", space, means, each=self.people, verifiable=True)
        return (own, every) if role.name in self.judged else (every,)

    def begin(self, base: Any, u: Array) -> ClassifierState:
        """Start without labels, with the view that is told."""
        batch = tuple(u.shape[:-1])
        zero = full(u, batch, 0.0)
        label = full(u, (*batch, len(self.people)), LABELS.index("none"), integer=True)
        return ClassifierState(label, full(u, batch, 0, integer=True), zero, zero)

    def settle(self, own: ClassifierState, outcome: Outcome, ended: Array, u: Array) -> tuple[ClassifierState, Outcome]:
        """Label what was done in the round; then perhaps change the view."""
        xp = namespace(own.label)
        wrong = (
            self.rule.broken(self.base, self.base.view(outcome.state), self.judged) != (own.reversed == 1)[..., None]
        )
        if self.errs:
            wrong = wrong != (u[..., : self.errs] >= self.mechanism.accuracy)
        label = xp.where(ended[..., None], to_int(wrong), own.label)
        share = xp.mean(to_float(wrong), axis=-1) * to_float(ended)
        own = own._replace(label=label, wrong=own.wrong + share)
        if self.mechanism.changes:
            turns = to_int(ended & (u[..., -1] < self.mechanism.changes))
            own = own._replace(reversed=(own.reversed + turns) % 2, turns=own.turns + to_float(turns))
        return own, outcome

    def show(self, own: ClassifierState, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show the labels to all."""
        return told(self.base, seen, {"labels": own.label}, {"label": parted(own.label, self.base, self.judged)})

    def account(self, own: ClassifierState) -> dict[str, Array]:
        """Return the share of acts labelled wrong, and the changes of mind."""
        return {"labelled_wrong": own.wrong / self.rounds, "mind_changes": own.turns}
