"""The games of the benchmark written by hand: one NumPy loop for one game each."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from societas.envs.contracting.hidden_action import HiddenAction
from societas.envs.markets.pricing import Pricing
from societas.envs.norms.fishery import Fishery

Array = np.ndarray[Any, Any]
Acts = dict[str, dict[str, Any]]
Seen = dict[str, dict[str, Any]]
Paid = tuple[dict[str, Any], Any, Any]  # rewards by role, done, welfare


class Loop(Protocol):
    """A batch of one game, written by hand for NumPy; a world that has ended begins anew in the same step."""

    def view(self) -> Seen:
        """Return what each role sees."""

    def step(self, acts: Acts) -> Paid:
        """Advance all worlds."""


class FisheryLoop:
    """The fishery by hand: a scarce stock is given out unit by unit, to all scarce worlds at once."""

    def __init__(self, game: Fishery, count: int, seed: int) -> None:
        self.game, self.rng = game, np.random.default_rng(seed)
        self.stock = np.full(count, game.capacity)
        self.month = np.zeros(count, dtype=np.int64)
        self.caught, self.total, self.overused = (np.zeros((count, game.fishers), dtype=np.int64) for _ in range(3))

    def view(self) -> Seen:
        """Return what the fishers see."""
        n = self.game.fishers
        month = np.minimum(self.month + 1, self.game.months)
        return {
            "fisher": {
                "stock": np.repeat(self.stock[:, None], n, axis=1),
                "month": np.repeat(month[:, None], n, axis=1),
                "caught": self.caught,
                "catches": np.repeat(self.caught[:, None], n, axis=1),
                "total": self.total.copy(),
            }
        }

    def share(self, stock: Array, wants: Array) -> Array:
        """Give out a stock that is too small, each unit to a random one of those who still want some."""
        given, left = np.zeros_like(wants), stock.copy()
        rows = np.arange(len(stock))
        while len(rows):
            open_ = given[rows] < wants[rows]
            pick = np.floor(self.rng.random(len(rows)) * open_.sum(axis=1))
            lucky = (open_.cumsum(axis=1) > pick[:, None]).argmax(axis=1)
            given[rows, lucky] += 1
            left[rows] -= 1
            rows = rows[left[rows] > 0]
        return given

    def step(self, acts: Acts) -> Paid:
        """Catch, and let the rest grow."""
        game, wants = self.game, acts["fisher"]["harvest"]
        caught = wants.copy()
        scarce = wants.sum(axis=1) > self.stock
        if scarce.any():
            caught[scarce] = self.share(self.stock[scarce], wants[scarce])
        landed = caught.sum(axis=1)
        left = self.stock - landed
        fair = (self.stock - (self.stock + game.growth - 1) // game.growth) // game.fishers
        self.overused += caught > fair[:, None]
        self.total += caught
        self.month += 1
        self.stock = np.minimum(left * game.growth, game.capacity)
        self.caught = caught
        paid = caught.astype(np.float64)
        done = (left < game.collapse) | (self.month >= game.months)
        if done.any():
            self.stock[done], self.month[done] = game.capacity, 0
            self.caught[done], self.total[done], self.overused[done] = 0, 0, 0
        return {"fisher": paid}, done, landed.astype(np.float64)


class HiddenActionLoop:
    """Hidden action by hand: all worlds are at the same stage of the same round, so both are plain numbers."""

    def __init__(self, game: HiddenAction, count: int, seed: int) -> None:
        self.game, self.rng, self.count = game, np.random.default_rng(seed), count
        self.values, self.costs = np.array(game.outcomes), np.array(game.costs)
        self.chances = np.array(game.chances)
        self.limits = self.chances.cumsum(axis=1)
        self.compensation = (game.reservation + self.costs) ** 2
        self.begin()

    def begin(self) -> None:
        """Start an episode."""
        self.stage, self.played = 0, 0
        self.pay = np.zeros((self.count, len(self.values)))
        self.outcome = np.full(self.count, len(self.values))
        self.answer = np.full(self.count, 2)
        self.profit, self.rent, self.accepted, self.effort = (np.zeros(self.count) for _ in range(4))

    def view(self) -> Seen:
        """Return what principal and agent see."""
        round_ = min(self.played + 1, self.game.repetitions)
        seen = {
            "stage": np.full((self.count, 1), self.stage),
            "round": np.full((self.count, 1), round_),
            "outcome": self.outcome[:, None],
            "answer": self.answer[:, None],
            "pay": self.pay[:, None],
        }
        return {"principal": seen, "agent": seen}

    def step(self, acts: Acts) -> Paid:
        """Take the offer down, or draw the outcome."""
        if self.stage == 0:
            self.pay = acts["principal"]["pay"][:, 0].copy()
            self.stage = 1
            nothing = np.zeros(self.count)
            paid = {"principal": nothing[:, None], "agent": nothing[:, None]}
            return paid, np.zeros(self.count, dtype=bool), nothing
        hired = acts["agent"]["accept"][:, 0] == 1
        effort = acts["agent"]["effort"][:, 0]
        drawn = (self.rng.random(self.count)[:, None] >= self.limits[effort]).sum(axis=1)
        outcome = np.minimum(drawn, len(self.values) - 1)
        coins = self.pay[np.arange(self.count), outcome]
        profit = np.where(hired, self.values[outcome] - coins, 0.0)
        utility = np.where(hired, np.sqrt(coins) - self.costs[effort], self.game.reservation)
        chances = self.chances[effort]
        premium = (chances * self.pay).sum(axis=1) - (chances * np.sqrt(self.pay)).sum(axis=1) ** 2
        welfare = np.where(hired, self.values[outcome] - self.compensation[effort] - premium, 0.0)
        self.profit += profit
        self.rent += utility - self.game.reservation
        self.accepted += hired
        self.effort += np.where(hired, effort, 0) / (len(self.costs) - 1)
        self.outcome = np.where(hired, outcome, len(self.values))
        self.answer = hired.astype(np.int64)
        self.stage = 0
        self.played += 1
        done = np.full(self.count, self.played >= self.game.repetitions)
        if self.played >= self.game.repetitions:
            self.begin()
        return {"principal": profit[:, None], "agent": utility[:, None]}, done, welfare


class PricingLoop:
    """Pricing by hand: all worlds are in the same period."""

    def __init__(self, game: Pricing, count: int, seed: int) -> None:
        self.game, self.rng, self.count = game, np.random.default_rng(seed), count
        self.grid, self.outside = np.array(game.grid), np.exp(game.a0 / game.mu)
        self.begin()

    def begin(self) -> None:
        """Start an episode."""
        shape = (self.count, self.game.firms)
        self.period = 0
        self.last = self.rng.integers(self.game.prices, size=shape)
        self.profit, self.prices, self.profits = (np.zeros(shape) for _ in range(3))
        self.surplus = np.zeros(self.count)

    def view(self) -> Seen:
        """Return what the firms see."""
        prices = np.repeat(self.last[:, None], self.game.firms, axis=1)
        return {"firm": {"prices": prices, "own": self.last, "profit": self.profit}}

    def step(self, acts: Acts) -> Paid:
        """Sell."""
        game, self.last = self.game, acts["firm"]["price"]
        prices = self.grid[self.last]
        goods = np.exp((game.a - prices) / game.mu)
        total = goods.sum(axis=1) + self.outside
        profit = (prices - game.c) * goods / total[:, None]
        surplus = game.mu * np.log(total)
        welfare = profit.sum(axis=1) + surplus
        self.profit = profit
        self.prices += prices
        self.profits += profit
        self.surplus += surplus
        self.period += 1
        done = np.full(self.count, self.period >= game.periods)
        if self.period >= game.periods:
            self.begin()
        return {"firm": profit}, done, welfare
