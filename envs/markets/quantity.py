"""Quantity competition: firms decide how much to produce, at once (Cournot) or after leaders (Stackelberg)."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from ..core import validate
from ..core.arrays import Array, full, namespace, to_float, total
from ..core.fields import Field, Real, Role
from ..core.game import Acts, Benchmarks, Level, Measure, Seen, Stage, spread
from ..core.rounds import Record, RoundGame, RoundState, Settled


@dataclass(frozen=True)
class Quantity(RoundGame):
    """Oligopoly in quantities of one good (Cournot 1838; von Stackelberg 1934; Daughety 1990, jstor.org/stable/2006764).

    All that is produced, Q, is sold at the price P = max(a - b Q, 0); profit is (P - c) q_i. Of n firms m are leaders, who
    decide first, and the f = n - m others see how much the leaders produce together. Write A = (a - c) / b. A follower's
    best reply is (A - Q_L) / (f + 1), so that leaders meet a demand that is flatter by f + 1, and each produces A / (m + 1),
    followers A / ((m + 1) (f + 1)). What is not produced of the efficient A is A / ((m + 1) (f + 1)), and of the largest
    welfare b A^2 / 2 the share 1 / ((m + 1) (f + 1))^2 is lost: 1 / (n + 1)^2 without leaders. Welfare is the surplus of
    firms and consumers.

    Parameters
    ----------
    firms
        Number of firms, n.
    leaders
        How many of them decide first, m; 0 is Cournot's game.
    a
        Price at which nobody buys, in coins.
    b
        Fall of the price per unit, in coins.
    c
        Cost of a unit, in coins; below a.
    repetitions
        Rounds of an episode; all know when it ends.
    """

    firms: int = 2
    leaders: int = 0
    a: float = 1.0
    b: float = 1.0
    c: float = 0.0
    repetitions: int = 1

    reports = (
        Measure("price", "mean price", "sum_t P_t / T", "coins"),
        Measure("output", "what all firms produce a round", "sum_ti q_ti / T", "units"),
        Measure("profit", "mean profit a firm and round", "sum_ti (P_t - c) q_ti / (n T)", "coins"),
        Measure("consumer_surplus", "mean surplus of consumers a round", "int_0^Q P(x) dx - P Q", "coins"),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.whole("firms", self.firms, 1, 100)
        validate.whole("leaders", self.leaders, 0, self.firms - 1)
        validate.real("a", self.a, 1e-6, 1e6)
        validate.real("b", self.b, 1e-6, 1e6)
        validate.real("c", self.c, 0.0, 1e6)
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)
        if self.c > 0.999 * self.a:
            raise ValueError(f"c: at most {0.999 * self.a:g}, or nobody produces at a={self.a:g}, got {self.c!r}")

    # ---- the game in words and fields ---------------------------------------------------------------------------

    @property
    def most(self) -> float:
        """Most that a firm can produce: as much as consumers take for nothing, a / b."""
        return self.a / self.b

    @property
    def efficient(self) -> float:
        """A = (a - c) / b, the output at which the price is the cost."""
        return (self.a - self.c) / self.b

    @property
    def about(self) -> str:
        """The rules in words, with all numbers."""
        n, m = self.firms, self.leaders
        who = "1 firm produces" if n == 1 else f"{n} firms produce the same good"
        order = "" if n == 1 else ", all at once"
        if m:
            lead, follow = ("the leader", "it produces") if m == 1 else (f"the {m} leaders", "they produce together")
            rest = "the follower decides" if n - m == 1 else f"the {n - m} followers decide at once"
            order = f": first {lead}{' at once' if m > 1 else ''}, then, having seen how much {follow}, {rest}"
        times = "There is one round." if self.repetitions == 1 else f"There are {self.repetitions} rounds."
        return (
            f"{who}, at a cost of {self.c:g} coins a unit. Each round every firm decides how much it produces, from 0 to "
            f"{self.most:g}{order}. All is sold at one price: {self.a:g} less {self.b:g} times what all firms "
            f"produce together, but never below 0. A firm's profit, its reward, is (price - {self.c:g}) times what it produces. "
            f"{times}"
        )

    @property
    def stages(self) -> tuple[Stage, ...]:
        """One decision of all, or the leaders' and then the followers'."""
        if not self.leaders:
            return (Stage("produce", "all firms decide how much they produce"),)
        return (
            Stage("lead", "the leaders decide how much they produce"),
            Stage("follow", "the followers see what the leaders produce together, and decide"),
        )

    def cast(self) -> tuple[Role, ...]:
        """The firms, or leaders and followers."""
        n, m, space = self.firms, self.leaders, Real(0.0, self.most)
        parts = [("leader", m, "lead"), ("follower", n - m, "follow")] if m else [("firm", n, "produce")]
        names = tuple(f"{name}_{i}" for name, count, _ in parts for i in range(count))
        last = (
            Field("price", Real(0.0, self.a), f"the last round's price; {self.a:g} at first", "coins", verifiable=True),
            Field(
                "quantities", space, "what each firm produced in the last round", "units", each=names, verifiable=True
            ),
            Field("produced", space, "what you produced in the last round", "units", verifiable=True),
            Field("profit", Real(-self.c * self.most, self.a**2 / self.b), "your reward in the last round", "coins"),
        )
        leading = Field(
            "leading", Real(0.0, m * self.most), "what the leaders last decided to produce, together", "units"
        )
        return tuple(
            Role(
                name,
                count,
                (*last, leading) if name == "follower" else last,
                (Field("quantity", space, "how much you produce", "units", stage=stage),),
                "you produce the good and want a high profit over all rounds",
            )
            for name, count, stage in parts
        )

    # ---- the game in arrays -------------------------------------------------------------------------------------

    def market(self, output: Array) -> tuple[Array, Array]:
        """Return the price and the surplus of consumers at an output of any shape."""
        xp = namespace(output)
        price = xp.clip(self.a - self.b * output, 0.0, None)
        return price, (self.a - price) ** 2 / (2.0 * self.b)

    def recall(self, like: Array) -> Record:
        """Return that nothing has been produced yet."""
        none = full(like, (*like.shape, self.firms), 0.0)
        return {"price": to_float(like) + self.a, "quantities": none, "profits": none}

    def own(self, state: RoundState) -> dict[str, Seen]:
        """Show every firm what it made, and followers what the leaders decided."""
        made, paid, m = state.memory["quantities"], state.memory["profits"], self.leaders
        if not m:
            return {"firm": {"produced": made, "profit": paid}}
        leading = spread(total(state.acts["leader"]["quantity"]), self.firms - m)
        return {
            "leader": {"produced": made[..., :m], "profit": paid[..., :m]},
            "follower": {"produced": made[..., m:], "profit": paid[..., m:], "leading": leading},
        }

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Sell all that was produced at one price."""
        parts = {role.name: acts[role.name]["quantity"] for role in self.roles}
        parts = {name: made[..., None] if self._counts[name] == 1 else made for name, made in parts.items()}
        made = namespace(*parts.values()).concat(list(parts.values()), axis=-1)
        output = total(made)
        price, surplus = self.market(output)
        profits = (price[..., None] - self.c) * made
        rewards, begin = {}, 0
        for name, count in self._counts.items():
            rewards[name] = profits[..., begin] if count == 1 else profits[..., begin : begin + count]
            begin += count
        earned = total(profits)
        return Settled(
            rewards,
            welfare=earned + surplus,
            sums={"price": price, "output": output, "profit": earned / self.firms, "consumer_surplus": surplus},
            memory={"price": price, "quantities": made, "profits": profits},
        )

    @functools.cached_property
    def _counts(self) -> dict[str, int]:
        return {role.name: role.count for role in self.roles}

    # ---- what theory says ---------------------------------------------------------------------------------------

    def reply(self, leading: Array) -> Array:
        """Return what each follower produces after the leaders' output (each firm, at 0, where there are no leaders)."""
        left = (self.efficient - leading) / (self.firms - self.leaders + 1)
        return namespace(left).clip(left, 0.0, None)

    def benchmarks(self) -> Benchmarks:
        """Return efficient output, the subgame-perfect equilibrium, and the cartel's."""
        n, m, efficient = self.firms, self.leaders, self.efficient
        best = self.b * efficient**2 / 2.0 * self.repetitions
        lost = 1.0 / ((m + 1) * (n - m + 1))

        def each(share: float) -> dict[str, Any]:
            def produce(seen: Seen) -> Acts:
                return {"quantity": seen["produced"] * 0.0 + share}

            return dict.fromkeys(self._counts, produce)

        def follows(seen: Seen) -> Acts:
            return {"quantity": self.reply(seen["leading"])}

        play = each(efficient / (m + 1)) | {"follower": follows} if m else each(efficient / (n + 1))
        solved = "closed form, by backward induction (Daughety 1990)" if m else "closed form (Cournot 1838)"
        return Benchmarks(
            first_best=Level(best, "the price is the cost of a unit: output (a - c) / b", each(efficient / n)),
            equilibrium=Level(best * (1.0 - lost**2), f"equilibrium of the round, {solved}, repeated", play),
            others={
                "cartel": Level(
                    best * 0.75,
                    "highest joint profit: half the efficient output, shared equally",
                    each(efficient / 2 / n),
                )
            },
        )
