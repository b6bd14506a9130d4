"""Cheap talk: a biased agent who knows better can only send a message, and the principal decides."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

from ..core import validate
from ..core.arrays import Array, constant, look_up, namespace, to_float, to_int
from ..core.fields import Choice, Field, Real, Role
from ..core.game import Acts, Benchmarks, Level, Measure, Seen, Stage
from ..core.rounds import Record, RoundGame, Settled
from .delegation import ALONE, Delegation, judged, most_steps, talk_loss, wish

SOURCE = "Crawford and Sobel 1982"
TOLERANCE = 1e-9  # by how much an agent at a cutoff may prefer one step to the next


@dataclass(frozen=True)
class CheapTalk(RoundGame):
    """Strategic information transmission (Crawford and Sobel 1982, doi:10.2307/1913390): ``Delegation`` without commitment.

    Nature draws a state theta, uniform on [0, 1], which the agent alone ever sees. The agent sends one of a few
    messages, which costs nothing and binds nobody, and the principal takes a decision a. The principal's payoff is
    -(a - theta)^2, the agent's -(a - theta - b)^2. Every equilibrium tells only in which of N steps the state lies, and
    the principal decides for the middle of the step. The cutoffs a_i = a_1 i + 2 i (i - 1) b make the agent indifferent
    between the steps that meet there; N steps exist where 2 N (N - 1) |b| < 1 and lose 1 / (12 N^2) + b^2 (N^2 - 1) / 3.
    Babbling, N = 1, always exists.

    Welfare is the principal's payoff: what is asked is how far what is done is what the principal wants. The agent's
    payoff is reported as a measure.

    Parameters
    ----------
    bias
        By how much the agent wants decisions higher than the principal, b; the state ranges over 1.
    messages
        How many messages there are.
    repetitions
        Rounds of an episode, each with a new state; nothing carries over but what is remembered.
    """

    bias: float = 0.1
    messages: int = 4
    repetitions: int = 1

    nature = 1
    stages = (
        Stage("say", "the agent, who knows the state, sends a message"),
        Stage("decide", "the principal, who has read the message, decides"),
    )
    reports = (
        Measure("loss", "the principal's loss a round", "sum_t (decision - state)^2 / T", better="lower"),
        Measure("agent_loss", "the agent's loss a round", "sum_t (decision - state - bias)^2 / T", better="lower"),
        Measure(
            "informativeness",
            "loss that is saved relative to babbling: 1 all of it, negative if talk misleads",
            "1 - 12 loss",
        ),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.real("bias", self.bias, -1.0, 1.0)
        validate.whole("messages", self.messages, 1, 100)
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)

    # ---- the game in words and fields ---------------------------------------------------------------------------

    @property
    def about(self) -> str:
        """The rules in words, with all numbers."""
        count = f"one of {self.messages} messages" if self.messages > 1 else "the only message there is"
        return (
            "A principal decides on the word of an agent, who is better informed but wants something else. The state is a number "
            "drawn anew every round, all numbers from 0 to 1 being equally likely. Only the agent sees it; the principal does "
            "not, not even afterwards.\n"
            f"First the agent sends {count}. Messages cost nothing, bind nobody, and mean only what the players take them to "
            "mean. Then the principal, who has read the message, takes a decision from 0 to 1.\n"
            "The principal's reward is minus the square of (decision - state): it wants the decision equal to the state. "
            f"The agent's reward is minus the square of (decision - state - bias) with a bias of {self.bias:g}: it wants the "
            f"decision {wish(self.bias)}. Both know the bias."
        )

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The messages."""
        return tuple(f"message_{i + 1}" for i in range(self.messages))

    def cast(self) -> tuple[Role, ...]:
        """The principal, and the agent, who sees the state."""
        message, decision = Choice(self.vocabulary), Real(0.0, 1.0)
        seen = (
            Field("message", message, "the message last sent; message_1 before the first", verifiable=True),
            Field("last_decision", decision, "the last decision taken; 0.5 before the first", verifiable=True),
        )
        state = Field("state", decision, "this round's state, which only you see")
        say = Field("message", message, "the message that you send", stage="say")
        decide = Field("decision", decision, "your decision", stage="decide")
        return (
            Role("principal", 1, seen, (decide,), "you want the decision equal to the state, which you do not see"),
            Role("agent", 1, (state, *seen), (say,), f"you want the decision {wish(self.bias)}"),
        )

    # ---- the game in arrays -------------------------------------------------------------------------------------

    def open(self, u: Array) -> Record:
        """Draw the state."""
        return {"state": u[..., 0]}

    def recall(self, like: Array) -> Record:
        """Return the decision that is remembered before the first."""
        return {"last_decision": to_float(like) + 0.5}

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Take the decision; the message itself is worth nothing."""
        return judged(acts["principal"]["decision"], nature["state"], self.bias)

    # ---- what theory says ---------------------------------------------------------------------------------------

    @property
    def steps(self) -> int:
        """Steps of the most informative equilibrium that the vocabulary can tell apart."""
        return most_steps(self.bias, self.messages)

    @functools.cached_property
    def cutoffs(self) -> tuple[float, ...]:
        """The states 0 = a_0 < ... < a_N = 1 between which the messages of that equilibrium tell."""
        n, b = self.steps, self.bias
        first = (1.0 - 2.0 * n * (n - 1) * b) / n
        found = (0.0, *(first * i + 2.0 * i * (i - 1) * b for i in range(1, n)), 1.0)
        for cut, (low, high) in zip(found[1:], itertools.pairwise(_middles(found)), strict=False):
            gain = abs((high - cut - b) ** 2 - (low - cut - b) ** 2)
            if gain > TOLERANCE or not low < high:
                raise RuntimeError(f"cutoffs: an agent at {cut:g} gains {gain:g} by another message")
        return found

    @functools.cached_property
    def readings(self) -> tuple[float, ...]:
        """What the principal decides on each message; those that are not used are read as the last that is."""
        used = _middles(self.cutoffs)
        return used + used[-1:] * (self.messages - self.steps)

    @functools.cached_property
    def _inner(self) -> tuple[float, ...]:
        return self.cutoffs[1:-1]

    def message(self, state: Array) -> Array:
        """Return the message of a state, integer (*batch): the number of cutoffs that it has reached."""
        reached = state[..., None] >= constant(state, self._inner)
        return namespace(state).sum(to_int(reached), axis=-1)

    def benchmarks(self) -> Benchmarks:
        """Return what the state is worth if known, what talk and babbling reach, and what a commitment would."""

        def says(seen: Seen) -> Acts:
            return {"message": self.message(seen["state"])}

        def reads(seen: Seen) -> Acts:
            return {"decision": look_up(seen["last_decision"], self.readings, seen["message"])}

        def babbles(seen: Seen) -> Acts:
            return {"message": to_int(seen["state"] * 0.0)}

        def ignores(seen: Seen) -> Acts:
            return {"decision": seen["last_decision"] * 0.0 + 0.5}

        limits = Delegation(self.bias, self.repetitions).benchmarks().equilibrium
        return Benchmarks(
            first_best=Level(0.0, "the decision is the state: the agent has no bias and words for every state"),
            equilibrium=Level(
                -self.repetitions * talk_loss(self.bias, self.steps),
                f"the most informative equilibrium of a round that fits the vocabulary: steps of the state, "
                f"{self.steps} of them ({SOURCE})",
                {"principal": reads, "agent": says},
            ),
            baseline=Level(
                -self.repetitions * ALONE,
                "babbling: messages tell nothing, and the principal decides for 1/2",
                {"principal": ignores, "agent": babbles},
            ),
            others={"delegation": Level(limits.value, f"the principal commits to limits instead: {limits.source}")},
        )


def _middles(cutoffs: tuple[float, ...]) -> tuple[float, ...]:
    return tuple((low + high) / 2.0 for low, high in itertools.pairwise(cutoffs))
