"""Prompts searched for: aspects by hand, moves, the search against its controls where aspects part, weights unchanged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from societas.envs.core.episodes import Episodes, play
from societas.envs.core.registry import create
from societas.envs.core.statistics import paired_difference
from societas.policies.align import prompts, scenarios, substrate, urial
from societas.policies.align.prompts import ASPECTS, Prompt, chosen, fit, mattering, moved, relevant, wrap
from societas.policies.align.stable import Society
from societas.policies.llm.policy import LanguageModel
from societas.policies.llm.protocol import Answer
from societas.policies.llm.scorer import Chat

Table = np.ndarray[Any, Any]


def place(name: str, under: str = "none", held_out: bool = False) -> Society:
    players = scenarios.HELD_OUT[name] if held_out else scenarios.SIZES[name][0]
    return Society(scenarios.scenario(name, under, players), scenarios.ROLES[name])


class Copies:
    """Gives the answers of its examples to whatever asks for the same field, each in proportion, and any answer seldom.

    The least that learns in context: what an example says of one field moves nothing else.
    """

    def score(self, chats: Sequence[Chat], options: Sequence[Sequence[str]]) -> list[Table]:
        found = []
        for chat, some in zip(chats, options, strict=True):
            field = chat.answer.rsplit('"', 2)[-2]
            said = [json.loads(option.rstrip("}, ")) for option in some]
            shown = [json.loads(answer).get(field) for _, answer in chat.examples]
            weights = np.array([0.1 / len(some) + sum(value == one for one in shown) for value in said])
            found.append(np.log(weights / weights.sum()))
        return found


TOLD = {"harvest": (10, 50), "effort": (1.0, 0.4), "quantity": (0.3, 0.1), "consent": ("accept", "refuse")}
POOL = [(field, json.dumps({field: value})) for field, values in TOLD.items() for value in values]
"""What is better for all first, then what gains more at once, or binds nobody."""

ARENA = (("commons", "enforced"), ("team", "none"), ("market", "none"))
SMALL: dict[str, Any] = {"examples": POOL, "most": 4, "queries": 1, "worlds": 4}


def copies() -> LanguageModel:
    return LanguageModel(Copies(), levels=substrate.LEVELS, template=substrate.TEMPLATE)


# ---- aspects ------------------------------------------------------------------------------------------------------


def told(returns: Sequence[Sequence[float]], length: Sequence[int], **measures: Sequence[float]) -> Episodes:
    game = scenarios.scenario("commons", "none", 2)
    paid = np.asarray(returns, float)
    given = {name: np.asarray(values, float) for name, values in measures.items()}
    return Episodes(game, {"fisher": paid}, paid.sum(axis=1), np.asarray(length), given, [])


def test_aspects_by_hand() -> None:
    found = told([[30.0, 10.0], [0.0, 0.0]], [3, 6], agreed=[1.0, 1.0], breaches=[0.25, 1.0])
    best = found.game.benchmarks().first_best.value
    assert ASPECTS["equality"](found, "fisher") == pytest.approx(
        (0.5 + 1.0) / 2
    )  # 10 off a mean of 20; nobody has anything
    assert ASPECTS["gain"](found, "fisher") == pytest.approx(40.0 / best / 2)
    assert ASPECTS["compliance"](found, "fisher") == pytest.approx(0.75 / 2)
    assert ASPECTS["survival"](found, "fisher") == pytest.approx((3 / 6 + 6 / 6) / 2)
    assert ASPECTS["compliance"](told([[1.0, 1.0]], [6]), "fisher") == 0.0  # nobody agreed to anything


def test_aspects_lie_between_nothing_and_everything() -> None:
    for name in scenarios.GAMES:
        for under in scenarios.INSTITUTIONS:
            society = place(name, under)
            found = play(society.game, {society.role: create("policies", "random")}, worlds=4, seed=0)
            for aspect, of in ASPECTS.items():
                assert 0.0 <= of(found, society.role) <= 1.0, (name, under, aspect)


def test_what_matters_depends_on_the_situation() -> None:
    def rule(name: str, under: str) -> tuple[str, ...]:
        society = place(name, under)
        found = play(society.game, {society.role: create("policies", "random")}, seed=0)
        matters = mattering(found, society.role)
        assert matters == {aspect: ASPECTS[aspect](found, society.role) for aspect in chosen(found)}
        assert list(mattering(found, society.role, ["gain"])) == ["gain"]
        return tuple(matters)

    assert rule("team", "none") == rule("market", "talk") == ("welfare", "equality")
    assert rule("commons", "none") == ("welfare", "survival")
    assert rule("market", "text") == ("welfare", "compliance")
    assert rule("commons", "enforced") == ("welfare", "compliance", "survival")


# ---- prompts ------------------------------------------------------------------------------------------------------


def test_clauses_are_data_and_stand_after_the_systems_text() -> None:
    clause = 'Say {{ "no" }}, {% raw %} "é" \\ always.\nTwice \U0001f600.'
    asked: list[Chat] = []

    class Hears(Copies):
        def score(self, chats: Sequence[Chat], options: Sequence[Sequence[str]]) -> list[Table]:
            asked.extend(chats)
            return super().score(chats, options)

    society, shown = place("team"), (POOL[2],)
    for template, system in (
        (substrate.TEMPLATE, f"Decide. {clause}"),
        (None, f"{clause}\n\n{society.game.rules('member')}"),
    ):
        policy = wrap(LanguageModel(Hears(), levels=3, template=template), Prompt((clause,), shown))
        asked.clear()
        play(society.game, {"member": policy}, seed=0)
        assert {chat.system for chat in asked} == {system.strip()}
        assert {chat.examples for chat in asked} == {shown}


def test_moves_are_one_change_and_respect_the_limits() -> None:
    rng, prompt, seen = np.random.default_rng(0), Prompt(), set()
    clauses = ["Share.", "Take."]
    for _ in range(400):
        after = moved(prompt, rng, POOL, clauses, most=3)
        gone = [len(set(a) - set(b)) for a, b in zip(prompt, after, strict=True)]
        come = [len(set(b) - set(a)) for a, b in zip(prompt, after, strict=True)]
        assert sum(gone) <= 1 and sum(come) <= 1 and sum(gone) + sum(come) >= 1
        assert 0 in (gone[0] + come[0], gone[1] + come[1])  # examples or clauses
        assert all(len(set(part)) == len(part) <= 3 for part in after)
        seen.add((tuple(gone), tuple(come)))
        prompt = after
    assert len(seen) == 6  # add, replace and drop of either
    assert moved(Prompt(), rng, [], []) == Prompt()
    full = Prompt((), (POOL[0],))
    assert moved(full, rng, POOL[:1], most=1) == Prompt()  # nothing else is left to do


# ---- the search ---------------------------------------------------------------------------------------------------


def test_finds_what_mends_the_aspect_that_it_is_rewarded_for() -> None:
    society = place("market")
    found = fit(copies(), society, 6, 0, **SMALL, aspects=["gain"])
    plain = [
        play(society.game, {"firm": policy}, worlds=32, seed=3).returns["firm"].mean() for policy in (copies(), found)
    ]
    assert POOL[5] in found.examples and plain[1] > plain[0] + 0.05  # firms that restrict what they produce
    other = fit(copies(), place("team"), 6, 0, **SMALL)
    assert POOL[2] in other.examples and POOL[3] not in other.examples  # partners who work
    assert found.learned["plays"] > 0 and len(found.curve) == 6  # type: ignore[attr-defined]


def test_the_same_seed_finds_the_same_and_searches_cost_about_the_same() -> None:
    found = [fit(copies(), place("team"), 3, 1, **SMALL, search=search) for search in ("beam", "beam", "random")]
    assert found[0].examples == found[1].examples and found[0].curve == found[1].curve
    plays = [one.learned["plays"] for one in found]  # type: ignore[attr-defined]
    assert plays[2] >= 0.8 * plays[0]  # prompts that are drawn twice are played once
    twice = fit(copies(), place("team"), 3, 1, **SMALL, restarts=2)
    assert len(twice.curve) == 6


@pytest.mark.slow
def test_dynamic_rewards_against_static_ones_and_random_search() -> None:
    train, held = [place(*one) for one in ARENA], [place(*one, held_out=True) for one in ARENA]

    def found(**given: Any) -> list[float]:
        fitted = (fit(copies(), train, 8, seed, **{**SMALL, "queries": 3, **given}) for seed in range(5))
        return [relevant(one, held) for one in fitted]

    dynamic = found()
    assert min(dynamic) > relevant(copies(), held) + 0.2
    # welfare alone is not among the controls: it finds nearly the same, as it matters everywhere
    for control, least in (({"search": "random"}, 0.1), ({"aspects": ["survival"]}, 0.1), ({"aspects": ["gain"]}, 0.0)):
        difference = paired_difference(dynamic, found(**control))
        assert difference.mean >= least and difference.low > 0.0, (control, difference)


class Answers:
    """A model that is asked: says what it is told to, one thing after the other."""

    def __init__(self, *texts: str) -> None:
        self.texts, self.heard = texts, list[str]()

    def answer(self, conversations: Any, schemas: Any, *, temperature: float, luck: Sequence[float]) -> list[Answer]:
        self.heard += [messages[-1].content for messages in conversations]
        return [Answer(self.texts[(len(self.heard) - 1) % len(self.texts)]) for _ in conversations]


class Obeys(Copies):
    """Restricts itself to what a clause of its instruction says."""

    def score(self, chats: Sequence[Chat], options: Sequence[Sequence[str]]) -> list[Table]:
        told = [Chat(c.system, c.user, c.answer, (POOL[2],) * 9 if "Work hard." in c.system else ()) for c in chats]
        return super().score(told, options)


def test_a_proposer_writes_clauses_in_view_of_rewards_and_bad_answers_are_counted() -> None:
    model = Answers('{"clause": "Work hard."}', "I would rather not.", '{"clause": ""}', '{"clause": 7}')
    base = LanguageModel(Obeys(), levels=11, template=substrate.TEMPLATE)
    found = fit(base, place("team"), 4, 0, examples=[], proposer=model, worlds=4)
    assert found.learned["prompt"] == {"clauses": ("Work hard.",), "examples": ()}  # type: ignore[attr-defined]
    card = found.learned  # type: ignore[attr-defined]
    assert card["asked"] == len(model.heard) and 0 < card["refused"] < card["asked"]
    assert "not played yet" in model.heard[0] and "welfare 0." in model.heard[-1]
    assert all(question.startswith("Clauses of the instruction so far:") for question in model.heard)
    longer = Answers('{"clause": "Work hard."}', '{"clause": "Be kind."}')
    fit(base, place("team"), 4, 0, examples=[], proposer=longer, worlds=4)
    assert any("- Work hard." in question for question in longer.heard)


def test_weights_stay_as_they_are(little_substrate: Path) -> None:
    torch = pytest.importorskip("torch")
    base = LanguageModel(str(little_substrate), levels=11, template=substrate.TEMPLATE, device="cpu")
    before = {name: value.clone() for name, value in base.scorer.model.state_dict().items()}  # type: ignore[attr-defined]
    shown = prompts.pool(each=2)
    kinds = {kind: {turn for turns in games.values() for turn in turns} for kind, games in urial.situations().items()}
    assert all(any(turn in shown for turn in turns) for turns in kinds.values())  # good examples and bad ones
    found = fit(base, place("team"), 1, 0, worlds=1, queries=1, examples=shown)
    assert found.scorer is base.scorer and base.examples == ()
    after = base.scorer.model.state_dict()  # type: ignore[attr-defined]
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"budget": 0}, "budget"),
        ({"aspects": "static"}, "aspects"),
        ({"aspects": ["wealth"]}, "wealth"),
        ({"aspects": []}, "got none"),
        ({"search": "best"}, "search"),
        ({"examples": []}, "give examples"),
        ({"beam": 0}, "beam"),
        ({"society": []}, "society"),
    ],
)
def test_errors_name_what_is_wrong(given: dict[str, Any], said: str) -> None:
    asked = {"base": copies(), "society": place("team"), "budget": 1, "seed": 0, "examples": POOL, **given}
    with pytest.raises(ValueError, match=said):
        fit(**asked)
