"""What a step of the gather-trade-build economy costs, next to the same rules in plain Python, and to our PettingZoo face.

Run ``python benchmarks/economy.py`` (30 seconds). One thread; acts are drawn beforehand and are the same for all. A step
is: draw random numbers, show every player its fields, advance, and begin anew when an episode has ended. Before anything is
timed, plain Python and the batch play the same acts on the same numbers, and must agree in every coin. Every round times
all, every other round in the opposite order; medians over the rounds. Seconds are the processor's, so that other work on
the machine counts little.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before NumPy is imported

import argparse
import functools
import random
import statistics
import time
from typing import Any

import numpy as np
import pettingzoo
from rich.console import Console
from rich.table import Table

from societas import Worlds
from societas.envs.markets.economy import ACTS, GOODS, THINGS, Economy

WORLDS, ROUNDS, GOAL = 1_024, 7, 50.0
SIGHTS = (3, 5)
"""How far citizens see: by default, and as published."""
MOVES = {"north": (-1, 0), "east": (0, 1), "south": (1, 0), "west": (0, -1)}


class Order:
    """A standing order for one unit."""

    def __init__(self, kind: str, price: int, number: int, step: int) -> None:
        self.kind, self.price, self.number, self.step = kind, price, number, step


class Citizen:
    """One citizen of one world."""

    def __init__(self, name: int, place: tuple[int, int], pays: float, twice: float) -> None:
        self.name, self.place, self.pays, self.twice = name, place, pays, twice
        self.goods = dict.fromkeys(GOODS, 0)
        self.orders: dict[str, Order | None] = dict.fromkeys(GOODS)
        self.coin = self.labour = self.base = self.income = 0.0
        self.utility = self.houses = 0.0

    @property
    def wealth(self) -> float:
        """Coin, what bids set aside included."""
        return self.coin + sum(order.price for order in self.orders.values() if order and order.kind == "bid")


class Plain:
    """One world, in lists, dictionaries and loops; it reads uniform numbers in the order in which the game does."""

    def __init__(self, game: Economy, u: list[float]) -> None:
        self.game, n = game, game.citizens
        h, w = game.height, game.width
        self.ground: dict[tuple[int, int], str] = {}
        self.owner: dict[tuple[int, int], int] = {}
        for row in range(h):
            for column in range(w):
                self.ground[row, column] = "wood" if row < game.rows else "stone" if row >= h - game.rows else "empty"
        land = [cell for cell, thing in self.ground.items() if thing == "empty"]
        self.sources = [cell for cell, thing in self.ground.items() if thing != "empty"]
        self.citizens = []
        for i, part in enumerate(sorted(range(n), key=lambda j: u[j])):
            low, high = part * len(land) // n, (part + 1) * len(land) // n
            skill = min((1.0 - u[2 * n + i]) ** (-1.0 / game.tail), game.most_skill)
            place = land[low + int(u[n + i] * (high - low))]
            self.citizens.append(Citizen(i, place, game.pay * skill, game.bonus * u[3 * n + i]))
        for citizen in self.citizens:
            citizen.utility = self.utility(citizen)
        self.steps, self.worth, self.rates = 0, 0.0, [0] * len(game.cuts)
        self.last: dict[str, int] = dict.fromkeys(GOODS, -1)
        self.trades = 0

    def utility(self, citizen: Citizen) -> float:
        """Return what coin and labour are worth to a citizen."""
        power = 1.0 - self.game.eta
        return float((citizen.wealth**power - 1.0) / power - self.game.energy * citizen.labour)

    def view(self) -> dict[str, Any]:
        """Show the planner the accounts, and each citizen its surroundings, its goods and the market."""
        g, s = self.game, self.game.sight
        step = min(self.steps + 1, g.steps)
        clock = {"stage": 1, "step": step, "left": g.period - (step - 1) % g.period}
        wealth = [citizen.wealth for citizen in self.citizens]
        incomes = [citizen.income for citizen in self.citizens]
        planner = {**clock, "cuts": g.cuts, "last_rates": self.rates, "incomes": incomes, "wealth": wealth}
        best: dict[str, dict[str, int]] = {"bid": {}, "ask": {}}
        for good in GOODS:
            orders = [citizen.orders[good] for citizen in self.citizens]
            best["bid"][good] = max((o.price for o in orders if o and o.kind == "bid"), default=-1)
            best["ask"][good] = min((o.price for o in orders if o and o.kind == "ask"), default=-1)
        standing = {citizen.place for citizen in self.citizens}
        seen: dict[str, Any] = {"planner": planner, "citizens": []}
        for citizen in self.citizens:
            row, column = citizen.place
            around = []
            for down in range(-s, s + 1):
                for right in range(-s, s + 1):
                    cell = (row + down, column + right)
                    if cell in standing and cell != citizen.place:
                        thing = "citizen"
                    else:
                        thing = self.ground.get(cell, "wall")
                        if thing == "house" and self.owner[cell] == citizen.name:
                            thing = "own house"
                    around.append(THINGS.index(thing))
            seen["citizens"].append(
                {
                    **clock,
                    "row": row + 1,
                    "column": column + 1,
                    "view": around,
                    "goods": list(citizen.goods.values()),
                    "coin": citizen.coin,
                    "pays": citizen.pays,
                    "twice": citizen.twice,
                    "income": max(0.0, citizen.wealth - citizen.base),
                    "rates": self.rates,
                    "best_bid": list(best["bid"].values()),
                    "best_ask": list(best["ask"].values()),
                    "last_price": list(self.last.values()),
                    "order": [("bid", "ask").index(o.kind) + 1 if o else 0 for o in citizen.orders.values()],
                    "order_price": [o.price if o else 0 for o in citizen.orders.values()],
                }
            )
        return seen

    def take_back(self, citizen: Citizen, good: str) -> None:
        """Take back an order and what it set aside."""
        order = citizen.orders[good]
        if order and order.kind == "bid":
            citizen.coin += order.price
        elif order:
            citizen.goods[good] += 1
        citizen.orders[good] = None

    def step(self, acts: list[int], prices: list[int], u: list[float]) -> tuple[list[float], float, bool]:
        """Return the citizens' rewards, the planner's, and whether the episode has ended."""
        g, n = self.game, self.game.citizens
        for citizen in self.citizens:
            for good in GOODS:
                order = citizen.orders[good]
                if order and self.steps - order.step >= g.order_life:
                    self.take_back(citizen, good)
        ranked = sorted(range(n), key=lambda i: int(u[i] * 2**26))  # the order of arrival; equal lots by seat
        for rank, i in enumerate(ranked):
            name, citizen = ACTS[acts[i]], self.citizens[i]
            if " for " in name:
                kind, good = name.split(" for ")
                self.take_back(citizen, good)
                if citizen.coin >= prices[i] if kind == "bid" else citizen.goods[good] > 0:
                    if kind == "bid":
                        citizen.coin -= prices[i]
                    else:
                        citizen.goods[good] -= 1
                    citizen.orders[good] = Order(kind, prices[i], self.steps * n + rank, self.steps)
                    citizen.labour += g.trade_labour
        for good in GOODS:
            self.clear(good)
        stood = {citizen.place for citizen in self.citizens}
        for i in ranked:
            way, citizen = MOVES.get(ACTS[acts[i]]), self.citizens[i]
            if way:
                cell = (citizen.place[0] + way[0], citizen.place[1] + way[1])
                free = cell in self.ground and cell not in stood and self.owner.get(cell, i) == i
                if free and all(other.place != cell for other in self.citizens):
                    citizen.place = cell
                    citizen.labour += g.move_labour
        for i, citizen in enumerate(self.citizens):
            here = self.ground[citizen.place]
            if here in GOODS:
                citizen.goods[here] += 2 if u[i] * 2**26 % 1.0 < citizen.twice else 1
                citizen.labour += g.gather_labour
                self.ground[citizen.place] = "bare source"
            elif ACTS[acts[i]] == "build" and here == "empty" and min(citizen.goods.values()) > 0:
                for good in GOODS:
                    citizen.goods[good] -= 1
                citizen.coin += citizen.pays
                citizen.labour += g.build_labour
                citizen.houses += 1
                self.ground[citizen.place], self.owner[citizen.place] = "house", i
        for cell in self.sources:
            if self.ground[cell] == "bare source":
                wood = cell[0] < g.rows
                row = cell[0] if wood else cell[0] - g.height + g.rows
                luck = u[n + row * g.width + cell[1]]
                if (luck if wood else luck * 2**26 % 1.0) < g.regrowth:
                    self.ground[cell] = "wood" if wood else "stone"
        self.steps += 1
        if self.steps % g.period == 0:
            self.tax()
        rewards = []
        for citizen in self.citizens:
            before, citizen.utility = citizen.utility, self.utility(citizen)
            rewards.append(citizen.utility - before)
        wealth = [citizen.wealth for citizen in self.citizens]
        total = sum(wealth)
        gaps = sum(abs(a - b) for a in wealth for b in wealth)
        worth = total - gaps / (2 * n)
        before, self.worth = self.worth, worth
        return rewards, worth - before, self.steps >= g.steps

    def clear(self, good: str) -> None:
        """Let the highest bid meet the lowest ask as long as they cross."""
        bids, asks = [], []
        for citizen in self.citizens:
            order = citizen.orders[good]
            if order:
                (bids if order.kind == "bid" else asks).append((order, citizen))
        bids.sort(key=lambda pair: (-pair[0].price, pair[0].number))
        asks.sort(key=lambda pair: (pair[0].price, pair[0].number))
        for (bid, buyer), (ask, seller) in zip(bids, asks, strict=False):
            if bid.price < ask.price:
                break
            price = bid.price if bid.number < ask.number else ask.price
            buyer.coin += bid.price - price
            seller.coin += price
            buyer.goods[good] += 1
            buyer.orders[good] = seller.orders[good] = None
            self.last[good] = price
            self.trades += 1

    def tax(self) -> None:
        """Let orders lapse, take the tax and share it."""
        g, owed = self.game, []
        for citizen in self.citizens:
            for good in GOODS:
                self.take_back(citizen, good)
            citizen.income = max(0.0, citizen.coin - citizen.base)
            due = 0.0
            for rate, low, high in zip(self.rates, g.cuts, (*g.cuts[1:], 1e12), strict=True):
                due += rate * g.rate_step * min(max(0.0, citizen.income - low), high - low)
            owed.append(due)
        share = sum(owed) / len(owed)
        for citizen, due in zip(self.citizens, owed, strict=True):
            citizen.coin += share - due
            citizen.base = citizen.coin


def some_acts(game: Economy, count: int, seed: int) -> list[dict[str, Any]]:
    """Return acts of ``count`` worlds for eight steps: mostly moves, a quarter orders."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(8):
        kinds = rng.choice(len(ACTS), p=[0.05, *[0.15] * 4, 0.1, *[0.0625] * 4], size=(count, game.citizens))
        prices = rng.integers(0, game.highest + 1, (count, game.citizens))
        rates = rng.integers(0, game.levels + 1, (count, 1, len(game.cuts)))
        found.append({"planner": {"rates": rates}, "citizen": {"act": kinds, "price": prices}})
    return found


def agree(game: Economy, count: int = 8, seed: int = 1) -> int:
    """Play the same acts on the same numbers in both: half a script's, half random; return the trades there were.

    Raises
    ------
    AssertionError
        If they differ in anything that somebody sees or gets.
    """
    rng, acts, worlds = np.random.default_rng(seed), some_acts(game, count, seed), Worlds(game, count, seed=seed)
    plain = [Plain(game, row) for row in worlds.first_numbers().tolist()]
    for number in range(game.horizon):
        now, seen, u = acts[number % 8], worlds.view(), worlds.numbers().tolist()
        if worlds.stage[0] == 0:
            worlds.step(now)
            for world, one in enumerate(plain):
                one.rates = now["planner"]["rates"][world, 0].tolist()
            continue
        drawn = now["citizen"]["act"]
        kinds = np.where(rng.random(drawn.shape) < 0.5, game.builder(seen["citizen"])["act"], drawn)
        prices = now["citizen"]["price"]
        done = worlds.step({**now, "citizen": {"act": kinds, "price": prices}})
        for world, one in enumerate(plain):
            shown = one.view()
            for i, sight in enumerate(shown["citizens"]):
                for name, value in sight.items():
                    np.testing.assert_allclose(seen["citizen"][name][world, i], value, atol=1e-9, err_msg=name)
            for name, value in shown["planner"].items():
                np.testing.assert_allclose(seen["planner"][name][world, 0], value, atol=1e-9, err_msg=name)
            rewards, worth, ended = one.step(kinds[world].tolist(), prices[world].tolist(), u[world])
            np.testing.assert_allclose(done.rewards["citizen"][world], rewards, atol=1e-9)
            np.testing.assert_allclose(done.welfare[world], worth, atol=1e-9)
            np.testing.assert_array_equal([done.done[world], worlds.state.trades[world]], [ended, one.trades])
    return sum(one.trades for one in plain)


def plain_seconds(game: Economy, seed: int) -> float:
    """Return the mean seconds a step of one world in plain Python, over one episode, its beginning included."""
    acts, draw = some_acts(game, 1, seed), random.Random(seed).random
    listed = [(a["citizen"]["act"][0].tolist(), a["citizen"]["price"][0].tolist()) for a in acts]
    rates, draws = [a["planner"]["rates"][0, 0].tolist() for a in acts], game.draws
    begun = time.process_time()
    world = Plain(game, [draw() for _ in range(draws)])
    for step in range(game.steps):
        if step % game.period == 0:
            world.view()
            world.rates = rates[step % 8]
        world.view()
        world.step(*listed[step % 8], [draw() for _ in range(draws)])
    return (time.process_time() - begun) / game.steps


class Face:
    """One world of ours, behind its PettingZoo face."""

    def __init__(self, game: Economy) -> None:
        self.game, self.env = game, pettingzoo.make("parallel", "societas/Economy-v0", sight=game.sight)
        self.acts = []
        for drawn in some_acts(game, 1, 0):
            citizens = np.stack([drawn["citizen"]["act"][0], drawn["citizen"]["price"][0]], axis=-1)
            mine = {f"citizen_{i}": both for i, both in enumerate(citizens)}
            self.acts.append({"planner_0": drawn["planner"]["rates"][0, 0], **mine})

    def seconds(self, seed: int) -> float:
        """Return the mean seconds a step, over one episode, its beginning included."""
        begun = time.process_time()
        self.env.reset(seed=seed)
        for step in range(self.game.horizon):
            self.env.step(self.acts[step % 8])
        return (time.process_time() - begun) / self.game.steps


class Batch:
    """Many worlds of ours, with acts drawn beforehand."""

    def __init__(self, game: Economy, count: int) -> None:
        self.game, self.worlds, self.acts = game, Worlds(game, count, check=False), some_acts(game, count, 0)

    def seconds(self, seed: int) -> float:
        """Return the mean seconds a step of one of the worlds, over one episode, its beginning included."""
        begun = time.process_time()
        self.worlds.reset(seed)
        for step in range(self.game.horizon):
            self.worlds.view()
            self.worlds.step(self.acts[step % 8])
        return (time.process_time() - begun) / self.game.steps / self.worlds.count


def main(arguments: list[str] | None = None) -> list[float]:
    """Compare, time and print; return how many times as fast we are, for each window in view."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="times that both are timed")
    parser.add_argument("--worlds", type=int, default=WORLDS, help="worlds of a batch")
    options = parser.parse_args(arguments)
    table = Table(title=f"Steps of a world a second, in batches of {options.worlds:,}")
    for column in ("cells in view", "societas, NumPy", "plain Python", "times", "PettingZoo face", "times"):
        table.add_column(column, justify="left" if column == "cells in view" else "right")
    ratios, trades = [], 0
    for sight in SIGHTS:
        game = Economy(sight=sight)
        trades += agree(game, 4)
        runs = [Batch(game, options.worlds).seconds, functools.partial(plain_seconds, game), Face(game).seconds]
        times: list[list[float]] = [[], [], []]
        for number in range(options.rounds):
            for which in (0, 1, 2) if number % 2 == 0 else (2, 1, 0):
                times[which].append(runs[which](number))
        ratio, beside = (statistics.median(t / o for o, t in zip(times[0], peer, strict=True)) for peer in times[1:])
        ours, theirs, face = (f"{1 / statistics.median(seconds):,.0f}" for seconds in times)
        verdict = "met" if ratio >= GOAL else "missed"
        side = 2 * sight + 1
        table.add_row(f"{side} x {side}", ours, theirs, f"{ratio:.1f} {verdict}", face, f"{beside:,.0f}")
        ratios.append(ratio)
    console = Console()
    console.print(table)
    console.print(
        f"Goal: {GOAL:g} times as many as plain Python, with which it agrees on the same numbers ({trades} trades)."
    )
    return ratios


if __name__ == "__main__":
    main()
