"""Steps a second of the double auction, next to loops over PettingZoo environments of the same game.

One environment is written by hand, with its book in plain Python; the other is our game, one world, behind its PettingZoo
face. Run ``python benchmarks/double_auction.py`` (options: ``--quick``, ``--json FILE``). Before anything is timed the first
plays the same acts and lots as ours, and must pay every trader the same at every step. Everything is measured in one run, on
one thread, in seconds of the processor: each round times every contestant once, every other round in the opposite order;
what is printed are medians over the rounds. Periods are so short that traders have units to trade for most of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steps import CYCLE, Ours, machine  # first: it sets the number of threads before NumPy is imported

import numpy as np  # isort: skip
import pettingzoo
from gymnasium.spaces import Box, MultiDiscrete
from pettingzoo import ParallelEnv
from rich.console import Console
from rich.table import Table

from societas.envs.markets.double_auction import DoubleAuction

FULL: dict[str, Any] = {"rounds": 7, "seconds": 0.3}
QUICK: dict[str, Any] = {"rounds": 3, "seconds": 0.2}
WORLDS = 4_096
GOAL = 100.0
CASES = (
    ("continuous", "one", 100),
    ("cleared", "one", 100),
    ("continuous", "all", 500),
    ("continuous", "all", 5),
    ("cleared", "all", 5),
    ("call", "all", 5),
)
"""How the market is cleared, whose turn it is, and moves of a period."""
Vector = np.ndarray[Any, Any]


class Market(ParallelEnv[str, Vector, Vector]):
    """The double auction with one unit a trader, written for PettingZoo: a dict of agents, a list of orders a side."""

    metadata = {"name": "market"}  # noqa: RUF012  (as PettingZoo's own)

    def __init__(self, game: DoubleAuction) -> None:
        self.game, self.buyers = game, len(game.values)
        self.limits = [row[0] for row in (*game.values, *game.costs)]
        self.possible_agents = [f"buyer_{i}" for i in range(self.buyers)]
        self.possible_agents += [f"seller_{i}" for i in range(len(game.costs))]
        self.numbers = {agent: i for i, agent in enumerate(self.possible_agents)}

    @functools.cache  # noqa: B019  (as PettingZoo's documentation has it)
    def observation_space(self, agent: str) -> Box:
        """Return the space of what an agent sees."""
        return Box(-np.inf, np.inf, (7 if self.game.clearing == "call" else 13,), np.float32)

    @functools.cache  # noqa: B019
    def action_space(self, agent: str) -> MultiDiscrete:
        """Return the space of acts: wait, place or cancel; and a price less 1."""
        return MultiDiscrete([3, self.game.ceiling])

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Vector], dict[str, dict[str, Any]]]:
        """Open an empty book."""
        if seed is not None or not hasattr(self, "rng"):
            self.rng = np.random.default_rng(seed)
        self.agents = list(self.possible_agents)
        self.moves, self.last, self.traded = 0, 0, 0
        self.left = [1] * len(self.agents)
        self.gained = [0] * len(self.agents)
        self.bids: list[tuple[int, int]] = []  # (price, trader), the best first
        self.asks: list[tuple[int, int]] = []
        self.heard = (0, 0)
        return self.observe(), {agent: {} for agent in self.agents}

    def observe(self) -> dict[str, Vector]:
        """Return what everyone sees."""
        orders = {trader: price for price, trader in self.bids + self.asks}
        bid, ask = (side[0][0] if side else 0 for side in (self.bids, self.asks))
        now = min(self.moves, self.game.rounds - 1)
        clock = [now // self.game.moves + 1, now % self.game.moves + 1]
        seen = {}
        if self.game.clearing == "call":
            shared = [*clock, self.last, self.traded]
            for i, agent in enumerate(self.agents):
                seen[agent] = np.array([*shared, self.limits[i], self.left[i], self.gained[i]], dtype=np.float32)
            return seen
        shared = [*clock, bid, ask, *self.heard, self.last, self.traded]
        for i, agent in enumerate(self.agents):
            price = orders.get(i, 0)
            own = [self.limits[i], self.left[i], price, price > 0, self.gained[i]]
            seen[agent] = np.array(shared + own, dtype=np.float32)
        return seen

    def step(self, actions: dict[str, Vector]) -> tuple[dict[str, Any], ...]:  # type: ignore[override]
        """Deal with the orders of the traders whose turn it is."""
        lots = self.rng.random(1 if self.game.turns == "one" else len(self.agents))
        return self.advance(actions, lots)

    def advance(self, actions: dict[str, Vector], lots: Vector) -> tuple[dict[str, Any], ...]:
        """Deal with the orders, given the lots."""
        before = list(self.gained)
        self.traded, self.heard = 0, (0, 0)
        one = self.game.turns == "one"
        if self.game.clearing == "call":
            self.call(actions, lots.tolist())
        else:
            for i in [int(lots[0] * len(self.agents))] if one else np.argsort(lots).tolist():
                kind, offer = actions[self.agents[i]].tolist()
                if kind:
                    self.arrive(i, offer + 1 if kind == 1 else 0)
        self.moves += 1
        if self.moves % self.game.moves == 0:
            self.bids, self.asks, self.left = [], [], [1] * len(self.agents)
        done = self.moves >= self.game.rounds
        rewards = {agent: float(self.gained[i] - before[i]) for i, agent in enumerate(self.agents)}
        ends = dict.fromkeys(self.agents, done)
        return self.observe(), rewards, ends, dict.fromkeys(self.agents, False), {agent: {} for agent in self.agents}

    def arrive(self, i: int, offer: int) -> None:
        """Deal with the order of a trader; an offer of 0 cancels."""
        buys = i < self.buyers
        own, other = (self.bids, self.asks) if buys else (self.asks, self.bids)
        if offer:
            self.heard = (1 if buys else 2, offer)
        if offer and self.game.clearing == "cleared" and own and (offer <= own[0][0] if buys else offer >= own[0][0]):
            return
        for k, (_, trader) in enumerate(own):
            if trader == i:
                del own[k]
                break
        if not offer or not self.left[i]:
            return
        if other and (offer >= other[0][0] if buys else offer <= other[0][0]):
            price, whom = other.pop(0)
            self.trade(i, whom, price)
            if self.game.clearing == "cleared":
                self.bids.clear()
                self.asks.clear()
            return
        place = len(own)
        while place and (own[place - 1][0] < offer if buys else own[place - 1][0] > offer):
            place -= 1
        own.insert(place, (offer, i))

    def trade(self, i: int, whom: int, price: int) -> None:
        """Hand over a unit."""
        self.last, self.traded = price, self.traded + 1
        for trader in (i, whom):
            self.left[trader] = 0
            gain = self.limits[trader] - price
            self.gained[trader] += gain if trader < self.buyers else -gain

    def call(self, actions: dict[str, Vector], lots: list[float]) -> None:
        """Match sealed orders at one price."""
        bids, asks = [], []
        for i, agent in enumerate(self.agents):
            kind, offer = actions[agent].tolist()
            if kind == 1 and self.left[i]:
                (bids if i < self.buyers else asks).append((offer + 1, lots[i], i))
        bids.sort(key=lambda order: (-order[0], order[1]))
        asks.sort()
        units = sum(bid[0] >= ask[0] for bid, ask in zip(bids, asks, strict=False))
        if units:
            low = max(order[0] for order in (asks[units - 1], *bids[units : units + 1]))
            high = min(order[0] for order in (bids[units - 1], *asks[units : units + 1]))
            for bid, ask in zip(bids[:units], asks[:units], strict=True):
                self.trade(bid[2], ask[2], (low + high) // 2)


def acts(game: DoubleAuction, count: int, seed: int) -> list[dict[str, dict[str, Vector]]]:
    """Draw a cycle of acts: all place orders at random prices, some wait or cancel."""
    rng = np.random.default_rng(seed)
    cycle = []
    for _ in range(CYCLE):
        of_role = {}
        for role in game.roles:
            order = np.where(rng.random((count, role.count)) < 0.8, 1, rng.integers(0, 3, (count, role.count)))
            of_role[role.name] = {"order": order, "offer": rng.integers(1, game.ceiling + 1, (count, role.count))}
        cycle.append(of_role)
    return cycle


def as_actions(env: Market, cycle: Sequence[Mapping[str, Mapping[str, Vector]]], world: int) -> list[dict[str, Vector]]:
    """Return one world's acts as PettingZoo takes them."""
    found = []
    for given in cycle:
        columns = [np.stack([a["order"][world], a["offer"][world] - 1], axis=-1) for a in given.values()]
        found.append(dict(zip(env.possible_agents, np.concatenate(columns), strict=True)))
    return found


def agree(game: DoubleAuction, worlds: int = 8, steps: int = 200) -> None:
    """Check that both are the same game: the same rewards at every step, under the same acts and lots."""
    rng, cycle = np.random.default_rng(3), acts(game, worlds, 4)
    envs = [Market(game) for _ in range(worlds)]
    for env in envs:
        env.reset(seed=0)
    actions = [as_actions(env, cycle, world) for world, env in enumerate(envs)]
    state = game.start(np.zeros((worlds, game.draws)))
    for k in range(min(steps, game.rounds)):
        lots = rng.random((worlds, game.draws))
        outcome = game.step(state, cycle[k % CYCLE], lots)
        state, paid = outcome.state, np.concatenate(list(outcome.rewards.values()), axis=-1)
        for world, env in enumerate(envs):
            rewards = env.advance(actions[world][k % CYCLE], lots[world])[1]
            if list(rewards.values()) != paid[world].tolist():
                raise AssertionError(f"{game.clearing}, {game.turns}: step {k + 1} pays differently in world {world}")


def _ours(game: DoubleAuction, cycle: Sequence[Any], steps: int) -> float:
    """Return seconds a step of one world, of a batch."""
    batch = Ours(game, WORLDS, 1)
    for k in range(2):
        batch.step(cycle[k])
    begin = time.process_time()
    for k in range(steps):
        batch.view()
        batch.step(cycle[k % CYCLE])
    return (time.process_time() - begin) / (steps * WORLDS)


def face(game: DoubleAuction) -> Any:
    """Return the game, one world, behind its PettingZoo face."""
    options = {field.name: getattr(game, field.name) for field in dataclasses.fields(game)}
    return pettingzoo.make("parallel", "societas/DoubleAuction-v0", **options)


def _peer(env: Any, actions: Sequence[dict[str, Vector]], steps: int) -> float:
    """Return seconds a step."""
    env.reset(seed=1)
    begin = time.process_time()
    for k in range(steps):
        ends = env.step(actions[k % CYCLE])[2]
        if ends["buyer_0"]:
            env.reset()
    return (time.process_time() - begin) / steps


def measure(rounds: int, seconds: float) -> dict[str, Any]:
    """Time everything; return rates and their ratios."""
    rows = []
    for clearing, turns, moves in CASES:
        game = DoubleAuction.gode_sunder(clearing=clearing, turns=turns, moves=moves, periods=500 // moves)
        agree(game)
        env, cycle = Market(game), acts(game, WORLDS, 2)
        actions = as_actions(env, cycle, 0)
        runs = {
            "ours": functools.partial(_ours, game, cycle),
            "by hand": functools.partial(_peer, env, actions),
            "face": functools.partial(_peer, face(game), actions),
        }
        steps = {
            name: max(2, int(seconds / (run(3) * (WORLDS if name == "ours" else 1)))) for name, run in runs.items()
        }
        times: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(rounds):
            for name in list(runs)[:: 1 if number % 2 else -1]:
                times[name].append(runs[name](steps[name]))
        rows.append(
            {
                "clearing": clearing,
                "turns": turns,
                "moves": moves,
                "rates": {name: 1 / statistics.median(found) for name, found in times.items()},
                "ratio": {
                    name: statistics.median(b / a for a, b in zip(times["ours"], times[name], strict=True))
                    for name in ("by hand", "face")
                },
            }
        )
    return {"machine": machine(), "rounds": rounds, "rows": rows}


def show(results: Mapping[str, Any], console: Console) -> None:
    """Print the results."""
    console.print(results["machine"]["machine"])
    console.print(f"{results['machine']['versions']}; medians of {results['rounds']} rounds")
    table = Table(title="Market of 10 buyers and 10 sellers, steps a second")
    titles = f"societas, batch {WORLDS:,}", "PettingZoo, by hand", "times", "PettingZoo face", "times"
    for title in ("clearing", "turns", "moves", *titles):
        table.add_column(title, justify="left" if title in ("clearing", "turns") else "right")
    for row in results["rows"]:
        cells = [f"{row['rates']['ours']:,.0f}"]
        for name in ("by hand", "face"):
            ratio = row["ratio"][name]
            cells += [f"{row['rates'][name]:,.0f}", f"{ratio:.0f} {'met' if ratio >= GOAL else 'missed'}"]
        table.add_row(row["clearing"], row["turns"], str(row["moves"]), *cells)
    console.print(table)
    console.print(f"Goal: at least {GOAL:.0f} times as many steps a second as a loop over PettingZoo environments.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Measure steps of the double auction.")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter samples")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results to a file")
    options = parser.parse_args(arguments)
    results = measure(**(QUICK if options.quick else FULL))
    show(results, Console(width=120))
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
