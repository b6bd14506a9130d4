from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from societas.envs.core.episodes import play
from societas.envs.core.registry import create
from societas.envs.core.statistics import interval
from societas.policies.align import evolve
from societas.policies.align.stable import Society
from societas.policies.gradient import PolicyGradient

torch = pytest.importorskip("torch")
pytest.importorskip("pymoo")
torch.set_num_threads(1)

GAME = create("games", "Allocation", people=3, goods=3)  # what is best for all together leaves somebody with little
SOCIETY = Society(GAME, "spectator")
ENDS: dict[str, evolve.Objective] = {"welfare": evolve.welfare, "least": evolve.least("person")}
QUICK: dict[str, Any] = {"cases": 16, "tries": 8, "judged": 128, "rate": 2e-2, "entropy": 0.5}


def trainer(base: PolicyGradient | None = None, society: Society = SOCIETY, **options: Any) -> evolve.Trainer:
    return evolve.Trainer(base or PolicyGradient((16,)), society, ENDS, **{**QUICK, **options})


# ---- sets of scores ---------------------------------------------------------------------------------------------------


def test_undominated_by_hand() -> None:
    scores = np.array([[1.0, 5.0], [3.0, 3.0], [2.0, 3.0], [5.0, 1.0], [3.0, 3.0], [4.0, 0.0]])
    assert evolve.undominated(scores) == [3, 1, 0]  # the third and the last are beaten, the fifth equals the second


def test_volume_by_hand() -> None:
    scores = np.array([[1.0, 3.0], [2.0, 1.0], [-1.0, 9.0]])  # the last is below the reference in one
    assert evolve.volume(scores, [0.0, 0.0]) == pytest.approx(1 * 3 + 1 * 1)
    assert evolve.volume(scores, [0.0, 1.0]) == pytest.approx(1 * 2)
    assert evolve.volume(scores, [5.0, 5.0]) == 0.0
    assert evolve.volume(np.array([[1.0, 2.0, 3.0]]), [0.0, 0.0, 1.0]) == pytest.approx(1 * 2 * 2)


@pytest.mark.parametrize("rule", evolve.SURVIVALS)
def test_survivors_are_those_of_first_rank_and_among_these_the_ends(rule: str) -> None:
    front = np.array([[0.0, 10.0], [4.9, 5.2], [5.0, 5.0], [10.0, 0.0]])
    scores = np.concatenate([front, front - 1.0])  # the others are all beaten
    assert sorted(evolve.survivors(scores, 4, rule)) == [0, 1, 2, 3]
    kept = evolve.survivors(scores, 3, rule)
    assert {0, 3} < set(kept) and len(kept) == 3  # of two that are close to each other one goes
    with pytest.raises(ValueError, match="count: a whole number from 1 to 8"):
        evolve.survivors(scores, 9, rule)


def test_sms_emoa_drops_who_adds_least_volume() -> None:
    scores = np.array([[0.0, 10.0], [4.0, 7.0], [4.2, 3.0], [10.0, 0.0]])
    # above the others: the second 4 * 4 at most (to 0 and 3), the third 0.2 * 3
    assert sorted(evolve.survivors(scores, 3, "sms-emoa")) == [0, 1, 3]


# ---- variation --------------------------------------------------------------------------------------------------------


def test_crossing_is_convex_and_its_ends_are_the_parents() -> None:
    one = {"w": np.array([1.0, 2.0]), "steps": np.array([7])}
    two = {"w": np.array([3.0, -2.0]), "steps": np.array([9])}
    child = evolve.crossed(one, two, 0.25)
    assert child["w"].tolist() == [2.5, -1.0] and child["steps"].tolist() == [7]
    assert evolve.crossed(one, two, 1.0)["w"].tolist() == one["w"].tolist()
    assert evolve.crossed(one, two, 0.0)["w"].tolist() == two["w"].tolist()
    with pytest.raises(ValueError, match="two: 'w' is missing or of another shape"):
        evolve.crossed(one, {"w": np.zeros(3), "steps": np.zeros(1)}, 0.5)
    with pytest.raises(ValueError, match="a: a number from 0 to 1, got 2"):
        evolve.crossed(one, two, 2.0)


def test_adapters_of_a_language_model_are_crossed_as_tensors() -> None:
    lora = {"lora_A.weight": torch.ones(2, 3), "count": torch.tensor([1])}
    child = evolve.crossed(lora, {"lora_A.weight": torch.zeros(2, 3), "count": torch.tensor([5])}, 0.5)
    assert torch.equal(child["lora_A.weight"], torch.full((2, 3), 0.5)) and child["count"].item() == 1


def test_evolution_holds_the_middle_of_a_front_that_no_weighted_sum_reaches() -> None:
    # f1 = x, f2 = 1 - x^2 on [0, 1] are to be small (the front of ZDT2): weighted sums are least at 0 or at 1
    def ends(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.stack([-x, x**2 - 1.0], axis=-1)

    def score(members: list[dict[str, Any]]) -> np.ndarray[Any, Any]:
        return ends(np.array([float(m["x"][0]) for m in members]))

    def vary(members: list[dict[str, Any]], towards: Any, seed: int, steps: int = 3) -> list[dict[str, Any]]:
        x = np.array([m["x"][0] for m in members])
        for _ in range(steps):
            x = np.clip(x + 0.05 * (towards[:, 0] * -1.0 + towards[:, 1] * 2.0 * x), 0.0, 1.0)
        return [{"x": np.array([value])} for value in x]

    base = {"x": np.array([0.5])}
    found = evolve.evolve(base, score=score, vary=vary, population=12, generations=15, seed=1)
    share = np.linspace(0.0, 1.0, 12)
    summed = score(vary([base] * 12, np.stack([share, 1.0 - share], axis=1), 0, 200))
    low = [-1.001, -1.001]
    assert len(evolve.undominated(summed)) == 2  # the ends
    inner = found.scores[(found.scores[:, 0] < -0.2) & (found.scores[:, 0] > -0.8)]
    assert len(inner) >= 3
    assert evolve.volume(found.scores, low) > evolve.volume(summed, low) + 0.2
    assert found.curve[-1]["volume"] >= found.curve[0]["volume"]


# ---- objectives and networks --------------------------------------------------------------------------------------------


def test_objectives_are_the_games_own() -> None:
    policy = PolicyGradient((8,)).learn(GAME, "spectator", episodes=2, sessions=32)
    episodes = play(GAME, {"spectator": policy}, worlds=20, seed=3)
    got = episodes.returns["person"]
    assert evolve.welfare(episodes) == pytest.approx(got.sum(axis=1))
    assert evolve.least("person")(episodes) == pytest.approx(got.min(axis=1))
    gini = np.abs(got[:, :, None] - got[:, None]).sum((1, 2)) / (6 * got.sum(axis=1))
    assert evolve.equality("person")(episodes) == pytest.approx(1.0 - gini)
    assert evolve.measure("envy", -1.0)(episodes) == pytest.approx(-episodes.measures["envy"])


@pytest.mark.parametrize("shared", [True, False])
def test_many_networks_at_once_play_as_each_does_alone(shared: bool) -> None:
    game = create("games", "Commons", users=3, months=3)
    ends = {"welfare": evolve.welfare, "equality": evolve.equality("fisher")}
    base = PolicyGradient((8,), shared=shared)
    made = evolve.Trainer(base, Society(game, "fisher"), ends, steps=5, cases=8, tries=4, judged=16, rate=0.05, seed=4)
    members = made.vary([dict(made.base.weights)] * 3, np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]), seed=1)
    scores, front = made.judge(members), made.front(members, [])
    for member, row in zip(members, scores, strict=True):
        policy = PolicyGradient((8,), shared=shared)
        policy.weights, policy.learned = member, made.base.learned
        alone = play(game, {"fisher": policy}, worlds=16, seed=3 * 4 + 2)
        assert row == pytest.approx([alone.welfare.mean(), alone.measures["equality"].mean()], rel=1e-6)
    again = play(game, {"fisher": front.policies[0]}, worlds=16, seed=3 * 4 + 3)  # on the worlds held out
    assert front.held_out[0, 0] == pytest.approx(again.welfare.mean(), rel=1e-6)


def test_members_learn_as_each_would_alone() -> None:
    made = trainer(steps=3)
    base, towards = dict(made.base.weights), np.eye(2)
    together = made.vary([base, base], towards, seed=5)
    for i in range(2):
        alone = made.vary([base], towards[i : i + 1], seed=5)[0]
        for name in alone:
            assert together[i][name] == pytest.approx(alone[name], abs=1e-5)
    assert not np.allclose(together[0]["weight.1"], together[1]["weight.1"])
    assert made.used == 3 * 2 + 3 + 3


def test_steps_towards_an_objective_raise_it() -> None:
    made = trainer(steps=40)
    before = made.judge([made.base.weights])[0]
    after = made.judge(made.vary([dict(made.base.weights)] * 2, np.eye(2), seed=0))
    assert after[0, 0] > before[0] + 30.0  # points of 300, towards welfare
    assert after[1, 1] > before[1] + 8.0  # points, towards the worst-off


def test_fit_returns_mutually_undominated_policies_and_its_seed_fixes_them() -> None:
    kw: dict[str, Any] = {"objectives": ENDS, "population": 4, "steps": 4, **QUICK}
    one, two = (evolve.fit(PolicyGradient((8,)), SOCIETY, 2, 3, **kw) for _ in range(2))
    assert one.held_out.tolist() == two.held_out.tolist()
    assert evolve.undominated(one.validation) == list(range(len(one.policies)))
    assert one.steps == 4 * 4 * 3 and len(one.curve) == 3
    assert one.best("least") is one.policies[int(one.validation[:, 1].argmax())]
    assert one.volume() == pytest.approx(evolve.volume(one.held_out, one.start))
    with pytest.raises(KeyError, match="objective: one of welfare, least"):
        one.best("beauty")


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="objectives: at least 2, got 1"):
        evolve.Trainer(PolicyGradient(), SOCIETY, {"welfare": evolve.welfare})
    short: dict[str, evolve.Objective] = {"welfare": evolve.welfare, "short": lambda episodes: episodes.welfare[:1]}
    made = evolve.Trainer(PolicyGradient((8,)), SOCIETY, short, judged=8)
    with pytest.raises(ValueError, match="objectives: 'short' must give one finite number a world"):
        made.judge([made.base.weights])
    with pytest.raises(ValueError, match="mutation: one of"):
        evolve.fit(PolicyGradient((8,)), SOCIETY, 1, 0, objectives=ENDS, mutation="luck")


# ---- what it is good for ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_five_seeds_of_evolution_against_its_controls() -> None:
    budget: dict[str, Any] = {"population": 8, "steps": 25, "cases": 24, "tries": 6, "judged": 384}
    rows = evolve.compare(
        PolicyGradient((48,)), SOCIETY, 10, range(5), objectives=ENDS, rate=2e-2, entropy=0.5, **budget
    )
    for control in ("noise", "single"):
        gain = evolve.paired(rows, "evolved", control)
        volume = np.mean([row["volume"] for row in rows if row["arm"] == control])
        assert (gain > 0).all() and interval(gain).low > 0.2 * volume
    # a weighted sum with as many steps does as well: neither is asserted to be better
    tie = evolve.paired(rows, "evolved", "weighted sums")
    assert abs(tie.mean()) < 0.1 * np.mean([row["volume"] for row in rows if row["arm"] == "weighted sums"])
    mutually = [row["mutually"] for row in rows if row["arm"] == "evolved"]
    assert np.mean(mutually) >= 3 and min(mutually) >= 2
    steps = {row["arm"]: row["steps"] for row in rows}
    assert steps["evolved"] == steps["weighted sums"] == 8 * 25 * 11
