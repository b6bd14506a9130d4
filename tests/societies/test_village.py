"""The village: the market clears, the vote binds, and the lake lives or dies of both."""

from __future__ import annotations

from typing import Any

import mesa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar

from societas.experiments.societies.village import Village, clearing


def live(**options: Any) -> Village:
    village = Village(**options)
    while village.running:
        village.step()
    return village


def told(village: Village) -> Any:
    return village.datacollector.get_model_vars_dataframe().iloc[1:]


@settings(max_examples=12, deadline=None)
@given(st.integers(2, 5), st.integers(0, 10_000))
def test_the_price_is_where_what_households_want_adds_up(count: int, seed: int) -> None:
    """Demand found by searching each household's best bundle, the price by searching for no excess demand."""
    rng = np.random.default_rng(seed)
    fish, goods = rng.uniform(0, 10, count), rng.uniform(0, 10, count)
    fish[0], taste = fish[0] + 0.5, rng.uniform(0.2, 0.8, count)

    def wanted(price: float, i: int) -> float:
        wealth = price * fish[i] + goods[i]
        loss = lambda x: -(taste[i] * np.log(x) + (1 - taste[i]) * np.log(wealth - price * x))  # noqa: E731
        found = minimize_scalar(
            loss, bounds=(1e-9, wealth / price * (1 - 1e-9)), method="bounded", options={"xatol": 1e-9}
        )
        return float(found.x)

    excess = lambda price: sum(wanted(price, i) for i in range(count)) - fish.sum()  # noqa: E731
    expected = brentq(excess, 1e-3, 1e3, xtol=1e-9)
    price, after, left = clearing(fish[None], goods[None], taste[None])
    assert price[0] == pytest.approx(expected, rel=1e-3)
    np.testing.assert_allclose(after[0], [wanted(expected, i) for i in range(count)], rtol=2e-3, atol=1e-4)
    np.testing.assert_allclose([after.sum(), left.sum()], [fish.sum(), goods.sum()])
    np.testing.assert_allclose(price[0] * after[0] + left[0], price[0] * fish + goods)  # budgets
    gain = after**taste * left ** (1 - taste) - fish**taste * goods ** (1 - taste)
    assert (gain >= -1e-9).all() and gain.max() > 0


def test_without_fish_there_is_no_trade() -> None:
    goods, taste = np.array([[1.0, 2.0]] * 2), np.full((2, 2), 0.5)
    price, fish, left = clearing(np.array([[0.0, 0.0], [1.0, 1.0]]), goods, taste)
    assert np.isnan(price[0]) and fish[0].tolist() == [0, 0] and left[0].tolist() == [1, 2]
    assert price[1] == 1.5


def test_the_restrained_live_from_the_lake_for_ever() -> None:
    village = live(greedy=0.0, villages=2, months=10, seed=1)
    frame = told(village)
    assert len(frame) == 10
    assert frame["stock"].eq(128).all() and frame["catch"].eq(64).all() and frame["survival"].iloc[-1] == 10
    assert frame["limit"].eq(8).all()  # they vote for the limit that they keep


def test_greed_without_concern_empties_the_lake() -> None:
    doomed = live(greedy=1.0, concern=0.0, seed=1)
    frame = told(doomed)
    assert frame["stock"].is_monotonic_decreasing and frame["limit"].eq(128).all()
    assert not doomed.running
    saved = live(greedy=1.0, concern=4.0, seed=1)
    assert told(saved)["stock"].iloc[-1] > 2 * frame["stock"].iloc[-1]
    assert saved.datacollector.model_vars["reward"][-1] > 1.5 * doomed.datacollector.model_vars["reward"][-1]
    assert 128.0 in set(told(saved)["limit"]) and told(saved)["limit"].min() <= 8  # a rule came, after a while


def test_a_lake_that_collapses_ends_the_village() -> None:
    village = live(greedy=1.0, greed=2.0, concern=0.0, seed=1)
    assert village.steps == 1 and told(village)["stock"].iloc[-1] == 0
    rows = len(village.datacollector.model_vars["stock"])
    village.step()  # nothing happens any more
    assert len(village.datacollector.model_vars["stock"]) == rows


def test_concern_is_worth_more_the_greedier_they_are() -> None:
    """Mean over villages: concern saves fish, and a fine that does not bite saves fewer."""
    catch = {}
    for concern in (0.0, 1.0, 4.0):
        village = live(villages=20, greedy=1.0, concern=concern, months=16, seed=2)
        catch[concern] = sum(told(village)["catch"])
    assert catch[0.0] < catch[1.0] < catch[4.0]
    toothless = live(villages=20, greedy=1.0, concern=4.0, fine=0.5, months=16, seed=2)
    assert sum(told(toothless)["catch"]) < catch[4.0]


def test_limits_that_pay_are_kept_and_others_are_not() -> None:
    for fine, kept in ((2.0, True), (1.0, False)):  # of a fine of 1, one in eight comes back
        village = live(villages=10, greedy=1.0, concern=4.0, fine=fine, months=8, seed=3)
        table = village.datacollector.get_table_dataframe("villages")
        within = table["catch"] <= 8 * table["limit"]
        assert within[table["limit"] < 128].all() == kept
        assert (table["limit"] < 128).any()


def test_fish_and_goods_are_conserved() -> None:
    """Fines are shared out, and trade moves what there is."""
    village = Village(villages=3, greedy=1.0, concern=4.0, fine=0.9, seed=4)
    for _ in range(6):
        village.step()
        groups = village.seats
        np.testing.assert_allclose(village.fish[groups].sum(axis=1), village.catch)
        np.testing.assert_allclose(village.goods[groups].sum(axis=1), village.made[groups].sum(axis=1))
        assert (village.fish >= 0).all()
        utility = village.fish**village.taste * village.goods ** (1 - village.taste)
        np.testing.assert_allclose(village.rewards, utility)
    assert village.limit.min() < 128  # fines were paid


def test_households_imitate_within_their_village() -> None:
    village = Village(villages=5, households=4, seed=5)
    for step in range(40):
        village.steps = step
        others = village._someone(village.luck("imitation")[:, 0])
        assert (others // 4 == village.village).all() and (others != np.arange(20)).all()
    assert len({int(i) for i in others}) > 5


def test_tables() -> None:
    village = live(villages=3, months=5, seed=6)
    table = village.datacollector.get_table_dataframe("villages")
    assert len(table) == 15 and table["month"].tolist() == sorted(table["month"])
    frame = told(village)
    for name in ("stock", "catch", "limit", "price", "traded"):
        np.testing.assert_allclose(table.groupby("month")[name].mean(), frame[name])
    persons = village.datacollector.get_agent_vars_dataframe()
    assert list(persons.columns) == ["strategy", "reward", "fish", "goods"] and len(persons) == 24 * 6
    again = live(villages=3, months=5, seed=6)
    assert again.datacollector.get_agent_vars_dataframe().equals(persons)


def test_batch_run() -> None:
    rows = mesa.batch_run(
        Village, {"greedy": 1.0, "concern": [0.0, 4.0], "seed": [1, 2], "months": 8}, display_progress=False
    )
    stock = {(row["concern"], row["seed"]): row["stock"] for row in rows}
    assert len(stock) == 4 and all(stock[0.0, seed] < stock[4.0, seed] for seed in (1, 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"villages": 0}, "villages: a whole number from 1"),
        ({"households": 1}, "fishers: a whole number from 2"),
        ({"share": 0}, "share: a whole number from 1"),
        ({"greedy": 1.5}, "greedy: a number from 0 to 1"),
        ({"greed": 0.5}, "greed: a number from 1"),
        ({"concern": -1}, "concern: a number from 0"),
        ({"fine": -1}, "fine: a number from 0"),
        ({"months": 0}, "months: a whole number from 1"),
    ],
)
def test_bad_input(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Village(**options)
