"""Exact best responses by dynamic programming over the situations that acts can lead to, where nothing is left to chance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ...envs.core.arrays import to_numpy, tree_map
from ...envs.core.game import Acts, Game
from ...envs.core.policy import Policy
from ...envs.core.worlds import Cast, Worlds
from .deviations import Menu
from .play import Host


class Layer(NamedTuple):
    """What can be done in the situations that so many steps lead to, one row an act.

    ``parent`` is the situation, ascending; ``digits`` (menus, rows) the act of each menu, -1 where it decides nothing;
    ``stage`` and ``round`` when; ``pay`` {player: (rows,)}; ``child`` the situation of the next step, -1 at the end.
    """

    parent: Host
    digits: Host
    stage: Host
    round: Host
    pay: dict[str, Host]
    child: Host


class Reach(NamedTuple):
    """All that some players can bring about against the policies of the others."""

    menus: tuple[Menu, ...]
    layers: tuple[Layer, ...]

    @property
    def situations(self) -> int:
        """How many situations there are."""
        return sum(int(layer.parent[-1]) + 1 for layer in self.layers)

    def best(self, weights: Mapping[str, float]) -> list[Host]:
        """Return the plan, digits (moments,) of each menu, that makes the weighted sum of returns highest."""
        value: Host = np.zeros(1)
        picks: list[Host] = []
        for layer in reversed(self.layers):
            gain = sum((weight * layer.pay[player] for player, weight in weights.items()), np.zeros(len(layer.parent)))
            worth = gain + np.where(layer.child >= 0, value[layer.child], 0.0)
            order = np.lexsort((np.arange(len(worth)), -worth, layer.parent))
            first = np.searchsorted(layer.parent[order], np.arange(int(layer.parent[-1]) + 1))
            picks.append(order[first])
            value = worth[picks[-1]]
        plans = [np.full(len(menu.sizes), -1, dtype=np.int64) for menu in self.menus]
        here = 0
        for layer, pick in zip(self.layers, reversed(picks), strict=True):
            row = int(pick[here])
            for menu, plan, digits in zip(self.menus, plans, layer.digits, strict=True):
                stage = int(layer.stage[row])
                if digits[row] >= 0:
                    plan[menu.offset[stage] + min(int(layer.round[row]), menu.times[stage] - 1)] = digits[row]
            here = int(layer.child[row])
            if here < 0:
                break
        return plans


def reach(game: Game, policies: Mapping[str, Policy], menus: tuple[Menu, ...], limit: int, seed: int) -> Reach | None:
    """Find all that the players of some menus can bring about; None if chance has a part in it or it is too much.

    ``limit`` is the most acts in situations that are tried.
    """
    if game.random_start and game.draws:
        return None
    batch = Worlds(game, 1, seed=seed, check=False)
    cast = Cast(game, policies)
    probes = 2 if any(policy.draws for _, _, policy in cast.parts) else 1
    cast.begin(batch)
    state, memory = batch.state, cast.memory
    layers: list[Layer] = []
    acts: dict[str, Acts] = {}
    tried = 0
    for _ in range(game.horizon):
        stage, round_ = to_numpy(game.stage(state)), to_numpy(game.round(state))
        counts = [
            np.asarray([menu.stages[s].size if s in menu.stages else 1 for s in stage.tolist()]) for menu in menus
        ]
        ways = np.prod(counts, axis=0)
        tried += int(ways.sum())
        if tried > limit:
            return None
        before = memory
        for probe in range(probes):  # whoever may toss coins is asked twice
            batch = Worlds(game, len(stage), seed=seed + probe, check=False)
            batch.state, cast.memory = state, list(before)
            again = cast.act(batch, batch.view())
            if probe and not _same((acts, *memory), (again, *cast.memory)):
                return None
            acts, memory = again, cast.memory
        parent = np.repeat(np.arange(len(stage)), ways)
        state, memory, acts = tree_map_arrays((state, tuple(memory), acts), parent)
        rest = np.arange(len(parent)) - np.repeat(np.cumsum(ways) - ways, ways)
        acts = {role: {name: np.array(values) for name, values in part.items()} for role, part in acts.items()}
        digits = []
        for menu, count in zip(menus, counts, strict=True):
            digit = rest % count[parent]
            rest = rest // count[parent]
            decides = np.isin(stage[parent], list(menu.stages))
            for number, options in menu.stages.items():
                rows = np.flatnonzero(stage[parent] == number)
                options.put(acts[menu.seat.role.name], rows, menu.seat.place, digit[rows])
            digits.append(np.where(decides, digit, -1))
        if game.draws and game.uncertain(state, acts):
            return None
        u = np.full((len(parent), game.draws), math.nan)
        outcome = game.step(state, acts, u)
        pay = {
            player: to_numpy(outcome.rewards[role.name])[:, i]
            for role in game.roles
            for i, player in enumerate(role.players)
        }
        done = to_numpy(outcome.done)
        if not _comparable(memory):
            return None
        going = np.flatnonzero(~done)
        child = np.full(len(parent), -1, dtype=np.int64)
        state, memory = tree_map_arrays((outcome.state, memory), going)
        if len(going):
            first, child[going] = _merged((state, memory), len(going))
            state, memory = tree_map_arrays((state, memory), first)
        memory = list(memory)
        layers.append(Layer(parent, np.stack(digits), stage[parent], round_[parent], pay, child))
        if not len(going):
            return Reach(menus, tuple(layers))
    return None


def tree_map_arrays(tree: Any, rows: Host) -> Any:
    """Take rows of every array of a record; what is no array stays."""
    return tree_map(lambda leaf: leaf[rows] if isinstance(leaf, np.ndarray) and leaf.ndim else leaf, tree)


def _leaves(tree: Any) -> list[Any]:
    found: list[Any] = []
    tree_map(found.append, tuple(tree))
    return found


def _comparable(memory: Any) -> bool:
    """Say whether what policies remember is arrays, so that situations can be told apart."""
    return all(leaf is None or isinstance(leaf, np.ndarray) for leaf in _leaves(memory))


def _same(one: Any, two: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(_leaves(one), _leaves(two), strict=True))


def _merged(tree: Any, rows: int) -> tuple[Host, Host]:
    """Return a row of each distinct situation, and which situation each row is."""
    columns = []
    for leaf in _leaves(tree):
        if isinstance(leaf, np.ndarray) and leaf.ndim and leaf.shape[0] == rows and leaf.size:
            flat = leaf.reshape(rows, -1)
            flat = flat + 0.0 if flat.dtype.kind == "f" else flat  # -0 is 0
            columns.append(np.ascontiguousarray(flat).view(np.uint8).reshape(rows, -1))
    key = np.ascontiguousarray(np.concatenate(columns, axis=1))
    _, first, place = np.unique(
        key.view(np.dtype((np.void, key.shape[1]))).ravel(), return_index=True, return_inverse=True
    )
    return first, place
