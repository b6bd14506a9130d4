"""Algorithmic pricing: a repeated Bertrand oligopoly with logit demand."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..core import solve, validate
from ..core.arrays import Array, full, look_up, namespace, to_float, to_int, total
from ..core.chance import whole
from ..core.fields import Choice, Field, Real, Role
from ..core.game import Acts, Benchmarks, Game, Level, Measure, Outcome, Seen, shared

PROFILES = 2_000_000  # most price profiles that are enumerated for the benchmarks
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
        steepest = max(abs(self.a - self.c), abs(self.a0)) / 300.0
        if self.mu < steepest:
            raise ValueError(
                f"mu: at least {steepest:g} with a={self.a:g}, a0={self.a0:g}, c={self.c:g}, got {self.mu!r}"
            )
        if self.prices**self.firms > PROFILES:
            most = int(PROFILES ** (1.0 / self.firms) + 1e-9)
            raise ValueError(f"prices: a whole number from 2 to {most} with {self.firms} firms, got {self.prices}")

    @property
    def draws(self) -> int:  # type: ignore[override]
        """Uniform numbers: the prices before the first period."""
        return self.firms

    # ---- the one-shot game --------------------------------------------------------------------------------------

    def _shares(self, price: float) -> tuple[float, float]:
        """Return a firm's demand and the outside good's when all firms charge the same price."""
        good, none = math.exp((self.a - price) / self.mu), math.exp(self.a0 / self.mu)
        return good / (self.firms * good + none), none / (self.firms * good + none)

    def _root(self, slope: Callable[[float], float]) -> float:
        """Return the price above cost at which a falling function is 0."""
        from scipy.optimize import brentq

        high = self.c + 1.0
        while slope(high) > 0:
            high += self.mu + 1.0
        return float(brentq(slope, self.c, high, xtol=1e-14, rtol=1e-14))

    @functools.cached_property
    def nash_price(self) -> float:
        """Symmetric equilibrium price pN of the one-shot game: (p - c) (1 - q) = mu."""
        return self._root(lambda p: self.mu - (p - self.c) * (1.0 - self._shares(p)[0]))

    @functools.cached_property
    def monopoly_price(self) -> float:
        """Price pM that maximises joint profit: (p - c) (1 - n q) = mu."""
        return self._root(lambda p: self.mu - (p - self.c) * self._shares(p)[1])

    @property
    def nash_profit(self) -> float:
        """Profit piN of a firm at pN."""
        return (self.nash_price - self.c) * self._shares(self.nash_price)[0]

    @property
    def monopoly_profit(self) -> float:
        """Profit piM of a firm at pM."""
        return (self.monopoly_price - self.c) * self._shares(self.monopoly_price)[0]

    @functools.cached_property
    def grid(self) -> tuple[float, ...]:
        """The prices that can be chosen, ascending."""
        span = self.monopoly_price - self.nash_price
        if span < 1e-9:
            raise ValueError(
                f"a: consumers want so little at a={self.a:g}, a0={self.a0:g}, c={self.c:g} that pN and pM coincide"
            )
        reach = self.xi * span
        return tuple(np.linspace(self.nash_price - reach, self.monopoly_price + reach, self.prices).tolist())

    def market(self, prices: Array) -> tuple[Array, Array]:
        """Return profits (*batch, firms) and consumer surplus (*batch) at prices (*batch, firms)."""
        xp = namespace(prices)
        goods = xp.exp((self.a - prices) / self.mu)
        everything = total(goods) + math.exp(self.a0 / self.mu)
        return (prices - self.c) * goods / everything[..., None], self.mu * xp.log(everything)

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
        gap = (self.grid[-1] - self.grid[0]) / (self.prices - 1)
        digits = max(4, math.ceil(-math.log10(gap)) + 1)  # prices must differ in words
        price = Choice(tuple(f"{p:.{digits}f}" for p in self.grid))
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
        """Sell. Welfare is the total surplus, of firms and consumers."""
        chosen = to_int(acts["firm"]["price"])
        prices = look_up(state.profit, self.grid, chosen)
        profit, surplus = self.market(prices)
        period = state.period + 1
        after = PricingState(
            period, chosen, profit, state.prices + prices, state.profits + profit, state.surplus + surplus
        )
        welfare = total(profit) + surplus
        return Outcome(after, {"firm": profit}, period >= self.periods, welfare)

    def uncertain(self, state: PricingState, acts: Mapping[str, Acts]) -> bool:
        """Return False: only the start is random."""
        return False

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
        cells = np.stack(np.meshgrid(*[np.asarray(self.grid)] * self.firms, indexing="ij"), axis=-1)
        profits, surplus = self.market(cells)
        return np.moveaxis(profits, -1, 0), profits.sum(axis=-1) + surplus

    def benchmarks(self) -> Benchmarks:
        """Return the levels of the one-shot game on the grid: best, equilibrium, and the cartel's."""
        profits, welfare = self._cells
        top = _cell(welfare)
        equilibria = [cell for cell in solve.pure_nash(profits) if len(set(cell)) == 1]
        if not equilibria:
            raise ValueError("benchmarks: the grid has no symmetric equilibrium in pure prices; take more prices")
        nash = min(equilibria, key=lambda cell: abs(self.grid[cell[0]] - self.nash_price))
        cartel = _cell(profits.sum(axis=0))

        def always(cell: tuple[int, ...]) -> Any:
            if len(set(cell)) > 1:
                return None  # firms see nothing by which they could tell who is to charge more
            return {"firm": lambda seen: {"price": seen["own"] * 0 + cell[0]}}

        return Benchmarks(
            first_best=Level(
                self.periods * float(welfare[top]), "highest total surplus on the grid, by enumeration", always(top)
            ),
            equilibrium=Level(
                self.periods * float(welfare[nash]),
                "equilibrium of the one-shot game on the grid, by enumeration (regret 0)",
                always(nash),
            ),
            # the one-shot equilibrium is all but the best that the grid allows: what is at stake is collusion
            baseline=Level(
                self.periods * float(welfare[cartel]),
                "the cartel: highest joint profit on the grid, by enumeration",
                always(cartel),
            ),
        )


def _cell(values: np.ndarray[Any, Any]) -> tuple[int, ...]:
    """Return where a table is highest."""
    return tuple(map(int, np.unravel_index(int(values.argmax()), values.shape)))
