"""Institutions with options: one institution an option, and that in force chosen world by world."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..envs.core.arrays import Array, align, common, full, namespace, to_float, tree_map
from ..envs.core.fields import Field, Integer, Real, Role
from ..envs.core.game import Acts, Game, Outcome, Seen, spread
from ..envs.core.mechanism import Institution, Layered, Mechanism, Unfit

MACHINERY = ("start", "view", "step", "stage", "round", "measures", "roles", "stages", "rounds", "horizon", "reports")


class Optioned(Institution):
    """A game under a mechanism with options: its hooks are those of the institution in force, world by world.

    Subclasses define ``begin``, ``meet`` and ``terms``. Their state is a named tuple with ``chosen``, the option in force
    (*batch), -1 where there is none yet, and ``inner``, the institution's own state, of the same form under every option.

    Parameters
    ----------
    base, mechanism
        The game and the mechanism that makes it.
    subject
        What the options are on, for error messages: parameter and mechanism.
    labels, candidates
        The options in words, and the mechanism with each of them.
    anew
        Where the option may change between rounds, how error messages begin and end that say that it cannot.
    """

    def __init__(
        self,
        base: Game,
        mechanism: Mechanism,
        subject: tuple[str, str],
        labels: tuple[str, ...],
        candidates: tuple[Mechanism, ...],
        anew: tuple[str, str] | None = None,
    ) -> None:
        super().__init__(base, mechanism)
        self.labels, self.anew = labels, anew
        self.under = tuple(_institutions(base, labels, candidates))
        self._check_alike(subject, candidates)
        first = self.under[0]
        self.before, self.opening, self.closing = first.before, first.opening, first.closing
        self.own_reports = first.own_reports
        self.inner_draws = max(inner.own_draws for inner in self.under)
        self.own_draws = self.inner_draws

    def _check_alike(self, subject: tuple[str, str], candidates: tuple[Mechanism, ...]) -> None:
        """Raise Unfit if fields, stages or states depend on the option."""
        first, probe = self.under[0], np.full((1, self.base.draws), 0.5)
        state = self.base.start(probe)
        begun = [inner.begin(state, np.full((1, inner.own_draws), 0.5)) for inner in self.under]
        parameter, of = subject
        for label, inner, own, candidate in zip(self.labels, self.under, begun, candidates, strict=True):
            if _frame(inner) != _frame(first) or not _alike(own, begun[0], values=False):
                nulls = [k for k, option in enumerate(candidates) if self.base | option is self.base]
                if nulls:
                    raise _none(self.labels[nulls[0]], candidate)
                raise Unfit(
                    f"options: {parameter}={label} gives other stages, fields or a state of another form than "
                    f"{self.labels[0]}; vote on options under which players decide the same"
                )
            if self.anew and (inner.before or not _alike(own, begun[0], values=True)):
                raise Unfit(f"{self.anew[0]}: {parameter} of {of} is settled before the first round; {self.anew[1]}")

    def _chosen(self, chosen: Array, hook: Callable[[Institution], Any]) -> Any:
        """Return what a hook says under the option in force, world by world (under the first where there is none)."""
        if (known := common(chosen)) is not None:
            return hook(self.under[max(known, 0)])
        results = [hook(inner) for inner in self.under]
        found = results[0]
        for k, result in enumerate(results[1:], 1):
            mask = chosen == k
            found = tree_map(functools.partial(where, mask), result, found)
        return found

    def _begun(self, chosen: Array, base: Any, u: Array) -> Any:
        return self._chosen(chosen, lambda inner: inner.begin(base, u[..., : inner.own_draws]))

    def _met(
        self, stage: Array, own: Any, base: Any, acts: Mapping[str, Acts], u: Array
    ) -> tuple[Any, dict[str, Array], Array]:
        """Play the stages that the mechanism in force adds, ``stage`` as it counts them; rewards and welfare in full."""
        zero = to_float(stage) * 0.0
        none = {role.name: spread(zero, role.count) for role in self.base.roles}

        def play(inner: Institution) -> tuple[Any, dict[str, Array], Array]:
            state, paid, made = inner.meet(stage, own.inner, base, acts, u[..., : inner.own_draws])
            return state, {**none, **paid}, zero if made is None else made

        return self._chosen(own.chosen, play)  # type: ignore[no-any-return]

    @property
    def options_in_words(self) -> tuple[str, ...]:
        """What each option means, one line an option."""
        return tuple(f"{label}: {inner.terms.strip()}" for label, inner in zip(self.labels, self.under, strict=True))

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show what the mechanism shows."""
        return tuple(_hull(fields) for fields in zip(*(under.sees(role) for under in self.under), strict=True))

    def acts(self, role: Role) -> tuple[Field, ...]:
        """Ask for what the mechanism asks for."""
        return self.under[0].acts(role)

    def bend(self, own: Any, base: Any, acts: Mapping[str, Acts], u: Array) -> Mapping[str, Acts]:
        """Bend acts as the mechanism in force does."""

        def bent(inner: Institution) -> dict[str, Acts]:
            found = inner.bend(own.inner, base, acts, u[..., : inner.own_draws])
            return {name: dict(fields) for name, fields in found.items()}

        return self._chosen(own.chosen, bent)  # type: ignore[no-any-return]

    def observe(self, own: Any, base: Any, acts: Mapping[str, Acts]) -> Any:
        """Remember what the mechanism in force remembers."""
        return own._replace(inner=self._chosen(own.chosen, lambda inner: inner.observe(own.inner, base, acts)))

    def settle(self, own: Any, outcome: Outcome, ended: Array, u: Array) -> tuple[Any, Outcome]:
        """Follow a step of the base game as the mechanism in force does."""

        def settled(inner: Institution) -> tuple[Any, Outcome]:
            return inner.settle(own.inner, outcome, ended, u[..., : inner.own_draws])

        state, outcome = self._chosen(own.chosen, settled)
        return own._replace(inner=state), outcome

    def foreseen(self, state: Layered, acts: Mapping[str, Acts]) -> Mapping[str, Acts] | None:
        """Return the acts as the mechanism in force bends them; None where that may take random numbers."""
        if self.own_draws > 0:
            return None
        return self.bend(state.own, state.base, acts, full(state.stage, (*state.stage.shape, 0), 0.0))

    def opens(self, own: Any, base: Any) -> Array | None:
        """Say where the mechanism's opening stages are played; everywhere where the option may change before each round."""
        if self.anew:
            return None
        return self._played(own, [inner.opens(own.inner, base) for inner in self.under])

    def closes(self, own: Any, base: Any) -> Array | None:
        """Say where the mechanism's closing stages are played."""
        return self._played(own, [inner.closes(own.inner, base) for inner in self.under])

    def _played(self, own: Any, masks: list[Array | None]) -> Array | None:
        if all(mask is None for mask in masks):
            return None
        found = dict(zip(map(id, self.under), masks, strict=True))
        everywhere = own.chosen >= -1
        played: Array = self._chosen(
            own.chosen, lambda inner: everywhere if found[id(inner)] is None else found[id(inner)]
        )
        return played

    def show(self, own: Any, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show what the mechanism in force shows."""
        return self._chosen(own.chosen, lambda inner: inner.show(own.inner, base, dict(seen)))  # type: ignore[no-any-return]

    def account(self, own: Any) -> dict[str, Array]:
        """Return the mechanism's measures."""
        return self._chosen(own.chosen, lambda inner: inner.account(own.inner))  # type: ignore[no-any-return]


def where(mask: Array, then: Array, otherwise: Array) -> Array:
    """Choose world by world between two arrays that may be one."""
    return then if then is otherwise else namespace(mask).where(align(mask, then), then, otherwise)


def labelled(name: str, label: str) -> str:
    """Return the name of a field, stage or measure of a mechanism that stands on a game more than once."""
    return f"{label}_{name}" if label else name


def check_label(label: Any) -> None:
    """Refuse a label that makes no identifiers."""
    if not isinstance(label, str) or not f"{label}_x".isidentifier():
        raise ValueError(f"label: letters, digits and underscores, or empty, got {label!r}")


def budget_of(candidates: tuple[Mechanism, ...]) -> float | None:
    """Return the largest budget of some mechanisms; None where one of them does not pay the truth."""
    known = [candidate.budget for candidate in candidates]
    return None if None in known else max(budget for budget in known if budget is not None)


def tuples(value: Any) -> Any:
    """Return nested lists as nested tuples, so that parameters can be read from data."""
    return tuple(map(tuples, value)) if isinstance(value, list) else value


def is_number(value: Any) -> bool:
    """Say whether an option is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def in_words(option: Any) -> str:
    """Return an option in words."""
    if isinstance(option, tuple) and all(map(is_number, option)):
        return ", ".join(map(in_words, option))
    return f"{option:.12g}" if is_number(option) else str(option)


def _none(label: str, candidate: Mechanism) -> Unfit:
    return Unfit(f"options: with {label} {candidate.name} is no institution on the game; leave that option out")


def _institutions(base: Game, labels: tuple[str, ...], candidates: tuple[Mechanism, ...]) -> list[Institution]:
    """Return the institution of each option; for one that leaves the game as it is, that of the others' kind with it."""
    made: list[Game] = [base | candidate for candidate in candidates]
    kinds = [type(under) for under in made if isinstance(under, Institution) and under.base is base]
    found = []
    for label, candidate, under in zip(labels, candidates, made, strict=True):
        if under is base and kinds:
            try:
                under = kinds[0](base, candidate)
            except (ArithmeticError, LookupError, TypeError, ValueError) as error:
                raise _none(label, candidate) from error
        if not isinstance(under, Institution) or under.base is not base:
            raise _none(label, candidate)
        if any(getattr(type(under), name) is not getattr(Institution, name) for name in MACHINERY):
            raise Unfit(f"mechanism: {candidate.name} is more than its hooks; it cannot have options to choose among")
        found.append(under)
    return found


def _frame(inner: Institution) -> tuple[Any, ...]:
    """Return all that players do and see under an institution, but for the bounds of the numbers that they see."""
    fields = []
    for role in inner.base.roles:
        seen = [
            replace(f, space=type(f.space)(0, 0)) if isinstance(f.space, Integer | Real) else f
            for f in inner.sees(role)
        ]
        fields.append((tuple(seen), inner.acts(role)))
    return inner.before, inner.opening, inner.closing, inner.own_reports, tuple(fields)


def _hull(fields: tuple[Field, ...]) -> Field:
    """Return a field that takes the values of all of some fields, which differ in nothing but bounds."""
    first = fields[0].space
    if not isinstance(first, Integer | Real):
        return fields[0]
    kind: Any = type(first)
    spaces = [field.space for field in fields]
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
