"""Learned auctions: what is known to be best, what holds by construction, and regret that is planted."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from societas.envs.core.arrays import to_numpy
from societas.mechanisms.audit import audit
from societas.mechanisms.design.auctions import (
    MANELLI_VINCENT,
    LearnedAuction,
    LearnedRule,
    RegretNet,
    RochetNet,
    known,
    middles,
    uniform,
    uniform_on,
)
from societas.policies.equilibrium import Equilibrium
from societas.testing import check_game

Host = np.ndarray[Any, Any]


def random(net: RegretNet, seed: int, size: float = 2.0) -> LearnedRule:
    """A rule that nobody trained."""
    rng = np.random.default_rng(seed)
    widths = {part: (math.prod(net.shape), *net.hidden, last) for part, last in net._outputs.items()}
    weights = {}
    for part, row in widths.items():
        for layer in range(len(row) - 1):
            weights[f"{part}.{layer}.w"] = size * rng.normal(size=(row[layer], row[layer + 1]))
            weights[f"{part}.{layer}.b"] = size * rng.normal(size=row[layer + 1])
    return LearnedRule(net, weights)


def plain(net: RegretNet) -> LearnedRule:
    """All weights 0: equal shares for all and nobody, at half of what they are said to be worth."""
    return random(net, 0, 0.0)


# ---- one bidder -----------------------------------------------------------------------------------------------------


def test_one_item() -> None:
    """A posted price of 1/2, and revenue 1/4."""
    learned = RochetNet().learn(steps=800, batch=512, seed=0)
    found = learned.evaluate(grid=2000)
    assert found.revenue == pytest.approx(0.25, rel=0.01) and found.revenue <= 0.25 + 1e-9
    assert found.regret == found.most_regret == found.violation == 0.0
    shares, payments = learned.rule(np.asarray([0.4, 0.6])[:, None, None])
    assert shares.ravel() == pytest.approx([0.0, 1.0], abs=0.05)
    assert payments[1, 0] == pytest.approx(0.5, abs=0.03)


@pytest.mark.slow
def test_two_items() -> None:
    """Manelli and Vincent (2006): each item for 2/3, both for (4 - sqrt 2) / 3."""
    learned = RochetNet(items=2).learn(steps=1500, seed=0)
    v = middles(200, (1, 2))[:, 0]
    prices = np.asarray([0.0, 2 / 3, 2 / 3, (4 - math.sqrt(2)) / 3])
    gains = np.stack([v[:, 0] * 0, v[:, 0], v[:, 1], v.sum(axis=1)], axis=-1) - prices
    best = float(prices[gains.argmax(axis=1)].mean())
    assert best == pytest.approx(MANELLI_VINCENT, abs=5e-4)
    found = learned.evaluate(grid=200, reports=5, starts=2)
    assert 0.99 * best <= found.revenue <= best + 1e-3
    assert found.most_regret == found.violation == 0.0


def test_unit_demand() -> None:
    """One of two items at most: revenue at least that of the best single price p, p (1 - p^2), 0.3849."""
    net = RochetNet(items=2, demand="unit", entries=16)
    learned = net.learn(steps=800, batch=512, seed=0)
    shares, _ = net.menu(learned.weights)
    assert shares.sum(axis=-1).max() <= 1 + 1e-12
    best = 2 / (3 * math.sqrt(3))
    assert learned.evaluate(grid=100, reports=5, starts=2).revenue == pytest.approx(best, rel=0.02)


def test_welfare_is_given_away() -> None:
    """For welfare the item goes to all but the lowest values, and the seller never pays."""
    found = RochetNet().learn(objective="welfare", steps=1000, batch=128).evaluate(grid=500)
    assert found.welfare > 0.495 and found.revenue >= 0.0


def test_units_do_not_matter() -> None:
    """Values ten times as large: the same menu at ten times the price."""
    small = RochetNet(entries=8).learn(steps=60, batch=64)
    large = RochetNet(entries=8, high=10.0).learn(uniform_on(0.0, 10.0), steps=60, batch=64)
    assert large.evaluate(grid=200).revenue == pytest.approx(10 * small.evaluate(grid=200).revenue, rel=1e-3)
    one = RegretNet(hidden=(8,)).learn(steps=20, batch=32)
    ten = RegretNet(hidden=(8,), high=10.0).learn(uniform_on(0.0, 10.0), steps=20, batch=32)
    a, b = one.evaluate(grid=12), ten.evaluate(grid=12)
    assert b.revenue == pytest.approx(10 * a.revenue, rel=1e-3) and b.regret == pytest.approx(10 * a.regret, rel=1e-2)


# ---- two bidders ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sold() -> LearnedRule:
    """Two bidders, one item, for revenue."""
    return RegretNet().learn(seed=0)


def second_price(values: Host, reserve: float) -> tuple[Host, Host]:
    """Shares and payments (worlds, 2) of the second-price auction with a reserve."""
    own, other = values[..., 0], values[:, ::-1, 0]
    wins = (own > other) & (own > reserve)
    return np.asarray(wins * 1.0), np.asarray(wins * np.maximum(other, reserve))


def clear(values: Host, reserve: float, far: float = 0.1) -> Host:
    """Where no value is close to the other or to the reserve, beside which a network is never sharp."""
    own, other = values[..., 0], values[:, ::-1, 0]
    return np.asarray((np.abs(own - other) > far) & (np.abs(np.maximum(own, other) - reserve) > far))


@pytest.mark.slow
def test_revenue_of_two_bidders(sold: LearnedRule) -> None:
    """Myerson (1981): revenue 5/12, by a second price with a reserve of 1/2."""
    found = sold.evaluate(grid=40)
    assert found.revenue == pytest.approx(5 / 12, rel=0.02)
    assert found.regret < 0.005 and found.most_regret < 0.02 and found.violation == 0.0
    values = middles(40, (2, 1))
    shares, payments = sold.rule(values)
    wins, prices = second_price(values, 0.5)
    away = clear(values, 0.5)
    assert np.abs(shares[..., 0] - wins)[away].mean() < 0.03
    assert np.abs(payments - prices)[away].mean() < 0.03
    nothing = values.max(axis=(1, 2)) < 0.4
    assert payments[nothing].sum(axis=-1).mean() < 0.02


@pytest.mark.slow
def test_the_efficient_rule_is_the_second_price() -> None:
    """Without a reserve: welfare 2/3, revenue 1/3, and no regret."""
    learned = RegretNet().learn(objective="welfare", multiplier=10.0, penalty=(10.0, 100.0), steps=1000, seed=0)
    found = learned.evaluate(grid=40)
    assert found.welfare == pytest.approx(2 / 3, rel=0.02) and found.regret < 0.005
    values = middles(40, (2, 1))
    wins, prices = second_price(values, -1.0)
    shares, payments = learned.rule(values)
    away = clear(values, -1.0)
    assert np.abs(shares[..., 0] - wins)[away].mean() < 0.04
    assert np.abs(payments - prices)[away].mean() < 0.04


# ---- what holds whatever the weights --------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.sampled_from(["additive", "unit"]), st.integers(0, 1000))
def test_by_construction(bidders: int, items: int, demand: str, seed: int) -> None:
    """No item is sold twice, unit demand is met once, nobody pays more than it says; torch agrees with NumPy."""
    import torch

    net = RegretNet(bidders, items, demand, (5, 7))
    rule = random(net, seed)
    bids = np.random.default_rng(seed).random((50, bidders, items))
    shares, payments = rule.rule(bids)
    assert shares.min() >= 0 and shares.sum(axis=1).max() <= 1 + 1e-12
    assert demand == "additive" or shares.sum(axis=2).max() <= 1 + 1e-12
    assert payments.min() >= 0 and (payments <= (shares * bids).sum(axis=-1) + 1e-12).all()
    for mine, theirs in zip((shares, payments), rule.rule(torch.asarray(bids)), strict=True):
        np.testing.assert_allclose(mine, to_numpy(theirs), atol=1e-12)
    found = rule.evaluate(worlds=64, reports=3, starts=2, ascents=2)
    assert found.violation <= 1e-12 and found.regret >= 0


def test_planted_regret() -> None:
    """Shares of 1/3 whatever is bid, at half the bid: bidding nothing gains v / 6, 1/12 in the mean."""
    rule = plain(RegretNet())
    found = rule.evaluate(grid=20, reports=2, starts=1, ascents=0)
    assert found.regret == pytest.approx(1 / 12) and found.most_regret == pytest.approx(0.975 / 6)
    climbed = rule.evaluate(grid=10, reports=2, starts=4, ascents=40)
    assert climbed.regret == pytest.approx(1 / 12)
    drawn = rule.evaluate(worlds=4000, reports=2, starts=1, ascents=0)
    assert abs(drawn.revenue - 1 / 6) < 5 * drawn.revenue_error < 0.01


def test_ascent_finds_what_a_grid_misses() -> None:
    """On a coarse grid of reports gradient ascent finds more regret, close to that of a fine one."""
    rule = random(RegretNet(hidden=(8,)), 3)
    coarse = rule.evaluate(grid=10, reports=2, starts=1, ascents=0).regret
    climbed = rule.evaluate(grid=10, reports=2, starts=4, ascents=60).regret
    fine = rule.evaluate(grid=10, reports=801, starts=1, ascents=0).regret
    assert coarse < climbed and climbed == pytest.approx(fine, rel=0.02)


# ---- learning, keeping, stopping ------------------------------------------------------------------------------------


@pytest.mark.parametrize("net", [RochetNet(entries=4), RegretNet(hidden=(4,))], ids=["rochet", "regret"])
def test_seeds_and_files(net: Any, tmp_path: Path) -> None:
    more = {"steps": 12, "batch": 16}
    one, same, other = net.learn(**more), net.learn(**more), net.learn(**more, seed=1)
    assert all((one.weights[k] == same.weights[k]).all() for k in one.weights)
    assert any((one.weights[k] != other.weights[k]).any() for k in one.weights)
    one.save(tmp_path)
    read = LearnedRule.load(tmp_path)
    assert read.net == net and read.evaluate(worlds=50) == one.evaluate(worlds=50)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["auction.safetensors", "card.json"]
    with pytest.raises(FileNotFoundError, match="card.json"):
        LearnedRule.load(tmp_path / "nowhere")


@pytest.mark.parametrize("net", [RochetNet(entries=4), RegretNet(hidden=(4,))], ids=["rochet", "regret"])
def test_watch_and_stop(net: Any) -> None:
    seen: list[tuple[int, int]] = []

    def watch(step: int, steps: int) -> bool:
        seen.append((step, steps))
        return step == 3

    learned = net.learn(steps=10, batch=16, watch=watch)
    assert seen == [(1, 10), (2, 10), (3, 10)] and len(learned.curve) == 3
    assert np.isfinite(learned.evaluate(worlds=20).revenue) and learned.seconds > 0


def test_known_auctions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of what is known says which setting it is at, and compares with the optimum; here after 3 updates."""
    short: dict[str, Any] = {"steps": 3, "batch": 16}
    for kind in (RochetNet, RegretNet):
        whole = kind.learn
        monkeypatch.setattr(kind, "learn", lambda net, *, _whole=whole, **more: _whole(net, **(more | short)))
    told: list[str] = []
    rows = known(watch=told.append)
    assert [f"{row['setting']}, for {row['objective']}" for row in rows] == told and len(rows) == 4
    assert [row["best"] for row in rows] == pytest.approx([1 / 4, 0.5492, 5 / 12, 2 / 3], rel=1e-4)
    for row in rows:
        assert row["gap"] == pytest.approx(row["found"] / row["best"] - 1) and row["gap"] < -0.05
    assert rows[0]["regret"] == 0.0 < rows[2]["regret"]


def test_bad_input() -> None:
    for make, message in (
        (lambda: RochetNet(items=0), "items: a whole number"),
        (lambda: RochetNet(demand="both"), "demand: one of"),
        (lambda: RegretNet(low=1.0, high=1.0), "high: above low = 1"),
        (lambda: RegretNet(hidden=(0,)), "hidden: a whole number"),
        (lambda: RochetNet().learn(objective="fame"), "objective: one of"),
        (lambda: RegretNet().learn(steps=0), "steps: a whole number"),
        (lambda: RochetNet().learn(uniform_on(0.0, 2.0), steps=1), "values: numbers from low = 0 to high = 1"),
        (lambda: RochetNet().learn(lambda u: u[..., 0], steps=1), "values: an array of shape"),
        (lambda: plain(RegretNet()).evaluate(grid=10_000), "grid: a whole number"),
        (lambda: LearnedAuction(None), "learned: a LearnedRule"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match=message):
            make()


# ---- as a game ------------------------------------------------------------------------------------------------------


def test_game_of_a_menu() -> None:
    """The examiner and the audit find no gain by a lie."""
    game = RochetNet(items=2, entries=8).learn(steps=100, batch=128).game(repetitions=2)
    check_game(game)
    once = LearnedAuction(game.learned)
    rows = audit(once, {"bidder": Equilibrium()}, reports=once.truths, worlds=64, learn=0)
    assert [row.verdict for row in rows.rows if row.name == "truth-telling"] == ["holds", "holds"]


@pytest.mark.slow
def test_game_of_a_network(sold: LearnedRule) -> None:
    """Planted regret fails the audit, by as much as was planted; what was learned gains a liar next to nothing."""
    lies = plain(RegretNet(2, 1)).game()
    check_game(lies, theory=False)
    assert lies.benchmarks().equilibrium.value == pytest.approx(1 / 3, rel=1e-3)
    assert lies.benchmarks().first_best.value == pytest.approx(2 / 3, rel=1e-3)
    play = {"bidder": Equilibrium()}
    found = audit(lies, play, reports=lies.truths, worlds=256, learn=0, alike=["bidder"]).find("truth-telling")
    assert found.verdict == "fails" and found.gain == pytest.approx(1 / 12, abs=0.02)
    game = sold.game()
    check_game(game)
    honest = audit(game, play, reports=game.truths, worlds=256, learn=0, alike=["bidder"]).find("truth-telling")
    assert honest.gain < 0.005
    unit = random(RegretNet(3, 2, "unit", (4,)), 0).game()
    check_game(unit, theory=False)
    assert uniform(0.3) == 0.3
