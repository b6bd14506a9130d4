"""A commons: one growth law for a renewable resource that its users can exhaust, in the settings of GovSim and others."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from ..core import measures, validate
from ..core.arrays import Array, absent, constant, full, look_up, namespace, to_float, to_int, total
from ..core.chance import share_at_random
from ..core.fields import Choice, Field, Integer, Role
from ..core.game import Acts, Benchmarks, Game, Level, Measure, Outcome, Seen, shared, spread


class Setting(NamedTuple):
    """The words of a commons; {n}, {K} and {c} are the number of users, the capacity and the collapse threshold.

    ``takes`` are the meanings of the fields catches, caught, total and harvest, ``made`` is their unit, and ``measured``
    are the words of the measures (``measures.commons``).
    """

    user: str
    shares: str
    decides: str
    rest: str
    unit: str
    collapse: str
    scarce: str
    paid: str
    means: str
    stock: str
    takes: tuple[str, str, str, str]
    made: str
    measured: tuple[str, str, str, str, str]


SETTINGS = {
    "fishery": Setting(
        user="fisher",
        shares="{n} fishers share a lake that holds at most {K} tonnes of fish.",
        decides="Each month each fisher decides how many tonnes to catch, all at once.",
        rest="What is left in the lake",
        unit="tonnes",
        collapse="If less than {c} tonnes are left after the catch, the fishery collapses and nobody fishes again.",
        scarce="If the fishers want more than the lake holds, it is emptied and",
        paid="You are paid 1 for each tonne you catch.",
        means="you live from what you catch",
        stock="fish in the lake now",
        takes=(
            "everyone's catch last month",
            "your own catch last month",
            "your own catch so far",
            "how much you want to catch this month",
        ),
        made="tonnes",
        measured=("fishery", "fisher", "catch", "catches", "fish was caught"),
    ),
    "pasture": Setting(
        user="shepherd",
        shares="{n} shepherds share a pasture that holds at most {K} hectares of grass.",
        decides="Each month each shepherd decides how many flocks of sheep to let graze, all at once; a flock eats one hectare.",
        rest="What is left of the grass",
        unit="hectares",
        collapse="If less than {c} hectares are left after the grazing, the pasture collapses and nothing grazes on it again.",
        scarce="If the shepherds want more than the pasture holds, it is grazed bare and",
        paid="You are paid 1 for each flock of yours that grazes.",
        means="you live from the sheep that you let graze",
        stock="grass on the pasture now",
        takes=(
            "everyone's flocks that grazed last month",
            "your own flocks that grazed last month",
            "your own flocks that grazed so far",
            "how many flocks you want to let graze this month",
        ),
        made="flocks",
        measured=("pasture", "shepherd", "grazing", "grazings", "grazing was done"),
    ),
    "pollution": Setting(
        user="owner",
        shares="{n} factory owners share a river that holds at most {K} units of clean water.",
        decides="Each month each factory owner decides how many pallets of widgets to make, all at once; "
        "making a pallet pollutes one unit.",
        rest="What is left of the clean water",
        unit="units",
        collapse="If less than {c} units are left after production, the river collapses and nothing is made again.",
        scarce="If the factory owners want to pollute more than there is, all clean water is used up and",
        paid="You are paid 1 for each pallet you make.",
        means="you live from the widgets that you make",
        stock="clean water in the river now",
        takes=(
            "everyone's output last month",
            "your own output last month",
            "your own output so far",
            "how much you want to make this month",
        ),
        made="pallets",
        measured=("river", "owner", "output", "outputs", "widgets were made"),
    ),
}


class CommonsState(NamedTuple):
    """Stock before the harvest and month, (*batch); per user (*batch, users): last harvest, total, months of over-use."""

    stock: Array
    month: Array
    caught: Array
    total: Array
    overused: Array


class Harvest(Game):
    """A stock that users harvest at the same time and that grows from what they leave, whole unit by whole unit.

    What a commons has whatever its parameters are called. Subclasses are frozen dataclasses and define ``size``
    and ``multiple``, and ``after`` where growth is not by a factor.
    """

    capacity: int
    months: int
    collapse: int
    scenario: str = "fishery"
    sharing: str = "random"
    newcomer: int = 0

    random_start = False

    @property
    @abstractmethod
    def size(self) -> int:
        """Users in the first month, n."""

    @property
    @abstractmethod
    def multiple(self) -> int:
        """Factor by which what is left grows; 0 if it grows by another law, that of ``after``."""

    @functools.cached_property
    def after(self) -> tuple[int, ...]:
        """Stock that each amount left, 0 to the capacity, has grown to by the next month."""
        return tuple(min(left * self.multiple, self.capacity) for left in range(self.capacity + 1))

    def _check(self) -> None:
        """Refuse parameters out of range."""
        validate.whole("capacity", self.capacity, 1, 10_000)
        validate.whole("months", self.months, 1, 10_000)
        validate.whole("collapse", self.collapse, 0, self.capacity)

    # ---- words ------------------------------------------------------------------------------------------------------

    @property
    def words(self) -> Setting:
        """The words of the setting."""
        return SETTINGS[self.scenario]

    @property
    def about(self) -> str:
        """The rules in words."""
        words, of = self.words, {"n": self.size, "K": self.capacity, "c": self.collapse}
        joining = ""
        if self.newcomer:
            joining = (
                f"From month {self.newcomer} on one more takes part, {words.user}_{self.size}; what {words.user}_{self.size} "
                f"decides before that counts for nothing. "
            )
        shared_out = (
            "at random" if self.sharing == "random" else f"in proportion to what they want, in whole {words.made}"
        )
        return (
            f"{words.shares.format(**of)} {words.decides} {joining}{words.rest}{self._growth_in_words} "
            f"{words.collapse.format(**of)} {words.scarce} shared out {shared_out}. "
            f"The game lasts {self.months} months. {words.paid}"
        )

    @property
    def _growth_in_words(self) -> str:
        return f" grows by a factor of {self.multiple} before the next month, up to {self.capacity} {self.words.unit}."

    @functools.cached_property
    def roles(self) -> tuple[Role, ...]:
        """One role: the users."""
        words, count = self.words, self.size + bool(self.newcomer)
        amount, names = Integer(0, self.capacity), tuple(f"{words.user}_{i}" for i in range(count))
        all_took, took, so_far, want = words.takes
        sees = [
            Field("stock", amount, words.stock, words.unit),
            Field("month", Integer(1, self.months), "this month's number"),
            Field("catches", amount, all_took, words.made, each=names, verifiable=True),
            Field("caught", amount, took, words.made, verifiable=True),
            Field("total", Integer(0, self.capacity * self.months), so_far, words.made),
        ]
        if self.newcomer:
            sees.append(Field("present", Choice(("not yet", "yes")), "whether you take part this month"))
        acts = (Field("harvest", amount, want, words.made),)
        return (Role(words.user, count, tuple(sees), acts, words.means),)

    # ---- the game ---------------------------------------------------------------------------------------------------

    @functools.cached_property
    def draws(self) -> int:  # type: ignore[override]
        """Uniform numbers that sharing out a scarce stock takes."""
        others = self.size + bool(self.newcomer) - 1
        return others**2 if self.sharing == "random" else others + 1

    @property
    def rounds(self) -> int:
        """Months."""
        return self.months

    def start(self, u: Array) -> CommonsState:
        """Return a full stock in the first month."""
        batch = tuple(u.shape[:-1])
        none = full(u, (*batch, self.size + bool(self.newcomer)), 0, integer=True)
        stock = full(u, batch, self.capacity, integer=True)
        return CommonsState(stock, stock * 0, none, none, none)

    def view(self, state: CommonsState) -> dict[str, Seen]:
        """Show the stock, the month and last month's harvests."""
        n = state.caught.shape[-1]
        seen = {
            "stock": spread(state.stock, n),
            "month": spread(state.month + (state.month < self.months), n),
            "caught": state.caught,
            "catches": shared(state.caught, n),
            "total": state.total,
        }
        if self.newcomer:
            seen["present"] = to_int(self._present(state.month))
        return {self._user: seen}

    def step(self, state: CommonsState, acts: Mapping[str, Acts], u: Array) -> Outcome:
        """Harvest, then let the rest grow."""
        xp, user, multiple = namespace(state.stock), self._user, self.multiple
        wants = to_int(acts[user]["harvest"])
        if self.newcomer:
            wants = wants * self._present(state.month)
        share = self._share_many if len(wants) >= 64 else self._share
        caught = share(state.stock, wants, u)
        landed = total(caught)
        left = state.stock - landed
        grown = left * multiple if multiple else look_up(left, self.after, left)
        fair = self.sustainable_share(state.stock, state.month)
        month = state.month + 1
        after = CommonsState(
            stock=xp.where(grown > self.capacity, self.capacity, grown),
            month=month,
            caught=caught,
            total=state.total + caught,
            overused=state.overused + (caught > fair[..., None]),
        )
        done = (left < self.collapse) | (month >= self.months)
        return Outcome(after, {user: to_float(caught)}, done, to_float(landed))

    @functools.cached_property
    def _user(self) -> str:
        return self.words.user

    @functools.cached_property
    def _first_month(self) -> tuple[int, ...]:
        return (0,) * self.size + (self.newcomer - 1,)

    def _present(self, month: Array) -> Array:
        """Say who takes part after so many months: (*batch) to (*batch, users)."""
        return month[..., None] >= constant(month, self._first_month)

    def _share(self, stock: Array, wants: Array, u: Array) -> Array:
        """Give everyone what is wanted or, where that is too much, share out the stock."""
        if self.sharing == "random":
            return share_at_random(stock, wants, u, self.capacity)
        return share_in_proportion(stock, wants, u)

    def _share_many(self, stock: Array, wants: Array, u: Array) -> Array:
        """Share as ``_share`` does but, where few of many worlds are scarce, look only at those (NumPy)."""
        if not isinstance(wants, np.ndarray) or wants.ndim != 2:
            return self._share(stock, wants, u)
        scarce = np.flatnonzero(total(wants) > stock)
        if 4 * len(scarce) >= len(wants):
            return self._share(stock, wants, u)
        caught = wants.copy()
        if len(scarce):
            caught[scarce] = self._share(stock[scarce], wants[scarce], u[scarce])
        return caught

    def uncertain(self, state: CommonsState, acts: Mapping[str, Acts]) -> bool:
        """Say whether a stock may be scarce somewhere; only then is there a draw."""
        wants = to_int(acts[self._user]["harvest"])
        if self.newcomer:
            wants = wants * self._present(state.month)
        return not absent(total(wants) > state.stock)

    def round(self, state: CommonsState) -> Array:
        """Return the months gone by."""
        return state.month

    # ---- measures ---------------------------------------------------------------------------------------------------

    def measures(self, state: CommonsState) -> dict[str, Array]:
        """Return survival, gain, efficiency, equality and over-use as published."""
        catch = to_float(total(state.total))
        users: Array = self.size
        months, part = state.month, None
        if self.newcomer:
            months = namespace(months).clip(months[..., None] - constant(months, self._first_month), 0, None)
            users, part = to_float(self.size + (state.month >= self.newcomer)), months > 0
        return {
            "survival": to_float(state.month),
            "gain": catch / users,
            "efficiency": measures.efficiency(catch, self.sustainable),
            "equality": measures.equality(to_float(state.total), part),
            "overuse": measures.overuse(state.overused, months),
        }

    def sustainable_share(self, stock: Array, month: Array = 0) -> Array:
        """Return the most that each user present can take if the stock is to grow back, after ``month`` months.

        (stock - the least that grows back to it) // n. Under logistic growth a stock above the one that yields most need
        not grow back further than to that one.
        """
        users = self.size + (month >= self.newcomer - 1) if self.newcomer else self.size
        if g := self.multiple:
            return stock * (g - 1) // (g * users)  # stock - ceil(stock / g), shared
        return look_up(stock, self._sustainable, stock) // users

    @functools.cached_property
    def best_left(self) -> int:
        """What is left each month where the harvest that can be repeated is largest; the most there is of such."""
        grown = np.asarray(self.after) - np.arange(self.capacity + 1)
        return int(np.flatnonzero(grown == grown.max())[-1])

    @functools.cached_property
    def _sustainable(self) -> tuple[int, ...]:
        stock = np.arange(self.capacity + 1)
        least = np.searchsorted(np.asarray(self.after), np.minimum(stock, self.after[self.best_left]))
        return tuple((stock - least).tolist())

    @property
    def sustainable_yield(self) -> int:
        """Largest harvest a month that can be repeated; f(0) of the published measures if what is left is multiplied."""
        return self.after[self.best_left] - self.best_left

    @functools.cached_property
    def sustainable(self) -> float:
        """Most that can be harvested if every month's harvest is to be repeatable: T f(0)."""
        return float(self.months * self.sustainable_yield)

    # ---- what theory says -------------------------------------------------------------------------------------------

    @functools.cached_property
    def _plan(self) -> tuple[float, tuple[tuple[int, ...], ...]]:
        """Backward induction for a single owner: the value of a full stock, and the harvest [months left - 1][stock]."""
        stock, after = np.arange(self.capacity + 1), np.asarray(self.after)
        value, plan = stock * 0, []
        for _ in range(self.months):
            gain = value[after] - stock  # of leaving so much
            gain[: self.collapse] = -1
            most = np.maximum.accumulate(gain)
            record = np.append(True, gain[1:] > most[:-1])
            left = np.maximum.accumulate(np.where(record, stock, 0))  # the least of those that are as good
            value = stock + np.maximum(most, 0)
            plan.append(tuple(np.where(most > 0, stock - left, stock).tolist()))
        return float(value[-1]), tuple(plan)

    def benchmarks(self) -> Benchmarks:
        """Return the owner's optimum and the equilibrium in which everyone takes all."""
        value, table = self._plan
        for users in {self.size, self.size + bool(self.newcomer)}:
            if (regret := _regret(users, self.capacity, self.sharing)) > 1e-9:
                raise RuntimeError(f"equilibrium: one of {users} who take all gains {regret:g} by taking less")

        def restrained(seen: Seen) -> Acts:
            xp = namespace(seen["stock"])
            total = constant(seen["stock"], table)[self.months - to_int(seen["month"]), to_int(seen["stock"])]
            seat = xp.cumulative_sum(xp.ones_like(total), axis=-1) - 1
            users = self.size + (to_int(seen["month"]) >= self.newcomer) if self.newcomer else self.size
            return {"harvest": (total // users + (seat < total % users)) * (seat < users)}

        def grab(seen: Seen) -> Acts:
            return {"harvest": seen["stock"] * 0 + self.capacity}

        return Benchmarks(
            first_best=Level(
                value,
                "a single owner's catch, by backward induction over stock and months",
                {self._user: restrained},
            ),
            equilibrium=Level(
                float(self.capacity),
                "all take all at once: with two or more others taking all, no one's restraint saves the stock "
                "(Hardin 1968); the only equilibrium of the last month",
                {self._user: grab},
            ),
        )


@dataclass(frozen=True)
class Commons(Harvest):
    """A commons of n users: fish, grass or clean water, which grows from what is left of it.

    With the default parameters the three scenarios are those of Piatti et al. (2024), "Cooperate or Collapse" (GovSim),
    arXiv:2404.16698: one and the same game in other words. Every month all say at once how much they want; if they want
    more than there is, the stock is shared out; what is left, x, grows; the commons is over when x is below
    ``collapse``. Growth is one of

    - ``"doubling"``: to min(factor x, K);
    - ``"logistic"``: by r x (1 - x / K), rounded down to whole units (Gordon 1954, doi:10.1086/257497; Schaefer 1957):
      the stock left changes by r x (1 - x / K) - h from month to month, h the harvest. What can be harvested for ever is
      largest, r K / 4, where K / 2 is left.

    A newcomer (GovSim's experiment) takes part from some month on. Measures and the sustainable share count only those
    who are there: the newcomer has no months and no part in equality before.

    Parameters
    ----------
    users
        Number of users in the first month, n.
    capacity
        Most that the commons holds, and the first month's stock, K, in units.
    months
        Length of an episode, T.
    growth
        ``"doubling"`` or ``"logistic"``.
    factor
        Factor by which what is left grows in a month, if growth is doubling; a whole number.
    rate
        r, if growth is logistic; the stock never exceeds K, which matters above 1.
    collapse
        The commons is over when less than this is left after the harvest, in units.
    sharing
        What happens if users want more than there is: ``"random"``, units go one by one to a random one of those who
        still want some; ``"proportional"``, in proportion to what they want, whole units by largest remainder, ties at
        random.
    newcomer
        The month from which one more user takes part; 0 for none.
    scenario
        The words: ``"fishery"``, ``"pasture"`` or ``"pollution"``.
    """

    users: int = 5
    capacity: int = 100
    months: int = 12
    growth: str = "doubling"
    factor: int = 2
    rate: float = 0.4
    collapse: int = 5
    sharing: str = "random"
    newcomer: int = 0
    scenario: str = "fishery"

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.whole("users", self.users, 2, 64)
        self._check()
        validate.one_of("growth", self.growth, ("doubling", "logistic"))
        validate.whole("factor", self.factor, 1, 1_000)
        validate.real("rate", self.rate, 0.0, 2.0)
        validate.one_of("sharing", self.sharing, ("random", "proportional"))
        validate.whole("newcomer", self.newcomer, 0, self.months)
        if self.newcomer == 1:
            raise ValueError(f"newcomer: a month from 2 to {self.months}, or 0 for none, got 1; raise users instead")
        validate.one_of("scenario", self.scenario, tuple(SETTINGS))

    @classmethod
    def fishery(cls, **options: Any) -> Commons:
        """Return GovSim's fishery: tonnes of fish in a lake."""
        return cls(**{"scenario": "fishery", **options})

    @classmethod
    def pasture(cls, **options: Any) -> Commons:
        """Return GovSim's pasture: flocks of sheep on hectares of grass."""
        return cls(**{"scenario": "pasture", **options})

    @classmethod
    def pollution(cls, **options: Any) -> Commons:
        """Return GovSim's pollution: pallets of widgets, each of which pollutes a unit of a river."""
        return cls(**{"scenario": "pollution", **options})

    @functools.cached_property
    def size(self) -> int:
        """Users in the first month, n."""
        return self.users

    @functools.cached_property
    def multiple(self) -> int:
        """Factor by which what is left grows; 0 if growth is logistic."""
        return self.factor if self.growth == "doubling" else 0

    @functools.cached_property
    def after(self) -> tuple[int, ...]:
        """Stock that each amount left, 0 to the capacity, has grown to by the next month; exact for a decimal rate."""
        if self.multiple:
            return super().after
        r, most = Fraction(repr(self.rate)), self.capacity
        return tuple(min(left + int(r * left * (most - left) / most), most) for left in range(most + 1))

    @functools.cached_property
    def reports(self) -> tuple[Measure, ...]:  # type: ignore[override]
        """The published measures in the words of the scenario."""
        place, user, take, takes, taken = self.words.measured
        possible = "f(0) the sustainable catch of the first month".replace("catch", take)
        if not self.multiple:
            possible = f"f(0) the largest {take} a month that can be repeated"
        return measures.commons(
            place,
            user=user,
            take=take,
            takes=takes,
            taken=taken,
            unit=self.words.made,
            possible=possible,
            joins=self.newcomer > 0,
        )

    @property
    def _growth_in_words(self) -> str:
        if self.multiple:
            return super()._growth_in_words
        unit, limit = self.words.unit, f", and never beyond {self.capacity} {self.words.unit}" if self.rate > 1 else ""
        return (
            f", x {unit}, grows by {self.rate:.12g} * x * (1 - x / {self.capacity}) {unit} before the next month, "
            f"rounded down to whole {unit}{limit}."
        )


def share_in_proportion(stock: Array, wants: Array, u: Array) -> Array:
    """Share out a stock in proportion to what is wanted, in whole units by largest remainder, ties at random.

    Parameters
    ----------
    stock
        Units to give out, integer (*batch).
    wants
        Units wanted, integer (*batch, n).
    u
        Uniform numbers that break ties, (*batch, n).

    Returns
    -------
    Array
        Units given, integer (*batch, n); everything wanted, where the stock is enough.
    """
    xp = namespace(wants)
    wanted = total(wants)
    scarce = wanted > stock
    if absent(scarce):
        return wants
    parts = stock[..., None] * wants
    wanted = (wanted + (wanted == 0))[..., None]
    sure = parts // wanted
    # whole remainders come first: whoever has none is wholly served or wants nothing, and is never in reach
    order = xp.argsort(-((parts - sure * wanted) + u), axis=-1, stable=True)
    rank = xp.argsort(order, axis=-1, stable=True)
    return xp.where(scarce[..., None], sure + (rank < (stock - total(sure))[..., None]), wants)


@functools.lru_cache(maxsize=64)
def _regret(users: int, capacity: int, sharing: str) -> float:
    """Return the most that a user can gain, at any stock, by wanting less than all where the others want all.

    Nothing is left, whatever one wants, so that only the month's expected share counts. It is computed at every stock, or
    at 100 evenly spaced ones.
    """
    stock = np.unique(np.linspace(1, capacity, min(capacity, 100)).astype(np.int64))[:, None]
    want = np.arange(capacity + 1)
    if (
        sharing == "random"
    ):  # every unit is offered to each with the same chance; what exceeds one's want goes to others
        from scipy.stats import binom

        more = binom.sf(want[:-1], stock, 1.0 / users)
        share = np.concatenate([np.zeros((len(stock), 1)), np.cumsum(more, axis=1)], axis=1)
    else:
        wanted = want + (users - 1) * capacity
        sure, mine = np.divmod(stock * want, wanted)
        others, theirs = np.divmod(stock * capacity, wanted)
        spare = stock - sure - (users - 1) * others
        share = sure + np.where(mine > theirs, spare > 0, np.where(mine == theirs, spare / users, 0.0))
    return float((share - share[:, -1:]).max())
