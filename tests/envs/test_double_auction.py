"""Double auctions: supply and demand by linear programming, the book against one in plain Python, conservation, equilibrium."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from societas import Game, Worlds, play, policy
from societas.envs.core.words import ActError
from societas.envs.markets.double_auction import DoubleAuction
from societas.testing import check_game

MANY: dict[str, Any] = {"values": [[150, 120], [130, 90, 70]], "costs": [[60, 80], [85]]}
VARIANTS: list[dict[str, Any]] = [
    {"moves": 3},
    {"clearing": "cleared", "moves": 4, "periods": 2, **MANY},
    {"clearing": "call", "moves": 2, "periods": 3, **MANY},
    {"turns": "one", "moves": 40, "values": [9, 7], "costs": [3, 6, 8], "ceiling": 10},
]


@st.composite
def markets(draw: st.DrawFn) -> DoubleAuction:
    """Small markets of every kind, with ties; ceilings are low, so that orders cross and tie all the time."""
    units = st.lists(st.integers(1, 12), min_size=1, max_size=3)
    values = draw(st.lists(units.map(lambda row: sorted(row, reverse=True)), min_size=1, max_size=4))
    costs = draw(st.lists(units.map(sorted), min_size=1, max_size=4))
    if max(row[0] for row in values) <= min(row[0] for row in costs):
        values, costs = [[12], *values], [[1], *costs]
    clearing = draw(st.sampled_from(["continuous", "cleared", "call"]))
    turns = "all" if clearing == "call" else draw(st.sampled_from(["all", "one"]))
    return DoubleAuction(values, costs, clearing, turns, moves=draw(st.integers(1, 5)), periods=2, ceiling=12)


def adverse(game: DoubleAuction, rng: np.random.Generator) -> dict[str, dict[str, Any]]:
    """Acts of 5 worlds: zero and huge quantities too, which the faces refuse and the game must survive."""
    acts = {}
    for role in game.roles:
        shape = (5, role.count)
        acts[role.name] = {
            "order": rng.choice([0, 1, 1, 1, 2], shape),
            "offer": rng.integers(1, game.ceiling + 1, shape),
            "quantity": rng.choice([-3, 0, 1, 1, 2, 3, 10**12], shape),
        }
    return acts


# ---- supply and demand --------------------------------------------------------------------------------------------


def test_published_markets() -> None:
    symmetric, flat = DoubleAuction.gode_sunder(), DoubleAuction.flat_supply()
    assert symmetric.surplus == 250 and symmetric.prices == (95, 105)
    assert flat.surplus == 342 and flat.prices == (80, 80)
    assert len(symmetric.values) == len(symmetric.costs) == 10 and len(flat.values) == len(flat.costs) == 12


@given(markets())
@settings(max_examples=60, deadline=None)
def test_surplus_and_prices_are_those_of_the_linear_programme(game: DoubleAuction) -> None:
    """Most surplus by the assignment of units (primal); at the prices that clear the market all gains sum to it (dual)."""
    values = np.array([v for row in game.values for v in row], dtype=float)
    costs = np.array([c for row in game.costs for c in row], dtype=float)
    worth = (values[:, None] - costs[None, :]).reshape(-1)
    once = np.concatenate([np.kron(np.eye(len(values)), np.ones(len(costs))), np.tile(np.eye(len(costs)), len(values))])
    solved = linprog(-worth, A_ub=once, b_ub=np.ones(len(once)), bounds=(0, 1))
    assert game.surplus == pytest.approx(-solved.fun)
    gains = [np.clip(values - p, 0, None).sum() + np.clip(p - costs, 0, None).sum() for p in np.arange(0, 12.6, 0.5)]
    clears = [p for p, gain in zip(np.arange(0, 12.6, 0.5), gains, strict=True) if gain == pytest.approx(game.surplus)]
    assert (max(clears[0], costs.min()), min(clears[-1], values.max())) == game.prices


def test_comparative_statics() -> None:
    base = DoubleAuction()
    assert base.prices == (100, 110) and base.surplus == 150
    richer = DoubleAuction(values=[160, 140, 120, 100])
    assert richer.prices[0] >= base.prices[0] and richer.prices[1] > base.prices[1] and richer.surplus > base.surplus
    scarce = DoubleAuction(costs=[80, 100, 120])
    assert scarce.prices[1] > base.prices[1] and scarce.surplus < base.surplus
    assert DoubleAuction(periods=3).benchmarks().first_best.value == 3 * base.benchmarks().first_best.value == 450


# ---- the book against one in plain Python ---------------------------------------------------------------------------


class Plain:
    """The same market with lists: orders are [price, units, trader], in order of arrival; one world."""

    def __init__(self, game: DoubleAuction) -> None:
        self.game, self.limits, self.buyers = game, [*game.values, *game.costs], len(game.values)
        self.had: list[int] = [0] * len(self.limits)
        self.gained = [0] * len(self.limits)
        self.book: list[list[int]] = []
        self.move = 0

    def trade(self, buyer: int, seller: int, price: int) -> None:
        """Hand over one unit."""
        self.gained[buyer] += self.limits[buyer][self.had[buyer]] - price
        self.gained[seller] += price - self.limits[seller][self.had[seller]]
        self.had[buyer] += 1
        self.had[seller] += 1

    def step(self, acts: list[tuple[int, int, int]], lots: Any) -> None:
        """Deal with (order, offer, quantity) of all traders."""
        if self.game.clearing == "call":
            self.call(acts, lots)
        elif self.game.turns == "one":
            i = int(lots[0] * len(acts))
            self.arrive(i, *acts[i])
        else:
            for i in np.argsort(lots).tolist():
                self.arrive(i, *acts[i])
        self.move += 1
        if self.move % self.game.moves == 0:
            self.had, self.book = [0] * len(self.limits), []

    def arrive(self, i: int, order: int, offer: int, quantity: int) -> None:
        """Deal with one order."""
        buys, cleared = i < self.buyers, self.game.clearing == "cleared"
        quantity = max(0, min(quantity, len(self.limits[i]) - self.had[i]))
        own = [price for price, _, trader in self.book if (trader < self.buyers) == buys]
        if order == 0:
            return
        if order == 1 and quantity and cleared and own and (offer <= max(own) if buys else offer >= min(own)):
            return
        self.book = [entry for entry in self.book if entry[2] != i]
        if order == 2:
            return
        while quantity:
            others = [entry for entry in self.book if (entry[2] < self.buyers) != buys]
            others = [entry for entry in others if (entry[0] <= offer if buys else entry[0] >= offer)]
            if not others:
                break
            best = min(others, key=lambda entry: entry[0] if buys else -entry[0])  # min returns the first, the oldest
            self.trade(i if buys else best[2], best[2] if buys else i, best[0])
            best[1] -= 1
            quantity -= 1
            self.book = [entry for entry in self.book if entry[1]]
            if cleared and (not quantity or best[1] == 0):
                self.book = []
                return
        if quantity:
            self.book.append([offer, quantity, i])

    def call(self, acts: list[tuple[int, int, int]], lots: Any) -> None:
        """Match unit after unit of sorted orders."""
        sides: tuple[list[tuple[float, int, int]], ...] = ([], [])
        for i, (order, offer, quantity) in enumerate(acts):
            for _ in range(max(0, min(quantity, len(self.limits[i]) - self.had[i])) if order == 1 else 0):
                sides[i >= self.buyers].append(((-offer if i < self.buyers else offer) + lots[i], i, offer))
        bids, asks = sorted(sides[0]), sorted(sides[1])
        q = sum(b[2] >= a[2] for b, a in zip(bids, asks, strict=False))
        if q:
            fine = [
                p
                for p in range(self.game.ceiling + 2)
                if sum(b[2] > p for b in bids) <= q <= sum(b[2] >= p for b in bids)
                and sum(a[2] < p for a in asks) <= q <= sum(a[2] <= p for a in asks)
            ]
            for k in range(q):
                self.trade(bids[k][1], asks[k][1], (fine[0] + fine[-1]) // 2)


@given(markets(), st.integers(0, 2**32 - 1))
@settings(max_examples=120, deadline=None)
def test_the_book_is_that_of_plain_python(game: DoubleAuction, seed: int) -> None:
    """Crossed books, ties, zero and huge quantities; and all along, nothing is created or lost."""
    rng = np.random.default_rng(seed)
    plain, state = [Plain(game) for _ in range(5)], game.start(np.zeros((5, game.draws)))
    for _ in range(game.rounds):
        acts, lots = adverse(game, rng), rng.random((5, game.draws))
        outcome = game.step(state, acts, lots)
        sold = state.left - outcome.state.left
        if not (outcome.state.moves % game.moves == 0).all():
            b = len(game.values)
            np.testing.assert_array_equal(sold[:, :b].sum(axis=1), sold[:, b:].sum(axis=1))  # units change hands
            np.testing.assert_array_equal(sold[:, :b].sum(axis=1), outcome.state.moved)
        state = outcome.state
        paid = sum(outcome.rewards[role].sum(axis=-1) for role in ("buyer", "seller"))
        np.testing.assert_array_equal(paid, outcome.welfare)  # money changes hands
        seen = game.view(state)
        for world, other in enumerate(plain):
            columns = [np.concatenate([acts[r][f][world] for r in acts]) for f in ("order", "offer", "quantity")]
            if game._most == 1:
                columns[2] = columns[2] * 0 + 1
            other.step([tuple(map(int, row)) for row in zip(*columns, strict=True)], lots[world])  # type: ignore[misc]
            assert state.gained[world].tolist() == other.gained
            units = [len(row) - had for row, had in zip(other.limits, other.had, strict=True)]
            assert np.concatenate([seen[r]["units"][world] for r in seen]).tolist() == units
            if game.clearing != "call":
                orders = {trader: [price, left] for price, left, trader in other.book}
                names = ("order_price", "order_units") if game._most > 1 else ("order_price",)
                mine = np.stack([np.concatenate([seen[r][f][world] for r in seen]) for f in names], axis=-1)
                assert mine.tolist() == [orders.get(i, [0, 0])[: len(names)] for i in range(len(units))]
                bid, ask = seen["buyer"]["bid"][world, 0], seen["seller"]["ask"][world, 0]
                assert not (bid and ask and bid >= ask)


@given(markets(), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_what_is_measured_is_what_was_paid(game: DoubleAuction, seed: int) -> None:
    done = play(game, {role.name: policy("random") for role in game.roles}, worlds=16, seed=seed % 1000)
    np.testing.assert_allclose(done.welfare, done.measures["efficiency"] * game.surplus * game.periods, atol=1e-9)
    np.testing.assert_allclose(done.welfare, sum(pay.sum(axis=-1) for pay in done.returns.values()), atol=1e-9)
    assert (done.measures["efficiency"] <= 1 + 1e-12).all()
    assert (done.measures["volume"] <= min(sum(map(len, game.values)), sum(map(len, game.costs)))).all()


# ---- examples -----------------------------------------------------------------------------------------------------


def orders(game: DoubleAuction, *given: tuple[int, int, int]) -> Any:
    """Let traders 0, 1, ... place (trader, price, units) one after another, each at a move of its own; return the state."""
    state = game.start(np.zeros((game.draws,)))
    b, n = len(game.values), len(game.values) + len(game.costs)
    for trader, price, units in given:
        kind, offer, quantity = np.zeros(n, dtype=int), np.ones(n, dtype=int), np.ones(n, dtype=int)
        kind[trader], offer[trader], quantity[trader] = (1 if price else 2), max(price, 1), units
        fields = {"order": kind, "offer": offer, "quantity": quantity}
        acts = {"buyer": {k: v[:b] for k, v in fields.items()}, "seller": {k: v[b:] for k, v in fields.items()}}
        state = game.step(state, acts, np.linspace(0.0, 0.9, n)).state
    return state


def test_price_goes_before_time_and_time_before_chance() -> None:
    game = DoubleAuction(values=[50, 50, 50], costs=[10, 10, 10])
    book = orders(game, (4, 30, 1), (3, 30, 1), (5, 25, 1), (0, 40, 1))
    assert book.gained.tolist() == [25, 0, 0, 0, 0, 15] and book.last == 25  # the best price, at that price
    book = orders(game, (4, 30, 1), (3, 30, 1), (5, 25, 1), (0, 40, 1), (1, 30, 1))
    assert book.gained.tolist() == [25, 20, 0, 0, 20, 15]  # of equal prices the oldest
    book = orders(game, (4, 30, 1), (3, 30, 1), (4, 30, 1), (0, 40, 1))
    assert book.gained.tolist() == [20, 0, 0, 20, 0, 0]  # a new order loses its place
    assert orders(game, (4, 30, 1), (4, 0, 1), (0, 40, 1)).volume == 0  # cancelled


def test_an_order_walks_up_the_book_and_its_rest_waits() -> None:
    game = DoubleAuction(values=[[50, 45, 40]], costs=[[10, 12], [20]])
    book = orders(game, (1, 15, 1), (2, 22, 1), (0, 30, 3))
    assert book.gained.tolist() == [(50 - 15) + (45 - 22), 15 - 10, 22 - 20]
    seen = game.view(book)
    assert seen["buyer"]["bid"][0] == 30 and seen["buyer"]["order_units"][0] == 1 and seen["seller"]["ask"][0] == 0
    assert seen["buyer"]["values"][0].tolist() == [50, 45, 40] and seen["seller"]["costs"][1].tolist() == [20, 0, 0]
    assert seen["buyer"]["value"][0] == 40 and seen["seller"]["cost"].tolist() == [12, 20]
    assert orders(game, (1, 15, 1), (2, 22, 1), (0, 30, 3), (1, 5, 1)).gained.tolist() == [58 + 10, 5 + 18, 2]


def test_a_cleared_book_takes_better_quotes_only_and_empties() -> None:
    game = DoubleAuction(values=[50, 50, 50], costs=[10, 10, 10], clearing="cleared")
    book = orders(game, (0, 20, 1), (1, 20, 1), (2, 15, 1), (0, 12, 1))
    assert game.view(book)["buyer"]["order_price"].tolist() == [
        20,
        0,
        0,
    ]  # others lapse, and a worse one leaves the old one in place
    assert game.view(book)["seller"]["shout_price"][0] == 12  # but all are heard
    book = orders(game, (3, 40, 1), (0, 20, 1), (1, 25, 1), (4, 24, 1))
    assert book.gained.tolist() == [0, 25, 0, 0, 15, 0] and game.view(book)["buyer"]["bid"][0] == 0


def test_a_call_has_one_price_in_the_middle() -> None:
    game = DoubleAuction(values=[50, 40, 30], costs=[10, 20, 35], clearing="call", moves=1)
    acts = {
        "buyer": {"order": np.ones(3, dtype=int), "offer": np.array([50, 40, 30])},
        "seller": {"order": np.ones(3, dtype=int), "offer": np.array([10, 20, 35])},
    }
    paid = game.step(game.start(np.zeros(6)), acts, np.zeros(6))
    assert paid.state.last == 32 == (30 + 35) // 2  # from the best bid that is left out to the worst ask that is
    assert paid.rewards["buyer"].tolist() == [18, 8, 0] and paid.rewards["seller"].tolist() == [22, 12, 0]


def test_a_call_sells_no_unit_twice_where_prices_and_lots_are_equal() -> None:
    for ceiling in (200, 1_000_000):
        game = DoubleAuction(values=[ceiling] * 3, costs=[10], clearing="call", moves=2, ceiling=ceiling)
        acts = {
            "buyer": {"order": np.ones(3, dtype=int), "offer": np.full(3, ceiling)},
            "seller": {"order": np.ones(1, dtype=int), "offer": np.array([10])},
        }
        paid = game.step(game.start(np.zeros(4)), acts, np.full(4, 0.5))
        assert (
            paid.state.left.sum() == 2
            and paid.welfare == ceiling - 10
            and paid.rewards["seller"].tolist() == [ceiling - 10]
        )


def test_nobody_trades_with_itself_and_refusal_earns_nothing() -> None:
    for variant in VARIANTS:
        game = DoubleAuction(**variant)
        still = play(game, {}, worlds=8)
        assert not still.welfare.any() and not any(pay.any() for pay in still.returns.values())
        assert set(game.role("buyer").players).isdisjoint(game.role("seller").players)
    alone = DoubleAuction(values=[[50, 40]], costs=[[10, 20]])
    assert orders(alone, (0, 30, 2), (0, 20, 1), (0, 40, 2)).volume == 0  # its own bids do not meet


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("offer", np.nan, "offer: .*NaN.* is not a whole number from 1 to 200"),
        ("offer", np.inf, "offer: .* is not a whole number from 1 to 200"),
        ("offer", 0, "offer: 0.0 is not a whole number from 1 to 200"),
        ("offer", 10**9, "offer: 1000000000.0 is not a whole number from 1 to 200"),
        ("offer", 99.5, "offer: 99.5 is not a whole number"),
        ("quantity", 0, "quantity: 0.0 is not a whole number from 1 to 3"),
        ("quantity", 4, "quantity: 4.0 is not a whole number from 1 to 3"),
        ("order", 3, "order: 3.0 is not one of"),
    ],
)
def test_orders_out_of_range_are_refused_by_name(field: str, value: float, words: str) -> None:
    game = DoubleAuction(**MANY)
    worlds = Worlds(game, 2)
    acts = {r.name: {f.name: np.full((2, r.count), 1.0) for f in r.acts} for r in game.roles}
    worlds.step(acts)
    acts["seller"][field][1, 0] = value
    with pytest.raises(ActError, match=f"(?i)seller: {words}"):
        worlds.step(acts)


# ---- what theory says ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clearing", ["continuous", "cleared", "call"])
def test_equilibrium_reaches_all_surplus_at_the_competitive_price(clearing: str) -> None:
    for options in (MANY, {}):
        game = DoubleAuction(clearing=clearing, periods=2, **options)
        done = play(game, {role.name: policy("equilibrium") for role in game.roles}, worlds=64)
        assert (done.measures["efficiency"] == 1).all() and (done.alignment == 1).all()
        assert (done.measures["price"] == sum(game.prices) // 2).all()


@given(markets(), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_equilibrium_play_is_offered_only_where_it_reaches_the_most(game: DoubleAuction, seed: int) -> None:
    marks = game.benchmarks()
    assert marks.baseline is not None and marks.baseline.value == 0
    if marks.equilibrium.play is None:
        return
    done = play(game, {role.name: policy("equilibrium") for role in game.roles}, worlds=32, seed=seed)
    assert (done.welfare == marks.equilibrium.value).all()


def test_time_may_be_too_short_for_one_a_move() -> None:
    assert DoubleAuction.gode_sunder(moves=100).benchmarks().equilibrium.play is None
    game = DoubleAuction.gode_sunder(moves=1200)
    assert game.benchmarks().equilibrium.play is not None
    done = play(game, {role.name: policy("equilibrium") for role in game.roles}, worlds=64)
    assert (done.measures["efficiency"] == 1).all()


def test_limits_are_private() -> None:
    for role in DoubleAuction(**MANY).roles:
        private = {"value", "cost", "values", "costs", "units", "gained", "order_price", "order_units"}
        assert all(not field.verifiable for field in role.sees if field.name in private)
        assert {"value", "cost"} - {field.name for field in role.sees} == {"cost" if role.name == "buyer" else "value"}


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_examined(variant: dict[str, Any]) -> None:
    check_game(DoubleAuction(**variant))


@pytest.mark.parametrize("clearing", ["continuous", "cleared", "call"])
def test_arrays(examine_arrays: Callable[[Game], None], clearing: str) -> None:
    examine_arrays(DoubleAuction(clearing=clearing, moves=2, periods=2, **MANY))


def test_the_rules_say_how_orders_meet() -> None:
    assert "midway" in DoubleAuction(clearing="call").about
    assert "After each trade all orders lapse" in DoubleAuction(clearing="cleared").about
    assert "the best price first, and of equal prices the oldest" in DoubleAuction().about
    assert "its order alone counts" in DoubleAuction(turns="one").about
    assert "quantity" not in {field.name for field in DoubleAuction().role("buyer").acts}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"values": []}, r"values: a list of 1 to 64 traders, got \[\]"),
        ({"costs": [[]]}, r"costs\[0\]: a list of 1 to 64 units, got \[\]"),
        ({"values": [[100, 120]]}, r"values\[0\]: from high to low, got \[100, 120\]; sort it"),
        ({"costs": [50, [60, 40]]}, r"costs\[1\]: from low to high, got \[60, 40\]; sort it"),
        ({"values": [201]}, r"values\[0\]\[0\]: a whole number from 1 to 200, got 201"),
        ({"costs": [0]}, r"costs\[0\]\[0\]: a whole number from 1 to 200, got 0"),
        ({"values": [60.5]}, r"values\[0\]\[0\]: a whole number from 1 to 200, got 60.5"),
        ({"values": [50]}, "values: some value above the lowest cost of 60, got 50 at most; raise one of them"),
        ({"clearing": "batch"}, "clearing: one of 'continuous', 'cleared', 'call', got 'batch'"),
        ({"turns": "two"}, "turns: one of 'all', 'one', got 'two'"),
        ({"clearing": "call", "turns": "one"}, "turns: 'all' at a call, got 'one'; or take another clearing"),
        ({"moves": 0}, "moves: a whole number from 1 to 100000, got 0"),
        ({"periods": 0}, "periods: a whole number from 1 to 10000, got 0"),
        ({"ceiling": 1}, "ceiling: a whole number from 2 to 1000000, got 1"),
    ],
)
def test_bad_parameters_are_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        DoubleAuction(**wrong)
