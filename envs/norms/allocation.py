"""Allocation: indivisible goods, and perhaps some money, are divided among people whose values are known."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core import validate
from ..core.arrays import Array, constant, device_of, full, namespace, to_float, to_int, total
from ..core.chance import whole
from ..core.fields import Choice, Field, Integer, Real, Role
from ..core.game import Acts, Benchmarks, Level, Measure, Seen, Stage, shared
from ..core.rounds import Record, RoundGame, RoundState, Settled

POINTS = 100  # what all goods together are worth to a person, where values are drawn
TOLERANCE = 1e-9  # in points: a gap below it is none
MOST = 10_000  # allocations that are compared
NOBODY = "nobody"

GAPS = {
    "equitable": "equity_gap",
    "envy_free": "envy",
    "ef1": "envy_but_one",
    "maximin": "maximin_gap",
    "pareto": "pareto_gap",
    "utilitarian": "loss",
}
"""Properties of an allocation, and the distance from each, which is 0 where it holds."""


def worth(values: Array, owner: Array, money: Array) -> tuple[Array, Array]:
    """Return what everyone's bundle is worth to everyone, and the best good in it.

    Parameters
    ----------
    values
        Value of each good to each person, (*batch, people, goods).
    owner
        Who gets each good, integer (*batch, goods).
    money
        What each gets in money, (*batch, people).

    Returns
    -------
    tuple
        Worth to person i of what person j gets, and of the good in it that i likes best (0 where there is none), both
        (*batch, i, j).
    """
    xp, people = namespace(values), values.shape[-2]
    owns = owner[..., None, :] == xp.arange(people, device=device_of(owner))[:, None]
    goods = values[..., :, None, :] * to_float(owns)[..., None, :, :]
    return total(goods) + money[..., None, :], xp.max(goods, axis=-1)


def everything(values: Array, owners: Array, money: Array) -> list[Array]:
    """Return what each person gets in every allocation, a list of (*batch, allocations).

    ``owners`` (allocations, goods) and ``money`` (allocations, people) are the table of all of them.
    """
    found = []
    for i in range(values.shape[-2]):
        mine = [values[..., i, g, None] * to_float(owners[..., g] == i) for g in range(values.shape[-1])]
        found.append(functools.reduce(lambda a, b: a + b, mine) + money[..., i])
    return found


def gaps(values: Array, owner: Array, money: Array, owners: Array, moneys: Array, discard: bool = False) -> Record:
    """Return how far an allocation is from each property in ``GAPS``, in points, {property: (*batch)}.

    With u_i what person i gets, by its own values:

    - equitable: as equal as can be; max u - min u less the least there is (Herreiner and Puppe 2010). Where goods may be
      given to nobody, to leave somebody with nothing that need not have nothing counts as if one person got everything
      (to throw all away would otherwise be as equal as can be);
    - envy_free: nobody prefers what another gets; max_ij u_i(bundle_j) - u_i(bundle_i) (Foley 1967);
    - ef1: nobody does once some good is taken out of the other's bundle (Lipton et al. 2004; Budish 2011);
    - maximin: the worst-off gets as much as can be; the most there is less min u (Rawls 1971);
    - pareto: no allocation is better for some and worse for none; the most that such a one would add to sum u;
    - utilitarian: sum u is as high as can be; the most there is less sum u.

    Parameters
    ----------
    values, owner, money
        As for ``worth``.
    owners, moneys
        All allocations, as for ``everything``.
    discard
        Whether goods may be given to nobody, whose index is the number of people.
    """
    cross, best = worth(values, owner, money)
    xp, people = namespace(cross), values.shape[-2]
    mine = xp.stack([cross[..., i, i] for i in range(people)], axis=-1)
    others = everything(values, owners, moneys)
    least, most = functools.reduce(xp.minimum, others), functools.reduce(xp.maximum, others)
    sums = functools.reduce(lambda a, b: a + b, others)
    low, high = xp.min(mine, axis=-1), xp.max(mine, axis=-1)
    apart, unequal = most - least, high - low
    if discard:
        all_to_one, possible = xp.max(most, axis=-1), xp.max(least, axis=-1) > TOLERANCE
        apart = xp.where(least > TOLERANCE, apart, all_to_one[..., None])
        unequal = xp.where(possible & (low <= TOLERANCE), all_to_one, unequal)
        apart = xp.where(possible[..., None], apart, most - least)
    harmless = others[0] >= mine[..., :1] - TOLERANCE
    for i in range(1, people):
        harmless = harmless & (others[i] >= mine[..., i : i + 1] - TOLERANCE)
    together = total(mine)
    envy = cross - mine[..., :, None]
    return {
        "equitable": unequal - xp.min(apart, axis=-1),
        "envy_free": xp.max(xp.max(envy, axis=-1), axis=-1),
        "ef1": xp.clip(xp.max(xp.max(envy - best, axis=-1), axis=-1), 0.0, None),
        "maximin": xp.max(least, axis=-1) - low,
        "pareto": xp.max(xp.where(harmless, sums, together[..., None]), axis=-1) - together,
        "utilitarian": xp.max(sums, axis=-1) - together,
    }


@dataclass(frozen=True)
class Allocation(RoundGame):
    """Who gets what: fair division of indivisible goods (Herreiner and Puppe 2009, doi:10.1007/s11238-007-9069-8, and 2010,
    doi:10.1016/j.jebo.2010.06.002; Hosseini and Khanna 2025, arXiv:2502.00313, who put such questions to language models).

    Each person has a value for each good, which all know; what a person gets is worth the sum of its values, and of its
    money. A spectator without a stake divides, or one of the people proposes and the others must all accept, or nobody
    gets anything. What is fair is contested: the allocation is compared with all others, and it is reported whether it is
    equitable, envy-free, maximin, Pareto-efficient, utilitarian, and how far it is from each (``gaps``). Welfare is the
    sum of what the people get.

    Where values are not given they are drawn anew each round: 100 points are cut at ``goods - 1`` whole places, each from
    0 to 100 and equally likely, and the pieces are the goods' values.

    Parameters
    ----------
    people
        Number of people among whom is divided, n.
    goods
        Number of goods, m.
    decider
        ``"spectator"``, or ``"unanimity"``: the first of the people proposes, and each of the others may refuse.
    coins
        Coins to divide as well.
    coin
        What a coin is worth to anybody, in points.
    values
        For each person the value of each good, in points; empty for values that are drawn.
    repetitions
        Rounds of an episode; nothing carries over but what is remembered.
    discard
        Whether a good may be given to nobody, as in the experiments of Herreiner and Puppe.
    """

    people: int = 3
    goods: int = 4
    decider: str = "spectator"
    coins: int = 0
    coin: float = 10.0
    values: tuple[tuple[float, ...], ...] = ()
    repetitions: int = 1
    discard: bool = False

    reports = (
        Measure(
            "equitable", "share of allocations as equal as can be", "max u - min u is least", source="Herreiner and Puppe 2010"
        ),
        Measure("envy_free", "share of allocations that leave no envy", "u_i(own) >= u_i(j's)", source="Foley 1967"),
        Measure("ef1", "share that leave no envy once some good is left out", "u_i(own) >= u_i(j's but one)"),
        Measure("maximin", "share in which the worst-off gets as much as can be", "min u is highest", source="Rawls 1971"),
        Measure("pareto", "share that cannot be improved without harm", "no allocation is better for some, worse for none"),
        Measure("utilitarian", "share with the highest sum of values", "sum u is highest"),
        Measure("equity_gap", "inequality beyond the least there is", "max u - min u - least", "points", better="lower"),
        Measure("envy", "strongest envy", "max u_i(j's) - u_i(own)", "points", better="lower"),
        Measure("envy_but_one", "strongest envy, a good left out", "max u_i(j's but one) - u_i(own)", "points", better="lower"),
        Measure("maximin_gap", "what the worst-off lacks", "most min u - min u", "points", better="lower"),
        Measure("pareto_gap", "what could be added without harm", "most sum u, none worse off, - sum u", "points", better="lower"),
        Measure("loss", "what the highest sum of values is missed by", "most sum u - sum u", "points", better="lower"),
        Measure("least", "what the worst-off was allotted", "min u", "points"),
        Measure("accepted", "share of allocations that came about", "#accepted / #rounds"),
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.whole("people", self.people, 2, 3)
        validate.whole("goods", self.goods, 2, 6)
        validate.one_of("decider", self.decider, ("spectator", "unanimity"))
        validate.whole("coins", self.coins, 0, 100)
        validate.real("coin", self.coin, 1e-6, 1e6)
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)
        if self.values:
            object.__setattr__(
                self, "values", validate.matrix("values", self.values, rows=self.people, columns=self.goods)
            )
            for i, row in enumerate(self.values):
                for value in row:
                    validate.real(f"values[{i}]", value, 0.0, 1e6)
        elif not isinstance(self.values, list | tuple):
            raise ValueError(f"values: {self.people} rows of {self.goods} numbers, or empty, got {self.values!r}")
        else:
            object.__setattr__(self, "values", ())
        count = (self.people + self.discard) ** self.goods * math.comb(self.coins + self.people - 1, self.people - 1)
        if count > MOST:
            raise ValueError(
                f"goods, coins: at most {MOST} allocations, got {count} of {self.goods} goods and {self.coins} coins among "
                f"{self.people}; take fewer coins"
            )

    # ---- the game in words and fields ---------------------------------------------------------------------------

    @property
    def stages(self) -> tuple[Stage, ...]:
        """A proposal, and where all must agree their answers."""
        propose = Stage("propose", "it is proposed who gets what")
        return (propose,) if self.decider == "spectator" else (propose, Stage("answer", "the others accept or refuse"))

    @property
    def about(self) -> str:
        """The rules in words."""
        money = (
            f" There are also {self.coins} coins, each worth {self.coin:g} points to anybody: say how many each person gets, but "
            f"for {self.names[-1]}, who gets what is left; once all are given out, those named later get none."
            if self.coins
            else ""
        )
        drawn = (
            "The values are those you see, the same every round."
            if self.values
            else f"The values are drawn anew every round, at random, so that all goods together are worth {POINTS} points to each."
        )
        means = (
            "A spectator, who has no stake, decides who gets what, and so it is done."
            if self.decider == "spectator"
            else f"{self.names[0]} proposes who gets what. Then each of the others accepts or refuses. If all accept, so it is "
            "done; if anyone refuses, nobody gets anything."
        )
        left = "may be given to nobody" if self.discard else "is given to somebody"
        return (
            f"{self.goods} goods ({', '.join(self.labels)}) are divided among {self.people} people ({', '.join(self.names)}). A "
            f"good cannot be cut, and each {left}. Every person has a value for every good, in points, and all "
            f"values are known to all. What a person gets is worth to it the sum of its own values of it. {drawn}{money}\n{means} "
            "Each person's reward is what it gets, in points by its own values."
        )

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the people."""
        if self.decider == "spectator":
            return tuple(f"person_{i}" for i in range(self.people))
        return ("proposer_0", *(f"responder_{i}" for i in range(self.people - 1)))

    @functools.cached_property
    def labels(self) -> tuple[str, ...]:
        """Names of the goods."""
        return tuple(f"good_{g + 1}" for g in range(self.goods))

    def cast(self) -> tuple[Role, ...]:
        """A spectator and people, or a proposer and responders."""
        top = max([float(POINTS), *(value for row in self.values for value in row)])
        whose, points = (
            Choice((*self.names, *((NOBODY,) if self.discard else ()))),
            Real(0.0, max([float(POINTS), *map(sum, self.values)]) + self.money),
        )
        sees = [
            Field(f"value_{i}", Real(0.0, top), f"what each good is worth to {name}", "points", self.labels, verifiable=True)
            for i, name in enumerate(self.names)
        ]  # fmt: skip
        sees.append(
            Field(
                "to",
                whose,
                f"who gets each good by the last proposal; {self.names[0]} before the first",
                each=self.labels,
                verifiable=True,
            )
        )
        acts = [Field("to", whose, "who gets each good", each=self.labels, stage=self.stages[0].name)]
        if self.coins:
            some = Integer(0, self.coins)
            sees.append(
                Field(
                    "give",
                    some,
                    "coins by the last proposal; 0 before the first",
                    each=self.names[:-1],
                    verifiable=True,
                )
            )
            acts.append(
                Field("give", some, "coins for each person but the last", each=self.names[:-1], stage="propose")
            )
        sees.append(
            Field(
                "points", points, "what the last proposal would give each at these values", "points", self.names, True
            )
        )
        if self.decider == "spectator":
            return (
                Role("spectator", 1, tuple(sees), tuple(acts), "you have no stake in what you decide"),
                Role("person", self.people, tuple(sees), (), "you get what the spectator gives you"),
            )
        accept = Field("accept", Choice(("refuse", "accept")), "whether you accept the proposal", stage="answer")
        return (
            Role("proposer", 1, tuple(sees), tuple(acts), "you are one of the people, and propose who gets what"),
            Role("responder", self.people - 1, tuple(sees), (accept,), "you are one of the people, and may refuse"),
        )

    # ---- the game in arrays -------------------------------------------------------------------------------------

    @property
    def money(self) -> float:
        """What all coins are worth, in points."""
        return self.coins * self.coin

    @property
    def nature(self) -> int:  # type: ignore[override]
        """Places at which the points are cut, where values are drawn."""
        return 0 if self.values else self.people * (self.goods - 1)

    @functools.cached_property
    def table(self) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[float, ...], ...]]:
        """All allocations: who gets each good, and each person's money."""
        splits = [s for s in itertools.product(range(self.coins + 1), repeat=self.people - 1) if sum(s) <= self.coins]
        owners, moneys = [], []
        for owner in itertools.product(range(self.people + self.discard), repeat=self.goods):
            for s in splits:
                owners.append(owner)
                moneys.append(tuple(self.coin * c for c in (*s, self.coins - sum(s))))
        return tuple(owners), tuple(moneys)

    def open(self, u: Array) -> Record:
        """Draw everyone's values, or return those that are given."""
        if self.values:
            zero = full(u, (*u.shape[:-1], self.goods), 0.0)
            return {f"value_{i}": zero + constant(zero, row) for i, row in enumerate(self.values)}
        xp, cuts, drawn = namespace(u), self.goods - 1, {}
        zero = full(u, (*u.shape[:-1], 1), 0, integer=True)
        for i in range(self.people):
            at = xp.sort(whole(u[..., i * cuts : (i + 1) * cuts], 0, POINTS), axis=-1)
            drawn[f"value_{i}"] = to_float(xp.concat([at, zero + POINTS], axis=-1) - xp.concat([zero, at], axis=-1))
        return drawn

    def everyones(self, nature: Record) -> Array:
        """Return everyone's values, (*batch, people, goods)."""
        return namespace(nature["value_0"]).stack([nature[f"value_{i}"] for i in range(self.people)], axis=-2)

    def paid(self, acts: Acts) -> Array:
        """Return the money (*batch, people) that a proposal gives; what it gives beyond the coins there are is void."""
        if not self.coins:
            return full(acts["to"], (*acts["to"].shape[:-1], self.people), 0.0)
        xp, give = namespace(acts["give"]), to_int(acts["give"])
        given = xp.minimum(xp.cumulative_sum(give, axis=-1), give * 0 + self.coins)
        zero = given[..., :1] * 0
        coins = xp.concat([given, zero + self.coins], axis=-1) - xp.concat([zero, given], axis=-1)
        return to_float(coins) * self.coin

    def own(self, state: RoundState) -> dict[str, Seen]:
        """Show everyone what the proposal would give each."""
        decider = self.roles[0].name
        proposal = {name: values[..., 0, :] for name, values in state.acts[decider].items()}
        cross, _ = worth(self.everyones(state.nature), proposal["to"], self.paid(proposal))
        points = namespace(cross).stack([cross[..., i, i] for i in range(self.people)], axis=-1)
        return {role.name: {"points": shared(points, role.count)} for role in self.roles}

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Give everyone what is allotted, and compare the allocation with all others."""
        proposal, values = acts[self.roles[0].name], self.everyones(nature)
        owner, money = to_int(proposal["to"]), self.paid(proposal)
        xp, (owners, moneys) = namespace(values), self.table
        found = gaps(values, owner, money, constant(values, owners), constant(values, moneys), self.discard)
        cross, _ = worth(values, owner, money)
        mine = xp.stack([cross[..., i, i] for i in range(self.people)], axis=-1)
        agreed = mine[..., 0] * 0.0 + 1.0
        if self.decider == "unanimity":
            accept = acts["responder"]["accept"]
            agreed = to_float(accept if self.people == 2 else total(accept) == self.people - 1)
        got = mine * agreed[..., None]
        if self.decider == "spectator":
            rewards = {"spectator": agreed * 0.0, "person": got}
        else:
            rewards = {"proposer": got[..., 0], "responder": got[..., 1] if self.people == 2 else got[..., 1:]}
        sums = {name: to_float(gap <= TOLERANCE) for name, gap in found.items()}
        sums |= {GAPS[name]: gap for name, gap in found.items()}
        return Settled(rewards, total(got), {**sums, "least": xp.min(mine, axis=-1), "accepted": agreed})

    # ---- what theory says ---------------------------------------------------------------------------------------

    def classify(self, values: Any) -> dict[str, np.ndarray[Any, Any]]:
        """Return how far every allocation of ``table`` is from each property, by values (people, goods): {property: gaps}."""
        owners, moneys = (np.asarray(part) for part in self.table)
        each = np.broadcast_to(np.asarray(values, dtype=float), (len(owners), self.people, self.goods))
        return gaps(each, owners, moneys, owners, moneys, self.discard)

    @functools.cached_property
    def best(self) -> float:
        """Expected highest sum of values in a round, in points: each good goes to who values it most."""
        if self.values:
            return float(np.asarray(self.values).max(axis=0).sum()) + self.money
        return sum(_highest(self.people, self.goods - 1, place) for place in range(self.goods)) + self.money

    def benchmarks(self) -> Benchmarks:
        """Return the utilitarian optimum, and what all to one reaches; where values are given also what each property costs."""
        decider, person = (role.name for role in self.roles)

        def efficient(seen: Seen) -> Acts:
            xp = namespace(seen["value_0"])
            to = xp.argmax(xp.stack([seen[f"value_{i}"] for i in range(self.people)], axis=-1), axis=-1)
            return {"to": to, **({"give": seen["give"] * 0} if self.coins else {})}

        def grab(seen: Seen) -> Acts:
            return {"to": seen["to"] * 0, **({"give": seen["give"] * 0 + self.coins} if self.coins else {})}

        def agree(seen: Seen) -> Acts:
            return {} if self.decider == "spectator" else {"accept": to_int(seen["value_0"][..., 0] * 0.0) + 1}

        def proposed(row: int) -> Any:
            owner, money = self.table[0][row], self.table[1][row]
            coins = tuple(round(part / self.coin) for part in money[:-1])

            def play(seen: Seen) -> Acts:
                acts = {"to": seen["to"] * 0 + constant(seen["to"], owner)}
                return acts | ({"give": seen["give"] * 0 + constant(seen["give"], coins)} if self.coins else {})

            return play

        others = {}
        if self.values:
            found = self.classify(self.values)
            sums = self.best - found["utilitarian"]
            for name in GAPS:
                held = np.flatnonzero(found[name] <= TOLERANCE)
                if len(held) and name not in ("utilitarian", "pareto"):
                    row = int(held[sums[held].argmax()])
                    others[name] = Level(
                        self.repetitions * float(sums[row]),
                        f"the highest sum among allocations that are {name} (Bertsimas, Farias and Trichakis 2011)",
                        {decider: proposed(row), person: agree},
                    )
        return Benchmarks(
            first_best=Level(
                self.repetitions * self.best,
                "each good to who values it most",
                {decider: efficient, person: agree},
            ),
            equilibrium=Level(
                self.repetitions * ((sum(self.values[0]) if self.values else POINTS) + self.money),
                "the spectator has nothing at stake, so that every allocation is one: all to the first person, which values "
                "that sum alike are worth as much as lots"
                if self.decider == "spectator"
                else "subgame-perfect: responders accept anything, and the proposer takes all",
                {decider: grab, person: agree},
            ),
            others=others,
        )


def _highest(people: int, cuts: int, place: int) -> float:
    """Return the expected highest, among people, of the piece at a place when ``POINTS`` are cut at random places.

    The chance that a piece is d or longer follows from the joint law of two neighbouring order statistics.
    """
    below = np.arange(POINTS + 2) / (POINTS + 1)  # the chance of a cut below 0, 1, ...
    x, mean = np.arange(POINTS + 1), 0.0
    for d in range(1, POINTS + 1):
        if place == 0:
            longer = (1.0 - below[d]) ** cuts
        else:
            start = math.comb(cuts, place) * (below[x + 1] ** place - below[x] ** place)  # the cut before is at x
            rest = np.where(x + d <= POINTS, (1.0 - below[np.minimum(x + d, POINTS + 1)]) ** (cuts - place), 0.0)
            longer = float((start * rest).sum())
        mean += 1.0 - (1.0 - longer) ** people
    return float(mean)
