from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from societas.envs.core.episodes import play
from societas.envs.core.registry import create
from societas.policies.align import controllable, merge, retriever, stable
from societas.policies.align.stable import Society
from societas.policies.callable import Callable
from societas.policies.llm.policy import LanguageModel
from societas.policies.llm.train import Training, teach

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
torch.set_num_threads(1)

SMALL = {"width": 32, "layers": 1, "heads": 2, "vocabulary": 400}
BRIEF = {"system": "Decide.", "user": "{{ prompt }}"}
GAME = create("games", "Ultimatum", veto=False, rate=2.0, units=4)  # who gives makes welfare, at a cost to itself
GIVER = Society(GAME, "proposer")


def small(**training: Any) -> LanguageModel:
    return LanguageModel({"Tiny": SMALL}, template=BRIEF, levels=11, training=training or None)


def offer(policy: LanguageModel, worlds: int = 64) -> float:
    """Return the mean part of the pie that is given."""
    return float(play(GAME, {"proposer": policy}, worlds=worlds, seed=5).measures["offer"].mean())


def numbers(*values: float) -> Any:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


# ---- Stable Alignment: the loss -----------------------------------------------------------------------------------


def test_stable_loss_by_hand() -> None:
    logs, ratings = numbers(-1.0, -2.0, -0.5), torch.tensor([4.0, 7.0, 1.0], dtype=torch.float64)
    # best: the second, l = 2. Gaps 2 - 1 + 10 * 3 / 7 and 2 - 0.5 + 10 * 6 / 7
    gaps = [1.0 + 30 / 7, 1.5 + 60 / 7]
    assert stable.loss(logs, ratings).item() == pytest.approx(2.0 + 0.2 * np.mean(gaps))
    assert stable.loss(logs, ratings, hinge="max", ratio=1.0).item() == pytest.approx(2.0 + max(gaps))
    best, found = stable.gaps(logs, ratings)
    assert best == 1 and found.tolist() == pytest.approx(gaps)


def test_hinge_of_each_and_of_the_mean_differ_where_gaps_differ_in_sign() -> None:
    logs, ratings = numbers(-1.0, -4.0, -1.5), torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)
    # scale 1, strength 1: gaps 1 - 4 + 1 = -2 and 1 - 1.5 + 2 = 1.5
    kw: dict[str, Any] = {"strength": 1.0, "scale": 1.0, "ratio": 1.0}
    assert float(stable.loss(logs, ratings, hinge="each", **kw)) == pytest.approx(1.0 + 0.75)
    assert float(stable.loss(logs, ratings, hinge="mean", **kw)) == pytest.approx(1.0)
    assert float(stable.loss(logs, ratings, hinge="max", **kw)) == pytest.approx(1.0 + 1.5)


def test_reference_margin_takes_the_sorted_rating_at_the_answers_place() -> None:
    logs = numbers(-1.0, -1.0, -1.0)
    kw: dict[str, Any] = {"strength": 1.0, "scale": 1.0}
    unsorted = torch.tensor([1.0, 7.0, 4.0], dtype=torch.float64)  # sorted: 7, 4, 1
    _, right = stable.gaps(logs, unsorted, **kw)
    _, wrong = stable.gaps(logs, unsorted, margin="reference", **kw)
    assert right.tolist() == [6.0, 3.0]
    assert wrong.tolist() == [0.0, 6.0]  # places 0 and 2 of the sorted list: the worst answer has no margin at all
    in_order = torch.tensor([7.0, 4.0, 1.0], dtype=torch.float64)
    for margin in stable.MARGINS:
        assert stable.gaps(logs, in_order, margin=margin, **kw)[1].tolist() == [3.0, 6.0]


def published(logs: Any, ratings: Any, scale: float, strength: float, ratio: float) -> float:
    """Return the loss as the published code computes it, step by step."""
    order = sorted(range(len(ratings)), key=lambda i: -ratings[i])
    ranked = [ratings[i] for i in order]
    gaps = [-logs[order[0]] + logs[i] + (ranked[0] - ranked[i]) / scale * strength for i in order[1:]]
    return -logs[order[0]] + ratio * max(0.0, sum(gaps) / len(gaps))


def test_reference_switches_give_the_published_code() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        logs, ratings = rng.uniform(-5, 0, 4), rng.permutation(7)[:4] + 1.0
        found = stable.loss(torch.tensor(logs), torch.tensor(ratings), margin="reference", hinge="mean", strength=3.0)
        assert float(found) == pytest.approx(published(logs, ratings, 7.0, 3.0, 0.2))


@pytest.mark.parametrize("hinge", stable.HINGES)
def test_stable_loss_is_invariant_to_order_and_to_a_shift_of_ratings(hinge: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        logs, ratings = rng.uniform(-5, 0, 5), rng.integers(1, 8, 5).astype(float)  # ties too
        order = rng.permutation(5)
        first = stable.loss(torch.tensor(logs), torch.tensor(ratings), hinge=hinge)
        other = stable.loss(torch.tensor(logs[order]), torch.tensor(ratings[order]), hinge=hinge)
        moved = stable.loss(torch.tensor(logs), torch.tensor(ratings + 3.0), hinge=hinge)
        assert float(first) == pytest.approx(float(other)) == pytest.approx(float(moved))


def test_stable_gradient_raises_the_best_and_lowers_what_is_within_its_margin() -> None:
    ratings = torch.tensor([7.0, 1.0, 4.0], dtype=torch.float64)
    logs = numbers(-2.0, -1.0, -30.0)  # the last is far below its margin already
    stable.loss(logs, ratings).backward()
    assert logs.grad.tolist() == pytest.approx([-1.0 - 0.2 * 0.5, 0.2 * 0.5, 0.0])
    assert torch.autograd.gradcheck(lambda x: stable.loss(x, ratings), (numbers(-2.0, -1.0, -0.3),))


def test_without_margin_to_keep_it_is_imitation_of_the_best() -> None:
    ratings = torch.tensor([2.0, 1.0], dtype=torch.float64)
    assert float(stable.loss(numbers(-0.1, -9.0), ratings, strength=1.0)) == pytest.approx(0.1)
    assert float(stable.loss(numbers(-0.7), torch.tensor([3.0], dtype=torch.float64))) == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("kw", "message"),
    [
        ({"margin": "wrong"}, "margin: one of"),
        ({"hinge": "none"}, "hinge: one of"),
        ({"scale": 0.0}, "scale: "),
        ({"ratio": -1.0}, "ratio: "),
    ],
)
def test_stable_refuses_parameters_by_name(kw: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stable.loss(numbers(-1.0, -2.0), torch.tensor([1.0, 2.0]), **kw)


def test_stable_refuses_ratings_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"ratings: one for each of at least 1 answer, shape \(2,\), got \(3,\)"):
        stable.loss(numbers(-1.0, -2.0), torch.tensor([1.0, 2.0, 3.0]))
    with pytest.raises(ValueError, match="ratings: finite"):
        stable.loss(numbers(-1.0, -2.0), torch.tensor([1.0, math.nan]))


# ---- retriever: objectives ----------------------------------------------------------------------------------------


def test_objectives_by_hand() -> None:
    g = torch.log(torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64))
    assert float(retriever.contrastive(g)) == pytest.approx(-math.log(4 / 7))
    assert float(retriever.lambdarank(g)) == pytest.approx(-math.log(4 / 6) - math.log(4 / 5) - math.log(2 / 3))
    assert float(retriever.listmle(g)) == pytest.approx(-math.log(4 / 7) - math.log(2 / 3))
    assert retriever.gains(numbers(-1.0, -2.0), numbers(-1.5, -1.0), 0.5).tolist() == [0.25, -0.5]


def test_objectives_on_two_candidates_are_dpo() -> None:
    g = torch.tensor([[0.3, -0.4], [-1.0, 2.0]], dtype=torch.float64)
    expected = [softplus(-0.7), softplus(3.0)]
    for objective in retriever.OBJECTIVES.values():
        assert objective(g).tolist() == pytest.approx(expected)


def test_listmle_is_the_likelihood_of_plackett_and_luce() -> None:
    import itertools

    g = torch.tensor([0.5, -1.0, 2.0, 0.1], dtype=torch.float64)
    chances = [math.exp(-float(retriever.listmle(g[list(order)]))) for order in itertools.permutations(range(4))]
    assert sum(chances) == pytest.approx(1.0) and min(chances) > 0


def test_objectives_ignore_a_shift_and_the_order_of_negatives_where_there_is_none() -> None:
    g = torch.tensor([1.0, -0.5, 0.3, 2.0], dtype=torch.float64)
    for objective in retriever.OBJECTIVES.values():
        assert float(objective(g)) == pytest.approx(float(objective(g + 5.0)))
    mixed = g[[0, 3, 1, 2]]
    assert float(retriever.contrastive(g)) == pytest.approx(float(retriever.contrastive(mixed)))
    assert float(retriever.listmle(g)) != pytest.approx(float(retriever.listmle(mixed)))


def test_objectives_raise_the_first_and_lower_the_last() -> None:
    for objective in retriever.OBJECTIVES.values():
        g = numbers(0.2, 0.1, -0.3)
        objective(g).backward()
        assert g.grad[0] < 0 < g.grad[-1] and float(g.grad.sum()) == pytest.approx(0.0, abs=1e-12)
        assert torch.autograd.gradcheck(objective, (numbers(0.2, 0.1, -0.3),))


def test_objectives_stay_finite_far_out() -> None:
    for objective in retriever.OBJECTIVES.values():
        assert float(objective(torch.tensor([-800.0, 800.0], dtype=torch.float64))) == pytest.approx(1600.0)


def test_objectives_need_two_candidates() -> None:
    for objective in retriever.OBJECTIVES.values():
        with pytest.raises(ValueError, match=r"g: at least 2 candidates on the last axis, got shape \(1,\)"):
            objective(numbers(1.0))


# ---- retriever: candidates ----------------------------------------------------------------------------------------


def test_ranked_takes_top_and_bottom_and_no_rating_twice() -> None:
    ratings = [3.0, 9.0, 1.0, 7.0, 5.0, 0.0]
    assert retriever.ranked(ratings).tolist() == [1, 3, 2, 5]
    assert retriever.ranked([1.0, 2.0, 2.0]).tolist() == [1, 0]
    assert retriever.ranked([1.0, 2.0, 2.0], logs=[-1.0, -3.0, -2.0]).tolist() == [2, 0]


def test_negatives_worst_hard_and_random() -> None:
    ratings, logs = [5.0, 1.0, 4.0, 2.0, 5.0], [-2.0, -3.0, -1.0, -0.5, -1.5]
    assert retriever.negatives(ratings, 2, logs=logs).tolist() == [4, 1, 3]  # of the two best, the likelier
    assert retriever.negatives(ratings, 2, "hard", logs=logs).tolist() == [4, 3, 2]
    rng = np.random.default_rng(0)
    drawn = [retriever.negatives(ratings, 1, "random", logs=logs, rng=rng).tolist() for _ in range(60)]
    assert {tuple(d) for d in drawn} == {(4, 1), (4, 2), (4, 3)}
    assert retriever.negatives([2.0, 2.0]).tolist() == [0]
    with pytest.raises(ValueError, match="logs: needed for hard"):
        retriever.negatives(ratings, how="hard")
    with pytest.raises(ValueError, match="rng: needed for random"):
        retriever.negatives(ratings, how="random")
    with pytest.raises(ValueError, match="logs: one for each of the 5"):
        retriever.negatives(ratings, logs=[0.0])


def test_memory_merges_rounds_and_forgets_beyond() -> None:
    for rounds, expected in ((None, {"a": 2.0, "b": 5.0, "c": 0.0}), (1, {"c": 0.0, "a": 3.0})):
        memory = retriever.Memory(rounds)
        with pytest.raises(RuntimeError, match=r"call begin\(\) first"):
            memory.add("p", "a", 1.0)
        memory.begin()
        memory.add("p", "a", 1.0)
        memory.add("p", "b", 5.0)
        memory.begin()
        memory.add("p", "c", 0.0)
        memory.add("p", "a", 3.0)
        assert memory.candidates("p") == expected and memory.prompts() == ["p"]
        with pytest.raises(ValueError, match="rating: a finite number"):
            memory.add("p", "a", math.inf)


# ---- controllable: tokens, values, losses -------------------------------------------------------------------------


def test_control_tokens_stand_in_one_order() -> None:
    assert controllable.tokens({"equality": 0, "own": 3}) == "<own: 3> <equality: 0>"
    assert controllable.told("Prompt.", {}) == "Prompt." and controllable.told("P.", {"own": 1}) == "P.\n<own: 1>"
    with pytest.raises(ValueError, match="request: one of"):
        controllable.tokens({"helpfulness": 1})
    with pytest.raises(ValueError, match=r"request\.own"):
        controllable.tokens({"own": -1})


def test_value_by_hand_and_at_an_exact_match() -> None:
    levels = [[3, 2, 4], [1, 0, 0]]
    assert controllable.value(levels, {}).tolist() == [9.0, 1.0]
    assert controllable.value(levels, {"own": 1}, penalty=2.0).tolist() == [
        -4.0 + 6.0,
        0.0,
    ]  # an exact match costs nothing
    weights = {"own": 0.5, "others": 0.0}
    assert controllable.value(levels, {"equality": 1}, weights=weights).tolist() == [1.5 - 3.0, 0.5 - 1.0]
    with pytest.raises(ValueError, match="levels: 3 on the last axis"):
        controllable.value([[1, 2]], {})
    with pytest.raises(ValueError, match="objective: one of"):
        controllable.value(levels, {"profit": 1})


def test_preference_by_hand() -> None:
    logs, before = numbers(-1.0, -2.0, -3.0), torch.tensor([-2.0, -2.0, -2.0], dtype=torch.float64)
    values = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)  # gains 1, 0, -1; the first two are no pair
    expected = (softplus(-0.5 * 2) + softplus(-0.5 * 1)) / 2
    found = controllable.preference(logs, before, values, beta=0.5)
    assert float(found) == pytest.approx(expected)
    found.backward()
    assert logs.grad[0] < 0 and logs.grad[1] < 0 < logs.grad[2]
    shifted = controllable.preference(logs, before, values + 7.0, beta=0.5)
    order = [2, 0, 1]
    moved = controllable.preference(logs[order], before[order], values[order], beta=0.5)
    assert float(shifted) == pytest.approx(expected) == pytest.approx(float(moved))
    assert torch.autograd.gradcheck(lambda x: controllable.preference(x, before, values), (numbers(-1.0, -2.0, -3.0),))


def test_preference_of_the_reference_is_log_two_and_without_pairs_nothing() -> None:
    logs = numbers(-1.0, -2.0)
    assert float(controllable.preference(logs, logs.detach(), torch.tensor([1.0, 0.0]))) == pytest.approx(math.log(2))
    none = controllable.preference(logs, logs.detach(), torch.tensor([1.0, 1.0]))
    none.backward()
    assert float(none) == 0.0 and logs.grad.tolist() == [0.0, 0.0]
    assert float(controllable.supervised(numbers(-1.0, -3.0))) == 2.0


def test_objectives_of_payoffs_by_hand_and_their_levels() -> None:
    found = controllable.objectives(np.array([[6.0, 2.0, 0.0], [1.0, 1.0, 1.0], [-2.0, 4.0, 0.0]]), [0, 2])
    assert found[0, 0].tolist() == pytest.approx([6.0, 2.0, 1.0 - 2 * (4 + 6 + 2) / (2 * 3 * 8)])
    assert found[1].tolist() == [[1.0, 2.0, 1.0]] * 2
    assert found[2, 1].tolist() == pytest.approx([0.0, 2.0, 1 / 3])  # a loss counts as nothing
    scale = controllable.Scale(np.array([0.0, 0.0, 1.0]), np.array([10.0, 4.0, 1.0]), 5)
    assert scale(np.array([[10.0, 0.0, 1.0], [4.0, 1.0, 1.0], [12.0, -1.0, 1.0]])).tolist() == [
        [4, 0, 0], [2, 1, 0], [4, 0, 0],
    ]  # fmt: skip


def test_collected_objectives_are_what_the_game_pays() -> None:
    learner = stable.prepare(small(), GIVER, 16, 0)
    decisions, reached, where = controllable.collect(learner, 2)
    assert len(decisions) == len(reached) == 32 and where.tolist() == [[0, 0]] * 32
    for decision, (own, others, equality) in zip(decisions, reached, strict=True):
        given = decision.pick * 2.5
        assert (own, others) == (10.0 - given, 2.0 * given)
        assert equality == pytest.approx(1.0 - abs(own - others) / (2 * (own + others)))


def test_levels_are_of_the_society_and_the_step() -> None:
    """The same numbers are much in a poor society and little in a rich one."""
    rich = create("games", "Ultimatum", veto=False, rate=2.0, units=4, pie=100.0)
    policy = controllable.fit(small(), [GIVER, Society(rich, "proposer")], 1, 0, sessions=16, episodes=4, levels=3)
    assert policy.learned["range"]["own"] == [[0.0, 10.0], [0.0, 100.0]]  # type: ignore[attr-defined]
    assert policy.scale(np.array([10.0, 0.0, 0.0])).tolist() == [[2, 0, 0], [0, 0, 0]]
    two = create("games", "Ultimatum", veto=False, rate=2.0, units=4, repetitions=2)
    later, where = controllable.collect(stable.prepare(small(), Society(two, "proposer"), 16, 0), 4)[1:]
    assert [later[where[:, 1] == step, 0].max() > 10.0 for step in (0, 1)] == [
        True,
        False,
    ]  # a second round has one pie


# ---- merging ------------------------------------------------------------------------------------------------------


def three() -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(0)
    return [
        {"w": torch.randn((3, 4), generator=generator), "b": torch.randn(4, generator=generator) * 1e-6, "n": torch.tensor([3])}
        for _ in range(3)
    ]  # fmt: skip


def test_merging_by_hand_and_exactly_at_the_corners() -> None:
    base, domain, alignment = three()
    for weights, expected in (((0.0, 0.0), base), ((1.0, 0.0), domain), ((0.0, 1.0), alignment)):
        found = merge.merged(base, domain, alignment, *weights)
        assert all(torch.equal(found[name], expected[name]) for name in base)
    one = {"w": torch.tensor([1.0, 2.0])}
    found = merge.merged(one, {"w": torch.tensor([3.0, 2.0])}, {"w": torch.tensor([1.0, 6.0])}, 0.5, 0.25)
    assert found["w"].tolist() == [2.0, 3.0]
    assert torch.equal(
        merge.merged(base, domain, alignment, 0.3, 0.6)["w"], merge.merged(base, alignment, domain, 0.6, 0.3)["w"]
    )


def test_merging_names_the_tensor_that_does_not_fit() -> None:
    base, domain, alignment = three()
    with pytest.raises(ValueError, match=r"alignment: 'w' has shape \(4, 3\), and the base's \(3, 4\)"):
        merge.merged(base, domain, alignment | {"w": alignment["w"].T})
    with pytest.raises(ValueError, match="domain: lacks 'b'"):
        merge.merged(base, {"w": domain["w"], "n": domain["n"]}, alignment)
    with pytest.raises(ValueError, match="domain: has 'extra', which the first lacks"):
        merge.merged(base, domain | {"extra": base["w"]}, alignment)
    with pytest.raises(ValueError, match=r"domain: 'n' of torch.int64 differs"):
        merge.merged(base, domain | {"n": torch.tensor([4])}, alignment)
    with pytest.raises(ValueError, match="a: "):
        merge.merged(base, domain, alignment, math.nan)


def test_the_control_has_the_norm_of_what_was_learned_and_another_direction() -> None:
    base, _, alignment = three()
    first, again, other = (merge.random_like(base, alignment, seed) for seed in (0, 0, 1))
    learned, step = (tensors["w"] - base["w"] for tensors in (alignment, first))
    assert float(step.norm()) == pytest.approx(float(learned.norm()), rel=1e-5)
    assert abs(float((step * learned).sum() / (step.norm() * learned.norm()))) < 0.9
    assert torch.equal(first["w"], again["w"]) and not torch.equal(first["w"], other["w"])
    assert torch.equal(merge.random_like(base, base, 0)["w"], base["w"]) and torch.equal(first["n"], base["n"])


def test_cosines_by_hand() -> None:
    base = {"w": torch.tensor([1.0, 1.0]), "v": torch.tensor([0.0, 0.0]), "n": torch.tensor([3])}
    one = {"w": torch.tensor([4.0, 5.0]), "v": torch.tensor([0.0, 0.0]), "n": torch.tensor([3])}
    two = {"w": torch.tensor([4.0, 1.0]), "v": torch.tensor([0.0, 4.0]), "n": torch.tensor([3])}
    found = merge.cosines(base, one, two)
    assert found == pytest.approx({"w": 3 / 5, "v": 0.0, "": 9 / 25})
    assert merge.cosines(base, one, one)[""] == pytest.approx(1.0)
    assert abs(merge.cosines(base, one, merge.random_like(base, one, 3))[""]) < 1.0
    with pytest.raises(ValueError, match="alignment: lacks 'v'"):
        merge.cosines(base, one, {"w": two["w"], "n": two["n"]})


def test_stacked_adapters_add_products_exactly() -> None:
    generator = torch.Generator().manual_seed(1)

    def adapter(rank: int) -> dict[str, Any]:
        draw = {"q.lora_A.weight": (rank, 5), "q.lora_B.weight": (7, rank)}
        return {k: torch.randn(s, generator=generator, dtype=torch.float64) for k, s in draw.items()}

    def product(tensors: dict[str, Any]) -> Any:
        return tensors["q.lora_B.weight"] @ tensors["q.lora_A.weight"]

    one, two = adapter(2), adapter(3)
    found = merge.stacked(one, two, 0.7, 0.2)
    assert found["q.lora_A.weight"].shape == (5, 5)
    torch.testing.assert_close(product(found), 0.7 * product(one) + 0.2 * product(two))
    with pytest.raises(ValueError, match=r"alignment: 'q.lora_B.weight' has shape \(6, 3\)"):
        merge.stacked(one, two | {"q.lora_B.weight": two["q.lora_B.weight"][:6]})
    with pytest.raises(ValueError, match="'w' is no adapter"):
        merge.stacked({"w": one["q.lora_A.weight"]}, {"w": one["q.lora_A.weight"]})


def test_files_are_safetensors_and_come_back(tmp_path: Path) -> None:
    base = three()[0]
    merge.write(base | {"tied": base["w"]}, tmp_path / "m.safetensors")
    found = merge.read(tmp_path / "m.safetensors")
    assert sorted(found) == ["b", "n", "tied", "w"] and torch.equal(found["tied"], base["w"])
    with pytest.raises(ValueError, match=r"a .safetensors file, got 'm.bin'"):
        merge.read(tmp_path / "m.bin")
    with pytest.raises(FileNotFoundError, match="no file"):
        merge.read(tmp_path / "none.safetensors")


# ---- in a society -------------------------------------------------------------------------------------------------


def test_stable_alignment_follows_whose_good_is_rated_and_not_mixed_ratings() -> None:
    found = {}
    for credit in ("all", "own"):
        aligned = stable.fit(small(rate=3e-3, credit=credit), GIVER, 20, 0, sessions=32)
        found[credit] = offer(aligned)
        assert len(aligned.curve) == 20 and max(aligned.learned["active"]) > 0  # type: ignore[attr-defined]
    assert found["all"] > 0.9 and found["own"] < 0.1
    mixed = [
        offer(stable.fit(small(rate=3e-3, credit="all"), GIVER, 20, seed, sessions=32, mixed=True)) for seed in range(4)
    ]
    assert float(np.mean(mixed)) < 0.8  # where chance has it


def test_stable_alignment_is_kept_and_repeats(tmp_path: Path) -> None:
    first, again = (stable.fit(small(rate=3e-3), GIVER, 2, 3, sessions=16) for _ in range(2))
    assert first.curve == again.curve
    first.save(tmp_path)
    back = LanguageModel({"Tiny": SMALL}, template=BRIEF, levels=11, adapter=tmp_path)
    assert offer(back) == offer(first)


@pytest.mark.parametrize("objective", retriever.OBJECTIVES)
def test_the_retriever_follows_whose_good_is_rated(objective: str) -> None:
    found = {
        credit: offer(retriever.fit(small(rate=3e-3, credit=credit), GIVER, 24, 0, sessions=32, objective=objective))
        for credit in ("all", "own")
    }
    assert found["all"] > 0.9 and found["own"] < 0.1


def test_the_retriever_repeats_and_mixed_ratings_lead_elsewhere() -> None:
    gains: dict[bool, list[float]] = {}
    for mixed in (False, True):
        curves = [
            retriever.fit(small(rate=3e-3), GIVER, 12, seed, sessions=64, how="random", mixed=mixed).curve
            for seed in (0, 0, 1, 2, 3)
        ]
        assert curves[0] == curves[1] and len(curves[0]) == 3
        gains[mixed] = [curve[-1] for curve in curves[1:]]
    assert min(gains[False]) > 9.0 and float(np.mean(gains[True])) < 8.0


def test_what_two_policies_learned_is_merged_and_the_control_aligns_nobody(tmp_path: Path) -> None:
    keeps, gives = (
        teach(small(), GAME, "proposer", Callable(lambda seen, x=x: {"offer": x}), episodes=10, sessions=4, rate=1e-2)
        for x in (0, 4)
    )
    base = small()
    for weights, expected in (((1.0, 0.0), keeps), ((0.0, 1.0), gives), ((0.0, 0.0), base)):
        assert offer(merge.merge(base, keeps, gives, *weights)) == offer(expected)
    both, control = (offer(merge.merge(base, keeps, gives, control=control)) for control in (False, True))
    assert offer(keeps) < 0.1 and offer(gives) > 0.9 and control < 0.2 < both
    with pytest.raises(ValueError, match="alignment: a policy that has learned"):
        merge.merge(base, keeps, base)
    other = LanguageModel({"Tiny": {**SMALL, "width": 16}}, template=BRIEF)
    with pytest.raises(ValueError, match="domain: it learned on model"):
        merge.merge(other, keeps, gives)


def test_adapters_are_added_to_the_weights_before_they_are_merged() -> None:
    pytest.importorskip("peft")
    keeps, gives = (
        teach(
            small(), GAME, "proposer", Callable(lambda seen, x=x: {"offer": x}),
            episodes=10, sessions=4, rate=3e-2, lora={"r": 4},
        )
        for x in (0, 4)
    )  # fmt: skip
    chances = merge.merge(small(), keeps, gives, 0.0, 1.0)
    assert offer(chances) == pytest.approx(offer(gives), abs=0.02) and offer(gives) > 0.9 > 0.1 > offer(keeps)


def test_the_preference_stage_starts_at_the_reference_and_orders_answers_better() -> None:
    policy = controllable.fit(small(rate=1e-3), GIVER, 24, 0, sessions=32, episodes=2, batch=32, share=1.0, beta=1.0)
    assert policy.curve[0] == pytest.approx(-math.log(2), abs=1e-5)
    assert float(np.mean(policy.curve[-8:])) > -0.65
    assert policy.learned["range"]["own"] == [[0.0, 10.0]]  # type: ignore[attr-defined]


def test_requests_are_shown_and_bounded() -> None:
    policy = controllable.fit(small(), GIVER, 1, 0, sessions=16, episodes=1, levels=3)
    asked = policy.asked(own=2, equality=0).bind(GAME, "proposer", (0,))
    free = policy.bind(GAME, "proposer", (0,))
    own = {"round": 1.0, "offer": 0.0}
    seen, plain = (bound._user(((0,), 0), own, 0, None) for bound in (asked, free))
    assert seen == plain + "\n<own: 2> <equality: 0>" and policy.request == {}
    with pytest.raises(ValueError, match=r"request\.own"):
        policy.asked(own=3)


def test_what_can_be_asked_for_is_kept_with_the_weights(tmp_path: Path) -> None:
    policy = controllable.fit(small(), GIVER, 2, 0, sessions=16, episodes=1, levels=3)
    policy.save(tmp_path)
    given: dict[str, Any] = {"template": BRIEF, "levels": 11, "adapter": tmp_path}
    back = controllable.Controllable({"Tiny": SMALL}, **given)
    assert back.request == {} and back.scale.levels == 3
    assert [part.tolist() for part in back.scale[:2]] == [part.tolist() for part in policy.scale[:2]]
    for request in ({}, {"own": 2}, {"own": 0, "others": 1}):
        named = controllable.Controllable({"Tiny": SMALL}, request=request, **given)
        assert offer(back.asked(**request)) == offer(policy.asked(**request)) == offer(named)
    with pytest.raises(ValueError, match=r"request\.own: .*2"):
        controllable.Controllable({"Tiny": SMALL}, request={"own": 3}, **given)
    with pytest.raises(RuntimeError, match="no requests were learned; call fit"):
        controllable.Controllable({"Tiny": SMALL}).asked(own=1)
    stable.fit(small(), GIVER, 1, 0, sessions=16).save(tmp_path / "plain")
    with pytest.raises(RuntimeError, match="its card has a range"):
        controllable.Controllable({"Tiny": SMALL}, request={"own": 1}, **{**given, "adapter": tmp_path / "plain"})


def test_each_level_is_drawn_as_often_as_the_others() -> None:
    marks = np.array([[0, 1], [0, 1], [0, 2], [4, 2]])
    found = controllable.balanced(marks[:, :1])
    assert found == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])
    assert controllable.balanced(marks) == pytest.approx((found + 1 / 4) / 2)


def test_own_profit_is_what_was_asked_for_unless_tokens_mean_nothing() -> None:
    base = teach(small(), GAME, "proposer", create("policies", "random"), episodes=20, sessions=64, rate=5e-3)
    base.training = Training(rate=4e-3)  # all acts are tried
    wanted, missed = 2.5 * np.arange(5), {}
    for mixed in (False, True):
        policy = controllable.fit(base, GIVER, 160, 1, batch=32, share=0.0, controls=("own",), mixed=mixed)
        found = [
            play(GAME, {"proposer": policy.asked(own=level)}, worlds=64, seed=5).returns["proposer"].mean()
            for level in range(5)
        ]
        missed[mixed] = float(np.abs(found - wanted).mean())
    assert missed[False] < 0.5 and missed[True] > 2.0


def test_fit_says_what_it_needs() -> None:
    with pytest.raises(ValueError, match=r"sessions: a multiple of training.group \(8\), got 12"):
        stable.fit(small(), GIVER, 1, 0, sessions=12)
    with pytest.raises(ValueError, match="budget: "):
        stable.fit(small(), GIVER, 0, 0)
    with pytest.raises(ValueError, match="controls: one of"):
        controllable.fit(small(), GIVER, 1, 0, controls=("profit",))
    with pytest.raises(ValueError, match="temperature: above 0"):
        stable.fit(LanguageModel({"Tiny": SMALL}, temperature=0.0), GIVER, 1, 0)
