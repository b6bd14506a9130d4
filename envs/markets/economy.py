"""An economy on a grid: people of unequal skill gather, trade and build, and a planner taxes what they earn."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..core import measures, validate
from ..core.arrays import (
    Array,
    absent,
    by_column,
    common,
    constant,
    full,
    look_up,
    namespace,
    numbered,
    select,
    to_float,
    to_int,
    to_numpy,
    total,
)
from ..core.chance import whole
from ..core.fields import Choice, Field, Integer, Real, Role
from ..core.game import Acts, Benchmarks, Game, Level, Measure, Outcome, Seen, Stage, shared, spread, stage_field
from ..norms._grid import Grid

ZHENG = "Zheng et al. 2022, doi:10.1126/sciadv.abk2607"
GOODS = ("wood", "stone")
ACTS = (
    "stay", "north", "east", "south", "west", "build",
    "bid for wood", "ask for wood", "bid for stone", "ask for stone",
)  # fmt: skip
BUILD = 5
MARKET = 6
"""The first act that is an order: a bid and an ask for each good."""
THINGS = ("empty", "wood", "stone", "bare source", "citizen", "wall", "own house", "house")
EMPTY, BARE, CITIZEN, WALL, OWN, HOUSE = 0, 3, 4, 5, 6, 7
US_CUTS = (0.0, 9.7, 39.475, 84.2, 160.725, 204.1, 510.3)
"""Lower bounds of the brackets of the federal income tax of the United States, 2019, in thousands of dollars."""


class Market(NamedTuple):
    """One good.

    (*batch, citizens): ``held`` (units, less those set aside), and the standing order: ``side`` (1 a bid, -1 an ask, 0 none),
    ``price`` and ``when`` (its number of arrival). ``last`` (*batch) is the last price, -1 before the first.
    """

    held: Array
    side: Array
    price: Array
    when: Array
    last: Array


class EconomyState(NamedTuple):
    """Where an episode stands.

    ``ground`` (*batch, cells), of 8 bits, holds what lies on each cell, row by row, with a margin of wall as wide as one sees:
    an index into ``THINGS``, 7 + i for a house of citizen i; ``under`` (*batch, citizens) what lies under the citizens, who are
    on it. (*batch, citizens): ``places`` (cells), ``coin`` (held), ``wealth`` (coin that bids set aside included), ``pays``
    (coins a house earns its builder), ``twice`` (chance to gather two units), ``labour`` and ``houses`` so far, ``utility``,
    ``base`` (coin as the tax period opened), ``incomes`` and ``taxes`` (of the last period). ``markets`` are those of wood and
    stone. ``rates`` and ``old_rates`` (*batch, brackets) count steps of the tax rate. (*batch): ``stage``, ``steps`` taken,
    ``worth`` (equality times productivity), ``trades``, ``turnover`` (coins paid in trades), ``revenue`` (tax so far).
    """

    ground: Array
    under: Array
    places: Array
    coin: Array
    wealth: Array
    pays: Array
    twice: Array
    labour: Array
    houses: Array
    utility: Array
    base: Array
    incomes: Array
    taxes: Array
    markets: tuple[Market, Market]
    rates: Array
    old_rates: Array
    stage: Array
    steps: Array
    worth: Array
    trades: Array
    turnover: Array
    revenue: Array


@dataclass(frozen=True)
class Economy(Game):
    """The gather-trade-build economy of the AI Economist (Zheng et al. 2020, arXiv:2004.13332; 2022, doi:10.1126/sciadv.abk2607).

    Citizens gather wood and stone, build houses of one of each, which earn them coin by skill, and trade in a continuous
    double auction. Coin c and labour l are worth (c^(1 - eta) - 1) / (1 - eta) - energy l. Every ``period`` steps a planner
    sets the rates of tax brackets on the income of the period; the tax is shared equally by all. Social welfare, and the
    planner's reward, is equality times productivity: all coin, times 1 - Gini of coin, one formula for every n.

    The components and their constants are those published. Here the map is made from rows, not drawn; a citizen has one
    standing order a good; orders lapse on tax day, before taxes are taken.

    Parameters
    ----------
    citizens
        Number of citizens, n.
    width, height
        Columns and rows of the map, inside its walls.
    rows
        Rows of wood in the north, and of stone in the south.
    steps, period
        Length of an episode, T, and of a tax period, which divides it.
    sight
        Radius of the square that a citizen sees around itself, in cells.
    regrowth
        Chance that a bare source bears again in a step.
    pay, most_skill, tail
        A house earns its builder ``pay`` times its skill, which is Pareto of index ``tail`` from 1 on, at most ``most_skill``.
    bonus
        Chances to gather two units are uniform from 0 to this.
    move_labour, gather_labour, build_labour, trade_labour
        Labour of a move, of gathering, of building a house, of an order.
    energy, eta
        Utility that a unit of labour costs; how fast the worth of coin falls.
    highest
        Highest price of an order; the lowest is 0.
    order_life
        Steps for which an order stands.
    cuts, rate_step
        Lower bounds of the tax brackets in coins, the first 0; rates are whole multiples of the step.
    """

    citizens: int = 4
    width: int = 11
    height: int = 11
    rows: int = 1
    steps: int = 200
    period: int = 100
    sight: int = 3
    regrowth: float = 0.01
    pay: float = 10.0
    most_skill: float = 3.0
    tail: float = 4.0
    bonus: float = 0.5
    move_labour: float = 1.0
    gather_labour: float = 1.0
    build_labour: float = 10.0
    trade_labour: float = 0.25
    energy: float = 0.21
    eta: float = 0.23
    highest: int = 10
    order_life: int = 50
    cuts: tuple[float, ...] = US_CUTS
    rate_step: float = 0.05

    reports = (
        Measure("productivity", "coin that all have", "sum_i c_i", "coins", ZHENG),
        Measure("equality", "how evenly coin is spread", "1 - sum_ij |c_i - c_j| / (2 n sum_i c_i)", "", ZHENG),
        Measure("utility", "mean gain of utility of a citizen", "(1/n) sum_i (u_i - u_i0)"),
        Measure("houses", "houses built", "#houses"),
        Measure("trades", "units of goods traded", "#trades"),
        Measure("price", "mean price of a unit traded; 0 without trade", "sum of prices / #trades", "coins"),
        Measure("revenue", "tax paid by all", "sum_i tax_i", "coins"),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range, and maps too small for the citizens."""
        validate.whole("citizens", self.citizens, 2, 100)
        validate.whole("width", self.width, 3, 64)
        validate.whole("height", self.height, 3, 64)
        validate.whole("rows", self.rows, 1, 31)
        validate.whole("steps", self.steps, 1, 100_000)
        validate.whole("period", self.period, 1, 100_000)
        validate.whole("sight", self.sight, 1, 8)
        validate.whole("highest", self.highest, 1, 1000)
        validate.whole("order_life", self.order_life, 1, 100_000)
        for name in ("regrowth", "bonus"):
            validate.probability(name, getattr(self, name))
        for name in ("pay", "move_labour", "gather_labour", "build_labour", "trade_labour", "energy"):
            validate.real(name, getattr(self, name), 0.0, 1e4)
        validate.real("most_skill", self.most_skill, 1.0, 100.0)
        validate.real("tail", self.tail, 0.1, 100.0)
        validate.real("eta", self.eta, 0.0, 0.99)
        validate.real("rate_step", self.rate_step, 0.001, 1.0)
        if abs(self.rate_step * self.levels - 1.0) > 1e-9:
            raise ValueError(
                f"rate_step: a number of which 1 is a multiple, got {self.rate_step!r}; take 0.05, 0.1 or 0.25"
            )
        cuts: Any = self.cuts
        if not isinstance(cuts, list | tuple) or not 1 <= len(cuts) <= 20:
            raise ValueError(f"cuts: a list of 1 to 20 numbers, got {cuts!r}")
        object.__setattr__(self, "cuts", tuple(validate.real(f"cuts[{i}]", v, 0.0, 1e6) for i, v in enumerate(cuts)))
        if self.cuts[0] != 0.0 or any(high <= low for low, high in zip(self.cuts, self.cuts[1:], strict=False)):
            raise ValueError(f"cuts: rising numbers from 0 on, got {self.cuts!r}; begin with 0 and sort them")
        if self.steps % self.period:
            raise ValueError(f"period: a divisor of steps={self.steps}, got {self.period}")
        if 2 * self.rows >= self.height:
            raise ValueError(
                f"rows: at most {(self.height - 1) // 2} of {self.height} rows, got {self.rows}; raise height"
            )
        if self.citizens > self.land:
            raise ValueError(
                f"citizens: at most {self.land}, the cells without a source, got {self.citizens}; enlarge the map"
            )

    # ---- the map ------------------------------------------------------------------------------------------------

    @functools.cached_property
    def grid(self) -> Grid:
        """What one sees; everybody faces north."""
        return Grid(self.width, self.height, self.sight, 1, 0)

    @property
    def stride(self) -> int:
        """Cells from one to the next in the south: the columns, and a margin of wall as wide as one sees."""
        return self.width + 2 * self.sight

    @property
    def sources(self) -> int:
        """Cells that bear wood, and that bear stone."""
        return self.rows * self.width

    @property
    def land(self) -> int:
        """Cells on which houses can stand."""
        return self.width * self.height - 2 * self.sources

    @property
    def levels(self) -> int:
        """Highest tax rate, in steps."""
        return round(1.0 / self.rate_step)

    @functools.cached_property
    def _first(self) -> tuple[int, ...]:
        """What lies on each cell at first."""
        h, found = self.height, []
        for row in range(-self.sight, h + self.sight):
            thing = WALL if not 0 <= row < h else 1 if row < self.rows else 2 if row >= h - self.rows else EMPTY
            margin = [WALL] * self.sight
            found += [*margin, *[thing] * self.width, *margin]
        return tuple(found)

    @functools.cached_property
    def _homes(self) -> tuple[int, ...]:
        """The cells of the land."""
        return tuple(cell for cell, thing in enumerate(self._first) if thing == EMPTY)

    @functools.cached_property
    def _parts(self) -> tuple[tuple[int, int], ...]:
        """For each citizen the first cell of the land, and the number of cells, of a part that is its own at the start."""
        n, land = self.citizens, self.land
        return tuple((i * land // n, (i + 1) * land // n - i * land // n) for i in range(n))

    @functools.cached_property
    def _offsets(self) -> tuple[int, ...]:
        """What to add to a cell for each cell in view, itself in the middle."""
        span = range(-self.sight, self.sight + 1)
        return tuple(down * self.stride + right for down in span for right in span)

    @functools.cached_property
    def _middle(self) -> tuple[bool, ...]:
        return tuple(offset == 0 for offset in self._offsets)

    @functools.cached_property
    def _ways(self) -> tuple[int, ...]:
        """What each act adds to a place."""
        return (0, -self.stride, 1, self.stride, -1, 0, 0, 0, 0, 0)

    @functools.cached_property
    def _seats(self) -> tuple[int, ...]:
        return tuple(range(self.citizens))

    @functools.cached_property
    def _houses(self) -> tuple[int, ...]:
        """What stands for each citizen's house."""
        return tuple(HOUSE + i for i in range(self.citizens))

    @functools.cached_property
    def _fronts(self) -> tuple[np.int8, ...]:
        """What stands for a citizen's own house, once for each cell that it sees, citizen by citizen."""
        return tuple(np.int8(house) for house in self._houses for _ in self._offsets)

    # ---- in words -----------------------------------------------------------------------------------------------

    @functools.cached_property
    def about(self) -> str:
        """The rules in words."""
        n, h = self.citizens, self.height
        wood = "northern row" if self.rows == 1 else f"{self.rows} northern rows"
        stone = "southern row" if self.rows == 1 else f"{self.rows} southern rows"
        cuts = ", ".join(f"{cut:g}" for cut in self.cuts)
        return (
            f"{n} citizens live on a map of {self.width} columns and {h} rows for {self.steps} steps; row 1 is in the north. In "
            f"the {wood} every cell is a source of wood, in the {stone} one of stone. A citizen who stands on a source that "
            f"bears takes its unit, two with a chance of its own ('twice'); the source is then bare and bears again in a step "
            f"with probability {self.regrowth:g}.\n"
            f"In a step every citizen does one thing, all at once. It moves by one cell; nobody enters a wall, a house of another "
            f"or a cell on which somebody stood, and a lot decides between those who want the same cell. Or it builds: with one "
            f"wood and one stone it makes a house of the empty cell on which it stands, and gets coin for it by its skill "
            f"('pays'). Or it gives an order for one unit of wood or stone at a whole price from 0 to {self.highest} coins: a bid "
            f"sets the price aside in coin, an ask the unit; who has too little gives no order. A citizen has one order a good: a "
            f"new one takes the old one's place, and after {self.order_life} steps an order lapses. The highest bid meets the "
            f"lowest ask, at equal prices the older one, if it is at least as high; they trade at the price of the older order.\n"
            f"Every {self.period} steps a tax period opens and the planner sets the tax rates, from 0 to {self.levels} in steps of "
            f"{self.rate_step:.3g}, on income above {cuts} coins, each up to the next of these amounts. When it ends, orders "
            f"lapse, all pay on the coin that they gained in the period (trade and houses), and the tax is shared equally.\n"
            f"Coin c and labour l give a citizen the utility (c^{1 - self.eta:g} - 1) / {1 - self.eta:g} - {self.energy:g} l; its "
            f"reward in a step is what that rises by. Labour is {self.move_labour:g} for a move, {self.gather_labour:g} for "
            f"gathering, {self.build_labour:g} for a house, {self.trade_labour:g} for an order.\n"
            f"Social welfare is all coin times the equality of coin, which is 1 - sum |c_i - c_j| / (2 n sum c_i) over all pairs; "
            f"the planner's reward in a step is what that rises by."
        )

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The rates, as a period opens; and what citizens do."""
        return Stage("tax", "the planner sets the tax rates, as a tax period opens"), Stage("act", "citizens act")

    @functools.cached_property
    def roles(self) -> tuple[Role, ...]:
        """The planner and the citizens."""
        n, richest = self.citizens, self.pay * self.most_skill * self.land
        brackets = tuple(f"above {cut:.10g}" for cut in self.cuts)
        names = tuple(f"citizen_{i}" for i in range(n))
        coins, rate = Real(0.0, richest), Integer(0, self.levels)
        unit = f"steps of {self.rate_step:.3g}"
        most = Integer(0, 4 * self.sources * self.steps)
        clock = (
            stage_field(self.stages),
            Field("step", Integer(1, self.steps), "this step's number"),
            Field("left", Integer(1, self.period), "steps until taxes are paid"),
        )
        planner = Role(
            "planner",
            1,
            (
                *clock,
                Field("cuts", Real(0.0, self.cuts[-1]), "income above which a rate holds", "coins", brackets, True),
                Field("last_rates", rate, "tax rates of the last period; 0 before the first", unit, brackets, True),
                Field("incomes", coins, "incomes in the last period; 0 before the first", "coins", names, True),
                Field("wealth", coins, "coin that each has", "coins", names, True),
            ),
            (Field("rates", rate, "tax rates on income above each amount", unit, brackets, stage="tax"),),
            "you want much coin, evenly spread",
        )
        price = Integer(-1, self.highest)
        citizen = Role(
            "citizen",
            n,
            (
                *clock,
                Field("row", Integer(1, self.height), "your row, counted from the north"),
                Field("column", Integer(1, self.width), "your column, counted from the west"),
                Field("view", Choice(THINGS), "what is where you are and around you; ahead is north", each=self.labels),
                Field("goods", most, "what you hold, less what is set aside", each=GOODS),
                Field("coin", coins, "coin that you hold, less what is set aside", "coins"),
                Field("pays", Real(0.0, self.pay * self.most_skill), "what a house pays you", "coins"),
                Field("twice", Real(0.0, 1.0), "your chance to gather two units"),
                Field("income", coins, "your income in this tax period so far, or 0", "coins", verifiable=True),
                Field("rates", rate, "tax rates on income above each amount", unit, brackets, True),
                Field("best_bid", price, "highest price bid now; -1: none", "coins", GOODS, True),
                Field("best_ask", price, "lowest price asked now; -1: none", "coins", GOODS, True),
                Field("last_price", price, "price of the last trade; -1: none yet", "coins", GOODS, True),
                Field("order", Choice(("none", "bid", "ask")), "your order", each=GOODS),
                Field("order_price", Integer(0, self.highest), "the price of your order, or 0", "coins", GOODS),
            ),
            (
                Field("act", Choice(ACTS), "what you do", stage="act"),
                Field("price", Integer(0, self.highest), "the price of a bid or ask", "coins", stage="act"),
            ),
            "you want much coin for little labour",
        )
        return planner, citizen

    @functools.cached_property
    def labels(self) -> tuple[str, ...]:
        """Names of the cells that a citizen sees, its own in the middle."""
        names = self.grid.labels
        half = len(names) // 2
        return (*names[:half], "here", *names[half:])

    @property
    def rounds(self) -> int:
        """Steps."""
        return self.steps

    @property
    def horizon(self) -> int:
        """Steps, and the planner's decisions."""
        return self.steps + self.steps // self.period

    def stage(self, state: EconomyState) -> Array:
        """Return whether the planner (0) or the citizens (1) are next."""
        return state.stage

    def round(self, state: EconomyState) -> Array:
        """Return the steps taken."""
        return state.steps

    # ---- the game in arrays -------------------------------------------------------------------------------------

    @property
    def draws(self) -> int:  # type: ignore[override]
        """Uniform numbers: one a citizen and one a source of wood, which also serves one of stone; four a citizen at the start."""
        return max(4 * self.citizens, self.citizens + self.sources)

    def uncertain(self, state: EconomyState, acts: Mapping[str, Acts]) -> bool:
        """Say that nothing is left to chance when the planner decides."""
        return common(state.stage) != 0

    def start(self, u: Array) -> EconomyState:
        """Put the citizens somewhere on the land, each on a part of its own, and draw their skills."""
        n, batch, u = self.citizens, tuple(u.shape[:-1]), by_column(u)
        order = to_int(namespace(u).argsort(u[..., :n], axis=-1, stable=True))
        part = look_up(order, self._parts, order)
        places = by_column(look_up(order, self._homes, part[..., 0] + whole(u[..., n : 2 * n], 0, part[..., 1] - 1)))
        skill = namespace(u).clip((1.0 - u[..., 2 * n : 3 * n]) ** (-1.0 / self.tail), 1.0, self.most_skill)
        none, zero = to_float(places) * 0.0, full(u, batch, 0.0)
        count, orders = full(u, batch, 0, integer=True), places * 0
        market = Market(orders, orders, orders, orders, count - 1)
        rates = full(u, (*batch, len(self.cuts)), 0, integer=True)
        ground = _small(full(u, (*batch, len(self._first)), 0, integer=True) + constant(u, self._first))
        return EconomyState(
            ground=_put(ground, places, places * 0 + CITIZEN),
            under=_small(places * 0),
            places=places,
            coin=none,
            wealth=none,
            pays=self.pay * skill,
            twice=self.bonus * u[..., 3 * n : 4 * n],
            labour=none,
            houses=places * 0,
            utility=self._utility(none, none),
            base=none,
            incomes=none,
            taxes=none,
            markets=(market, market),
            rates=rates,
            old_rates=rates,
            stage=count,
            steps=count,
            worth=zero,
            trades=count,
            turnover=zero,
            revenue=zero,
        )

    def _utility(self, coin: Array, labour: Array) -> Array:
        power = 1.0 - self.eta
        return (coin**power - 1.0) / power - self.energy * labour

    def view(self, state: EconomyState) -> dict[str, Seen]:
        """Show the planner the accounts, and each citizen its surroundings, its goods and the market."""
        xp, n, k = namespace(state.ground), self.citizens, len(self.cuts)
        wealth = state.wealth
        stage, step = state.stage, state.steps + 1 * (state.steps < self.steps)
        left = self.period - (step - 1) % self.period
        planner = {
            "stage": stage[..., None],
            "step": step[..., None],
            "left": left[..., None],
            "cuts": xp.broadcast_to(constant(wealth, self.cuts), (*stage.shape, 1, k)),
            "last_rates": state.old_rates[..., None, :],
            "incomes": state.incomes[..., None, :],
            "wealth": wealth[..., None, :],
        }
        markets = state.markets
        bid = [_most(xp.where(m.side > 0, m.price, -1)) for m in markets]
        ask = [-_most(xp.where(m.side < 0, -m.price, -self.highest - 1)) for m in markets]
        citizen = {
            "stage": spread(stage, n),
            "step": spread(step, n),
            "left": spread(left, n),
            "row": state.places // self.stride - self.sight + 1,
            "column": state.places % self.stride - self.sight + 1,
            "view": self._look(state.ground, state.places, state.under),
            "goods": xp.stack([m.held for m in markets], axis=-1),
            "coin": state.coin,
            "pays": state.pays,
            "twice": state.twice,
            "income": xp.clip(wealth - state.base, 0.0, None),
            "rates": shared(state.rates, n),
            "best_bid": shared(xp.stack(bid, axis=-1), n),
            "best_ask": shared(xp.stack([xp.where(a > self.highest, -1, a) for a in ask], axis=-1), n),
            "last_price": shared(xp.stack([m.last for m in markets], axis=-1), n),
            "order": xp.stack([xp.where(m.side < 0, 2, m.side) for m in markets], axis=-1),
            "order_price": xp.stack([xp.where(m.side == 0, 0, m.price) for m in markets], axis=-1),
        }
        return {"planner": planner, "citizen": citizen}

    def _look(self, ground: Array, places: Array, under: Array) -> Array:
        """Return what each citizen sees, and in the middle what lies under it, (*batch, n, cells in view), of 32 bits."""
        side = 2 * self.sight + 1
        if not isinstance(ground, np.ndarray):
            around = pick(ground, places[..., None] + constant(places, self._offsets))
            around = namespace(ground).where(constant(places, self._middle), under[..., None], around)
            mine = _small(constant(places, self._houses))[..., None]
            return _small(namespace(ground).clip(around, 0, HOUSE) - _small(around == mine), 32)
        # from the first cell in view to the last is one item, and a row in view another, which are copied at once
        ground, span = np.ascontiguousarray(ground), self._offsets[-1] - self._offsets[0] + 1
        spans = np.ndarray((ground.size - span + 1,), f"V{span}", ground, strides=(1,))
        taken = spans[(_flat(ground, places) + self._offsets[0]).reshape(-1)]
        rows = np.ndarray((places.size, side), f"V{side}", taken, strides=(span, self.stride))
        around = rows.copy().view(np.int8).reshape((*places.shape[:-1], -1))
        around[..., side * side // 2 :: side * side] = under  # into the copy, as what follows
        own = around == constant(around, self._fronts)
        np.clip(around, 0, HOUSE, out=around)
        around -= own.view(np.int8)  # one's own house is the thing before others'
        return _small(around, 32).reshape((*places.shape, -1))

    def step(self, state: EconomyState, acts: Mapping[str, Acts], u: Array) -> Outcome:
        """Set the rates, or let the citizens act."""
        number = common(state.stage)
        if number == 0:
            return self._tax(state, acts)
        if number == 1:
            return self._act(state, acts, u)
        return Outcome(*select(state.stage == 1, self._act(state, acts, u), self._tax(state, acts)))

    def _tax(self, state: EconomyState, acts: Mapping[str, Acts]) -> Outcome:
        rates = to_int(acts["planner"]["rates"])[..., 0, :]
        zero = state.worth * 0.0
        none = {"planner": zero[..., None], "citizen": state.coin * 0.0}
        return Outcome(state._replace(rates=rates, old_rates=rates, stage=state.stage + 1), none, zero > 0.0, zero)

    def _act(self, state: EconomyState, acts: Mapping[str, Acts], u: Array) -> Outcome:
        xp, n, u = namespace(state.ground), self.citizens, by_column(u)
        act, price = (by_column(to_int(acts["citizen"][name])) for name in ("act", "price"))
        lots, ground, labour = u[..., :n], state.ground, state.labour
        rest = _rest(u)  # a number's first digits serve for one thing, the others for another
        # ---- the market
        key = to_int(xp.floor(lots * 2.0**26)) * n + constant(act, self._seats)  # no two of them are the same
        ahead = key[..., None, :] < key[..., :, None]
        arrival = state.steps[..., None] * self._moment + key
        coin, ordered, trades, turnover = state.coin, act < 0, state.trades, state.turnover
        markets = []
        for good, old in enumerate(state.markets):
            kind = act - (MARKET + 2 * good)
            lapsed = old.when < ((state.steps + 1 - self.order_life) * self._moment)[..., None]
            market, back = _lapse(old, lapsed | (kind == 0) | (kind == 1))
            markets.append(market)
            coin = coin + back
        for good, market in enumerate(markets):
            kind = act - (MARKET + 2 * good)
            bids, asks = (kind == 0) & (coin >= price), (kind == 1) & (market.held > 0)
            ordered = ordered | bids | asks
            coin = coin - xp.where(bids, price, 0)
            market, gains, sold, paid = _clear(_order(market, bids, asks, price, arrival), self._numbers, n // 2)
            markets[good] = market
            coin, trades, turnover = coin + gains, trades + sold, turnover + paid
        # ---- moves: nobody enters a wall, a house of another or a cell on which somebody stood
        places, own = state.places, constant(act, self._houses)
        aims = places + by_column(look_up(act, self._ways, act))
        there = pick(ground, aims)
        aims = xp.where((there >= CITIZEN) & (there != own), places, aims)
        rival = (aims[..., :, None] == aims[..., None, :]) & ahead
        moved = xp.where(_some(rival), places, aims)
        # ---- gathering and building
        ground = _put(ground, places, state.under)
        here = pick(ground, moved)
        found = (here == 1) | (here == 2)
        units = to_int(found) * (1 + (rest[..., :n] < state.twice))
        wood, stone = (market.held for market in markets)
        builds = (act == BUILD) & (here == EMPTY) & (wood > 0) & (stone > 0)
        used = to_int(builds)
        markets = [m._replace(held=m.held + units * (here == k) - used) for k, m in enumerate(markets, 1)]
        coin = coin + state.pays * builds
        ground = _put(ground, moved, xp.where(found, BARE, xp.where(builds, own, here)), again=True)
        ground = self._grow(ground, u[..., n:] < self.regrowth, rest[..., n:] < self.regrowth)
        under = pick(ground, moved)
        labour = (
            labour
            + self.move_labour * (moved != places)
            + self.gather_labour * found
            + self.build_labour * builds
            + self.trade_labour * ordered
        )
        # ---- tax day
        steps = state.steps + 1
        due = steps % self.period == 0
        base, incomes, taxes, revenue = state.base, state.incomes, state.taxes, state.revenue
        if not absent(due):
            today = due[..., None]
            for good, market in enumerate(markets):
                markets[good], back = _lapse(market, today)
                coin = coin + back
            income = xp.clip(coin - base, 0.0, None)
            owed = self.tax(income, state.rates)
            everyone = total(owed)
            coin = xp.where(today, coin - owed + (everyone / n)[..., None], coin)
            base, incomes, taxes = (
                xp.where(today, new, old) for new, old in ((coin, base), (income, incomes), (owed, taxes))
            )
            revenue = revenue + xp.where(due, everyone, 0.0)
        # ---- the books
        wealth = coin + sum(xp.where(m.side > 0, m.price, 0) for m in markets)
        utility, worth = self._utility(wealth, labour), measures.equality(wealth) * total(wealth)
        rise, done = worth - state.worth, steps >= self.steps
        after = EconomyState(
            ground=_put(ground, moved, moved * 0 + CITIZEN, again=True),
            under=under,
            places=moved,
            coin=coin,
            wealth=wealth,
            pays=state.pays,
            twice=state.twice,
            labour=labour,
            houses=state.houses + builds,
            utility=utility,
            base=base,
            incomes=incomes,
            taxes=taxes,
            markets=(markets[0], markets[1]),
            rates=state.rates,
            old_rates=state.old_rates,
            stage=to_int(~due | done),
            steps=steps,
            worth=worth,
            trades=trades,
            turnover=turnover,
            revenue=revenue,
        )
        return Outcome(after, {"planner": rise[..., None], "citizen": utility - state.utility}, done, rise)

    @property
    def _moment(self) -> int:
        """What a step adds to the number of arrival of an order."""
        return self.citizens * 2**26

    @property
    def _numbers(self) -> int:
        """A number above every order's number of arrival."""
        return self.steps * self._moment

    def _grow(self, ground: Array, wood: Array, stone: Array) -> Array:
        """Let bare sources bear again, with the luck of each source (*batch, at least sources), into _put's copy."""
        xp, w, sight = namespace(ground), self.width, self.sight
        parts, end = [], 0
        for first, kind, luck in ((sight, 1, wood), (sight + self.height - self.rows, 2, stone)):
            for row in range(self.rows):
                begin = (first + row) * self.stride + sight
                cells, lucky = ground[..., begin : begin + w], luck[..., row * w : (row + 1) * w]
                if isinstance(ground, np.ndarray):  # few are
                    found = np.nonzero(lucky)
                    cells[found] = np.where(cells[found] == BARE, kind, cells[found])
                    continue
                bears = (cells == BARE) & lucky
                parts += [ground[..., end:begin], xp.where(bears, kind, cells)]
                end = begin + w
        return xp.concat([*parts, ground[..., end:]], axis=-1) if parts else ground

    @functools.cached_property
    def _widths(self) -> tuple[float, ...]:
        """Widths of the brackets, the last one without end."""
        return (*(b - a for a, b in zip(self.cuts, self.cuts[1:], strict=False)), 1e12)

    def tax(self, income: Array, rates: Array) -> Array:
        """Return the tax on incomes (*batch, n) at rates in steps (*batch, brackets)."""
        xp = namespace(income)
        within = xp.clip(income[..., None] - constant(income, self.cuts), 0.0, None)
        within = xp.minimum(within, constant(income, self._widths))
        return total(within * (to_float(rates) * self.rate_step)[..., None, :])

    def measures(self, state: EconomyState) -> dict[str, Array]:
        """Return productivity and equality as published, gains of utility, houses, trade and tax."""
        wealth = state.wealth
        first = (0.0 - 1.0) / (1.0 - self.eta)
        return {
            "productivity": total(wealth),
            "equality": measures.equality(wealth),
            "utility": total(state.utility - first) / self.citizens,
            "houses": to_float(total(state.houses)),
            "trades": to_float(state.trades),
            "price": state.turnover / (state.trades + (state.trades == 0)),
            "revenue": state.revenue,
        }

    # ---- what is known ------------------------------------------------------------------------------------------

    @functools.cached_property
    def bound(self) -> float:
        """Welfare that no play exceeds in expectation: the most houses, all built by the most skilled, evenly shared.

        Houses are bounded by the land, by the time it takes to gather two units and to build, and by what sources bear.
        """
        units = self.sources * (1.0 + self.regrowth * (self.steps - 1)) * (1.0 + self.bonus)
        time = self.citizens * self.steps / (2 if self.bonus else 3)
        x, weight = np.polynomial.legendre.leggauss(200)
        s = 1.0 + (self.most_skill - 1.0) * (x + 1.0) / 2.0
        rest = 1.0 - (1.0 - s**-self.tail) ** self.citizens
        best = 1.0 + float(rest @ weight) * (self.most_skill - 1.0) / 2.0
        return self.pay * best * min(float(self.land), time, units)

    def builder(self, seen: Seen, load: int = 3) -> Acts:
        """Follow a script: gather some wood, then as much stone, build where there is room, and rest when it no longer pays.

        It does not trade. A house pays while the utility of its coin, less tax at the present rate, exceeds that of its
        labour, which is reckoned with ten moves.
        """
        xp, view, step = namespace(seen["view"]), seen["view"], to_int(seen["step"])
        wood, stone = seen["goods"][..., 0], seen["goods"][..., 1]
        row, column, here = seen["row"], seen["column"], view[..., len(self._offsets) // 2]
        distance, wait = constant(view, self._paths)[..., 0], (step + column) % 4 > 0
        near, away = [], (row > self.rows, row <= self.height - self.rows)
        for kind in (1, 2):  # towards the nearest source that bears; else to the row, and along it now and then
            far = xp.where(view == kind, distance, 1000)
            way = look_up(view, self._paths, xp.argmin(far, axis=-1))
            path = xp.where(step % 2 == 0, way[..., 1], way[..., 2])
            along = xp.where(wait, 0, xp.where((step // (4 * self.width)) % 2 == 0, 2, 4))
            gap = xp.min(far, axis=-1)
            near.append((gap, xp.where(gap < 1000, path, xp.where(away[kind - 1], 2 * kind - 1, along))))
        more_wood = (stone == 0) & ((wood == 0) | ((wood < load) & (near[0][0] <= 2)))
        more_stone = ~more_wood & ((stone == 0) | ((stone < wood) & (near[1][0] <= 2)))
        home = xp.where(here == EMPTY, BUILD, xp.where(row <= self.height // 2, 3, 1))
        act = xp.where(more_wood, near[0][1], xp.where(more_stone, near[1][1], home))
        ahead = xp.stack([view[..., i] for i in self._next], axis=-1)
        turn = xp.clip(act - 1, 0, 3)
        stop = xp.take_along_axis(ahead, turn[..., None], axis=-1)[..., 0]
        aside = (turn + xp.where((step // 3 + column) % 2 == 0, 1, 3)) % 4 + 1
        blocked = (act >= 1) & (act <= 4) & ((stop == CITIZEN) | (stop == WALL) | (stop == HOUSE))
        works = (seen["stage"] == 1) & self._pays(seen)
        return {"act": to_int(xp.where(works, xp.where(blocked, aside, act), 0))}

    def _pays(self, seen: Seen) -> Array:
        """Return whether one more house is worth its labour to a citizen."""
        xp = namespace(seen["coin"])
        bracket = total(to_int(seen["income"][..., None] >= constant(seen["income"], self.cuts))) - 1
        rate = xp.take_along_axis(seen["rates"], bracket[..., None], axis=-1)[..., 0] * self.rate_step
        kept = 1.0 - rate * (1.0 - 1.0 / self.citizens)
        cost = self.energy * (self.build_labour + 2.0 * self.gather_labour + 10.0 * self.move_labour)
        return seen["pays"] * kept * xp.clip(seen["coin"], 1.0, None) ** -self.eta > cost

    @functools.cached_property
    def _next(self) -> tuple[int, ...]:
        """Where the cells to the north, east, south and west are in what a citizen sees."""
        return tuple(self._offsets.index(way) for way in self._ways[1:5])

    @functools.cached_property
    def _paths(self) -> tuple[tuple[int, int, int], ...]:
        """Of each cell in view, its distance and the two moves that lead to it; one's own is no goal."""
        found, span = [], range(-self.sight, self.sight + 1)
        for north, east in ((-down, right) for down in span for right in span):
            up, side = (1 if north > 0 else 3), (2 if east > 0 else 4)
            found.append((abs(north) + abs(east) or 1000, up if north else side, side if east else up))
        return tuple(found)

    def flat(self, rate: float) -> Callable[[Seen], Acts]:
        """Return a planner that sets one rate, from 0 to 1, in all brackets."""
        return lambda seen: {"rates": seen["last_rates"] * 0 + round(rate * self.levels)}

    def benchmarks(self) -> Benchmarks:
        """Return an upper bound, and what a script reaches untaxed and taxed; no optimum and no equilibrium is known."""
        bound, levels = self.bound, {}
        for name, rate in (("untaxed", 0.0), ("taxed", 0.5)):
            value, told = _simulated(self, rate)
            play = {"planner": self.flat(rate), "citizen": self.builder}
            source = f"script that gathers and builds and does not trade, tax rate {rate:g} in all brackets, {told}"
            levels[name] = Level(min(value, bound), source, play)
        free = levels["untaxed"]
        return Benchmarks(
            first_best=Level(
                bound, "upper bound, not attained: as many houses as can be, by the most skilled, evenly shared"
            ),
            equilibrium=Level(
                free.value, f"no equilibrium of this game is known; in its place stands the {free.source}"
            ),
            baseline=free,
            others={"taxed": levels["taxed"]},
        )


@functools.lru_cache(maxsize=64)
def _simulated(game: Economy, rate: float) -> tuple[float, str]:
    """Return the mean welfare of an episode in which all follow the script, and how it was found."""
    from ..core.worlds import Worlds

    count = max(256, min(4096, 200_000 // game.steps))
    worlds, welfare, planner = Worlds(game, count, check=False), 0.0, game.flat(rate)
    price = np.zeros((count, game.citizens), dtype=np.int64)
    for _ in range(game.horizon):
        seen = worlds.view()
        acts = {"planner": planner(seen["planner"]), "citizen": {**game.builder(seen["citizen"]), "price": price}}
        welfare = welfare + worlds.step(acts).welfare
    values = to_numpy(welfare)
    error = float(values.std(ddof=1)) / count**0.5
    return float(values.mean()), f"mean of {count} simulated episodes (standard error {error:.2g})"


def _small(values: Array, bits: int = 8) -> Array:
    """Return integers of so many bits."""
    if isinstance(values, np.ndarray | np.generic):
        return values.astype(f"int{bits}")
    xp = namespace(values)
    return xp.astype(values, getattr(xp, f"int{bits}"))


def _most(values: Array) -> Array:
    """Return the highest over the last axis; column by column where it is short, which NumPy does more quickly."""
    xp, count = namespace(values), values.shape[-1]
    if not isinstance(values, np.ndarray) or count > 8:
        return xp.max(values, axis=-1)
    return functools.reduce(np.maximum, (values[..., i] for i in range(count)))


def _some(flags: Array, axis: int = -1) -> Array:
    """Return whether any holds over the last axis, or the last but one (-2), as ``_most`` does."""
    count = flags.shape[axis]
    if not isinstance(flags, np.ndarray) or count > 8:
        return namespace(flags).any(flags, axis=axis)
    return functools.reduce(np.logical_or, (flags[..., i] if axis == -1 else flags[..., i, :] for i in range(count)))


def _rest(u: Array) -> Array:
    """Return what the last 27 of the 53 bits of uniform numbers are as numbers in [0, 1), independent of the first 26."""
    scaled = u * 2.0**26
    return scaled - namespace(u).floor(scaled)


def _flat(cells: Array, places: Array) -> Array:
    """Return where places (*batch, n) are in NumPy's cells (*batch, k), laid out flat."""
    return places + _firsts(cells.shape)


@functools.lru_cache(maxsize=64)
def _firsts(shape: tuple[int, ...]) -> Array:
    """Return where each world's cells begin, (*batch, 1)."""
    return np.arange(0, math.prod(shape), shape[-1]).reshape((*shape[:-1], 1))


def pick(cells: Array, places: Array) -> Array:
    """Return cells (*batch, k) at places (*batch, ...)."""
    if isinstance(cells, np.ndarray):
        return cells.reshape(-1)[_flat(cells, places)]
    xp = namespace(cells)
    flat = xp.reshape(places, (*cells.shape[:-1], -1))
    return xp.reshape(xp.take_along_axis(cells, flat, axis=-1), tuple(places.shape))


def _put(cells: Array, places: Array, values: Array, *, again: bool = False) -> Array:
    """Return cells (*batch, k) with values (*batch, n) at places (*batch, n), no two of which are the same.

    NumPy writes into a copy, which is quicker; ``again`` says that the cells are such a copy already.
    """
    if isinstance(cells, np.ndarray):
        found = cells if again else cells.copy()
        found.reshape(-1)[_flat(cells, places)] = values
        return found
    xp, values = namespace(cells), _small(values)
    numbers = numbered(places, cells.shape[-1])
    for i in range(places.shape[-1]):
        cells = xp.where(numbers == places[..., i, None], values[..., i, None], cells)
    return cells


def _lapse(market: Market, gone: Array) -> tuple[Market, Array]:
    """Take back orders where ``gone`` holds; return the market and the coin that comes back, (*batch, n)."""
    xp, side = namespace(market.side), market.side
    back = xp.where((side > 0) & gone, market.price, 0)
    return market._replace(held=market.held + ((side < 0) & gone), side=xp.where(gone, 0, side)), back


def _order(market: Market, bids: Array, asks: Array, price: Array, arrival: Array) -> Market:
    """Add bids and asks of citizens who have no order."""
    xp, asked, new = namespace(price), to_int(asks), bids | asks
    return market._replace(
        held=market.held - asked,
        side=market.side + bids - asked,
        price=xp.where(new, price, market.price),
        when=xp.where(new, arrival, market.when),
    )


def _clear(market: Market, numbers: int, most: int) -> tuple[Market, Array, Array, Array]:
    """Let the highest bid meet the lowest ask, the older first, as long as they cross: at most ``most`` times.

    Return the market, what citizens gain in coin, and how many units were traded and for how much. ``numbers`` is above all
    numbers of arrival.
    """
    xp, never = namespace(market.price), 2**62
    held, side, price, when, last = market
    bids = xp.where(side > 0, (price + 1) * numbers - when, 0)  # higher is better
    asks = xp.where(side < 0, price * numbers + when, never)  # lower is better
    gains, sold, paid = price * 0, last * 0, last * 0.0
    for _ in range(most):
        top, low = _most(bids), -_most(-asks)
        bid, ask = (top - 1) // numbers, low // numbers
        cross = bid >= ask
        if absent(cross):
            break
        at = xp.where((bid + 1) * numbers - top < low % numbers, bid, ask)  # the older order's price
        buys, sells = (bids == top[..., None]) & cross[..., None], (asks == low[..., None]) & cross[..., None]
        gains = gains + sells * at[..., None] + buys * (bid - at)[..., None]
        held, side = held + buys, xp.where(buys | sells, 0, side)
        bids, asks = xp.where(buys, 0, bids), xp.where(sells, never, asks)
        last = xp.where(cross, at, last)
        sold, paid = sold + cross, paid + at * cross
    return Market(held, side, price, when, last), gains, sold, paid
