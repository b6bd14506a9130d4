"""Public goods: what one gives is shared by all - in proportion, from a threshold on, or among those who take part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..core import validate
from ..core.arrays import Array, namespace, to_float, to_int, total
from ..core.fields import Choice, Field, Integer, Real, Role
from ..core.game import Acts, Benchmarks, Level, Measure, Seen, spread
from ..core.rounds import Record, RoundGame, RoundState, Settled

KINDS = ("linear", "threshold", "voluntary")


@dataclass(frozen=True)
class PublicGoods(RoundGame):
    """The public goods game, repeated a known number of times; each of n has an endowment e and contributes c_i of it.

    ``"linear"`` (Isaac and Walker 1988, doi:10.2307/1886648; the defaults are those of Fehr and Gächter 2002,
    doi:10.1038/415137a, whose punishment is ``Sanction(cost=1, fine=3, points=10)``): i gets e - c_i + mpcr sum_j c_j. All
    had better contribute if n mpcr > 1, and each had better not if mpcr < 1.

    ``"threshold"``, a provision point (Palfrey and Rosenthal 1984): i gets e - c_i, and ``benefit`` if sum_j c_j reaches the
    threshold; with ``refund`` contributions are given back if it does not. What exceeds the threshold is lost. That nobody
    contributes is an equilibrium unless one alone had rather provide the good; that the threshold is just reached is one
    where nobody gives more than the benefit, with a refund or without.

    ``"voluntary"`` (Hauert, De Monte, Hofbauer and Sigmund 2002, doi:10.1126/science.1070582; Sigmund, De Silva, Traulsen
    and Hauert 2010, doi:10.1038/nature09203): who stays out gets ``outside``, and so does who is alone in taking part. Of
    S >= 2 who take part, i gets multiplier sum_j c_j / S - c_i or, with ``others_only``, what the others give,
    multiplier sum_{j != i} c_j / (S - 1) - c_i: payoffs are net of the endowment. That all stay out is an equilibrium, and
    none is worse, for each can make sure of ``outside``.

    Welfare is the sum of payoffs. A verifiable field ``kept`` is what a player had and did not give, by which
    ``PoolSanction("kept", limit=0)`` and other rules know who did not contribute.

    Parameters
    ----------
    members
        Number of players, n.
    kind
        ``"linear"``, ``"threshold"`` or ``"voluntary"``.
    endowment
        Most that each can contribute in a round, e, in tokens.
    unit
        Contributions are multiples of this, in tokens; the endowment makes them all or nothing.
    mpcr
        Linear: marginal per capita return, what each gets for a token that anybody contributes.
    threshold
        Threshold: contributions from which the good is provided, in tokens.
    benefit
        Threshold: what the good is worth to each, in tokens.
    refund
        Threshold: whether contributions that miss it are given back.
    multiplier
        Voluntary: by what contributions are multiplied before they are shared, r.
    outside
        Voluntary: payoff of who stays out, in tokens.
    others_only
        Voluntary: whether a contribution is shared among the others who take part only.
    repetitions
        Rounds of an episode.
    """

    members: int = 4
    kind: str = "linear"
    endowment: int = 20
    unit: int = 1
    mpcr: float = 0.4
    threshold: int = 40
    benefit: float = 20.0
    refund: bool = False
    multiplier: float = 3.0
    outside: float = 1.0
    others_only: bool = False
    repetitions: int = 10

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.whole("members", self.members, 2, 100)
        validate.one_of("kind", self.kind, KINDS)
        validate.whole("endowment", self.endowment, 1, 10_000)
        validate.whole("unit", self.unit, 1, self.endowment)
        if self.endowment % self.unit:
            raise ValueError(f"unit: a divisor of the endowment of {self.endowment}, got {self.unit!r}")
        validate.real("mpcr", self.mpcr, 0.0, 1e3)
        validate.real("benefit", self.benefit, 0.0, 1e6)
        validate.real("multiplier", self.multiplier, 0.0, 1e3)
        validate.real("outside", self.outside, 0.0, 1e6)
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)
        if self.kind == "threshold":
            validate.whole("threshold", self.threshold, 1, self.members * self.endowment)
        for name in ("refund", "others_only"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name}: true or false, got {getattr(self, name)!r}")

    # ---- the game in words and fields ---------------------------------------------------------------------------

    @property
    def reports(self) -> tuple[Measure, ...]:  # type: ignore[override]
        """Payoffs and contributions, and whether the good was provided, or how many took part."""
        common = (
            Measure("payoff", "mean payoff a player and round", "sum_it pi_it / (n T)", "tokens"),
            Measure("contributed", "share of the endowments that was contributed", "sum_it c_it / (n e T)"),
            Measure(
                "free_riding",
                "share of players who contributed nothing" + " though they took part" * (self.kind == "voluntary"),
                "#{(i, t): kept_it = e} / (n T)",
                better="lower",
            ),
        )
        if self.kind == "threshold":
            means = "share of rounds in which the good was provided"
            return (*common, Measure("provided", means, "#{t: sum_i c_it >= threshold} / T"))
        if self.kind == "voluntary":
            return (
                *common,
                Measure("took_part", "share of players who took part", "#{(i, t): i takes part in t} / (n T)"),
            )
        return common

    @property
    def _counted(self) -> str:
        return "tokens" if self.unit == 1 else f"times {self.unit} tokens"

    @property
    def about(self) -> str:
        """The rules in words, with all numbers."""
        n, e = self.members, self.endowment
        amounts = f"0 to {e} tokens" + f" (decided as a number of times {self.unit} tokens)" * (self.unit > 1)
        said = f"Each of {self.repetitions} rounds is played by {n} members of a group, who decide all at once.\n"
        after = "After the round all see what each contributed."
        if self.kind == "linear":
            return (
                f"{said}Each has {e} tokens and contributes {amounts} to a common project. You keep what you do not contribute, "
                f"and get {self.mpcr:g} for each token that you or any other member contributes, so that a token contributed "
                f"is worth {n * self.mpcr:.6g} to the group. {after}"
            )
        if self.kind == "threshold":
            lost = "they are given back" if self.refund else "they are lost"
            return (
                f"{said}Each has {e} tokens and contributes {amounts} to a common project, and keeps the rest. If "
                f"the contributions add up to {self.threshold} tokens or more, each member gets {self.benefit:g} tokens besides, "
                f"whatever it contributed, and what is contributed beyond that is lost. If they are less, nobody gets "
                f"anything for them, and {lost}. {after}"
            )
        among = "the other members who take part" if self.others_only else "all who take part, its giver included"
        return (
            f"{said}Each may take part in a common project or stay out. Who stays out gets {self.outside:g}. Who takes part "
            f"contributes {amounts}, at its own cost. Each contribution is multiplied by {self.multiplier:g} and shared "
            f"equally among {among}: your reward is what you get less what you contribute. If only one takes part there is no "
            f"project, and it gets {self.outside:g}, too. {after}"
        )

    def cast(self) -> tuple[Role, ...]:
        """The members."""
        names = tuple(f"member_{i}" for i in range(self.members))
        units = Integer(0, self.endowment // self.unit)
        joining = Choice(("out", "in", "none"))
        seen: tuple[Field, ...] = (
            Field("contributions", units, "what each contributed last", self._counted, each=names, verifiable=True),
            Field(
                "kept",
                Integer(0, self.endowment),
                "what you had last round and did not give",
                "tokens",
                verifiable=True,
            ),
            Field("given", units, "what you contributed last", self._counted, verifiable=True),
            Field("pay", Real(), "your last payoff (0 before the first)", "tokens", verifiable=True),
        )
        contribution = Field("contribution", units, "what you contribute", self._counted)
        acts: tuple[Field, ...] = (contribution,)
        if self.kind == "threshold":
            place = Field("place", Integer(1, self.members), "your place in the list of members")
            space = Choice(("no", "yes", "none"))
            seen += (Field("provided", space, "whether the good was provided last", verifiable=True), place)
        if self.kind == "voluntary":
            seen += (
                Field("parts", joining, "whether each took part last", each=names, verifiable=True),
                Field("part", joining, "whether you took part last", verifiable=True),
            )
            part = Field("take_part", Choice(("stay out", "take part")), "whether you take part")
            acts = (part, Field("contribution", units, "what you contribute if you take part", self._counted))
        return (Role("member", self.members, seen, acts, "you want a high payoff for yourself"),)

    # ---- the game in arrays -------------------------------------------------------------------------------------

    def recall(self, like: Array) -> Record:
        """Return that nothing has happened yet."""
        none = namespace(like).repeat(like[..., None], self.members, axis=-1)
        memory = {"contributions": none, "kept": none, "pay": to_float(none)}
        if self.kind == "threshold":
            memory["provided"] = like + 2
        return memory | ({"parts": none + 2} if self.kind == "voluntary" else {})

    def own(self, state: RoundState) -> dict[str, Seen]:
        """Show members what they themselves gave, kept and got."""
        memory = state.memory
        seen = {"given": memory["contributions"], "kept": memory["kept"], "pay": memory["pay"]}
        if self.kind == "threshold":
            xp = namespace(memory["kept"])
            seen["place"] = xp.cumulative_sum(xp.ones_like(memory["kept"]), axis=-1)
        if self.kind == "voluntary":
            seen["part"] = memory["parts"]
        return {"member": seen}

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Pay for what was contributed."""
        chosen, n = acts["member"], self.members
        units = to_int(chosen["contribution"])
        memory, sums = {}, {}
        if self.kind == "voluntary":
            joins = to_int(chosen["take_part"] == 1)
            size = total(joins)
            there = joins * to_int(size >= 2)[..., None]  # one alone gives nothing
            units, had = units * there, there * self.endowment
            pay = self._shared(units * self.unit, there, size)
            memory["parts"], sums["took_part"] = joins, to_float(size) / n
        else:
            had = units * 0 + self.endowment
            pay, extra = self._public(units * self.unit)
            if extra is not None:
                memory["provided"], sums["provided"] = extra, to_float(extra)
        given = units * self.unit
        kept = had - given
        welfare = total(pay)
        idle = to_int((given == 0) & (had > 0))
        return Settled(
            {"member": pay},
            welfare,
            sums={
                "payoff": welfare / n,
                "contributed": to_float(total(given)) / (n * self.endowment),
                "free_riding": to_float(total(idle)) / n,
                **sums,
            },
            memory={"contributions": units, "kept": kept, "pay": pay, **memory},
        )

    def _public(self, given: Array) -> tuple[Array, Array | None]:
        """Return payoffs, (*batch, n), and whether a good with a threshold is provided, (*batch)."""
        group, kept = total(given), to_float(self.endowment - given)
        if self.kind == "linear":
            return kept + (self.mpcr * to_float(group))[..., None], None
        provided = to_int(group >= self.threshold)
        if self.refund:
            kept = kept + to_float(given * (1 - provided)[..., None])
        return kept + (self.benefit * to_float(provided))[..., None], provided

    def _shared(self, given: Array, there: Array, size: Array) -> Array:
        """Return payoffs, (*batch, n), where some take part."""
        xp, group = namespace(given), spread(total(given), self.members)
        sharing = to_float(xp.clip(size - int(self.others_only), 1, None))[..., None]
        pot = group - given if self.others_only else group
        pay = self.multiplier * to_float(pot) / sharing - to_float(given)
        return xp.where(there == 1, pay, self.outside)

    # ---- what theory says ---------------------------------------------------------------------------------------

    @property
    def needed(self) -> int:
        """Units of contributions from which the good is provided (threshold)."""
        return -(-self.threshold // self.unit)

    @property
    def provision(self) -> float:
        """What providing the good at its threshold adds to welfare in a round (threshold)."""
        return self.members * self.benefit - self.needed * self.unit

    @property
    def zero_stands(self) -> bool:
        """Whether it is an equilibrium that nobody contributes: no one alone had rather provide the good (threshold)."""
        return self.needed * self.unit > self.endowment or self.benefit <= self.needed * self.unit

    @property
    def provision_stands(self) -> bool:
        """Whether it is an equilibrium that the threshold is just reached, each giving its part (threshold)."""
        return -(-self.needed // self.members) * self.unit <= self.benefit

    def benchmarks(self) -> Benchmarks:
        """Return the first best and the worst equilibrium in pure acts of each round; other equilibria beside them."""
        return {"linear": self._linear, "threshold": self._threshold, "voluntary": self._voluntary}[self.kind]()

    def _level(self, payoffs: float, source: str, units: int, part: int = 1) -> Level:
        """Return a level of some welfare a round, at which members give so many units together, as evenly as can be."""

        def play(seen: Seen) -> Acts:
            none = to_int(seen["given"]) * 0
            acts = {"contribution": none + units // self.members}
            if units % self.members:
                acts["contribution"] = acts["contribution"] + to_int(seen["place"] <= units % self.members)
            return acts | ({"take_part": none + part} if self.kind == "voluntary" else {})

        plays: Mapping[str, Callable[[Seen], Acts]] = {"member": play}
        return Level(float(self.repetitions * payoffs), source, plays)

    def _linear(self) -> Benchmarks:
        n, e, most = self.members, self.endowment, self.endowment // self.unit * self.members
        none = self._level(n * e, f"nobody contributes: a token is worth {self.mpcr:g} to who gives it", 0)
        idle = self._level(n * e, f"nobody contributes: a token is worth {n * self.mpcr:g} to the group", 0)
        paid = n * e * n * self.mpcr
        whole = self._level(paid, f"all is contributed: a token is worth {n * self.mpcr:g} to the group", most)
        dominant = self._level(paid, f"all is contributed: a token is worth {self.mpcr:g} to who gives it", most)
        return Benchmarks(whole if n * self.mpcr > 1 else idle, dominant if self.mpcr > 1 else none)

    def _threshold(self) -> Benchmarks:
        base = self.members * self.endowment
        none = self._level(base, "nobody contributes, and no one alone had rather provide the good", 0)
        stable = self._level(
            base + self.provision, "the threshold is just reached, and each gives no more than the benefit", self.needed
        )
        best = self._level(base, "nobody contributes: the good is worth no more to all than it costs", 0)
        if self.provision > 0:
            worth = "the threshold is just reached: the benefit of all exceeds it"
            best = self._level(base + self.provision, worth, self.needed)
        if not self.zero_stands:
            return Benchmarks(best, stable)
        return Benchmarks(best, none, others={"provision": stable} if self.provision_stands else {})

    def _voluntary(self) -> Benchmarks:
        n, e, r = self.members, self.endowment, self.multiplier
        out = self._level(
            n * self.outside, "all stay out, and one alone can do no better; each can make sure of that", 0, 0
        )
        most, gain = e // self.unit * n, n * (r - 1) * e
        if gain <= n * self.outside:
            best = self._level(n * self.outside, "all stay out: a contribution is not worth it", 0, 0)
            return Benchmarks(best, out)
        best = self._level(gain, "all take part and contribute all: (r - 1) e each exceeds the outside payoff", most)
        stable = self._level(gain, "all contribute all: a token returns r / n, which is no less than 1", most)
        return Benchmarks(best, out, others={"contribution": stable} if r >= n and not self.others_only else {})
