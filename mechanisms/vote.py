"""Vote: the players choose one parameter of another mechanism."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from ..envs.core import tally, validate
from ..envs.core.arrays import Array, absent, full, namespace, to_float, to_int, tree_map
from ..envs.core.fields import Choice, Field, Integer, Real, Role
from ..envs.core.game import Acts, Game, Measure, Seen, Stage, spread
from ..envs.core.mechanism import Mechanism, parted, players_of
from ._options import Optioned, budget_of, check_label, in_words, is_number, labelled, tuples, where
from ._parameters import changed
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
    label
        Ends the names of the vote's stage, fields and measures, so that a game can be under several votes; empty for none.
    """

    mechanism: Mechanism
    parameter: str
    options: tuple[Any, ...]
    rule: str = "majority"
    each_round: bool = False
    most: float = 100.0
    ties: str = "first"
    roles: tuple[str, ...] = ()
    label: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be voted on."""
        if not isinstance(self.mechanism, Mechanism):
            raise ValueError(f"mechanism: a mechanism, for example Sanction(), got {self.mechanism!r}")
        for name in ("options", "roles"):
            object.__setattr__(self, name, tuples(list(getattr(self, name))))
        validate.one_of("rule", self.rule, tuple(RULES))
        validate.one_of("ties", self.ties, ("first", "lot"))
        validate.real("most", self.most, 1e-6, 1e9)
        check_label(self.label)
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
        return tuple(map(in_words, self.options))

    @functools.cached_property
    def candidates(self) -> tuple[Mechanism, ...]:
        """The mechanism with each of the options."""
        return tuple(changed(self.mechanism, self.parameter, option) for option in self.options)

    @property
    def budget(self) -> float | None:  # type: ignore[override]
        """The budget of the mechanism, the largest where it depends on the option."""
        return budget_of(self.candidates)

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


def _rising(options: tuple[Any, ...]) -> bool:
    return all(map(is_number, options)) and all(a < b for a, b in itertools.pairwise(options))


class VoteState(NamedTuple):
    """The option in force, -1 before a vote, and the sum of taxes (*batch); the state of the mechanism that is voted on."""

    chosen: Array
    taxed: Array
    inner: Any


class Voted(Optioned):
    """A game under a mechanism that the players choose: one institution an option, that in force chosen world by world."""

    mechanism: Vote

    def __init__(self, base: Game, mechanism: Vote) -> None:
        about = (mechanism.parameter, mechanism.mechanism.name)
        anew = ("each_round", "vote once") if mechanism.each_round else None
        super().__init__(base, mechanism, about, mechanism.labels, mechanism.candidates, anew)
        self.voters_roles = mechanism.roles or tuple(role.name for role in base.roles)
        self.people = players_of(base, self.voters_roles)
        self.poll, self.ballot, self.in_force, self.final, self.taxes = (
            labelled(name, mechanism.label) for name in ("vote", "ballot", "in_force", "option_chosen", "vote_taxes")
        )
        means = "before each round" if mechanism.each_round else "once, before the first round"
        stage = Stage(self.poll, f"{means}: the players vote on {mechanism.parameter} of {mechanism.mechanism.name}")
        if mechanism.each_round:
            self.opening = (stage, *self.opening)
        else:
            self.before = (stage, *self.before)
        self.own_draws += int(mechanism.rule == "sortition" or mechanism.ties == "lot")
        means = "option in force at the end: 0 is the first, -1 none yet"
        self.own_reports += (Measure(self.final, means, "index of the option"),)
        if mechanism.rule == "pivot":
            paid = Measure(self.taxes, "taxes paid by those who turned a choice", "sum of taxes", better="lower")
            self.own_reports += (paid,)

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
        lines += [f"- If {vote.parameter} is {means}" for means in self.options_in_words]
        return "\n".join(lines)

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show what the mechanism shows, and the option in force."""
        space = Choice((*self.mechanism.labels, "no vote yet"))
        means = f"{self.mechanism.parameter} of {self.mechanism.mechanism.name}, as voted"
        return (*super().sees(role), Field(self.in_force, space, means, verifiable=True))

    def acts(self, role: Role) -> tuple[Field, ...]:
        """Ask for what the mechanism asks for, and for a ballot."""
        inner = super().acts(role)
        return (self._ballot, *inner) if role.name in self.voters_roles else inner

    @functools.cached_property
    def _ballot(self) -> Field:
        vote, about = self.mechanism, f"on {self.mechanism.parameter}"
        if vote.rule in NAMING:
            return Field(self.ballot, Choice(vote.labels), f"the option you vote for, {about}", stage=self.poll)
        if vote.rule == "approval":
            means = f"whether you approve of each option {about}: 1 if so, else 0"
            return Field(self.ballot, Integer(0, 1), means, each=vote.labels, stage=self.poll)
        if vote.rule in RANKING:
            means = f"your rank for each option {about}: 1 is best, and equal ranks are allowed"
            return Field(self.ballot, Integer(1, len(vote.labels)), means, each=vote.labels, stage=self.poll)
        space = Real(-vote.most, vote.most)
        if vote.rule == "quadratic":
            means = f"the credits that you put on each option {about}; below zero against it"
            return Field(self.ballot, space, means, "credits", each=vote.labels, stage=self.poll)
        return Field(self.ballot, space, f"what each option {about} is worth to you", each=vote.labels, stage=self.poll)

    # ---- in arrays ----------------------------------------------------------------------------------------------

    def begin(self, base: Any, u: Array) -> VoteState:
        """Start before any vote."""
        zero = full(u, tuple(u.shape[:-1]), 0, integer=True)
        return VoteState(zero - 1, to_float(zero), self._begun(zero, base, u))

    def _count(self, acts: Mapping[str, Acts], u: Array) -> tuple[Array, Array | None]:
        """Return the winner (*batch), and the taxes (*batch, voters) where there are."""
        parts = [acts[name][self.ballot] for name in self.voters_roles]
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
            theirs = xp.where(voting, stage * 0, stage - 1)  # the same stage, as the mechanism counts
            state, rewards, welfare = self._met(theirs, own, base, acts, u)
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
        pick = functools.partial(where, voting)
        return (
            tree_map(pick, voted, after),
            {name: pick(paid[name], rewards[name]) for name in paid},
            pick(made, welfare),
        )

    def show(self, own: VoteState, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show what the mechanism in force shows, and which it is."""
        shown = super().show(own, base, seen)
        option = namespace(own.chosen).where(own.chosen < 0, len(self.under), own.chosen)
        return {role.name: {**shown[role.name], self.in_force: spread(option, role.count)} for role in self.base.roles}

    def account(self, own: VoteState) -> dict[str, Array]:
        """Return the mechanism's measures, and the option in force."""
        taxes = {self.taxes: own.taxed} if self.mechanism.rule == "pivot" else {}
        return {**super().account(own), self.final: to_float(own.chosen), **taxes}
