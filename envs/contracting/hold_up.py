"""Hold-up: an investment that no contract protects is made before its fruits are bargained over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..core import validate
from ..core.arrays import Array, namespace, to_float, to_int
from ..core.fields import Choice, Field, Real, Role
from ..core.game import Acts, Benchmarks, Level, Measure, Seen, Stage
from ..core.rounds import Record, RoundGame, Settled

SOURCE = "Grossman and Hart 1986"


@dataclass(frozen=True)
class HoldUp(RoundGame):
    """Specific investment and ownership (Grossman and Hart 1986, doi:10.1086/261404; Hart and Moore 1990,
    doi:10.1086/261729).

    An investment of i, sunk and seen by both but not verifiable, makes the trade of investor and partner worth
    v(i) = scale sqrt(i). Without a deal the investor keeps lambda v(i) by the assets that it owns, the partner nothing.
    Bargaining leaves the investor the share s = lambda + power (1 - lambda) of v, so that it invests
    i* = (scale s / 2)^2 and the surplus is v(i*) - i* = scale^2 (s/2 - s^2/4). The first best is that of s = 1.
    Welfare is what is realised of v, less i.

    Parameters
    ----------
    ownership
        Share of the value that the investor keeps without a deal, lambda: the dial of property rights.
    power
        The investor's weight in bargaining over the rest.
    bargaining
        ``"split"``: the generalised Nash bargain, by rule. ``"ultimatum"``: chance lets the investor propose with
        probability ``power``, else the partner; both say beforehand what they would propose and what they accept.
    scale
        Value of the trade at an investment of 1, in coins.
    max_investment
        Most that can be invested, in coins; the efficient investment scale^2/4 must be possible.
    repetitions
        Rounds of an episode; nothing carries over but what is remembered.
    """

    ownership: float = 0.0
    power: float = 0.5
    bargaining: str = "split"
    scale: float = 2.0
    max_investment: float = 2.0
    repetitions: int = 1

    reports = (
        Measure("investment", "mean investment", "sum_t i_t / T", "coins"),
        Measure("value", "mean value of a trade", "sum_t v(i_t) / T", "coins"),
        Measure("deal", "share of rounds that end in a deal", "#deals / #rounds"),
        Measure("investor_payoff", "the investor's payoff a round", "its part of v(i) - i", "coins"),
        Measure("partner_payoff", "the partner's payoff a round", "its part of v(i)", "coins"),
        Measure(
            "underinvestment",
            "share of the efficient investment that is not made",
            "1 - i / (scale^2 / 4)",
            better="lower",
        ),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.probability("ownership", self.ownership)
        validate.probability("power", self.power)
        validate.one_of("bargaining", self.bargaining, ("split", "ultimatum"))
        validate.real("scale", self.scale, 1e-3, 1e6)
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)
        validate.real("max_investment", self.max_investment, self.efficient, 1e12)

    # ---- the game in words and fields ---------------------------------------------------------------------------

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Investment; and bargaining, where it takes decisions."""
        invest = Stage("invest", "the investor chooses its investment")
        return (invest, Stage("bargain", "both say what they ask and accept")) if self._bargains else (invest,)

    @property
    def luck(self) -> int:  # type: ignore[override]
        """Chance chooses who proposes, where there is bargaining."""
        return int(self._bargains)

    @property
    def _bargains(self) -> bool:
        return self.bargaining == "ultimatum"

    @property
    def about(self) -> str:
        """The rules in words, with all numbers."""
        worth = f"{self.scale:g} times the square root of the investment"
        lines = (
            f"An investor invests from 0 to {self.max_investment:g} coins in a trade with its partner. The money is spent, "
            f"whatever comes of the trade. The trade is worth {worth}, in coins (invested {self.efficient:g}: "
            f"{self.scale**2 / 2:g}). Both see the investment, but no contract could be made on it."
        )
        if not self._bargains:
            share = self.share(self.ownership)
            return (
                f"{lines}\nThen the value is divided by rule: without the partner the investor would keep "
                f"{self.ownership:.4g} of it, and of the rest it gets {self.power:.4g}. So the investor gets {share:.4g} of the "
                f"value and has paid its investment; the partner gets {1 - share:.4g} of the value and decides nothing."
            )
        return (
            f"{lines}\nThen they bargain over the value. Each says which share of it it asks for itself if it is the one to "
            f"propose, and the least share that it accepts if the other proposes. The investor proposes with probability "
            f"{self.power:.4g}, the partner otherwise. There is a deal if what the proposer asks and the least that the other "
            "accepts sum to at most 1: the proposer gets what it asked, the other the rest. Without a deal the investor, which "
            f"owns assets, keeps {self.ownership:.4g} of the value, the partner gets nothing, and the rest is lost. The investor's "
            "reward is its part of the value less the investment, the partner's its part of the value."
        )

    def cast(self) -> tuple[Role, ...]:
        """The investor, and its partner, who decides something only where they bargain."""
        money, share = Real(0.0, self.max_investment), Real(0.0, 1.0)
        seen: tuple[Field, ...] = (Field("investment", money, "the last investment (0 before the first)", "coins"),)
        invests = Field("investment", money, "what you invest; it is spent", "coins", stage="invest")
        bargains: tuple[Field, ...] = ()
        if self._bargains:
            deals = Choice(("no deal", "deal", "none yet"))
            seen += (
                Field("deal", deals, "how the last round's bargaining ended", verifiable=True),
                Field("share", share, "the investor's share of the value in the last round (0 before the first)"),
            )
            bargains = (
                Field("ask", share, "the share of the value that you ask for yourself if you propose", stage="bargain"),
                Field(
                    "least",
                    share,
                    "the least share of the value that you accept if the other proposes",
                    stage="bargain",
                ),
            )
        return (
            Role("investor", 1, seen, (invests, *bargains), "you pay for the investment and share in what it is worth"),
            Role("partner", 1, seen, bargains, "you share in the value, and have not paid for it"),
        )

    # ---- the game in arrays -------------------------------------------------------------------------------------

    def recall(self, like: Array) -> Record:
        """Return that nothing has happened yet."""
        return {"deal": like + 2, "share": to_float(like) * 0.0} if self._bargains else {}

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Divide the value of the investment."""
        investor, partner = acts["investor"], acts["partner"]
        invested = investor["investment"]
        xp = namespace(invested)
        value = self.scale * xp.sqrt(invested)
        if self._bargains:
            first = u[..., 0] < self.power
            deal = xp.where(first, investor["ask"] + partner["least"], partner["ask"] + investor["least"]) <= 1.0
            share = xp.where(deal, xp.where(first, investor["ask"], 1.0 - partner["ask"]), self.ownership)
            kept = xp.where(deal, value * 0.0 + 1.0, self.ownership)
            memory = {"deal": to_int(deal), "share": share}
        else:
            deal = value >= 0.0
            kept = value * 0.0 + 1.0
            share = kept * self.share(self.ownership)
        mine, theirs = share * value - invested, (kept - share) * value
        return Settled(
            {"investor": mine, "partner": theirs},
            welfare=kept * value - invested,
            sums={
                "investment": invested,
                "value": value,
                "deal": to_float(deal),
                "investor_payoff": mine,
                "partner_payoff": theirs,
                "underinvestment": 1.0 - invested / self.efficient,
            },
            memory=memory,
        )

    # ---- what theory says ---------------------------------------------------------------------------------------

    @property
    def efficient(self) -> float:
        """The investment that is worth most, in coins: v'(i) = 1."""
        return self.scale**2 / 4

    def share(self, ownership: float) -> float:
        """Return the share of the value that bargaining leaves an investor with this ownership."""
        return ownership + self.power * (1.0 - ownership)

    def best_investment(self, ownership: float) -> float:
        """Return what an investor with this ownership invests, in coins: s v'(i) = 1."""
        return (self.scale * self.share(ownership) / 2) ** 2

    def surplus(self, ownership: float) -> float:
        """Return the surplus that this ownership leads to, in coins a round."""
        s = self.share(ownership)
        return self.scale**2 * (s / 2 - s**2 / 4)

    def benchmarks(self) -> Benchmarks:
        """Return the first best, the equilibrium at the given ownership, and what is reached without any."""

        def plays(invested: float) -> dict[str, Callable[[Seen], Acts]]:
            def investor(seen: Seen) -> Acts:
                none = seen["investment"] * 0.0
                bargain = {"ask": none + 1.0, "least": none + self.ownership} if self._bargains else {}
                return {"investment": none + invested, **bargain}

            def partner(seen: Seen) -> Acts:
                none = seen["investment"] * 0.0
                return {"ask": none + (1.0 - self.ownership), "least": none} if self._bargains else {}

            return {"investor": investor, "partner": partner}

        return Benchmarks(
            first_best=Level(
                self.repetitions * self.scale**2 / 4,
                "the investment at which a coin more is worth a coin; a deal is made",
                plays(self.efficient),
            ),
            equilibrium=Level(
                self.repetitions * self.surplus(self.ownership),
                f"subgame-perfect: the investor foresees the bargain and invests (scale s / 2)^2 ({SOURCE})",
                plays(self.best_investment(self.ownership)),
            ),
            baseline=Level(
                self.repetitions * self.surplus(0.0),
                f"the investment of an investor that owns nothing ({SOURCE})",
                plays(self.best_investment(0.0)),
            ),
        )
