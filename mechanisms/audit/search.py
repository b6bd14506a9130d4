"""The search for the best deviation: whole plans, families of them, what depends on what is seen, a learned response."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...envs.core import registry
from ...envs.core.game import Game
from ...envs.core.policy import Policy
from ...envs.core.worlds import Cast
from .deviations import Contingent, Keep, Learner, Menu, Plans, Seat, Sight, by_sight
from .play import Deviate, Host, Instead, Played, run
from .reach import reach

KINDS = {"all": "open-loop plans", "constant": "constant plans", "single": "changes at one moment"}
LEARNED = 64
"""Most acts a stage that the learner tells apart."""

LEAST = 32
"""Fewest worlds that a plan is tried in where there is chance."""

CARES = (0.0, 1e-6, -1e-6, -0.25, -0.5, -1.0, -2.0, -4.0, -1e6)
"""What a unit of the others' returns counts in the plans of dynamic programming, where one's own counts 1."""

SHORTLIST = 16
"""How many of the plans that were tried in few worlds are tried in more."""


Respond = Callable[[Game, str, Mapping[str, Policy]], Policy]
"""Trains a best response: takes the game, a player and how all play, and returns the player's policy."""


class Tried(NamedTuple):
    """Deviations that were tried: what each gains every player, {player: (deviations, worlds)}, and how to play it."""

    words: str
    gains: dict[str, Host]
    deviation: Callable[[Host], tuple[Deviate, ...]]
    tell: Callable[[int], str]
    menus: tuple[Menu, ...] = ()
    alike: bool = False


class Best(NamedTuple):
    """The deviation that was found, what it gains every player, {player: (worlds,)}, and what it is in words."""

    gains: dict[str, Host]
    words: str


@dataclass
class Case:
    """A game and policies under audit."""

    game: Game
    policies: Mapping[str, Policy]
    worlds: int
    seed: int
    limit: int
    learn: int
    grid: int
    learner: str | Respond | None = None

    def __post_init__(self) -> None:
        """Find out over how many worlds the policies repeat."""
        parts = [policy for _, _, policy in Cast(self.game, self.policies).parts]
        learned = [tables for policy in parts if (tables := getattr(policy, "tables", None))]
        self.sessions = math.lcm(*(tables[0].shape[0] for tables in learned))  # a table of each session of learning
        self.probe = self.sessions * (2 if any(part.draws for part in parts) else 1)
        self.worlds = self.rounded(self.worlds)

    def rounded(self, worlds: int) -> int:
        """Return at least so many worlds that learned tables come out even."""
        return -(-worlds // self.sessions) * self.sessions

    def run(self, *deviate: Deviate, copies: int = 1, worlds: int = 0, seed: int | None = None) -> Played:
        """Play copies of some worlds with deviations."""
        return run(
            self.game,
            self.policies,
            worlds=worlds or self.worlds,
            seed=self.seed if seed is None else seed,
            copies=copies,
            deviate=deviate,
        )

    @functools.cached_property
    def follow(self) -> Played:
        """Play without a deviation."""
        return self.run()

    @functools.cached_property
    def size(self) -> float:
        """The largest return of a player, to which differences are compared."""
        return max(float(np.abs(pay).max()) for pay in self.follow.returns.values())

    def gains(
        self, *deviate: Deviate, copies: int = 1, worlds: int = 0, seed: int | None = None
    ) -> tuple[dict[str, Host], bool]:
        """Return what deviations gain every player, {player: (copies, worlds)}, and whether all worlds were alike."""
        played = self.run(*deviate, copies=copies, worlds=worlds, seed=seed)
        plain = self.run(worlds=worlds, seed=seed)
        return {name: pay - plain.returns[name] for name, pay in played.returns.items()}, played.alike and plain.alike

    @property
    def levels(self) -> tuple[int | None, ...]:
        """How finely numbers may be tried: as they are, on the grid, or coarser."""
        return (None, *(level for level in (self.grid, 5, 3, 2) if level <= self.grid))


@dataclass
class Found:
    """What a search came to."""

    case: Case
    tried: list[Tried]
    exact: bool

    @property
    def how(self) -> str:
        """What was searched, in words."""
        if self.exact:
            return self.tried[0].words
        text = "lower bound: the best of " + ", ".join(tried.words for tried in self.tried)
        alone = all(tried.alike for tried in self.tried)
        return text if alone else f"{text}, found in other worlds than those in which it is measured"

    def best(self, score: Callable[[dict[str, Host]], Host]) -> Best:
        """Return the deviation with the highest score; ``score`` makes (deviations,) of gains (deviations, worlds).

        Where none has a score above 0 it is to follow the policies.
        """
        top, found = 0.0, None
        for tried in self.tried:
            scores = score(tried.gains)
            number = int(scores.argmax())
            few = not tried.alike and next(iter(tried.gains.values())).shape[1] < self.case.worlds
            if few and scores[number] > 0.0:  # tried in few worlds: the best of them once more, in more
                numbers = np.argsort(-scores, kind="stable")[:SHORTLIST]
                scores = score(self._again(tried, numbers, self.case.seed + 2))
                number = int(numbers[scores.argmax()])
            if scores.max() > top + 1e-12:
                top, found = float(scores.max()), (tried, number)
        if found is None:
            return Best({player: pay[0] * 0.0 for player, pay in self.case.follow.returns.items()}, "")
        tried, number = found
        if tried.alike:
            gains = {player: gain[number] for player, gain in tried.gains.items()}
        else:
            again = self._again(tried, np.asarray([number]), self.case.seed)
            gains = {player: gain[0] for player, gain in again.items()}
        return Best(gains, tried.tell(number))

    def _again(self, tried: Tried, numbers: Host, seed: int) -> dict[str, Host]:
        return self.case.gains(*tried.deviation(numbers), copies=len(numbers), seed=seed)[0]


def search(case: Case, *seats: Seat) -> Found:
    """Search for deviations of a player, or of several together; nothing is learned for several.

    Raises
    ------
    ValueError
        If what they decide has no bounds.
    """
    if case.follow.alike and (found := _everything(case, seats)) is not None:
        return Found(case, [found], exact=True)
    menu = Menu(case.game, seats[0], 2, case.grid)
    kinds = ["constant"] if len(seats) > 1 or len(menu.sizes) == 1 else ["constant", "single", "all"]
    tried = [found for kind in kinds if (found := _family(case, seats, kind)) is not None]
    if len(seats) == 1 and len(menu.sizes) == 1 and tried and not tried[0].alike:
        tried += _contingent(case, seats[0], tried[0])
    elif len(seats) == 1 and case.learn:
        tried.append(_learned(case, seats[0]))
    if len(seats) == 1 and case.learner is not None:
        tried += _trained(case, seats[0])
    if not tried:
        raise ValueError(f"there are more plans than the limit of {case.limit}, however coarse the grid")
    return Found(case, tried, exact=False)


def _everything(case: Case, seats: tuple[Seat, ...]) -> Tried | None:
    """Find what no plan can better where nothing is left to chance; None if there is too much to try, or something is.

    Where few plans are open, all are played; otherwise what they lead to is worked through backwards.
    """
    for level in (None, case.grid):
        menus = tuple(Menu(case.game, seat, level, case.grid) for seat in seats)
        fine = all(menu.whole for menu in menus)
        exact = "exact" if fine else f"exact on a grid of {case.grid} values a number"
        size = math.prod(menu.size("all") for menu in menus)
        if size <= case.limit:
            text = f"{exact}: all {size} plans of own acts, nothing is left to chance"
            found = _tried(case, menus, _product(menus, "all"), case.probe, text)
            return found if found.alike else None
        if case.sessions == 1 and (found_ := _programmed(case, menus, exact)) is not None:
            return found_
    return None


def _programmed(case: Case, menus: tuple[Menu, ...], exact: str) -> Tried | None:
    """Find by dynamic programming the plans that are best for the players of the menus, and those that do most harm."""
    open_ = reach(case.game, case.policies, menus, case.limit, case.seed + 1)
    if open_ is None:
        return None
    ours = [menu.seat.player for menu in menus]
    plans = []
    for care in CARES:
        weights = {player: care for player in case.game.players if player not in ours} | dict.fromkeys(ours, 1.0)
        plans.append(open_.best(weights))
    text = (
        f"{exact}: dynamic programming over the {open_.situations} situations that own acts can lead to, nothing is left "
        f"to chance (harm: the worst of {len(CARES)} trade-offs)"
    )
    digits = [np.stack([plan[k] for plan in plans]) for k in range(len(menus))]
    found = _tried(case, menus, digits, case.probe, text)
    return found if found.alike else None


def _product(menus: tuple[Menu, ...], kind: str) -> list[Host]:
    """Return every joint plan of a kind, digits (plans, moments) of each menu."""
    rest, digits = np.arange(math.prod(menu.size(kind) for menu in menus)), []
    for menu in menus:
        digits.append(menu.plans(kind)[rest % menu.size(kind)])
        rest = rest // menu.size(kind)
    return digits


def _tried(case: Case, menus: tuple[Menu, ...], digits: list[Host], worlds: int, text: str) -> Tried:
    plans = [Plans(menu, part) for menu, part in zip(menus, digits, strict=True)]
    gains, alike = case.gains(*plans, copies=len(digits[0]), worlds=worlds, seed=case.seed + 1)

    def deviation(numbers: Host) -> tuple[Deviate, ...]:
        return tuple(plan.only(numbers) for plan in plans)

    def tell(number: int) -> str:
        return "; ".join(plan.only(np.asarray([number])).tell() for plan in plans)

    return Tried(text, gains, deviation, tell, menus, alike)


def _family(case: Case, seats: tuple[Seat, ...], kind: str) -> Tried | None:
    """Try the plans of a kind, as finely as the limit allows; None if it does not."""
    for certain in (True, False) if case.follow.alike else (False,):
        most = case.limit if certain else case.limit // LEAST
        for level in case.levels:
            menus = tuple(Menu(case.game, seat, level, case.grid) for seat in seats)
            size = math.prod(menu.size(kind) for menu in menus)
            if size <= most:
                break
        else:
            return None
        worlds = case.probe if certain else case.rounded(min(case.worlds, max(LEAST, case.limit // size)))
        fine = all(menu.whole for menu in menus)
        text = f"{size} {KINDS[kind]}" + ("" if fine else f" ({level or case.grid} values a number)")
        found = _tried(case, menus, _product(menus, kind), worlds, text)
        if found.alike or not certain:
            return found
    return None


def _contingent(case: Case, seat: Seat, tried: Tried) -> list[Tried]:
    """Let a player who decides once do what is best for what it sees, told apart as finely as the worlds allow."""
    worlds = tried.gains[seat.player].shape[1]
    for bins in (None, case.grid, 5, 3):
        sight = Sight(seat, bins)
        keep = Keep(tried.menus[0], sight, worlds)
        case.run(keep, worlds=worlds, seed=case.seed + 1)
        known, chosen = by_sight(keep.keys, tried.gains[seat.player])
        if len(known) == 1:
            return []
        if len(known) <= worlds / 8:
            text = f"the best act for each of {len(known)} things seen" + (f" ({bins} bins a number)" if bins else "")
            return [_single(case, Contingent(tried.menus[0], sight, known, chosen), text, "acts by what it sees")]
    return []


def _learned(case: Case, seat: Seat) -> Tried:
    menu = Menu(case.game, seat, 2, case.grid)
    for level in reversed(case.levels):
        finer = Menu(case.game, seat, level, case.grid)
        if max(options.size for options in finer.stages.values()) <= LEARNED:
            menu = finer
    learner = Learner(menu, Sight(seat, case.grid), case.seed)
    learner.learn(case.game, case.policies, plays=case.learn, worlds=case.worlds, seed=case.seed + 1000)
    text = f"a table learned in {case.learn} x {case.worlds} episodes"
    return _single(case, learner, text, "plays what it has learned")


def _trained(case: Case, seat: Seat) -> list[Tried]:
    """Let a learner that was handed in train the player's response, while the others play as they do."""
    if callable(case.learner):
        name = getattr(case.learner, "__name__", type(case.learner).__name__)
        policy = case.learner(case.game, seat.player, case.policies)
    else:
        assert case.learner is not None
        name = case.learner
        others = {key: policy for key, policy in case.policies.items() if key not in (seat.role.name, seat.player)}
        made = registry.create("policies", name)
        if seat.role.count > 1 or not hasattr(made, "learn"):
            why = "learns all players of a role together" if hasattr(made, "learn") else "does not learn"
            raise ValueError(f"learner: {name} {why}; give a function (game, player, policies) -> policy")
        policy = made.learn(
            case.game, seat.role.name, episodes=max(1, case.learn), seed=case.seed + 2000, others=others
        )
    return [
        _single(
            case, Instead(seat.role.name, seat.place, policy), f"a response trained by {name}", "plays what was trained"
        )
    ]


def _single(case: Case, deviation: Deviate, text: str, told: str) -> Tried:
    gains, _ = case.gains(deviation, seed=case.seed + 1)
    return Tried(text, gains, lambda numbers: (deviation,), lambda number: told)
