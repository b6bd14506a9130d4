"""The verifier's loop: critics never reject what is right, and models are asked again with their reasons."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from societas import Game, make, play, policy
from societas.envs.contracting.hidden_action import HiddenAction
from societas.envs.contracting.multitask import Multitask
from societas.envs.contracting.procurement import Procurement
from societas.envs.contracting.screening import Screening
from societas.envs.core import registry, words
from societas.envs.core.mechanism import Unfit
from societas.envs.core.worlds import Cast, Worlds
from societas.envs.norms.allocation import Allocation
from societas.envs.norms.fishery import Fishery
from societas.envs.norms.trust import GiftExchange
from societas.envs.norms.ultimatum import Ultimatum
from societas.mechanisms.contract import Contract
from societas.mechanisms.noise import Noise
from societas.mechanisms.tax import Tax
from societas.mechanisms.terms import Quota
from societas.policies.callable import Callable as Function
from societas.policies.llm.policy import LanguageModel
from societas.policies.llm.protocol import Answer, Answers, Message
from societas.policies.llm.verify import (
    CRITICS,
    Verified,
    budget_balanced,
    feasible,
    incentive_compatible,
    individually_rational,
    legal,
    sight,
)

Talk = Sequence[Message]


class Script:
    """A model that answers by a function of the conversation, and keeps what it was asked."""

    def __init__(self, say: Callable[[Talk], str], *, error: str = "", cost: float | None = 0.5) -> None:
        self.say, self.error, self.cost = say, error, cost
        self.asked: list[list[Message]] = []
        self.luck: list[float] = []

    def answer(
        self,
        conversations: Sequence[Talk],
        schemas: Sequence[dict[str, Any]],
        *,
        temperature: float,
        luck: Sequence[float],
    ) -> list[Answer]:
        self.asked += [list(talk) for talk in conversations]
        self.luck += luck
        texts = [self.say(talk) for talk in conversations]
        return [Answer("" if self.error else t, self.error, 10, 2, 1.0, self.cost) for t in texts]


def talk_of(game: Game, role: str, seat: int = 0, stage: int = 0, worlds: Worlds | None = None) -> tuple[Talk, Any]:
    """Return the conversation in which a player is asked at the beginning, and the schema of the answer."""
    state = (worlds or Worlds(game, seed=1)).state
    prompt = game.prompt(state, role, seat, 0)
    return [Message("system", game.rules(role)), Message("user", prompt)], game.schema(role, stage, seat)


def ask(model: Any, game: Game, role: str, **options: Any) -> Answer:
    talk, schema = talk_of(game, role, **options)
    (found,) = model.answer([talk], [schema], temperature=0.0, luck=[0.5])
    return found  # type: ignore[no-any-return]


def corrects(talk: Talk) -> str:
    """Want too much; then do as told in "take at most N"."""
    told = re.findall(r"take at most (\d+)", talk[-1].content)
    return json.dumps({"harvest": int(told[-1]) if told else 100})


# ---- the loop -------------------------------------------------------------------------------------------------------


def shrunken() -> tuple[Game, Worlds]:
    """A fishery in whose second month 60 tonnes are left."""
    game = Fishery(fishers=2, months=3)
    worlds = Worlds(game, seed=1)
    worlds.step({"fisher": {"harvest": np.array([[35, 35]])}})
    return game, worlds


def test_a_model_that_improves_passes_in_the_second_round() -> None:
    game, worlds = shrunken()
    model = Script(corrects)
    verified = Verified(model, [legal, feasible], game, "fisher")
    found = ask(verified, game, "fisher", worlds=worlds)
    assert json.loads(found.text) == {"harvest": 60}
    assert (found.tokens_read, found.tokens_written, found.seconds, found.cost, found.attempts) == (20, 4, 2.0, 1.0, 2)
    first, second = model.asked
    assert second[: len(first)] == first
    assert second[-2] == Message("assistant", '{"harvest": 100}')
    assert second[-1].role == "user"
    assert "- harvest: 100 is more than the stock of 60; take at most 60" in second[-1].content
    assert model.luck[0] == 0.5 != model.luck[1]
    counts = verified.counts
    assert dict(counts.rounds) == {2: 1}
    assert dict(counts.passed) == {"parse": 2, "legal": 2, "feasible": 1}
    assert dict(counts.failed) == {"feasible": 1}
    assert (counts.accepted, counts.rejected, counts.silent) == (1, 0, 0)
    assert "feasible: 1 passed, 1 failed" in str(counts)


def test_a_model_that_ignores_its_critics_is_asked_as_often_as_the_budget_allows() -> None:
    game, worlds = shrunken()
    model = Script(lambda talk: '{"harvest": 99}')
    verified = Verified(model, ["feasible"], game, "fisher", budget=4)
    found = ask(verified, game, "fisher", worlds=worlds)
    assert found.text == '{"harvest": 99}' and not found.error  # critics advise
    assert len(model.asked) == 4
    assert verified.counts.rejected == 1 and verified.counts.failed["feasible"] == 4
    strict = ask(Verified(model, ["feasible"], game, "fisher", strict=True), game, "fisher", worlds=worlds)
    assert strict.text == "" and "no answer passed in 3 rounds: harvest: 99 is more" in strict.error


def test_a_model_that_goes_wrong_keeps_its_last_readable_answer() -> None:
    game, worlds = shrunken()
    answers = iter(['{"harvest": 99}', "I will not", '{"harvest": "all"}'])
    verified = Verified(Script(lambda talk: next(answers)), ["feasible"], game, "fisher")
    found = ask(verified, game, "fisher", worlds=worlds)
    assert found.text == '{"harvest": 99}'
    assert verified.counts.failed == {"feasible": 1, "parse": 2}
    assert (found.tokens_read, found.attempts) == (30, 3)


def test_unreadable_to_the_end_is_returned_as_it_is() -> None:
    game, worlds = shrunken()
    verified = Verified(Script(lambda talk: "no"), ["legal"], game, "fisher", budget=2)
    assert ask(verified, game, "fisher", worlds=worlds).text == "no"
    assert verified.counts.rejected == 1


def test_a_model_without_an_answer_is_not_asked_again() -> None:
    game, worlds = shrunken()
    model = Script(lambda talk: "", error="the server was late", cost=None)
    verified = Verified(model, ["legal"], game, "fisher")
    found = ask(verified, game, "fisher", worlds=worlds)
    assert found.error == "the server was late" and found.cost is None
    assert len(model.asked) == 1 and verified.counts.silent == 1


def test_a_model_that_breaks_off_leaves_its_last_readable_answer() -> None:
    game, worlds = shrunken()

    class Breaks(Script):
        def answer(self, conversations: Any, schemas: Any, *, temperature: float, luck: Any) -> list[Answer]:
            self.error = "broken off" if self.asked else ""
            return super().answer(conversations, schemas, temperature=temperature, luck=luck)

    for strict, text, error in ((False, '{"harvest": 100}', ""), (True, "", "broken off")):
        verified = Verified(Breaks(corrects), ["feasible"], game, "fisher", strict=strict)
        found = ask(verified, game, "fisher", worlds=worlds)
        assert (found.text, found.error, found.attempts) == (text, error, 2)
        assert verified.counts.silent == 1 and dict(verified.counts.rounds) == {2: 1}


def test_only_those_who_failed_are_asked_again() -> None:
    game = Fishery(fishers=2, months=3)
    batch, model = Worlds(game, 2, seed=1), Script(corrects)
    batch.step({"fisher": {"harvest": np.array([[0, 0], [35, 35]])}})
    talks = [[Message("user", game.prompt(batch.state, "fisher", 1, world))] for world in (0, 1)]
    verified = Verified(model, list(CRITICS.values()), game, "fisher")
    found = verified.answer(talks, [game.schema("fisher")] * 2, temperature=1.0, luck=[0.1, 0.2])
    assert [json.loads(one.text)["harvest"] for one in found] == [100, 60]
    assert [talk[0] for talk in model.asked] == [talks[0][0], talks[1][0], talks[1][0]]
    assert dict(verified.counts.rounds) == {1: 1, 2: 1}


def test_it_nests_and_lets_other_questions_pass() -> None:
    game, worlds = shrunken()
    inner = Verified(Script(corrects), ["feasible"], game, "fisher")
    assert isinstance(inner, Answers)
    outer = Verified(inner, ["legal"], game, "fisher")
    assert json.loads(ask(outer, game, "fisher", worlds=worlds).text) == {"harvest": 60}
    asked = [Message("user", "How do you feel?")]
    schema = {"type": "object", "properties": {"mood": {"type": "string"}}}
    outer.answer([asked], [schema], temperature=0.0, luck=[0.0])
    assert outer.counts.others == 1 and outer.counts.unjudged == 0


def test_what_nobody_can_judge_is_not_accepted() -> None:
    """Words that do not tell who is asked: a strict loop keeps the answer back, and none counts it as accepted."""
    game = Fishery(fishers=2, months=3)
    brief = {"system": "Decide.", "user": "{{ brief }}"}
    for strict in (True, False):
        verified = Verified(Script(lambda talk: '{"harvest": 70}'), ["feasible"], game, "fisher", strict=strict)
        player = LanguageModel(verified, template=brief, default={"harvest": 3}, again=0)
        done = play(game, {"fisher": player}, seed=1, keep=True)
        first = done.moments[0].acts["fisher"]["harvest"][0].tolist()
        assert first == ([3, 3] if strict else [70, 70])
        counts = verified.counts
        assert counts.unjudged == counts.rounds[1] > 0 and counts.accepted == counts.rejected == counts.others == 0
        assert dict(counts.passed) == {"parse": counts.unjudged} and f"{counts.unjudged} not judged" in str(counts)
    talk = [Message("user", "How much?")]
    (kept,) = Verified(Script(lambda talk: '{"harvest": 1}'), ["legal"], game, "fisher", strict=True).answer(
        [talk], [game.schema("fisher")], temperature=0.0, luck=[0.0]
    )
    assert kept.text == "" and "does not tell which fisher is asked" in kept.error


def test_asked_anew_it_is_told_nothing() -> None:
    game, worlds = shrunken()
    model = Script(corrects)
    found = ask(Verified(model, ["feasible"], game, "fisher", back="nothing"), game, "fisher", worlds=worlds)
    assert found.text == '{"harvest": 100}' and len(model.asked) == 3
    assert model.asked[0] == model.asked[1] == model.asked[2] and len(set(model.luck)) == 3
    refused = Script(corrects)
    ask(Verified(refused, ["feasible"], game, "fisher", back="refusal"), game, "fisher", worlds=worlds)
    said = refused.asked[1][-1].content
    assert said.startswith("Your answer will not do.\nMend it") and "60" not in said
    with pytest.raises(ValueError, match="back: one of 'reasons', 'refusal', 'nothing'"):
        Verified(model, ["legal"], game, "fisher", back="silence")


def test_what_is_judged_is_what_is_played() -> None:
    """Thoughts, and a second object, do not get past a critic: the policy's own reading is judged."""
    game, worlds = shrunken()
    answers = iter(
        ['<think>{"harvest": 5}</think>{"harvest": 99}', '{"harvest": 5} {"harvest": 99}', '{"harvest": "7"}']
    )
    verified = Verified(Script(lambda talk: next(answers)), ["feasible"], game, "fisher")
    assert ask(verified, game, "fisher", worlds=worlds).text == '{"harvest": "7"}'
    assert verified.counts.failed == {"feasible": 1, "parse": 1} and verified.counts.accepted == 1


def test_a_language_model_plays_what_its_critics_pass() -> None:
    """The policy is unchanged: its model wants 70 tonnes, and half of what there is once it is told that there are less."""

    def half(talk: Talk) -> str:
        told = re.findall(r"take at most (\d+)", talk[-1].content)
        return json.dumps({"harvest": int(told[-1]) // 2 if told else 70})

    game = Fishery(fishers=2, months=3)
    others = {"fisher": Function(lambda seen: {"harvest": 10})}

    def harvests(model: Any) -> list[int]:
        episodes = play(game, {"fisher_0": LanguageModel(model), **others}, keep=True)
        return [int(moment.acts["fisher"]["harvest"][0, 0]) for moment in episodes.moments]

    assert harvests(Script(half)) == [70, 70]  # and no fish is left
    verified = Verified(Script(half), ["legal", "feasible"], game, "fisher")
    assert harvests(verified) == [70, 20, 10]  # of 100, 40 and 20 tonnes
    assert dict(verified.counts.rounds) == {1: 1, 2: 2}
    stubborn = Script(lambda talk: '{"harvest": 70}')
    strict = Verified(stubborn, ["feasible"], game, "fisher", strict=True)
    assert harvests(strict) == [70, 0, 0]  # 40 and 60 tonnes are there, and the policy plays its default
    assert harvests(Verified(stubborn, ["feasible"], game, "fisher")) == [70, 70]


def test_a_prompt_is_found_among_other_words() -> None:
    """What stands before and after the prompt, and an older one, is not taken for what the player sees."""
    game, worlds = shrunken()
    now, old = game.prompt(worlds.state, "fisher", 1, 0), Worlds(game).game.prompt(Worlds(game).state, "fisher", 0, 0)
    talk = [
        Message("user", old),
        Message("assistant", "{}"),
        Message("user", f"You see:\n- stock: 7\n\n{now}\n- stock: 9"),
    ]
    about = sight(game.role("fisher"), talk)
    assert about is not None and (about.seat, about.seen["stock"]) == (1, 60)
    for text in ("You see:\n- stock: 7", "I noted:\n- stock: 7\nYou are fisher_1."):
        assert sight(game.role("fisher"), [Message("user", text)]) is None
    assert sight(game.role("fisher"), [Message("user", now.replace("fisher_1.", "fisher_7."))]) is None


def test_bad_input() -> None:
    game, model = Fishery(), Script(corrects)
    with pytest.raises(ValueError, match="critics: one of 'legal'"):
        Verified(model, ["lawful"], game, "fisher")
    with pytest.raises(ValueError, match="critics: a list"):
        Verified(model, [], game, "fisher")
    with pytest.raises(ValueError, match="'legal' twice"):
        Verified(model, ["legal", legal], game, "fisher")
    with pytest.raises(ValueError, match="budget: a whole number from 1 to 100, got 0"):
        Verified(model, ["legal"], game, "fisher", budget=0)
    with pytest.raises(TypeError, match="model: int does not answer"):
        Verified(3, ["legal"], game, "fisher")  # type: ignore[arg-type]
    with pytest.raises(KeyError, match="no role 'baker'"):
        Verified(model, ["legal"], game, "baker")


# ---- reading back what was told -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in registry.entries("games") if name != "GridCommons"])
def test_what_a_prompt_tells_is_understood(name: str) -> None:
    """Whatever the game, the words of a prompt give back every field, reals in four digits."""
    game = make(name)
    moments = play(game, {role.name: policy("random") for role in game.roles}, seed=4, keep=True).moments[:4]
    for moment in moments:
        for role in game.roles:
            own = {field: values[0, -1] for field, values in moment.seen[role.name].items()}
            prompt = words.prompt(game, role, role.count - 1, own, int(moment.stage[0]))
            about = sight(role, [Message("user", "You are nobody."), Message("user", prompt), Message("user", "So?")])
            assert about is not None and about.seat == role.count - 1
            assert set(about.seen) == {field.name for field in role.sees}
            for field, value in about.seen.items():
                np.testing.assert_allclose(np.asarray(value), own[field], rtol=1e-3, atol=1e-12)


def test_options_that_begin_alike_are_told_apart() -> None:
    game = Screening(continuum=True, items=11)
    role = game.role("principal")
    seen = {name: values[0, 0] for name, values in Worlds(game).view()["principal"].items()}
    for pick in (1, 10, 11):
        prompt = words.prompt(game, role, 0, {**seen, "last_pick": np.array(pick)}, 0)
        about = sight(role, [Message("user", prompt)])
        assert about is not None and about.seen["last_pick"] == pick


def test_free_text_cannot_pass_for_a_field() -> None:
    """What another player writes stands in quotation marks on its own line."""
    from societas.envs.core.fields import Text
    from societas.mechanisms.talk import Talk as Talks

    game = Fishery(fishers=2, months=2) | Talks(text=60)
    role = game.role("fisher")
    heard = next(one for one in role.sees if isinstance(one.space, Text))
    seen = {name: values[0, 0] for name, values in Worlds(game).view()["fisher"].items()}
    tricks = ["x\n- stock: 9999", 'y", fisher_1 "z\\']
    assert isinstance(heard.space, Text) and len(heard.each) == 2
    codes = np.stack([heard.space.encode(trick) for trick in tricks])
    prompt = words.prompt(game, role, 0, {**seen, heard.name: codes}, len(game.stages) - 1)
    about = sight(role, [Message("user", prompt)])
    assert about is not None and about.seen["stock"] == 100
    np.testing.assert_array_equal(about.seen[heard.name], codes)


# ---- critics are sound ----------------------------------------------------------------------------------------------


def judge(critic: Any, game: Game, role: str, act: dict[str, Any], seen: dict[str, Any] | None = None) -> str | None:
    return critic(game, role, 0, seen or {}, act)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", [name for name in registry.entries("games") if name != "GridCommons"])
def test_legal_passes_what_worlds_accept(name: str) -> None:
    game = make(name)
    moments = play(game, {role.name: policy("random") for role in game.roles}, seed=2, keep=True).moments[:6]
    for moment, role in itertools.product(moments, game.roles):
        asked = role.deciding(game.stages[int(moment.stage[0])].name, 0)
        act = {field.name: moment.acts[role.name][field.name][0, 0].tolist() for field in asked}
        if act:
            assert judge(legal, game, role.name, act) is None
            first = asked[0]
            assert judge(legal, game, role.name, {**act, first.name: [act[first.name]] * 2}) is not None
            assert judge(legal, game, role.name, {**act, "nonsense": 1}) is not None
            if first.space.low > -np.inf and not first.each and "text" not in str(first.space):
                reason = judge(legal, game, role.name, {**act, first.name: first.space.low - 1})
                assert reason is not None and reason.startswith(f"{first.name}: ")


@given(stock=st.integers(0, 20), want=st.integers(0, 20))
@settings(max_examples=60, deadline=None)
def test_feasible_is_what_the_fishery_carries_out(stock: int, want: int) -> None:
    """Alone on the lake, a fisher gets what it wants exactly where the critic is silent."""
    game = Fishery(fishers=2, capacity=20, months=2)
    state = game.start(np.zeros((1, game.draws)))
    state = state._replace(stock=np.array([stock]))
    acts = {"fisher": {"harvest": np.array([[want, 0]])}}
    caught = game.step(state, acts, np.full((1, game.draws), 0.5)).rewards["fisher"][0, 0]
    seen = {name: values[0, 0] for name, values in game.view(state)["fisher"].items()}
    assert (judge(feasible, game, "fisher", {"harvest": want}, seen) is None) == (caught == want)


def test_feasible_is_sound_under_every_mechanism() -> None:
    """Whatever mechanism shows the stock, taking all that there is is never called impossible."""
    base, tried = Fishery(months=3), 0
    for name in registry.entries("mechanisms"):
        kind = registry.resolve("mechanisms", name)
        for mechanism in [kind.suited, lambda game: Noise("stock", sd=20.0)] if name == "Noise" else [kind.suited]:
            try:
                game = base | mechanism(base)
            except Unfit:
                continue
            tried += 1
            batch = Worlds(game, 4, seed=3)
            role = game.role("fisher")
            cast = Cast(game, {"fisher": policy("random")})
            cast.begin(batch)
            for _ in range(6):
                seen, inner = batch.view()["fisher"], batch.state
                while hasattr(inner, "base"):
                    inner = inner.base
                for world in range(4):
                    own = {field.name: seen[field.name][world, 0] for field in role.sees}
                    act = {"harvest": int(inner.stock[world])}
                    assert judge(feasible, game, "fisher", act, own) is None, (name, act)
                batch.step(cast.act(batch, batch.view()))
    assert tried > 15


def test_side_payments_that_a_commons_can_pay_pass() -> None:
    base = Fishery(fishers=3, months=2)
    game = base | Contract(Quota(limit=10), side_payment=500.0)
    most = base.benchmarks().first_best.value
    assert judge(feasible, game, "fisher", {"side": most / 2}) is None
    assert judge(feasible, game, "fisher", {"side": -most / 2}) is None
    reason = judge(feasible, game, "fisher", {"side": most / 2 + 1.0})
    assert reason is not None and f"more than the {most:g}" in reason
    assert judge(feasible, game, "fisher", {"side": -most / 2 - 1.0}) is not None


pays = st.floats(0.0, 10.0)


@given(
    pay=st.tuples(pays, pays),
    utility=st.sampled_from(["linear", "sqrt"]),
    reservation=st.integers(-100, 300).map(lambda number: number / 100),
    high=st.integers(30, 100).map(lambda number: number / 100),
)
@settings(max_examples=80, deadline=None)
def test_an_offer_that_some_effort_makes_worth_taking_passes(
    pay: tuple[float, float], utility: str, reservation: float, high: float
) -> None:
    chances = ((0.7, 0.3), (1.0 - high, high))
    game = HiddenAction(utility=utility, reservation=reservation, chances=chances, costs=(0.0, 0.7))
    feel = np.sqrt if utility == "sqrt" else np.asarray
    best = max(p @ feel(np.array(pay)) - c for p, c in zip(np.array(chances), game.costs, strict=True))
    reason = judge(individually_rational, game, "principal", {"pay": list(pay)})
    if best >= reservation:
        assert reason is None
    elif best < reservation - 1e-6 and game.expected(game.optimal_pay)[0] > 1e-6:
        assert reason is not None and "offer more" in reason  # complete


def test_no_offer_is_right_where_none_pays() -> None:
    dear = HiddenAction(outcomes=(0.0, 0.5), reservation=2.0)
    assert judge(individually_rational, dear, "principal", {"pay": [0.0, 0.0]}) is None
    even = HiddenAction((1.0, 1.0), ((0.5, 0.5), (0.5, 0.5)), (1.0, 1.0), utility="linear", reservation=0.0)
    assert judge(individually_rational, even, "principal", {"pay": [0.0, 0.0]}) is None
    unhired = Multitask.linear(reservation=2.0)
    assert judge(individually_rational, unhired, "principal", {"base": -1.0, "slopes": [0.0]}) is None
    idle = GiftExchange(efforts=(0.5, 1.0), costs=(0.0, 1.0), value=10.0, fixed_cost=5.0)
    assert judge(individually_rational, idle, "firm", {"wage": 0.0}) is None
    rich = Ultimatum(outside=(9.0, 0.5), rate=0.1)
    assert rich.least() == 5 and judge(individually_rational, rich, "proposer", {"offer": 0}) is None


def test_where_a_solver_has_no_answer_nothing_is_said() -> None:
    class Unsolved(HiddenAction):
        @property
        def optimal_pay(self) -> tuple[float, ...]:  # type: ignore[override]
            raise RuntimeError("cheapest: the linear programme was not solved")

    assert judge(individually_rational, Unsolved(), "principal", {"pay": [0.0, 0.0]}) is None


@given(
    sizes=st.lists(st.sampled_from([0.0, 0.3, 0.5, 1.0]) | st.floats(0.0, 2.0), min_size=3, max_size=3),
    pay=st.lists(st.sampled_from([0.0, 0.3, 0.5, 1.0]) | st.floats(0.0, 3.0), min_size=3, max_size=3),
    sells=st.booleans(),
    continuum=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_menus_from_which_types_pick_pass(sizes: list[float], pay: list[float], sells: bool, continuum: bool) -> None:
    """Brute force over types: an item that some type picks is never called idle, nor a menu that some type takes of."""
    types = (1.0, 2.0) if continuum else (1.0, 1.3, 2.0)
    game: Any = Screening(types, continuum=continuum) if sells else Procurement(types, continuum=continuum)
    kinds = np.linspace(1.0, 2.0, 201) if continuum else np.array(types)
    act = {game.size: sizes, game.pay: pay}
    utility = game.payoffs(kinds[:, None], np.array(sizes), np.array(pay))[1]
    top = np.maximum(utility.max(axis=1), 0.0)
    empty = (np.array(sizes) == 0.0) & (np.array(pay) == 0.0)
    wanted = (utility >= top[:, None]).any(axis=0) | empty
    near = (utility >= top[:, None] - 0.02).any(axis=0) | empty
    idle = judge(incentive_compatible, game, "principal", act)
    if wanted.all():
        assert idle is None
    elif not near.all():
        assert idle is not None  # complete
    taken = judge(individually_rational, game, "principal", act)
    assert (taken is None) == bool((utility[:, ~empty] >= 0.0).any()) or abs(utility[:, ~empty].max()) < 1e-6


@given(units=st.integers(0, 10), floor=st.floats(0.0, 9.0), own=st.floats(0.0, 1.0), rate=st.floats(0.1, 2.0))
@settings(max_examples=80, deadline=None)
def test_offers_worth_the_outside_payoff_pass(units: int, floor: float, own: float, rate: float) -> None:
    game = Ultimatum(outside=(own, floor), rate=rate)
    reason = judge(individually_rational, game, "proposer", {"offer": units})
    if rate * units * game.coin >= floor:
        assert reason is None
    elif rate * units < floor - 1e-6 and any(rate * k >= floor and 10 - k >= own for k in range(11)):
        assert reason is not None  # complete


@given(wage=st.floats(0.0, 10.0), fixed=st.floats(0.0, 3.0))
@settings(max_examples=40, deadline=None)
def test_wages_that_cover_the_least_cost_pass(wage: float, fixed: float) -> None:
    game = GiftExchange(efforts=(0.5, 1.0), costs=(1.0, 3.0), value=20.0, max_wage=10.0, fixed_cost=fixed)
    reason = judge(individually_rational, game, "firm", {"wage": wage})
    assert (reason is None) == (max(wage - c - fixed for c in game.costs) >= -1e-8)


@given(base=st.floats(-1.0, 1.0), slope=st.floats(0.0, 1.0))
@settings(max_examples=40, deadline=None)
def test_linear_pay_worth_some_effort_passes(base: float, slope: float) -> None:
    game = Multitask.linear(risk_aversion=1.0)
    effort = np.linspace(0.0, game.max_effort, 2001)
    best = (base + slope * effort - effort**2 / 2 - 0.5 * 1.0 * 0.5 * slope**2).max()
    reason = judge(individually_rational, game, "principal", {"base": base, "slopes": [slope]})
    assert (reason is None) if best >= game.reservation else (reason is not None or best > game.reservation - 1e-5)


@given(coins=st.integers(0, 3), first=st.integers(0, 3), second=st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_divisions_that_are_carried_out_to_the_letter_pass(coins: int, first: int, second: int) -> None:
    game = Allocation(goods=2, coins=coins, coin=1.0)
    act = {"to": [0, 0], "give": [first, second]}
    paid = game.paid({name: np.array(value) for name, value in act.items()}) if coins else np.zeros(3)
    exact = paid[:2].tolist() == [first, second]
    assert (judge(budget_balanced, game, game.roles[0].name, act) is None) == exact


def test_equilibrium_offers_pass_every_critic() -> None:
    """What theory proposes at the opening of a round is never rejected."""
    games: list[Game] = [
        HiddenAction(),
        HiddenAction(utility="linear", reservation=0.0, outcomes=(0.0, 10.0)),
        Screening(),
        Screening((1.0, 2.0), continuum=True),
        Procurement(),
        Procurement((1.0, 2.0), continuum=True, items=2),
        Multitask(),
        Ultimatum(outside=(1.0, 2.5)),
        GiftExchange(),
    ]
    for game in games:
        moment = play(game, {role.name: policy("equilibrium") for role in game.roles}, keep=True).moments[0]
        role = game.roles[0]
        asked = role.deciding(game.stages[0].name, 0)
        act = {field.name: moment.acts[role.name][field.name][0, 0].tolist() for field in asked}
        for critic in CRITICS.values():
            assert judge(critic, game, role.name, act) is None, (game, critic)


def test_under_a_mechanism_that_changes_pay_offers_are_not_judged() -> None:
    assert judge(individually_rational, HiddenAction(), "principal", {"pay": [0.0, 0.0]}) is not None
    taxed = HiddenAction() | Tax.suited(HiddenAction())
    assert judge(individually_rational, taxed, "principal", {"pay": [0.0, 0.0]}) is None


def test_a_bad_contract_is_mended() -> None:
    """A principal that raises its offer until the agent would accept it."""
    game = HiddenAction()

    def raises(talk: Talk) -> str:
        said = sum(message.role == "assistant" for message in talk)
        return json.dumps({"pay": {"low": 0.0, "high": 3.0 * said}})

    verified = Verified(Script(raises), list(CRITICS), game, "principal", budget=5)
    pay = game.parse(ask(verified, game, "principal").text, "principal")["pay"]  # type: ignore[index]
    assert bool(game.response(np.array(pay))[0])
    assert verified.counts.accepted == 1 and verified.counts.failed["individually_rational"] >= 1
