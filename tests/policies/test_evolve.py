from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import yaml

from societas.envs.core.episodes import play
from societas.envs.core.registry import create
from societas.envs.core.statistics import interval
from societas.envs.core.worlds import Cast, Worlds
from societas.experiments.claims import claim, studies
from societas.policies.align import breed, evolve, scenarios
from societas.policies.align.stable import Society
from societas.policies.gradient import PolicyGradient
from societas.policies.llm.policy import LanguageModel
from societas.policies.llm.train.learning import _Learner

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


def test_the_study_has_every_row_that_the_claim_names() -> None:
    pages = yaml.safe_load((claim.SHIPPED / "alignment" / "evolution.yaml").read_text(encoding="utf-8"))
    told: list[float] = []
    found = studies.evolution(told.append, seeds=2, seed=5, generations=0)
    (check,) = pages["checks"]
    assert set(check["rows"]) <= set(found) and told == [0.5, 1.0]
    assert all(values.shape == (2,) and np.isfinite(values).all() for values in found.values())
    gain = found["volume, evolved"] - found["volume, weighted sums"]
    np.testing.assert_allclose(gain / found["volume, weighted sums"], found["volume, evolved / weighted sums - 1"])


# ---- language models --------------------------------------------------------------------------------------------------

TEAM = scenarios.scenario("team", "none", 2)
SMALL = {"games": ["Team"], "width": 16, "layers": 1, "heads": 2, "vocabulary": 300}


def model() -> LanguageModel:
    brief = {"system": "Decide.", "user": "{{ prompt }}"}
    return LanguageModel({"Tiny": SMALL}, levels=3, template=brief, training={"group": 4, "rate": 1e-2})


def bred(budget: int, sessions: int = 4, **options: Any) -> Any:
    return breed.fit(model(), Society(TEAM, "member"), budget, 2, sessions=sessions, **options)


@pytest.mark.parametrize("game", [TEAM, scenarios.scenario("commons", "sanction", 4)])
def test_what_is_credited_sums_to_what_the_episode_scores(game: Any) -> None:
    role = game.roles[0].name
    player = create("policies", "random")
    whole = breed.scored(play(game, {role: player}, worlds=6, seed=3), role)
    for towards in np.eye(2):
        credit = breed.credit(game, role, 2, towards)
        worlds, cast, paid = Worlds(game, 6, seed=3), Cast(game, {role: player}), np.zeros((6, 2))
        cast.begin(worlds)
        for _ in range(int(play(game, {role: player}, worlds=6, seed=3).length.max())):
            paid += credit(worlds.step(cast.act(worlds, worlds.view(), {}, None)))
        start = game.benchmarks().alignment(0.0)
        np.testing.assert_allclose(paid[:, 0] + start, towards @ whole, atol=1e-9)
        np.testing.assert_array_equal(paid[:, 0], paid[:, 1])


def test_the_worst_off_of_equals_gets_what_all_get() -> None:
    player = create("policies", "constant", acts={"effort": 1.0})
    scored = breed.scored(play(TEAM, {"member": player}, worlds=2, seed=0), "member")
    np.testing.assert_allclose(scored[0], scored[1], atol=1e-9)
    assert scored[0].max() > 0.5


def test_models_evolve_in_as_many_updates_as_were_given(monkeypatch: pytest.MonkeyPatch) -> None:
    reinforce, left = _Learner.reinforce, []

    def watched(learner: _Learner, part: float) -> float:
        left.append(part)
        return reinforce(learner, part)

    monkeypatch.setattr(_Learner, "reinforce", watched)
    for budget, population, generations in ((3, 2, 1), (8, 2, 2)):
        left.clear()
        policy = bred(budget, population=4 if budget == 3 else 2, updates=2, judged=2)
        assert left == [1.0 - i / budget for i in range(budget)]
        assert len(policy.curve) == generations + 1 and len(policy.learned["volume"]) == generations
        assert policy.learned["plays"] == {"learning": 4 * budget, "judging": 2 * (1 + population * generations)}


def test_the_member_is_returned_that_is_best_in_what_was_asked_for() -> None:
    found = {name: bred(6, objective=name, population=3, updates=1, judged=8) for name in breed.OBJECTIVES}
    fronts = []
    for name, policy in found.items():
        front = policy.learned["front"]
        scores = np.array([[row[end] for end in breed.OBJECTIVES] for row in front])
        assert evolve.undominated(scores) == list(range(len(front)))
        (returned,) = [row for row in front if row["returned"]]
        assert returned[name] == max(row[name] for row in front)
        seen = breed.scored(play(TEAM, {"member": policy}, worlds=8, seed=2), "member").mean(axis=1)
        assert seen == pytest.approx([returned[end] for end in breed.OBJECTIVES])  # the weights are that member's
        fronts.append(scores)
    np.testing.assert_array_equal(*fronts)  # what is asked for decides the choice alone


def test_evolved_models_do_better_than_their_base() -> None:
    policy = bred(16, sessions=8, population=2, updates=8, judged=4)
    scores = [play(TEAM, {"member": one}, worlds=64, seed=77).alignment.mean() for one in (model(), policy)]
    assert scores[1] > scores[0] + 0.3


def test_what_models_cannot_evolve_towards_is_refused() -> None:
    for given, said in (
        ({"objective": "equality"}, "objective: one of 'welfare', 'least'"),
        ({"population": 1}, "population: a whole number from 2"),
        ({"updates": 0}, "updates: a whole number from 1"),
        ({"sessions": 6}, r"sessions: a multiple of training.group \(4\), got 6"),
    ):
        with pytest.raises(ValueError, match=said):
            bred(4, **given)


# ---- what it is good for ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_five_seeds_of_evolution_against_its_controls() -> None:
    budget: dict[str, Any] = {"population": 8, "steps": 25, "cases": 24, "tries": 6, "judged": 384}
    rows = evolve.compare(
        PolicyGradient((48,)), SOCIETY, 10, range(5), objectives=ENDS, rate=2e-2, entropy=0.5, **budget
    )
    assert interval(evolve.paired(rows, "evolved", "single, all steps")).low > 0
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
    assert steps["evolved"] == steps["weighted sums"] == steps["single, all steps"] == 8 * 25 * 11
