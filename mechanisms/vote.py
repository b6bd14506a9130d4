"""Vote: the players choose one parameter of another mechanism."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np

from ..envs.core import validate
from ..envs.core.arrays import Array, absent, align, common, full, namespace, to_float, to_int, tree_map
from ..envs.core.fields import Choice, Field, Integer, Real, Role
from ..envs.core.game import Acts, Game, Measure, Outcome, Seen, Stage, spread
from ..envs.core.mechanism import Institution, Layered, Mechanism, Unfit, parted, players_of
from . import tally
from .sanction import Sanction

RULES = {
    "majority": "the option that more than half vote for is in force; if there is none, the first option is",
    "plurality": "the option with the most votes is in force",
    "median": "the median of the votes, in the order of the options, is in force (of two middle votes the lower one)",
    "sortition": "the vote of one voter, drawn by lot, decides",
    "approval": "the option of which most approve is in force",
    "borda": "an option gets a point for each other option that a voter ranks below it, and the one with the most points "
    "is in force",
    "schulze": "options are compared two by two (Schulze's rule): one that beats each of the others is in force, and where "
    "none does, the one with the strongest chains of victories",
    "quadratic": "c credits buy the square root of c votes for an option, or against it; the option with the most votes "
    "is in force",
    "pivot": "the option with the highest sum of stated values is in force, and whoever turns the choice pays what the "
    "others lose by it; nobody receives that",
}
NAMING = ("majority", "plurality", "median", "sortition")
RANKING = ("borda", "schulze")


@dataclass(frozen=True)
class Vote(Mechanism):
    """A vote of all players on one parameter of another mechanism: rules that are chosen by those whom they bind.

    Once the vote is taken, the game is the one under the mechanism with the option chosen.

    Parameters
    ----------
    mechanism
        The mechanism on which the vote is; its other parameters stand.
    parameter
        Its parameter, or a parameter of a part of it ("terms.limit").
    options
        Values of the parameter; the first is the status quo. Fields and state of the mechanism must not depend on them.
    rule
        ``"majority"`` (of more than half; else the first option), ``"plurality"``, ``"median"`` (options in order; Black
        1948), ``"sortition"`` (a voter drawn by lot), ``"approval"``, ``"borda"``, ``"schulze"`` (2011), ``"quadratic"``
        (Lalley and Weyl 2018) or ``"pivot"`` (Clarke 1971: reported values, taxes that are lost to all).
    each_round
        Whether there is a vote before each round, not before the first one only.
    most
        What a voter may spend: credits (``"quadratic"``), or the highest value in units of reward (``"pivot"``).
    ties
        What decides between options that tie: ``"first"``, the one listed first, or ``"lot"``.
    roles
        Roles that vote; empty for all.
    """

    mechanism: Mechanism
    parameter: str
    options: tuple[Any, ...]
    rule: str = "majority"
    each_round: bool = False
    most: float = 100.0
    ties: str = "first"
    roles: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be voted on."""
        if not isinstance(self.mechanism, Mechanism):
            raise ValueError(f"mechanism: a mechanism, for example Sanction(), got {self.mechanism!r}")
        for name in ("options", "roles"):
            object.__setattr__(self, name, _tuples(list(getattr(self, name))))
        validate.one_of("rule", self.rule, tuple(RULES))
        validate.one_of("ties", self.ties, ("first", "lot"))
        validate.real("most", self.most, 1e-6, 1e9)
        if not 2 <= len(self.options) <= 16:
            raise ValueError(f"options: 2 to 16 values, got {self.options!r}")
        if len(set(self.labels)) < len(self.options):
            raise ValueError(f"options: distinct values, got {', '.join(self.labels)}")
        if self.rule == "median" and not _rising(self.options):
            raise ValueError(f"options: the median takes numbers that rise, got {self.options!r}")
        _ = self.candidates  # refuses an unknown parameter, and a value that the mechanism refuses

    @property
    def labels(self) -> tuple[str, ...]:
        """The options in words."""
        return tuple(f"{v:.12g}" if _is_number(v) else str(v) for v in self.options)

    @functools.cached_property
    def candidates(self) -> tuple[Mechanism, ...]:
        """The mechanism with each of the options."""
        return tuple(_changed(self.mechanism, self.parameter, option) for option in self.options)

    @property
    def budget(self) -> float | None:  # type: ignore[override]
        """The budget of the mechanism, the largest where it depends on the option."""
        known = [candidate.budget for candidate in self.candidates]
        return None if None in known else max(budget for budget in known if budget is not None)

    @property
    def name(self) -> str:
        """Name, with what the vote is on."""
        return f"Vote({self.mechanism.name}.{self.parameter})"

    @classmethod
    def suited(cls, game: Game) -> Self:
        """Return a vote on the fine of sanctions."""
        return cls(Sanction(), "fine", (0.0, 2.0, 5.0))

    def apply(self, game: Game) -> Game:
        """Return the game under the vote."""
        return Voted(game, self)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _rising(options: tuple[Any, ...]) -> bool:
    return all(map(_is_number, options)) and all(a < b for a, b in itertools.pairwise(options))


def _changed(part: Any, path: str, value: Any) -> Any:
    """Return a copy of a frozen dataclass with one parameter, of itself or of a part of it, replaced."""
    name, _, rest = path.partition(".")
    known = [f.name for f in dataclasses.fields(part)] if dataclasses.is_dataclass(part) else []
    if name not in known:
        has = (
            f"one of {', '.join(known)} of {type(part).__name__}"
            if known
            else f"{type(part).__name__} has no parameters"
        )
        raise ValueError(f"parameter: {has}, got {name!r}")
    return replace(part, **{name: _changed(getattr(part, name), rest, value) if rest else value})


def _frame(inner: Institution) -> tuple[Any, ...]:
    """Return all that players do and see under an institution, but for the bounds of the numbers that they see."""
    fields = []
    for role in inner.base.roles:
        seen = [
            replace(f, space=f.space if isinstance(f.space, Choice) else type(f.space)(0, 0)) for f in inner.sees(role)
        ]
        fields.append((tuple(seen), inner.acts(role)))
    return inner.before, inner.opening, inner.closing, inner.own_reports, tuple(fields)


def _hull(fields: tuple[Field, ...]) -> Field:
    """Return a field that takes the values of all of some fields, which differ in nothing but bounds."""
    spaces = [field.space for field in fields]
    if isinstance(spaces[0], Choice):
        return fields[0]
    kind: Any = type(spaces[0])
    return replace(fields[0], space=kind(min(s.low for s in spaces), max(s.high for s in spaces)))


def _leaves(tree: Any) -> list[Array]:
    """Return the arrays of a record, in order."""
    found: list[Array] = []
    tree_map(found.append, tree)
    return found


def _alike(one: Any, other: Any, *, values: bool) -> bool:
    """Say whether two records have the same form - and, if asked, the same numbers."""
    try:
        tree_map(lambda a, b: None, one, other)
    except (KeyError, TypeError, ValueError):
        return False
    pairs = list(zip(_leaves(one), _leaves(other), strict=True))
    return all(a.shape == b.shape and a.dtype == b.dtype and not (values and (a != b).any()) for a, b in pairs)


def _where(mask: Array, then: Array, otherwise: Array) -> Array:
    """Choose world by world between two arrays that may be one."""
    return then if then is otherwise else namespace(mask).where(align(mask, then), then, otherwise)


class VoteState(NamedTuple):
    """The option in force, -1 before a vote, and the sum of taxes (*batch); the state of the mechanism that is voted on."""

    chosen: Array
    taxed: Array
    inner: Any


MACHINERY = ("start", "view", "step", "stage", "round", "measures", "roles", "stages", "rounds", "horizon", "reports")


class Voted(Institution):
    """A game under a mechanism that the players choose: one institution an option, that in force chosen world by world."""

    mechanism: Vote
    own_reports: tuple[Measure, ...] = (
        Measure("option_chosen", "option in force at the end: 0 is the first, -1 none yet", "index of the option"),
    )

    def __init__(self, base: Game, mechanism: Vote) -> None:
        super().__init__(base, mechanism)
        self.voters_roles = mechanism.roles or tuple(role.name for role in base.roles)
        self.people = players_of(base, self.voters_roles)
        self.under = tuple(
            self._institution(base, *pair) for pair in zip(mechanism.labels, mechanism.candidates, strict=True)
        )
        first = self.under[0]
        self._check_alike()
        means = "before each round" if mechanism.each_round else "once, before the first round"
        stage = Stage("vote", f"{means}: the players vote on {mechanism.parameter} of {mechanism.mechanism.name}")
        self.before = first.before if mechanism.each_round else (stage, *first.before)
        self.opening = (stage, *first.opening) if mechanism.each_round else first.opening
        self.closing = first.closing
        self.lots = int(mechanism.rule == "sortition" or mechanism.ties == "lot")
        self.inner_draws = max(institution.own_draws for institution in self.under)
        self.own_draws = self.inner_draws + self.lots
        self.own_reports = first.own_reports + type(self).own_reports
        if mechanism.rule == "pivot":
            paid = Measure("vote_taxes", "taxes paid by those who turned a choice", "sum of taxes", better="lower")
            self.own_reports += (paid,)

    # ---- one institution an option ------------------------------------------------------------------------------

    @staticmethod
    def _institution(base: Game, label: str, candidate: Mechanism) -> Institution:
        under = base | candidate
        if not isinstance(under, Institution) or under.base is not base:
            raise Unfit(f"options: with {label} {candidate.name} is no institution on the game; leave that option out")
        kind = type(under)
        if any(getattr(kind, name) is not getattr(Institution, name) for name in MACHINERY):
            raise Unfit(
                f"mechanism: {candidate.name} is more than its hooks; a vote cannot choose among such institutions"
            )
        return under

    def _check_alike(self) -> None:
        """Raise Unfit if fields, stages or states depend on the option."""
        first, probe = self.under[0], np.full((1, self.base.draws), 0.5)
        state = self.base.start(probe)
        begun = [inner.begin(state, np.full((1, inner.own_draws), 0.5)) for inner in self.under]
        for label, inner, own in zip(self.mechanism.labels, self.under, begun, strict=True):
            if _frame(inner) != _frame(first) or not _alike(own, begun[0], values=False):
                raise Unfit(
                    f"options: {self.mechanism.parameter}={label} gives other stages, fields or a state of another form than "
                    f"{self.mechanism.labels[0]}; vote on options under which players decide the same"
                )
            if self.mechanism.each_round and (inner.before or not _alike(own, begun[0], values=True)):
                raise Unfit(
                    f"each_round: {self.mechanism.parameter} of {self.mechanism.mechanism.name} is settled before the first "
                    f"round; vote once"
                )

    def _chosen(self, chosen: Array, hook: Callable[[Institution], Any]) -> Any:
        """Return what a hook says under the option in force, world by world (under the first before any vote)."""
        if (known := common(chosen)) is not None:
            return hook(self.under[max(known, 0)])
        results = [hook(inner) for inner in self.under]
        found = results[0]
        for k, result in enumerate(results[1:], 1):
            mask = chosen == k
            found = tree_map(functools.partial(_where, mask), result, found)
        return found

    # ---- in words and fields ------------------------------------------------------------------------------------

    @property
    def terms(self) -> str:
        """The vote and what each option means, in words."""
        vote, when = (
            self.mechanism,
            "Before each round" if self.mechanism.each_round else "Once, before the first round,",
        )
        tied = {
            "first": "Of options that tie the one listed first wins.",
            "lot": "A lot decides between options that tie.",
        }
        tie = "" if vote.rule in ("majority", "median", "sortition") else f" {tied[vote.ties]}"
        lines = [
            f"{when} {', '.join(self.people)} vote on {vote.parameter} of {vote.mechanism.name}: {' or '.join(vote.labels)}. "
            f"Ballots are secret. {RULES[vote.rule][0].upper()}{RULES[vote.rule][1:]}.{tie}"
        ]
        if vote.rule == "quadratic":
            lines[0] += f" A voter has {vote.most:g} credits; who puts more has all of them scaled down to that."
        lines += [
            f"- If {vote.parameter} is {label}: {inner.terms.strip()}"
            for label, inner in zip(vote.labels, self.under, strict=True)
        ]
        return "\n".join(lines)

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show what the mechanism shows, and the option in force."""
        space = Choice((*self.mechanism.labels, "no vote yet"))
        means = f"{self.mechanism.parameter} of {self.mechanism.mechanism.name}, as voted"
        inner = tuple(_hull(fields) for fields in zip(*(under.sees(role) for under in self.under), strict=True))
        return (*inner, Field("in_force", space, means, verifiable=True))

    def acts(self, role: Role) -> tuple[Field, ...]:
        """Ask for what the mechanism asks for, and for a ballot."""
        inner = self.under[0].acts(role)
        return (self._ballot, *inner) if role.name in self.voters_roles else inner

    @functools.cached_property
    def _ballot(self) -> Field:
        vote, about = self.mechanism, f"on {self.mechanism.parameter}"
        if vote.rule in NAMING:
            return Field("ballot", Choice(vote.labels), f"the option you vote for, {about}", stage="vote")
        if vote.rule == "approval":
            means = f"whether you approve of each option {about}: 1 if so, else 0"
            return Field("ballot", Integer(0, 1), means, each=vote.labels, stage="vote")
        if vote.rule in RANKING:
            means = f"your rank for each option {about}: 1 is best, and equal ranks are allowed"
            return Field("ballot", Integer(1, len(vote.labels)), means, each=vote.labels, stage="vote")
        space = Real(-vote.most, vote.most)
        if vote.rule == "quadratic":
            means = f"the credits that you put on each option {about}; below zero against it"
            return Field("ballot", space, means, "credits", each=vote.labels, stage="vote")
        return Field("ballot", space, f"what each option {about} is worth to you", each=vote.labels, stage="vote")

    # ---- in arrays ----------------------------------------------------------------------------------------------

    def begin(self, base: Any, u: Array) -> VoteState:
        """Start before any vote."""
        zero = full(u, tuple(u.shape[:-1]), 0, integer=True)
        return VoteState(zero - 1, to_float(zero), self._begun(zero, base, u))

    def _begun(self, chosen: Array, base: Any, u: Array) -> Any:
        return self._chosen(chosen, lambda inner: inner.begin(base, u[..., : inner.own_draws]))

    def _count(self, acts: Mapping[str, Acts], u: Array) -> tuple[Array, Array | None]:
        """Return the winner (*batch), and the taxes (*batch, voters) where there are."""
        parts = [acts[name]["ballot"] for name in self.voters_roles]
        axis = -2 if self._ballot.each else -1
        ballots = parts[0] if len(parts) == 1 else namespace(parts[0]).concat(parts, axis=axis)
        rule, options = self.mechanism.rule, len(self.mechanism.options)
        lot = u[..., -1] if self.mechanism.ties == "lot" else None
        if rule == "pivot":
            return tally.pivot(to_float(ballots), lot)
        if rule == "sortition":
            return tally.winner(tally.sortition(to_int(ballots), options, u[..., -1])), None
        if rule == "quadratic":
            return tally.winner(tally.quadratic(to_float(ballots), self.mechanism.most), lot), None
        scores = getattr(tally, rule)(to_int(ballots), *((options,) if rule in NAMING else ()))
        return tally.winner(scores, lot), None

    def meet(
        self, stage: Array, own: VoteState, base: Any, acts: Mapping[str, Acts], u: Array
    ) -> tuple[VoteState, dict[str, Array], Array | None]:
        """Count the votes, or play the stages that the mechanism in force adds."""
        xp, voting = namespace(stage), stage == 0
        zero = to_float(stage) * 0.0
        rewards = {role.name: spread(zero, role.count) for role in self.base.roles}
        welfare, after = zero, own
        if not absent(~voting):

            def play(inner: Institution) -> tuple[Any, dict[str, Array], Array]:
                theirs = xp.where(voting, stage * 0, stage - 1)  # the same stage, as the mechanism counts
                state, paid, made = inner.meet(theirs, own.inner, base, acts, u[..., : inner.own_draws])
                return state, {**rewards, **paid}, zero if made is None else made

            state, rewards, welfare = self._chosen(own.chosen, play)
            after = own._replace(inner=state)
        if absent(voting):
            return after, rewards, welfare
        chosen, taxes = self._count(acts, u)
        chosen = xp.where(voting, chosen, own.chosen)
        voted = own._replace(chosen=chosen)
        if not self.mechanism.each_round:
            voted = voted._replace(inner=self._begun(chosen, base, u))
        paid = {name: pay * 0.0 for name, pay in rewards.items()}
        made = zero
        if taxes is not None:
            made = -xp.sum(taxes, axis=-1)
            voted = voted._replace(taxed=own.taxed - made)
            paid |= parted(-taxes, self.base, self.voters_roles)
        pick = functools.partial(_where, voting)
        return (
            tree_map(pick, voted, after),
            {name: pick(paid[name], rewards[name]) for name in paid},
            pick(made, welfare),
        )

    def bend(self, own: VoteState, base: Any, acts: Mapping[str, Acts], u: Array) -> Mapping[str, Acts]:
        """Bend acts as the mechanism in force does."""

        def bent(inner: Institution) -> dict[str, Acts]:
            found = inner.bend(own.inner, base, acts, u[..., : inner.own_draws])
            return {name: dict(fields) for name, fields in found.items()}

        return self._chosen(own.chosen, bent)  # type: ignore[no-any-return]

    def observe(self, own: VoteState, base: Any, acts: Mapping[str, Acts]) -> VoteState:
        """Remember what the mechanism in force remembers."""
        return own._replace(inner=self._chosen(own.chosen, lambda inner: inner.observe(own.inner, base, acts)))

    def settle(self, own: VoteState, outcome: Outcome, ended: Array, u: Array) -> tuple[VoteState, Outcome]:
        """Follow a step of the base game as the mechanism in force does."""

        def settled(inner: Institution) -> tuple[Any, Outcome]:
            return inner.settle(own.inner, outcome, ended, u[..., : inner.own_draws])

        state, outcome = self._chosen(own.chosen, settled)
        return own._replace(inner=state), outcome

    def uncertain(self, state: Layered, acts: Mapping[str, Acts]) -> bool:
        """Say whether the next step may read random numbers, with the acts as the mechanism in force bends them."""
        if self.own_draws > 0:
            return True
        none = full(state.stage, (*state.stage.shape, 0), 0.0)
        return self.base.uncertain(state.base, self.bend(state.own, state.base, acts, none))

    def opens(self, own: VoteState, base: Any) -> Array | None:
        """Say where the mechanism's opening stages are played; with a vote before each round everywhere."""
        if self.mechanism.each_round:
            return None
        return self._played(own, [inner.opens(own.inner, base) for inner in self.under])

    def closes(self, own: VoteState, base: Any) -> Array | None:
        """Say where the mechanism's closing stages are played."""
        return self._played(own, [inner.closes(own.inner, base) for inner in self.under])

    def _played(self, own: VoteState, where: list[Array | None]) -> Array | None:
        if all(mask is None for mask in where):
            return None
        masks = dict(zip(map(id, self.under), where, strict=True))
        everywhere = own.chosen >= -1
        found: Array = self._chosen(
            own.chosen, lambda inner: everywhere if masks[id(inner)] is None else masks[id(inner)]
        )
        return found

    def show(self, own: VoteState, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show what the mechanism in force shows, and which it is."""
        shown = self._chosen(own.chosen, lambda inner: inner.show(own.inner, base, dict(seen)))
        xp = namespace(own.chosen)
        option = xp.where(own.chosen < 0, len(self.under), own.chosen)
        return {role.name: {**shown[role.name], "in_force": spread(option, role.count)} for role in self.base.roles}

    def account(self, own: VoteState) -> dict[str, Array]:
        """Return the mechanism's measures, and the option in force."""
        inner = self._chosen(own.chosen, lambda under: under.account(own.inner))
        taxes = {"vote_taxes": own.taxed} if self.mechanism.rule == "pivot" else {}
        return {**inner, "option_chosen": to_float(own.chosen), **taxes}
