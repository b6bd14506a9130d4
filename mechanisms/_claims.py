"""Claims of the audit that need no search over plans: the budget, truth-telling, renegotiation; and how a claim is judged."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._examine.walk import random_acts
from ..envs.core.arrays import select, to_float, to_numpy
from ..envs.core.fields import Choice, Field, find
from ..envs.core.game import Game
from ..envs.core.mechanism import Institution
from ..envs.core.words import figure
from ..envs.core.worlds import Cast, Worlds
from ..experiments.statistics import interval
from ._deviations import Contingent, Deviate, Host, Keep, Look, Menu, Seat, Sight, by_sight, run, values_of
from ._search import LEAST, Case
from .contract import Contracted

if TYPE_CHECKING:
    pass

TOLERANCE = 1e-9
"""Relative to the returns: below it nothing fails."""

STEPS = 1000
"""Most steps of an episode whose budget is checked."""


class Claim(NamedTuple):
    """An incentive claim and what came of it.

    ``verdict`` is "holds", "fails" or "not checked". ``gain`` is by how much it fails, in units of reward an episode (0
    or less where it holds), with a 95% interval from ``low`` to ``high``; all are nan where it was not checked. ``how``
    says how it was checked, or why not.
    """

    name: str
    who: str
    verdict: str
    gain: float
    low: float
    high: float
    how: str


def unchecked(name: str, who: str, why: str) -> Claim:
    return Claim(name, who, "not checked", math.nan, math.nan, math.nan, why)


def judged(name: str, who: str, gains: Host, size: float, how: str) -> Claim:
    """Return the claim that fails if the mean of ``gains`` (worlds,) is above 0."""
    mean, low, high, _ = interval(np.repeat(gains, 2) if gains.size == 1 else gains, resamples=2000)
    verdict = "fails" if low > TOLERANCE * max(1.0, size) else "holds"
    return Claim(name, who, verdict, mean + 0.0, low + 0.0, high + 0.0, how)


def size(case: Case) -> float:
    return max(float(np.abs(pay).max()) for pay in case.follow.returns.values())


# ---- deviations of one player, and of two ---------------------------------------------------------------------------


def _layers(game: Game) -> list[Institution]:
    """Return the institutions of a game, outermost first."""
    layers = []
    while isinstance(game, Institution):
        layers.append(game)
        game = game.base
    return layers


def budget(case: Case, base: Game | None) -> list[Claim]:
    """Check that what all players are paid beyond welfare is what it is in the base game."""
    name, layers = "budget balance", _layers(case.game)
    if not layers:
        return [unchecked(name, "all", f"{case.game.name} is under no mechanism")]
    if base is not None:
        depth = [i for i, layer in enumerate(layers) if layer.base is base or layer.base == base]
        if not depth:
            return [unchecked(name, "all", f"{base.name} is not beneath the mechanisms of {case.game.name}")]
        layers = layers[: depth[0] + 1]
    worlds = min(case.worlds, 64)
    largest, scale, cast = 0.0, 1.0, Cast(case.game, case.policies)
    for random in (True, False):
        for gap, size in _gaps(case, layers, cast, random, worlds):
            largest, scale = max(largest, gap), max(scale, size)
    how = (
        f"largest gap between rewards and welfare in a step beyond that of {layers[-1].base.name}, in {worlds} worlds of "
        "random and of given play"
    )
    declared = [layer.mechanism.budget for layer in layers]
    if any(declared) or None in declared:
        how += "; " + ("players are not paid the truth" if None in declared else f"declared: {figure(sum(declared))}")
    verdict = "holds" if largest <= TOLERANCE * scale else "fails"
    return [Claim(name, "all", verdict, largest, largest, largest, how)]


def _gaps(
    case: Case, layers: list[Institution], cast: Cast, random: bool, worlds: int
) -> Iterator[tuple[float, float]]:
    """Yield, step by step, the largest gap that the layers make, and the largest reward."""
    game = case.game
    batch = Worlds(game, worlds, seed=case.seed, check=False)
    cast.begin(batch)
    live = np.ones(worlds, dtype=bool)
    for _ in range(min(STEPS, game.horizon)):
        state = batch.state
        acts = random_acts(batch, "audit") if random else cast.act(batch, batch.view(), live=live)
        inner, under, u, theirs = state, acts, batch.numbers(), live
        for layer in layers:
            low = len(layer.before) + len(layer.opening)
            stage = to_numpy(inner.stage)
            if layer.before or layer.opening or layer.closing:
                theirs = theirs & (stage >= low) & (stage < low + len(layer.base.stages))
            if theirs.any():
                under = dict(layer.bend(inner.own, inner.base, under, u[..., layer.base.draws :]))
            inner, u = inner.base, u[..., : layer.base.draws]
        outcome = batch.step(acts)
        gap = _surplus(outcome.rewards, outcome.welfare)
        if theirs.any():
            below = layers[-1].base.step(inner, under, u)
            gap = gap - theirs * _surplus(below.rewards, below.welfare)
        size = max(float(np.abs(pay).max()) for pay in outcome.rewards.values())
        yield float(np.abs(gap * live).max()), size
        batch.state = select(live, batch.state, state)
        live = live & ~outcome.done
        if not live.any():
            return


def _surplus(rewards: Mapping[str, Host], welfare: Host) -> Host:
    return np.asarray(sum(to_numpy(pay).sum(axis=-1) for pay in rewards.values()) - to_numpy(welfare))


# ---- truth ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Report:
    """An act field that reports a seen field, and what can be reported: a number, or the truth and so much more."""

    seat: Seat
    act: Field
    seen: Field
    always: Host
    beyond: Host

    @property
    def rules(self) -> int:
        """How many rules there are: the truth first."""
        return 1 + len(self.always) + len(self.beyond)

    def put(self, look: Look, rows: Host, rule: Host) -> None:
        """Report by rule: 0 the truth, then the fixed reports, then those beyond the truth."""
        role, index = self.seat
        truth = to_float(to_numpy(look.seen[role.name][self.seen.name])[rows, index])
        fixed = np.concatenate([[0.0], self.always, self.beyond])[rule]
        says = np.where((rule > 0) & (rule <= len(self.always)), fixed, truth + fixed)
        look.acts[role.name][self.act.name][rows, index] = self.act.clip(says)

    def tell(self, rule: int) -> str:
        """Tell a rule in words."""
        if rule == 0:
            return "the truth"
        if rule <= len(self.always):
            return f"{self.act.name} {figure(self.always[rule - 1])} whatever {self.seen.name} is"
        return f"{self.act.name} is {self.seen.name} {self.beyond[rule - 1 - len(self.always)]:+.4g}"


def truth(case: Case, seats: list[tuple[Seat, str]], reports: Mapping[str, Mapping[str, str]]) -> list[Claim]:
    """Check what misreports gain over the truth."""
    if not reports:
        return [unchecked("truth-telling", "all", "no act was declared to report what is seen (reports)")]
    rows = []
    for name, pairs in reports.items():
        role = case.game.role(name)
        for act, seen in pairs.items():
            done, told = find(role.acts, act, f"acts of {name}"), find(role.sees, seen, f"what {name} sees")
            if done.each or told.each:
                raise ValueError(f"reports: {act!r} and {seen!r} of {name} must be single numbers or choices")
            rows += [_lies(case, seat, note, done, told) for seat, note in seats if seat.role.name == name]
    return rows


def _lies(case: Case, seat: Seat, note: str, act: Field, seen: Field) -> Claim:
    name, player = "truth-telling", seat.player
    try:
        menu = Menu(case.game, seat, 2, case.grid)
        whole = act.discrete and act.space.high - act.space.low < case.limit // LEAST
        always = values_of(act, None if whole else case.grid)
    except ValueError as error:
        return unchecked(name, player, f"{error}{note}")
    steps = np.asarray([], dtype=float)
    if not isinstance(act.space, Choice):
        steps = np.linspace(-1.0, 1.0, 2 * case.grid - 1) * (act.space.high - act.space.low)
        steps = np.unique(np.round(steps) if act.discrete else steps)
        steps = steps[steps != 0.0]
    report = _Report(seat, act, seen, always, steps)
    stage = [s.name for s in case.game.stages].index(act.stage)

    def by(rule: Host) -> Callable[[Look], None]:
        def tell(look: Look) -> None:
            rows = np.flatnonzero((look.stage == stage) & look.live)
            report.put(look, rows, rule[look.copy[rows]])

        return tell

    truthful = by(np.zeros(1, dtype=np.int64))
    worlds = case.rounded(min(case.worlds, max(LEAST, case.limit // report.rules)))
    every = np.arange(report.rules)
    returns = case.run(by(every), copies=len(every), worlds=worlds, seed=case.seed + 1).returns[player]
    gains = returns - returns[:1]
    best = int(gains.mean(axis=1).argmax())
    lie: Deviate = by(np.asarray([best]))
    top, said, contingent = float(gains[best].mean()), report.tell(best), ""
    for bins in (None, case.grid, 5, 3) if menu.times[stage] == 1 else ():
        keep = Keep(menu, Sight(seat, bins), worlds)
        case.run(truthful, keep, worlds=worlds, seed=case.seed + 1)
        known, chosen = by_sight(keep.keys, gains)
        if len(known) <= worlds / 8:
            contingent, chosen = f" and by {len(known)} things seen", np.maximum(chosen, 0)
            value = float(gains[chosen[np.searchsorted(known, keep.keys)], np.arange(worlds)].mean())
            if value > top + 1e-12:
                top, said = value, "the best report for what it sees"
                lie = Contingent(menu.at(stage), Sight(seat, bins), known, chosen, report.put)
            break
    truth = case.run(truthful).returns[player][0]
    gain = case.run(truthful, lie).returns[player][0] - truth if top > 1e-12 else truth * 0.0
    hindsight = figure(np.maximum(gains.max(axis=0), 0.0).mean())
    how = (
        f"{report.rules - 1} misreports of {seen.name}, fixed and beyond the truth{contingent}, others as they play; with "
        f"hindsight the best of them gains {hindsight}" + (f"; best: {said}" if top > 1e-12 else "")
    )
    return judged(name, player, gain, size(case), how + note)


# ---- renegotiation --------------------------------------------------------------------------------------------------


def renegotiation(case: Case) -> list[Claim]:
    """Check that no other contract of the same kind is better for all parties, once it is signed."""
    name, layers = "renegotiation-proof", _layers(case.game)
    place = next((i for i, layer in enumerate(layers) if isinstance(layer, Contracted)), None)
    if place is None:
        return [unchecked(name, "all", "there is no Contract")]
    contract = layers[place]
    assert isinstance(contract, Contracted)
    who = " and ".join(contract.parties) if len(contract.parties) < 4 else f"{len(contract.parties)} parties"
    signed = case.follow.measures["agreed"][0]
    if signed.mean() < 1.0:
        return [unchecked(name, who, f"the contract is signed in only {signed.mean():.0%} of the worlds")]
    terms = contract.mechanism.terms
    figures = terms.blanks or tuple(f for f in terms.figures if f.name in getattr(terms, "__dataclass_fields__", ()))
    if not figures:
        return [unchecked(name, who, "the terms hold no figure that could be another")]
    try:
        values = [values_of(f, case.grid) for f in figures]
    except ValueError as error:
        return [unchecked(name, who, str(error))]
    if math.prod(len(v) for v in values) > min(1000, case.limit):
        return [unchecked(name, who, f"there are more than {min(1000, case.limit)} contracts on the grid")]
    others = list(itertools.product(*values))
    play = functools.partial(_resigned, case, layers, place, tuple(f.name for f in figures))
    gains = play(others, case.seed + 1)
    least = np.min([gain.mean(axis=1) for gain in gains.values()], axis=0)
    best = int(least.argmax())
    told = ", ".join(f"{f.name} {figure(v)}" for f, v in zip(figures, others[best], strict=True))
    if least[best] > 1e-12:
        fresh = play([others[best]], case.seed)
        poorest = min(fresh.values(), key=lambda gain: float(gain.mean()))[0]
        told = f"; best for all: {told}"
    else:
        poorest, told = np.zeros(case.worlds), ""
    how = f"{len(others)} contracts of the same kind, signed by all, same policies; gain of the party that gains least"
    return [judged(name, who, poorest, size(case), how + told)]


def _resigned(
    case: Case, layers: list[Institution], place: int, names: tuple[str, ...], others: list[Any], seed: int
) -> dict[str, Host]:
    """Return what each party gains under other contracts that all sign, {party: (contracts, worlds)}."""
    contract = layers[place]
    assert isinstance(contract, Contracted)
    stages = [stage.name for stage in case.game.stages]
    blanks = bool(contract.mechanism.terms.blanks)
    role, seat = contract._proposer_seat

    def sign(look: Look) -> None:
        rows = np.flatnonzero((look.stage == stages.index("consent")) & look.live)
        for name, seats in contract._answering.items():
            for i in seats:
                look.acts[name]["consent"][rows, i] = 1
        if blanks:
            rows = np.flatnonzero((look.stage == stages.index("propose")) & look.live)
            for k, name in enumerate(names):
                look.acts[role][name][rows, seat] = np.asarray([other[k] for other in others])[look.copy[rows]]

    plain = case.run(seed=seed).returns
    if blanks:
        played = case.run(sign, copies=len(others), seed=seed).returns
        return {party: played[party] - plain[party] for party in contract.parties}
    found: dict[str, list[Host]] = {party: [] for party in contract.parties}
    for other in others:
        fixed = {k: int(v) if isinstance(v, np.integer) else float(v) for k, v in zip(names, other, strict=True)}
        terms = dataclasses.replace(contract.mechanism.terms, **fixed)  # type: ignore[type-var]
        mechanisms = [layer.mechanism for layer in layers]
        mechanisms[place] = dataclasses.replace(contract.mechanism, terms=terms)
        game = functools.reduce(operator.or_, reversed(mechanisms), layers[-1].base)
        played = run(game, case.policies, worlds=case.worlds, seed=seed, deviate=(sign,)).returns
        for party, gains in found.items():
            gains.append(played[party][0] - plain[party][0])
    return {party: np.stack(gains) for party, gains in found.items()}
