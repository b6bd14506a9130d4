"""Generations that inherit strategies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from societas import Policy, make, play, policy
from societas.envs.norms.donor import Donor
from societas.policies.populations.culture import Mixed, inherit


def does(**acts: Any) -> Policy:
    return policy("callable", function=lambda seen: acts)


SOCIETY = {"give": does(contribution=20), "keep": does(contribution=0)}


def test_a_mixed_society_plays_what_its_players_hold() -> None:
    game = make("PublicGoods", repetitions=1)
    holds = np.array([[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]])
    found = play(game, {"member": Mixed(tuple(SOCIETY.values()), holds)}, worlds=3)
    assert found.returns["member"].tolist() == [[32.0] * 4, [44.0, 24.0, 24.0, 24.0], [20.0] * 4]


def test_policies_that_draw_and_remember_are_kept_apart() -> None:
    """All who hold the random policy do what it does alone, whatever stands beside it."""
    game = make("MatrixGame", repetitions=5)
    holds = np.zeros((6, 2), dtype=np.int64)
    mixed = play(game, {"player": Mixed((policy("random"), does(action="defect")), holds)}, worlds=6, seed=3)
    alone = play(game, {"player": policy("random")}, worlds=6, seed=3)
    tit = play(
        game, {"player": Mixed((policy("scripted", character="tit_for_tat"), policy("random")), holds)}, worlds=6
    )
    assert (tit.returns["player"] == 15.0).all()
    assert (mixed.returns["player"] == alone.returns["player"]).all()


def test_who_keeps_takes_over() -> None:
    """In every group who keeps earns more than who gives, so that givers never survive where half must go."""
    found = inherit(make("PublicGoods", repetitions=1), SOCIETY, generations=6, populations=40, seed=1)
    mixed = (found.shares[0, :, 0] < 1.0) & (found.shares[0, :, 0] > 0.0)
    assert mixed.sum() > 20
    assert (found.shares[-1, mixed, 0] == 0.0).all() and (found.welfare[-1, mixed] == 80.0).all()
    assert (found.shares.sum(axis=-1) == pytest.approx(1.0)) and found.holds.shape == (40, 4)
    uniform = found.shares[0].max(axis=-1) == 1.0
    assert (found.shares[-1, uniform] == found.shares[0, uniform]).all()  # nothing arises that nobody held


def test_mutants_come_back_and_populations_do_not_depend_on_their_number() -> None:
    game = make("PublicGoods", repetitions=1)
    few = inherit(game, SOCIETY, generations=5, mutation=0.3, populations=4, seed=7)
    many = inherit(game, SOCIETY, generations=5, mutation=0.3, populations=9, seed=7)
    assert (few.shares == many.shares[:, :4]).all() and (few.holds == many.holds[:4]).all()
    assert many.shares[1:, :, 0].max() > 0.0


def test_all_survive_and_nothing_changes() -> None:
    found = inherit(make("PublicGoods", repetitions=1), SOCIETY, generations=3, survivors=1.0, populations=8)
    assert (found.shares == found.shares[0]).all()


def test_reputation_lets_those_who_discriminate_live_on() -> None:
    """Those who give only to the good spread from a half in most populations, unconditional givers in none."""
    game = Donor(members=12, norm="stern", repetitions=12)
    giving = game.roles[0].acts[0]
    options = giving.space.options  # type: ignore[union-attr]
    assert len(options) == 2
    judges = policy("equilibrium", level="norm")
    defect = does(**{giving.name: options[0]})
    found = inherit(game, {"judge": judges, "defect": defect}, generations=10, populations=64, seed=2)
    naive = inherit(
        game, {"give": does(**{giving.name: options[1]}), "defect": defect}, generations=10, populations=64, seed=2
    )
    assert found.shares[-1, :, 0].mean() > 0.5 and (naive.shares[-1, :, 0] < 1.0).all()
    assert naive.shares[-1, :, 0].mean() < 0.05


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="game: one role, HiddenAction has principal, agent"):
        inherit(make("HiddenAction"), SOCIETY)
    with pytest.raises(ValueError, match="strategies: at least 2, got give"):
        inherit(make("PublicGoods"), {"give": SOCIETY["give"]})
    with pytest.raises(ValueError, match="survivors: a number from 0.25 to 1, got 0.1"):
        inherit(make("PublicGoods"), SOCIETY, survivors=0.1)
