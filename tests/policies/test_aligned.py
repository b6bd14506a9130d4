"""Aligned models by name: fitted once and found again, in several societies by turns, and refused before anything is learned."""

from __future__ import annotations

import collections
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import societas
from societas.experiments import spec as specs
from societas.policies.align import aligned, merge, scenarios, stable, substrate
from societas.policies.align.aligned import FREE, METHODS, Aligned
from societas.policies.align.controllable import Controllable
from societas.policies.align.stable import Society
from societas.policies.company import Company
from societas.policies.llm.policy import LanguageModel
from societas.policies.llm.train.learning import _Learner

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
torch.set_num_threads(1)

LEARNERS = [name for name in METHODS if name not in FREE]
TEAM = scenarios.scenario("team", "none", scenarios.HELD_OUT["team"])
QUICK: dict[str, Any] = {"episodes": 2, "sessions": 4}


@pytest.fixture(autouse=True)
def cache(little_substrate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of one's own in which the little substrate is; models are aligned in what it has read of."""
    (tmp_path / "substrate").symlink_to(little_substrate, target_is_directory=True)
    monkeypatch.setenv("SOCIETAS_CACHE", str(tmp_path))
    scenes = json.loads((little_substrate / "card.json").read_text(encoding="utf-8"))["scenes"]
    few = {label: where for label, where in substrate.schools().items() if label in scenes}
    monkeypatch.setattr(substrate, "schools", lambda: few)
    return tmp_path


def fitted(method: str = "stable", seed: int = 0, **given: Any) -> LanguageModel:
    options = {"training": {"group": 4}, **{k: v for k, v in given.items() if k not in QUICK}}
    times = {**QUICK, **{k: v for k, v in given.items() if k in QUICK}}
    return Aligned(method, **options).learn(TEAM, "member", seed=seed, **times)


def weights(policy: LanguageModel) -> Any:
    return torch.cat([w.detach().flatten() for w in policy.scorer.model.parameters()])  # type: ignore[attr-defined]


def folders(cache: Path) -> set[str]:
    return {path.name for path in (cache / "aligned").iterdir()} if (cache / "aligned").is_dir() else set()


# ---- kept fits ----------------------------------------------------------------------------------------------------


def test_what_was_fitted_is_found_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fitted()
    (name,) = folders(cache)
    assert name.startswith("stable-") and not torch.equal(weights(first), weights(aligned.base()))
    (cache / "aligned" / name).rename(cache / "aligned" / "elsewhere")
    anew = fitted()  # nothing to find: learned once more
    assert folders(cache) == {name, "elsewhere"}
    files = [(cache / "aligned" / f / "model.safetensors").read_bytes() for f in (name, "elsewhere")]
    assert files[0] == files[1] and anew.curve == first.curve and len(anew.curve) == QUICK["episodes"]

    def never(*_: Any, **__: Any) -> LanguageModel:
        raise AssertionError("learned again")

    monkeypatch.setitem(METHODS, "stable", (never, {}))
    found = fitted()
    assert torch.equal(weights(found), weights(anew)) and found.curve == first.curve


def test_whatever_decides_a_fit_is_in_its_name(cache: Path) -> None:
    """Another seed, budget, number of worlds, option or way of training; and another model of the same name."""
    policy = Aligned("stable", training={"group": 4})
    (cache / "other").mkdir()
    names = {policy._folder(2, 4, 0)}
    names |= {policy._folder(*other) for other in ((2, 4, 1), (3, 4, 0), (2, 8, 0))}
    for given in (
        {"options": {"strength": 5.0}},
        {"training": {"group": 4, "rate": 1e-3}},
        {"model": str(cache / "other")},
    ):
        names.add(Aligned("stable", **{"training": {"group": 4}, **given})._folder(2, 4, 0))
    names.add(Aligned("shuffled", training={"group": 4})._folder(2, 4, 0))
    again = Aligned("stable", training={"group": 4}, options={})._folder(2, 4, 0)
    assert len(names) == 8 and again in names
    card = (cache / "substrate" / "card.json").read_text(encoding="utf-8")
    (cache / "substrate").unlink()
    (cache / "substrate").mkdir()
    (cache / "substrate" / "card.json").write_text(card.replace('"seed": 0', '"seed": 1'), encoding="utf-8")
    assert policy._folder(2, 4, 0) not in names


def test_what_is_requested_is_no_part_of_a_fit(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    once: dict[str, Any] = {"episodes": 1, "controls": ["others", "own"]}
    most, least = (fitted("controllable", options=once | given) for given in ({}, {"request": {"own": 0, "others": 1}}))
    assert len(folders(cache)) == 1 and torch.equal(weights(most), weights(least))
    assert isinstance(most, Controllable) and isinstance(least, Controllable)
    assert most.request == {"others": 4} and least.request == {"own": 0, "others": 1}
    assert most.scale.low.shape == (3, 3)  # what levels mean, in each society
    assert len(most.curve) == QUICK["episodes"]
    monkeypatch.setattr(_Learner, "play", lambda *_, **__: pytest.fail("it plays"))
    for options in (once, {}):  # kept already, and still to be learned
        with pytest.raises(ValueError, match=r"request\.others: .*from 0 to 4, got 5"):
            fitted("controllable", options=options | {"request": {"others": 5}})
        with pytest.raises(ValueError, match="request: one of 'others'.*, got 'equality'"):  # it learned no such thing
            fitted("controllable", options=options | {"request": {"equality": 1}})


def test_another_seed_is_another_fit(cache: Path) -> None:
    one, other = fitted(seed=0), fitted(seed=1)
    assert len(folders(cache)) == 2 and not torch.equal(weights(one), weights(other))


def test_of_two_that_fit_at_once_the_first_is_kept_and_both_play_with_it(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, inner = METHODS["stable"][0], dict[str, Any]()

    def racing(*given: Any, **named: Any) -> LanguageModel:
        mine = fit(*given, **named)
        if not inner:  # before it can be kept, another process fits the same and keeps it
            inner["other"] = None
            inner["other"] = fitted()
        return mine

    monkeypatch.setitem(METHODS, "stable", (racing, {}))
    late = fitted()
    (name,) = folders(cache)
    assert late.adapter == inner["other"].adapter == cache / "aligned" / name
    assert torch.equal(weights(late), weights(inner["other"]))


def test_a_fit_that_cannot_be_kept_is_an_error_and_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError("no room")

    monkeypatch.setattr(aligned.os, "replace", full)
    with pytest.raises(OSError, match="no room"):
        fitted()
    assert folders(cache) == set()


# ---- every method -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_every_method_plays_where_it_was_not_fitted(method: str) -> None:
    once = {"passes": 1} if method == "retriever" else {}
    policy = fitted(method, episodes=3, options=once)  # once in each society
    done = societas.play(TEAM, {"member": policy}, worlds=3, seed=1)
    assert np.isfinite(done.alignment).all()
    assert bool(len(policy.curve)) == (method not in FREE or method == "drpo")
    if method not in ("aligner", "modulo"):  # which stand before a policy and leave its weights alone
        changed = not torch.equal(weights(policy), weights(aligned.base()))
        assert changed == (method not in FREE)


def test_a_prompt_that_was_found_is_read_again(cache: Path) -> None:
    found, again = (fitted("drpo", episodes=1) for _ in range(2))
    assert len(folders(cache)) == 1 and again.learned == json.loads(json.dumps(found.learned))
    assert (found.examples, found.curve) == (again.examples, again.curve)
    returns = [societas.play(TEAM, {"member": who}, worlds=4, seed=2).returns["member"] for who in (found, again)]
    np.testing.assert_array_equal(*returns)


@pytest.mark.parametrize("method", FREE)
def test_who_changes_no_weights_need_not_learn(method: str, cache: Path) -> None:
    policy = Aligned(method, seed=3)
    found = [
        societas.play(TEAM, {"member": who}, worlds=4, seed=2).returns["member"]
        for who in (policy, policy.learn(TEAM, "member", episodes=1, seed=3), Aligned(method, seed=4))
    ]
    np.testing.assert_array_equal(found[0], found[1])
    assert method != "urial" or (found[0] != found[2]).any()  # other examples
    assert len(folders(cache)) == (2 if method == "drpo" else 0)  # what was searched for long is kept


def test_a_model_that_is_not_aligned_is_the_base() -> None:
    found = [
        societas.play(TEAM, {"member": who}, worlds=4, seed=2).returns["member"]
        for who in (Aligned("none"), aligned.base())
    ]
    np.testing.assert_array_equal(*found)


def test_reinforcement_keeps_to_what_training_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """A weight of the Kullback-Leibler divergence needs a model that stays; the control permutes returns."""
    reinforce, seen = _Learner.reinforce, []

    def watched(learner: _Learner, left: float) -> float:
        seen.append((learner.training.method, learner.reference is not None, learner.training.shuffled, left))
        return reinforce(learner, left)

    monkeypatch.setattr(_Learner, "reinforce", watched)
    found = [
        weights(fitted("reinforced", training={"group": 4, **training}, options=options))
        for training, options in (({}, {}), ({"kl": 0.1}, {}), ({}, {"mixed": True}))
    ]
    assert seen[::2] == [("grpo", False, False, 1.0), ("grpo", True, False, 1.0), ("grpo", False, True, 1.0)]
    assert [left for *_, left in seen[1::2]] == [0.5] * 3
    assert not torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_a_merge_is_of_half_a_budget_each_and_its_weights_say_what_stays() -> None:
    """With 1 and 0 it is the model of the skill, with 0 and 1 the aligned one, each after half of the updates."""
    given: dict[str, Any] = {"episodes": 4, "training": {"group": 4}}
    skilled, alone = (fitted("merge", options={"a": a, "b": 1.0 - a}, **given) for a in (1.0, 0.0))
    base = aligned.base(group=4)
    assert torch.equal(weights(skilled), weights(merge.skilled(base, "advice", 2, 0, sessions=4)))
    assert torch.equal(weights(alone), weights(fitted("supervised", episodes=2)))
    half, control = (fitted("merge", options={"control": control}, **given) for control in (False, True))
    np.testing.assert_allclose(weights(half), (weights(skilled) + weights(alone)) / 2, atol=1e-6)
    kept = merge.merge(base, merge.skilled(base, "advice", 2, 0, sessions=4), fitted("supervised", episodes=2))
    assert torch.equal(weights(kept), weights(half))
    start = weights(aligned.base())
    norms = [float((2 * weights(each) - start - weights(skilled)).norm()) for each in (half, control)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-3) and not torch.equal(weights(half), weights(control))
    with pytest.raises(ValueError, match="skill: one of 'advice'"):
        fitted("merge", options={"skill": "cooking"}, **given)
    with pytest.raises(ValueError, match="budget: a whole number from 2"):
        fitted("merge", episodes=1)


# ---- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", LEARNERS)
def test_who_is_not_fitted_says_how(method: str) -> None:
    with pytest.raises(RuntimeError, match=r"not fitted yet; call learn\(game, role, episodes=budget\)"):
        societas.play(TEAM, {"member": Aligned(method)})


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"method": "magic"}, ValueError, "method: one of .*'stable'.*got 'magic'"),
        ({"seed": -1}, ValueError, "seed: a whole number from 0"),
        ({"options": {"kindness": 1}}, ValueError, "options: stable has no option 'kindness'; it takes: hinge, "),
        ({"method": "none", "options": {"kind": "x"}}, ValueError, "none has no option 'kind'; it takes: none"),
        (
            {"method": "urial", "options": {"cout": 3}},
            ValueError,
            "urial has no option 'cout'; it takes: .*count, kind",
        ),
    ],
)
def test_what_is_out_of_range_is_refused_when_it_is_made(given: dict[str, Any], error: Any, said: str) -> None:
    with pytest.raises(error, match=said):
        Aligned(**given)


def test_what_cannot_be_learned_is_refused_before_learning(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Learner, "play", lambda *_, **__: pytest.fail("it plays"))
    for given, said in (
        ({"sessions": 6}, r"sessions: a multiple of training.group \(4\), got 6"),
        ({"episodes": 0}, "budget: a whole number from 1"),
        ({"training": {"group": 4, "credit": "justice"}}, "credit: one of own, welfare, .*got 'justice'"),
        ({"training": {"rate": -1.0}}, "rate: "),
    ):
        with pytest.raises(ValueError, match=said):
            fitted(**given)
    assert folders(cache) == set()
    (cache / "substrate").unlink()
    for act in (lambda: Aligned().ready(), fitted):
        with pytest.raises(FileNotFoundError, match="make it once with: societas fetch substrate"):
            act()


# ---- several societies --------------------------------------------------------------------------------------------


def test_models_are_aligned_in_all_scenarios_of_training_and_in_none_of_the_examination(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    found = aligned.societies()
    assert len(found) == len(substrate.schools()) == 42
    for society, (name, under, players, known) in zip(found, substrate.schools().values(), strict=True):
        assert society.game is scenarios.scenario(name, under, players, known)
        assert society.role == scenarios.ROLES[name] and not society.others
        assert society.game.roles[0].count == players != scenarios.HELD_OUT[name]


def travelling(count: int = 4, **training: Any) -> _Learner:
    small = {"Tiny": {"games": ["Commons"], "width": 8, "layers": 1, "heads": 1, "vocabulary": 300}}
    base = LanguageModel(
        small,
        levels=4,
        temperature=10.0,  # so that it tries everything
        template=substrate.TEMPLATE,
        device="cpu",
        training={"group": 2, **training},
    )
    everywhere = [Society(scenarios.scenario("team", "none", n), "member") for n in range(2, 2 + count)]
    return stable.prepare(base, everywhere, 2, 5)


def test_every_society_is_visited_equally_often_in_an_order_drawn_anew() -> None:
    learner, rounds = travelling(), []
    for _ in range(12):
        visited = []
        for _ in range(4):
            learner.move()
            visited.append(learner.game.name + str(learner.game.roles[0].count))
        rounds.append(tuple(visited))
    assert all(len(set(visited)) == 4 for visited in rounds)
    assert set(collections.Counter(name for visited in rounds for name in visited).values()) == {12}
    assert len(set(rounds)) > 3
    again = travelling()
    for name in rounds[0]:
        again.move()
        assert again.game.name + str(again.game.roles[0].count) == name  # the seed decides


def test_wherever_it_is_it_is_one_model_that_learns() -> None:
    learner, seen = travelling(credit="welfare"), []
    for _ in range(4):
        before = [w.detach().clone() for w in learner.scorer.model.parameters()]
        rows, mean = stable.rated_play(learner, mixed=False)  # it goes on to the next, and plays there
        members = learner.game.roles[0].count
        assert learner.seats == tuple(range(members)) and {d.place[1] for d, _ in rows} == set(range(members))
        assert learner.player.scorer is learner.scorer and np.isfinite(mean)
        learner.reinforce(1.0)
        after = list(learner.scorer.model.parameters())
        seen.append(any(not torch.equal(a, b) for a, b in zip(before, after, strict=True)))
    assert all(seen)


def test_one_society_is_itself_and_none_is_refused() -> None:
    base = LanguageModel({"Tiny": {"width": 8, "layers": 1, "heads": 1}}, levels=4, training={"group": 2})
    society = Society(TEAM, "member")
    alone, listed = (stable.prepare(base, given, 2, 0) for given in (society, [society]))
    assert type(alone) is type(listed) is _Learner
    with pytest.raises(ValueError, match="society: at least one, got none"):
        stable.prepare(base, [], 2, 0)


# ---- in a spec ----------------------------------------------------------------------------------------------------


def test_the_spec_names_methods_and_options_that_there_are() -> None:
    plan = specs.load("agents-or-institutions")
    for name, entry in plan.policies.items():
        for player in entry.players.values():
            made = specs.build_policy(player, "none")
            assert isinstance(made, Company) and isinstance(made.most, Aligned) and isinstance(made.guests, Aligned)
            assert made.guests.method in FREE, name
            assert player.learning is not None and player.learning.sessions % aligned.TRAINING["group"] == 0


def test_in_company_it_is_fitted_and_its_guests_are_not(cache: Path) -> None:
    most, guests = Aligned("supervised", training={"group": 4}), Aligned("urial", options={"kind": "selfish"}, seed=1)
    company = Company(most, guests).learn(TEAM, "member", seed=2, **QUICK)
    assert {name.split("-")[0] for name in folders(cache)} == {"supervised"}
    assert len(company.curve) == 2
    done = societas.play(TEAM, {"member": company}, worlds=2, seed=3)
    assert np.isfinite(done.alignment).all()
