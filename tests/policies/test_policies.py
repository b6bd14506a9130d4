"""Policies on real games: characters, learners, callables, people, and a language model's decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import societas
from societas.envs.core import words
from societas.mechanisms.contract import Contract
from societas.mechanisms.sanction import Sanction
from societas.mechanisms.talk import Talk
from societas.mechanisms.terms import Quota
from societas.policies.callable import Callable
from societas.policies.llm.policy import LanguageModel
from societas.policies.llm.scorer import Chat
from societas.policies.person import Person
from societas.policies.scripted import Scripted
from societas.policies.tabular import TabularQ

FISHERY = societas.make("Fishery")


def test_fair_fishers_keep_the_lake_alive() -> None:
    episodes = societas.play(FISHERY, {"fisher": Scripted("fair")})
    assert episodes.measures["survival"][0] == 12
    assert episodes.welfare[0] == 600


def test_opportunists_yield_to_the_sword_not_to_the_word() -> None:
    text, enforced = (Contract(Quota(limit=10, fine=2.0), regime=regime) for regime in ("text", "enforced"))
    players = {"fisher": Scripted("opportunist")}
    assert societas.play(FISHERY | text, players).measures["survival"][0] < 12
    assert societas.play(FISHERY | enforced, players).measures["survival"][0] == 12
    weak = Contract(Quota(limit=10, fine=0.5))  # a fine below the gain of a tonne deters nobody
    assert societas.play(FISHERY | weak, players).measures["survival"][0] < 12


def test_reciprocators_punish_the_greediest() -> None:
    players = {"fisher": Scripted("reciprocator"), "fisher_4": Scripted("opportunist")}
    episodes = societas.play(FISHERY | Sanction(), players, worlds=3, keep=True)
    assert (episodes.measures["sanctions"] == 4).all()  # all four punish the fifth once; then it is deterred
    assert (episodes.returns["fisher"][:, 4] < episodes.returns["fisher"][:, 0]).all()


def test_tit_for_tat() -> None:
    from societas.envs.norms.matrix_game import MatrixGame

    game = MatrixGame.prisoners_dilemma(rounds=10)
    both = societas.play(game, {"player": Scripted("tit_for_tat")})
    assert both.welfare[0] == 60
    defector = Callable(lambda seen: {"action": "defect"})
    one = societas.play(game, {"player_0": Scripted("tit_for_tat"), "player_1": defector})
    assert one.returns["player"][0].tolist() == [9.0, 14.0]  # 0 + 9 x 1, 5 + 9 x 1


def test_a_character_refuses_a_role_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="decides harvest.*firm decides price"):
        societas.play(societas.make("Pricing"), {"firm": Scripted("fair")})
    with pytest.raises(ValueError, match="character: one of 'fair'"):
        Scripted("saint")


def test_q_learners_find_the_dominant_action() -> None:
    """In the one-shot prisoner's dilemma every learner of every session ends at defection."""
    game = societas.make("MatrixGame")
    learner = TabularQ({}, epsilon=(0.5, 0.0)).learn(game, "player", episodes=400, sessions=8, seed=3)
    episodes = societas.play(game, {"player": learner}, worlds=8)
    assert (episodes.welfare == 2).all()
    with pytest.raises(RuntimeError, match="nothing learned yet"):
        societas.play(game, {"player": TabularQ({})})


def test_q_learning_is_reproducible_and_told_apart_by_seed() -> None:
    game = societas.make("Pricing", periods=30)
    tables = [
        TabularQ({"prices": 5}).learn(game, "firm", episodes=5, sessions=3, seed=seed).tables[0] for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(tables[0], tables[1])
    assert not np.array_equal(tables[0], tables[2])


def test_callables_one_by_one_and_in_batch() -> None:
    single = Callable(lambda seen: {"harvest": int(seen["stock"]) // 10})
    batch = Callable(lambda seen: {"harvest": seen["stock"] // 10}, batched=True)
    first = societas.play(FISHERY, {"fisher": single}, worlds=3)
    second = societas.play(FISHERY, {"fisher": batch}, worlds=3)
    np.testing.assert_array_equal(first.returns["fisher"], second.returns["fisher"])
    with pytest.raises(societas.ActError, match="harvest: 500 is not a whole number from 0 to 100 tonnes"):
        societas.play(FISHERY, {"fisher": Callable(lambda seen: {"harvest": 500})})
    with pytest.raises(KeyError, match="decides: harvest"):
        societas.play(FISHERY, {"fisher": Callable(lambda seen: {"catch": 5})})


def test_a_person_is_told_what_is_wrong() -> None:
    answers = iter(["a lot", "101", '{"harvest": 12}', *["10"] * 11])
    told: list[str] = []
    person = Person(lambda _: next(answers), told.append)
    episodes = societas.play(FISHERY, {"fisher_0": person, "fisher": Scripted("fair")})
    assert episodes.returns["fisher"][0, 0] > 12
    assert "5 fishers share a lake" in told[0]
    assert '"a lot" is not a whole number from 0 to 100 tonnes' in told[1]
    assert "101 is not" in told[2]


class Favourite:
    """A back end that finds one text most probable, and keeps what it was asked."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts
        self.asked: list[tuple[Chat, Sequence[str]]] = []

    def score(self, chats: Sequence[Chat], options: Sequence[Sequence[str]]) -> list[np.ndarray[Any, Any]]:
        self.asked += list(zip(chats, options, strict=True))
        return [
            np.array([0.0 if any(o.startswith(t) for t in self.texts) else -50.0 for o in some]) for some in options
        ]


def test_a_model_reads_its_rules_and_decides_field_by_field() -> None:
    backend = Favourite("10}", '"accept"', '"let us')
    game = FISHERY | Talk() | Contract(Quota(limit=10))
    episodes = societas.play(game, {"fisher": LanguageModel(backend, temperature=0)}, worlds=2)
    assert (episodes.measures["agreed"] == 1).all()
    assert (episodes.measures["survival"] == 12).all()
    chat, options = backend.asked[-1]
    assert "5 fishers share a lake" in chat.system
    assert "You are fisher_4." in chat.user
    assert chat.answer == '{"harvest": '
    assert len(options) == 101
    json_answer = chat.answer + "10}"
    assert game.parse(json_answer, "fisher", stage=2) == {"harvest": 10}


def test_vectors_are_decided_component_by_component() -> None:
    game = societas.make("HiddenAction")
    backend = Favourite("6.30", "0.00", '"accept"', '"high"')
    players = {role.name: LanguageModel(backend, temperature=0) for role in game.roles}
    episodes = societas.play(game, players, keep=True)
    answers = [chat.answer for chat, _ in backend.asked]
    assert answers[:2] == ['{"pay": {"low": ', '{"pay": {"low": 0.00, "high": ']
    assert answers[2:] == ['{"accept": ', '{"accept": "accept", "effort": ']
    assert episodes.measures["effort"][0] == 1.0


EXAMPLES = [["Lake, stock 100", '{"harvest": 10}'], ["Lake, stock 40", '{"harvest": 4}']]


def test_examples_stand_before_every_question_in_their_order() -> None:
    backend = Favourite("10}", '"accept"', '"let us')
    game = FISHERY | Talk() | Contract(Quota(limit=10))
    societas.play(game, {"fisher": LanguageModel(backend, temperature=0, examples=EXAMPLES)})
    told = (("Lake, stock 100", '{"harvest": 10}'), ("Lake, stock 40", '{"harvest": 4}'))
    assert {chat.examples for chat, _ in backend.asked} == {told}
    without = Favourite("10}", '"accept"', '"let us')
    societas.play(game, {"fisher": LanguageModel(without, temperature=0, examples=())})
    assert [(replace(chat, examples=()), options) for chat, options in backend.asked] == without.asked


def test_examples_are_kept_as_pairs_of_texts() -> None:
    assert LanguageModel(Favourite()).examples == LanguageModel(Favourite(), examples=[]).examples == ()
    assert LanguageModel(Favourite(), examples=EXAMPLES).examples == tuple(map(tuple, EXAMPLES))
    for wrong in (["user", "answer"], [["alone"]], [["a", "b", "c"]], [["a", 1]]):
        with pytest.raises(
            ValueError, match=r"examples: pairs \[what the user said, what was answered\], two texts, got"
        ):
            LanguageModel(Favourite(), examples=wrong)


def test_a_template_may_show_the_brief_in_place_of_the_prompt() -> None:
    backend = Favourite("10}")
    template = {"system": "Decide.", "user": "{{ brief }}"}
    done = societas.play(FISHERY, {"fisher": LanguageModel(backend, temperature=0, template=template)}, keep=True)
    chat, _ = backend.asked[0]
    own = {name: values[0, 0] for name, values in done.moments[0].seen["fisher"].items()}
    assert chat.system == "Decide." and chat.user == words.brief(FISHERY, FISHERY.role("fisher"), 0, own, 0)
    with pytest.raises(ValueError, match="template: shows prompt nowhere"):
        LanguageModel(backend, template={"user": "Play. {{ memory }}"})
    with pytest.raises(ValueError, match="template.system: no name 'brief'"):
        LanguageModel(backend, template={"system": "{{ brief }}", "user": "{{ prompt }}"})


def test_sampling_follows_the_models_probabilities() -> None:
    class Half:
        def score(self, chats: Sequence[Chat], options: Sequence[Sequence[str]]) -> list[np.ndarray[Any, Any]]:
            return [np.log([0.25, 0.75]) for _ in chats]

    game = societas.make("MatrixGame")
    episodes = societas.play(game, {"player": LanguageModel(Half())}, worlds=4_000, seed=1)
    share = episodes.measures["first_action"].mean()
    assert abs(share - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 8_000)


@pytest.mark.model
def test_smollm2_plays_games_of_every_room_legally() -> None:
    from societas.policies.llm.models import locate

    try:
        locate("smollm2")
    except FileNotFoundError as absent:
        pytest.skip(str(absent))
    games: dict[str, dict[str, Any]] = {
        "Fishery": {"months": 2},
        "HiddenAction": {},
        "MatrixGame": {},
        "Pricing": {"periods": 2, "prices": 4},
        "Trust": {},
        "Ultimatum": {},
    }
    for name, options in games.items():
        game = societas.make(name, **options)
        players = {role.name: LanguageModel("smollm2", levels=6) for role in game.roles}
        episodes = societas.play(game, players, seed=5)  # Worlds checks every act
        assert np.isfinite(episodes.welfare).all()


def test_a_constant_policy_does_what_it_is_told() -> None:
    game = societas.make("Fishery", fishers=5)
    greedy = societas.play(game, {"fisher": societas.policy("constant", acts={"harvest": 20})}, worlds=3)
    assert (greedy.measures["survival"] == 1).all() and (greedy.measures["gain"] == 20).all()
    idle = societas.play(game, {"fisher": societas.policy("constant")}, worlds=3)
    assert (idle.measures["gain"] == 0).all()
    dilemma = societas.play(
        societas.make("MatrixGame"), {"player": societas.policy("constant", acts={"action": "cooperate"})}
    )
    assert dilemma.welfare == 6.0


@pytest.mark.parametrize(
    ("acts", "said"),
    [
        ({"harvest": 101}, "acts: harvest: 101 is not"),
        ({"catch": 1}, "acts: fisher has no act field 'catch'; it decides harvest"),
    ],
)
def test_a_constant_policy_says_what_it_cannot_do(acts: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        societas.play(societas.make("Fishery"), {"fisher": societas.policy("constant", acts=acts)})
