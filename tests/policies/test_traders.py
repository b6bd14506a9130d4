"""Traders in double auctions: what Gode and Sunder, Cliff and Bruten, and Cliff found, and the rule of ZIP written out."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import societas
from societas import Worlds, play
from societas.envs.core.worlds import Cast
from societas.envs.markets.double_auction import DoubleAuction
from societas.policies.traders import ZIP, Truthful, ZeroIntelligence
from societas.testing import check_policy

MANY: dict[str, Any] = {"values": [[150, 120], [130, 90, 70]], "costs": [[60, 80], [85]], "moves": 4, "periods": 2}


def trade(game: DoubleAuction, trader: Any, worlds: int = 400, seed: int = 1) -> Any:
    return play(game, {"buyer": trader, "seller": trader}, worlds=worlds, seed=seed)


# ---- what was found -----------------------------------------------------------------------------------------------


def test_zero_intelligence_within_budgets_is_efficient() -> None:
    """Gode and Sunder 1993: 95.4% of all surplus in the symmetric market."""
    done = trade(DoubleAuction.gode_sunder(), ZeroIntelligence())
    assert 0.945 <= done.measures["efficiency"].mean() <= 0.963
    assert all((gained >= 0).all() for gained in done.returns.values())  # within the budget nobody loses
    assert done.measures["alpha"].mean() > 0.1  # though prices do not converge


def test_efficiency_does_not_need_the_equilibrium_price() -> None:
    """Cliff and Bruten 1997: with a flat supply all surplus is gained, at prices well above the equilibrium."""
    done = trade(DoubleAuction.flat_supply(), ZeroIntelligence(), worlds=100)
    assert done.measures["efficiency"].mean() > 0.999
    price = done.measures["price"]
    assert price.mean() - 4 * price.std() / np.sqrt(len(price)) > 86


def test_without_budgets_all_units_are_traded_in_the_end() -> None:
    """Efficiency tends to (sum of values - sum of costs) / S*, gains and losses together."""
    for game in (DoubleAuction.gode_sunder(), DoubleAuction.flat_supply()):
        done = trade(game, ZeroIntelligence(constrained=False), worlds=32)
        limit = (sum(row[0] for row in game.values) - sum(row[0] for row in game.costs)) / game.surplus
        assert done.measures["efficiency"].mean() == pytest.approx(limit, abs=0.005)
        assert (done.returns["buyer"] < 0).any() and (done.returns["seller"] < 0).any()


def _days(game: DoubleAuction, trader: Any, worlds: int = 32) -> list[tuple[float, float]]:
    """Play an episode; return the mean price of each trading period and Smith's alpha within it."""
    batch, cast = Worlds(game, worlds, seed=1), Cast(game, {"buyer": trader, "seller": trader})
    cast.begin(batch)
    sums = [np.zeros(3)]
    for _ in range(game.periods):
        for _ in range(game.moves):
            batch.step(cast.act(batch, batch.view()))
        state = batch.state
        sums.append(np.array([state.volume.sum(), state.paid.sum(), state.spread.sum()]))
    days = np.diff(sums, axis=0)
    return [(paid / units, float(np.sqrt(spread / units) / 80)) for units, paid, spread in days.tolist()]


@pytest.mark.parametrize("clearing", ["continuous", "cleared"])
def test_zip_prices_converge(clearing: str) -> None:
    """Cliff 1997: day by day prices come closer to the equilibrium of 80, which zero intelligence stays far from."""
    game = DoubleAuction.flat_supply(clearing=clearing, moves=200, periods=6)
    days = _days(game, ZIP())
    assert abs(days[-1][0] - 80) < 3 < 10 < abs(days[0][0] - 80)
    assert days[-1][1] < 0.4 * days[0][1]
    assert all(later[1] < earlier[1] for earlier, later in itertools.pairwise(days[:4]))
    (price, alpha), *_ = _days(replace(game, periods=1), ZeroIntelligence())
    assert price > 86 and alpha > days[0][1]


def test_truthful_traders_at_a_call_gain_all_there_is() -> None:
    game = DoubleAuction.gode_sunder(clearing="call", turns="all", moves=1)
    done = trade(game, Truthful(), worlds=8)
    assert (done.measures["efficiency"] == 1).all() and (done.measures["price"] == 100).all()
    units = DoubleAuction(clearing="call", **MANY)
    done = trade(units, Truthful(), worlds=8)
    assert (done.measures["efficiency"] == 1).all()


# ---- the rule of ZIP, written out -----------------------------------------------------------------------------------


def _written_out(side: int, limit: float, start: tuple[float, ...], events: list[Any]) -> list[float]:
    """Quotes of one trader after events (side heard, price, traded, units left, two uniform numbers), in plain numbers."""
    margin, beta, gamma, drift, quotes = -side * start[0], start[1], start[2], 0.0, []
    for heard, q, traded, units, u_r, u_a in events:
        p = limit * (1 + margin)
        quote = min(round(p), limit) if side > 0 else max(round(p), limit)
        up = down = False  # towards more profit, towards less
        if heard and traded:
            up = quote >= q if side > 0 else quote <= q
            if not up and heard != (1 if side > 0 else 2) and units:
                down = quote <= q if side > 0 else quote >= q
        elif heard == (1 if side > 0 else 2) and units:
            down = quote <= q if side > 0 else quote >= q
        if up or down:
            higher = up == (side < 0)  # a seller gains from a higher price, a buyer from a lower
            r, a = (1 + 0.05 * u_r, 0.05 * u_a) if higher else (1 - 0.05 * u_r, -0.05 * u_a)
            drift = gamma * drift + (1 - gamma) * beta * (r * q + a - p)
            margin = (p + drift) / limit - 1
            margin = min(max(margin, -1), 0) if side > 0 else max(margin, 0)
        p = limit * (1 + margin)
        quotes.append(min(round(p), limit) if side > 0 else max(round(p), limit))
    return quotes


@pytest.mark.parametrize("role", ["buyer", "seller"])
def test_zip_follows_its_rule(role: str) -> None:
    game, rng, n = DoubleAuction.gode_sunder(), np.random.default_rng(2), 300
    trader = ZIP().bind(game, role, (0,))
    limit, side = (145, 1) if role == "buyer" else (55, -1)
    memory = trader.begin((n,), np, "cpu")
    first, events, asked = rng.random((n, 3)), [], []
    for move in range(40):
        heard, q, units = rng.integers(0, 3, n), rng.integers(1, 201, n), rng.integers(0, 2, n)
        traded, u = (rng.random(n) < 0.5) & (heard > 0), rng.random((n, 5))
        u[:, :3] = first if move == 0 else u[:, :3]
        seen = {
            "value" if side > 0 else "cost": np.full((n, 1), limit),
            "units": units[:, None],
            "shout": heard[:, None],
            "shout_price": q[:, None],
            "price": q[:, None],
            "traded": traded[:, None] * 1,
        }
        acts, memory = trader.act(seen, np.zeros(n, dtype=int), u[:, None, :], memory)
        assert (acts["order"][:, 0] == units).all()
        asked.append(acts["offer"][:, 0])
        events.append((heard, q, traded, units, u[:, 3], u[:, 4]))
    for world in range(n):
        start = (0.05 + 0.3 * first[world, 0], 0.1 + 0.4 * first[world, 1], 0.1 * first[world, 2])
        own = [tuple(part[world].item() for part in event) for event in events]
        want = np.clip(_written_out(side, limit, start, own), 1, 200)
        assert np.array(asked)[:, world].tolist() == want.tolist()


# ---- what every policy keeps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trader",
    [Truthful(), ZeroIntelligence(), ZeroIntelligence(False), ZIP()],
    ids=["truthful", "constrained", "unconstrained", "adaptive"],
)
def test_traders_are_examined(trader: Any) -> None:
    check_policy(trader, DoubleAuction(**MANY))


def test_prices_of_zero_intelligence_are_uniform() -> None:
    game = DoubleAuction(values=[150], costs=[60])
    u = ((np.arange(1000) + 0.5) / 1000).reshape(-1, 1, 1)
    for constrained, role, low, high in ((True, "buyer", 1, 150), (True, "seller", 60, 200), (False, "seller", 1, 200)):
        trader = ZeroIntelligence(constrained).bind(game, role, (0,))
        seen = {key: np.broadcast_to(v, (1000, 1)) for key, v in game.view(game.start(np.zeros((1, 2))))[role].items()}
        offers = trader.act(seen, np.zeros(1000, dtype=int), u, None)[0]["offer"][:, 0]
        counts = np.bincount(offers, minlength=201)[low : high + 1]
        assert (offers.min(), offers.max()) == (low, high) and counts.max() - counts.min() <= 2


def test_traders_refuse_what_is_no_market() -> None:
    with pytest.raises(
        ValueError, match="ZeroIntelligence: trades in a double auction, but firm of Pricing sees no 'units'"
    ):
        play(societas.make("Pricing"), {"firm": ZeroIntelligence()})
    with pytest.raises(
        ValueError, match="ZIP: .* buyer of DoubleAuction sees no 'shout'; take another policy or another game"
    ):
        play(DoubleAuction(clearing="call"), {"buyer": ZIP()})


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"speed": (0.5, 0.1)}, r"speed\[1\]: a number from 0.5 to 1, got 0.1"),
        ({"inertia": (-0.1, 0.1)}, r"inertia\[0\]: a number from 0 to 1, got -0.1"),
        ({"margin": (0.1,)}, r"margin: a pair of numbers \(low, high\), got \(0.1,\)"),
        ({"relative": 2.0}, "relative: a number from 0 to 1, got 2.0"),
        ({"absolute": -1.0}, "absolute: a number from 0 to 1e\\+06, got -1.0"),
    ],
)
def test_bad_parameters_are_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ZIP(**wrong)
    with pytest.raises(ValueError, match="constrained: True or False, got 2"):
        ZeroIntelligence(2)  # type: ignore[arg-type]
