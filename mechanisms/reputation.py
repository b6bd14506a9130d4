"""Reputation: a score that everybody sees, kept by a social norm; no payoff changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from ..envs.core import validate
from ..envs.core.arrays import Array, full, namespace, to_float, to_int
from ..envs.core.fields import Choice, Field, Integer, Role
from ..envs.core.game import Game, Measure, Outcome, Seen, shared
from ..envs.core.mechanism import Institution, Mechanism, Unfit, players_of
from .rule import Rule

NORMS = ("none", "image", "standing", "stern")


@dataclass(frozen=True)
class Reputation(Mechanism):
    """A reputation for what one did last, updated after each round by a social norm; information only.

    ``"image"``: a score rises by 1 after a good act and falls by 1 after a bad one, between -most and most, from 0 on
    (Nowak and Sigmund 1998, doi:10.1038/31225). Under the other norms one is good or bad, and good at first.
    ``"standing"``: a good act makes good; a bad act towards good players makes bad; a bad act towards bad ones changes
    nothing (Sugden 1986; Leimar and Hammerstein 2001). ``"stern"``: good is who acts well towards good players or badly
    towards bad ones; all else makes bad (Kandori 1992, doi:10.2307/2297925; Pacheco, Santos and Chalub 2006,
    doi:10.1371/journal.pcbi.0020178). Those towards whom one acts are all other players who have a reputation; they count
    as good if at least half of them were good before the round. With two players that is the opponent.

    Parameters
    ----------
    field
        The verifiable field that is judged, each player's own, as it stands after a round.
    good
        Options of the field that are good acts; all others are bad.
    limit
        Where the field is a number: values up to it are good acts.
    least
        Where the field is a number: values from it on are good acts. One of this, ``limit`` and ``good`` is given.
    norm
        ``"none"`` (the game itself), ``"image"``, ``"standing"`` or ``"stern"``.
    public
        Whether there is one reputation of each player, which all see; else each player has an opinion of her own of
        everybody, herself included, judges by her own opinions, and errs on her own.
    noise
        Probability that an act is judged the opposite of what the norm says, drawn for each player judged (and, where
        opinions are private, each who judges) and round.
    most
        Highest score under ``"image"``.
    roles
        Roles that have a reputation; empty for all that see the field.
    """

    field: str
    good: tuple[str, ...] = ()
    limit: float | None = None
    norm: str = "image"
    public: bool = True
    noise: float = 0.0
    most: int = 5
    roles: tuple[str, ...] = ()
    least: float | None = None

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        object.__setattr__(self, "good", validate.names("good", self.good))
        object.__setattr__(self, "roles", validate.names("roles", self.roles))
        validate.one_of("norm", self.norm, NORMS)
        validate.probability("noise", self.noise)
        validate.whole("most", self.most, 1, 1_000_000)
        _ = self.rule

    @property
    def rule(self) -> Rule:
        """Which acts are good."""
        return Rule(self.field, self.good, self.limit, "good", self.least)

    @classmethod
    def suited(cls, game: Game) -> Self:
        """Return stern judging, with errors, of the first verifiable fact."""
        rule = Rule.suited(game)
        return cls(rule.field, rule.options, rule.limit, norm="stern", noise=0.1)

    def apply(self, game: Game) -> Game:
        """Return the game with reputations."""
        return game if self.norm == "none" else Reputed(game, self)


class ReputationState(NamedTuple):
    """Reputations (*batch, judges, players), with a single judge where they are public: scores, or 1 good and 0 bad."""

    score: Array


class Reputed(Institution):
    """A game in which players have a reputation."""

    mechanism: Reputation

    def __init__(self, base: Game, mechanism: Reputation) -> None:
        super().__init__(base, mechanism)
        self.image = mechanism.norm == "image"
        self.rule = mechanism.rule
        self.judged = self.rule.holders(base, mechanism.roles)
        self.people = players_of(base, self.judged)
        if len(self.people) < 2:
            raise Unfit(f"roles: at least 2 players must have a reputation, got {', '.join(self.people)}")
        self.judges = 1 if mechanism.public else len(self.people)
        self.own_draws = self.judges * len(self.people) if mechanism.noise else 0
        means, formula = (
            ("mean score at the end", "mean over judges and players of the score")
            if self.image
            else ("share of good reputations at the end", "#{(judge, i): i is good} / #{(judge, i)}")
        )
        self.own_reports = (Measure("reputation", means, formula, "points" if self.image else ""),)

    @property
    def terms(self) -> str:
        """The institution in words."""
        dial = self.mechanism
        norm = {
            "image": f"a score, 0 at first, which rises by 1 after a good act and falls by 1 after any other, between "
            f"-{dial.most} and {dial.most}",
            "standing": "good or bad, good at first: a good act makes good; any other act makes bad if the others were good "
            "before the round, and changes nothing if they were bad",
            "stern": "good or bad, good at first: good is who acts well when the others were good before the round, or does "
            "not act well when they were bad; who does otherwise is bad",
        }[dial.norm]
        many = not self.image and len(self.people) > 2
        others = " The others count as good if at least half of them are." if many else ""
        who = (
            "All see the reputations."
            if dial.public
            else "Each has an opinion of her own of everybody, and sees that of nobody else."
        )
        error = f" Each judgement is the opposite with probability {dial.noise:g}." if dial.noise else ""
        return (
            f"Each of {', '.join(self.people)} has a reputation, judged after each round: {norm}. A good act is: {self.rule.text}."
            f"{others} {who}{error} It changes no payoff."
        )

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show the reputations."""
        if not self.mechanism.public and role.name not in self.judged:
            return ()
        most = self.mechanism.most
        space = Integer(-most, most) if self.image else Choice(("bad", "good"))
        means = "each one's reputation" if self.mechanism.public else "your own opinion of each"
        return (Field("reputation", space, means, each=self.people, verifiable=self.mechanism.public),)

    def begin(self, base: Any, u: Array) -> ReputationState:
        """Start with a score of 0, or as good."""
        shape = (*u.shape[:-1], self.judges, len(self.people))
        return ReputationState(full(u, shape, 0 if self.image else 1, integer=True))

    def settle(self, own: ReputationState, outcome: Outcome, ended: Array, u: Array) -> tuple[ReputationState, Outcome]:
        """Judge what was done in the round."""
        xp, score, n = namespace(own.score), own.score, len(self.people)
        well = ~self.rule.broken(self.base, self.base.view(outcome.state), self.judged)[..., None, :]
        if not self.image:
            others = xp.sum(score, axis=-1)[..., None] - score
            worthy = 2 * others >= n - 1
            well = well == worthy if self.mechanism.norm == "stern" else well | (~worthy & (score == 1))
        if self.own_draws:
            well = well != (u.reshape(score.shape) < self.mechanism.noise)
        after = to_int(well)
        if self.image:
            after = xp.clip(score + 2 * after - 1, -self.mechanism.most, self.mechanism.most)
        return ReputationState(xp.where(ended[..., None, None], after, score)), outcome

    def show(self, own: ReputationState, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show everyone the public reputations, or each her own opinions."""
        shown, begin = dict(seen), 0
        for role in self.base.roles:
            if self.mechanism.public:
                shown[role.name] = {**seen[role.name], "reputation": shared(own.score[..., 0, :], role.count)}
        if not self.mechanism.public:
            for name in self.judged:
                count = self.base.role(name).count
                shown[name] = {**seen[name], "reputation": own.score[..., begin : begin + count, :]}
                begin += count
        return shown

    def account(self, own: ReputationState) -> dict[str, Array]:
        """Return the mean reputation."""
        xp = namespace(own.score)
        return {"reputation": xp.mean(xp.mean(to_float(own.score), axis=-1), axis=-1)}
