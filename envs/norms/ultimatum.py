"""Ultimatum and dictator: one divides a pie, and the other may or may not refuse."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..core import measures, validate
from ..core.arrays import Array, namespace, to_float, to_int
from ..core.fields import Choice, Field, Integer, Role
from ..core.game import Acts, Benchmarks, Level, Measure, Seen, Stage
from ..core.rounds import Record, RoundGame, Settled

TOLERANCE = 1e-9  # of the pie: below it the responder is indifferent


@dataclass(frozen=True)
class Ultimatum(RoundGame):
    """The ultimatum game (Gueth, Schmittberger and Schwarze 1982, doi:10.1016/0167-2681(82)90011-7).

    A proposer offers x of a pie, in whole units; the responder accepts, and they get (pie - x, rate x), or refuses, and they
    get their outside payoffs (o1, o2). Without a veto the offer stands: the dictator game (Kahneman, Knetsch and Thaler 1986;
    Forsythe et al. 1994, doi:10.1006/game.1994.1021). With a rate other than 1 giving has a price (Andreoni and Miller 2002,
    doi:10.1111/1468-0262.00302). Welfare is the sum of payoffs above the outside payoffs.

    Subgame-perfect: the responder accepts what is worth at least o2. If she accepts when indifferent, the least such offer is
    made; if she refuses then, the least offer that is worth more. Where even that leaves the proposer less than o1, it offers
    nothing and is refused.

    Parameters
    ----------
    pie
        What is divided, in coins.
    units
        Equal units into which the pie can be divided.
    veto
        Whether the responder can refuse.
    outside
        What proposer and responder get if the offer is refused, in coins; together at most the pie.
    rate
        Coins that the responder gets for each coin given.
    repetitions
        Rounds of an episode; nothing carries over but what is remembered.
    """

    pie: float = 10.0
    units: int = 10
    veto: bool = True
    outside: tuple[float, float] = (0.0, 0.0)
    rate: float = 1.0
    repetitions: int = 1

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.real("pie", self.pie, 1e-6, 1e6)
        validate.whole("units", self.units, 1, 1_000_000)
        validate.one_of("veto", self.veto, (True, False))  # type: ignore[arg-type]
        given: Any = self.outside
        if not isinstance(given, list | tuple) or len(given) != 2:
            raise ValueError(f"outside: 2 numbers, the proposer's and the responder's, got {given!r}")
        object.__setattr__(self, "outside", tuple(validate.real("outside", v, 0.0, self.pie) for v in given))
        if sum(self.outside) > self.pie * (1.0 + TOLERANCE):
            raise ValueError(f"outside: payoffs that sum to at most the pie of {self.pie:g}, got {self.outside}")
        if not self.veto and any(self.outside):
            raise ValueError(f"outside: (0, 0) without a veto, since nothing can be refused, got {self.outside}")
        validate.real("rate", self.rate, 0.0, 100.0)
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)

    # ---- the game in words and fields ---------------------------------------------------------------------------

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The offer; and the answer, where there is a veto."""
        offer = Stage("offer", "the proposer says what the responder is to get")
        return (offer, Stage("answer", "the responder accepts or refuses")) if self.veto else (offer,)

    @property
    def reports(self) -> tuple[Measure, ...]:  # type: ignore[override]
        """Offers, answers and payoffs."""
        accepted = Measure("accepted", "share of offers accepted", "#accepted / #rounds")
        return (
            Measure("offer", "mean share of the pie that was offered", "sum_t x_t / (pie T)"),
            *((accepted,) if self.veto else ()),
            Measure("proposer_payoff", "the proposer's payoff a round", "pie - x, or o1", "coins"),
            Measure("responder_payoff", "the responder's payoff a round", "rate x, or o2", "coins"),
            Measure("equality", "how evenly a round's payoffs were spread, on average", "1 - Gini of the two payoffs"),
        )

    @property
    def coin(self) -> float:
        """What a unit is worth, in coins."""
        return self.pie / self.units

    @property
    def about(self) -> str:
        """The rules in words, with all numbers."""
        lines = [
            f"In each of {self.repetitions} rounds a proposer divides {self.pie:g} coins between itself and a responder. It "
            f"gives a whole number of units from 0 to {self.units}; a unit is {self.coin:g} coins. What it does not give it keeps."
        ]
        if self.rate != 1.0:
            lines.append(f"For each coin given the responder gets {self.rate:g}.")
        if self.veto:
            first, second = self.outside
            lines.append(
                "The responder sees the offer and accepts or refuses it. If it is accepted, that is how the coins are divided. If "
                f"it is refused, the proposer gets {first:g} and the responder {second:g}."
            )
        else:
            lines.append("The responder decides nothing and takes what is given.")
        return " ".join([*lines, "Your reward is the coins that you get."])

    def cast(self) -> tuple[Role, ...]:
        """The proposer, and the responder, who decides something only where there is a veto."""
        units = Integer(0, self.units)
        what = "the last offer (0 before the first)" if self.veto else "what was given last (0 before the first round)"
        seen: tuple[Field, ...] = (Field("offer", units, what, "units", verifiable=True),)
        answers: tuple[Field, ...] = ()
        if self.veto:
            seen += (Field("answer", Choice(("refused", "accepted", "none")), "the last answer", verifiable=True),)
            answers = (Field("accept", Choice(("refuse", "accept")), "whether you accept the offer", stage="answer"),)
        offer = Field("offer", units, "what you give to the responder", "units", stage="offer")
        return (
            Role("proposer", 1, seen, (offer,), "you divide the coins"),
            Role("responder", 1, seen, answers, "you get what the proposer gives"),
        )

    # ---- the game in arrays -------------------------------------------------------------------------------------

    def recall(self, like: Array) -> Record:
        """Return that nothing has been answered yet."""
        return {"answer": like + 2} if self.veto else {}

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Divide the pie, or do not."""
        given = to_float(acts["proposer"]["offer"]) * self.coin
        xp = namespace(given)
        deal = acts["responder"]["accept"] == 1 if self.veto else given >= 0.0
        mine = xp.where(deal, self.pie - given, self.outside[0])
        theirs = xp.where(deal, self.rate * given, self.outside[1])
        sums = {
            "offer": given / self.pie,
            "accepted": to_float(deal),
            "proposer_payoff": mine,
            "responder_payoff": theirs,
            "equality": measures.equality(xp.stack([mine, theirs], axis=-1)),
        }
        return Settled(
            {"proposer": mine, "responder": theirs},
            welfare=mine + theirs - sum(self.outside),
            sums={measure.name: sums[measure.name] for measure in self.reports},
            memory={"answer": to_int(deal)} if self.veto else {},
        )

    # ---- what theory says ---------------------------------------------------------------------------------------

    def least(self, *, strict: bool = False) -> int | None:
        """Return the fewest units that are worth the responder's outside payoff, or more (strict); None if none are."""
        worth = self.rate * self.coin
        slack = TOLERANCE * self.pie
        if worth <= 0.0:
            return None if strict or self.outside[1] > slack else 0
        exact = self.outside[1] / worth
        found = math.floor(exact + slack / worth) + 1 if strict else max(math.ceil(exact - slack / worth), 0)
        return found if found <= self.units else None

    def _equilibrium(self, *, strict: bool) -> tuple[int, int, bool]:
        """Units offered, fewest units accepted (more than there are if none), and whether there is a deal."""
        if not self.veto:
            return 0, 0, True
        least = self.least(strict=strict)
        deal = least is not None and self.pie - least * self.coin >= self.outside[0] - TOLERANCE * self.pie
        return (least or 0) if deal else 0, self.units + 1 if least is None else least, deal

    def benchmarks(self) -> Benchmarks:
        """Return the best division, the equilibria for either way to break ties, and what no deal leaves."""
        net = self.pie - sum(self.outside)
        best = max((0, self.units), key=lambda k: (self.rate - 1.0) * k)  # the sum of payoffs is linear in the offer

        def plays(offer: int, least: int) -> dict[str, Callable[[Seen], Acts]]:
            def answers(seen: Seen) -> Acts:
                return {"accept": to_int(seen["offer"] >= least)} if self.veto else {}

            return {"proposer": lambda seen: {"offer": seen["offer"] * 0 + offer}, "responder": answers}

        def level(strict: bool, source: str) -> Level:
            offer, least, deal = self._equilibrium(strict=strict)
            worth = net + (self.rate - 1.0) * offer * self.coin if deal else 0.0
            return Level(self.repetitions * worth, source, plays(offer, least))

        first = Level(
            self.repetitions * (net + max(self.rate - 1.0, 0.0) * self.pie),
            "every deal, if a coin given is worth a coin"
            if self.rate == 1.0
            else "the sum of payoffs is linear in the offer",
            plays(best, 0),
        )
        if not self.veto:
            return Benchmarks(first, level(False, "dominant: a dictator who cares for her own coins gives nothing"))
        return Benchmarks(
            first_best=first,
            equilibrium=level(
                False,
                "subgame-perfect: the least offer worth the responder's outside payoff; indifferent, she accepts",
            ),
            baseline=Level(0.0, "no deal: every offer is refused", plays(0, self.units + 1)),
            others={
                "equilibrium_strict": level(
                    True,
                    "subgame-perfect: the least offer worth more than the responder's outside payoff; indifferent, she refuses",
                )
            },
        )


@dataclass(frozen=True)
class Dictator(Ultimatum):
    """The dictator game: an ultimatum that cannot be refused (Forsythe et al. 1994, doi:10.1006/game.1994.1021).

    Parameters are those of ``Ultimatum``; the only difference is that there is no veto unless one is asked for.
    """

    veto: bool = False
