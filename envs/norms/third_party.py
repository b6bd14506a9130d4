"""Third-party punishment: one who is not concerned pays to punish a dictator."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ..core import validate
from ..core.arrays import Array, namespace, to_float, to_int
from ..core.fields import Field, Integer, Real, Role
from ..core.game import Acts, Benchmarks, Level, Measure, Seen, Stage
from ..core.rounds import Record, RoundGame, Settled

SOURCE = "Fehr and Fischbacher 2004"


@dataclass(frozen=True)
class ThirdParty(RoundGame):
    """A dictator under the eyes of a third party (Fehr and Fischbacher 2004, doi:10.1016/S1090-5138(04)00005-4).

    The dictator gives x of its endowment to a recipient who has nothing. An observer sees x and spends p of its own
    endowment to take ``effect`` p from the dictator. Payoffs: endowment - x - effect p, rate x, observer_endowment - p. The
    dictator's may fall below 0. Welfare is the sum less the endowments, (rate - 1) x - (1 + effect) p: where a point given is
    worth a point, punishment is mere waste, and what it does is to divide.

    Parameters
    ----------
    endowment
        What the dictator has, in points.
    observer_endowment
        What the observer has, in points; all of it can be spent on punishment.
    effect
        Points that a point spent on punishment takes from the dictator.
    rate
        Points that the recipient gets for each point given; 1 in the experiment.
    repetitions
        Rounds of an episode; nothing carries over but what is remembered.
    """

    endowment: int = 100
    observer_endowment: int = 50
    effect: float = 3.0
    rate: float = 1.0
    repetitions: int = 1

    stages = (
        Stage("give", "the dictator gives points to the recipient"),
        Stage("punish", "the observer may punish the dictator"),
    )
    reports = (
        Measure("given", "mean share of the endowment that was given", "sum_t x_t / (endowment T)"),
        Measure("punishment", "mean points spent on punishment", "sum_t p_t / T", "points", better="lower"),
        Measure("dictator_payoff", "the dictator's payoff a round", "endowment - x - effect p", "points"),
        Measure("recipient_payoff", "the recipient's payoff a round", "rate x", "points"),
        Measure("observer_payoff", "the observer's payoff a round", "its endowment - p", "points"),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.whole("endowment", self.endowment, 1, 1_000_000)
        validate.whole("observer_endowment", self.observer_endowment, 1, 1_000_000)
        validate.real("effect", self.effect, 0.0, 1e3)
        validate.real("rate", self.rate, 0.0, 1e3)
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)

    # ---- the game in words and fields ---------------------------------------------------------------------------

    @property
    def about(self) -> str:
        """The rules in words, with all numbers."""
        return (
            f"In each of {self.repetitions} rounds a dictator has {self.endowment} points, a recipient has none and an observer "
            f"has {self.observer_endowment}. The dictator gives any number of its points to the recipient, who gets {self.rate:g} "
            "for each point given and decides nothing. The observer sees what was given and may spend any number of its own points "
            f"on punishment: each point spent is lost and takes {self.effect:g} from the dictator, whose points may fall below 0. "
            "Your reward is the points that you have at the end of the round."
        )

    def cast(self) -> tuple[Role, ...]:
        """The dictator, the recipient, and the observer."""
        gift, fine = Integer(0, self.endowment), Integer(0, self.observer_endowment)
        loss = Real(0.0, self.effect * self.observer_endowment)
        seen = (
            Field("given", gift, "what the dictator gave last (0 before the first round)", "points", verifiable=True),
            Field("lost", loss, "what the dictator last lost by punishment", "points", verifiable=True),
        )
        gives = Field("given", gift, "what you give to the recipient", "points", stage="give")
        spends = Field("spent", fine, "what you spend on punishing the dictator", "points", stage="punish")
        return (
            Role("dictator", 1, seen, (gives,), "you have points and may give"),
            Role("recipient", 1, seen, (), "you get what the dictator gives"),
            Role("observer", 1, seen, (spends,), "you look on, and may punish at your own cost"),
        )

    # ---- the game in arrays -------------------------------------------------------------------------------------

    def recall(self, like: Array) -> Record:
        """Return that nobody has been punished."""
        return {"lost": to_float(like) * 0.0}

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Give and punish."""
        given, spent = to_float(acts["dictator"]["given"]), to_float(acts["observer"]["spent"])
        lost, got = self.effect * spent, self.rate * given
        dictator, observer = self.endowment - given - lost, self.observer_endowment - spent
        return Settled(
            {"dictator": dictator, "recipient": got, "observer": observer},
            welfare=got - given - lost - spent,
            sums={
                "given": given / self.endowment,
                "punishment": spent,
                "dictator_payoff": dictator,
                "recipient_payoff": got,
                "observer_payoff": observer,
            },
            memory={"lost": lost},
        )

    # ---- what theory says ---------------------------------------------------------------------------------------

    @property
    def enforceable(self) -> int:
        """The largest gift up to half the endowment that a threat can enforce: its whole shortfall can be taken back."""
        return min(self.endowment // 2, math.floor(self.effect * self.observer_endowment + 1e-9))

    def benchmarks(self) -> Benchmarks:
        """Return the best gift, the equilibrium without gifts and punishment, and what a threat would enforce."""
        none, every = 0, self.endowment
        best = every if self.rate > 1.0 else none
        norm = self.enforceable

        def plays(gift: int, *, threat: bool = False) -> dict[str, Callable[[Seen], Acts]]:
            def observer(seen: Seen) -> Acts:
                short = to_float(seen["given"] < gift) * to_float(gift - seen["given"])
                points = namespace(short).ceil(short / max(self.effect, 1e-12) - 1e-9)
                return {"spent": to_int(points) if threat else seen["given"] * 0}

            def nobody(seen: Seen) -> Acts:
                return {}

            return {
                "dictator": lambda seen: {"given": seen["given"] * 0 + gift},
                "recipient": nobody,
                "observer": observer,
            }

        return Benchmarks(
            first_best=Level(
                self.repetitions * max(self.rate - 1.0, 0.0) * self.endowment,
                "no punishment; all is given if a point given is worth more than a point, else nothing",
                plays(best),
            ),
            equilibrium=Level(
                0.0,
                f"subgame-perfect: punishment costs and brings nothing, so nothing is given; unique ({SOURCE})",
                plays(none),
            ),
            others={
                "threat": Level(
                    self.repetitions * (self.rate - 1.0) * norm,
                    f"Nash, not subgame-perfect: {norm} is given under the threat to take back the whole shortfall",
                    plays(norm, threat=True),
                )
            },
        )
