"""A common pool: who invests in it takes from what the others get out of it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..core import validate
from ..core.arrays import Array, namespace, to_float, to_int, total
from ..core.fields import Field, Integer, Real, Role
from ..core.game import Acts, Benchmarks, Level, Measure, Seen
from ..core.rounds import Record, RoundGame, RoundState, Settled

DUST = 1e-9  # share of the pool's optimum by which a reply may be worse: the rounding of sums

PUBLISHED: dict[str, tuple[float, float]] = {
    "baseline, 10 tokens": (0.34, 0.34),
    "baseline, 25 tokens": (0.21, 0.21),
    "repeated talk, 10 tokens": (0.99, 0.99),
    "repeated talk, 25 tokens": (0.73, 0.73),
    "sanctions": (0.37, 0.09),
    "talk and chosen sanctions": (0.93, 0.90),
}
"""What groups of eight people reached (Ostrom, Walker and Gardner 1992, doi:10.2307/1964229): the mean net yield as a share of
the largest, before and after the costs of sanctions."""


@dataclass(frozen=True)
class CommonPool(RoundGame):
    """The common pool of Ostrom, Walker and Gardner (1992), "Covenants with and without a sword", doi:10.2307/1964229.

    In each round each of n users invests x_i of an endowment of e tokens in a common pool. Of X = sum_i x_i tokens the pool
    makes F(X) = a X - b X^2, which is shared in proportion to what was invested; a token that is not invested earns w.
    User i gets w (e - x_i) + x_i (a - b X): a token that i invests costs each other user j b x_j.

    With D = (a - w) / b the net yield F(X) - w X = b X (D - X) is largest at X = D / 2. The equilibrium is a Cournot one:
    every x_i is within 1 of D - X, or at the end of its range. Without that of tokens X = n D / (n + 1), and of the largest
    net yield 4n / (n + 1)^2 is left. By default D = 72: 36 is best, and 8 each or 64 in equilibrium leave 128 of 324.

    Welfare is the net yield, so that what an episode's welfare is of the first best (``of_largest``) is the net yield after
    the costs of sanctions, while the measure ``net_yield`` is that before them. The paper's treatments are ``Talk()``,
    ``Sanction()``, and a choice of sanctions, ``Talk()`` and ``Vote(Sanction(), "fine", ...)``; ``PUBLISHED`` is what
    people reached under them.

    Parameters
    ----------
    users
        Number of users, n.
    endowment
        Tokens that each has in a round, e (10 or 25 in the paper).
    gain
        What the first tokens bring, a.
    loss
        By how much another token lowers what all tokens in the pool bring, b.
    outside
        What a token earns that is not invested, w.
    repetitions
        Rounds of an episode.
    """

    users: int = 8
    endowment: int = 10
    gain: float = 23.0
    loss: float = 0.25
    outside: float = 5.0
    repetitions: int = 20

    reports = (
        Measure(
            "net_yield",
            "net yield of the pool as a share of the largest possible, before the costs of sanctions",
            "sum_t (F(X_t) - w X_t) / (T max_X (F(X) - w X))",
            source="Ostrom, Walker and Gardner 1992",
        ),
        Measure("invested", "mean tokens in the pool", "sum_t X_t / T", "tokens", better="lower"),
        Measure(
            "overuse",
            "share of investments above an equal share of the best total, to the next token",
            "#{(i, t): x_it > ceil(X* / n)} / (n T)",
            better="lower",
        ),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range, and pools in which nothing is worth investing."""
        validate.whole("users", self.users, 2, 100)
        validate.whole("endowment", self.endowment, 1, 10_000)
        validate.real("gain", self.gain, -1e6, 1e6)
        validate.real("loss", self.loss, 1e-6, 1e6)
        validate.real("outside", self.outside, -1e6, 1e6)
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)
        if not self.net(1) > 0:
            least = self.outside + self.loss
            raise ValueError(
                f"gain: above outside + loss = {least:g}, got {self.gain!r}; else no token is worth investing in the pool"
            )

    # ---- the game in words and fields ---------------------------------------------------------------------------

    @property
    def about(self) -> str:
        """The rules in words, with all numbers."""
        n, e, w, a, b = self.users, self.endowment, self.outside, self.gain, self.loss
        shown = "; ".join(f"{x} tokens, {a * x - b * x * x:.6g} or {a - b * x:.6g} each" for x in self._examples)
        return (
            f"{n} users share a common pool for {self.repetitions} rounds. In each round each has {e} tokens and decides, all at "
            f"once, how many of them to invest in the pool. A token that is not invested earns {w:g}. If all invest X tokens "
            f"together, the pool makes {a:g} X - {b:g} X^2, which is shared in proportion to what each invested: every token "
            f"invested brings its owner {a:g} - {b:g} X, so that it brings the less the more is invested, whoever invests it. "
            f"For example: {shown}. Your reward is what your tokens bring, in the pool and outside. After the round all see what "
            "each invested."
        )

    @property
    def _examples(self) -> tuple[int, ...]:
        most = self.users * self.endowment
        return tuple(sorted({max(1, most // 8), max(1, most // 4), max(1, most // 2), most}))

    def cast(self) -> tuple[Role, ...]:
        """The users."""
        tokens, names = Integer(0, self.endowment), tuple(f"user_{i}" for i in range(self.users))
        seen = (
            Field("investments", tokens, "what each invested last", "tokens", each=names, verifiable=True),
            Field("invested", tokens, "what you invested last", "tokens", verifiable=True),
            Field("pay", Real(), "your last payoff (0 before the first)", verifiable=True),
            Field("place", Integer(1, self.users), "your place in the list of users"),
        )
        acts = (Field("investment", tokens, "what you invest in the pool", "tokens"),)
        return (Role("user", self.users, seen, acts, "you want a high payoff for yourself"),)

    # ---- the game in arrays -------------------------------------------------------------------------------------

    def recall(self, like: Array) -> Record:
        """Return that nothing has happened yet."""
        none = namespace(like).repeat(like[..., None], self.users, axis=-1)
        return {"investments": none, "pay": to_float(none)}

    def own(self, state: RoundState) -> dict[str, Seen]:
        """Show users what they themselves invested and got, and their places."""
        invested = state.memory["investments"]
        xp = namespace(invested)
        place = xp.cumulative_sum(xp.ones_like(invested), axis=-1)
        return {"user": {"invested": invested, "pay": state.memory["pay"], "place": place}}

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Share what the pool makes."""
        invested = to_int(acts["user"]["investment"])
        tokens, pool = to_float(invested), to_float(total(invested))
        each = self.gain - self.loss * pool  # what a token in the pool brings
        pay = self.outside * (self.endowment - tokens) + tokens * each[..., None]
        net = pool * (each - self.outside)
        over = to_float(total(to_int(invested > -(-self.best // self.users))))
        return Settled(
            {"user": pay},
            welfare=net,
            sums={"net_yield": net / self.largest, "invested": pool, "overuse": over / self.users},
            memory={"investments": invested, "pay": pay},
        )

    # ---- what theory says ---------------------------------------------------------------------------------------

    def net(self, tokens: float) -> float:
        """Return the net yield F(X) - w X of so many tokens in the pool."""
        return tokens * (self.gain - self.loss * tokens - self.outside)

    @functools.cached_property
    def best(self) -> int:
        """Tokens in the pool at which the net yield is largest: D / 2, to the next token."""
        middle = (self.gain - self.outside) / self.loss / 2
        most = self.users * self.endowment
        return max((min(math.floor(middle), most), min(math.ceil(middle), most)), key=self.net)

    @property
    def largest(self) -> float:
        """The largest net yield of a round."""
        return self.net(self.best)

    def of_largest(self, welfare: Array) -> Array:
        """Return an episode's welfare as a share of the largest net yield: after the costs of sanctions, where there are."""
        return welfare / (self.repetitions * self.largest)

    def regret(self, tokens: int, others: int) -> float:
        """Return the most that one who invests so many tokens gains by another number, given what the others invest."""

        def won(x: int) -> float:
            return x * (self.gain - self.outside - self.loss * (others + x))

        middle = ((self.gain - self.outside) / self.loss - others) / 2
        replies = [min(max(x, 0), self.endowment) for x in (math.floor(middle), math.ceil(middle))]
        return max(map(won, replies)) - won(tokens)

    def _gain(self, pool: int) -> float:
        """Return the regret where so many tokens are invested, as evenly as can be."""
        return max(self.regret(x, pool - x) for x in (pool // self.users, -(-pool // self.users)))

    @functools.cached_property
    def equilibria(self) -> tuple[int, ...]:
        """Totals in equilibria of a round, rising; that investments differ by a token at most is possible in each.

        In equilibrium D - X - 1 <= x_i <= D - X + 1, but for the ends of the range; the mean is then within the same bounds.
        Inside, X is within n / (n + 1) of n D / (n + 1).
        """
        n, most = self.users, self.users * self.endowment
        near = n * (self.gain - self.outside) / self.loss / (n + 1)
        tried = range(min(max(math.floor(near) - 1, 0), most), min(math.ceil(near) + 1, most) + 1)
        found = tuple(pool for pool in tried if self._gain(pool) <= DUST * self.largest)
        if not found:
            raise RuntimeError(
                f"equilibria: at {tried[0]} to {tried[-1]} tokens in the pool somebody gains by another number"
            )
        return found

    def benchmarks(self) -> Benchmarks:
        """Return the best total, and the equilibrium of each round with the lowest net yield."""
        worst = min(self.equilibria, key=self.net)
        found = f"{worst} tokens: each weighs what a token brings it, not what it takes from the others (Cournot)"
        return Benchmarks(
            self._level(self.best, f"{self.best} tokens: the net yield is largest"), self._level(worst, found)
        )

    def _level(self, tokens: int, source: str) -> Level:
        """Return the level at which so many tokens are invested, as evenly as can be."""

        def play(seen: Seen) -> Acts:
            none = to_int(seen["invested"]) * 0
            return {"investment": none + tokens // self.users + to_int(seen["place"] <= tokens % self.users)}

        plays: Mapping[str, Callable[[Seen], Acts]] = {"user": play}
        return Level(self.repetitions * self.net(tokens), source, plays)
