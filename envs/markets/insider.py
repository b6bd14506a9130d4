"""Insider trading: one who knows what an asset is worth hides among noise traders, and a market maker infers it from orders."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

from ..core import validate
from ..core.arrays import Array, look_up, namespace, to_float
from ..core.chance import normal
from ..core.fields import Field, Integer, Real, Role
from ..core.game import Acts, Benchmarks, Level, Measure, Seen, Stage
from ..core.rounds import Record, RoundGame, RoundState, Settled

REACH = 9.0
"""Standard deviations beyond which no normal number of 53 random bits lies (the farthest is at 8.58)."""

ROOM = 10.0
"""How far orders and prices can go, in standard deviations of the noise traders' orders and of the value."""


class Linear(NamedTuple):
    """The linear equilibrium of a day, one number an auction each: x = beta (v - p), dp = lambda (x + u), the error Sigma.

    ``beta`` is in shares per coin, ``impact`` (lambda) in coins per share, ``left`` (Sigma, the variance of v that the
    price leaves) in coins squared; ``profit`` is what the insider expects of a day, in coins.
    """

    beta: tuple[float, ...]
    impact: tuple[float, ...]
    left: tuple[float, ...]
    profit: float


@dataclass(frozen=True)
class Insider(RoundGame):
    """Continuous auctions and insider trading (Kyle 1985, doi:10.2307/1913210).

    An asset is worth v, normal with mean p0 and standard deviation s_v. An insider knows v and orders x; noise traders
    order u, normal with mean 0 and standard deviation s_u. The maker sees y = x + u alone, sets the price p, and takes the
    other side. With one auction a day the insider plays x = (s_u / s_v) (v - p0), the price is p0 + s_v / (2 s_u) y,
    the insider earns s_v s_u / 2, and half the variance of v stays hidden. With N auctions the same v is traded N times, noise
    of variance s_u^2 / N each; beta, lambda and Sigma solve Kyle's difference equations (theorem 2), and the profit rises
    to s_v s_u as N grows.

    The maker is a player who is rewarded for prices near the value, by minus the squared error, so that its best price is
    E[v | orders], to which competition would drive it; or the equilibrium's rule. Trade itself only moves money between insider,
    noise traders and maker. What it creates is knowledge: welfare is by how much the price is nearer to the value than the
    price p0 that knows nothing, ((v - p0)^2 - (v - p)^2) / N at every auction, in coins squared.

    Parameters
    ----------
    s_v
        Standard deviation of the value, in coins.
    s_u
        Standard deviation of all that noise traders order in a day, in shares.
    p0
        Mean of the value, in coins.
    maker
        Whether the market maker is a player; otherwise prices follow the equilibrium's rule.
    auctions
        Auctions a day, N: the value is drawn anew every N rounds.
    repetitions
        Auctions of an episode, a multiple of N.
    """

    s_v: float = 1.0
    s_u: float = 1.0
    p0: float = 10.0
    maker: bool = True
    auctions: int = 1
    repetitions: int = 1

    nature = 4
    reports = (
        Measure("profit", "the insider's profit an auction", "sum_t (v_t - p_t) x_t / T", "coins", "Kyle 1985"),
        Measure(
            "noise_loss", "what noise traders lose an auction", "sum_t (p_t - v_t) u_t / T", "coins", better="lower"
        ),
        Measure("maker_profit", "the maker's trading profit an auction", "sum_t (p_t - v_t) (x_t + u_t) / T", "coins"),
        Measure("error", "mean squared error of the price", "sum_t (v_t - p_t)^2 / T", "coins^2", better="lower"),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.real("s_v", self.s_v, 1e-3, 1e6)
        validate.real("s_u", self.s_u, 1e-3, 1e6)
        validate.real("p0", self.p0, -1e6, 1e6)
        validate.whole("auctions", self.auctions, 1, 100)
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)
        if not isinstance(self.maker, bool):
            raise ValueError(f"maker: True or False, got {self.maker!r}")
        if self.repetitions % self.auctions:
            raise ValueError(
                f"repetitions: a multiple of auctions={self.auctions}, for example {self.auctions}, got {self.repetitions}"
            )

    # ---- the game in words and fields ---------------------------------------------------------------------------

    @property
    def about(self) -> str:
        """The rules in words, with all numbers."""
        n, s = self.auctions, self.s_u / math.sqrt(self.auctions)
        day = "once a round" if n == 1 else f"{n} times a day, once a round; its value stays the same within a day"
        who = (
            "the market maker sees the sum of the insider's order and the noise traders', and nothing else of them, and sets "
            "the price"
            if self.maker
            else f"the price follows from the sum of the insider's order and the noise traders', the flow: {self._rule}"
        )
        own = " The maker's reward is minus the square of (value - price), at every auction." if self.maker else ""
        return (
            f"An asset is auctioned {day}. The value is drawn from a normal distribution with mean {self.p0:g} and standard "
            f"deviation {self.s_v:g} coins. The insider knows it and orders a number of shares, up to {ROOM * self.s_u:g} "
            f"bought (above 0) or sold (below 0). Noise traders, who know nothing, order a number drawn from a normal "
            f"distribution with mean 0 and standard deviation {s:.6g}. Then {who}. All orders are "
            f"carried out at that price. The insider's reward is (value - price) times its order.{own}"
        )

    @property
    def _rule(self) -> str:
        """The rule of prices in words."""
        slopes = [f"{slope:.6g}" for slope in self.linear.impact]
        if self.auctions == 1:
            return f"{self.p0:g} plus {slopes[0]} times the flow"
        steps = ", ".join(slopes)
        return f"the last price ({self.p0:g} before a day's first auction) plus, auction by auction, {steps} times the flow"

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The order, and the maker's price."""
        order = Stage("order", "the insider orders")
        return (order, Stage("price", "the maker sets the price")) if self.maker else (order,)

    def cast(self) -> tuple[Role, ...]:
        """The insider, and the maker if it is a player."""
        reach = ROOM * self.s_v
        price = Real(self.p0 - reach, self.p0 + reach)
        worth = Real(self.p0 - REACH * self.s_v, self.p0 + REACH * self.s_v)
        shares = Real(-ROOM * self.s_u, ROOM * self.s_u)
        flow = Real(-(ROOM + REACH) * self.s_u, (ROOM + REACH) * self.s_u)
        public = (
            Field("auction", Integer(1, self.auctions), "which of the day's auctions this is"),
            Field(
                "last_price",
                price,
                f"the day's last price; {self.p0:g} before its first auction",
                "coins",
                verifiable=True,
            ),
            Field(
                "last_flow", flow, "the sum of all orders in the last auction, 0 at first", "shares", verifiable=True
            ),
            Field(
                "last_value",
                worth,
                f"the value on the last day that is over; {self.p0:g} at first",
                "coins",
                verifiable=True,
            ),
        )
        value = Field("value", worth, "what a share is worth; only you know it", "coins")
        order = Field("order", shares, "how many shares you buy, or sell if below 0", "shares", stage="order")
        insider = Role("insider", 1, (value, *public), (order,), "you know the value and want to profit from it")
        if not self.maker:
            return (insider,)
        seen = Field(
            "flow", flow, "the sum of the orders that you meet (at the stage order: not known yet, 0)", "shares"
        )
        asked = Field("price", price, "the price at which all orders are carried out", "coins", stage="price")
        return insider, Role("maker", 1, (seen, *public), (asked,), "you want prices to be near the value")

    # ---- the game in arrays -------------------------------------------------------------------------------------

    def open(self, u: Array) -> Record:
        """Draw a value, which counts at a day's first auction, and the noise traders' order."""
        return {
            "drawn": self.p0 + self.s_v * normal(u[..., 0], u[..., 1]),
            "noise": self.s_u / math.sqrt(self.auctions) * normal(u[..., 2], u[..., 3]),
        }

    def recall(self, like: Array) -> Record:
        """Return the state before the first auction of the first day."""
        mean = to_float(like) + self.p0
        return {"value": mean, "auction": like + 1, "last_price": mean, "last_flow": mean * 0.0, "last_value": mean}

    def _value(self, nature: Record, memory: Record) -> Array:
        """Return the day's value (*batch)."""
        return namespace(nature["drawn"]).where(memory["auction"] == 1, nature["drawn"], memory["value"])

    @staticmethod
    def _within(values: Array, mean: float, deviation: float) -> Array:
        """Return orders or prices brought into their range."""
        return namespace(values).clip(values, mean - ROOM * deviation, mean + ROOM * deviation)

    def own(self, state: RoundState) -> dict[str, Seen]:
        """Show the insider the value, and the maker the flow once it has been ordered."""
        seen = {"insider": {"value": self._value(state.nature, state.memory)[..., None]}}
        if self.maker:
            flow = state.acts["insider"]["order"] + state.nature["noise"][..., None]
            seen["maker"] = {"flow": namespace(flow).where((state.stage == 1)[..., None], flow, flow * 0.0)}
        return seen

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Carry out all orders at the price."""
        order, noise, value = acts["insider"]["order"], nature["noise"], self._value(nature, memory)
        xp, flow, auction = namespace(order), order + noise, memory["auction"]
        if self.maker:
            price = acts["maker"]["price"]
        else:
            slope = look_up(order, self.linear.impact, auction - 1)
            price = self._within(memory["last_price"] + slope * flow, self.p0, self.s_v)
        margin = value - price
        over = auction == self.auctions
        return Settled(
            {"insider": margin * order} | ({"maker": -(margin**2)} if self.maker else {}),
            welfare=((value - self.p0) ** 2 - margin**2) / self.auctions,
            sums={
                "profit": margin * order,
                "noise_loss": -margin * noise,
                "maker_profit": -margin * flow,
                "error": margin**2,
            },
            memory={
                "value": value,
                "auction": xp.where(over, 1, auction + 1),
                "last_price": xp.where(over, self.p0, price),
                "last_flow": flow,
                "last_value": xp.where(over, value, memory["last_value"]),
            },
        )

    # ---- what theory says ---------------------------------------------------------------------------------------

    @functools.cached_property
    def linear(self) -> Linear:
        """The linear equilibrium (Kyle 1985, theorem 2), solved backwards from the last auction.

        Its scale is free until the first: from Sigma_N = 1 it is solved for s_u, and values are scaled to fit s_v.
        """
        from scipy.optimize import brentq

        noise = self.s_u**2 / self.auctions
        alpha, delta, left, rows = 0.0, 0.0, 1.0, []
        for _ in range(self.auctions):
            high = 0.5 / alpha if alpha else 2.0 * math.sqrt(left / noise)
            impact = brentq(_first_order, 0.0, high, (alpha, left, noise), xtol=1e-300, rtol=1e-15)
            beta = (1.0 - 2.0 * alpha * impact) / (2.0 * impact * (1.0 - alpha * impact))
            rows.append((beta, impact, left))
            delta += alpha * impact**2 * noise
            alpha = 0.25 / (impact * (1.0 - alpha * impact))
            left /= 1.0 - beta * impact
        scale = self.s_v / math.sqrt(left)
        return Linear(
            tuple(beta / scale for beta, _, _ in reversed(rows)),
            tuple(impact * scale for _, impact, _ in reversed(rows)),
            tuple(sigma * scale**2 for _, _, sigma in reversed(rows)),
            (alpha * left + delta) * scale,
        )

    def benchmarks(self) -> Benchmarks:
        """Return full information, the linear equilibrium, and a market in which nobody knows anything."""
        days, solved = self.repetitions // self.auctions, self.linear

        def orders(seen: Seen) -> Acts:
            beta = look_up(seen["value"], solved.beta, seen["auction"] - 1)
            return {"order": self._within(beta * (seen["value"] - seen["last_price"]), 0.0, self.s_u)}

        def prices(seen: Seen) -> Acts:
            slope = look_up(seen["flow"], solved.impact, seen["auction"] - 1)
            return {"price": self._within(seen["last_price"] + slope * seen["flow"], self.p0, self.s_v)}

        makers = {"maker": prices} if self.maker else {}
        blind = {"maker": lambda seen: {"price": seen["flow"] * 0.0 + self.p0}}
        hidden = sum(solved.left) / self.auctions
        return Benchmarks(
            first_best=Level(
                days * self.s_v**2, "every price is the value: the variance of the value is all explained"
            ),
            equilibrium=Level(
                days * (self.s_v**2 - hidden),
                f"linear equilibrium (Kyle 1985, theorem 2); the insider earns {solved.profit:.6g} coins a day",
                {"insider": orders} | makers,
            ),
            others={
                "uninformed": Level(
                    0.0,
                    "nobody trades on the value, and every price is its mean",
                    {"insider": lambda seen: {"order": seen["value"] * 0.0}} | blind if self.maker else None,
                )
            },
        )


def _first_order(impact: float, alpha: float, left: float, noise: float) -> float:
    """Return 0 at the slope lambda where lambda = beta Sigma / noise and beta is the insider's best, both of one auction."""
    return 2.0 * impact**2 * noise * (1.0 - alpha * impact) - left * (1.0 - 2.0 * alpha * impact)
