"""Delegation: a principal lets a biased agent decide, who knows better, within limits."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core import validate
from ..core.arrays import Array, namespace, to_float
from ..core.fields import Field, Real, Role
from ..core.game import Acts, Benchmarks, Level, Measure, Seen, Stage
from ..core.rounds import Record, RoundGame, Settled

ALONE = 1.0 / 12.0  # loss of the best uninformed decision, 1/2: the variance of the state
MANY = 10**9  # steps beyond which talk is as good as the truth


@dataclass(frozen=True)
class Delegation(RoundGame):
    """Delegation to a biased expert (Holmstrom 1984; Melumad and Shibano 1991; Alonso and Matouschek 2008,
    doi:10.1111/j.1467-937X.2007.00471.x).

    Nature draws a state theta, uniform on [0, 1], which the agent alone ever sees. The principal sets a floor and a
    ceiling, and the agent takes a decision a between them. The principal's payoff is -(a - theta)^2, the agent's
    -(a - theta - b)^2: it wants decisions higher than the principal by the bias b. Of all rules without payments the
    best, lotteries included, is an interval: ceiling 1 - b and no floor for 0 < b <= 1/2, of loss b^2 - 4 b^3 / 3;
    beyond, no discretion: 1/2 and loss 1/12; mirrored for b < 0.

    Welfare is the principal's payoff: what is asked is how far the delegate does what the principal wants. The agent's
    payoff is reported as a measure.

    Parameters
    ----------
    bias
        By how much the agent wants decisions higher than the principal, b; the state ranges over 1.
    repetitions
        Rounds of an episode, each with a new state; nothing carries over but what is remembered.
    """

    bias: float = 0.1
    repetitions: int = 1

    nature = 1
    stages = (
        Stage("delegate", "the principal sets a floor and a ceiling for the decision"),
        Stage("decide", "the agent, who knows the state, decides"),
    )
    reports = (
        Measure("loss", "the principal's loss a round", "sum_t (decision - state)^2 / T", better="lower"),
        Measure("agent_loss", "the agent's loss a round", "sum_t (decision - state - bias)^2 / T", better="lower"),
        Measure("discretion", "mean width of the interval left to the agent", "sum_t |ceiling - floor| / T"),
        Measure(
            "informativeness",
            "loss that is saved relative to the best uninformed decision: 1 all of it, negative if decisions are worse",
            "1 - 12 loss",
        ),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.real("bias", self.bias, -1.0, 1.0)
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)

    # ---- the game in words and fields ---------------------------------------------------------------------------

    @property
    def about(self) -> str:
        """The rules in words, with all numbers."""
        return (
            "A principal lets an agent decide, who is better informed but wants something else. The state is a number drawn anew "
            "every round, all numbers from 0 to 1 being equally likely. Only the agent sees it; the principal does not, not even "
            "afterwards.\n"
            f"First the principal sets a floor and a ceiling, from {self.low:g} to {self.high:g}; if the floor is above the "
            "ceiling, the two are swapped. Then the agent names a decision. Below the floor it is raised to the floor, above the "
            "ceiling lowered to the ceiling, and so carried out.\n"
            "The principal's reward is minus the square of (decision - state): it wants the decision equal to the state. "
            f"The agent's reward is minus the square of (decision - state - bias) with a bias of {self.bias:g}: it wants the "
            f"decision {wish(self.bias)}. Both know the bias."
        )

    @property
    def low(self) -> float:
        """Lowest decision: the lowest that either side ever wants."""
        return min(0.0, self.bias)

    @property
    def high(self) -> float:
        """Highest decision: the highest that either side ever wants."""
        return 1.0 + max(0.0, self.bias)

    def cast(self) -> tuple[Role, ...]:
        """The principal, and the agent, who sees the state."""
        decision = Real(self.low, self.high)
        seen = (
            Field("floor", decision, "the floor last set; 0 before the first", verifiable=True),
            Field("ceiling", decision, "the ceiling last set; 0 before the first", verifiable=True),
            Field("last_decision", decision, "the last decision carried out; 0.5 before the first", verifiable=True),
        )
        limits = (
            Field("floor", decision, "the lowest decision that you allow", stage="delegate"),
            Field("ceiling", decision, "the highest decision that you allow", stage="delegate"),
        )
        state = Field("state", Real(0.0, 1.0), "this round's state, which only you see")
        decide = Field("decision", decision, "your decision; it is brought between floor and ceiling", stage="decide")
        return (
            Role("principal", 1, seen, limits, "you want the decision equal to the state, which you do not see"),
            Role("agent", 1, (state, *seen), (decide,), f"you want the decision {wish(self.bias)}"),
        )

    # ---- the game in arrays -------------------------------------------------------------------------------------

    def open(self, u: Array) -> Record:
        """Draw the state."""
        return {"state": u[..., 0]}

    def recall(self, like: Array) -> Record:
        """Return the decision that is remembered before the first."""
        return {"last_decision": to_float(like) + 0.5}

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Carry out the decision, within the limits."""
        limits = acts["principal"]
        decision = within(acts["agent"]["decision"], limits["floor"], limits["ceiling"])
        width = namespace(decision).abs(limits["ceiling"] - limits["floor"])
        return judged(decision, nature["state"], self.bias, discretion=width)

    # ---- what theory says ---------------------------------------------------------------------------------------

    def response(self, state: Array, floor: Array, ceiling: Array) -> Array:
        """Return the agent's best decision: what it wants, or the nearest to it that is allowed."""
        return within(state + self.bias, floor, ceiling)

    def losses(self, floor: Any, ceiling: Any) -> tuple[Any, Any]:
        """Return the expected losses of principal and agent in a round in which the agent decides at its best (NumPy)."""
        least, most = np.minimum(floor, ceiling), np.maximum(floor, ceiling)
        left, right = np.clip(least - self.bias, 0.0, 1.0), np.clip(most - self.bias, 0.0, 1.0)  # free in between

        def mean(aim: float) -> Any:
            """Integrate (decision - state - aim)^2 over states at the floor, free, and at the ceiling."""
            bottom = (least - aim) ** 3 - (least - aim - left) ** 3
            top = (most - aim - right) ** 3 - (most - aim - 1.0) ** 3
            return (bottom + top) / 3.0 + (self.bias - aim) ** 2 * (right - left)

        return mean(0.0), mean(self.bias)

    @functools.cached_property
    def optimal_interval(self) -> tuple[float, float]:
        """The principal's best floor and ceiling; no interval on a grid does better."""
        b = self.bias
        best = (0.5, 0.5) if abs(b) >= 0.5 else (self.low, 1.0 - b) if b > 0.0 else (-b, self.high)
        loss = float(self.losses(*best)[0])
        floors, ceilings = np.meshgrid(*[np.linspace(self.low, self.high, 61)] * 2, indexing="ij")
        grid = self.losses(floors, ceilings)[0]
        if grid.min() < loss - 1e-12:
            at = grid.argmin()
            better = float(floors.flat[at]), float(ceilings.flat[at])
            raise RuntimeError(f"optimal_interval: {best} loses {loss:g}, but {better} only {grid.min():g}")
        return best

    def benchmarks(self) -> Benchmarks:
        """Return what the state is worth if known, what limits reach, and what full or no discretion and talk reach."""
        free, none = (self.low, self.high), (0.5, 0.5)

        def limits(interval: tuple[float, float]) -> Callable[[Seen], Acts]:
            def play(seen: Seen) -> Acts:
                zero = seen["last_decision"] * 0.0
                return {"floor": zero + interval[0], "ceiling": zero + interval[1]}

            return play

        def answers(seen: Seen) -> Acts:
            return {"decision": self.response(seen["state"], seen["floor"], seen["ceiling"])}

        def level(interval: tuple[float, float], source: str) -> Level:
            value = 0.0 - self.repetitions * float(self.losses(*interval)[0])
            return Level(value, source, {"principal": limits(interval), "agent": answers})

        best = self.optimal_interval
        loss = talk_loss(self.bias, most_steps(self.bias))
        return Benchmarks(
            first_best=Level(
                0.0,
                "the decision is the state: an agent without bias, free to decide",
                {"principal": limits(free), "agent": lambda seen: {"decision": seen["state"] * 1.0}},
            ),
            second_best=level(best, "optimal delegation (Melumad and Shibano 1991; Alonso and Matouschek 2008)"),
            equilibrium=level(best, "subgame-perfect: the optimal interval and the agent's best answer"),
            baseline=level(none, "the principal decides alone, uninformed: 1/2"),
            others={
                "full_discretion": level(free, "no limits: the agent decides as it wants, loss b^2"),
                "cheap_talk": Level(
                    -self.repetitions * loss,
                    "the agent only talks: most informative equilibrium, any vocabulary (Crawford and Sobel 1982)",
                ),
            },
        )


# ---- what delegation and talk have in common ------------------------------------------------------------------------


def wish(bias: float) -> str:
    """Say in words what an agent of a bias wants the decision to be."""
    if bias == 0.0:
        return "equal to the state"
    return f"{abs(bias):g} {'above' if bias > 0.0 else 'below'} the state"


def within(values: Array, floor: Array, ceiling: Array) -> Array:
    """Bring values between two limits, which may be given in either order."""
    xp = namespace(values)
    return xp.minimum(xp.maximum(values, xp.minimum(floor, ceiling)), xp.maximum(floor, ceiling))


def judged(decision: Array, state: Array, bias: float, **more: Array) -> Settled:
    """Return what a decision is worth to both sides, with more sums; welfare is the principal's payoff."""
    gap = decision - state
    loss, other = gap * gap, (gap - bias) * (gap - bias)
    return Settled(
        {"principal": -loss, "agent": -other},
        welfare=-loss,
        sums={"loss": loss, "agent_loss": other, "informativeness": 1.0 - loss / ALONE, **more},
        memory={"last_decision": decision},
    )


def most_steps(bias: float, limit: int = MANY) -> int:
    """Return the most steps that an equilibrium of cheap talk has: the largest N <= limit with 2 N (N - 1) |b| < 1."""
    size = abs(bias)
    if 2.0 * limit * (limit - 1) * size < 1.0:
        return limit
    steps = math.ceil((math.sqrt(1.0 + 2.0 / size) - 1.0) / 2.0)
    while steps > 1 and 2.0 * steps * (steps - 1) * size >= 1.0:  # rounding, at the edge of existence
        steps -= 1
    return steps


def talk_loss(bias: float, steps: int) -> float:
    """Return the principal's expected loss in the equilibrium of cheap talk of so many steps."""
    return 1.0 / (12.0 * steps**2) + bias**2 * (steps**2 - 1) / 3.0
