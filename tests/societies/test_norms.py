"""Norm diffusion: payoffs by hand, and what punishment does."""

from __future__ import annotations

import mesa
import numpy as np
import pytest

from societas.experiments.societies.norms import STRATEGIES, NormDiffusion


def by_hand(model: NormDiffusion, players: int, mpcr: float, cost: float, fine: float) -> np.ndarray:
    """Return what each should have earned: every group in turn, every player in turn."""
    reward = np.zeros(len(model.people))
    for row in model.seats.tolist():
        people = [STRATEGIES[model.people[i].strategy] for i in row]
        given = sum(one.gives for one in people)
        for i, one in zip(row, people, strict=True):
            reward[i] += mpcr * given + (0.0 if one.gives else 1.0)
        for seat, one in enumerate(people):
            keepers = [k % players for k in range(seat + 1, seat + players) if not people[k % players].gives]
            if one.punishes and keepers and fine:
                reward[row[seat]] -= cost
                reward[row[keepers[0]]] -= fine
    return reward


@pytest.mark.parametrize(
    ("players", "mpcr", "fine", "network"),
    [(5, 0.6, 0.7, "small_world"), (2, 0.8, 1.1, "small_world"), (3, 0.5, 0.4, "grid"), (4, 0.4, 0.0, None)],
)
def test_payoffs(players: int, mpcr: float, fine: float, network: str | None) -> None:
    model = NormDiffusion(
        agents=60,
        players=players,
        mpcr=mpcr,
        cost=0.3,
        fine=fine,
        network=network,
        shares=dict.fromkeys(STRATEGIES, 1.0),
        seed=2,
    )
    model.imitation = None
    model.step()
    expected = by_hand(model, players, mpcr, 0.3, fine)
    np.testing.assert_allclose(model.rewards, expected, atol=1e-12)
    assert len(np.unique(expected.round(9))) > 5
    told = model.told
    assert told["cooperating"] == pytest.approx(
        np.mean([STRATEGIES[model.people[i].strategy].gives for i in model.seats.ravel()])
    )
    assert told["punishing"] == 0.5


def final(steps: int = 120, **options: float) -> dict[str, float]:
    model = NormDiffusion(agents=200, **options)  # type: ignore[arg-type]
    for _ in range(steps):
        model.step()
    return model.told


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("players", "mpcr"), [(5, 0.6), (2, 0.8)])
def test_the_norm_spreads_if_punishment_bites_and_dies_without(seed: int, players: int, mpcr: float) -> None:
    without = final(fine=0.0, players=players, mpcr=mpcr, seed=seed)
    assert without["cooperating"] == 0.0 and without["share_defector"] == 1.0
    strong = final(fine=1.5, players=players, mpcr=mpcr, seed=seed)
    assert strong["cooperating"] > 0.95 and strong["punishing"] > 0.3 > strong["share_defector"]
    assert strong["reward"] > without["reward"]


def test_punishers_who_pay_more_than_they_take_are_outdone() -> None:
    assert final(fine=0.2, cost=1.0, seed=3)["cooperating"] == 0.0


def test_those_who_do_not_punish_live_on_those_who_do() -> None:
    """Second-order free riders: among cooperators they earn more as long as somebody is punished."""
    model = NormDiffusion(agents=200, fine=0.5, cost=0.4, seed=4)
    model.imitation = None
    model.step()
    worth = model.rewards / model.games
    earned = {name: worth[model.strategies == model.number(name)].mean() for name in ("cooperator", "punisher")}
    assert earned["cooperator"] > earned["punisher"] + 0.1


def test_batch_run_tells_the_share_that_cooperates() -> None:
    rows = mesa.batch_run(
        NormDiffusion,
        {"agents": 50, "fine": [0.0, 1.5], "seed": [1, 2]},
        max_steps=60,
        data_collection_period=20,
        display_progress=False,
    )
    last = {(row["fine"], row["seed"]): row["cooperating"] for row in rows if row["Step"] == 60}
    assert all(share == 0.0 for (fine, _), share in last.items() if not fine)
    assert all(share > 0.9 for (fine, _), share in last.items() if fine)
    assert len(last) == 4


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="fine: a number from 0"):
        NormDiffusion(fine=-1.0)
    with pytest.raises(ValueError, match="mpcr: above 1/players"):
        NormDiffusion(mpcr=0.1)
    with pytest.raises(ValueError, match="cost: a number from 0"):
        NormDiffusion(cost=-1.0)
    with pytest.raises(KeyError, match="no strategy 'saint'"):
        NormDiffusion(shares={"saint": 1.0})
