"""Held-out populations: how a policy does among players it never met, and what it does to them.

J. Z. Leibo et al., "Scalable Evaluation of Multi-Agent Reinforcement Learning with Melting Pot", ICML 2021,
arXiv:2107.06857: the focal players are scored by their per-capita return among background players who were not there when
they learned, as residents (the majority, visited by some others) and as visitors (a minority among others).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..envs.core import registry, validate, words
from ..envs.core.episodes import Episodes, play
from ..envs.core.mechanism import Unfit
from ..envs.core.policy import Policy
from ..envs.core.statistics import Interval, interval, paired_difference
from ..envs.core.worlds import Cast

if TYPE_CHECKING:
    import pandas as pd

    from ..envs.core.game import Game

MEASURES = ("focal", "background", "welfare", "alignment")
"""Per-capita return of the focal and of the background players, and welfare and alignment of the society."""

FEW = 12
"""Up to so many seatings, every world is played in each of them."""

LOTS = 32
"""Groups into which worlds are divided where there are more; each group has one seating, by lot."""

Players = Policy | Mapping[str, Policy]
"""A policy that plays whatever role it is given, or one for each role."""

Values = dict[str, np.ndarray[Any, Any]]
"""{measure: (observations,)}."""

Plan = list[tuple[tuple[str, ...], int]]
"""Seatings, each with the group of worlds in which it is played."""

_NONE = Interval(float("nan"), float("nan"), float("nan"), 0)


class Row(NamedTuple):
    """One measure in one mode: its mean, and its paired differences to the two societies of one kind.

    ``over_background`` compares with all seats held by the background policy, ``over_focal`` with all held by the focal
    one, in the same worlds; per-capita returns are compared on the same seats.
    """

    background: str
    mode: str
    measure: str
    value: Interval
    over_background: Interval
    over_focal: Interval


@dataclass(frozen=True)
class HeldOut:
    """The scores of a policy among held-out backgrounds.

    Parameters
    ----------
    game
        Name of the game.
    seats
        How many seats there are, and how many of them the focal players hold in each mode.
    seatings
        For each mode the seatings played: the players who were focal.
    units
        What an interval counts: "worlds", or "groups of worlds" that share a seating drawn by lot.
    worlds, seed
        As they were asked for.
    rows
        One for every background, mode and measure.
    """

    game: str
    seats: tuple[int, dict[str, int]]
    seatings: dict[str, tuple[tuple[str, ...], ...]]
    units: str
    worlds: int
    seed: int
    rows: tuple[Row, ...]

    def row(self, background: str, mode: str, measure: str = "focal") -> Row:
        """Return one row; the error lists what there is."""
        for row in self.rows:
            if row[:3] == (background, mode, measure):
                return row
        known = ", ".join(dict.fromkeys(f"{row.background}/{row.mode}" for row in self.rows))
        raise KeyError(
            f"no row {background}/{mode}/{measure}; backgrounds/modes: {known}; measures: {', '.join(MEASURES)}"
        )

    def to_frame(self) -> pd.DataFrame:
        """Return the rows as a table: each interval as mean, low and high, the first with its n."""
        import pandas as pd

        columns = ["background", "mode", "measure", "mean", "low", "high", "n"]
        for name in ("over_background", "over_focal"):
            columns += [name, f"{name}_low", f"{name}_high"]
        records = [(*row[:3], *row.value, *row.over_background[:3], *row.over_focal[:3]) for row in self.rows]
        return pd.DataFrame.from_records(records, columns=columns)

    def __str__(self) -> str:
        count, held = self.seats
        modes = "; ".join(f"{mode}: {focal} of {count} seats focal" for mode, focal in held.items())
        lines = [
            f"{self.game}: {modes}. {self.worlds} worlds of seed {self.seed}, 95% intervals over {self.units}.",
            "Differences are paired: the same worlds and seats with all seats background, and with all focal.",
            "",
        ]
        head = ("background", "mode", "measure", "mean", "over all background", "over all focal")
        table = [head, *((*row[:3], *map(_told, row[3:])) for row in self.rows)]
        widths = [max(len(line[i]) for line in table) for i in range(len(head))]
        told = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table
        ]
        return "\n".join([*lines, told[0], "  ".join("-" * width for width in widths), *told[1:]]) + "\n"


def held_out(
    game: Game,
    focal: Players,
    background: Mapping[str, Players],
    role: str | Sequence[str] | None = None,
    visitors: int = 1,
    worlds: int = 256,
    seed: int = 0,
    *,
    backend: str = "numpy",
    device: str | None = None,
) -> HeldOut:
    """Score a policy as resident and as visitor among background policies it never met.

    In a game of one role the focal players are all but ``visitors`` (mode ``"resident"``) or just as many (mode
    ``"visitor"``); if that is the same number there is one mode, ``"even"``. In a game of several roles they are all the
    players of the named roles, among background players in the others (mode ``"resident"`` alone).

    Seats may differ. If there are at most ``FEW`` seatings, each world is played in all of them and its value is their
    mean. Otherwise the worlds are divided into ``LOTS`` groups, each of which has a seating drawn by lot from the seed, so
    that no seat is focal much more often than another; a group is then one observation.

    Parameters
    ----------
    game
        The game, under any mechanisms.
    focal
        The policy that is scored. In a game of several roles also {role: policy}.
    background
        {name: policy}, as ``focal``.
    role
        The roles that the focal policy takes in a game of several.
    visitors
        Size of the minority in a game of one role, at most half of the players.
    worlds, seed, backend, device
        As for ``play``; every society meets the same worlds.

    Returns
    -------
    HeldOut
        What is compared with a society that a policy refuses to play (it knows only some roles) is nan.

    Raises
    ------
    Unfit
        If the game has no seats for both, or the roles to take are not named.
    """
    validate.whole("worlds", worlds, 1, 10_000_000)
    validate.whole("seed", seed, 0, 2**63 - 1)
    if not background:
        raise ValueError("background: {name: policy}, at least one, got none")
    seats = _seats(game, role)
    modes = _modes(game, seats, visitors)
    lots = any(math.comb(len(seats), count) > FEW for count in modes.values())
    sizes = [len(part) for part in np.array_split(np.arange(worlds), min(LOTS, worlds) if lots else 1)]
    # the first group's seed is the seed itself: these are the worlds of any other run of this seed
    seeds = [seed, *(int(np.random.SeedSequence([seed, i]).generate_state(1)[0]) for i in range(1, len(sizes)))]
    seatings = {mode: _seatings(seats, count, len(sizes) if lots else 0, seed) for mode, count in modes.items()}
    for one in (focal, *background.values()):
        for policy in one.values() if isinstance(one, Mapping) else (one,):
            policy.ready()

    def society(who: tuple[str, ...], others: Players, group: int) -> Episodes:
        """Play one group of worlds, with the focal policy in the seats of ``who``."""
        cast = {seat: _policy(focal if seat in who else others, seat) for seat in game.players}
        return play(game, cast, worlds=sizes[group], seed=seeds[group], backend=backend, device=device)

    def scored(plan: Plan, played: Callable[[tuple[str, ...], int], Episodes]) -> Values:
        """Return one value a world, the mean of its seatings; or one a group, which has one seating."""
        found = [_values(played(who, group), who) for who, group in plan]
        if lots:
            return {measure: np.array([one[measure].mean() for one in found]) for measure in MEASURES}
        return {measure: np.mean([one[measure] for one in found], axis=0) for measure in MEASURES}

    groups = range(len(sizes))
    whole = [society(game.players, focal, group) for group in groups] if _plays(game, focal) else None
    rows: list[Row] = []
    for name, others in background.items():
        alone = [society((), others, group) for group in groups] if _plays(game, others) else None
        for mode, chosen in seatings.items():
            plan = [(who, group if lots else 0) for group, who in enumerate(chosen)]
            here = scored(plan, lambda who, group: society(who, others, group))  # noqa: B023  (called at once)
            before = scored(plan, lambda who, group: alone[group]) if alone else None  # noqa: B023
            after = scored(plan, lambda who, group: whole[group]) if whole else None
            for measure in MEASURES:
                over = (paired_difference(here[measure], one[measure]) if one else _NONE for one in (before, after))
                rows.append(Row(name, mode, measure, interval(here[measure]), *over))
    units = "groups of worlds that share a seating" if lots else "worlds"
    return HeldOut(game.name, (len(game.players), modes), seatings, units, worlds, seed, tuple(rows))


def report(
    game: Game,
    focal: str,
    background: Sequence[str],
    role: str | Sequence[str] | None = None,
    visitors: int = 1,
    worlds: int = 256,
    seed: int = 0,
) -> str:
    """Return the table of ``held_out`` for policies given by name, ``"scripted"`` or ``"scripted:character=fair"``.

    Parameters
    ----------
    game
        The game.
    focal, background
        Names of policies, each with its parameters: ``name:parameter=value,parameter=value`` (values as in YAML).
    role, visitors, worlds, seed
        As for ``held_out``.
    """
    others = {text: _named(text) for text in ([background] if isinstance(background, str) else background)}
    return f"Focal: {focal}.\n{held_out(game, _named(focal), others, role, visitors, worlds, seed)}"


def _named(text: str) -> Policy:
    """Return the policy that a text names, with its parameters."""
    import yaml

    name, _, given = text.partition(":")
    options: dict[str, Any] = {}
    for pair in filter(None, given.split(",")):
        option, sign, value = pair.partition("=")
        if not sign:
            raise ValueError(f"policy: NAME or NAME:PARAMETER=VALUE,..., got {text!r}")
        options[option.strip()] = yaml.safe_load(value)
    policy: Policy = registry.create("policies", name.strip(), **options)
    return policy


def _seats(game: Game, role: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the players among whom focal players are, all of whom are focal in a game of several roles."""
    known = tuple(one.name for one in game.roles)
    named = (role,) if isinstance(role, str) else tuple(role or ())
    if lacking := [name for name in named if name not in known]:
        raise Unfit(f"role: {game.name} has no role {', '.join(lacking)}; it has: {', '.join(known)}")
    if len(known) == 1:
        if len(game.players) < 2:
            raise Unfit(f"{game.name} has one player, {game.players[0]}: nobody is there to be met")
        return game.players
    if not named or set(named) == set(known):
        raise Unfit(
            f"role: {game.name} has the roles {', '.join(known)}; name those that the focal policy takes, and leave some to the "
            "background"
        )
    return tuple(player for one in game.roles if one.name in named for player in one.players)


def _modes(game: Game, seats: tuple[str, ...], visitors: int) -> dict[str, int]:
    """Return how many seats are focal in each mode."""
    if len(game.roles) > 1:
        return {"resident": len(seats)}
    count = len(seats)
    validate.whole("visitors", visitors, 1, 1_000_000)
    if 2 * visitors > count:
        raise Unfit(
            f"visitors: a minority of the {count} players of {game.name}, from 1 to {count // 2}, got {visitors}"
        )
    if 2 * visitors == count:
        return {"even": visitors}
    return {"resident": count - visitors, "visitor": visitors}


def _seatings(seats: tuple[str, ...], count: int, lots: int, seed: int) -> tuple[tuple[str, ...], ...]:
    """Return all seatings or, where ``lots`` are drawn, so many that take the seats in turn, in orders drawn by lot."""
    if not lots:
        return tuple(itertools.combinations(seats, count))
    generator = np.random.default_rng([seed, count])
    line: list[int] = []
    found = []
    for _ in range(lots):
        taken = line[:count]
        line = line[count:]
        if len(taken) < count:  # a new turn: who sits already is not drawn twice
            order = generator.permutation(len(seats)).tolist()
            more = [seat for seat in order if seat not in taken][: count - len(taken)]
            line = [seat for seat in order if seat not in more]
            taken += more
        found.append(tuple(seats[seat] for seat in sorted(taken)))
    return tuple(found)


def _policy(players: Players, seat: str) -> Policy:
    """Return who plays a seat."""
    if isinstance(players, Policy):
        return players
    role = seat.rpartition("_")[0]
    if role not in players:
        raise ValueError(f"policies: none for {role}; there are some for: {', '.join(players) or 'no role'}")
    return players[role]


def _plays(game: Game, players: Players) -> bool:
    """Say whether a policy plays all roles; in a game of one it has to."""
    if len(game.roles) == 1:
        return True
    try:
        Cast(game, {seat: _policy(players, seat) for seat in game.players})
    except (ValueError, TypeError, KeyError, RuntimeError):  # that is how policies refuse a role
        return False
    return True


def _values(episodes: Episodes, who: tuple[str, ...]) -> Values:
    """Return the measures (worlds,) of episodes in which the players of ``who`` count as focal."""
    returns = np.concatenate([episodes.returns[role.name] for role in episodes.game.roles], axis=-1)
    focal = np.array([player in who for player in episodes.game.players])
    try:
        alignment = episodes.alignment
    except ValueError:  # nothing to align: the first best is the baseline
        alignment = episodes.welfare * np.nan
    return {
        "focal": returns[:, focal].mean(axis=-1),
        "background": returns[:, ~focal].mean(axis=-1),
        "welfare": episodes.welfare,
        "alignment": alignment,
    }


def _told(one: Interval) -> str:
    """Write a mean with its interval."""
    if one.n == 0 or math.isnan(one.mean):
        return "-"
    ends = "" if math.isnan(one.low) else f" [{words.figure(one.low)}, {words.figure(one.high)}]"
    return f"{words.figure(one.mean)}{ends}"
