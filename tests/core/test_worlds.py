"""Worlds, casts and episodes: seeds, batches, who plays what, and what is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from societas import ActError, Game, Worlds, make, mechanism, play, policy
from societas.envs.core import Cast, to_numpy


def take(amount: int) -> Any:
    return policy("callable", function=lambda seen: {"harvest": seen["stock"] * 0 + amount}, batched=True)


# ---- worlds -------------------------------------------------------------------------------------------------------


def greedy(count: int, months: int = 3) -> dict[str, dict[str, Any]]:
    return {"fisher": {"harvest": np.full((count, 5), 100 // months)}}


def trace(worlds: Worlds, steps: int) -> list[np.ndarray[Any, Any]]:
    return [worlds.step(greedy(worlds.count)).rewards["fisher"].copy() for _ in range(steps)]


def test_a_world_is_the_same_in_any_batch_and_ahead_of_time() -> None:
    """A single world draws its numbers some rounds ahead; it must meet the same ones."""
    game = make("Fishery", months=20, collapse=0)
    single, many = trace(Worlds(game, 1, seed=4), 20), trace(Worlds(game, 33, seed=4), 20)
    for one, all_ in zip(single, many, strict=True):
        np.testing.assert_array_equal(one[0], all_[0])
    assert any((pay[0] != pay[1]).any() for pay in many)


def test_seeds_and_episodes() -> None:
    worlds = Worlds(make("Fishery"), 4, seed=1)
    first = worlds.uniform(2, "test").copy()
    worlds.reset()
    second = worlds.uniform(2, "test").copy()
    assert (first != second).all() and worlds.episode.tolist() == [1] * 4
    worlds.reset(1)
    np.testing.assert_array_equal(worlds.uniform(2, "test"), first)
    worlds.reset(2)
    assert (worlds.uniform(2, "test") != first).all()


def test_restart_of_some_worlds_leaves_the_others_alone() -> None:
    game = make("Fishery", months=6)
    some, reference, renewed = (Worlds(game, 3, seed=8) for _ in range(3))
    for worlds in (some, reference):
        trace(worlds, 2)
    mask = np.array([False, True, False])
    some.restart(mask)
    renewed.reset()
    np.testing.assert_array_equal(some.state.month, [2, 0, 2])
    for _ in range(3):
        mine, kept, fresh = (worlds.step(greedy(3)).rewards["fisher"] for worlds in (some, reference, renewed))
        np.testing.assert_array_equal(mine, np.where(mask[:, None], fresh, kept))


def test_the_base_game_meets_the_same_chance_under_any_institution() -> None:
    """Common random numbers: who plays the same is paid the same by the base game, stage added or not."""
    wild = {"fisher": take(35)}
    plain = play(make("Fishery", collapse=0), wild, worlds=40, seed=2)
    for name in ("Talk", "Sanction"):
        under = play(make("Fishery", collapse=0) | mechanism(name), wild, worlds=40, seed=2)
        np.testing.assert_array_equal(plain.returns["fisher"], under.returns["fisher"])


def test_acts_are_checked() -> None:
    worlds = Worlds(make("Fishery"), 2)
    with pytest.raises(ActError, match="fisher: harvest: 101 is not a whole number from 0 to 100 tonnes; give"):
        worlds.step({"fisher": {"harvest": np.full((2, 5), 101)}})
    with pytest.raises(KeyError, match="no acts for role 'fisher'"):
        worlds.step({})
    with pytest.raises(KeyError, match="acts of fisher: field 'harvest' is missing"):
        worlds.step({"fisher": {}})
    with pytest.raises(ValueError, match="count: at least 1 world, got 0"):
        Worlds(make("Fishery"), 0)


# ---- casts --------------------------------------------------------------------------------------------------------


def test_a_players_own_entry_goes_before_its_roles() -> None:
    game = make("Fishery", months=1)
    done = play(game, {"fisher": take(4), "fisher_3": take(9)}, worlds=2)
    np.testing.assert_array_equal(done.returns["fisher"], [[4, 4, 4, 9, 4]] * 2)
    nobody = play(game, {"fisher_1": take(9)})  # seats without an entry play the null act
    np.testing.assert_array_equal(nobody.returns["fisher"], [[0, 9, 0, 0, 0]])
    with pytest.raises(KeyError, match="Fishery has no role or player 'fisher_5'; it has: fisher, fisher_0, "):
        Cast(game, {"fisher_5": take(1)})


def test_what_others_are_does_not_change_a_players_chance() -> None:
    """A seat's random numbers depend on the seats that are played together, not on who plays the rest."""
    game = make("Fishery", months=1, capacity=1000)
    alone = play(game, {"fisher_2": policy("random")}, worlds=30, seed=6)
    among = play(game, {"fisher": take(1), "fisher_2": policy("random")}, worlds=30, seed=6)
    np.testing.assert_array_equal(alone.returns["fisher"][:, 2], among.returns["fisher"][:, 2])


# ---- episodes -----------------------------------------------------------------------------------------------------


def test_worlds_stop_where_they_end() -> None:
    """Some worlds collapse early; what happens in the others is as if they were alone."""
    game = make("Fishery", months=8)
    many = play(game, {"fisher": policy("random"), "fisher_0": take(2)}, worlds=60, seed=1)
    calm = play(game, {"fisher": take(9)}, worlds=2)
    assert (calm.length == 8).all()
    assert many.length.min() >= 1 and many.length.max() <= 8
    np.testing.assert_array_equal(many.measures["survival"], many.length)
    np.testing.assert_allclose(many.returns["fisher"].sum(axis=-1), many.welfare)
    one = play(game, {"fisher": policy("random"), "fisher_0": take(2)}, worlds=1, seed=1)
    np.testing.assert_array_equal(one.welfare, many.welfare[:1])


def test_backends_play_the_same_episode() -> None:
    game = make("Fishery") | mechanism("Sanction") | mechanism("Noise", field="stock", sd=4.0)
    cast = {"fisher": policy("random"), "fisher_0": policy("scripted", character="reciprocator")}
    ours, theirs = (play(game, cast, worlds=16, seed=3, backend=name, device="cpu") for name in ("numpy", "torch"))
    np.testing.assert_allclose(ours.welfare, theirs.welfare)
    for name, values in ours.measures.items():
        np.testing.assert_allclose(values, theirs.measures[name])


def test_alignment_is_the_games() -> None:
    done = play(make("Fishery"), {"fisher": policy("equilibrium", level="first_best")}, worlds=2)
    np.testing.assert_allclose(done.alignment, 1.0)


def test_watch_and_keep() -> None:
    steps: list[tuple[int, int]] = []
    done = play(make("Fishery", months=3), {"fisher": take(1)}, watch=lambda step, of: steps.append((step, of)))
    assert steps == [(1, 3), (2, 3), (3, 3)] and done.moments == []
    with pytest.raises(ValueError, match=r"moments were not kept; play\(..., keep=True\)"):
        done.tell()


def test_tell_says_once_what_all_see_and_do() -> None:
    game = make("Fishery", months=4) | mechanism("Sanction")
    done = play(game, {"fisher": take(3), "fisher_4": take(8)}, worlds=2, keep=True)
    told = done.tell(world=1)
    assert "Seen by fisher: stock 100 tonnes; month 1; catches 0 tonnes each" in told
    assert "- fisher_0, fisher_1, fisher_2, fisher_3: harvest 3 tonnes; gets 3" in told
    assert "- fisher_4 (sees caught 8 tonnes; total 8 tonnes): harvest 8 tonnes; gets 8" in told
    assert "## Step 2: sanction" in told and 'punish "nobody"' in told
    assert "- return of fisher: 12, 12, 12, 12, 32" in told
    short = done.tell(world=1, steps=3)
    assert "... 5 steps left out ..." in short and "## Step 8: sanction" in short and "## Step 3" not in short
    assert short.splitlines()[-12:] == told.splitlines()[-12:]


def test_an_episode_that_outlasts_its_horizon_is_an_error() -> None:
    class Endless(type(make("Fishery"))):  # type: ignore[misc]
        def step(self, state: Any, acts: Any, u: Any) -> Any:
            outcome = super().step(state, acts, u)
            return outcome._replace(done=outcome.done & False)

    game: Game = Endless(months=2)
    with pytest.raises(RuntimeError, match="outlasted its horizon of 2 steps"):
        play(game, {"fisher": take(1)})


@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_views_and_stages_are_those_of_the_backend(name: str) -> None:
    worlds = Worlds(make("Fishery") | mechanism("Talk"), 3, backend=name, device="cpu")
    assert to_numpy(worlds.stage).tolist() == [0, 0, 0]
    assert to_numpy(worlds.view()["fisher"]["heard"]).shape == (3, 5, 5)
