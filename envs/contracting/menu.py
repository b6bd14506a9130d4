"""Menus: a principal posts items, each a size and a pay, and an agent whose type is private picks one or none."""

from __future__ import annotations

import functools
import itertools
import math
from abc import abstractmethod
from typing import Any

import numpy as np

from ..core import validate
from ..core.arrays import Array, constant, look_up, namespace, to_float, to_int
from ..core.chance import categorical
from ..core.fields import Choice, Field, Role
from ..core.game import Acts, Benchmarks, Level, Seen, Stage
from ..core.rounds import Record, RoundGame, Settled

Menu = tuple[tuple[float, float], ...]
"""Items (size, pay)."""

Steps = list[tuple[float, float]]
"""(worth, size): from this worth of a unit on an agent takes this size."""

MOST = 12  # types, and items


class MenuGame(RoundGame):
    """Adverse selection with sizes q: the surplus is w q - cost q^2 / 2, where the agent alone knows the worth w of a unit.

    Of the surplus the principal takes a charge less cost q^2 / 2, and the agent keeps w q less the charge. Subclasses say
    what worth and charge are in terms of their model's types and pays, and put the game in words.
    """

    types: tuple[float, ...]
    chances: tuple[float, ...]
    continuum: bool
    items: int | None

    size: str
    """Name of the field that holds the items' sizes."""

    pay: str
    """Name of the field that holds what is paid for them."""

    nature = 1
    stages = (
        Stage("offer", "the principal posts a menu"),
        Stage("answer", "the agent picks an item of the menu, or none"),
    )

    @property
    @abstractmethod
    def curvature(self) -> float:
        """The cost in the surplus w q - cost q^2 / 2."""

    @property
    def altruism(self) -> float:
        """The weight of the agent's rent in the principal's reward."""
        return 0.0

    @abstractmethod
    def worth(self, kind: float) -> float:
        """Return the worth of a unit, by type: increasing or decreasing at slope 1."""

    @abstractmethod
    def paid(self, size: Any, charge: Any) -> Any:
        """Return the pay for an item that leaves the principal the charge, less cost q^2 / 2."""

    @abstractmethod
    def payoffs(self, types: Array, sizes: Array, pays: Array) -> tuple[Array, Array, Array]:
        """Return the principal's reward, the agent's reward and welfare of items taken by types; all 0 at size and pay 0."""

    @property
    @abstractmethod
    def max_pay(self) -> float:
        """Highest pay of an item."""

    @property
    def max_size(self) -> float:
        """Largest item: beyond it the surplus is negative whatever the type."""
        return 2.0 * self._worths[-1] / self.curvature

    def check(self, low: float, high: float) -> None:
        """Refuse types within low..high, chances and numbers of items that make no game; lists become tuples."""
        for name in ("types", "chances"):
            values = getattr(self, name)
            if not isinstance(values, list | tuple):
                raise ValueError(f"{name}: a list of numbers, got {values!r}")
            least, most = (low, high) if name == "types" else (1e-6, 1.0)
            found = tuple(validate.real(f"{name}[{i}]", value, least, most) for i, value in enumerate(values))
            object.__setattr__(self, name, found)
        count = len(self.types)
        if not 2 <= count <= MOST:
            raise ValueError(f"types: from 2 to {MOST} numbers, got {count}")
        if any(one >= other for one, other in itertools.pairwise(self.types)):
            raise ValueError(f"types: numbers in increasing order, got {self.types}")
        if self.continuum and count != 2:
            raise ValueError(f"types: with continuum the 2 bounds, lowest and highest, got {count} numbers")
        if self.continuum and self.chances:
            raise ValueError(f"chances: none with continuum, which is uniform, got {self.chances}; leave them out")
        if self.chances and (len(self.chances) != count or abs(math.fsum(self.chances) - 1.0) > 1e-9):
            raise ValueError(
                f"chances: {count} probabilities that sum to 1, got {self.chances} (sum {math.fsum(self.chances):g})"
            )
        if self.items is not None:
            validate.whole("items", self.items, 1, MOST)
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)

    # ---- the game in words and fields ---------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the items; there are as many as types, or 3 for a continuum, unless ``items`` says otherwise."""
        count = self.items or (3 if self.continuum else len(self.types))
        return tuple(f"item_{i + 1}" for i in range(count))

    @functools.cached_property
    def odds(self) -> tuple[float, ...]:
        """Probability of each type."""
        return self.chances or (1.0 / len(self.types),) * len(self.types)

    @property
    def lottery(self) -> str:
        """The distribution of types, in words."""
        if self.continuum:
            return f"any number from {self.types[0]:g} to {self.types[1]:g}, all equally likely"
        return ", ".join(f"{kind:g} with probability {p:.4g}" for kind, p in zip(self.types, self.odds, strict=True))

    def sides(self, size: Field, pay: Field, kind: Field) -> tuple[Role, ...]:
        """Return principal and agent, from fields of items and type without components."""
        last = Choice(("none", *self.names, "nothing yet"))

        def item(field: Field, means: str, stage: str = "") -> Field:
            return Field(field.name, field.space, means, field.unit, each=self.names, verifiable=not stage, stage=stage)

        seen = (
            *(item(field, f"the {field.means}, on the last menu posted") for field in (size, pay)),
            Field("last_pick", last, "what the agent picked in the last round", verifiable=True),
        )
        offer = tuple(item(field, f"the {field.means}, as you post it", "offer") for field in (size, pay))
        answer = Field("pick", Choice(("none", *self.names)), "the item that you take, or none", stage="answer")
        return (
            Role("principal", 1, seen, offer, "you post the menu, and do not know the agent's type"),
            Role("agent", 1, (*seen, kind), (answer,), "you alone know your type, and pick from the menu"),
        )

    # ---- the game in arrays -------------------------------------------------------------------------------------

    def open(self, u: Array) -> Record:
        """Draw the agent's type."""
        if self.continuum:
            return {"type": self.types[0] + (self.types[1] - self.types[0]) * u[..., 0]}
        odds = u[..., :1] * 0.0 + constant(u, self.odds)
        return {"type": look_up(u, self.types, categorical(u[..., 0], odds))}

    def recall(self, like: Array) -> Record:
        """Return that nothing has been picked yet."""
        return {"last_pick": like + len(self.names) + 1}

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Trade the item that was picked."""
        sizes, pays, pick = acts["principal"][self.size], acts["principal"][self.pay], acts["agent"]["pick"]
        xp = namespace(sizes)
        size = pay = sizes[..., 0] * 0.0
        for i in range(len(self.names)):
            size, pay = xp.where(pick == i + 1, sizes[..., i], size), xp.where(pick == i + 1, pays[..., i], pay)
        profit, rent, welfare = self.payoffs(nature["type"], size, pay)
        return Settled(
            {"principal": profit, "agent": rent},
            welfare=welfare,
            sums={"profit": profit, "rent": rent, "served": to_float(size > 0.0), self.size: size},
            memory={"last_pick": pick},
        )

    def pick(self, sizes: Array, pays: Array, types: Array) -> Array:
        """Return the best pick of types (*batch) from menus (*batch, items): 0 is none; integer (*batch).

        Indifferent, the agent takes what the principal likes best.
        """
        xp = namespace(sizes)
        profit, utility, _ = self.payoffs(types[..., None], sizes, pays)
        profit = profit + utility * 0.0
        none = utility[..., :1] * 0.0
        utility, profit = xp.concat([none, utility], axis=-1), xp.concat([none, profit], axis=-1)
        best = xp.max(utility, axis=-1)[..., None]
        return to_int(xp.argmax(xp.where(utility >= best - self._slack, profit, profit * 0.0 - 1e300), axis=-1))

    # ---- what theory says ---------------------------------------------------------------------------------------

    @functools.cached_property
    def _slack(self) -> float:
        """Below it the agent is indifferent."""
        return 1e-10 * self._worths[-1] ** 2 / self.curvature

    @functools.cached_property
    def _worths(self) -> tuple[float, ...]:
        """Worths of a unit, increasing."""
        return tuple(sorted(self.worth(kind) for kind in self.types))

    def evaluate(self, sizes: Any, pays: Any) -> tuple[Any, Any]:
        """Return the principal's expected reward and welfare (*batch) of a round in which the agent picks at its best.

        ``sizes`` and ``pays`` are NumPy arrays (*batch, items). For a continuum the integral is exact: between two types
        that are indifferent between some items, all pick the same, and payoffs are linear in the type.
        """
        none = sizes[..., :1] * 0.0
        size, pay = np.concatenate([none, sizes], axis=-1), np.concatenate([none, pays], axis=-1)
        types, weights = np.asarray(self.types), np.asarray(self.odds)
        if self.continuum:
            one, other = np.triu_indices(size.shape[-1], 1)
            gap = size[..., one] - size[..., other]
            with np.errstate(over="ignore"):
                cuts = (pay[..., one] - pay[..., other]) / np.where(gap == 0.0, np.inf, gap)
            ends = none + types
            edges = np.sort(np.concatenate([np.clip(cuts, self.types[0], self.types[1]), ends], axis=-1), axis=-1)
            types, weights = (edges[..., 1:] + edges[..., :-1]) / 2, np.diff(edges, axis=-1) / (types[1] - types[0])
        taken = self.pick(sizes[..., None, :], pays[..., None, :], types)
        size, pay = np.take_along_axis(size, taken, axis=-1), np.take_along_axis(pay, taken, axis=-1)
        profit, _, welfare = self.payoffs(types, size, pay)
        return (weights * profit).sum(axis=-1), (weights * welfare).sum(axis=-1)

    def expected(self, menu: Menu) -> tuple[float, float]:
        """Return the principal's expected reward and welfare of a round in which the agent picks at its best."""
        profit, welfare = self.evaluate(*np.asarray(menu, dtype=float).T)
        return float(profit), float(welfare)

    def best_menu(self, items: int) -> Menu:
        """Return the menu of so many items that is best for the principal, sizes not decreasing; (0, 0) where unneeded.

        Every type picks what is meant for it, and no menu does better that differs in one step, nor any of 1000 at random.
        """
        validate.whole("items", items, 1, MOST)
        if self.continuum:
            value, steps = uniform_steps(self._worths[0], self._worths[1], self.curvature, self.altruism, items)
        else:
            chances = tuple(p for _, p in sorted(zip(map(self.worth, self.types), self.odds, strict=True)))
            value, steps = discrete_steps(self._worths, chances, self.curvature, self.altruism, items)
        table = np.asarray([(steps[0][0], 0.0)] * (items - len(steps)) + steps)
        menu = tuple((float(size), max(float(pay), 0.0)) for size, pay in zip(*self._priced(table), strict=True))
        profit = self.expected(menu)[0]
        if abs(profit - value) > 10.0 * self._slack:
            raise RuntimeError(f"best_menu: {menu} is to give {value:g}, but the agent's best picks give {profit:g}")
        sizes, pays = self._priced(self._others(table))
        profits = self.evaluate(sizes, pays)[0]
        if profits.max() > value + 10.0 * self._slack:
            best = int(profits.argmax())
            better = tuple(zip(sizes[best].tolist(), pays[best].tolist(), strict=True))
            raise RuntimeError(f"best_menu: {menu} gives {value:g}, but {better} gives {profits[best]:g}")
        return menu

    def _priced(self, steps: Any) -> tuple[Any, Any]:
        """Return sizes and pays (*batch, items) of steps (*batch, items, 2): the lowest taker of an item is indifferent."""
        worths, sizes = steps[..., 0], steps[..., 1]
        return sizes, self.paid(sizes, np.cumsum(worths * np.diff(sizes, axis=-1, prepend=0.0), axis=-1))

    def _others(self, steps: Any) -> Any:
        """Return other steps (*batch, items, 2): one step moved anywhere on a grid, the rest repriced; and random ones."""
        low, high = self._worths[0], self._worths[-1]
        worths = np.linspace(max(low, 0.0), high, 21) if self.continuum else np.asarray(self._worths)
        worths, sizes = worths[worths > 0.0], np.linspace(0.0, high / self.curvature, 41)
        grid = np.stack(np.meshgrid(worths, sizes), axis=-1).reshape(-1, 2)
        moved = np.tile(steps, (len(steps), len(grid), 1, 1))
        for i in range(len(steps)):
            moved[i, :, i] = grid
        generator = np.random.default_rng(0)
        picked = generator.choice(worths, (1000, len(steps))), generator.choice(sizes, (1000, len(steps)))
        return np.sort(np.concatenate([moved.reshape(-1, *steps.shape), np.stack(picked, axis=-1)]), axis=-2)

    @functools.cached_property
    def optimal_menu(self) -> Menu:
        """The principal's best menu."""
        return self.best_menu(len(self.names))

    @functools.cached_property
    def unlimited(self) -> tuple[float, float]:
        """The principal's expected reward and welfare of a round where a menu can hold any number of items."""
        if not self.continuum:
            return self.expected(self.best_menu(len(self.types)))
        low, high, weight = self._worths[0], self._worths[1], self.altruism
        bottom = (2.0 - weight) * low - (1.0 - weight) * high  # the lowest virtual worth; the highest is high
        least, span = max(bottom, 0.0), (high - bottom) * self.curvature
        mean, square = (high**2 - least**2) / 2 / span, (high**3 - least**3) / 3 / span
        return square / 2, (square + (1.0 - weight) * high * mean) / (2.0 - weight) - square / 2

    @property
    def first_best(self) -> float:
        """Welfare of a round in which every type gets its efficient size w / cost."""
        if self.continuum:
            low, high = self._worths
            return (high**3 - max(low, 0.0) ** 3) / (6.0 * self.curvature * (high - low))
        squares = [max(self.worth(kind), 0.0) ** 2 for kind in self.types]
        return math.fsum(p * square for p, square in zip(self.odds, squares, strict=True)) / (2.0 * self.curvature)

    def benchmarks(self) -> Benchmarks:
        """Return the first best, the second best (which is the equilibrium), and what the best single item reaches."""
        count = len(self.names)
        single = ((0.0, 0.0),) * (count - 1) + self.best_menu(1)
        second = self.repetitions * self.expected(self.optimal_menu)[1]

        def picks(seen: Seen) -> Acts:
            return {"pick": self.pick(seen[self.size], seen[self.pay], seen["type"])}

        def plays(menu: Menu) -> Any:
            columns = tuple(zip(*menu, strict=True))

            def posts(seen: Seen) -> Acts:
                names = (self.size, self.pay)
                return {n: seen[n] * 0.0 + constant(seen[n], column) for n, column in zip(names, columns, strict=True)}

            return {"principal": posts, "agent": picks}

        if self.continuum:
            efficient, how = None, "integrated over types; no finite menu attains it"
        elif count < len(self.types):
            efficient, how = None, "there are fewer items than types"
        else:
            sizes = [max(worth, 0.0) / self.curvature for worth in self._worths]
            menu = tuple((size, self.paid(size, self.curvature * size**2 / 2)) for size in sizes)
            efficient = plays(((0.0, 0.0),) * (count - len(sizes)) + menu)
            how = "as the agent picks it where the principal keeps nothing"
        method = "cells of equal width of virtual worth" if self.continuum else "ironed virtual worths"
        return Benchmarks(
            first_best=Level(
                self.repetitions * self.first_best, f"every type gets its efficient {self.size}: {how}", efficient
            ),
            second_best=Level(
                second, f"the best menu of {count} where types are private, by {method}", plays(self.optimal_menu)
            ),
            equilibrium=Level(
                second, "subgame-perfect: the best menu and the agent's best pick", plays(self.optimal_menu)
            ),
            baseline=Level(
                self.repetitions * self.expected(single)[1],
                "the best menu of one item, the same for all",
                plays(single),
            ),
        )


def discrete_steps(
    worths: tuple[float, ...], chances: tuple[float, ...], cost: float, weight: float, items: int
) -> tuple[float, Steps]:
    """Return the value and the steps of the best menu for finitely many worths, increasing.

    The virtual worth of type i is w_i - (1 - weight) (w_{i+1} - w_i) P(above i) / p_i. Types whose virtual worths
    decrease are pooled (Myerson 1981, doi:10.1287/moor.6.1.58). What is left is split into as many runs as there are
    items, each of which gets its mean virtual worth over cost; all splits are tried.
    """
    pools: list[tuple[float, float, float]] = []  # virtual worth times mass, mass, lowest worth
    for i, (worth, p) in enumerate(zip(worths, chances, strict=True)):
        gap = worths[i + 1] - worth if i + 1 < len(worths) else 0.0
        virtual, mass, lowest = p * worth - (1.0 - weight) * gap * math.fsum(chances[i + 1 :]), p, worth
        while pools and pools[-1][0] / pools[-1][1] >= virtual / mass:
            before = pools.pop()
            virtual, mass, lowest = virtual + before[0], mass + before[1], before[2]
        pools.append((virtual, mass, lowest))
    pools = [pool for pool in pools if pool[0] > 0.0]
    best: tuple[float, Steps] = (-1.0, [])
    for starts in itertools.combinations(range(len(pools)), min(items, len(pools))):
        value, steps = 0.0, []
        for start, end in zip(starts, (*starts[1:], len(pools)), strict=True):
            virtual, mass = (math.fsum(pool[k] for pool in pools[start:end]) for k in (0, 1))
            value += virtual**2 / mass / (2 * cost)
            steps.append((pools[start][2], virtual / mass / cost))
        best = max(best, (value, steps))
    return best


def uniform_steps(low: float, high: float, cost: float, weight: float, items: int) -> tuple[float, Steps]:
    """Return the value and the steps of the best menu for worths uniform on low..high.

    The virtual worth (2 - weight) w - (1 - weight) high is uniform, too; its best quantisation, with 0 as a further level,
    has cells of equal width, each of which gets its mean over cost (Bergemann, Shen, Xu and Yeh 2012, Mechanism design
    with limited information). All are served where even the lowest virtual worth is above high / (2 items + 1).
    """
    bottom = (2.0 - weight) * low - (1.0 - weight) * high
    first = max(bottom, high / (2 * items + 1))
    width = (high - first) / items
    starts = [first + width * k for k in range(items)]
    value = math.fsum((start + width / 2) ** 2 * width for start in starts) / (2 * cost * (high - bottom))
    return value, [((y + (1.0 - weight) * high) / (2.0 - weight), (y + width / 2) / cost) for y in starts]
