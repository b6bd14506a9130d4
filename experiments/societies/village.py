"""A village: households fish in a common lake, trade fish for goods at a price that clears, and vote on a limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from ...envs.core import validate
from ...envs.core.arrays import Array, look_up, namespace, to_float, to_int
from ...envs.core.fields import find
from ...envs.core.game import Acts, Game, Seen
from ...envs.core.policy import Policy, default_acts
from ...envs.norms.fishery import Fishery
from ...envs.views.mesa import Imitation, Society
from ...mechanisms.tax import Tax
from ...mechanisms.vote import Vote

Vector = np.ndarray[Any, Any]

SHOWN = ("stock", "catch", "limit", "price", "traded")
"""What is told of a village each month; fish in tonnes, the price of a tonne in goods."""


class Household(Policy):
    """A household that fishes with some greed, obeys a limit if it pays, and votes for one if the lake worries it.

    Parameters
    ----------
    limits
        The limits that are voted on, in tonnes a household and month, falling; the first is none.
    fine
        What each tonne above the limit costs, in tonnes, shared out equally among all.
    greed
        What it takes, as a multiple of the sustainable share: half of the stock, divided by the number of households.
    concern
        It votes for a limit with probability concern x (1 - stock / capacity): for the highest one within the
        sustainable share, or the lowest there is. None votes for a limit always.
    capacity
        Most fish that the lake holds, in tonnes.
    """

    draws = 1

    def __init__(
        self, limits: tuple[int, ...], fine: float, greed: float, concern: float | None, capacity: int
    ) -> None:
        self.limits, self.fine, self.greed, self.concern, self.capacity = limits, fine, greed, concern, capacity

    def bind(self, game: Game, role: str, seats: tuple[int, ...]) -> Self:
        """Refuse a game without a catch and a ballot."""
        bound = super().bind(game, role, seats)
        for name in ("harvest", "ballot"):
            find(bound.role.acts, name, role)
        return bound

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Vote and fish."""
        xp, n, stock = namespace(seen["stock"]), self.role.count, seen["stock"]
        acts = default_acts(self.role, stage, len(self.seats))
        fair = stock // (2 * n)
        within = [fair >= limit for limit in self.limits[1:]]
        wanted = fair * 0 + len(self.limits) - 1
        for option in range(len(self.limits) - 1, 0, -1):  # limits fall: the last one that is met is the highest
            wanted = xp.where(within[option - 1], option, wanted)
        worried = u[..., 0] < 1.0 if self.concern is None else u[..., 0] < self.concern * (1.0 - stock / self.capacity)
        acts["ballot"] = to_int(worried) * wanted
        limit = look_up(stock, (*self.limits, self.limits[0]), seen["in_force"])
        take = to_int(xp.floor(to_float(fair) * self.greed))
        pays = self.fine * (1.0 - 1.0 / n) < 1.0  # of a fine it gets 1/n back
        acts["harvest"] = xp.clip(take if pays else xp.minimum(take, limit), 0, self.capacity)
        return acts, memory


def clearing(fish: Vector, goods: Vector, taste: Vector) -> tuple[Vector, Vector, Vector]:
    """Return the price of fish in goods at which the market clears, and what each has after trade.

    Households spend the share ``taste`` of what they own on fish (Cobb and Douglas), so that demand for fish is
    taste (p fish + goods) / p, and p = sum taste goods / sum (1 - taste) fish. All arrays (markets, households); prices
    (markets,), NaN where there is no fish and so no trade.
    """
    supply = ((1.0 - taste) * fish).sum(axis=-1)
    there = supply > 0.0
    price = np.where(there, (taste * goods).sum(axis=-1) / np.where(there, supply, 1.0), np.nan)
    p = price[..., None]
    own = p * fish + goods
    traded = there[..., None]
    return price, np.where(traded, taste * own / p, fish), np.where(traded, (1.0 - taste) * own, goods)


class Village(Society):
    """Households that fish, trade and vote, in one village or in several at once, each with a lake of its own.

    Each month the households of a village vote on the limit for the month: a fishery under ``Vote`` on the threshold of a
    ``Tax`` on the catch. They fish as their strategy says: the ``restrained`` take the sustainable share, the ``greedy``
    a multiple of it unless the fine makes that a loss. Fish and the goods that each household makes are then exchanged,
    and what a household earns is its utility, fish^taste x goods^(1 - taste). Households imitate those of their village
    who did better. The model stops when no fishery is left or the months are over.

    The data collector keeps stock, catch, limit, price and traded fish, mean over villages; its table ``villages`` has
    them village by village.

    Parameters
    ----------
    villages
        Number of villages.
    households
        Households a village.
    share
        Sustainable share of a full lake, in tonnes a household and month: the lake holds 2 x households x share.
    months
        Months.
    greedy
        Share of households that are greedy at the start.
    greed
        What the greedy take, as a multiple of the sustainable share.
    concern
        How much an empty lake worries the greedy as they vote.
    fine
        Fine for a tonne above the limit, in tonnes.
    noise, rate, mutation
        Of imitation.
    seed
        Seed of everything.
    """

    tables: ClassVar[Mapping[str, Sequence[str]]] = {"villages": ("month", "village", *SHOWN)}

    def __init__(
        self,
        villages: int = 1,
        households: int = 8,
        share: int = 8,
        months: int = 24,
        greedy: float = 0.5,
        greed: float = 1.5,
        concern: float = 1.0,
        fine: float = 2.0,
        noise: float = 0.5,
        rate: float = 0.2,
        mutation: float = 0.0,
        seed: int | None = None,
    ) -> None:
        validate.whole("villages", villages, 1, 100_000)
        validate.whole("share", share, 1, 100)
        validate.probability("greedy", greedy)
        validate.real("greed", greed, 1.0, 100.0)
        validate.real("concern", concern, 0.0, 1e6)
        validate.real("fine", fine, 0.0, 1e6)
        lake = Fishery(households, capacity=2 * households * share, months=months)
        self.capacity = lake.capacity
        self.limits = (lake.capacity, *sorted({max(share // 2**k, 1) for k in range(4)}, reverse=True))
        levy = Tax("caught", (max(fine, 1e-9),), (float(lake.capacity),))  # one of 0 would be no tax, and no vote
        game = lake | Vote(levy, "thresholds", tuple((float(limit),) for limit in self.limits), each_round=True)
        count = villages * households
        place = np.arange(count) // households
        self.stock = self.catch = self.limit = self.price = self.traded = np.full(villages, np.nan)
        self.fish: Vector = np.zeros(count)
        self.goods: Vector = np.zeros(count)
        super().__init__(
            game,
            {
                "restrained": Household(self.limits, fine, 1.0, None, lake.capacity),
                "greedy": Household(self.limits, fine, greed, concern, lake.capacity),
            },
            agents=count,
            meet="fixed",
            shares={"restrained": 1.0 - greedy, "greedy": greedy},
            imitation=Imitation(noise, rate, mutation),
            pace="round",
            seed=seed,
        )
        self.village = place
        self.made = 2.0 * share * self.luck("goods")[:, 0]  # goods that each makes a month
        self.taste = 0.3 + 0.4 * self.luck("taste")[:, 0]

    def step(self) -> None:
        """Live through a month, unless the village is no more."""
        if self.running:
            super().step()
            self.running = bool(self._live.any())

    def settle(self, paid: Vector) -> Vector:
        """Exchange fish for goods; return utilities. What the fishery paid is fish, after fines and what they brought."""
        assert self.worlds is not None
        made, taste = self.made[self.seats], self.taste[self.seats]
        self.price, fish, goods = clearing(paid, made, taste)
        self.fish[self.seats], self.goods[self.seats] = fish, goods
        self.traded = np.maximum(fish - paid, 0.0).sum(axis=1)
        seen = self.worlds.view()["fisher"]
        self.stock, self.catch = seen["stock"][:, 0].astype(float), seen["caught"].sum(axis=1).astype(float)
        self.limit = np.array((*self.limits, self.capacity), dtype=float)[seen["in_force"][:, 0]]
        return fish**taste * goods ** (1.0 - taste)

    def _someone(self, u: Vector) -> Vector:
        """Draw another household of the same village."""
        size = self.size
        within = self._rows % size
        other = np.floor(u * (size - 1)).astype(np.int64)
        return np.asarray(self._rows - within + other + (other >= within))

    def report(self) -> dict[str, float]:
        """Return stock, catch, limit, price and traded fish, mean over villages, and what any society reports."""
        live = {name: getattr(self, name) for name in SHOWN}
        told = {
            name: float(np.mean(values[~np.isnan(values)])) if not np.isnan(values).all() else np.nan
            for name, values in live.items()
        }
        return {**told, **super().report()}

    def columns(self) -> dict[str, list[Any]]:
        """Return each household's strategy, utility, and the fish and goods that it consumed."""
        return {**super().columns(), "fish": self.fish.tolist(), "goods": self.goods.tolist()}

    def _collect(self) -> None:
        super()._collect()
        for k in range(len(self.stock) if self.steps else 0):
            row = {name: float(getattr(self, name)[k]) for name in SHOWN}
            self.datacollector.add_table_row("villages", {"month": self.steps, "village": k, **row})  # type: ignore[no-untyped-call]
