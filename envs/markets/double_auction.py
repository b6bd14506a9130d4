"""The double auction: buyers and sellers quote prices, and an order book or a call decides who trades with whom."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..core import validate
from ..core.arrays import (
    Array,
    absent,
    by_column,
    constant,
    full,
    look_up,
    namespace,
    numbered,
    to_float,
    to_int,
    total,
)
from ..core.fields import Choice, Field, Integer, Role
from ..core.game import Acts, Benchmarks, Game, Level, Measure, Outcome, Seen, spread

CLEARING = ("continuous", "cleared", "call")
TURNS = ("all", "one")
WAIT, PLACE = 0, 1  # and 2, to cancel
NONE, PRICE, MOMENT, SEAT, FIELD = 2**62, 38, 14, 7, 127
"""An order in one number, of which the least on a side is served first: from bit 38 on its price (of a bid, less it), then 24
bits for its moment, 7 for the seat of its trader, 7 for its units; and the number that stands for no order."""


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
        shared = {
            "period": now // self.moves + 1,
            "move": now % self.moves + 1,
            "price": state.last,
            "traded": state.moved,
        }
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
        if self.clearing == "call":
            state = self._call(state, acts, u)
        else:
            one = self.turns == "one"
            lots = by_column(to_int(xp.floor(u * self._traders) if one else xp.argsort(u, axis=-1)))
            orders = self._of_one(acts, lots[..., 0]) if one else self._of_all(acts)
            state, moment = _own(state), state.moves % self.moves * self._traders
            for turn in range(lots.shape[-1]):
                who = lots[..., turn]
                order = orders if one else {name: _at(values, who) for name, values in orders.items()}
                state = self._arrive(state, who, order["order"], order["offer"], order.get("quantity"), moment + turn)
        gain = to_float(state.gained - before.gained)
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
        return Outcome(
            after,
            {"buyer": gain[..., :b], "seller": gain[..., b:]},
            after.moves >= self.rounds,
            to_float(state.surplus - before.surplus),
        )

    @functools.cached_property
    def _decided(self) -> tuple[str, ...]:
        """Names of what traders decide."""
        return tuple(field.name for field in self.roles[0].acts)

    def _of_all(self, acts: Mapping[str, Acts]) -> Acts:
        """Return what all traders do, each (*batch, traders)."""
        concat = namespace(acts["buyer"]["order"]).concat
        return {
            name: _whole(by_column(concat([acts["buyer"][name], acts["seller"][name]], axis=-1)))
            for name in self._decided
        }

    def _of_one(self, acts: Mapping[str, Acts], who: Array) -> Acts:
        """Return what one trader does, each (*batch)."""
        xp, b = namespace(who), len(self.values)
        buys, buyer, seller = who < b, xp.clip(who, None, b - 1), xp.clip(who - b, 0, None)
        return {
            name: _whole(xp.where(buys, _at(acts["buyer"][name], buyer), _at(acts["seller"][name], seller)))
            for name in self._decided
        }

    def _arrive(
        self, state: BookState, who: Array, kind: Array, offer: Array, want: Array | None, moment: Array
    ) -> BookState:
        """Deal with the order of one trader; all arguments are (*batch)."""
        xp, b = namespace(who), len(self.values)
        buys = who < b
        side = 2 * to_int(buys) - 1
        limit = side * offer  # it meets orders of the other side that begin with this or less
        left = _at(state.left, who)
        left = left if want is None else xp.clip(xp.minimum(left, want), 0, None)
        places, acts = (kind == PLACE) & (left > 0), kind != WAIT
        if self.clearing == "cleared":
            acts = acts & ~(places & (xp.where(buys, state.bid, state.ask) >> PRICE <= -limit))
        state = state._replace(
            shout=xp.where(places, 2 - to_int(buys), state.shout), shouted=xp.where(places, offer, state.shouted)
        )
        begun = left = left * to_int(places & acts)
        met: tuple[Array, ...] = ()
        passes = 1 if self.clearing == "cleared" else min(self._most, max(b, self._traders - b))
        orders, best = state.orders, xp.where(buys, state.ask, state.bid)
        old = _at(orders, who)
        for number in range(passes):
            price = best >> PRICE
            meets = (left > 0) & (price <= limit)
            if absent(meets):
                break
            whom, stands = xp.where(meets, best >> SEAT & FIELD, who), best & FIELD
            units = xp.minimum(left, stands) * to_int(meets)
            state = self._trade(state, who, whom, units, side * price * to_int(meets))
            left = left - units
            met = whom, xp.where(units < stands, best - units, NONE)  # where none is met, of no consequence
            if number + 1 < passes:
                orders, met = _put(orders, *met), ()
                best = xp.where(buys, _least(orders[..., b:]), _least(orders[..., :b]))
        traded = left < begun
        if self.clearing == "cleared":
            left = left * to_int(~traded)
        new = (moment << MOMENT | who << SEAT | left) - limit * (1 << PRICE)
        orders = _put(orders, *met, who, xp.where(acts, xp.where(left > 0, new, NONE), old))
        if self.clearing == "cleared" and not absent(traded):
            orders = _empty(orders, traded)
        return state._replace(orders=orders, bid=_least(orders[..., :b]), ask=_least(orders[..., b:]))

    def _trade(self, state: BookState, who: Array, whom: Array, units: Array, price: Array) -> BookState:
        """Hand over units at a price between the trader who came and the one in the book; all arguments are (*batch)."""
        left: tuple[Array, ...] = ()
        gained: tuple[Array, ...] = ()
        surplus = units * 0
        for trader in (whom, who):
            had, side = _at(state.left, trader), 1 - 2 * to_int(trader >= len(self.values))
            worth = self._worth(trader, had, units)
            gained += (trader, _at(state.gained, trader) + side * (worth - price * units))
            left += (trader, had - units)
            surplus = surplus + side * worth
        return self._book(state, surplus, units, price, _put(state.gained, *gained), _put(state.left, *left))

    def _worth(self, trader: Array, had: Array, units: Array) -> Array:
        """Return what the next units of a trader who has some left are worth to it, or cost it."""
        if self._most == 1:
            return look_up(trader, self._tables["limit"], trader) * units
        at = look_up(trader, self._tables["end"], trader) - had
        return look_up(at, self._tables["sum"], at + units) - look_up(at, self._tables["sum"], at)

    def _book(
        self, state: BookState, surplus: Array, units: Array, price: Array, gained: Array, left: Array
    ) -> BookState:
        """Keep the books of trades at one price."""
        return state._replace(
            gained=gained,
            left=left,
            last=namespace(units).where(units > 0, price, state.last),
            moved=state.moved + units,
            surplus=state.surplus + surplus,
            volume=state.volume + units,
            paid=state.paid + price * units,
            spread=state.spread + to_float(units) * (to_float(price) - self._middle) ** 2,
        )

    def _call(self, state: BookState, acts: Mapping[str, Acts], u: Array) -> BookState:
        """Match all sealed orders at one price."""
        xp, b, orders = namespace(u), len(self.values), self._of_all(acts)
        offers, wants = orders["offer"], state.left
        wants = xp.clip(xp.minimum(wants, orders["quantity"]), 0, None) if self._most > 1 else wants
        amount = wants * to_int(orders["order"] == PLACE)
        slots = numbered(offers, self._most)
        asked = slots < amount[..., None]  # one slot a unit, (*batch, traders, most)
        far = self.ceiling + 1
        flat = (*offers.shape[:-1], -1)
        bids = xp.sort(xp.reshape(-xp.where(asked, offers[..., None], 0)[..., :b, :], flat), axis=-1) * -1
        asks = xp.sort(xp.reshape(xp.where(asked, offers[..., None], far)[..., b:, :], flat), axis=-1)
        short = min(bids.shape[-1], asks.shape[-1])
        units = total(to_int(bids[..., :short] >= asks[..., :short]))
        bids = xp.concat([bids, bids[..., :1] * 0], axis=-1)
        asks = xp.concat([asks, asks[..., :1] * 0 + far], axis=-1)
        some = xp.clip(units - 1, 0, None)
        low = xp.maximum(_at(asks, some), _at(bids, units))
        price = (low + xp.minimum(_at(bids, some), _at(asks, units))) // 2
        keys = -constant(offers, self._tables["side"]) * offers + u  # the least is served first; u decides ties
        fills = []
        for part in (slice(0, b), slice(b, None)):
            key, size = keys[..., part], amount[..., part]
            ahead = total(size[..., None, :] * to_int(key[..., None, :] < key[..., :, None]))
            fills.append(xp.minimum(size, xp.clip(units[..., None] - ahead, 0, None)))
        fill = xp.concat(fills, axis=-1)
        at = constant(offers, self._tables["end"]) - state.left
        worth = look_up(at, self._tables["sum"], at + fill) - look_up(at, self._tables["sum"], at)
        gain = constant(offers, self._tables["side"]) * (worth - price[..., None] * fill)
        return self._book(state, total(gain), units, price, state.gained + gain, state.left - fill)

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
                idle = (
                    seen["units"] * 0 if self.clearing == "call" else seen["order_price"]
                )  # an order that stands may stand
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


def _whole(values: Array) -> Array:
    """Return 64-bit integers, as ``to_int`` does, and those that are such already as they are."""
    return values if values.dtype == namespace(values).int64 else to_int(values)


def _at(values: Array, index: Array) -> Array:
    """Return values (*batch, k) at one integer a world, (*batch)."""
    if isinstance(values, np.ndarray) and values.ndim > 1:  # the same, several times faster
        flat, places = _flat(values, index)
        return flat.take(places)
    return namespace(values).take_along_axis(values, index[..., None], axis=-1)[..., 0]


def _put(values: Array, *places: Array) -> Array:
    """Return values (*batch, k) with those at an integer a world replaced: index, new, index, new, ..., (*batch).

    NumPy writes into the array itself, which ``_own`` has copied.
    """
    pairs = zip(places[::2], places[1::2], strict=True)
    if isinstance(values, np.ndarray):
        for index, new in pairs:
            flat, where = _flat(values, index)
            flat[where] = new
        return values
    seats = numbered(values, values.shape[-1])
    for index, new in pairs:
        values = namespace(values).where(index[..., None] == seats, new[..., None], values)
    return values


def _empty(orders: Array, mask: Array) -> Array:
    """Return orders (*batch, k) without those of the worlds where the (*batch) mask holds; NumPy writes as in ``_put``."""
    if not isinstance(orders, np.ndarray):
        return namespace(orders).where(mask[..., None], NONE, orders)
    np.copyto(orders, NONE, where=mask[..., None])
    return orders


def _own(state: BookState) -> BookState:
    """Return a state whose ``orders``, ``left`` and ``gained`` NumPy may write into, held column by column."""
    if not isinstance(state.orders, np.ndarray):
        return state
    order: Any = "F" if state.orders.ndim == 2 else "C"
    return state._replace(
        **{name: np.array(getattr(state, name), order=order) for name in ("orders", "left", "gained")}
    )


def _flat(values: Any, index: Any) -> tuple[Any, Any]:
    """Return NumPy's values (*batch, k) laid out flat, and where those at one integer a world, (*batch), are in it."""
    if values.ndim == 2 and values.flags.f_contiguous:
        return values.T.reshape(-1), index * len(values) + _offsets(index.shape, 1)
    return values.reshape(-1), _offsets(index.shape, values.shape[-1]) + index


@functools.lru_cache(maxsize=64)
def _offsets(batch: tuple[int, ...], count: int) -> Any:
    """Return where each world's row begins in a flattened array of rows of ``count``."""
    return np.arange(0, math.prod(batch) * count, count).reshape(batch)


def _price(orders: Array) -> Array:
    """Return the price of orders, 0 for none."""
    return namespace(orders).abs(orders >> PRICE) & ((NONE >> PRICE) - 1)


def _least(values: Array) -> Array:
    """Return the minimum over the last axis."""
    return namespace(values).min(values, axis=-1)


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
