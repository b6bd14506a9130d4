"""Alternating offers over a pie that melts: Rubinstein, with a last period."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..core import validate
from ..core.arrays import Array, full, look_up, namespace, to_float, to_int
from ..core.fields import Choice, Field, Integer, Real, Role
from ..core.game import Acts, Benchmarks, Game, Level, Measure, Outcome, Seen, Stage, stage_field


def _coins(number: float) -> str:
    """Return a number of coins in words."""
    return f"{number:g} coin{'' if number == 1 else 's'}"


class BargainState(NamedTuple):
    """Answers so far, which stage is next, and the standing offer, in coins; whether and when (answers before it) there was
    a deal, and what each got by it; all (*batch).
    """

    period: Array
    stage: Array
    offer: Array
    deal: Array
    delay: Array
    first: Array
    second: Array


@dataclass(frozen=True)
class Bargain(Game):
    """Alternating offers (Rubinstein 1982, doi:10.2307/1912531; with a last period, Stahl 1972, Bargaining Theory).

    Two divide a pie of 1 (times ``pie``). In odd periods the first proposes, in even ones the second; the other accepts, and
    the game ends, or refuses, and a period passes. Party i counts a coin after t periods as delta_i^t coins. If the last
    offer is refused both get nothing. By backward induction the proposer of the last period takes all, and a proposer
    gives what is worth as much to the other as proposing next: its share is v_t = 1 - delta_other v_{t+1}, at once. As
    periods grow in number v_1 tends to Rubinstein's (1 - delta_2) / (1 - delta_1 delta_2). Welfare is the sum of both
    payoffs: what is at stake is delay.

    Parameters
    ----------
    discounts
        Discount factors of the first and the second, delta_1 and delta_2, a period.
    periods
        Offers that can be made, one a period.
    pie
        What is divided, in coins.
    """

    discounts: tuple[float, float] = (0.9, 0.9)
    periods: int = 10
    pie: float = 1.0

    random_start = False
    reports = (
        Measure("deal", "whether there was a deal", "1 or 0"),
        Measure("delay", "offers refused", "number of refusals", better="lower"),
        Measure("first_payoff", "what the first got, discounted", "delta_1^t x_1", "coins"),
        Measure("second_payoff", "what the second got, discounted", "delta_2^t x_2", "coins"),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        given: Any = self.discounts
        if not isinstance(given, list | tuple) or len(given) != 2:
            raise ValueError(f"discounts: 2 numbers, those of the first and of the second, got {given!r}")
        object.__setattr__(self, "discounts", tuple(validate.probability("discounts", d) for d in given))
        validate.whole("periods", self.periods, 1, 10_000)
        validate.real("pie", self.pie, 1e-3, 1e6)

    @property
    def about(self) -> str:
        """The rules in words, with all numbers."""
        one, two = self.discounts
        return (
            f"Two parties, the first and the second, divide {_coins(self.pie)}. The first makes an offer: how many coins the "
            "second is to get; the first is to keep the rest. The second accepts, and the game ends with that division, or "
            "refuses. Then the second makes an offer to the first, and so on in turn. At most "
            f"{self.periods} offer{'s are' if self.periods > 1 else ' is'} made; if the last is refused both get nothing.\n"
            f"Delay costs: with every refusal before the deal a coin loses worth. Your reward is the coins that you get, times "
            f"{one:g} for every refusal if you are the first, times {two:g} for every refusal if you are the second."
        )

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Two periods' stages; the last two are left out where there is one period."""
        found = (
            Stage("first_offers", "the first offers coins to the second"),
            Stage("second_answers", "the second accepts or refuses"),
            Stage("second_offers", "the second offers coins to the first"),
            Stage("first_answers", "the first accepts or refuses"),
        )
        return found if self.periods > 1 else found[:2]

    @property
    def rounds(self) -> int:
        """Periods."""
        return self.periods

    @property
    def horizon(self) -> int:
        """An offer and an answer a period."""
        return 2 * self.periods

    @functools.cached_property
    def roles(self) -> tuple[Role, ...]:
        """The two parties."""
        coins = Real(0.0, float(self.pie))
        seen = (
            stage_field(self.stages),
            Field("round", Integer(1, self.periods), "this period's number"),
            Field(
                "offer", coins, "the coins last offered to who answers; 0 before the first", "coins", verifiable=True
            ),
        )
        roles = []
        for name, other in (("first", "second"), ("second", "first")):
            acts: tuple[Field, ...] = ()
            if name == "first" or self.periods > 1:
                acts += (Field("offer", coins, f"what the {other} is to get", "coins", stage=f"{name}_offers"),)
            if name == "second" or self.periods > 1:
                acts += (Field("accept", Choice(("refuse", "accept")), "whether you accept", stage=f"{name}_answers"),)
            roles.append(Role(name, 1, seen, acts, "you want many coins, soon"))
        return tuple(roles)

    def start(self, u: Array) -> BargainState:
        """Let the first propose."""
        batch = tuple(u.shape[:-1])
        whole_, real = full(u, batch, 0, integer=True), full(u, batch, 0.0)
        return BargainState(whole_, whole_, real, real, real, real, real)

    def stage(self, state: BargainState) -> Array:
        """Return the stage that is next."""
        return state.stage

    def round(self, state: BargainState) -> Array:
        """Return the offers answered."""
        return state.period

    def view(self, state: BargainState) -> dict[str, Seen]:
        """Show both the standing offer."""
        number = state.period + (state.period < self.periods)
        seen = {"stage": state.stage[..., None], "round": number[..., None], "offer": state.offer[..., None]}
        return {"first": dict(seen), "second": dict(seen)}

    def uncertain(self, state: BargainState, acts: Mapping[str, Acts]) -> bool:
        """Return False: nothing is left to chance."""
        return False

    @functools.cached_property
    def _worth(self) -> tuple[tuple[float, float], ...]:
        """What a coin is worth to each after so many refusals."""
        one, two = self.discounts
        return tuple((one**t, two**t) for t in range(self.periods + 1))

    def step(self, state: BargainState, acts: Mapping[str, Acts], u: Array) -> Outcome:
        """Take down an offer, or an answer."""
        xp, stage = namespace(state.offer), state.stage
        twice = self.periods > 1
        theirs = acts["second"]["offer"][..., 0] if twice else state.offer
        offer = xp.where(stage == 0, acts["first"]["offer"][..., 0], xp.where(stage == 2, theirs, state.offer))
        accepts = (stage == 1) & (acts["second"]["accept"][..., 0] == 1)
        if twice:
            accepts = accepts | ((stage == 3) & (acts["first"]["accept"][..., 0] == 1))
        answer = (stage == 1) | (stage == 3)
        worth = look_up(offer, self._worth, state.period)
        deal, rest = to_float(accepts), self.pie - offer
        first = xp.where(stage == 1, rest, offer) * worth[..., 0] * deal
        second = xp.where(stage == 1, offer, rest) * worth[..., 1] * deal
        period = state.period + to_int(answer)
        after = BargainState(
            period=period,
            stage=(stage + 1) % len(self.stages),
            offer=offer,
            deal=state.deal + deal,
            delay=state.delay + to_float(answer) - deal,
            first=state.first + first,
            second=state.second + second,
        )
        rewards = {"first": first[..., None], "second": second[..., None]}
        return Outcome(after, rewards, accepts | (period >= self.periods), first + second)

    def measures(self, state: BargainState) -> dict[str, Array]:
        """Return whether and when there was a deal, and what both got."""
        return {"deal": state.deal, "delay": state.delay, "first_payoff": state.first, "second_payoff": state.second}

    # ---- what theory says ---------------------------------------------------------------------------------------

    @functools.cached_property
    def shares(self) -> tuple[float, ...]:
        """The share v_t of the proposer of each period, by backward induction, and 0 after the last."""
        found = [0.0]
        for t in reversed(range(self.periods)):
            found.append(1.0 - self.discounts[(t + 1) % 2] * found[-1])
        return tuple(reversed(found))

    @property
    def limit(self) -> float:
        """The first's share where there is no last period (Rubinstein 1982)."""
        one, two = self.discounts
        if one * two == 1.0:
            raise ValueError(
                "discounts: the limit needs one below 1, got (1, 1): who does not mind waiting has no hurry"
            )
        return (1.0 - two) / (1.0 - one * two)

    @functools.cached_property
    def _gives(self) -> tuple[float, ...]:
        """What who answers in each period is worth by refusing, in coins."""
        return tuple(self.pie * (1.0 - share) for share in self.shares[:-1])

    def benchmarks(self) -> Benchmarks:
        """Return agreement at once, which is also the equilibrium, and no agreement."""

        def offers(seen: Seen) -> Acts:
            least = look_up(seen["offer"], self._gives, seen["round"] - 1)
            return {"offer": least, "accept": to_int(seen["offer"] >= least)}

        def refuses(seen: Seen) -> Acts:
            return {"offer": seen["offer"] * 0.0, "accept": seen["round"] * 0}

        def plays(how: Callable[[Seen], Acts]) -> dict[str, Callable[[Seen], Acts]]:
            known = {role.name: {field.name for field in role.acts} for role in self.roles}
            return {
                name: lambda seen, kept=kept: {k: v for k, v in how(seen).items() if k in kept}  # type: ignore[misc]
                for name, kept in known.items()
            }

        share = self.shares[0]
        return Benchmarks(
            first_best=Level(float(self.pie), "a deal at once, whoever gets what", plays(offers)),
            equilibrium=Level(
                float(self.pie),
                f"subgame-perfect, by backward induction from the last period: at once, {share:.6g} of the pie to the first",
                plays(offers),
            ),
            baseline=Level(0.0, "no deal", plays(refuses)),
        )
