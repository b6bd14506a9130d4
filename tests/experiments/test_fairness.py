"""Distributive fairness: the oracle by hand, known rules told apart, order found out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from societas import make
from societas.envs.norms.allocation import Allocation
from societas.experiments.fairness import (
    INSTANCES,
    NOTIONS,
    PEOPLE,
    Divider,
    Fairness,
    Instance,
    Menu,
    _game,
    fairness,
    holding,
    picture,
    report,
    representatives,
    utilities,
)
from societas.policies.random import Random

FEW = ("I1", "I2", "I6")  # small, without money


def game(name: str) -> Allocation:
    """Return the game of an instance in its own order."""
    one = INSTANCES[name]
    return _game(one, 1.0, range(len(one.values)), range(len(one.values[0])))


def satisfied(name: str, got: tuple[int, ...]) -> set[str]:
    """Return the notions that hold for the allocations in which people get ``got``, who must exist and agree."""
    one = game(name)
    rows = np.flatnonzero((utilities(one) == got).all(axis=1))
    found = [{notion for notion, held in holding(one).items() if held[row]} for row in rows]
    assert found and all(notions - {"EF"} == found[0] - {"EF"} for notions in found)
    return set.union(*found)


def test_the_oracle_knows_the_allocations_of_the_second_instance() -> None:
    assert satisfied("I2", (45, 45, 45)) == {"EQ", "RMM"}
    assert satisfied("I2", (47, 48, 43)) == {"EF", "PO"}
    assert satisfied("I2", (47, 45, 52)) == {"RMM", "PO"}
    assert satisfied("I2", (47, 93, 20)) == {"USW", "PO"}
    assert 47 + 93 + 20 == 160 == max(utilities(game("I2")).sum(axis=1))


def test_the_oracle_is_brute_force() -> None:
    """Every notion from its words, for every allocation of an instance with money, goods and a good thrown away."""
    one = Instance(((7, 2, 1), (4, 4, 2)), 2)
    divided = _game(one, 1.0, range(2), range(3))
    owners, moneys = divided.table
    assert len(owners) == 3**3 * 3

    def bundle(person: int, whose: int, row: int) -> float:
        return moneys[row][whose] + sum(v for v, o in zip(one.values[person], owners[row], strict=True) if o == whose)

    us = [tuple(bundle(i, i, row) for i in range(2)) for row in range(len(owners))]
    fed = [max(u) - min(u) for u in us if min(u) > 0]
    truth = {
        "EQ": [min(u) > 0 and max(u) - min(u) == min(fed) for u in us],
        "EF": [bundle(0, 0, r) >= bundle(0, 1, r) and bundle(1, 1, r) >= bundle(1, 0, r) for r in range(len(us))],
        "RMM": [min(u) == max(map(min, us)) for u in us],
        "PO": [not any(v[0] >= u[0] and v[1] >= u[1] and v != u for v in us) for u in us],
        "USW": [sum(u) == max(map(sum, us)) for u in us],
    }
    for notion, held in holding(divided).items():
        assert held.tolist() == truth[notion], notion


def test_shares_of_people_are_possible() -> None:
    """Who satisfies a notion satisfies what it implies; of notions that exclude each other at most one is satisfied."""
    for name, shares in PEOPLE.items():
        holds = holding(game(name))
        for a, b in itertools.permutations(shares, 2):
            if not (holds[a] & ~holds[b]).any():
                assert shares[a] <= shares[b] + 0.001, (name, a, b)
            if not (holds[a] & holds[b]).any():
                assert shares[a] + shares[b] <= 1.001, (name, a, b)


def test_notions_do_not_depend_on_names_or_magnitude() -> None:
    one = INSTANCES["I6"]
    people, goods = [2, 0, 1], [3, 1, 0, 2]
    plain, other = holding(game("I6")), holding(_game(one, 10.0, people, goods))
    for notion in NOTIONS:
        assert plain[notion].sum() == other[notion].sum() > 0
    mine, theirs = utilities(game("I6")), utilities(_game(one, 10.0, people, goods))
    assert sorted(map(tuple, 10 * mine[:, people])) == sorted(map(tuple, theirs))


def test_rules_satisfy_what_they_are_made_for() -> None:
    found = {rule: fairness(Divider(rule), FEW, worlds=100) for rule in ("efficient", "equaliser", "maximin")}
    for rule, notion in (("efficient", "USW"), ("equaliser", "EQ"), ("maximin", "RMM")):
        share = found[rule].share(notion)
        assert (share.mean, share.n) == (1.0, 300)
        assert share.low == pytest.approx(0.025 ** (1 / 300))  # Clopper and Pearson: n of n
    scaled = fairness(Divider("equaliser", coin=10.0), ["I7"], worlds=12, scale=10.0)
    assert scaled.share("EQ").mean == 1.0


def test_rules_are_told_apart() -> None:
    found = [fairness(Divider(rule), FEW, worlds=100) for rule in ("efficient", "equaliser", "round_robin")]
    found.append(fairness("random", FEW, worlds=100))
    for one, other in itertools.combinations(found, 2):
        assert min(one.differs(other).values()) < 0.01, (one.policy, other.policy)
    again = fairness(Divider("round_robin"), FEW, worlds=100, seed=1)
    assert min(found[2].differs(again).values()) > 0.05  # the same rule, other chance


def test_the_menu_offers_a_notion_each_and_pays_what_it_says() -> None:
    one = game("I2")
    got = utilities(one)[list(representatives(one))]
    assert got.tolist() == [[45, 45, 45], [47, 48, 43], [47, 45, 52], [92, 45, 20], [47, 93, 20]]
    for rule, notion in (("efficient", "USW"), ("equaliser", "EQ"), ("maximin", "RMM")):
        found = fairness(Divider(rule), ("I2", "I7"), mode="menu", worlds=30)
        assert found.share(notion).mean == 1.0
        assert len(np.unique(found.cell("I2").did, axis=0)) == 1  # whatever the order of people, goods and options
        assert len(np.unique(found.cell("I2").pick)) > 1


def test_an_order_bias_is_found() -> None:
    for mode in ("generate", "menu"):
        assert fairness(Divider("in_order"), FEW, mode=mode, worlds=60).order_bias() < 0.01
        for rule in ("efficient", "equaliser", "maximin"):
            assert fairness(Divider(rule), FEW, mode=mode, worlds=60).order_bias() > 0.01
    assert fairness(Random(), FEW, worlds=60).order_bias() > 0.01
    one = fairness(Divider("in_order"), FEW, worlds=60, relabellings=1)
    assert one.order_bias() == 1.0 and "only one was tried" in str(one)
    favoured = fairness(Divider("in_order"), ["I2"], worlds=60).by_place()
    assert favoured[0] > favoured[1]  # the first gets the first and the fourth good


def test_false_alarms_are_as_rare_as_they_should_be() -> None:
    """Under the null hypothesis p is at least as large as a uniform number: of 40 few are below 5%."""
    found = [fairness(Divider("round_robin"), ["I2"], worlds=30, seed=s).order_bias(199) for s in range(40)]
    assert sum(p <= 0.05 for p in found) <= 6  # 0.997 quantile of Binomial(40, 0.05)


def test_distance_to_people() -> None:
    found = fairness(Divider("equaliser"), ["I1"], worlds=10)
    assert found.distance() == pytest.approx(max(1 - 0.724, 1 - 0.704, 0.232, 0.252))
    assert np.isnan(fairness(Divider("equaliser"), ["I9"], worlds=10).distance())


def test_tables_and_picture() -> None:
    told = report("random", instances=["I1", "I7"], worlds=6)
    assert told.count("I7") == 2 and "random, menu: 6 worlds" in told and "/ 72" in told
    found = fairness(Divider("efficient"), ["I1"], worlds=6, name="greedy")
    frame = found.to_frame()
    assert len(frame) == 5 and set(frame["policy"]) == {"greedy"}
    assert b"<svg" in __import__("societas.experiments.pictures", fromlist=["svg"]).svg(picture([found, found]))


def test_the_menu_is_a_game() -> None:
    from societas.testing import check_game

    menu = Menu(people=2, goods=3, values=INSTANCES["I1"].values, discard=True)
    check_game(menu)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mode": "ask"}, "mode: one of 'generate', 'menu'"),
        ({"instances": ["I11"]}, "instances: one of 'I1'"),
        ({"instances": []}, "instances: at least one"),
        ({"worlds": 0}, "worlds: a whole number"),
        ({"worlds": 3, "relabellings": 4}, "relabellings: a whole number from 1 to 3"),
        ({"scale": 0.0}, "scale: a number from 0.001"),
    ],
)
def test_bad_input(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fairness("random", **given)  # type: ignore[arg-type]


def test_what_fits_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="picks from no menu"):
        fairness(Divider("round_robin"), ["I1"], mode="menu", worlds=2, relabellings=1)
    with pytest.raises(ValueError, match="a menu takes values that are given"):
        Menu()
    one, other = (fairness("random", [name], worlds=6) for name in ("I1", "I2"))
    with pytest.raises(ValueError, match="other: the same instances"):
        one.differs(other)
    with pytest.raises(KeyError, match="instance: one of I1"):
        one.cell("I2")
    assert isinstance(one, Fairness) and make("Allocation", discard=True).discard  # type: ignore[attr-defined]
