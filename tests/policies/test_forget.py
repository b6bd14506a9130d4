"""Forgetting: masks against their formulas, what each generation keeps and draws anew, and what comes back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from societas import play
from societas.envs.norms.lewis import Lewis, topographic_similarity
from societas.policies.align import stable
from societas.policies.align.forget import (
    KEPT,
    Schedule,
    Signallers,
    at_random,
    compare,
    earlier,
    everything,
    fit,
    forget,
    forgetful,
    largest,
    later,
    layered,
    many,
    networks_of,
    numbered,
    paired,
    through,
    untaught,
    usual,
)
from societas.policies.rl import PPO

Table = np.ndarray[Any, Any]

GAME = Lewis(values=3, vocabulary=3)
BOTH = ("sender", "receiver")


def pair(**told: Any) -> dict[str, PPO]:
    settings = {"hidden": (32,), "rate": 2e-2, "entropy": 0.1, "epochs": 2, "minibatches": 1, "device": "cpu"}
    return {name: PPO(**{**settings, **told}) for name in BOTH}


def accuracy(policies: dict[str, PPO]) -> float:
    return float(play(GAME, policies, worlds=900, seed=9).measures["accuracy"].mean())


def equal(one: dict[str, Table], other: dict[str, Table]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(v, other[name]) for name, v in one.items())


class Kept:
    """Keeps the weights at every moment."""

    def __init__(self) -> None:
        self.moments: list[dict[str, dict[str, Table]]] = []

    def __call__(self, policies: dict[str, PPO]) -> dict[str, float]:
        self.moments.append({name: policy.weights for name, policy in policies.items()})
        return {"accuracy": accuracy(policies)}


# ---- masks --------------------------------------------------------------------------------------------------------


def test_only_what_the_networks_learn_is_masked() -> None:
    weights = untaught(GAME, pair(), 3)["sender"].weights
    masked = set(everything()(weights, 0))
    assert masked == {f"{net}.{part}.{i}" for net in ("actor", "critic") for part in ("weight", "bias") for i in (0, 1)}
    assert {"middle", "scale"} <= set(weights) - masked and set(networks_of(weights)) == masked


def test_the_largest_are_kept() -> None:
    weights = {"actor.weight.0": np.array([[[3.0, -5.0, 1.0], [0.5, -2.0, 4.0]]]), "scale": np.ones(2)}
    for keep, wanted in (
        (0.0, [[0, 0, 0], [0, 0, 0]]),
        (0.34, [[0, 1, 0], [0, 0, 1]]),
        (0.5, [[1, 1, 0], [0, 0, 1]]),
        (0.99, [[1, 1, 1], [0, 1, 1]]),
        (1.0, [[1, 1, 1], [1, 1, 1]]),
    ):
        found = largest(keep)(weights, 7)
        assert list(found) == ["actor.weight.0"]
        np.testing.assert_array_equal(found["actor.weight.0"], np.array([wanted], dtype=bool))


def test_of_those_alike_the_first_are_kept_and_a_tenth_of_ten_is_one() -> None:
    found = largest(0.3)({"critic.bias.1": np.zeros((1, 1, 10))}, 0)["critic.bias.1"]
    assert found.ravel().tolist() == [True] * 3 + [False] * 7
    for size in (10, 20, 64, 1000):
        assert largest(0.1)({"actor.bias.0": np.ones(size)}, 0)["actor.bias.0"].sum() == size // 10


def test_a_random_part_is_of_the_share_uniform_and_told_by_the_seed() -> None:
    weights = {"actor.weight.0": np.ones((1, 8, 5)), "actor.weight.1": np.ones((1, 8, 5))}
    masks = [at_random(0.3)(weights, seed) for seed in range(400)]
    assert all(mask[name].sum() == 12 and mask[name].shape == (1, 8, 5) for mask in masks for name in weights)
    share = np.mean([mask["actor.weight.0"] for mask in masks], axis=0)
    assert np.abs(share - 0.3).max() < 5 * math.sqrt(0.3 * 0.7 / 400)
    both = np.mean([mask["actor.weight.0"] & mask["actor.weight.1"] for mask in masks])
    assert both == pytest.approx(0.09, abs=0.01)  # one weight's part says nothing of another's
    assert equal(at_random(0.3)(weights, 5), masks[5]) and not equal(masks[5], masks[6])


def test_later_layers_are_forgotten_and_a_memory_below_them_is_kept() -> None:
    weights = untaught(GAME, pair(hidden=(8, 8), memory=4), 0)["sender"].weights
    for layer in (0, 1, 2):
        for name, kept in later(layer)(weights, 0).items():
            number = -1 if ".gru." in name else int(name[-1])
            assert kept.all() if number < layer else not kept.any(), name
    assert {"actor.gru.weight", "critic.weight.2"} <= set(later(0)(weights, 0))
    with pytest.raises(ValueError, match="layer: 0 to 2, the layers that there are, got 3"):
        later(3)(weights, 0)


def test_earlier_layers_are_what_later_ones_are_not() -> None:
    weights = untaught(GAME, pair(hidden=(8, 8), memory=4), 0)["sender"].weights
    for layer in (0, 1, 2):
        one, two = later(layer)(weights, 0), earlier(layer)(weights, 0)
        assert all((one[name] ^ two[name]).all() for name in one)
    assert not earlier(1)(weights, 0)["actor.gru.weight"].any()
    with pytest.raises(ValueError, match="layer: 0 to 2"):
        earlier(3)(weights, 0)


@pytest.mark.parametrize("rule", [largest, at_random])
@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_is_refused(rule: Any, share: float) -> None:
    with pytest.raises(ValueError, match="keep: a number from 0 to 1"):
        rule(share)


def test_what_is_not_kept_is_fresh() -> None:
    old, fresh = {"a": np.array([1.0, 2.0, 3.0]), "b": np.array([4.0])}, {"a": -np.ones(3), "b": -np.ones(1)}
    found = forget(old, {"a": np.array([True, False, True])}, fresh)
    assert found["a"].tolist() == [1.0, -1.0, 3.0] and found["b"].tolist() == [4.0]
    assert old["a"].tolist() == [1.0, 2.0, 3.0]
    with pytest.raises(ValueError, match=r"mask: a is \(2,\), the weights \(3,\)"):
        forget(old, {"a": np.array([True, False])}, fresh)
    with pytest.raises(ValueError, match="mask: c"):
        forget(old, {"c": np.array([True])}, fresh)


# ---- learning and forgetting in turn ------------------------------------------------------------------------------


def test_a_reset_receiver_is_fresh_and_the_sender_untouched() -> None:
    kept = Kept()
    budget: dict[str, Any] = {"generations": 3, "episodes": 120, "sessions": 128}
    found = fit(GAME, pair(), {"receiver": everything()}, **budget, measure=kept, seed=1)
    one, cleared, two, again, three = kept.moments
    assert equal(one["sender"], cleared["sender"]) and equal(two["sender"], again["sender"])
    assert not np.array_equal(cleared["receiver"]["actor.weight.0"], again["receiver"]["actor.weight.0"])
    for moment in (cleared, again):  # fresh: what nothing has been added to yet
        assert all((v == 0).all() for name, v in moment["receiver"].items() if ".bias." in name)
    assert not equal(two["sender"], one["sender"]) and equal(three["sender"], found.policies["sender"].weights)
    assert [(row["generation"], row["moment"], row["episodes"]) for row in found.rows] == [
        (1, "learned", 120),
        (2, "forgot", 120),
        (2, "learned", 240),
        (3, "forgot", 240),
        (3, "learned", 360),
    ]
    scores = [row["accuracy"] for row in found.rows]
    assert max(scores[1], scores[3]) < 0.35 and min(scores[0], scores[2], scores[4]) > 0.5  # chance is 1/9


def test_partial_forgetting_keeps_the_same_entries_every_time_and_draws_the_rest_anew() -> None:
    kept, start = Kept(), untaught(GAME, pair(), 5)
    fit(GAME, start, usual(*BOTH, 0.25)["partial balanced"], generations=3, episodes=15, sessions=64, measure=kept)
    one, first, two, second, _ = kept.moments
    for who in BOTH:
        mask = largest(0.25)(start[who].weights, 0)
        for name, stays in mask.items():
            assert stays.sum() == stays.size // 4
            for before, after in ((one, first), (two, second)):
                np.testing.assert_array_equal(before[who][name][stays], after[who][name][stays])
            if ".weight." in name:
                for before, after in ((one, first), (two, second), (first, second)):
                    assert (before[who][name][~stays] != after[who][name][~stays]).all()
        assert not equal(one[who], two[who])


def test_keeping_all_is_forgetting_nothing_bit_for_bit() -> None:
    budget: dict[str, Any] = {"generations": 2, "episodes": 8, "sessions": 32, "seed": 4}
    none = fit(GAME, pair(), {}, **budget).policies
    for rule in (largest(1.0), at_random(1.0)):
        kept = fit(GAME, pair(), dict.fromkeys(BOTH, rule), **budget).policies
        assert all(equal(none[who].weights, kept[who].weights) for who in BOTH)
    other = fit(GAME, pair(), {"sender": later(1)}, **budget).policies
    assert not equal(none["sender"].weights, other["sender"].weights)


def test_it_goes_on_from_what_was_learned_and_the_last_generation_may_be_longer() -> None:
    first = fit(GAME, pair(), {}, generations=1, episodes=10, sessions=32)
    kept = Kept()
    then = fit(GAME, first.policies, {"receiver": largest(0.5)}, generations=2, episodes=1, last=3, measure=kept)
    assert [row["episodes"] for row in then.rows] == [1, 1, 4]
    near = kept.moments[0]["sender"]["actor.weight.0"] - first.policies["sender"].weights["actor.weight.0"]
    fresh = untaught(GAME, pair(), 0)["sender"].weights["actor.weight.0"]
    assert 0 < np.abs(near).max() < 0.1 < np.abs(fresh - first.policies["sender"].weights["actor.weight.0"]).max()


def test_who_does_not_learn_cannot_forget() -> None:
    with pytest.raises(KeyError, match="no learner 'judge'; there are: sender, receiver"):
        fit(GAME, pair(), {"judge": everything()}, generations=1, episodes=1)


# ---- many at once -------------------------------------------------------------------------------------------------


def signallers(seeds: int = 2, candidates: int = 0, entropy: float = 0.0, held: int | None = None) -> Signallers:
    things = np.stack(np.unravel_index(np.arange(6), (3, 2)), axis=1)
    unseen = np.zeros((seeds, 6), dtype=bool)
    if held is not None:
        unseen[:, held] = True
    return Signallers(things, 3, 2, hidden=8, candidates=candidates, entropy=entropy, sets=2, held=unseen)


def stacked(pairs: Signallers, seeds: int) -> dict[str, dict[str, Any]]:
    torch = pytest.importorskip("torch")
    found = [pairs.fresh(seed, 0) for seed in range(seeds)]
    return {
        net: {k: torch.tensor(np.stack([one[net][k] for one in found])).float() for k in found[0][net]} for net in BOTH
    }


def chances(scores: Table) -> Table:
    odds = np.exp(scores - scores.max())
    return np.asarray(odds / odds.sum())


def layers(x: Table, weights: Any, seed: int, count: int) -> Table:
    for i in range(count):
        x = x @ weights[f"actor.weight.{i}"][seed].numpy() + weights[f"actor.bias.{i}"][seed].numpy()
        x = np.maximum(x, 0.0) if i < count - 1 else x
    return x


@pytest.mark.parametrize("candidates", [0, 6])
@pytest.mark.parametrize("entropy", [0.0, 0.3])
def test_the_loss_is_what_enumeration_gives(candidates: int, entropy: float) -> None:
    """With all objects as candidates nothing is drawn but their order."""
    pairs = signallers(candidates=candidates, entropy=entropy)
    networks = stacked(pairs, 2)
    for seed, found in enumerate(pairs.loss(networks, 0).tolist()):
        pay = wordy = doubt = 0.0
        for thing in range(6):
            colour, shape = pairs.objects[thing]
            said = layers(np.concatenate([np.eye(3)[colour], np.eye(2)[shape]]), networks["sender"], seed, 2).reshape(
                2, 3
            )
            symbols = [chances(row) for row in said]
            wordy -= sum(float((p * np.log(p)).sum()) for p in symbols) / 6
            for one in range(3):
                for two in range(3):
                    sent = symbols[0][one] * symbols[1][two]
                    heard = layers(np.concatenate([np.eye(3)[one], np.eye(3)[two]]), networks["receiver"], seed, 2)
                    if candidates:
                        seen = networks["receiver"]["actor.candidates.0"][seed].numpy()
                        read = chances(np.array([heard @ (seen[c] + seen[3 + s]) for c, s in pairs.objects]))
                    else:
                        parts = chances(heard[:3]), chances(heard[3:])
                        read = np.array([parts[0][c] * parts[1][s] for c, s in pairs.objects])
                    pay += sent * read[thing] / 6
                    doubt -= sent * float((read * np.log(read)).sum()) / 6
        assert found == pytest.approx(-pay - entropy * (wordy + doubt), abs=1e-5)


def test_candidates_are_drawn_of_what_is_met() -> None:
    """What is held out earns nothing and leaves no gradient: its own colour is in no other object's sum."""
    torch = pytest.importorskip("torch")
    things = np.arange(5)[:, None]
    held = np.array([[False, False, False, True, False]])
    pairs = Signallers(things, 5, 1, hidden=4, candidates=3, entropy=0.1, held=held)
    networks = stacked(pairs, 1)
    for weights in networks.values():
        for tensor in weights.values():
            tensor.requires_grad_()
    sum(pairs.loss(networks, step).sum() for step in range(20)).backward()  # type: ignore[union-attr]
    for net, name in (("sender", "actor.weight.0"), ("receiver", "actor.candidates.0")):
        slope = networks[net][name].grad[0].abs().sum(1)
        assert (slope == 0).tolist() == [False, False, False, True, False]
    words, found = pairs.read(networks)
    assert words.shape == (1, 5, 1) and found.shape == (1, 5)
    with pytest.raises(ValueError, match="candidates: "):
        Signallers(things, 5, 1, candidates=5, held=held)
    assert torch.isfinite(pairs.loss(networks, 0)).all()


def test_no_run_knows_of_the_others() -> None:
    part = dict.fromkeys(BOTH, largest(0.25))
    arms = {
        "none": Schedule({}),
        "partial": Schedule(part, anew=False),
        "reset": Schedule({"receiver": everything()}, 2),
    }

    def rows(names: list[str], seeds: range) -> dict[tuple[Any, ...], dict[str, Any]]:
        pairs, kept = signallers(len(seeds), 3, 0.1), []

        def measure(networks: Any) -> dict[str, Table]:
            kept.append(networks)
            return {
                name: (networks[net][name] ** 2).flatten(1).sum(1).numpy() for net in BOTH for name in networks[net]
            }

        found = many(
            pairs.fresh, pairs.loss, {name: arms[name] for name in names},
            seeds=seeds, generations=3, steps=5, last=7, rate=1e-2, measure=measure,
        )  # fmt: skip
        return {(row["arm"], row["seed"], row["generation"], row["moment"]): row for row in found}

    together = rows(list(arms), range(2))
    assert len(together) == 3 * 2 * 5
    assert [together["none", 0, g, "learned"]["episodes"] for g in (1, 2, 3)] == [5, 10, 17]
    for name in arms:
        for key, row in rows([name], range(1)).items():
            for what in set(row) - {"arm", "moment"}:
                assert row[what] == pytest.approx(together[key][what], rel=1e-4), what
    one, same = together["none", 0, 1, "learned"], together["reset", 0, 1, "learned"]
    assert {**one, "arm": ""} == {**same, "arm": ""}  # nothing is forgotten yet
    assert together["reset", 0, 2, "forgot"]["actor.weight.0"] == one["actor.weight.0"]  # every other generation alone


def test_what_is_kept_stays_and_moments_do_where_they_are_not_anew() -> None:
    torch = pytest.importorskip("torch")
    pairs, moments = signallers(1), []

    def measure(networks: Any) -> dict[str, Table]:
        moments.append({net: {k: v.clone() for k, v in networks[net].items()} for net in BOTH})
        return {}

    part = {"sender": largest(0.25)}
    arms = {"on": Schedule(part, anew=False), "anew": Schedule(part)}
    many(pairs.fresh, pairs.loss, arms, seeds=range(1), generations=2, steps=4, last=1, rate=1e-2, measure=measure)
    before, after, end = moments
    mask = largest(0.25)(pairs.fresh(0, 0)["sender"], 0)
    fresh = pairs.fresh(0, 2)["sender"]
    for name, stays in mask.items():
        wanted = np.where(stays, before["sender"][name][0].numpy(), fresh[name].astype(np.float32))
        np.testing.assert_array_equal(after["sender"][name][0].numpy(), wanted)
        assert torch.equal(after["sender"][name][0], after["sender"][name][1])
    moved = (end["receiver"]["actor.weight.1"] - after["receiver"]["actor.weight.1"]).abs()
    assert (
        float((moved[1] - 1e-2).abs().max()) < 1e-4 < float((moved[0] - 1e-2).abs().max())
    )  # a first step is of the rate


def test_layers_of_many_runs_are_those_of_each() -> None:
    torch = pytest.importorskip("torch")
    found = [layered((3, 4, 2), seed, 0, "net") for seed in (0, 1)]
    weights = {k: torch.tensor(np.stack([one[k] for one in found])) for k in found[0]}
    x = np.random.default_rng(0).standard_normal((5, 3))
    for seed in (0, 1):
        np.testing.assert_allclose(through(torch.tensor(x), weights)[seed].numpy(), layers(x, weights, seed, 2))
    assert np.abs(found[0]["actor.weight.1"]).max() <= 0.5 and not equal(found[0], found[1])
    assert equal(found[0], layered((3, 4, 2), 0, 0, "net")) and not equal(found[0], layered((3, 4, 2), 0, 1, "net"))


def test_many_says_what_it_needs() -> None:
    pairs = signallers(1)
    given: dict[str, Any] = {"seeds": range(1), "generations": 1, "steps": 1, "measure": lambda networks: {}}
    with pytest.raises(KeyError, match="'a' has a rule for 'judge'; there are: sender, receiver"):
        many(pairs.fresh, pairs.loss, {"a": Schedule({"judge": everything()})}, **given)
    with pytest.raises(ValueError, match=r"arms.a.every: "):
        many(pairs.fresh, pairs.loss, {"a": Schedule({}, 0)}, **given)


@pytest.mark.slow
def test_partial_forgetting_makes_codes_more_alike_to_what_they_mean() -> None:
    from societas.envs.core.statistics import interval
    from societas.experiments.claims.studies import lewis

    found = lewis(8, lambda share: None)
    assert interval(found["similarity, partial balanced - none"]).low > 0.0
    assert interval(found["accuracy, partial balanced - none"]).mean > -0.05
    assert (
        interval(found["similarity, full reset - none"]).mean
        < interval(found["similarity, partial balanced - none"]).mean
    )


# ---- comparing ----------------------------------------------------------------------------------------------------


def test_arms_of_a_seed_begin_alike_and_differences_are_paired() -> None:
    arms = usual(*BOTH)
    rows = compare(
        GAME, pair(), arms, measure=lambda p: {"right": accuracy(p)}, seeds=range(2), generations=2, episodes=20
    )
    assert len(rows) == len(arms) * 2 * 3
    for seed in range(2):
        begin = {
            row["right"] for row in rows if row["seed"] == seed and row["episodes"] == 20 and row["generation"] == 1
        }
        assert len(begin) == 1
    last = {(row["arm"], row["seed"]): row["right"] for row in rows if row["episodes"] == 40}
    wanted = [last["receiver reset", seed] - last["none", seed] for seed in range(2)]
    assert paired(rows, "right", "receiver reset", "none").tolist() == wanted
    with pytest.raises(ValueError, match="arm: 'full' is not among"):
        paired(rows, "right", "full", "none")


@pytest.mark.slow
def test_accuracy_comes_back_after_partial_forgetting() -> None:
    """Forgetting nine tenths costs most of the accuracy; a longer last generation brings it back."""
    game = Lewis()

    def measure(policies: dict[str, PPO]) -> dict[str, float]:
        right = play(game, policies, worlds=2048, seed=9).measures["accuracy"].mean()
        return {"accuracy": float(right), "similarity": topographic_similarity(game, policies["sender"])}

    arms = {name: rules for name, rules in usual(*BOTH).items() if name != "receiver reset"}
    learners = pair(hidden=(64,), activation="relu")
    rows = compare(game, learners, arms, measure=measure, seeds=range(2), generations=3, episodes=100, last=300)
    mine = [row for row in rows if row["arm"] == "partial balanced"]
    assert max(row["accuracy"] for row in mine if row["moment"] == "forgot") < 0.4
    assert paired(rows, "accuracy", "partial balanced", "none").mean() > -0.25


# ---- language models ------------------------------------------------------------------------------------------------

LITTLE: dict[str, Any] = {"games": ("Commons",), "seed": 3, "width": 16, "layers": 2, "heads": 2, "vocabulary": 300}
TRAINED = {"rate": 2e-3, "group": 4, "credit": "welfare"}


def little(**training: Any) -> Any:
    pytest.importorskip("transformers")
    pytest.importorskip("torch").set_num_threads(1)
    from societas.policies.llm.policy import LanguageModel
    from societas.policies.llm.train import Tiny

    told = {"system": "Decide.", "user": "{{ brief }}"}
    return LanguageModel(
        Tiny(**LITTLE).fresh(), levels=5, template=told, device="cpu", training={**TRAINED, **training}
    )


def team() -> Any:
    from societas.policies.align import scenarios
    from societas.policies.align.stable import Society

    return Society(scenarios.scenario("team", "none", 2), "member")


def learned_by(policy: Any) -> dict[str, Table]:
    return {name: weight.detach().numpy() for name, weight in policy.scorer.model.named_parameters()}


def test_layers_of_a_language_model_by_their_names() -> None:
    names = ["m.embed.weight", "m.layers.0.q.weight", "m.layers.1.q.weight", "m.norm.weight", "head.weight"]
    weights = {known: np.array([3.0, 1.0]) for known in numbered(names).values()}
    assert [int(mask.sum()) for mask in KEPT["later"](0.5, 2)(weights, 0).values()] == [2, 2, 0, 0, 0]
    assert [int(mask.sum()) for mask in KEPT["later"](1.0, 2)(weights, 0).values()] == [2, 2, 2, 0, 0]
    assert [mask.tolist() for mask in KEPT["largest"](0.5, 2)(weights, 0).values()] == [[True, False]] * 5


def test_one_generation_is_supervision_and_what_is_forgotten_is_pretrained(monkeypatch: pytest.MonkeyPatch) -> None:
    base, seen = little(), []
    before = learned_by(base)
    one = forgetful(base, team(), 2, 5, sessions=4, generations=1)
    right = stable.fit(base, team(), 2, 5, sessions=4, ratio=0.0)
    assert equal(learned_by(one), learned_by(right)) and one.curve == right.curve
    own = stable.fit

    def watched(student: Any, *given: Any, **options: Any) -> Any:
        seen.append({name: values.copy() for name, values in learned_by(student).items()})
        return own(student, *given, **options)

    monkeypatch.setattr(stable, "fit", watched)
    part = forgetful(base, team(), 2, 5, sessions=4, generations=2, what="largest", keep=0.25)
    assert equal(seen[0], before) and equal(learned_by(base), before)  # the base stays as it is
    back = 0
    for name, values in before.items():
        stays = largest(0.25)({f"actor.{name}": values}, 5)[f"actor.{name}"]
        assert np.array_equal(seen[1][name][~stays], values[~stays])
        back += int((seen[1][name][stays] != values[stays]).sum())
    assert back > 100  # of what stays, it goes on from what it had learned
    ((far, near),) = part.learned["forgotten"]
    assert 0.0 < near < far and len(part.curve) == len(part.learned["active"]) == 2 and len(seen) == 2
    none = forgetful(base, team(), 2, 5, sessions=4, generations=2, keep=1.0)
    assert none.learned["forgotten"][0][0] == none.learned["forgotten"][0][1] > 0.0
    assert not equal(learned_by(none), learned_by(part))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"generations": 5}, "generations"),
        ({"keep": 1.5}, "keep"),
        ({"what": "least"}, "what"),
        ({"ratio": -1.0}, "ratio"),
    ],
)
def test_a_forgetful_model_says_what_is_wrong(
    given: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stable, "rated_play", lambda *_: pytest.fail("played before it was checked"))
    with pytest.raises(ValueError, match=said):
        forgetful(little(), team(), 4, 0, sessions=4, **given)


def test_a_forgetful_model_learns_whole_weights() -> None:
    with pytest.raises(ValueError, match=r"training\.lora"):
        forgetful(little(lora={}), team(), 3, 0, sessions=4)
