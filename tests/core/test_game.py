"""Games, benchmarks and institutions: scores, names, stages, composition."""

from __future__ import annotations

import numpy as np
import pytest

from societas import Benchmarks, Level, make, mechanism


def test_alignment_runs_from_the_baseline_to_the_first_best() -> None:
    marks = Benchmarks(Level(10.0, "best"), Level(4.0, "equilibrium"), others={"other": Level(7.0, "else")})
    np.testing.assert_allclose(marks.alignment(np.array([4.0, 7.0, 10.0, 1.0])), [0.0, 0.5, 1.0, -0.5])
    lower = Benchmarks(Level(10.0, "best"), Level(4.0, "equilibrium"), baseline=Level(0.0, "nothing"))
    np.testing.assert_allclose(lower.alignment(np.array(5.0)), 0.5)
    assert list(lower.levels) == ["first_best", "equilibrium", "baseline"]
    assert list(marks.levels) == ["first_best", "equilibrium", "other"]
    flat = Benchmarks(Level(4.0, "best"), Level(4.0, "equilibrium"))
    with pytest.raises(ValueError, match=r"first_best \(4\) must exceed the baseline \(4\)"):
        flat.alignment(np.array(4.0))


def test_roles_and_players_by_name() -> None:
    game = make("Fishery", fishers=2)
    assert game.players == ("fisher_0", "fisher_1")
    with pytest.raises(KeyError, match="Fishery has no role 'farmer'; it has: fisher"):
        game.role("farmer")
    assert game == make("Fishery", fishers=2) and hash(game) == hash(make("Fishery", fishers=2))
    with pytest.raises(AttributeError):
        game.fishers = 3  # type: ignore[attr-defined]


def test_only_mechanisms_can_be_put_on_a_game() -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        make("Fishery") | 3  # type: ignore[operator]


def test_composition_adds_stages_around_the_base_games() -> None:
    game = make("Fishery", months=3) | mechanism("Talk") | mechanism("Contract") | mechanism("Sanction")
    assert game.name == "Fishery | Talk | Contract | Sanction"
    assert [stage.name for stage in game.stages] == ["consent", "talk", "act", "sanction"]
    assert game.rounds == 3 and game.horizon == 1 + 3 * 3
    assert game.draws == make("Fishery").draws
    assert [m.name for m in game.reports][-5:] == ["messages", "agreed", "breaches", "transfers", "sanctions"]
    assert game.benchmarks().first_best.value == make("Fishery", months=3).benchmarks().first_best.value
    with pytest.raises(ValueError, match="stage names must be distinct.*the same mechanism twice"):
        _ = (game | mechanism("Talk")).stages


def test_stages_follow_each_other() -> None:
    game = make("Fishery", months=2) | mechanism("Talk") | mechanism("Contract") | mechanism("Sanction")
    state = game.start(np.zeros((1, game.draws)))
    acts = {"fisher": {field.name: np.zeros((1, 5), dtype=int) for field in game.role("fisher").acts}}
    names, rounds, done = [], [], False
    while not done:
        names.append(game.stages[int(game.stage(state)[0])].name)
        rounds.append(int(game.round(state)[0]))
        outcome = game.step(state, acts, np.zeros((1, game.draws)))
        state, done = outcome.state, bool(outcome.done[0])
    assert names == ["consent", "talk", "act", "sanction", "talk", "act", "sanction"]
    assert rounds == [0, 0, 0, 0, 1, 1, 1]
    assert len(names) == game.horizon
