"""Trust and gift exchange: what is given first is worth more to both, if the other gives back."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np

from ..core import validate
from ..core.arrays import Array, look_up, namespace, to_float, to_int
from ..core.fields import Choice, Field, Real, Role
from ..core.game import Acts, Benchmarks, Level, Measure, Seen, Stage
from ..core.rounds import Record, RoundGame, RoundState, Settled

BERG = "Berg, Dickhaut and McCabe 1995"
EFFORTS = tuple(k / 10 for k in range(1, 11))
COSTS = (0.0, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 15.0, 18.0)


@dataclass(frozen=True)
class Trust(RoundGame):
    """The investment game (Berg, Dickhaut and McCabe 1995, doi:10.1006/game.1995.1027).

    An investor with an endowment e sends s; the trustee receives k s and returns a share r of it. The investor ends with
    e - s + r k s, the trustee with her own endowment and (1 - r) k s. With an intermediary, what is sent goes through a
    third player, who passes on the share p and keeps the rest: the trustee then receives k p s, and the investor is not
    told who kept what. The investor gains from trust if p r > 1/k. Welfare is what is created, (k - 1) p s.

    Parameters
    ----------
    endowment
        The investor's endowment, e, in coins.
    multiplier
        Coins that the trustee receives for each coin that reaches her, k.
    trustee_endowment
        The trustee's own endowment, in coins.
    intermediary
        Whether the money goes through a third player, who has no endowment.
    repetitions
        Rounds of an episode; all know when it ends.
    """

    endowment: float = 10.0
    multiplier: float = 3.0
    trustee_endowment: float = 10.0
    intermediary: bool = False
    repetitions: int = 1

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.real("endowment", self.endowment, 1e-6, 1e6)
        validate.real("multiplier", self.multiplier, 1.0, 1e3)
        validate.real("trustee_endowment", self.trustee_endowment, 0.0, 1e6)
        validate.one_of("intermediary", self.intermediary, (True, False))  # type: ignore[arg-type]
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)

    # ---- the game in words and fields ---------------------------------------------------------------------------

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The money's way."""
        send = Stage("send", "the investor sends some of its endowment")
        through = Stage("pass", "the intermediary passes on some of what was sent")
        back = Stage("return", "the trustee returns some of what she received")
        return (send, through, back) if self.intermediary else (send, back)

    @property
    def reports(self) -> tuple[Measure, ...]:  # type: ignore[override]
        """What was sent, passed on and returned, and what each got."""
        back = "sum_t returned_t / sum_t received_t, 0 if nothing was received"
        passed = Measure(
            "passed_on", "share of what was sent that was passed on", "sum_t p_t s_t / sum_t s_t, 0 if none"
        )
        return (
            Measure("trust", "share of the endowment that was sent", "sum_t s_t / (e T)"),
            *((passed,) if self.intermediary else ()),
            Measure("trustworthiness", "share of what was received that was returned", back),
            Measure("investor_payoff", "the investor's payoff a round", "e - s + returned", "coins"),
            Measure("trustee_payoff", "the trustee's payoff a round", "her endowment + received - returned", "coins"),
        )

    @property
    def about(self) -> str:
        """The rules in words, with all numbers."""
        k = f"{self.multiplier:g}"
        lines = [
            f"In each of {self.repetitions} rounds an investor has {self.endowment:g} coins and a trustee "
            f"{self.trustee_endowment:g}. The investor decides how many of its coins to send, and keeps the others."
        ]
        if self.intermediary:
            lines.append(
                "What is sent reaches an intermediary, who has nothing else. The intermediary decides which share of it to "
                f"pass on and keeps the rest. Each coin passed on is multiplied by {k} on its way to the trustee. The trustee "
                "is told what she received and not what was sent; the investor is told what came back and not what was passed "
                "on."
            )
        else:
            lines.append(f"Each coin sent is multiplied by {k} on its way to the trustee.")
        lines.append(
            "The trustee decides which share of what she received to return to the investor, and keeps the rest; what is "
            "returned is not multiplied. Everyone's reward is the coins that she has at the end of the round."
        )
        return " ".join(lines)

    @property
    def most(self) -> float:
        """Most that the trustee can receive, in coins."""
        return self.endowment * self.multiplier

    def cast(self) -> tuple[Role, ...]:
        """The investor, the trustee, and who may stand between them."""
        coins, share = Real(0.0, self.endowment), Real(0.0, 1.0)
        sent = Field("sent", coins, "what the investor sent last (0 before the first round)", "coins", verifiable=True)
        got = Field(
            "received", Real(0.0, self.most), "what last reached the trustee, multiplied", "coins", verifiable=True
        )
        back = Field(
            "returned", Real(0.0, self.most), "what the trustee returned in the last round", "coins", verifiable=True
        )
        sends = Field("sent", coins, "what you send", "coins", stage="send")
        returns = Field("back", share, "the share of what you received that you return", stage="return")
        passes = Field("passed", share, "the share of what was sent that you pass on", stage="pass")
        open_, last = not self.intermediary, Field("passed", share, "the share that you passed on last")
        investor = Role(
            "investor", 1, (sent, got, back) if open_ else (sent, back), (sends,), "you have coins to invest"
        )
        trustee = Role(
            "trustee", 1, (sent, got, back) if open_ else (got, back), (returns,), "you receive what is invested"
        )
        middle = Role("intermediary", 1, (sent, last), (passes,), "what is invested goes through your hands")
        return (investor, trustee) if open_ else (investor, middle, trustee)

    # ---- the game in arrays -------------------------------------------------------------------------------------

    def recall(self, like: Array) -> Record:
        """Return that nothing has been received or returned."""
        none = to_float(like) * 0.0
        return {"received": none, "returned": none}

    def own(self, state: RoundState) -> dict[str, Seen]:
        """Show what was received as soon as the trustee has it, and the last round's before."""
        passed = state.acts["intermediary"]["passed"] if self.intermediary else 1.0
        now = state.acts["investor"]["sent"] * passed * self.multiplier
        here = (state.stage == len(self.stages) - 1)[..., None]
        got = namespace(now).where(here, now, state.memory["received"][..., None])
        return {"investor": {"received": got}, "trustee": {"received": got}}

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Send, multiply and return."""
        sent, back = acts["investor"]["sent"], acts["trustee"]["back"]
        arrived = sent * acts["intermediary"]["passed"] if self.intermediary else sent
        received = arrived * self.multiplier
        returned = received * back
        rewards = {
            "investor": self.endowment - sent + returned,
            "trustee": self.trustee_endowment + received - returned,
        }
        if self.intermediary:
            rewards["intermediary"] = sent - arrived
        return Settled(
            rewards,
            welfare=received - arrived,
            sums={
                "trust": sent / self.endowment,
                "passed_on": arrived,
                "trustworthiness": returned,
                "investor_payoff": rewards["investor"],
                "trustee_payoff": rewards["trustee"],
            },
            memory={"received": received, "returned": returned},
        )

    @property
    def summed(self) -> tuple[str, ...]:
        """Amounts sent, passed on and returned, and payoffs."""
        return ("trust", "passed_on", "trustworthiness", "investor_payoff", "trustee_payoff")

    def measures(self, state: RoundState) -> Record:
        """Return shares of what there was to pass on and to return; the rest a round."""
        sums = state.sums
        sent, arrived = sums["trust"] * self.endowment, sums["passed_on"]
        received = arrived * self.multiplier
        shares = {
            "passed_on": arrived / (sent + (sent == 0.0)),
            "trustworthiness": sums["trustworthiness"] / (received + (received == 0.0)),
        }
        found = super().measures(state) | shares
        return {measure.name: found[measure.name] for measure in self.reports}

    # ---- what theory says ---------------------------------------------------------------------------------------

    @property
    def fair_share(self) -> float:
        """The share to be returned of a whole endowment that leaves investor and trustee with the same."""
        return min(max((self.trustee_endowment + self.most) / (2 * self.most), 0.0), 1.0)

    def benchmarks(self) -> Benchmarks:
        """Return full trust, and the equilibrium without any."""

        def plays(sent: float, share: float) -> dict[str, Callable[[Seen], Acts]]:
            roles: dict[str, Callable[[Seen], Acts]] = {
                "investor": lambda seen: {"sent": seen["sent"] * 0.0 + sent},
                "trustee": lambda seen: {"back": seen["received"] * 0.0 + share},
            }
            if self.intermediary:
                roles["intermediary"] = lambda seen: {"passed": seen["sent"] * 0.0 + (1.0 if sent else 0.0)}
            return roles

        return Benchmarks(
            first_best=Level(
                self.repetitions * (self.most - self.endowment),
                "all is sent (and passed on); whatever is returned",
                plays(self.endowment, self.fair_share),
            ),
            equilibrium=Level(
                0.0,
                f"subgame-perfect, by backward induction: nothing is returned, so nothing is sent ({BERG})"
                if not self.intermediary
                else f"subgame-perfect, by backward induction: nothing is returned or passed on, so nothing is sent ({BERG})",
                plays(0.0, 0.0),
            ),
        )


@dataclass(frozen=True)
class GiftExchange(RoundGame):
    """Gift exchange between a firm and a worker (Fehr, Kirchsteiger and Riedl 1993, doi:10.2307/2118338).

    The firm offers a wage w; the worker refuses, or accepts and chooses an effort e that costs it c(e), convex, and that no
    contract fixes. The worker gets w - c(e) - c0, the firm v e - w (Fehr, Gaechter and Kirchsteiger 1997,
    doi:10.2307/2171941) or, as in 1993, (v - w) e; both get 0 if the offer is refused. Welfare is the sum of the two. With
    the profit of 1993 the wage is no mere transfer: the firm bears the part e of it alone, so that the sum grows with w.
    One firm faces one worker; the double auction of 1993, in which workers compete for offers, is left out.

    Parameters
    ----------
    value
        The firm's value of an effort of 1, v, in coins.
    efforts
        Efforts that the worker can choose, rising, from 0 to 1.
    costs
        Their costs, in coins: rising and convex.
    profit
        ``"difference"``, v e - w, or ``"product"``, (v - w) e.
    fixed_cost
        The worker's cost of accepting, c0, in coins.
    min_wage, max_wage
        Lowest and highest wage that can be offered, in coins.
    repetitions
        Rounds of an episode; all know when it ends.
    """

    value: float = 100.0
    efforts: tuple[float, ...] = EFFORTS
    costs: tuple[float, ...] = COSTS
    profit: str = "difference"
    fixed_cost: float = 0.0
    min_wage: float = 0.0
    max_wage: float = 100.0
    repetitions: int = 1

    stages = (
        Stage("offer", "the firm offers a wage"),
        Stage("answer", "the worker accepts or refuses, and chooses its effort"),
    )
    reports = (
        Measure("wage", "mean wage offered", "sum_t w_t / T", "coins"),
        Measure("accepted", "share of offers accepted", "#accepted / #rounds"),
        Measure("effort", "mean effort where accepted", "sum_t e_t / #accepted, 0 if none"),
        Measure("firm_payoff", "the firm's payoff a round", "v e - w or (v - w) e, 0 if refused", "coins"),
        Measure("worker_payoff", "the worker's payoff a round", "w - c(e) - c0, 0 if refused", "coins"),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        for name in ("efforts", "costs"):
            given = getattr(self, name)
            if not isinstance(given, list | tuple) or not 2 <= len(given) <= 64:
                raise ValueError(f"{name}: a list of 2 to 64 numbers, got {given!r}")
            most = 1.0 if name == "efforts" else 1e6
            numbers = tuple(validate.real(f"{name}[{i}]", v, 0.0, most) for i, v in enumerate(given))
            if min(np.diff(numbers)) <= 0.0:
                raise ValueError(f"{name}: rising numbers, got {numbers}")
            object.__setattr__(self, name, numbers)
        if len(self.costs) != len(self.efforts):
            raise ValueError(f"costs: one for each of the {len(self.efforts)} efforts, got {len(self.costs)}")
        slopes = np.diff(self.costs) / np.diff(self.efforts)
        if min(np.diff(slopes), default=0.0) < -1e-9:
            raise ValueError(f"costs: convex, each step of effort at least as dear as the one before, got {self.costs}")
        validate.one_of("profit", self.profit, ("difference", "product"))
        validate.real("value", self.value, 1e-6, 1e6)
        validate.real("fixed_cost", self.fixed_cost, 0.0, 1e6)
        validate.real("min_wage", self.min_wage, 0.0, 1e6)
        validate.real("max_wage", self.max_wage, max(self.lowest_wage, 1e-6), 1e6)
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)
        if self.payoffs(self.lowest_wage, 0)[0] < 0.0:
            raise ValueError(
                f"value: at least {self.lowest_wage:g} times an effort of {self.efforts[0]:g} must be worth the lowest wage that "
                f"is accepted, got {self.value!r}; raise it, or lower min_wage or fixed_cost"
                if self.profit == "product"
                else f"value: at an effort of {self.efforts[0]:g} at least the lowest wage that is accepted, "
                f"{self.lowest_wage:g}, got {self.value!r}; raise it, or lower min_wage or fixed_cost"
            )

    @classmethod
    def fehr_kirchsteiger_riedl(cls, repetitions: int = 1) -> Self:
        """Return the numbers of 1993: v = 126, c0 = 26, wages from 30 on."""
        return cls(126.0, profit="product", fixed_cost=26.0, min_wage=30.0, max_wage=126.0, repetitions=repetitions)

    # ---- the game in words and fields ---------------------------------------------------------------------------

    @property
    def about(self) -> str:
        """The rules in words, with all numbers."""
        costs = ", ".join(f"{name} costs {cost:g}" for name, cost in zip(self.names, self.costs, strict=True))
        gets = (
            f"{self.value:g} times the effort, less the wage"
            if self.profit == "difference"
            else f"the effort times what is left of {self.value:g} after the wage, that is ({self.value:g} - wage) x effort"
        )
        fixed = f" and less {self.fixed_cost:g}, the cost of working at all" if self.fixed_cost else ""
        return (
            f"In each of {self.repetitions} rounds a firm offers a worker a wage from {self.min_wage:g} to {self.max_wage:g} "
            "coins. The worker refuses, and both get 0; or accepts, is paid the wage whatever it does, and chooses an effort. "
            f"Efforts: {costs}. The firm's reward is {gets}. The worker's reward is the wage less the cost of its effort{fixed}."
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the efforts."""
        return tuple(f"{effort:g}" for effort in self.efforts)

    def cast(self) -> tuple[Role, ...]:
        """The firm, and the worker."""
        wage = Real(self.min_wage, self.max_wage)
        seen = (
            Field("wage", wage, "the last wage offered", "coins", verifiable=True),
            Field("answer", Choice(("refused", "accepted", "none")), "the last answer", verifiable=True),
            Field("work", Choice((*self.names, "none")), "the worker's effort in the last round"),
        )
        offer = Field("wage", wage, "the wage you offer", "coins", stage="offer")
        accept = Field("accept", Choice(("refuse", "accept")), "whether you take the offer", stage="answer")
        effort = Field("effort", Choice(self.names), "your effort if you accept", stage="answer")
        return (
            Role("firm", 1, seen, (offer,), "you pay a wage and profit from effort"),
            Role("worker", 1, seen, (accept, effort), "you work for a wage"),
        )

    # ---- the game in arrays -------------------------------------------------------------------------------------

    def recall(self, like: Array) -> Record:
        """Return that nothing has happened yet."""
        return {"answer": like + 2, "work": like + len(self.efforts)}

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Pay the wage, and let the worker work."""
        wage, chosen = acts["firm"]["wage"], to_int(acts["worker"]["effort"])
        xp, hired = namespace(wage), acts["worker"]["accept"] == 1
        effort = look_up(wage, self.efforts, chosen)
        gained = self.value * effort - wage if self.profit == "difference" else (self.value - wage) * effort
        firm = xp.where(hired, gained, 0.0)
        worker = xp.where(hired, wage - look_up(wage, self.costs, chosen) - self.fixed_cost, 0.0)
        return Settled(
            {"firm": firm, "worker": worker},
            welfare=firm + worker,
            sums={
                "wage": wage,
                "accepted": to_float(hired),
                "effort": xp.where(hired, effort, 0.0),
                "firm_payoff": firm,
                "worker_payoff": worker,
            },
            memory={"answer": to_int(hired), "work": xp.where(hired, chosen, len(self.efforts))},
        )

    def measures(self, state: RoundState) -> Record:
        """Return what happened a round, and the effort where accepted."""
        accepted = state.sums["accepted"]
        return {**super().measures(state), "effort": state.sums["effort"] / (accepted + (accepted == 0))}

    # ---- what theory says ---------------------------------------------------------------------------------------

    @property
    def lowest_wage(self) -> float:
        """The lowest wage that a worker of least effort accepts, in coins."""
        return max(self.min_wage, self.fixed_cost + self.costs[0])

    def payoffs(self, wage: float, effort: int) -> tuple[float, float]:
        """Return the payoffs of firm and worker at an accepted wage and a number of effort."""
        e = self.efforts[effort]
        firm = self.value * e - wage if self.profit == "difference" else (self.value - wage) * e
        return firm, wage - self.costs[effort] - self.fixed_cost

    @functools.cached_property
    def best(self) -> tuple[float, int]:
        """The wage and the number of the effort at which the payoffs sum to most; the sum does not fall with the wage."""
        cells = [(wage, e) for wage in (self.lowest_wage, self.max_wage) for e in range(len(self.efforts))]
        return max(cells, key=lambda cell: sum(self.payoffs(*cell)))

    def benchmarks(self) -> Benchmarks:
        """Return the efficient effort, and the equilibrium of least wage and effort."""

        def plays(wage: float, effort: int, least: float) -> dict[str, Callable[[Seen], Acts]]:
            def worker(seen: Seen) -> Acts:
                return {"accept": to_int(seen["wage"] >= least), "effort": seen["work"] * 0 + effort}

            return {"firm": lambda seen: {"wage": seen["wage"] * 0.0 + wage}, "worker": worker}

        return Benchmarks(
            first_best=Level(
                self.repetitions * max(sum(self.payoffs(*self.best)), 0.0),
                "the wage and effort with the highest sum of payoffs",
                plays(*self.best, self.min_wage),
            ),
            equilibrium=Level(
                self.repetitions * sum(self.payoffs(self.lowest_wage, 0)),
                "subgame-perfect: the least effort at every wage, so the lowest wage that is accepted; indifferent, the worker "
                "accepts (Fehr, Kirchsteiger and Riedl 1993)",
                plays(self.lowest_wage, 0, self.fixed_cost + self.costs[0]),
            ),
        )
