"""Deviations: plans of own acts, acts by what is seen, and a best response that is learned."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from ...envs.core import words
from ...envs.core.arrays import to_numpy
from ...envs.core.fields import Choice, Field, Integer, Role, Text
from ...envs.core.game import Acts, Game, Seen
from ...envs.core.mechanism import Institution
from ...envs.core.policy import Policy
from .play import Host, Look, run

_PRIME = 1_000_003

# ---- what a player can do -------------------------------------------------------------------------------------------


class Seat(NamedTuple):
    """A player by role and position."""

    role: Role
    place: int

    @property
    def player(self) -> str:
        """Its name."""
        return self.role.player(self.place)


def values_of(field: Field, levels: int | None) -> Host:
    """Return the values of a field: all of them, or ``levels`` evenly spaced; real numbers are always spaced (11 for None).

    Raises
    ------
    ValueError
        If the field has no bounds, or is free text.
    """
    if isinstance(field.space, Text):
        raise ValueError(f"field {field.name!r} is free text, so that its values cannot be tried")
    low, high = field.space.low, field.space.high
    if math.isinf(low) or math.isinf(high):
        raise ValueError(f"field {field.name!r} has no bounds, so that its values cannot be tried")
    if isinstance(field.space, Choice) or (field.discrete and (levels is None or high - low < levels)):
        return np.arange(int(low), int(high) + 1)
    spaced = np.linspace(low, high, levels or 11)
    return np.unique(np.round(spaced).astype(np.int64) if field.discrete else spaced)


def times_of(game: Game) -> list[int]:
    """Return how often each stage can come in an episode."""
    if not isinstance(game, Institution):
        return [game.rounds] * len(game.stages)
    rounds = game.rounds
    return [
        *[1] * len(game.before),
        *[rounds] * len(game.opening),
        *times_of(game.base),
        *[rounds] * len(game.closing),
    ]


class Options(NamedTuple):
    """What a player can do at a stage: ``size`` acts, made of the values of each number that it decides, in mixed radix."""

    numbers: tuple[tuple[Field, int | None, Host, int], ...]
    size: int

    def put(self, acts: Acts, rows: Host, index: int, chosen: Host) -> None:
        """Let seat ``index`` play the chosen acts in some rows."""
        for field, component, values, stride in self.numbers:
            place = (rows, index) if component is None else (rows, index, component)
            acts[field.name][place] = values[chosen // stride % len(values)]

    def tell(self, chosen: int) -> str:
        """Tell an act in words."""
        said = []
        for field, component, values, stride in self.numbers:
            label = field.name if component is None else f"{field.name}[{field.each[component]}]"
            said.append(f"{label} {words.number(field, values[chosen // stride % len(values)])}")
        return ", ".join(said)


class Menu:
    """All that a player can do in an episode, moment by moment: its stages, how often each can come, and their acts."""

    def __init__(self, game: Game, seat: Seat, levels: int | None, grid: int = 11) -> None:
        times = times_of(game)
        self.seat = seat
        self.stages: dict[int, Options] = {}
        self.offset: dict[int, int] = {}
        self.times: dict[int, int] = {}
        self.sizes: list[int] = []
        self.whole = True
        self.names = [stage.name for stage in game.stages]
        for number, stage in enumerate(game.stages):
            fields = seat.role.deciding(stage.name, seat.place)
            numbers: list[tuple[Field, int | None, Host, int]] = []
            size = 1
            for field in fields:
                values = values_of(field, levels if field.discrete else levels or grid)
                self.whole &= field.discrete and len(values) == field.space.high - field.space.low + 1
                places: tuple[int | None, ...] = tuple(range(len(field.each))) if field.each else (None,)
                for component in places:
                    numbers.append((field, component, values, size))
                    size *= len(values)
            if not numbers:
                continue
            self.stages[number] = Options(tuple(numbers), size)
            self.offset[number], self.times[number] = len(self.sizes), times[number]
            self.sizes += [size] * times[number]

    def size(self, kind: str) -> int:
        """Return how many plans of a kind there are."""
        if kind == "single":
            return sum(self.sizes)
        return math.prod(self.sizes if kind == "all" else [options.size for options in self.stages.values()])

    def at(self, stage: int) -> Menu:
        """Return the menu of a single stage."""
        menu = copy.copy(self)
        menu.stages = {stage: self.stages[stage]}
        return menu

    def plans(self, kind: str) -> Host:
        """Return the plans of a kind, (plans, moments): the act of each moment, -1 to follow one's policy.

        ``"all"`` are the open-loop plans, numbered in mixed radix; ``"constant"`` those that do the same whenever a
        stage comes; ``"single"`` those that deviate at one moment.
        """
        if kind == "single":
            plans = np.full((sum(self.sizes), len(self.sizes)), -1, dtype=np.int64)
            moment = np.repeat(np.arange(len(self.sizes)), self.sizes)
            plans[np.arange(len(plans)), moment] = np.concatenate([np.arange(size) for size in self.sizes])
            return plans
        sizes = self.sizes if kind == "all" else [options.size for options in self.stages.values()]
        rest, columns = np.arange(self.size(kind)), []
        for size in sizes:
            columns.append(rest % size)
            rest = rest // size
        digits = np.stack(columns, axis=-1)
        return digits if kind == "all" else np.repeat(digits, list(self.times.values()), axis=1)


@dataclass(frozen=True)
class Plans:
    """Deviation of one player, another in each copy: ``digits`` (copies, moments) of a menu."""

    menu: Menu
    digits: Host

    def __call__(self, look: Look) -> None:
        """Play the plan of the copy."""
        role, index = self.menu.seat
        for stage, options in self.menu.stages.items():
            moment = self.menu.offset[stage] + np.minimum(look.round, self.menu.times[stage] - 1)
            digit = self.digits[look.copy, moment]
            rows = np.flatnonzero((look.stage == stage) & look.live & (digit >= 0))
            options.put(look.acts[role.name], rows, index, digit[rows])

    def only(self, numbers: Host) -> Self:
        """Return some of the plans."""
        return type(self)(self.menu, self.digits[numbers])

    def tell(self) -> str:
        """Tell the first plan in words."""
        said = []
        for stage, options in self.menu.stages.items():
            begin, times = self.menu.offset[stage], self.menu.times[stage]
            digits = self.digits[0, begin : begin + times]
            if (digits == digits[0]).all():
                said += [options.tell(int(digits[0]))] if digits[0] >= 0 else []
                continue
            begins = [0, *(np.flatnonzero(np.diff(digits)) + 1).tolist()]
            moments = [
                f"{options.tell(int(digits[i]))} in round{f's {i + 1} to {j}' if j > i + 1 else f' {j}'}"
                for i, j in zip(begins, [*begins[1:], times], strict=True)
                if digits[i] >= 0
            ]
            said += moments[:8] + (["..."] if len(moments) > 8 else [])
        return f"{self.menu.seat.player}: {'; '.join(said)}" if said else f"{self.menu.seat.player} as its policy says"


# ---- what a player sees, and what it makes of it ----------------------------------------------------------------------


class Sight:
    """What a player sees as one integer: number by number as it is, or in so many bins a number."""

    def __init__(self, seat: Seat, bins: int | None = None) -> None:
        self.seat, self.bins = seat, bins

    def keys(self, seen: dict[str, Seen]) -> Host:
        """Return (rows,) integers, equal where the same is seen."""
        key: Host = np.zeros(1, dtype=np.int64)
        for field in self.seat.role.sees:
            values = to_numpy(seen[self.seat.role.name][field.name])[:, self.seat.place].astype(float)
            columns = values.reshape(len(values), -1)
            whole = self.bins is None or isinstance(field.space, Text)
            if not whole and columns.shape[1] > 3:
                columns = columns.mean(axis=1, keepdims=True)
            for column in columns.T:
                key = key * _PRIME + ((column + 0.0).view(np.int64) if whole else self._bin(field, column))
        return key

    def _bin(self, field: Field, values: Host) -> Host:
        assert self.bins is not None
        low, high = field.space.low, field.space.high
        if isinstance(field.space, Choice) or (isinstance(field.space, Integer) and high - low < 2 * self.bins):
            return np.round(values - low).astype(np.int64)
        if math.isinf(low) or math.isinf(high):
            return np.floor(3.0 * np.sign(values) * np.log1p(np.abs(values))).astype(np.int64)
        share = (values - low) / max(high - low, 1e-12)
        return np.clip(np.floor(share * self.bins), 0, self.bins - 1).astype(np.int64)


class Keep:
    """Deviates from nothing; keeps what a player saw when it first decided, (rows,)."""

    def __init__(self, menu: Menu, sight: Sight, rows: int) -> None:
        self.menu, self.sight, self.keys = menu, sight, np.zeros(rows, dtype=np.int64)

    def __call__(self, look: Look) -> None:
        """Keep."""
        here = np.isin(look.stage, list(self.menu.stages)) & (look.round == 0) & look.live
        self.keys = np.where(here, self.sight.keys(look.seen), self.keys)


@dataclass(frozen=True)
class Contingent:
    """Deviation by what is seen: where the key is ``keys[k]``, the number ``chosen[k]`` is done by ``act``.

    ``act`` takes the look, the rows and their numbers; -1 and what was never seen are left to the policy.
    """

    menu: Menu
    sight: Sight
    known: Host
    chosen: Host
    act: Callable[[Look, Host, Host], None] | None = None

    def __call__(self, look: Look) -> None:
        """Do what was found best for what is seen."""
        role, index = self.menu.seat
        keys = self.sight.keys(look.seen)
        place = np.minimum(np.searchsorted(self.known, keys), len(self.known) - 1)
        chosen = np.where(self.known[place] == keys, self.chosen[place], -1)
        for stage, options in self.menu.stages.items():
            rows = np.flatnonzero((look.stage == stage) & look.live & (chosen >= 0))
            if self.act is not None:
                self.act(look, rows, chosen[rows])
            else:
                options.put(look.acts[role.name], rows, index, chosen[rows])


def by_sight(keys: Host, gains: Host) -> tuple[Host, Host]:
    """Return what is seen (sorted) and the best plan for each; -1 where no gain exceeds two standard errors.

    ``keys`` is (worlds,), ``gains`` (plans, worlds).
    """
    known, group = np.unique(keys, return_inverse=True)
    n = np.bincount(group)
    member = np.equal(group[:, None], np.arange(len(known))[None, :]).astype(float)
    mean = gains @ member / n
    spread = np.sqrt(np.maximum(gains**2 @ member / n - mean**2, 0.0) / np.maximum(n - 1, 1))
    best = mean.argmax(axis=0)
    chosen = np.arange(len(known))
    sure = mean[best, chosen] > 2.0 * spread[best, chosen] + 1e-12
    return known, np.where(sure, best, -1)


class Learner:
    """Monte Carlo control (Sutton and Barto 2018, section 5.4) with one table that all worlds share.

    Its states are the stage and what is seen, binned; its acts are to follow one's policy (0) and those of a menu. Mean
    returns that followed are kept with more weight on recent episodes. Where little was tried it follows the policy.
    """

    def __init__(self, menu: Menu, sight: Sight, seed: int) -> None:
        self.menu, self.sight = menu, sight
        self.rng = np.random.default_rng(seed)
        self.epsilon = 0.0
        self.known: Host = np.zeros(0, dtype=np.int64)
        most = 1 + max(options.size for options in menu.stages.values())
        self.sums, self.counts = np.zeros((0, most)), np.zeros((0, most))
        self.moments: list[tuple[Host, Host, Host, Host]] = []

    def __call__(self, look: Look) -> None:
        """Play what is best so far, or explore."""
        role, index = self.menu.seat
        seen = None
        for stage, options in self.menu.stages.items():
            rows = np.flatnonzero((look.stage == stage) & look.live)
            if not len(rows):
                continue
            seen = self.sight.keys(look.seen) if seen is None else seen
            keys = seen[rows] * _PRIME + stage
            picks = self._best(keys)
            if self.epsilon:
                anything = self.rng.integers(0, options.size + 1, len(rows))
                picks = np.where(self.rng.random(len(rows)) < self.epsilon, anything, picks)
                self.moments.append((rows, keys, picks, look.earned[role.name][rows, index]))
            acting = picks > 0
            options.put(look.acts[role.name], rows[acting], index, picks[acting] - 1)

    def _best(self, keys: Host) -> Host:
        if not len(self.known):
            return np.zeros(len(keys), dtype=np.int64)
        place = np.minimum(np.searchsorted(self.known, keys), len(self.known) - 1)
        return np.where(self.known[place] == keys, self.greedy[place], 0)

    def learn(self, game: Game, policies: Mapping[str, Policy], *, plays: int, worlds: int, seed: int) -> Self:
        """Learn from so many plays of all worlds, while exploration falls from 1 to 0.05."""
        for number in range(plays):
            self.epsilon = max(0.05, 1.0 - number / (0.8 * plays))
            total = run(game, policies, worlds=worlds, seed=seed + number, deviate=(self,)).returns
            self._add(total[self.menu.seat.player][0])
        self.epsilon = 0.0
        return self

    def _add(self, total: Host) -> None:
        rows, keys, picks, earned = (np.concatenate(part) for part in zip(*self.moments, strict=True))
        self.moments = []
        known = np.union1d(self.known, keys)
        sums, counts = np.zeros((len(known), self.sums.shape[1])), np.zeros((len(known), self.sums.shape[1]))
        old = np.searchsorted(known, self.known)
        sums[old], counts[old] = 0.9 * self.sums, 0.9 * self.counts
        place = (np.searchsorted(known, keys), picks)
        np.add.at(sums, place, total[rows] - earned)
        np.add.at(counts, place, 1.0)
        self.known, self.sums, self.counts = known, sums, counts
        mean = np.where(counts >= 3.0, sums / np.maximum(counts, 1e-12), -np.inf)
        self.greedy = mean.argmax(axis=1)
