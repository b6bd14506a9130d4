"""Claims that need no search over plans: the budget, truth-telling, renegotiation."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...envs.core import registry
from ...envs.core.arrays import select, to_float, to_numpy
from ...envs.core.fields import Choice, Field, Role, find
from ...envs.core.game import Game
from ...envs.core.mechanism import Institution, every, players_of
from ...envs.core.policy import Policy
from ...envs.core.words import figure
from ...envs.core.worlds import Cast, Worlds
from ..contract import Contract
from .claims import TOLERANCE, Claim, judged, unchecked
from .deviations import Contingent, Keep, Menu, Seat, Sight, by_sight, values_of
from .play import Deviate, Host, Look, run
from .search import LEAST, Case

STEPS = 1000
"""Most steps of an episode whose budget is checked."""

# ---- budget ---------------------------------------------------------------------------------------------------------


def layers_of(game: Game) -> list[Institution]:
    """Return the institutions of a game, outermost first."""
    layers = []
    while isinstance(game, Institution):
        layers.append(game)
        game = game.base
    return layers


def budget(case: Case, base: Game | None) -> list[Claim]:
    """Check that what all players are paid beyond welfare is what it is in the base game."""
    name, layers = "budget balance", layers_of(case.game)
    if not layers:
        return [unchecked(name, "all", f"{case.game.name} is under no mechanism")]
    if base is not None:
        depth = [i for i, layer in enumerate(layers) if layer.base is base or layer.base == base]
        if not depth:
            return [unchecked(name, "all", f"{base.name} is not beneath the mechanisms of {case.game.name}")]
        layers = layers[: depth[0] + 1]
    worlds = min(case.worlds, 64)
    anything = registry.create("policies", "random")
    largest, scale = 0.0, 1.0
    for policies in ({role.name: anything for role in case.game.roles if _bounded(role)}, case.policies):
        for gap, size in _gaps(case, layers, policies, worlds):
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
    case: Case, layers: list[Institution], policies: Mapping[str, Policy], worlds: int
) -> Iterator[tuple[float, float]]:
    """Yield, step by step, the largest gap that the layers make, and the largest reward."""
    game = case.game
    batch, cast = Worlds(game, worlds, seed=case.seed, check=False), Cast(game, policies)
    cast.begin(batch)
    live = np.ones(worlds, dtype=bool)
    for _ in range(min(STEPS, game.horizon)):
        state = batch.state
        acts = cast.act(batch, batch.view(), live=live)
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


def _bounded(role: Role) -> bool:
    return bool(role.acts) and all(math.isfinite(f.space.low) and math.isfinite(f.space.high) for f in role.acts)


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
    return judged(name, player, gain, case.size, how + note)


# ---- renegotiation --------------------------------------------------------------------------------------------------


def renegotiation(case: Case) -> list[Claim]:
    """Check that no other contract of the same kind is better for all parties, once it is signed."""
    name, layers = "renegotiation-proof", layers_of(case.game)
    place = next((i for i, layer in enumerate(layers) if isinstance(layer.mechanism, Contract)), None)
    if place is None:
        return [unchecked(name, "all", "there is no Contract")]
    contract = layers[place].mechanism
    assert isinstance(contract, Contract)
    parties = players_of(layers[place].base, contract.bound or every(layers[place].base))
    who = " and ".join(parties) if len(parties) < 4 else f"{len(parties)} parties"
    signing = _Signing.of(case.game, contract)
    terms = contract.terms
    if signing is None or isinstance(terms, tuple):
        return [unchecked(name, who, "only a single contract of one proposer, signed once an episode, is examined")]
    signed = case.follow.measures[signing.measure][0]
    if signed.mean() < 1.0:
        return [unchecked(name, who, f"the contract is signed in only {signed.mean():.0%} of the worlds")]
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
    names = tuple(f.name for f in figures)

    def play(others: list[Any], seed: int) -> dict[str, Host]:
        if terms.blanks:
            returns = case.run(signing.by(names, others), copies=len(others), seed=seed).returns
        else:
            returns = _restated(case, layers, place, names, others, signing, seed)
        plain = case.run(seed=seed).returns
        return {party: returns[party] - plain[party] for party in parties}

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
    return [judged(name, who, poorest, case.size, how + told)]


class _Signing(NamedTuple):
    """Where a contract is proposed and signed: stages, who answers and who fills it in, and what measures the signature."""

    stage: int
    propose: int
    answer: str
    answering: tuple[tuple[str, tuple[int, ...]], ...]
    filled: tuple[tuple[str, str, str, int], ...]
    measure: str

    @classmethod
    def of(cls, game: Game, contract: Contract) -> _Signing | None:
        """Find them among the fields of a game; None where contracts follow each other, or several propose."""
        label = f"{contract.label}_" if contract.label else ""
        stages = [stage.name for stage in game.stages]
        answer, propose, measure = f"{label}consent", f"{label}propose", f"{label}agreed"
        if isinstance(contract.proposer, str) or contract.recurs or answer not in stages:
            return None
        answering, filled = [], []
        for role in game.roles:
            for field in role.acts:
                seats = field.by or tuple(range(role.count))
                if field.stage == answer and field.name == answer:
                    answering.append((role.name, seats))
                elif field.stage == propose and len(seats) == 1:
                    filled.append((role.name, field.name, field.name.removeprefix(label), seats[0]))
        known = any(found.name == measure for found in game.reports)
        at = stages.index(propose) if propose in stages else -1
        return cls(stages.index(answer), at, answer, tuple(answering), tuple(filled), measure) if known else None

    def by(self, names: tuple[str, ...], others: list[Any]) -> Callable[[Look], None]:
        """Return the deviation by which the contract of each copy is proposed, and signed by all; none fills in nothing."""

        def sign(look: Look) -> None:
            rows = np.flatnonzero((look.stage == self.stage) & look.live)
            for role, seats in self.answering:
                for i in seats:
                    look.acts[role][self.answer][rows, i] = 1
            rows = np.flatnonzero((look.stage == self.propose) & look.live)
            for role, field, name, seat in self.filled:
                if name in names:
                    values = np.asarray([other[names.index(name)] for other in others])
                    look.acts[role][field][rows, seat] = values[look.copy[rows]]

        return sign


def _restated(
    case: Case,
    layers: list[Institution],
    place: int,
    names: tuple[str, ...],
    others: list[Any],
    signing: _Signing,
    seed: int,
) -> dict[str, Host]:
    """Return everybody's returns under other contracts without blanks, {player: (contracts, worlds)}."""
    contract = layers[place].mechanism
    assert isinstance(contract, Contract)
    found: list[dict[str, Host]] = []
    for other in others:
        fixed = {k: int(v) if isinstance(v, np.integer) else float(v) for k, v in zip(names, other, strict=True)}
        terms = dataclasses.replace(contract.terms, **fixed)  # type: ignore[type-var]
        mechanisms = [layer.mechanism for layer in layers]
        mechanisms[place] = dataclasses.replace(contract, terms=terms)
        game = functools.reduce(operator.or_, reversed(mechanisms), layers[-1].base)
        sign = signing.by((), [])
        found.append(run(game, case.policies, worlds=case.worlds, seed=seed, deviate=(sign,)).returns)
    return {player: np.concatenate([returns[player] for returns in found]) for player in case.game.players}
