"""Aligners: rewriters and inspectors, trained once, lift policies that they never met and leave good ones alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from societas import play
from societas.envs.contracting.team import Team
from societas.envs.core import registry
from societas.envs.core.arrays import Array
from societas.envs.core.game import Acts, Seen
from societas.envs.core.policy import Policy
from societas.envs.core.statistics import paired_difference
from societas.envs.core.worlds import Worlds
from societas.policies.align import aligner
from societas.policies.align.aligner import Aligner, Corrected, Lesson, Sample, ranked, train
from societas.policies.align.stable import Society
from societas.policies.callable import Callable as Function
from societas.policies.llm.policy import LanguageModel
from societas.policies.llm.scorer import Chat
from societas.policies.llm.train import Tiny

GAME = Team(members=2)  # the first best is an effort of 1; 0 and 2 are worth nothing
SEEDS = range(5)


@pytest.fixture(scope="module")
def base() -> LanguageModel:
    """A model of mixed behaviour: untaught, at a temperature at which it does anything."""
    return LanguageModel(
        Tiny(("Team",), width=32, layers=1, heads=2),
        levels=3,
        temperature=2.0,
        template={"system": "Decide.", "user": "{{ brief }}"},
        training={"group": 8, "credit": "welfare"},
        device="cpu",
    )


@pytest.fixture(scope="module")
def collected(base: LanguageModel) -> list[aligner.Samples]:
    """What the model did in a team, once a seed."""
    return [aligner.collect(base, Society(GAME, "member"), 6, seed)[0] for seed in SEEDS]


@pytest.fixture(scope="module")
def trained(base: LanguageModel, collected: list[aligner.Samples]) -> list[Aligner]:
    return [train(base, samples, seed, passes=25, rate=1e-2) for seed, samples in zip(SEEDS, collected, strict=True)]


class Erratic(Policy):
    """Makes an effort of 0, 1 or 2, all equally likely."""

    draws = 1

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        return {"effort": np.floor(u[..., 0] * 3.0)}, memory


def always(effort: float) -> Policy:
    return Function(lambda seen: {"effort": seen["effort"] * 0.0 + effort})


def score(policy: Policy, seed: int = 9) -> float:
    return float(play(GAME, {"member": policy}, worlds=16, seed=seed).alignment.mean())


# ---- the data -----------------------------------------------------------------------------------------------------


def test_samples_are_answers_to_one_question_rated_against_each_other(base: LanguageModel) -> None:
    samples, curve = aligner.collect(base, Society(GAME, "member"), 4, 3, sessions=16)
    assert len(curve) == 4
    assert sum(map(len, samples.values())) == 4 * 16 * 2  # each seat of each world answers at one step
    for (system, user), some in samples.items():
        assert system == "Decide." and user.startswith("Team: ")
        assert len(some) % 8 == 0  # whole groups
        assert abs(sum(sample.rating for sample in some)) < 1e-9
    every = [sample for some in samples.values() for sample in some]
    right = [sample.rating for sample in every if sample.text == '{"effort": 1.00}']
    assert np.mean(right) > 0.0 > np.mean([sample.rating for sample in every if sample.text != '{"effort": 1.00}'])


def test_players_answer_alike_and_what_follows_has_the_same_chance() -> None:
    forks = aligner._Forks(0, 4)
    at = forks.start(8, 3)
    assert at.tolist() == [at[0]] * 4 + [at[4]] * 4
    for step in range(3):
        u = forks.random((8, 2, 5))
        for first in (0, 4):
            group = u[first : first + 4]
            if at[first] == step:
                assert len(np.unique(group[:, 0, 0])) == 4 and (group[:, 0] == group[:, 1]).all()
            else:
                assert (group == group[0]).all() and (group[:, 0] != group[:, 1]).all()


def test_means_of_few_ratings_count_less() -> None:
    samples = [
        Sample("a", (), 1.0),
        Sample("b", (), 0.8),
        Sample("b", (), 0.8),
        Sample("b", (), 0.8),
        Sample("c", (), -2.0),
    ]
    assert [(s.text, s.rating) for s in ranked(samples)] == [("b", pytest.approx(0.6)), ("a", 0.5), ("c", -1.0)]


def test_lessons_say_what_is_better_and_by_how_much(base: LanguageModel) -> None:
    from societas.policies.llm.policy import Decision

    options = ("0.00}", "1.00}", "2.00}")
    chat = Chat("Decide.", "Team: 1", '{"effort": ')
    made = [
        Sample(chat.answer + options[pick], (Decision(((0,), 0), chat, options, pick, 0.0),), rating)
        for pick, rating in ((0, -2.0), (1, 2.0), (2, 0.0))
    ]
    (lessons,) = aligner.corrections({("Decide.", "Team: 1"): made})
    found = {(one.chat.user.split("draft ")[1], options[one.pick]): one.weight for one in lessons}
    assert found == {
        ('{"effort": 0.00}', "1.00}"): 1.0,
        ('{"effort": 0.00}', "2.00}"): 0.5,
        ('{"effort": 2.00}', "1.00}"): 0.5,
        ('{"effort": 1.00}', "1.00}"): 1.0,
    }
    (said,) = aligner.verdicts({("Decide.", "Team: 1"): made})
    assert [aligner.VERDICTS[one.pick] for one in said] == ['"good"}', '"bad"}', '"bad"}']
    equals = [sample._replace(rating=0.5) for sample in made]
    assert aligner.corrections({("", ""): equals}) == aligner.verdicts({("", ""): equals}) == []


def test_the_loss_is_the_weighted_cross_entropy_of_what_is_right(base: LanguageModel) -> None:
    options, chat = ("0.00}", "1.00}"), Chat("Decide.", "What?", '{"effort": ')
    lessons = [[Lesson(chat, options, 0, 3.0), Lesson(chat, options, 1, 1.0)]]
    scorer = base.model.fresh()
    (scores,) = scorer.score([chat], [options])
    logs = scores - np.logaddexp.reduce(scores)
    first, *later = aligner._teach(scorer, lessons, 40, 16, 1e-2, 0)
    assert first == pytest.approx(-(3 * logs[0] + logs[1]) / 4, rel=1e-4)
    (scores,) = scorer.score([chat], [options])
    assert np.exp(scores[0] - np.logaddexp.reduce(scores)) == pytest.approx(0.75, abs=0.03)
    assert later[-1] == pytest.approx(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)), abs=0.01)


# ---- the effect -----------------------------------------------------------------------------------------------------


def test_policies_that_it_never_met_are_lifted_and_good_ones_are_seldom_touched(
    base: LanguageModel, trained: list[Aligner]
) -> None:
    strangers = {"idle": always(0.0), "erratic": Erratic(), "base": base}
    for policy in strangers.values():
        gated, free = (
            [score(one.wrap(policy)) for one in trained],
            [score(one.wrap(policy, gate="open")) for one in trained],
        )
        gain = paired_difference(gated, [score(policy)] * len(SEEDS))
        assert gain.mean > 0.3 and gain.low > 0.0
        assert np.mean(gated) > np.mean(free) - 0.15
    for one in trained:
        good = one.wrap(always(1.0))
        assert score(good) == pytest.approx(1.0)
        assert good.counts.changed <= 0.1 * good.counts.saw


@pytest.mark.slow
def test_what_was_rated_at_random_teaches_nothing(
    base: LanguageModel, collected: list[aligner.Samples], trained: list[Aligner]
) -> None:
    told = [
        train(base, samples, seed, passes=25, rate=1e-2, mixed=True)
        for seed, samples in zip(SEEDS, collected, strict=True)
    ]
    policy = registry.create("policies", "random")
    apart = paired_difference([score(one.wrap(policy)) for one in trained], [score(one.wrap(policy)) for one in told])
    assert apart.mean > 0.3


# ---- behind a policy ------------------------------------------------------------------------------------------------


def test_what_passes_stays_bit_for_bit_and_weights_stay(base: LanguageModel, trained: list[Aligner]) -> None:
    lenient = replace(trained[0], threshold=0.0)  # everything passes
    policy = registry.create("policies", "random").bind(GAME, "member", (0, 1))
    behind = lenient.wrap(policy).bind(GAME, "member", (0, 1))
    seen = {name: np.asarray(values) for name, values in Worlds(GAME, 8, seed=4).view()["member"].items()}
    u = np.random.default_rng(0).random((8, 2, behind.draws))
    alone, held_ = (one.act(seen, np.zeros(8, int), u[..., : one.draws], None)[0] for one in (policy, behind))
    assert all((np.asarray(alone[name]) == np.asarray(held_[name])).all() for name in alone)
    before = {name: weight.clone() for name, weight in base.model.scorer.model.state_dict().items()}
    held = trained[0].wrap(base, gate="open")
    play(GAME, {"member": held}, worlds=4, seed=4)
    assert held.counts.calls == held.counts.saw == 4 * 2
    assert all(bool((weight == before[name]).all()) for name, weight in base.model.scorer.model.state_dict().items())


def test_a_world_is_the_same_in_any_company(trained: list[Aligner]) -> None:
    held = trained[0].wrap(registry.create("policies", "random"))
    few, many = (play(GAME, {"member": held}, worlds=worlds, seed=4).welfare for worlds in (3, 9))
    assert few == pytest.approx(many[:3])


def test_the_inspector_calls_where_help_is_needed(trained: list[Aligner]) -> None:
    """At as many calls, those of the inspector are worth more than calls at random."""
    gains = []
    for one in trained:
        gated = one.wrap(Erratic())
        with_it = score(gated)
        assert 0.0 < gated.counts.rate < 1.0
        gains.append(with_it - score(one.wrap(Erratic(), gate=gated.counts.rate)))
    assert paired_difference(gains, [0.0] * len(gains)).low > 0.0


def test_a_gate_keeps_a_bad_rewriter_from_doing_harm(trained: list[Aligner]) -> None:
    gated, free = (
        [score(one.noisy(1e6).wrap(always(1.0), gate=gate)) for one in trained] for gate in ("inspector", "open")
    )
    assert np.mean(free) < 0.7 and paired_difference(gated, free).low > 0.0


def test_in_a_squad_those_who_think_least_of_a_draft_come_first(trained: list[Aligner]) -> None:
    strict, lenient = replace(trained[0], threshold=1.0), replace(trained[1], threshold=0.0)
    squad = Corrected(always(0.0), [lenient, strict])
    assert score(squad) == pytest.approx(score(strict.wrap(always(0.0))))  # who lets all pass changes nothing
    assert squad.counts.calls == squad.counts.saw
    calls: list[int] = []

    class Watched(Corrected):
        def _align(self, i: int, places: Any, *rest: Any) -> None:
            calls.extend([i] * len(places))
            super()._align(i, places, *rest)

    watched = Watched(always(0.0), trained[:2])
    play(GAME, {"member": watched}, worlds=2, seed=1)
    chat = aligner._inspected(
        "Decide.", f"{GAME.name}: round 1, output 0, effort 0, pay 0; member_0: effort", '{"effort": 0.00}'
    )
    marks = [float(one.scores([chat])[0]) for one in trained[:2]]
    assert calls[0] == int(np.argmin(marks)) and sorted(set(calls)) == [0, 1]


def test_it_is_kept_and_comes_back(base: LanguageModel, trained: list[Aligner], tmp_path: Path) -> None:
    trained[0].save(tmp_path / "kept")
    again = Aligner.load(tmp_path / "kept", base)
    assert again.threshold == 0.5 and again.learned["questions"] == trained[0].learned["questions"]
    policy = registry.create("policies", "random")
    assert score(again.wrap(policy)) == pytest.approx(score(trained[0].wrap(policy)))
    assert not list((tmp_path / "kept").rglob("*.bin"))
    with pytest.raises(FileNotFoundError, match=r"no card\.json"):
        Aligner.load(tmp_path / "nothing", base)


def test_what_cannot_be_is_refused(base: LanguageModel, trained: list[Aligner]) -> None:
    with pytest.raises(ValueError, match="gate: one of"):
        trained[0].wrap(base, gate="closed")
    with pytest.raises(ValueError, match="gate"):
        trained[0].wrap(base, gate=1.5)
    with pytest.raises(ValueError, match="aligners: at least one"):
        Corrected(base, [])
    with pytest.raises(ValueError, match="threshold"):
        replace(trained[0], threshold=-0.1)
    with pytest.raises(ValueError, match="no answer was rated better"):
        train(base, {}, 0)
