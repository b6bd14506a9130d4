"""Algorithmic pricing: a repeated Bertrand oligopoly with logit demand."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..core import solve, validate
from ..core.arrays import Array, constant, full, namespace, to_float, to_int
from ..core.chance import whole
from ..core.fields import Choice, Field, Real, Role
from ..core.game import Acts, Benchmarks, Game, Level, Measure, Outcome, Seen, shared

SOURCE = "Calvano et al. 2020, American Economic Review 110(10)"


class PricingState(NamedTuple):
    """Periods played (*batch); per firm (*batch, firms): last price index, last profit, sums of price and profit; surplus."""

    period: Array
    last: Array
    profit: Array
    prices: Array
    profits: Array
    surplus: Array


@dataclass(frozen=True)
class Pricing(Game):
    """Logit Bertrand oligopoly of Calvano, Calzolari, Denicolò and Pastorello (2020), doi:10.1257/aer.20190623.

    Demand q_i = exp((a - p_i)/mu) / (sum_j exp((a - p_j)/mu) + exp(a0/mu)); profit (p_i - c) q_i. Firms choose each
    period from a grid of prices around the equilibrium and the monopoly price, and see the prices of the last period.

    Parameters
    ----------
    firms
        Number of firms, n (2 to 4).
    a, a0
        Quality of the goods and of the outside good.
    mu
        Differentiation of the goods.
    c
        Marginal cost.
    prices
        Number of grid prices, equally spaced on [pN - xi (pM - pN), pM + xi (pM - pN)].
    xi
        How far the grid reaches beyond equilibrium and monopoly price.
    periods
        Length of an episode.
    """

    firms: int = 2
    a: float = 2.0
    a0: float = 0.0
    mu: float = 0.25
    c: float = 1.0
    prices: int = 15
    xi: float = 0.1
    periods: int = 100

    reports = (
        Measure("price", "mean price", "sum_it p_it / (n T)", "", SOURCE),
        Measure("profit", "mean profit a firm and period", "sum_it pi_it / (n T)", "", SOURCE),
        Measure(
            "profit_gain",
            "0 at the one-shot equilibrium, 1 at the joint profit maximum",
            "(pi - piN) / (piM - piN)",
            "",
            SOURCE,
            better="lower",
        ),
        Measure(
            "consumer_surplus", "mean surplus of consumers a period", "mu log(sum_j exp((a - p_j)/mu) + exp(a0/mu))"
        ),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.whole("firms", self.firms, 2, 4)
        validate.whole("prices", self.prices, 2, 1_000)
        validate.whole("periods", self.periods, 1, 100_000_000)
        validate.real("mu", self.mu, 1e-3, 1e3)
        validate.real("xi", self.xi, 0.0, 1.0)
        for name in ("a", "a0", "c"):
            validate.real(name, getattr(self, name), -100.0, 100.0)

    @property
    def draws(self) -> int:  # type: ignore[override]
        """Uniform numbers: the prices before the first period."""
        return self.firms

    # ---- the one-shot game --------------------------------------------------------------------------------------

    def _share(self, price: float) -> float:
        """Return a firm's demand when all firms charge the same price."""
        good = math.exp((self.a - price) / self.mu)
        return good / (self.firms * good + math.exp(self.a0 / self.mu))

    def _symmetric_root(self, slope: Any) -> float:
        from scipy.optimize import brentq

        high = self.c + 1.0
        while slope(high) > 0:
            high += self.mu + 1.0
        return float(brentq(slope, self.c, high, xtol=1e-14, rtol=1e-14))

    @functools.cached_property
    def nash_price(self) -> float:
        """Symmetric equilibrium price pN of the one-shot game: p - c = mu / (1 - q)."""
        return self._symmetric_root(lambda p: self.mu / (1.0 - self._share(p)) - (p - self.c))

    @functools.cached_property
    def monopoly_price(self) -> float:
        """Price pM that maximises joint profit: p - c = mu / (1 - n q)."""
        return self._symmetric_root(lambda p: self.mu / (1.0 - self.firms * self._share(p)) - (p - self.c))

    @property
    def nash_profit(self) -> float:
        """Profit piN of a firm at pN."""
        return (self.nash_price - self.c) * self._share(self.nash_price)

    @property
    def monopoly_profit(self) -> float:
        """Profit piM of a firm at pM."""
        return (self.monopoly_price - self.c) * self._share(self.monopoly_price)

    @functools.cached_property
    def grid(self) -> tuple[float, ...]:
        """The prices that can be chosen, ascending."""
        reach = self.xi * (self.monopoly_price - self.nash_price)
        return tuple(np.linspace(self.nash_price - reach, self.monopoly_price + reach, self.prices).tolist())

    def market(self, prices: Array) -> tuple[Array, Array]:
        """Return profits (*batch, firms) and consumer surplus (*batch) at prices (*batch, firms)."""
        xp = namespace(prices)
        goods = xp.exp((self.a - prices) / self.mu)
        total = xp.sum(goods, axis=-1) + math.exp(self.a0 / self.mu)
        return (prices - self.c) * goods / total[..., None], self.mu * xp.log(total)

    # ---- the game -----------------------------------------------------------------------------------------------

    @property
    def about(self) -> str:
        """The rules in words."""
        return (
            f"{self.firms} firms sell similar goods that cost {self.c:g} each to make. Each of {self.periods} periods each firm "
            f"sets its price from a list, all at once. Consumers buy more of what is cheaper: a firm's share of demand is "
            f"exp(({self.a:g} - its price) / {self.mu:g}), divided by the sum of that over all firms plus "
            f"{math.exp(self.a0 / self.mu):.4g} for buying nothing. Your profit is (price - {self.c:g}) times your share."
        )

    @functools.cached_property
    def roles(self) -> tuple[Role, ...]:
        """One role: the firms."""
        price = Choice(tuple(f"{p:.4f}" for p in self.grid))
        names = tuple(f"firm_{i}" for i in range(self.firms))
        sees = (
            Field("prices", price, "each firm's price last period", each=names, verifiable=True),
            Field("own", price, "your own price last period", verifiable=True),
            Field("profit", Real(0.0 if self.grid[0] >= self.c else -100.0, 100.0), "your profit last period"),
        )
        acts = (Field("price", price, "your price this period"),)
        return (Role("firm", self.firms, sees, acts, "you want a high profit over all periods"),)

    @property
    def rounds(self) -> int:
        """Periods."""
        return self.periods

    def start(self, u: Array) -> PricingState:
        """Draw last period's prices uniformly from the grid."""
        last = whole(u[..., : self.firms], 0, self.prices - 1)
        batch = tuple(u.shape[:-1])
        none, zero = full(u, (*batch, self.firms), 0.0), full(u, batch, 0.0)
        return PricingState(full(u, batch, 0, integer=True), last, none, none, none, zero)

    def view(self, state: PricingState) -> dict[str, Seen]:
        """Show last period's prices and the own profit."""
        return {"firm": {"prices": shared(state.last, self.firms), "own": state.last, "profit": state.profit}}

    def step(self, state: PricingState, acts: Mapping[str, Acts], u: Array) -> Outcome:
        """Sell. Welfare is the total surplus divided by the periods: an episode's is the mean surplus a period."""
        xp = namespace(state.last)
        chosen = to_int(acts["firm"]["price"])
        prices = constant(state.profit, self.grid)[chosen]
        profit, surplus = self.market(prices)
        period = state.period + 1
        after = PricingState(
            period, chosen, profit, state.prices + prices, state.profits + profit, state.surplus + surplus
        )
        welfare = (xp.sum(profit, axis=-1) + surplus) / self.periods
        return Outcome(after, {"firm": profit}, period >= self.periods, welfare)

    def round(self, state: PricingState) -> Array:
        """Return the periods played."""
        return state.period

    def measures(self, state: PricingState) -> dict[str, Array]:
        """Return price, profit, profit gain and consumer surplus, means over the periods played."""
        xp = namespace(state.profits)
        played = xp.clip(to_float(state.period), 1.0, None)
        profit = xp.mean(state.profits, axis=-1) / played
        return {
            "price": xp.mean(state.prices, axis=-1) / played,
            "profit": profit,
            "profit_gain": (profit - self.nash_profit) / (self.monopoly_profit - self.nash_profit),
            "consumer_surplus": state.surplus / played,
        }

    @functools.cached_property
    def _cells(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Profits (firms, prices, prices, ...) and welfare (prices, prices, ...) of every profile of grid prices."""
        cells = np.array(list(itertools.product(self.grid, repeat=self.firms)))
        profits, surplus = self.market(cells)
        shape = (self.prices,) * self.firms
        return profits.T.reshape((self.firms, *shape)), (profits.sum(axis=-1) + surplus).reshape(shape)

    def benchmarks(self) -> Benchmarks:
        """Return the levels of the one-shot game on the grid: best, equilibrium, and the cartel's."""
        profits, welfare = self._cells
        best = int(welfare.argmax())
        top = np.unravel_index(best, welfare.shape)
        equilibria = [cell for cell in solve.pure_nash(profits) if len(set(cell)) == 1]
        if not equilibria:
            raise ValueError("benchmarks: the grid has no symmetric equilibrium in pure prices; take more prices")
        nash = min(equilibria, key=lambda cell: abs(self.grid[cell[0]] - self.nash_price))
        cartel = np.unravel_index(int(profits.sum(axis=0).argmax()), welfare.shape)

        def always(index: int) -> Any:
            return {"firm": lambda seen: {"price": seen["own"] * 0 + index}}

        return Benchmarks(
            first_best=Level(
                float(welfare[top]), "highest total surplus on the grid, by enumeration", always(int(top[0]))
            ),
            equilibrium=Level(
                float(welfare[nash]),
                "equilibrium of the one-shot game on the grid, by enumeration (regret 0)",
                always(nash[0]),
            ),
            others={
                "monopoly": Level(
                    float(welfare[cartel]), "highest joint profit on the grid, by enumeration", always(int(cartel[0]))
                )
            },
        )
