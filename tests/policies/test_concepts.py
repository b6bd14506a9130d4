from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from societas.envs.core.episodes import play
from societas.envs.core.registry import create
from societas.policies.align import concepts
from societas.policies.align.stable import Society
from societas.policies.callable import Callable
from societas.testing import check_policy

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

GAME = create("games", "Commons")
SOCIETY = Society(GAME, "fisher")
KNOWN = concepts.commons(GAME)
NAMES = [concept.name for concept in KNOWN]
ACCEPTED = concepts.most(KNOWN)
TEMPTED = concepts.Varied(
    {"harvest": lambda seen: 2.2 * seen["stock"] / 2 / 5}
)  # up to 2.2 times the sustainable share


class Learned(NamedTuple):
    train: concepts.Cases
    test: concepts.Cases
    dense: concepts.Monitor
    sparse: concepts.Monitor


@functools.cache
def learned(seed: int) -> Learned:
    train, test = (concepts.cases(SOCIETY, TEMPTED, KNOWN, ACCEPTED, worlds=20 * i, seed=10 * seed + i) for i in (1, 2))
    test = concepts.Cases(*(part[:2000] for part in test))
    dense, sparse = (concepts.fit(NAMES, train, 40, seed, sparsity=part) for part in (0.0, 0.75))
    return Learned(train, test, dense, sparse)


def row(*values: float) -> Any:
    return torch.tensor(values, dtype=torch.float64)


# ---- concepts --------------------------------------------------------------------------------------------------------


def test_concepts_of_a_catch_by_hand() -> None:
    def judged(stock: int, month: int, catches: list[int], caught: int, total: int, harvest: int) -> list[bool]:
        seen = {
            "stock": np.array([[stock]]), "month": np.array([[month]]), "catches": np.array([[catches]]),
            "caught": np.array([[caught]]), "total": np.array([[total]]),
        }  # fmt: skip
        acts = {"harvest": np.array([[harvest]])}
        return [bool(concept.holds(seen, acts)[0, 0]) for concept in (*KNOWN, ACCEPTED)]

    # the stock of 100 doubles: 50 can be taken, 10 each; month by month 10 of a full stock
    assert judged(100, 1, [0] * 5, 0, 0, 10) == [True, True, True, True]
    assert judged(100, 1, [0] * 5, 0, 0, 11) == [False, False, True, False]
    assert judged(60, 2, [20, 20, 0, 0, 0], 0, 0, 7) == [False, True, False, False]  # 60 - 40 - 7 = 13 doubles to 26
    assert judged(60, 2, [20, 2, 2, 2, 2], 20, 20, 6) == [True, False, True, True]  # 20 + 6 > 2 * 10; 60 - 8 - 6 = 46


def test_cases_are_the_acts_of_the_game() -> None:
    found = learned(0).train
    assert found.x.shape[1] == 10 and found.concepts.shape == (len(found.x), 3)
    stock, harvest = found.x[:, 0], found.x[:, -1]
    assert (found.concepts[:, 0] == (harvest <= stock // 2 // 5)).all()
    assert (found.label == (found.concepts.sum(axis=1) >= 2)).all()
    assert (found.concepts.mean(axis=0) > 0.2).all() and (found.concepts.mean(axis=0) < 0.9).all()


def test_varied_acts_fill_their_range() -> None:
    episodes = play(GAME, {"fisher": TEMPTED}, worlds=400, seed=1, keep=True)
    harvest = episodes.moments[0].acts["fisher"]["harvest"]
    assert harvest.min() == 0 and harvest.max() == 22
    assert harvest.mean() == pytest.approx(11.0, abs=0.5)
    with pytest.raises(KeyError, match="upto: fisher decides harvest, got 'price'"):
        play(GAME, {"fisher": concepts.Varied({"price": lambda seen: seen["stock"]})})


# ---- masks -----------------------------------------------------------------------------------------------------------


def test_importance_by_hand() -> None:
    weights, gradients = row(2.0, -1.0, 3.0), torch.tensor([[1.0, 0.0, 2.0], [1.0, 1.0, 0.0]], dtype=torch.float64)
    # first block: F = [[1, .5], [.5, .5]] + I = [[2, .5], [.5, 1.5]], det 2.75, inverse diagonal 1.5 / 2.75, 2 / 2.75
    # second: F = 2 + 1 = 3
    found = concepts.importance(weights, gradients, block=2, damp=1.0)
    assert found.tolist() == pytest.approx([4 * 2.75 / 3, 2.75 / 4, 9 * 3 / 2])
    one = concepts.importance(weights, gradients, block=1, damp=1.0)  # the diagonal alone
    assert one.tolist() == pytest.approx([4 * 2.0 / 2, 1.5 / 2, 9 * 3 / 2])
    with pytest.raises(ValueError, match=r"gradients: \(m, 3\)"):
        concepts.importance(weights, gradients[:, :2])


def test_importance_is_what_a_quadratic_loss_rises_by() -> None:
    # (w - w0)^T F (w - w0) / 2, least at w0: set w_i = 0 and let the others adjust
    rng = np.random.default_rng(0)
    gradients, best = rng.normal(size=(50, 4)), rng.normal(size=4)
    fisher = gradients.T @ gradients / 50 + 1e-7 * np.eye(4)
    found = concepts.importance(torch.from_numpy(best), torch.from_numpy(gradients), block=4)
    for i in range(4):
        rest = [j for j in range(4) if j != i]
        moved = np.zeros(4)
        moved[i] = -best[i]
        moved[rest] = np.linalg.solve(fisher[np.ix_(rest, rest)], fisher[rest, i] * best[i])
        assert float(found[i]) == pytest.approx(moved @ fisher @ moved / 2)


def test_pruning_drops_the_least_of_what_is_kept_and_never_regrows() -> None:
    mask = torch.tensor([True, False, True, True, True])
    assert concepts.pruned(mask, row(3.0, 9.0, 1.0, 2.0, 5.0), 0.6).tolist() == [True, False, False, False, True]
    assert concepts.pruned(mask, row(3.0, 9.0, 1.0, 2.0, 5.0), 0.1).tolist() == mask.tolist()


def test_edits_by_hand() -> None:
    mask = torch.tensor([True, True, True, False, False, False])
    weights, gradient = row(1.0, 2.0, 4.0, 1.0, 3.0, -2.0), row(0.5, -2.0, 0.1, 1.0, -1.0, 2.5)
    # g W: 0.5, -4, 0.4, 1, -3, -5. Published: the smallest kept is the third, the largest dropped the sixth
    assert concepts.edited(mask, weights, gradient, 1).tolist() == [True, True, False, False, False, True]
    # signed: dropping the first lowers the loss most (0.5), regrowing the sixth (5), then the fifth (3)
    signed = functools.partial(concepts.edited, mask, weights, gradient, rule="signed")
    assert signed(1).tolist() == [False, True, True, False, False, True]
    assert signed(2).tolist() == [False, True, False, False, True, True]
    # of -3 and -5 the fifth is rarer: -3 / 0.1 before -5 / 10; of 0.5 / 10 and 0.4 / 0.1 the third is dropped
    usual = row(10.0, 10.0, 0.1, 10.0, 0.1, 10.0)
    specific = concepts.edited(mask, weights, gradient, 1, "specific", usual=usual)
    assert specific.tolist() == [True, True, False, False, True, False]
    for seed in range(5):
        chance = concepts.edited(mask, weights, gradient, 2, "random", seed)
        assert int(chance.sum()) == 3 and int((chance != mask).sum()) == 4
    with pytest.raises(ValueError, match="count: a whole number from 0 to 3, got 4"):
        concepts.edited(mask, weights, gradient, 4)
    with pytest.raises(ValueError, match="usual: the gradient's usual size, got none"):
        concepts.edited(mask, weights, gradient, 1, "specific")


def test_edit_by_size_may_raise_the_loss_that_the_edit_by_sign_lowers() -> None:
    mask, weights = torch.tensor([True, False, False]), row(1.0, 2.0, 1.0)
    gradient = row(0.1, 3.0, -1.0)  # regrowing the second adds 6 to the loss, the third takes 1
    assert concepts.edited(mask, weights, gradient, 1).tolist() == [False, True, False]
    assert concepts.edited(mask, weights, gradient, 1, "signed").tolist() == [False, False, True]


def test_overlap_by_hand() -> None:
    one, two = torch.tensor([True, True, False, False]), torch.tensor([True, False, True, False])
    assert concepts.overlap(one, two) == pytest.approx(1 / 3)
    assert concepts.overlap(one, one) == 1.0 and concepts.overlap(~(one | ~one), ~(one | ~one)) == 1.0


# ---- the monitor -----------------------------------------------------------------------------------------------------


def test_each_concept_uses_its_own_mask_and_the_label_only_concepts() -> None:
    monitor = concepts.Monitor(["a", "b"], inputs=3, width=5, seed=1)
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    before, _ = monitor.forward(x)
    monitor.masks[1] = False
    after, label = monitor.forward(x)
    assert torch.equal(before[:, 0], after[:, 0])
    w = monitor.weights
    w1 = torch.relu(x @ w["W1"])
    assert torch.allclose(after[:, 0], torch.relu(w1 @ w["W2"]) @ w["heads"][0], atol=1e-6)
    assert (after[:, 1] == 0.0).all()  # nothing of the network is left to it
    assert torch.allclose(label, after @ w["label"] + w["d"])


def test_gradients_are_of_each_concepts_own_loss() -> None:
    made = learned(0)
    monitor, case = made.sparse, concepts.Cases(*(part[:1] for part in made.test))
    found = monitor.gradients(case, batches=1, size=1)[:, 0]
    used = monitor.masks * monitor.flat()
    place = int(found[1].abs().argmax())

    def loss(shift: float) -> np.ndarray[Any, Any]:
        moved = used.clone()
        moved[1, place] += shift
        logits, _ = monitor.forward(torch.from_numpy(case.x), moved)
        sign = np.where(case.concepts[0], 1.0, -1.0)
        return np.log1p(np.exp(-sign * logits[0].double().numpy()))

    step = 1e-2
    difference = (loss(step) - loss(-step)) / (2 * step)
    assert difference[1] == pytest.approx(float(found[1, place]), rel=0.05, abs=1e-4)
    assert difference[[0, 2]].tolist() == [0.0, 0.0]


def test_sparse_parts_differ_and_each_is_needed_by_its_concept() -> None:
    made = learned(0)
    assert min(made.sparse.sparsity) >= 0.749 and made.dense.sparsity == [0.0] * 3
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert concepts.overlap(made.sparse.masks[i], made.sparse.masks[j]) < 0.9
    own, swapped = made.sparse.accuracy(made.test), made.sparse.accuracy(made.test, made.sparse.masks.roll(1, 0))
    assert all(swapped[name] < own[name] for name in NAMES)
    assert np.mean([own[name] - swapped[name] for name in NAMES]) > 0.03


def test_mending_exchanges_few_weights_of_one_concept_for_one_case() -> None:
    made = learned(0)
    kept = made.sparse.masks.clone()
    masks = made.sparse.mended(made.test.x[0], "fair", True, ratio=0.001)
    size = kept.shape[1]
    assert torch.equal(made.sparse.masks, kept) and torch.equal(masks[[0, 2]], kept[[0, 2]])
    assert int((masks[1] != kept[1]).sum()) == 2 * round(0.001 * size) and int(masks[1].sum()) == int(kept[1].sum())
    with pytest.raises(KeyError, match="concept: one of compliant, fair, efficient, got 'kind'"):
        made.sparse.mended(made.test.x[0], "kind", True)


def test_a_trial_says_what_was_mended_and_how_much_was_edited() -> None:
    made = learned(0)
    found = concepts.trial(made.sparse, made.test, most=12)
    size = made.sparse.masks.shape[1]
    assert found["errors"] == 12 and found["edited"] == pytest.approx(2 * round(0.001 * size) / size)
    assert 0.3 < found["fixed"] <= 1.0 and abs(found["collateral"]) < 0.1
    none = concepts.trial(made.sparse, concepts.Cases(*(part[:0] for part in made.test)))
    assert none["errors"] == 0 and np.isnan(none["edited"])


def test_save_and_load(tmp_path: Path) -> None:
    made = learned(0)
    made.sparse.save(tmp_path / "monitor.safetensors")
    again = concepts.Monitor.load(tmp_path / "monitor.safetensors")
    assert again.concepts == tuple(NAMES) and torch.equal(again.masks, made.sparse.masks)
    for one, two in zip(again.judge(made.test.x), made.sparse.judge(made.test.x), strict=True):
        assert (one == two).all()
    assert torch.equal(again.mended(made.test.x[0], "fair", True), made.sparse.mended(made.test.x[0], "fair", True))


def test_explanation_adds_up_to_the_verdict() -> None:
    made = learned(0)
    told = concepts.explain(made.sparse, np.array([100, 1, 0, 0, 0, 0, 0, 0, 0, 20], dtype=np.float32))
    assert told.startswith("not compliant (chance 0.0") and "so not accepted" in told
    numbers = [float(part.split(")")[0]) for part in told.split("adds ")[1:]]
    total, start = told.split("log-odds ")[1].removesuffix(" to begin with)").split(" with ")
    assert sum(numbers) + float(start) == pytest.approx(float(total), abs=0.03)


def test_veto_keeps_the_stock() -> None:
    made = learned(0)
    fair = create("policies", "scripted", character="fair")
    free = play(GAME, {"fisher": TEMPTED}, worlds=100, seed=9)
    watched = concepts.wrap(TEMPTED, made.sparse, ["compliant"], instead=fair)
    under = play(GAME, {"fisher": watched}, worlds=100, seed=9)
    assert under.measures["overuse"].mean() < 0.25 * free.measures["overuse"].mean()
    assert under.welfare.mean() > 1.2 * free.welfare.mean()
    # who keeps clear of the limit is let through; at the limit itself the monitor errs
    careful = Callable(lambda seen: {"harvest": seen["stock"] // 2 // 5 - 3}, batched=True)
    alone, watched = (
        play(GAME, {"fisher": policy}, worlds=5, seed=9)
        for policy in (careful, concepts.wrap(careful, made.sparse, ["compliant"]))
    )
    assert watched.welfare.mean() >= 0.95 * alone.welfare.mean()
    with pytest.raises(KeyError, match="concept: one of"):
        concepts.wrap(careful, made.sparse, ["kind"])


def test_the_examiner_passes_what_acts() -> None:
    made, fair = learned(0), create("policies", "scripted", character="fair")
    for policy in (TEMPTED, concepts.wrap(TEMPTED, made.sparse, ["compliant", "fair"], instead=fair)):
        check_policy(policy, GAME, "fisher", worlds=16)
    check_policy(concepts.Varied(), create("games", "Ultimatum"), "proposer", worlds=16)


# ---- what it is good for -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_five_seeds_of_sparsity_and_of_mending_with_an_oracles_feedback() -> None:
    costs, fixed, collateral = [], {}, []  # type: ignore[var-annotated]
    for seed in range(5):
        made = learned(seed)
        dense, sparse = made.dense.accuracy(made.test), made.sparse.accuracy(made.test)
        costs.append([dense[name] - sparse[name] for name in (*NAMES, "label")])
        for rule in concepts.EDITS:
            found = concepts.trial(made.sparse, made.test, rule=rule, most=40, seed=seed)
            fixed.setdefault(rule, []).append(found["fixed"])
            if rule == "specific":
                collateral.append(found["collateral"])
                assert found["label_after"] >= found["label_before"] - 0.05
    assert np.max(costs) <= 0.03
    assert np.mean(fixed["specific"]) >= 3 * np.mean(fixed["random"])
    assert all(a > b for a, b in zip(fixed["specific"], fixed["random"], strict=True))
    assert np.mean(collateral) > -0.02
    assert np.mean(fixed["published"]) < np.mean(fixed["specific"])  # sizes without signs
