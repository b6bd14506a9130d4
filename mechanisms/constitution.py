"""Constitution: rules that the players propose, amend and live under."""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from ..envs.core import validate
from ..envs.core.arrays import Array, full, look_up, namespace, to_float, to_int, total
from ..envs.core.chance import whole
from ..envs.core.fields import Choice, Field, Role
from ..envs.core.game import Acts, Game, Measure, Outcome, Seen, Stage, shared, spread
from ..envs.core.mechanism import Institution, Layered, Mechanism, Unfit, chosen, joined, players_of, several
from ._options import Optioned, budget_of, check_label, in_words, labelled, tuples
from ._parameters import changed_all
from .sanction import Sanction

THRESHOLD = "threshold"
NOTHING = "nothing"


@dataclass(frozen=True)
class Article:
    """A parameter that can be amended, of a mechanism or of the constitution itself.

    Parameters
    ----------
    mechanism
        The mechanism; None for the constitution. Articles on equal mechanisms are about one institution.
    parameter
        Its parameter, or a parameter of a part of it ("terms.limit"); of the constitution only "threshold".
    options
        Values of the parameter; the first is the status quo. With one option the article cannot be amended. Fields and
        state of the mechanism must not depend on them.
    threshold
        Share of the votes that it takes to amend this article (an entrenched clause); None for that of the constitution.
    name
        Name of the article, an identifier; empty for that of mechanism and parameter.
    """

    mechanism: Mechanism | None
    parameter: str
    options: tuple[Any, ...]
    threshold: float | None = None
    name: str = ""

    def __post_init__(self) -> None:
        """Refuse what can be no article."""
        mechanism: Any = self.mechanism
        options: Any = self.options
        if mechanism is not None and not isinstance(mechanism, Mechanism):
            raise ValueError(f"mechanism: a mechanism, or None for the constitution itself, got {mechanism!r}")
        if not isinstance(options, list | tuple) or not 1 <= len(options) <= 16:
            raise ValueError(f"options: 1 to 16 values, got {options!r}")
        object.__setattr__(self, "options", tuples(list(options)))
        if len(set(self.labels)) < len(self.options):
            raise ValueError(f"options: distinct values, got {', '.join(self.labels)}")
        if self.threshold is not None:
            validate.real("threshold", self.threshold, 0.5, 1.0)
        if self.mechanism is None:
            validate.one_of("parameter", self.parameter, (THRESHOLD,))
            for i, option in enumerate(self.options):
                validate.real(f"options[{i}]", option, 0.5, 1.0)
        if not self.name:
            of = "" if self.mechanism is None else f"{type(self.mechanism).__name__.lower()}_"
            object.__setattr__(self, "name", of + self.parameter.replace(".", "_"))
        if not self.name.isidentifier():
            raise ValueError(f"name: an identifier, got {self.name!r}")

    @property
    def labels(self) -> tuple[str, ...]:
        """The options in words."""
        return tuple(map(in_words, self.options))

    @property
    def subject(self) -> str:
        """What the article is on, in words."""
        return f"{self.parameter} of {'the constitution' if self.mechanism is None else self.mechanism.name}"


class Law(NamedTuple):
    """Articles on one institution: their positions, and the options of all of them together, the last one changing first."""

    places: tuple[int, ...]
    sizes: tuple[int, ...]
    parameters: str
    labels: tuple[str, ...]
    candidates: tuple[Mechanism, ...]


@dataclass(frozen=True)
class Constitution(Mechanism):
    """Institutions that act on the players, and a rule by which the players amend them (Ostrom 1990).

    Before a round one player proposes a new value of one article, or nothing; then all vote yes or no. Who may propose has
    power: against a status quo q and a median voter m, a setter with a higher peak gets up to 2 m - q under majority
    (Romer and Rosenthal 1978, doi:10.1007/BF03187594). The more votes an amendment takes, the less can be imposed on a
    player and the longer what is bad for most stays (Buchanan and Tullock 1962); nothing that a vote of all passes
    makes anybody worse off (Wicksell 1896). The threshold may itself be an article: rules that choose themselves
    (Barbera and Jackson 2004).

    Parameters
    ----------
    articles
        What can be amended. Without any the game is itself.
    threshold
        Share of the votes that an amendment takes, from 0.5 to 1, and always more than half: 0.5 is majority, 2/3 a
        qualified one, 1 unanimity. None for 0.5, or the first option of the article on it.
    agenda
        Who proposes: ``"rotating"`` (in turn), ``"random"`` (drawn anew for each meeting), or the name of a player.
    period
        Rounds from one meeting to the next, the first before the first round; 0 for none: the institutions act as their
        first options have it, and nothing can be amended.
    delay
        Rounds that are still played under the old rules after an amendment has passed.
    roles
        Roles that propose and vote; empty for all.
    label
        Ends the names of stages, fields and measures, so that a game can be under several; empty for none.
    """

    articles: tuple[Article, ...] = ()
    threshold: float | None = None
    agenda: str = "rotating"
    period: int = 1
    delay: int = 0
    roles: tuple[str, ...] = ()
    label: str = ""

    def __post_init__(self) -> None:
        """Refuse articles that contradict each other, and parameters out of range."""
        given: Any = self.articles
        if not isinstance(given, list | tuple) or not all(isinstance(article, Article) for article in given):
            raise ValueError(f"articles: a list of articles, got {given!r}")
        object.__setattr__(self, "articles", tuple(given))
        object.__setattr__(self, "roles", validate.names("roles", self.roles))
        names = [article.name for article in self.articles]
        if len(set(names)) < len(names):
            raise ValueError(f"articles: each has a name of its own, got {', '.join(names)}")
        agenda: Any = self.agenda
        if not isinstance(agenda, str) or not agenda:
            raise ValueError(f"agenda: 'rotating', 'random' or the name of a player, got {agenda!r}")
        validate.whole("period", self.period, 0, 1_000_000)
        validate.whole("delay", self.delay, 0, 1_000_000)
        check_label(self.label)
        if self.threshold is not None:
            validate.real("threshold", self.threshold, 0.5, 1.0)
            if self.reflexive is not None and self.articles[self.reflexive].options[0] != self.threshold:
                raise ValueError(
                    f"threshold: the first option of the article on it, or None, got {self.threshold!r} and "
                    f"{self.articles[self.reflexive].options[0]!r}"
                )
        for law in self.laws:
            if len(law.candidates) > 64:
                raise ValueError(
                    f"articles: at most 64 values of one institution together, got {len(law.candidates)} of "
                    f"{law.candidates[0].name}"
                )

    @property
    def reflexive(self) -> int | None:
        """Position of the article on the threshold, if there is one."""
        return next((k for k, article in enumerate(self.articles) if article.mechanism is None), None)

    @functools.cached_property
    def laws(self) -> tuple[Law, ...]:
        """The institutions, each with the mechanism that it is under every combination of its articles' options."""
        groups: dict[Mechanism, list[int]] = {}
        for k, article in enumerate(self.articles):
            if article.mechanism is not None:
                groups.setdefault(article.mechanism, []).append(k)
        laws = []
        for mechanism, places in groups.items():
            own = [self.articles[k] for k in places]
            if len({article.parameter for article in own}) < len(own):
                raise ValueError(f"articles: one on each parameter of {mechanism.name}")
            labels = itertools.product(*(article.labels for article in own))
            values = itertools.product(*(article.options for article in own))
            names = [article.parameter for article in own]
            laws.append(
                Law(
                    places=tuple(places),
                    sizes=tuple(len(article.options) for article in own),
                    parameters=" and ".join(names),
                    labels=tuple(map(" and ".join, labels)),
                    candidates=tuple(changed_all(mechanism, dict(zip(names, row, strict=True))) for row in values),
                )
            )
        return tuple(laws)

    @property
    def budget(self) -> float | None:  # type: ignore[override]
        """The budgets of the institutions together, each the largest that its options have."""
        known = [budget_of(law.candidates) for law in self.laws]
        return None if None in known else float(sum(budget for budget in known if budget is not None))

    @classmethod
    def suited(cls, game: Game) -> Self:
        """Return a constitution that has the fine of sanctions amended by majority or, if that is amended, unanimity."""
        several(game)
        return cls((Article(Sanction(), "fine", (0.0, 2.0, 5.0)), Article(None, THRESHOLD, (0.5, 1.0))))

    def apply(self, game: Game) -> Game:
        """Return the game under the institutions, and the constitution where it can be amended."""
        amendable = self.period > 0 and any(len(article.options) > 1 for article in self.articles)
        if amendable:
            return Constituted(game, self)
        return functools.reduce(operator.or_, (law.candidates[0] for law in self.laws), game)


class LawState(NamedTuple):
    """The options in force (*batch), and the state of the institution."""

    chosen: Array
    inner: Any


class Governed(Optioned):
    """A game under one institution of a constitution; the constitution writes into its state which options are in force."""

    def __init__(self, base: Game, mechanism: Constitution, law: Law) -> None:
        about = (law.parameters, law.candidates[0].name)
        super().__init__(
            base, mechanism, about, law.labels, law.candidates, ("articles", "it cannot be amended: see Vote")
        )
        self.law = law

    @property
    def terms(self) -> str:
        """What each option means, in words."""
        if len(self.under) == 1:
            return self.under[0].terms
        given = f"{self.law.parameters} {'is' if len(self.law.places) == 1 else 'are'}"
        lines = [f"- If {given} {means}" for means in self.options_in_words]
        return "\n".join([f"There are rules on {self.law.candidates[0].name}:", *lines])

    def begin(self, base: Any, u: Array) -> LawState:
        """Start with the status quo."""
        zero = full(u, tuple(u.shape[:-1]), 0, integer=True)
        return LawState(zero, self._begun(zero, base, u))

    def meet(
        self, stage: Array, own: LawState, base: Any, acts: Mapping[str, Acts], u: Array
    ) -> tuple[LawState, dict[str, Array], Array | None]:
        """Play the stages of the institution in force."""
        inner, rewards, welfare = self._met(stage, own, base, acts, u)
        return own._replace(inner=inner), rewards, welfare


class ConstitutionState(NamedTuple):
    """What is in force, has passed and waits, and for how many rounds still, by article (*batch, articles).

    Who proposes next, what has been proposed (0 for nothing, then option by option), what came of it (0 nothing yet, 1
    nothing was proposed, 2 rejected, 3 passed) and how many amendments passed and were rejected so far are (*batch); last
    votes (0 none, 1 no, 2 yes) are (*batch, voters).
    """

    force: Array
    coming: Array
    left: Array
    turn: Array
    proposal: Array
    verdict: Array
    votes: Array
    passed: Array
    rejected: Array


class Constituted(Institution):
    """A game whose players amend the institutions that they are under."""

    mechanism: Constitution

    def __init__(self, base: Game, mechanism: Constitution) -> None:
        self.game = base
        for law in mechanism.laws:
            if len(law.candidates) > 1 or base | law.candidates[0] is not base:  # what is never to be is left out
                base = Governed(base, mechanism, law)
        super().__init__(base, mechanism)
        self.voters = chosen(self.game, mechanism.roles)
        self.people = players_of(self.game, self.voters)
        self.articles = mechanism.articles
        self.fixed = mechanism.agenda not in ("rotating", "random")
        if self.fixed and mechanism.agenda not in self.people:
            raise Unfit(f"agenda: 'rotating', 'random' or one of {', '.join(self.people)}, got {mechanism.agenda!r}")
        self.first = self.people.index(mechanism.agenda) if self.fixed else 0
        self.own_draws = int(mechanism.agenda == "random")
        said = self._said
        self.opening = (
            Stage(said("amend"), f"{self._when}: one player proposes an amendment of the constitution, or nothing"),
            Stage(
                said("ratify"), "all vote on the amendment; where nothing new is proposed their votes change nothing"
            ),
        )
        # what can be proposed: nothing, or a value of an article that has several
        motions = [(k, o) for k, a in enumerate(self.articles) for o in range(len(a.options)) if len(a.options) > 1]
        self.headings = (
            NOTHING,
            *(f"{self.articles[k].name}: {self.articles[k].labels[o]}" for k, o in motions),
        )
        self.on, self.to = (-1, *(k for k, _ in motions)), (0, *(o for _, o in motions))
        self.quorums = tuple(map(self._needed, self.articles))
        self.own_reports = (
            Measure(said("amendments"), "amendments that passed in an episode", "number of amendments", "amendments"),
            Measure(said("rejections"), "amendments that were voted down", "number of amendments", "amendments"),
            *(
                Measure(
                    said(f"final_{article.name}"),
                    f"option of the article on {article.subject} in force at the end, 0 is the status quo",
                    "index of the option",
                )
                for article in self.articles
            ),
        )

    def _said(self, name: str) -> str:
        return labelled(name, self.mechanism.label)

    @property
    def _when(self) -> str:
        period = self.mechanism.period
        return "before each round" if period == 1 else f"before the first round and every {period} rounds after it"

    @property
    def name(self) -> str:
        """Name of the game and the constitution."""
        return f"{self.game.name} | {self.mechanism.name}"

    # ---- how many votes it takes ----------------------------------------------------------------------------------

    def needed(self, share: float) -> int:
        """Return how many votes a share of them is: more than half, at least the share."""
        voters = len(self.people)
        return max(voters // 2 + 1, math.ceil(share * voters - 1e-9))

    def _shares(self, article: Article) -> tuple[float, ...]:
        """Return the share of votes that it takes to amend an article, for each option of the article on thresholds."""
        dial = self.mechanism
        if article.threshold is not None:
            return (article.threshold,)
        if dial.reflexive is not None:
            return self.articles[dial.reflexive].options
        return (0.5 if dial.threshold is None else dial.threshold,)

    def _needed(self, article: Article) -> tuple[int, ...]:
        """Return the votes that it takes to amend an article, for each option of the article on thresholds."""
        return tuple(map(self.needed, self._shares(article)))

    def _quorum(self, article: int, force: Array) -> Array | int:
        """Return the votes that it takes to amend an article, (*batch)."""
        table, reflexive = self.quorums[article], self.mechanism.reflexive
        return table[0] if len(table) == 1 or reflexive is None else look_up(force, table, force[..., reflexive])

    # ---- in words and fields ------------------------------------------------------------------------------------

    @property
    def terms(self) -> str:
        """The constitution in words."""
        dial, n = self.mechanism, len(self.people)
        who = {
            "rotating": f"{', '.join(self.people)} take turns to propose",
            "random": f"one of {', '.join(self.people)}, drawn by lot for each meeting, proposes",
        }.get(dial.agenda, f"{dial.agenda} proposes")
        lines = [
            f"These rules are articles of a constitution that can be amended. {self._when[0].upper()}{self._when[1:]} {who} "
            "a new value of one article, or nothing. Then "
            f"{', '.join(self.people)} vote yes or no, all at once; votes are public once they are cast. "
            + (
                "An amendment that passes is in force at once."
                if dial.delay == 0
                else f"What passes comes into force after {dial.delay} more "
                f"round{'s' if dial.delay > 1 else ''} under the old rules; "
                "what passes meanwhile on the same article replaces it."
            )
        ]
        for article in self.articles:
            said = f"- {article.name} ({article.subject}): {article.labels[0]} at first"
            if len(article.options) == 1:
                lines.append(f"{said}, for good.")
                continue
            said += f"; it can be {' or '.join(article.labels)}."
            counts = self._needed(article)
            if len(counts) == 1 or dial.reflexive is None:
                lines.append(f"{said} An amendment takes {counts[0]} of {n} votes.")
            else:
                own = self.articles[dial.reflexive]
                told = (f"{count} where {own.name} is {label}" for count, label in zip(counts, own.labels, strict=True))
                lines.append(f"{said} An amendment takes, of {n} votes, {', '.join(told)}.")
        return "\n".join(lines)

    def _law(self, article: Article) -> str:
        return self._said(f"law_{article.name}")

    def _coming(self, article: Article) -> str:
        return self._said(f"coming_{article.name}")

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show the articles, whose turn it is to propose, what has been proposed and who voted for it."""
        said = self._said
        fields = [
            Field(self._law(a), Choice(a.labels), f"{a.subject}, as in force", verifiable=True) for a in self.articles
        ]
        if self.mechanism.delay:
            fields += [
                Field(self._coming(a), Choice(a.labels), f"{a.subject}, as it is or soon will be", verifiable=True)
                for a in self.articles
            ]
        verdicts = Choice(("none yet", "nothing new proposed", "rejected", "passed"))
        votes = Choice(("no vote", "no", "yes"))
        return (
            *fields,
            Field(said("proposer"), Choice(self.people), "who proposes, now or at the next meeting", verifiable=True),
            Field(said("proposal"), Choice(self.headings), "the amendment that was last proposed", verifiable=True),
            Field(said("verdict"), verdicts, "what came of the last proposal that was voted on", verifiable=True),
            Field(said("votes"), votes, "how each last voted on an amendment", each=self.people, verifiable=True),
        )

    def acts(self, role: Role) -> tuple[Field, ...]:
        """Ask for a proposal, and for a vote."""
        if role.name not in self.voters:
            return ()
        said, asked = self._said, []
        mine = tuple(i for i, player in enumerate(role.players) if player == self.people[self.first])
        if mine or not self.fixed:
            means = "the amendment that you propose" + ("" if self.fixed else "; it counts if you are the proposer")
            by = mine if self.fixed else None
            asked.append(Field(said("amendment"), Choice(self.headings), means, stage=said("amend"), by=by))
        means = "whether you vote for the amendment that is proposed"
        return (*asked, Field(said("approve"), Choice(("no", "yes")), means, stage=said("ratify")))

    # ---- in arrays ----------------------------------------------------------------------------------------------

    def begin(self, base: Any, u: Array) -> ConstitutionState:
        """Start with the status quo."""
        batch = tuple(u.shape[:-1])
        none = full(u, (*batch, len(self.articles)), 0, integer=True)
        zero, votes = full(u, batch, 0, integer=True), full(u, (*batch, len(self.people)), 0, integer=True)
        turn = self._drawn(u) if self.own_draws else zero + self.first
        return ConstitutionState(none, none, none, turn, zero, zero, votes, to_float(zero), to_float(zero))

    def _drawn(self, u: Array) -> Array:
        return whole(u[..., 0], 0, len(self.people) - 1)

    def step(self, state: Layered, acts: Mapping[str, Acts], u: Array) -> Outcome:
        """Advance by one stage, and let the institutions know what is now in force."""
        outcome = super().step(state, acts, u)
        return outcome._replace(state=self._enacted(outcome.state))

    def _enacted(self, state: Layered) -> Layered:
        return state._replace(base=self._written(self.base, state.base, state.own.force))

    def _written(self, game: Game, state: Any, force: Array) -> Any:
        """Return the state of the game with the options in force written into that of each institution."""
        if game is self.game:
            return state
        assert isinstance(game, Governed)
        law = game.law
        option = force[..., law.places[0]]
        for place, size in zip(law.places[1:], law.sizes[1:], strict=True):
            option = option * size + force[..., place]
        return state._replace(base=self._written(game.base, state.base, force), own=state.own._replace(chosen=option))

    def opens(self, own: ConstitutionState, base: Any) -> Array | None:
        """Say in which worlds there is a meeting before the coming round."""
        return None if self.mechanism.period == 1 else self.base.round(base) % self.mechanism.period == 0

    def meet(
        self, stage: Array, own: ConstitutionState, base: Any, acts: Mapping[str, Acts], u: Array
    ) -> tuple[ConstitutionState, dict[str, Array], Array | None]:
        """Take down what is proposed; then count the votes."""
        xp, said, proposing = namespace(stage), self._said, stage == 0
        if self.fixed:
            role, _, seat = self.people[self.first].rpartition("_")
            motion = to_int(acts[role][said("amendment")][..., int(seat)])
        else:
            motions = to_int(joined({name: acts[name][said("amendment")] for name in self.voters}, self.voters))
            motion = sum(
                (motions[..., i] * to_int(own.turn == i) for i in range(1, len(self.people))),
                motions[..., 0] * to_int(own.turn == 0),
            )
        votes = to_int(joined({name: acts[name][said("approve")] for name in self.voters}, self.voters))
        article, option = (look_up(stage, column, own.proposal) for column in (self.on, self.to))
        coming, yes = own.coming, total(votes)
        hits = [
            (article == k) & (option != coming[..., k]) & ~proposing if len(a.options) > 1 else proposing & ~proposing
            for k, a in enumerate(self.articles)
        ]
        passes = [hit & (yes >= self._quorum(k, own.force)) for k, hit in enumerate(hits)]
        put, passed = (functools.reduce(operator.or_, found) for found in (hits, passes))
        enacts = xp.stack(passes, axis=-1)
        coming = xp.where(enacts, option[..., None], coming)
        voted = xp.where(put, 2 + to_int(passed), 1)
        turn = self._drawn(u) if self.own_draws else (own.turn + int(not self.fixed)) % len(self.people)
        after = ConstitutionState(
            force=own.force if self.mechanism.delay else xp.where(enacts, coming, own.force),
            coming=coming,
            left=xp.where(enacts, self.mechanism.delay, own.left),
            turn=xp.where(proposing, own.turn, turn),
            proposal=xp.where(proposing, motion, own.proposal),
            verdict=xp.where(proposing, own.verdict, voted),
            votes=xp.where(proposing[..., None], own.votes, xp.where(put[..., None], 1 + votes, own.votes * 0)),
            passed=own.passed + to_float(passed),
            rejected=own.rejected + to_float(put & ~passed),
        )
        return after, {}, None

    def settle(
        self, own: ConstitutionState, outcome: Outcome, ended: Array, u: Array
    ) -> tuple[ConstitutionState, Outcome]:
        """Bring into force what has waited long enough."""
        if not self.mechanism.delay:
            return own, outcome
        xp, waits = namespace(own.left), ended[..., None] & (own.left > 0)
        force = xp.where(waits & (own.left == 1), own.coming, own.force)
        return own._replace(force=force, left=own.left - to_int(waits)), outcome

    def show(self, own: ConstitutionState, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show everyone the constitution and how it is being amended."""
        said, shown = self._said, {}
        for role in self.base.roles:
            n = role.count
            extra = {self._law(a): spread(own.force[..., k], n) for k, a in enumerate(self.articles)}
            if self.mechanism.delay:
                extra |= {self._coming(a): spread(own.coming[..., k], n) for k, a in enumerate(self.articles)}
            extra[said("proposer")] = spread(own.turn, n)
            extra[said("proposal")] = spread(own.proposal, n)
            extra[said("verdict")] = spread(own.verdict, n)
            extra[said("votes")] = shared(own.votes, n)
            shown[role.name] = {**seen[role.name], **extra}
        return shown

    def account(self, own: ConstitutionState) -> dict[str, Array]:
        """Return how many amendments passed and failed, and what is in force."""
        said = self._said
        return {
            said("amendments"): own.passed,
            said("rejections"): own.rejected,
            **{said(f"final_{a.name}"): to_float(own.force[..., k]) for k, a in enumerate(self.articles)},
        }
