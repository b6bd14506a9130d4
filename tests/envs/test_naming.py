"""The naming game: the rules by hand, levels by simulation, how conventions emerge and how few overturn them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.special import bdtrc

from societas import Game, play, policy
from societas.envs.core.policy import Policy
from societas.envs.norms.naming import Naming
from societas.testing import check_game


class BestReply(Policy):
    """Says the name that it heard most often in the interactions it remembers; where several were, one at random."""

    draws = 1

    def act(self, seen: Any, stage: Any, u: Any, memory: Any) -> Any:
        names = self.role.acts[0].space.high + 1
        heard = np.stack([(seen["partners"] == name).sum(axis=-1) for name in range(names)], axis=-1)
        best = heard == heard.max(axis=-1, keepdims=True)
        pick = np.floor(u[..., 0] * best.sum(axis=-1))
        return {"name": (best & (best.cumsum(axis=-1) - 1 == pick[..., None])).argmax(axis=-1)}, memory


def society(game: Naming, worlds: int = 200, seed: int = 1) -> dict[str, np.ndarray[Any, Any]]:
    """Play best replies; return the measures."""
    return play(game, {"agent": BestReply()}, worlds=worlds, seed=seed).measures


def step(game: Naming, state: Any, partner: list[int], names: list[int], turn: list[int] | None = None) -> Any:
    """Play a round in one world with these pairs."""
    nature = {"partner": np.array([partner]), "turn": np.array([turn or [1] * game.agents])}
    acts = {"agent": {"name": np.array([names])}}
    return game.step(state._replace(nature=nature), acts, np.zeros((1, game.draws)))


# ---- the game -----------------------------------------------------------------------------------------------------


def test_equal_names_are_paid_and_remembered() -> None:
    game = Naming(agents=4, memory=2, repetitions=4)
    state = game.start(np.zeros((1, game.draws)))
    assert (game.view(state)["agent"]["partners"] == 2).all()
    one = step(game, state, [1, 0, 3, 2], [0, 0, 0, 1])
    assert one.rewards["agent"].tolist() == [[100.0, 100.0, -50.0, -50.0]] and one.welfare.tolist() == [100.0]
    seen = game.view(one.state)["agent"]
    assert seen["said"].tolist() == [[[0, 2], [0, 2], [0, 2], [1, 2]]]
    assert seen["partners"].tolist() == [[[0, 2], [0, 2], [1, 2], [0, 2]]]
    two = step(game, one.state, [3, 2, 1, 0], [1, 1, 1, 1])
    three = step(game, two.state, [2, 3, 0, 1], [0, 1, 1, 1])
    seen = game.view(three.state)["agent"]
    assert seen["said"].tolist() == [[[0, 1], [1, 1], [1, 1], [1, 1]]]
    assert seen["partners"].tolist() == [[[1, 1], [1, 1], [0, 1], [1, 1]]]
    assert seen["score"].tolist() == [[150.0, 300.0, 0.0, 150.0]]
    found = {name: float(values[0]) for name, values in game.measures(three.state).items()}
    assert found == {"success": 4 / 6, "consensus": 0, "interactions": 6, "agreement": 0.75, "pushed": 0.75}


def test_who_waits_is_not_paid_and_remembers_nothing() -> None:
    game = Naming(agents=3, pairing="pair", memory=1, repetitions=2)
    state = game.start(np.zeros((1, game.draws)))
    done = step(game, state, [1, 0, 2], [0, 0, 0], [1, 1, 0])
    assert done.rewards["agent"].tolist() == [[100.0, 100.0, 0.0]] and done.welfare.tolist() == [200.0]
    assert game.view(done.state)["agent"]["partners"].tolist() == [[[0], [0], [2]]]


@pytest.mark.parametrize(("agents", "pairing"), [(6, "all"), (6, "pair"), (5, "pair"), (2, "all")])
def test_all_pairs_are_equally_likely(agents: int, pairing: str) -> None:
    game = Naming(agents=agents, pairing=pairing)
    nature = game.open(np.random.default_rng(0).random((60_000, agents)))
    partner, turn = nature["partner"], nature["turn"]
    rows = np.arange(60_000)[:, None]
    assert (partner[rows, partner] == np.arange(agents)).all() and (turn.sum(axis=-1) == 2 * game.pairs).all()
    assert (turn[rows, partner] == turn).all() and (partner != np.arange(agents))[turn == 1].all()
    for i, j in itertools.combinations(range(agents), 2):
        share = ((partner[:, i] == j) & (turn[:, i] == 1)).mean()
        assert share == pytest.approx(game.pairs / (agents * (agents - 1) / 2), abs=0.01)


def test_the_committed_say_their_name_from_their_round_on() -> None:
    game = Naming(agents=6, committed=2, push=1, since=3, repetitions=4)
    done = play(game, {"agent": policy("callable", function=lambda seen: {"name": "F"})}, worlds=50, seed=2, keep=True)
    said = np.stack([moment.seen["agent"]["said"][..., 0] for moment in done.moments[1:]])
    assert (said[:2] == 0).all() and (said[2, :, :4] == 0).all() and (said[2, :, 4:] == 1).all()
    assert (done.measures["pushed"] == 0).all() and (done.measures["agreement"] == 1).all()
    assert "committed" not in game.about


@pytest.mark.parametrize("pairing", ["all", "pair"])
def test_the_population_has_agreed_after_3n_successes_in_a_row(pairing: str) -> None:
    game = Naming(agents=4, pairing=pairing, repetitions=20)
    done = play(game, {"agent": BestReply()}, worlds=200, seed=4, keep=True)
    pay = np.stack([moment.rewards["agent"] for moment in done.moments])
    won, lost = (pay > 0).sum(axis=-1) // 2, (pay < 0).any(axis=-1)
    for world in range(200):
        streak, until = 0, None
        for number in range(20):
            streak = 0 if lost[number, world] else streak + won[number, world]
            if streak >= 12 and until is None:
                until = (number + 1) * game.pairs
        assert bool(done.measures["consensus"][world]) == (until is not None)
        assert done.measures["interactions"][world] == (until or 20 * game.pairs)
    assert 0.1 < done.measures["consensus"].mean() < 1.0  # both happen


@pytest.mark.parametrize(("pairing", "last"), [("all", 6), ("pair", 12)])
def test_an_agreed_end_pays_what_is_left(pairing: str, last: int) -> None:
    game = Naming(agents=4, pairing=pairing, stop=True, repetitions=25)
    done = play(game, {"agent": policy("callable", function=lambda seen: {"name": "J"})}, worlds=20, seed=5)
    assert (done.length == last).all()
    np.testing.assert_allclose(done.welfare, game.benchmarks().first_best.value)
    mixed = play(game, {"agent": BestReply()}, worlds=200, seed=5)
    np.testing.assert_allclose(mixed.returns["agent"].sum(axis=-1), mixed.welfare, atol=1e-9)
    assert mixed.welfare.max() <= game.benchmarks().first_best.value + 1e-9 and mixed.length.min() < 25


# ---- levels -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "game",
    [
        Naming(agents=8, repetitions=6),
        Naming(agents=7, pairing="pair", names=("a", "b", "c"), repetitions=20),
        Naming(agents=8, committed=3, since=4, convention=0, repetitions=9, success=10.0, failure=-30.0),
        Naming(agents=8, committed=5, since=2, push=0, convention=2, names=("a", "b", "c"), repetitions=5),
    ],
)
def test_levels_by_simulation(game: Naming) -> None:
    marks = game.benchmarks()
    assert marks.baseline is not None
    done = {"baseline": play(game, {"agent": policy("random")}, worlds=4000, seed=6)}
    for name, level in marks.levels.items():
        if level.play is not None:
            done[name] = play(game, {"agent": policy("equilibrium", level=name)}, worlds=4000, seed=6)
    assert ("convention" in done) == (game.committed > 0)
    for name, found in done.items():
        error = 5 * found.welfare.std() / np.sqrt(4000) + 1e-9
        assert found.welfare.mean() == pytest.approx(marks.levels[name].value, abs=error), name


def test_a_larger_pool_is_harder_to_agree_on_by_chance() -> None:
    values = [Naming(names=tuple("ABCDEFGHIJ"[:w])).benchmarks().baseline for w in (2, 3, 5, 10)]
    numbers = [level.value for level in values if level is not None]
    assert numbers == sorted(numbers, reverse=True) and len(set(numbers)) == 4
    assert numbers[0] == 30 * 24 * 25.0  # of +100 and -50, equally likely


# ---- conventions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [("F", "J"), tuple("ABCDEFGHIJ")])
def test_a_convention_emerges(names: tuple[str, ...]) -> None:
    """24 agents agree in all but a few of 200 societies, on any of the names."""
    found = society(Naming(names=names, repetitions=60))
    assert found["consensus"].mean() > 0.97 and (found["agreement"] == 1.0).mean() > 0.97
    assert found["pushed"].mean() == pytest.approx(1 / len(names), abs=4 * 0.5 / np.sqrt(200))


def test_a_convention_emerges_pair_by_pair() -> None:
    """It takes about as many interactions as where all are paired at once."""
    one, all_ = society(Naming(pairing="pair", repetitions=800), worlds=60), society(Naming(repetitions=67), worlds=60)
    assert one["consensus"].mean() > 0.9
    assert 0.5 < one["interactions"].mean() / all_["interactions"].mean() < 2.0


def test_a_committed_minority_tips_a_convention_above_the_critical_mass_and_not_below() -> None:
    """Of 24 agents 2 and 3 are below it (17 %), 6 and 8 are above."""
    mass = Naming().critical_mass * 24
    assert 3 < mass < 5
    flipped = {
        c: (society(Naming(convention=0, committed=c, repetitions=60))["pushed"] > 0.9).mean() for c in (0, 2, 3, 6, 8)
    }
    assert flipped[0] == flipped[2] == 0.0 and flipped[3] < 0.1
    assert flipped[6] > 0.9 and flipped[8] > 0.95


def test_the_larger_the_population_the_sharper_the_tipping_point() -> None:
    gaps = {}
    for agents in (24, 240):
        below, above = (
            society(Naming(agents=agents, convention=0, committed=c, repetitions=80), worlds=60)["pushed"].mean()
            for c in (round(0.14 * agents), round(0.18 * agents))
        )
        gaps[agents] = above - below
    assert gaps[240] > 0.9 > 0.75 > gaps[24]


def test_a_convention_that_emerged_is_overturned_too() -> None:
    game = Naming(committed=8, push=1, since=40, repetitions=100)
    before = society(Naming(repetitions=39))["pushed"]
    after = society(game)
    assert (before == 0).mean() > 0.35 and (after["pushed"] > 0.9).mean() > 0.97
    assert after["consensus"].mean() > 0.9  # of all, counted anew since the committed appeared


@pytest.mark.parametrize("memory", [2, 3, 4, 5, 8, 12])
def test_the_critical_mass_by_iterating_the_mean_field(memory: int) -> None:
    half = memory // 2

    def wins(share: float) -> bool:
        says = share
        for _ in range(20_000):
            votes = (bdtrc(half, memory, says) + bdtrc((memory - 1) // 2, memory, says)) / 2
            says = share + (1 - share) * votes
            if says > 0.999:
                return True
        return False

    mass = Naming(memory=memory).critical_mass
    assert wins(mass + 0.003) and (mass < 0.003 or not wins(mass - 0.003))


def test_a_longer_memory_needs_a_larger_minority() -> None:
    masses = [Naming(memory=m).critical_mass for m in (1, 3, 5, 7, 9, 11, 13, 51)]
    assert masses == sorted(masses) and len(set(masses)) == 8 and masses[0] == 0.0 and masses[-1] < 0.5
    assert Naming(memory=12).critical_mass == pytest.approx(0.24, abs=0.01)  # a quarter, as Centola et al. (2018) find


# ---- examination --------------------------------------------------------------------------------------------------

VARIANTS: list[dict[str, Any]] = [
    {"agents": 6, "repetitions": 3},
    {"agents": 5, "pairing": "pair", "names": ["a", "b", "c"], "committed": 2, "since": 4, "convention": 0, "memory": 2}
    | {"repetitions": 8},
    {"agents": 4, "stop": True, "repetitions": 9},
    {"agents": 6, "committed": 2, "convention": 0, "stop": True, "since": 3, "repetitions": 10},
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_examined(variant: dict[str, Any]) -> None:
    check_game(Naming(**variant))


def test_arrays(examine_arrays: Callable[[Game], None]) -> None:
    examine_arrays(Naming(agents=6, committed=2, since=2, convention=0, repetitions=4))
    examine_arrays(Naming(agents=5, pairing="pair", stop=True, memory=2, repetitions=4))


def test_parameters_read_from_data_are_lists() -> None:
    assert Naming(names=["F", "J"]) == Naming()  # type: ignore[arg-type]
    assert hash(Naming(names=["F", "J"])) == hash(Naming())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"agents": 1}, "agents: a whole number from 2 to 1000, got 1"),
        ({"agents": 5}, "agents: an even number if all are paired, got 5; add one"),
        ({"names": ("A",)}, "names: 2 to 64 of them, got 1"),
        ({"names": ("A", "A")}, "names: a list of distinct names"),
        ({"memory": 0}, "memory: .* got 0"),
        ({"failure": 200.0}, "failure: a number from -1e\\+06 to 100, got 200"),
        ({"pairing": "some"}, "pairing: one of 'all', 'pair', got 'some'"),
        ({"committed": 24}, "committed: a whole number from 0 to 23, got 24"),
        ({"push": 2}, "push: a whole number from 0 to 1, got 2"),
        ({"convention": 2}, "convention: a whole number from 0 to 1, got 2"),
        ({"since": 0}, "since: .* got 0"),
        ({"stop": 1}, "stop: true or false, got 1"),
        ({"repetitions": 0}, "repetitions: .* got 0"),
    ],
)
def test_bad_parameters_are_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Naming(**wrong)
