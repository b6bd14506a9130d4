"""Silly rules: the rules by hand, theory against dynamic programming, the observer by enumeration, and what learners learn."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from societas import Game, play, policy
from societas.envs.norms.silly_rules import SillyRules, legibility
from societas.policies.tabular import TabularQ
from societas.testing import check_game


def step(game: SillyRules, state: Any, bushes: list[int], shift: int, eat: list[int], zap: list[int]) -> Any:
    """Play a round in one world in which these bushes were found and each meets the one ``shift`` seats further on."""
    state = state._replace(nature={"bush": np.array([bushes]), "shift": np.array([shift])})
    acts = {"forager": {"eat": np.array([eat]), "zap": np.array([zap])}}
    return game.step(state, acts, np.full((1, game.draws), 0.999))


def first(game: SillyRules) -> Any:
    return game.start(np.zeros((1, game.draws)))


# ---- the game -----------------------------------------------------------------------------------------------------


def test_marks_zaps_and_misfires_are_what_the_rules_say() -> None:
    """Red is poisonous and taboo, blue is taboo, yellow is neither."""
    game = SillyRules(foragers=3, kinds=3, food=1.0, harm=5.0, delay=2, bounty=2.0, fine=3.0, misfire=0.5)
    one = step(game, first(game), [0, 1, 2], 1, [1, 1, 1], [0, 0, 0])
    assert one.rewards["forager"].tolist() == [[1.0, 1.0, 1.0]]
    assert one.welfare.tolist() == [3.0 - 5.0]  # the harm counts when it is done
    seen = game.view(one.state)["forager"]
    assert seen["mark"].tolist() == [[1, 1, 0]] and seen["marks"][0, 2].tolist() == [1, 1, 0]
    # all meet the next but one: 0 zaps 2 (clear), 1 zaps 0 (marked), 2 passes 1 (marked)
    two = step(game, one.state, [2, 2, 2], 2, [0, 0, 1], [1, 1, 0])
    assert two.rewards["forager"].tolist() == [[-0.5 - 3.0, 2.0, 1.0 - 0.5]]
    assert two.welfare.tolist() == [1.0 + (2.0 - 3.0) - 2 * 0.5]
    seen = game.view(two.state)["forager"]
    assert seen["mark"].tolist() == [[0, 1, 0]] and seen["zapped"].tolist() == [[1, 0, 1]]
    three = step(game, two.state, [2, 2, 2], 1, [0, 0, 0], [0, 0, 0])
    assert three.rewards["forager"].tolist() == [[-5.0, 0.0, 0.0]]  # two rounds after the meal
    assert three.welfare.tolist() == [0.0]
    found = {name: float(value[0]) for name, value in game.measures(three.state).items()}
    assert found == pytest.approx(
        {"poison": 1.0, "violations": 2 / 9, "marked": 3 / 9, "enforced": 1 / 3, "misfires": 1 / 9}
    )


def test_a_meal_that_breaks_a_taboo_outlives_the_zap_of_an_older_mark() -> None:
    game = SillyRules(foragers=2, kinds=3)
    state = step(game, first(game), [1, 2], 1, [1, 1], [0, 0]).state
    again = step(game, state, [1, 2], 1, [1, 0], [0, 1])
    assert game.view(again.state)["forager"]["mark"].tolist() == [[1, 0]]


@pytest.mark.parametrize("delay", [0, 1, 3, 8])
def test_what_is_paid_is_what_welfare_counts_whatever_the_delay(delay: int) -> None:
    done = play(SillyRules(delay=delay, repetitions=5), {"forager": policy("random")}, worlds=300, seed=1)
    np.testing.assert_allclose(done.returns["forager"].sum(axis=-1), done.welfare, atol=1e-9)


def test_what_is_taboo() -> None:
    none, five = np.zeros((), dtype=np.int64), [np.asarray(i) for i in range(4)]
    assert SillyRules(taboos="none", kinds=5).forbidden(none).tolist() == [0] * 5
    assert SillyRules(taboos="important", kinds=5, poison=2).forbidden(none).tolist() == [0, 0, 1, 0, 0]
    lists = [SillyRules(kinds=5, poison=2, silly=2).forbidden(i).tolist() for i in five]
    assert lists == [[0, 0, 1, 1, 1], [1, 0, 1, 0, 1], [1, 1, 1, 0, 0], [0, 1, 1, 1, 0]]
    assert SillyRules(kinds=5, silly=4).forbidden(none).tolist() == [1] * 5


def test_the_altar_changes_its_mind_and_newcomers_cannot_read_it() -> None:
    game = SillyRules(kinds=5, altar="public", change=0.4, newcomers=2, repetitions=40)
    done = play(game, {"forager": policy("random")}, worlds=200, seed=2, keep=True)
    altar = np.stack([moment.seen["forager"]["altar"] for moment in done.moments])
    assert (altar[:, :, 4:] == 2).all() and (altar[:, :, :4] < 2).all()
    assert (altar[:, :, :4, 0] == 1).all() and (altar[:, :, 0].sum(axis=-1) == 2).all()
    changed = (altar[1:, :, 0] != altar[:-1, :, 0]).any(axis=-1).mean()
    assert changed == pytest.approx(0.4 * 3 / 4, abs=0.02)  # one time in four the same is drawn
    assert all(
        f.name != "altar" for g in (SillyRules(), SillyRules(altar="public", newcomers=6)) for f in g.roles[0].sees
    )


def test_everyone_meets_one_and_is_met_by_one() -> None:
    done = play(SillyRules(foragers=5, repetitions=8), {"forager": policy("random")}, worlds=50, seed=3, keep=True)
    for moment in done.moments:
        met = moment.seen["forager"]["meets"]
        assert (np.sort(met, axis=-1) == np.arange(5)).all() and (met != np.arange(5)).all()


def test_the_rules_do_not_tell_what_is_to_be_found_out() -> None:
    one, two = SillyRules(poison=0, taboos="none"), SillyRules(poison=2)
    assert one.about == two.about


# ---- theory -------------------------------------------------------------------------------------------------------


def best_reply(game: SillyRules) -> float:
    """What a forager earns at best among others who zap every mark and play alike: backward induction, round by round."""
    taboo = game.forbidden(np.zeros((), dtype=np.int64))
    value, habit = np.zeros(2), []  # by whether one is marked; how likely one ends a round marked
    for number in range(game.repetitions, 0, -1):
        after, eaten, share = value.copy(), 0.0, 0.0
        for kind in range(game.kinds):
            gain = game.food - game.harm * (kind == game.poison)
            eat = gain + after[taboo[kind]]
            eaten += max(eat, after[0]) / game.kinds
            share += float(taboo[kind] and eat > after[0]) / game.kinds
        value = eaten - game.fine * np.arange(2)
        habit.append((number, share))
    marks = sum(share for number, share in habit if number < game.repetitions)
    return float(value[0] + game.bounty * marks)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_equilibrium_against_dynamic_programming(data: st.DataObject) -> None:
    kinds, fine = data.draw(st.integers(2, 6)), data.draw(st.integers(0, 12)) / 4 + 0.1
    game = SillyRules(
        foragers=data.draw(st.integers(2, 7)),
        kinds=kinds,
        poison=data.draw(st.integers(0, kinds - 1)),
        taboos=data.draw(st.sampled_from(["none", "important", "silly"])),
        silly=data.draw(st.integers(0, kinds - 1)),
        food=data.draw(st.integers(0, 8)) / 4,
        harm=data.draw(st.integers(0, 16)) / 4 + 0.05,
        delay=data.draw(st.integers(0, 4)),
        fine=fine,
        bounty=fine * data.draw(st.sampled_from([0.0, 0.5, 1.0])),
        repetitions=data.draw(st.integers(1, 6)),
    )
    marks = game.benchmarks()
    assert marks.equilibrium.value == pytest.approx(game.foragers * best_reply(game), abs=1e-9)
    assert marks.baseline is not None and marks.baseline.value <= marks.first_best.value + 1e-9
    assert marks.equilibrium.value <= marks.first_best.value + 1e-9


def test_levels_are_attained_by_their_play() -> None:
    game = SillyRules(kinds=5, silly=2, altar="public", change=0.3, repetitions=10)
    for name, level in game.benchmarks().levels.items():
        done = play(game, {"forager": policy("equilibrium", level=name)}, worlds=4000, seed=4)
        error = 5 * done.welfare.std() / np.sqrt(4000) + 1e-9
        assert done.welfare.mean() == pytest.approx(level.value, abs=error), name


def test_to_the_informed_each_silly_rule_costs_its_food() -> None:
    values = [SillyRules(kinds=6, silly=s).benchmarks().equilibrium.value for s in range(6)]
    important = SillyRules(kinds=6, taboos="important").benchmarks()
    assert values[0] == important.equilibrium.value == important.first_best.value
    np.testing.assert_allclose(-np.diff(values), 6 * 19 * 1.0 / 6)  # foragers x rounds but the last x food / kinds


def test_a_list_that_changes_unseen_can_not_be_kept_to() -> None:
    for known, game in (
        (False, SillyRules(change=0.1)),
        (False, SillyRules(change=0.1, altar="public", newcomers=1)),
        (True, SillyRules(change=0.1, altar="public")),
        (True, SillyRules(change=0.1, taboos="important")),
        (True, SillyRules(altar="public", newcomers=1)),
    ):
        assert (game.benchmarks().equilibrium.play is not None) == known


# ---- legibility ---------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 6), st.floats(0.05, 0.95), st.integers(1, 4), st.integers(1, 4))
def test_the_observer_by_enumeration(d: float, q: float, rounds: int, threshold: float, a: int, b: int) -> None:
    """Every sequence of rounds without a violation, with one that is punished, with one that is not."""
    error = stays = 0.0
    for path in itertools.product(range(3), repeat=rounds):
        chance = float(np.prod([(1 - d, d * q, d * (1 - q))[event] for event in path]))
        yes, no = path.count(1), path.count(2)
        mean = (a + yes) / (a + b + yes + no)
        error += chance * (mean - q) ** 2
        stays += chance * (mean >= threshold - 1e-12)
    assert legibility(d, q, rounds, threshold, (a, b)) == pytest.approx((error, stays), abs=1e-9)


def test_silly_rules_make_enforcement_legible() -> None:
    """The denser the rules, the smaller the error, and the likelier is it to stay where they are enforced and else to go."""
    densities = (0.05, 0.1, 0.2, 0.4, 0.8)
    strong = [legibility(d, 0.9, 40, 0.6) for d in densities]
    weak = [legibility(d, 0.3, 40, 0.6, (4.0, 1.0)) for d in densities]
    for found in (strong, weak):
        errors = [error for error, _ in found]
        assert errors == sorted(errors, reverse=True) and errors[-1] < errors[0] / 4
    assert [p for _, p in strong] == sorted(p for _, p in strong) and strong[-1][1] > 0.99 > 0.8 > strong[0][1]
    assert [p for _, p in weak] == sorted((p for _, p in weak), reverse=True) and weak[-1][1] < 0.01 < 0.5 < weak[0][1]


def test_the_observer_out_of_range_is_told() -> None:
    with pytest.raises(ValueError, match="density: a number from 0 to 1, got 2"):
        legibility(2, 0.5, 3, 0.5)
    with pytest.raises(ValueError, match="prior: a number from 1e-09"):
        legibility(0.5, 0.5, 3, 0.5, (0.0, 1.0))


# ---- learners -----------------------------------------------------------------------------------------------------


class Watched(TabularQ):
    """Q-learners that know the bush, their own mark and that of whom they meet; keeps the measures of each episode."""

    def __init__(self) -> None:
        super().__init__({"bush": 8, "mark": 2, "met": 2}, alpha=0.1, gamma=0.8, epsilon=(0.1, 0.1))
        self.seen: list[dict[str, float]] = []

    def _episode(self, worlds: Any, cast: Any, epsilon: float) -> Any:
        earned = super()._episode(worlds, cast, epsilon)
        means = {name: float(values.mean()) for name, values in worlds.game.measures(worlds.state).items()}
        self.seen.append({**means, "points": float(earned.mean())})
        return earned


@pytest.fixture(scope="module", params=[0, 1])
def learned(request: pytest.FixtureRequest) -> dict[str, dict[str, np.ndarray[Any, Any]]]:
    """Means of three blocks of 30 episodes, over 48 societies, by what is taboo."""
    found = {}
    for taboos in ("none", "important", "silly"):
        game = SillyRules(
            kinds=8, taboos=taboos, food=0.5, harm=4.0, delay=6, bounty=2.0, fine=8.0, misfire=6.0, repetitions=20
        )
        learner = Watched()
        learner.learn(game, "forager", episodes=90, sessions=48, seed=request.param)
        blocks = {n: np.array([one[n] for one in learner.seen]).reshape(3, 30).mean(axis=1) for n in learner.seen[0]}
        found[taboos] = blocks
    return found


def test_a_taboo_teaches_what_the_slow_poison_does_not(learned: dict[str, dict[str, np.ndarray[Any, Any]]]) -> None:
    """The poison is eaten far less where it is taboo, once enforcement is learned; its own harm comes too late to teach much."""
    assert learned["important"]["poison"][2] < 0.6 * learned["none"]["poison"][2]


def test_a_silly_rule_speeds_the_learning_of_the_important_one(
    learned: dict[str, dict[str, np.ndarray[Any, Any]]],
) -> None:
    """More practice: enforcement is better in the middle and holds at the end, and the poison is avoided earlier."""
    silly, important = learned["silly"], learned["important"]
    assert silly["poison"][1] < important["poison"][1] - 0.05
    assert silly["poison"][2] < important["poison"][2]
    assert silly["enforced"][2] > important["enforced"][2] + 0.08  # a norm that is never tested is forgotten
    assert silly["enforced"][1] > important["enforced"][1]


def test_a_silly_rule_is_costly_at_first(learned: dict[str, dict[str, np.ndarray[Any, Any]]]) -> None:
    """Fines and food given up; unlike on the paper's map, they are not outweighed within these 90 episodes."""
    silly, important = learned["silly"], learned["important"]
    gaps = important["points"] - silly["points"]
    assert gaps[0] > 3.0 and gaps[0] > gaps[1] > gaps[2]


# ---- examination --------------------------------------------------------------------------------------------------

VARIANTS: list[dict[str, Any]] = [
    {"repetitions": 6},
    {"repetitions": 3, "altar": "public", "change": 0.3, "newcomers": 2, "delay": 0},
    {"altar": "public", "change": 0.5, "kinds": 6, "silly": 3, "delay": 7, "repetitions": 5},
    {"taboos": "important", "fine": 0.5, "bounty": 0.25, "foragers": 2, "kinds": 2, "repetitions": 4},
    {"taboos": "none", "delay": 1, "harm": 0.5, "repetitions": 2},
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_examined(variant: dict[str, Any]) -> None:
    check_game(SillyRules(**variant))


def test_arrays(examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(SillyRules(altar="public", change=0.5, newcomers=1, kinds=5, silly=2, delay=2, repetitions=5))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"foragers": 1}, "foragers: a whole number from 2 to 64, got 1"),
        ({"kinds": 9}, "kinds: a whole number from 2 to 8, got 9"),
        ({"poison": 4}, "poison: a whole number from 0 to 3, got 4"),
        ({"taboos": "all"}, "taboos: one of 'none', 'important', 'silly', got 'all'"),
        ({"silly": 4}, "silly: a whole number from 0 to 3, got 4"),
        ({"bounty": 3.0}, "bounty: a number from 0 to 2, got 3"),
        ({"harm": -1.0}, "harm: .* got -1"),
        ({"delay": -1}, "delay: .* got -1"),
        ({"altar": "private"}, "altar: one of 'none', 'public'"),
        ({"change": 1.5}, "change: a number from 0 to 1, got 1.5"),
        ({"newcomers": 7}, "newcomers: a whole number from 0 to 6, got 7"),
        ({"repetitions": 0}, "repetitions: .* got 0"),
    ],
)
def test_bad_parameters_are_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SillyRules(**wrong)
