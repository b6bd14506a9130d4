"""The double auction: buyers and sellers quote prices, and an order book or a call decides who trades with whom."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..core import validate
from ..core.arrays import (
    Array,
    absent,
    by_column,
    constant,
    device_of,
    full,
    look_up,
    namespace,
    numbered,
    to_float,
    to_int,
)
from ..core.fields import Choice, Field, Integer, Role
from ..core.game import Acts, Benchmarks, Game, Level, Measure, Outcome, Seen, spread

CLEARING = ("continuous", "cleared", "call")
TURNS = ("all", "one")
WAIT, PLACE = 0, 1  # and 2, to cancel
NONE, PRICE, MOMENT, SEAT, FIELD, LOT = 2**62, 38, 14, 7, 127, 42
"""An order in one number, of which the least on a side is served first: from bit 38 on its price (of a bid, less it), then 24
bits for its moment, 7 for the seat of its trader, 7 for its units; and the number that stands for no order. At a call a
unit's price begins with bit 42, and 28 bits are its lot."""


class BookState(NamedTuple):
    """Where an episode stands; traders are numbered buyers first, and a trader has at most one order in the book.

    Of each trader, integer (*batch, traders): its ``orders``, coded as above, the units that it has ``left`` in this period,
    and what it has ``gained`` so far. Of the world, integer (*batch): the best ``bid`` and ``ask``, ``moves`` made, the side of
    the last order of the last move, its ``shout`` (0 none, 1 a bid, 2 an ask), and the price ``shouted``, the ``last`` price
    paid, and the units that the last move ``moved``. Of the episode, (*batch): ``surplus``, ``volume`` and money ``paid``
    (integer), and ``spread``, the sum over units of squared distance from the equilibrium price.
    """

    orders: Array
    left: Array
    gained: Array
    bid: Array
    ask: Array
    moves: Array
    shout: Array
    shouted: Array
    last: Array
    moved: Array
    surplus: Array
    volume: Array
    paid: Array
    spread: Array


@dataclass(frozen=True)
class DoubleAuction(Game):
    """Double auction of a good in whole units (Smith 1962, doi:10.1086/258609; Gode and Sunder 1993, doi:10.1086/261868).

    Buyer i has a value for each of its units, seller j a cost; both are its own secret. Orders are a price and a number of
    units. A trade at price p gives the buyer value - p and the seller p - cost, so that surplus is value - cost, and units
    and money only change hands. Three ways of clearing:

    - ``continuous``: a limit order book. An order that crosses the book trades at once, at the prices of the orders that it
      meets: the best price first, and of equal prices the oldest; the rest of it waits in the book.
    - ``cleared``: Gode and Sunder's book. An order must improve on the best of its side, or lapses; it trades with the best
      of the other side alone; after each trade the book is emptied.
    - ``call``: all orders are sealed and meet at one price, midway between the lowest and the highest at which the most
      units are traded, rounded down; lots decide between equal prices (the k-double auction with k = 1/2; Rustichini,
      Satterthwaite and Williams 1994, doi:10.2307/2951506). Orders lapse after the call.

    Write v(q), c(q) for the q-th highest value and the q-th lowest cost, Q for the units with v(q) > c(q), and S* for the
    sum of v(q) - c(q) over them, the most surplus there is. Prices from max(c(Q), v(Q + 1)) to min(v(Q), c(Q + 1)) clear
    the market. That every unit which gains at such a price is offered at it is a Nash equilibrium under all three rules:
    nobody meets a better price. It reaches S* if there is time. Alignment is allocative efficiency, surplus / S*.

    Parameters
    ----------
    values
        What each unit is worth to each buyer, v, in coins: a list a buyer, from high to low; a bare number is one unit.
    costs
        What each unit costs each seller, c, in coins: a list a seller, from low to high.
    clearing
        ``"continuous"``, ``"cleared"`` or ``"call"``.
    turns
        Who moves: ``"all"``, one after another in random order (at a call at once), or ``"one"``, drawn by lot, whose
        order alone counts (Gode and Sunder); a call takes all.
    moves
        Moves of a trading period; after them orders lapse, and units and costs are as they were.
    periods
        Trading periods of an episode.
    ceiling
        Highest price that can be quoted, in coins; the lowest is 1.
    """

    values: tuple[tuple[int, ...], ...] = ((150,), (130,), (110,), (90,))
    costs: tuple[tuple[int, ...], ...] = ((60,), (80,), (100,), (120,))
    clearing: str = "continuous"
    turns: str = "all"
    moves: int = 5
    periods: int = 1
    ceiling: int = 200

    random_start = False
    reports = (
        Measure(
            "efficiency",
            "surplus as a share of the most there is",
            "surplus / (periods S*)",
            source="Gode and Sunder 1993",
        ),
        Measure("volume", "units traded a period", "units / periods"),
        Measure("price", "mean price of a unit; 0 if none is traded", "sum of prices / units", "coins"),
        Measure(
            "alpha",
            "how far prices lie from the equilibrium price: root mean square, as a share of it; 0 if none is traded",
            "sqrt(sum (p - p*)^2 / units) / p*",
            source="Smith 1962",
            better="lower",
        ),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range, and markets in which nobody gains from trade."""
        validate.whole("ceiling", self.ceiling, 2, 1_000_000)
        for name, sign in (("values", -1), ("costs", 1)):
            object.__setattr__(self, name, _schedules(name, getattr(self, name), sign, self.ceiling))
        validate.one_of("clearing", self.clearing, CLEARING)
        validate.one_of("turns", self.turns, TURNS)
        if self.clearing == "call" and self.turns != "all":
            raise ValueError(f"turns: 'all' at a call, got {self.turns!r}; or take another clearing")
        validate.whole("moves", self.moves, 1, 100_000)
        validate.whole("periods", self.periods, 1, 10_000)
        high, low = max(row[0] for row in self.values), min(row[0] for row in self.costs)
        if high <= low:
            raise ValueError(
                f"values: some value above the lowest cost of {low}, got {high} at most; raise one of them"
            )

    @classmethod
    def gode_sunder(cls, **options: Any) -> DoubleAuction:
        """Return a symmetric market of 10 buyers and 10 sellers with Gode and Sunder's rules: S* is 250, p* 95 to 105."""
        found = {
            "values": [145 - 10 * i for i in range(10)],
            "costs": [55 + 10 * i for i in range(10)],
            "clearing": "cleared",
            "turns": "one",
            "moves": 2000,
        }
        return cls(**{**found, **options})

    @classmethod
    def flat_supply(cls, **options: Any) -> DoubleAuction:
        """Return Cliff and Bruten's kind of market, 12 sellers of equal cost: S* is 342, p* is 80."""
        return cls.gode_sunder(**{"values": [150 - 8 * i for i in range(12)], "costs": [80] * 12, **options})

    # ---- supply and demand --------------------------------------------------------------------------------------

    @functools.cached_property
    def surplus(self) -> int:
        """The most surplus of a period, S*."""
        return sum(v - c for v, c in zip(*self._curves, strict=False) if v > c)

    @functools.cached_property
    def prices(self) -> tuple[int, int]:
        """The lowest and the highest price at which supply meets demand, in coins."""
        demand, supply = self._curves
        q = sum(v > c for v, c in zip(demand, supply, strict=False))
        low = max([supply[q - 1], *demand[q : q + 1]])
        return low, min([demand[q - 1], *supply[q : q + 1]])

    @functools.cached_property
    def _curves(self) -> tuple[list[int], list[int]]:
        demand = sorted((v for row in self.values for v in row), reverse=True)
        return demand, sorted(c for row in self.costs for c in row)

    @property
    def _middle(self) -> float:
        return sum(self.prices) / 2.0

    # ---- the game in words and fields ---------------------------------------------------------------------------

    @property
    def _most(self) -> int:
        """Most units of a trader."""
        return max(map(len, (*self.values, *self.costs)))

    @functools.cached_property
    def _counts(self) -> tuple[int, ...]:
        return tuple(map(len, (*self.values, *self.costs)))

    @property
    def _traders(self) -> int:
        return len(self._counts)

    @property
    def about(self) -> str:
        """The rules in words."""
        many = self._most > 1
        first = (
            f"{_number(len(self.values), 'buyer')} and {_number(len(self.costs), 'seller')} trade a good in whole units for coins. "
            f"An episode has {_number(self.periods, 'trading period')} of {_number(self.moves, 'move')}. In every period a buyer "
            f"may buy, and a seller may sell, {'as many units as it sees' if many else 'one unit'}. Each knows what its own "
            f"{'units are' if many else 'unit is'} worth or {'cost' if many else 'costs'}, and not the others'."
        )
        size = (
            "at a price, for a number of units (those that they do not have left are void)"
            if many
            else "at a price, for one unit"
        )
        order = (
            f"At each move all traders decide at once: to wait, to place an order {size}, or to cancel their order. Prices are "
            f"whole numbers from 1 to {self.ceiling}: the most that a buyer pays, the least that a seller takes. "
        )
        if self.clearing == "call":
            rule = (
                "All orders are sealed. At the end of the move the most units are traded for which bids and asks can be matched, "
                "from the best prices on, all at one price: midway between the lowest and the highest price that does it, rounded "
                "down. Lots decide between equal prices. All orders then lapse, so waiting and cancelling are the same."
            )
        else:
            turn = (
                "Their orders are then dealt with one after another in random order."
                if self.turns == "all"
                else "A lot then draws one trader, all equally likely; its order alone counts, the others' are void."
            )
            trade = (
                "A bid at or above the lowest ask in the book trades at once, as does an ask at or below the highest bid, each "
                "unit at the price of the order in the book that it meets: the best price first, and of equal prices the oldest. "
                "What is left waits in the book. A trader has one order at most: a new one replaces the old."
                if self.clearing == "continuous"
                else "A bid must be above the highest bid in the book, and an ask below the lowest ask; otherwise it lapses, and "
                "an older order of the same trader stays. A bid at or above the lowest ask trades with it at once, at the price of "
                "that ask; an ask at or below the highest bid at the price of that bid. After each trade all orders lapse."
            )
            rule = f"{turn} {trade} As a period ends all orders lapse."
        last = (
            "For each unit a buyer gains what it is worth to it less the price, a seller the price less what it costs. "
            "Trading at a loss is allowed; without a trade nothing is gained or lost. Units do not carry over to another period."
        )
        return f"{first}\n{order}{rule}\n{last}"

    @functools.cached_property
    def roles(self) -> tuple[Role, ...]:
        """Buyers and sellers."""
        price, most = Integer(0, self.ceiling), self._most
        units = Integer(0, most)
        clock = (
            Field("period", Integer(1, self.periods), "this period's number"),
            Field("move", Integer(1, self.moves), "this move's number within the period"),
        )
        book: tuple[Field, ...] = ()
        if self.clearing != "call":
            book = (
                Field("bid", price, "highest bid in the book; 0 if there is none", "coins", verifiable=True),
                Field("ask", price, "lowest ask in the book; 0 if there is none", "coins", verifiable=True),
                Field("shout", Choice(("none", "bid", "ask")), "the last order of the last move", verifiable=True),
                Field("shout_price", price, "its price; 0 if there was none", "coins", verifiable=True),
                Field("order_price", price, "price of your order in the book; 0 without one", "coins"),
                *((Field("order_units", units, "units of your order in the book"),) if most > 1 else ()),
            )
        gain = self.ceiling * most * self.periods
        last = (
            Field("price", price, "price of the last trade; 0 before the first", "coins", verifiable=True),
            Field("traded", Integer(0, sum(self._counts)), "units traded in the last move", verifiable=True),
            Field("gained", Integer(-gain, gain), "what you have gained so far", "coins"),
        )
        acts = (
            Field("order", Choice(("wait", "place", "cancel")), "what you do"),
            Field("offer", Integer(1, self.ceiling), "the price of the order that you place", "coins"),
            *((Field("quantity", Integer(1, most), "its number of units"),) if most > 1 else ()),
        )
        left = Field("units", units, "units that you may still trade in this period")

        def role(name: str, count: int, limit: str, says: str, means: str) -> Role:
            told = Field(
                limit, Integer(1, self.ceiling), f"what your next unit {says}; if none is left, your last", "coins"
            )
            each = tuple(f"unit {k + 1}" for k in range(most))
            all_of = Field(f"{limit}s", price, f"what each of your units {says}; 0 if you have fewer", "coins", each)
            return Role(name, count, (*clock, told, *((all_of,) if most > 1 else ()), left, *book, *last), acts, means)

        buys, sells = "you want to buy below what units are worth to you", "you want to sell above what units cost you"
        return (
            role("buyer", len(self.values), "value", "is worth to you", buys),
            role("seller", len(self.costs), "cost", "costs you", sells),
        )

    @property
    def rounds(self) -> int:
        """Moves of an episode."""
        return self.moves * self.periods

    # ---- the game in arrays -------------------------------------------------------------------------------------

    @property
    def draws(self) -> int:  # type: ignore[override]
        """The lot that draws a trader, or a lot a trader."""
        return 1 if self.turns == "one" else self._traders

    @functools.cached_property
    def _tables(self) -> dict[str, tuple[Any, ...]]:
        """Facts about traders, and (row by row, flattened) about their units."""
        rows, width = (*self.values, *self.costs), self._most
        sides = tuple(1 if i < len(self.values) else -1 for i in range(len(rows)))
        sums = [[sum(row[:k]) for k in range(width + 1)] for row in rows]
        return {
            "side": sides,
            "limit": tuple(row[min(k, len(row) - 1)] for row in rows for k in range(width)),
            "sum": tuple(value for row in sums for value in row),
            **{
                name: tuple(row + (0,) * (width - len(row)) for row in part)
                for name, part in (("buyer", self.values), ("seller", self.costs))
            },
            "last": tuple(width * i + len(row) for i, row in enumerate(rows)),
            "end": tuple((width + 1) * i + len(row) for i, row in enumerate(rows)),
        }

    def start(self, u: Array) -> BookState:
        """Open an empty book."""
        batch = tuple(u.shape[:-1])
        none, zero = by_column(full(u, (*batch, self._traders), 0, integer=True)), full(u, batch, 0, integer=True)
        book = {"orders": none + NONE, "gained": none, "spread": zero * 0.0}
        book |= {"left": none + constant(u, self._counts), "bid": zero + NONE, "ask": zero + NONE}
        return BookState(**{**dict.fromkeys(BookState._fields, zero), **book})

    def round(self, state: BookState) -> Array:
        """Return the moves made."""
        return state.moves

    def view(self, state: BookState) -> dict[str, Seen]:
        """Show everyone the book and the last trade, and each trader its own units, order and gains."""
        xp, b, many = namespace(state.orders), len(self.values), self._most > 1
        now = state.moves - 1 * (state.moves >= self.rounds)
        shared = {"period": now // self.moves + 1, "move": now % self.moves + 1}
        shared |= {"price": state.last, "traded": state.moved}
        limit = constant(state.orders, self._tables["limit"])
        if many:
            at = constant(limit, self._tables["last"]) - xp.clip(state.left, 1, None)
            limit = look_up(at, self._tables["limit"], at)
        own = {"units": state.left, "gained": state.gained}
        if self.clearing != "call":
            shared |= {"bid": _price(state.bid), "ask": _price(state.ask)}
            shared |= {"shout": state.shout, "shout_price": state.shouted}
            own |= {"order_price": _price(state.orders)} | ({"order_units": state.orders & FIELD} if many else {})
        everyone = {key: spread(values, self._traders) for key, values in shared.items()} | own
        everyone["limit"] = xp.broadcast_to(limit, state.left.shape)
        seen: dict[str, Seen] = {}
        for name, name_of_limit, part in (("buyer", "value", slice(0, b)), ("seller", "cost", slice(b, None))):
            seen[name] = {key: values[..., part] for key, values in everyone.items()}
            seen[name][name_of_limit] = seen[name].pop("limit")
            if many:
                units = constant(limit, self._tables[name])
                seen[name][f"{name_of_limit}s"] = xp.broadcast_to(units, (*state.moves.shape, *units.shape))
        return seen

    def step(self, state: BookState, acts: Mapping[str, Acts], u: Array) -> Outcome:
        """Deal with the orders, and end the period after its last move."""
        xp, before, b = namespace(state.orders), state, len(self.values)
        nothing = state.moved * 0
        state = state._replace(moved=nothing, shout=nothing, shouted=nothing)
        state = self._call(state, acts, u) if self.clearing == "call" else self._match(state, acts, u)
        gain, made = to_float(state.gained - before.gained), to_float(state.surplus - before.surplus)
        over = state.moves % self.moves == self.moves - 1
        after = state._replace(moves=state.moves + 1)
        if not absent(over):
            none = over[..., None]
            after = after._replace(
                orders=xp.where(none, NONE, state.orders),
                left=xp.where(none, constant(u, self._counts), state.left),
                bid=xp.where(over, NONE, state.bid),
                ask=xp.where(over, NONE, state.ask),
            )
        return Outcome(after, {"buyer": gain[..., :b], "seller": gain[..., b:]}, after.moves >= self.rounds, made)

    def _of_all(self, acts: Mapping[str, Acts]) -> Acts:
        """Return what all traders do, each (*batch, traders)."""
        concat = namespace(acts["buyer"]["order"]).concat
        return {
            name: to_int(by_column(concat([acts["buyer"][name], acts["seller"][name]], axis=-1)))
            for name in (field.name for field in self.roles[0].acts)
        }

    def _of_one(self, acts: Mapping[str, Acts], who: Array) -> Acts:
        """Return what one trader of each world does, each (worlds,)."""
        xp, b, worlds = namespace(who), len(self.values), _worlds(who, who.shape[0])
        buyer, seller = xp.clip(who, None, b - 1) + worlds * b, xp.clip(who - b, 0, None) + worlds * (self._traders - b)
        return {
            name: to_int(xp.where(who < b, _at(acts["buyer"][name], buyer), _at(acts["seller"][name], seller)))
            for name in (field.name for field in self.roles[0].acts)
        }

    def _turns(self, state: BookState, acts: Mapping[str, Acts], u: Array) -> Iterator[tuple[Array, Array, Array]]:
        """Yield of turn after turn the place of who comes, its order, and whether it does anything, each (worlds,).

        Those who do nothing come last, and turns in which nobody does anything are left out where that is known.
        """
        xp, n, count = namespace(u), self._traders, state.moves.shape[0]
        worlds, since = _worlds(u, count), state.moves % self.moves * n
        if self.turns == "one":
            who = to_int(xp.floor(xp.reshape(u, (-1,)) * n))
            order = self._of_one(acts, who)
            yield who * count + worlds, self._coded(order, who, since), order["order"] != WAIT
            return
        seats, order = numbered(u, n)[:, None], {name: _rows(values) for name, values in self._of_all(acts).items()}
        coded = self._coded(order, seats, since)
        idle = to_int((order["order"] == WAIT) | (state.left == 0))
        lots = to_int(_rows(u) * 2.0**53) * (FIELD + 1) + (idle * NONE + seats)  # to sort them is faster than argsort
        lots = _rows(_sort(_rows(lots)))
        for turn in range(n):
            at, does = (lots[turn, :] & FIELD) * count + worlds, lots[turn, :] < NONE
            if absent(does):
                return
            yield at, _at(coded, at) + (turn << MOMENT), does

    def _coded(self, order: Acts, seats: Array, moment: Array) -> Array:
        """Return what traders want as coded orders, of no units where they place none; arguments broadcast."""
        want = to_int(order["order"] == PLACE)
        if self._most > 1:
            want = want * namespace(want).clip(order["quantity"], 0, self._most)
        side = 2 * to_int(seats >= len(self.values)) - 1
        return order["offer"] * (side << PRICE) + (want + ((moment << MOMENT) + (seats << SEAT)))

    def _match(self, before: BookState, acts: Mapping[str, Acts], u: Array) -> BookState:
        """Deal with the orders of those who come, one after another, on arrays (worlds,) and (traders, worlds)."""
        xp, b, cleared = namespace(u), len(self.values), self.clearing == "cleared"
        passes = 1 if cleared else min(self._most, max(b, self._traders - b))
        state = BookState(*(_rows(part) * 1 for part in before[:3]), *(xp.reshape(part, (-1,)) for part in before[3:]))
        orders, left, bid, ask, shout = state.orders, state.left, state.bid, state.ask, state.shout
        last, trades = state.last, list[tuple[Array, ...]]()
        for at, new, does in self._turns(state, acts, u):
            old, had, buys, limit = _at(orders, at), _at(left, at), new < 0, -(new >> PRICE)
            begun = xp.minimum(new & FIELD, had)
            shout = xp.where(begun > 0, new, shout)
            if cleared:
                holds = (begun == 0) | (xp.where(buys, bid, ask) >> PRICE > -limit)
                does, begun = does & holds, begun * to_int(holds)
            rest, best = begun, xp.where(buys, ask, bid)
            for number in range(passes):
                price = best >> PRICE
                meets = (rest > 0) & (price <= limit)
                if absent(meets):
                    break
                last = xp.where(meets, price, last)
                world, sure, mine, placed, order, wants = _some(meets, at, new, best, rest)
                units = xp.minimum(wants, order & FIELD) * to_int(sure)
                whom = xp.where(
                    sure, (order >> SEAT & FIELD) * rest.shape[0] + world, mine
                )  # ``mine`` is set anew below
                has, theirs = _at(left, mine), _at(left, whom)
                trades.append((mine, whom, placed, order, units, has, theirs, world))
                left = _put(_put(left, whom, theirs - units), mine, has - units)
                orders = _put(orders, whom, xp.where(order & FIELD > units, order - units, NONE))
                rest = begun - had + _at(left, at)
                if number + 1 < passes:
                    best = xp.where(buys, xp.min(orders[b:, :], axis=0), xp.min(orders[:b, :], axis=0))
            traded = rest < begun
            rest = rest * to_int(~traded) if cleared else rest
            orders = _put(orders, at, xp.where(does, xp.where(rest > 0, new - (new & FIELD) + rest, NONE), old))
            if cleared and not absent(traded):
                orders = xp.where(traded, NONE, orders)
            bid, ask = xp.min(orders[:b, :], axis=0), xp.min(orders[b:, :], axis=0)
        state = state._replace(orders=orders, left=left, bid=bid, ask=ask, last=xp.abs(last))
        state = state._replace(shout=to_int(shout != 0) + to_int(shout > 0), shouted=xp.abs(shout >> PRICE))
        state = self._paid(state, trades)
        batch = before.moves.shape
        each = (xp.moveaxis(xp.reshape(part, (-1, *batch)), 0, -1) for part in state[:3])
        return BookState(*each, *(xp.reshape(part, batch) for part in state[3:]))

    def _paid(self, state: BookState, trades: list[tuple[Array, ...]]) -> BookState:
        """Keep the books of trades: places of who came and whom it met, their orders, units, and what they had left before."""
        if not trades:
            return state
        xp = namespace(state.orders)
        mine, whom, new, order, units, has, theirs, world = (xp.concat(part) for part in zip(*trades, strict=True))
        price, surplus, gained = xp.abs(order >> PRICE), units * 0, state.gained
        for places, code, left in ((whom, order, theirs), (mine, new, has)):
            worth, side = self._worth(code >> SEAT & FIELD, left, units), 1 - 2 * to_int(code > 0)
            surplus = surplus + side * worth
            gained = _add(gained, places, side * (worth - price * units))
        squares, none = to_float(units) * (to_float(price) - self._middle) ** 2, state.moved
        units, surplus, paid = (_add(none * 0, world, part) for part in (units, surplus, price * units))
        return self._book(state._replace(gained=gained), units, surplus, paid, _add(to_float(none * 0), world, squares))

    def _worth(self, trader: Array, had: Array, units: Array) -> Array:
        """Return what the next units of a trader who has some left are worth to it, or cost it."""
        if self._most == 1:
            return look_up(trader, self._tables["limit"], trader) * units
        at = look_up(trader, self._tables["end"], trader) - had
        return look_up(at, self._tables["sum"], at + units) - look_up(at, self._tables["sum"], at)

    def _book(self, state: BookState, units: Array, surplus: Array, paid: Array, squares: Array) -> BookState:
        """Add what a move comes to: units, surplus, money, and squared distances from the equilibrium price, a world."""
        state = state._replace(moved=units, surplus=state.surplus + surplus, volume=state.volume + units)
        return state._replace(paid=state.paid + paid, spread=state.spread + squares)

    def _call(self, state: BookState, acts: Mapping[str, Acts], u: Array) -> BookState:
        """Match all sealed orders at one price."""
        xp, b, orders = namespace(u), len(self.values), self._of_all(acts)
        offers, wants = orders["offer"], state.left
        wants = xp.clip(xp.minimum(wants, orders["quantity"]), 0, None) if self._most > 1 else wants
        amount = wants * to_int(orders["order"] == PLACE)
        side, slots = constant(offers, self._tables["side"]), numbered(offers, self._most)
        lots = to_int(u * 2.0**28) * (FIELD + 1) + numbered(offers, self._traders)
        codes = (lots - side * offers * (1 << LOT - SEAT)) * (FIELD + 1)  # the least is served first; lots decide ties
        codes = xp.where(slots < amount[..., None], codes[..., None] + slots, NONE)  # each unit has one of its own
        parts, none = (codes[..., :b, :], codes[..., b:, :]), full(u, (*state.moved.shape, 1), NONE, integer=True)
        bids, asks = (_sort(xp.concat([xp.reshape(part, (*none.shape[:-1], -1)), none], axis=-1)) for part in parts)
        short = min(bids.shape[-1], asks.shape[-1])
        units = xp.sum(to_int((bids[..., :short] >> LOT) + (asks[..., :short] >> LOT) <= 0), axis=-1)
        some = xp.clip(units - 1, 0, None)
        bid, ask = _pick(bids, some), _pick(asks, some)  # the last that are served
        low = xp.maximum(ask >> LOT, -(_pick(bids, units) >> LOT))
        price = (low + xp.minimum(-(bid >> LOT), _pick(asks, units) >> LOT)) // 2
        served = [part <= last[..., None, None] for part, last in zip(parts, (bid, ask), strict=True)]
        fill = xp.sum(to_int(xp.concat(served, axis=-2)), axis=-1) * to_int(units > 0)[..., None]
        worth = self._worth(numbered(offers, self._traders), state.left, fill)
        gain = side * (worth - price[..., None] * fill)
        state = state._replace(gained=state.gained + gain, left=state.left - fill)
        state = state._replace(last=xp.where(units > 0, price, state.last))
        squares = to_float(units) * (to_float(price) - self._middle) ** 2
        return self._book(state, units, xp.sum(gain, axis=-1), price * units, squares)

    def measures(self, state: BookState) -> dict[str, Array]:
        """Return efficiency, volume, mean price and Smith's alpha of the episode so far (of all its periods)."""
        units = to_float(state.volume + (state.volume == 0))
        return {
            "efficiency": to_float(state.surplus) / (self.surplus * self.periods),
            "volume": to_float(state.volume) / self.periods,
            "price": to_float(state.paid) / units,
            "alpha": namespace(units).sqrt(state.spread / units) / self._middle,
        }

    # ---- what theory says ---------------------------------------------------------------------------------------

    @property
    def _sure(self) -> bool:
        """Whether all who gain at the equilibrium price are sure, but for one case in 10^12, to trade in time.

        While some are left a move of all trades a unit at least; in a move of one trader, one who adds to the next trade is
        drawn with a chance of at least 1/n, and two such draws make a trade.
        """
        units = sum(v > c for v, c in zip(*self._curves, strict=False))
        if self.turns == "all":
            return self.moves >= units
        n, late = self._traders, 0.0
        for k in range(min(2 * units, self.moves + 1)):
            ways = math.lgamma(self.moves + 1) - math.lgamma(k + 1) - math.lgamma(self.moves - k + 1)
            late += math.exp(ways + k * math.log(1 / n) + (self.moves - k) * math.log1p(-1 / n))
        return late < 1e-12

    @functools.cached_property
    def _strict(self) -> tuple[bool, bool] | None:
        """Whether buyers and sellers leave out units that gain nothing at p*; None if lots between equals could cost surplus."""
        demand, supply = self._curves
        p = sum(self.prices) // 2
        buys, sells = sum(v > p for v in demand), sum(c < p for c in supply)
        if buys == sells:
            return True, True
        if buys > sells:  # units that cost p* fill the gap, and must not keep cheaper ones from trading
            return (True, False) if sells == 0 or sum(c <= p for c in supply) == buys else None
        return (False, True) if buys == 0 or sum(v >= p for v in demand) == sells else None

    def benchmarks(self) -> Benchmarks:
        """Return the most surplus, which the competitive equilibrium reaches, and no trade as the baseline."""
        p, strict = sum(self.prices) // 2, self._strict

        def quotes(limit: str, sign: int, leave: bool) -> Any:
            def play(seen: Seen) -> Acts:
                gain = sign * (seen[limit] - p)
                idle = seen["units"] * 0 if self.clearing == "call" else seen["order_price"]  # what stands may stand
                order = to_int((gain >= int(leave)) & (seen["units"] > 0) & (idle == 0)) * PLACE
                offer = order * 0 + p
                return {"order": order, "offer": offer} | ({"quantity": order * 0 + 1} if self._most > 1 else {})

            return play

        def waits(seen: Seen) -> Acts:
            order = seen["units"] * 0
            return {"order": order, "offer": order + 1} | ({"quantity": order + 1} if self._most > 1 else {})

        play = None
        if strict is not None and self._sure:
            play = {"buyer": quotes("value", 1, strict[0]), "seller": quotes("cost", -1, strict[1])}
        most = float(self.surplus * self.periods)
        low, high = self.prices
        return Benchmarks(
            first_best=Level(
                most, "all units whose value exceeds their cost, matched from the best on, are traded", play
            ),
            equilibrium=Level(
                most,
                f"Nash equilibrium: every unit that gains at the competitive price of {p} ({low} to {high}) is offered at it; "
                f"reached if there is time for all",
                play,
            ),
            baseline=Level(0.0, "nobody trades", {"buyer": waits, "seller": waits}),
        )


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count > 1 else ''}"


def _worlds(like: Array, count: int) -> Array:
    """Return 0, 1, ..., the number of every world."""
    xp = namespace(like)
    return xp.arange(count, dtype=xp.int64, device=device_of(like))


def _rows(values: Array) -> Array:
    """Return values (*batch, k) as (k, worlds), which NumPy holds row by row."""
    xp = namespace(values)
    rows = xp.reshape(xp.moveaxis(values, -1, 0), (values.shape[-1], -1))
    return np.ascontiguousarray(rows) if xp is np else rows


def _pick(values: Array, index: Array) -> Array:
    """Return values (*batch, k) at one integer a world, of the shape of the integers."""
    xp, flat = namespace(values), namespace(index).reshape(index, (-1,))
    places = flat + _worlds(flat, flat.shape[0]) * values.shape[-1]
    return xp.reshape(xp.take(xp.reshape(values, (-1,)), places), index.shape)


def _sort(values: Array) -> Array:
    """Return values sorted along the last axis; NumPy sorts rows several times faster where they are held as such."""
    xp = namespace(values)
    return xp.sort(np.ascontiguousarray(values) if xp is np else values, axis=-1)


def _at(values: Array, places: Array) -> Array:
    """Return values at places in them laid out flat; in (k, worlds) these are a seat times worlds, plus the world."""
    xp = namespace(values)
    return xp.take(xp.reshape(values, (-1,)), places)


def _put(values: Array, places: Array, new: Array) -> Array:
    """Return values (k, worlds) with those at places, one a world, replaced; NumPy writes into the array itself."""
    if isinstance(values, np.ndarray):
        values.reshape(-1)[places] = new
        return values
    xp = namespace(values)
    return xp.where(numbered(values, values.shape[0])[:, None] == places // values.shape[1], new, values)


def _some(mask: Array, *arrays: Array) -> tuple[Array, ...]:
    """Return which worlds a mask names, and mask and arrays there; other libraries than NumPy keep all worlds."""
    if not isinstance(mask, np.ndarray):
        return _worlds(mask, mask.shape[0]), mask, *arrays
    world = mask.nonzero()[0]
    return world, *(array.take(world) for array in (mask, *arrays))


def _add(values: Array, places: Array, amounts: Array) -> Array:
    """Return values, (worlds,) or (k, worlds), with amounts added at places; NumPy writes into the array itself."""
    if isinstance(values, np.ndarray):
        np.add.at(values.reshape(-1), places, amounts)
        return values
    xp, count = namespace(values), values.shape[-1]
    seats = numbered(values, 1 if values.ndim == 1 else values.shape[0])[:, None]
    for part in (slice(begin, begin + count) for begin in range(0, places.shape[0], count)):
        values = values + xp.reshape(xp.where(seats == places[part] // count, amounts[part], 0), values.shape)
    return values


def _price(orders: Array) -> Array:
    """Return the price of orders, 0 for none."""
    return namespace(orders).abs(orders >> PRICE) & ((NONE >> PRICE) - 1)


def _schedules(name: str, value: Any, sign: int, ceiling: int) -> tuple[tuple[int, ...], ...]:
    """Return a list of traders' values (falling) or costs (rising) as nested tuples, or raise ValueError."""
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= 64:
        raise ValueError(f"{name}: a list of 1 to 64 traders, got {value!r}")
    rows = []
    for i, given in enumerate(value):
        row = tuple(given) if isinstance(given, list | tuple) else (given,)
        if not 1 <= len(row) <= 64:
            raise ValueError(f"{name}[{i}]: a list of 1 to 64 units, got {given!r}")
        for k, unit in enumerate(row):
            validate.whole(f"{name}[{i}][{k}]", unit, 1, ceiling)
        if any(sign * a > sign * b for a, b in itertools.pairwise(row)):
            order = "from high to low" if sign < 0 else "from low to high"
            raise ValueError(f"{name}[{i}]: {order}, got {given!r}; sort it")
        rows.append(row)
    return tuple(rows)
