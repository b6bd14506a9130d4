"""Between whom a contract is made, on what, and what is remembered of it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from ..envs.core.arrays import Array, full
from ..envs.core.fields import Field
from ..envs.core.game import Game, Measure, Seen
from ..envs.core.mechanism import Institution, Unfit, chosen, every, joined, players_of
from .terms import Deal, Terms

if TYPE_CHECKING:
    from .contract import Contract

OPEN, REFUSED, IN_FORCE, ENDED = range(4)
"""Codes of the field ``agreement``."""


class Item(NamedTuple):
    """Terms on offer; ``label`` tells the items of a menu apart and is empty where there is no choice."""

    label: str
    terms: Terms

    def _own(self, field: Field) -> Field:
        return (
            replace(field, name=f"{self.label}_{field.name}", means=f"{self.label}: {field.means}")
            if self.label
            else field
        )

    @property
    def figures(self) -> tuple[Field, ...]:
        """The numbers in the terms."""
        return tuple(map(self._own, self.terms.figures))

    @property
    def blanks(self) -> tuple[Field, ...]:
        """Those that a proposer fills in."""
        return tuple(map(self._own, self.terms.blanks))

    def stated(self, filled: Mapping[str, Array], like: Array) -> dict[str, Array]:
        """Return the value of every figure, as ``Terms.stated``."""
        if not self.label:
            return self.terms.stated(filled, like)
        own = {field.name: filled[self._own(field).name] for field in self.terms.blanks if filled}
        return {f"{self.label}_{name}": value for name, value in self.terms.stated(own, like).items()}

    def numbers(self, stated: Mapping[str, Array]) -> Mapping[str, Array]:
        """Return the values by the names that the terms know."""
        if not self.label:
            return stated
        return {field.name: stated[f"{self.label}_{field.name}"] for field in self.terms.figures}


class ContractState(NamedTuple):
    """Numbers of the terms and side payment (*batch), answer (0 open, 1 refused, 2 in force, 3 ended), and books.

    ``more`` holds what only some contracts need: the ``offer`` and the ``item`` agreed, the ``proposer``, the ``price`` of
    proposing and ``prices`` so far, rounds ``left`` and ``held``, contracts ``signed``, awards in a ``queue``, court
    ``costs``; what is ``owed`` and who ``reneged``; the ``permit``.
    """

    numbers: dict[str, Array]
    side: Array
    status: Array
    breaches: Array
    moved: Array
    more: dict[str, Any]


class Party(Institution):
    """A game in which some players may be bound by a contract: who they are, and on which facts."""

    mechanism: Contract

    def __init__(self, base: Game, mechanism: Contract) -> None:
        super().__init__(base, mechanism)
        chosen(base, mechanism.bound, "bound")
        self.bound = mechanism.bound or every(base)
        self.parties = players_of(base, self.bound)
        if len(self.parties) < 2:
            raise Unfit(f"bound: a contract binds at least 2 players, got {', '.join(self.parties)}")
        self.items = tuple(
            Item(f"item{k}" if mechanism.menu else "", terms) for k, terms in enumerate(mechanism.items, 1)
        )
        self.blanks = tuple(blank for item in self.items for blank in item.blanks)
        self.figures = tuple(figure for item in self.items for figure in item.figures)
        self.deal = self._deal(base)
        for item in self.items:
            item.terms.suit(self.deal)

    def named(self, name: str) -> str:
        """Return the name of a stage, field or measure: with the contract's label in front."""
        return f"{self.mechanism.label}_{name}" if self.mechanism.label else name

    def _measure(self, name: str, means: str, formula: str, unit: str = "", *, better: str = "higher") -> Measure:
        which = f"contract {self.mechanism.label}: " if self.mechanism.label else ""
        return Measure(self.named(name), which + means, formula, unit, better=better)

    @functools.cached_property
    def at(self) -> dict[str, int]:
        """Index of each stage."""
        return {stage.name: index for index, stage in enumerate(self.stages)}

    def _is(self, stage: Array, name: str) -> Array:
        """Say where (*batch) one of the contract's stages is played."""
        found: Array = stage == self.at[self.named(name)]
        return found

    def _deal(self, base: Game) -> Deal:
        """Return the players and the facts that the terms use; Unfit where a fact is not verifiable by any of them."""
        verifiable = {
            name: {f.name: f for f in base.role(name).sees if f.verifiable and not f.shape} for name in self.bound
        }
        fields, known = {}, {}
        for used in dict.fromkeys(name for item in self.items for name in item.terms.uses):
            found = [facts[used] for facts in verifiable.values() if used in facts]
            if not found:
                there = ", ".join(sorted(set().union(*verifiable.values()))) or "none"
                raise Unfit(
                    f"terms: a contract can condition only on verifiable fields that are one value a player; {used!r} is not "
                    f"for {' or '.join(self.bound)} (verifiable: {there})"
                )
            if any(field.space != found[0].space for field in found):
                raise Unfit(f"terms: field {used!r} must have the same values in every role that is bound")
            fields[used] = found[0]
            known[used] = tuple(used in verifiable[name] for name in self.bound for _ in base.role(name).players)
        return Deal(self.parties, fields, known)

    def _facts(self, seen: Mapping[str, Seen], like: Array) -> dict[str, Array]:
        """Return the facts as those who are bound see them, (*batch, players), 0 for who does not; ``like`` is (*batch)."""
        facts = {}
        for used, field in self.deal.fields.items():
            parts, begin = {}, 0
            for name in self.bound:
                count = self.base.role(name).count
                nothing = full(like, (*like.shape, count), 0, integer=field.discrete)
                parts[name] = seen[name][used] if self.deal.known[used][begin] else nothing
                begin += count
            facts[used] = joined(parts, self.bound)
        return facts
