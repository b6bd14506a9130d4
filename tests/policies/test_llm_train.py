from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import tiny_llama, tiny_tokenizer

from societas.envs.core.episodes import play
from societas.envs.core.registry import create
from societas.mechanisms.contract import Contract
from societas.mechanisms.schedules import Bonus
from societas.policies.callable import Callable
from societas.policies.llm.policy import LanguageModel
from societas.policies.llm.scorer import Chat, Scorer
from societas.policies.llm.train import Tiny, Training, teach
from societas.policies.llm.train.learning import _Learner, clipped, divergence
from societas.policies.llm.train.training import advantages, returns, shuffled

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
torch.set_num_threads(1)

SMALL = {"width": 32, "layers": 1, "heads": 2, "vocabulary": 400}
BRIEF = {"system": "Decide.", "user": "{{ prompt }}"}
WORK = [f'"{word}"}}' for word in ("low", "high")]


def small(**training: Any) -> LanguageModel:
    return LanguageModel({"Tiny": SMALL}, template=BRIEF, levels=6, training=training or None)


def employment() -> Any:
    """Effort costs the agent 1 of 2 bonuses of chance 0.8 and 0.2."""
    return create("games", "HiddenAction", utility="linear", reservation=0.0, max_pay=5.0)


def offer(high: float) -> Callable:
    return Callable(lambda seen: {"pay": [0.0, high]})


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Tiny(**SMALL).fresh()


# ---- probabilities and their gradients ----------------------------------------------------------------------------


@pytest.mark.parametrize("plain", [False, True])
def test_differentiable_scores_are_the_scores(scorer: Scorer, plain: bool) -> None:
    mine = Scorer(scorer.model, scorer.tokenizer, device="cpu", chunk=40)  # in several parts
    mine.plain = plain
    chats = [Chat("Rules.", f"Round {i}.", '{"effort": ') for i in range(4)]
    options = [WORK, ["1}", "12}", "2}"], WORK, ["3}"]]
    found: dict[int, Any] = {}
    for indices, scores in mine.differentiable(chats, options):
        found |= {i: score.detach().numpy() for i, score in zip(indices, scores, strict=True)}
    assert sorted(found) == [0, 1, 2, 3]
    for i, expected in enumerate(scorer.score(chats, options)):
        np.testing.assert_allclose(found[i], expected, atol=2e-5)


def test_gradient_of_the_log_probability_is_the_finite_difference(scorer: Scorer) -> None:
    mine = Scorer(copy.deepcopy(scorer.model).double(), scorer.tokenizer, device="cpu")
    chat = Chat("Rules.", "Pay: high 3 coins.", '{"effort": ')
    weight = mine.model.model.layers[0].mlp.down_proj.weight

    def log() -> Any:
        ((_, (scores,)),) = mine.differentiable([chat], [WORK])
        return torch.log_softmax(scores.double(), dim=-1)[1]

    log().backward()
    direction = weight.grad / weight.grad.norm()
    ends = []
    for step in (2e-3, -4e-3):  # there, and as far back behind where it was
        with torch.no_grad():
            weight += step * direction
            ends.append(float(log()))
    assert float(weight.grad.norm()) == pytest.approx((ends[0] - ends[1]) / 4e-3, rel=1e-3)


def test_clipping_and_divergence_by_hand() -> None:
    now, old = torch.log(torch.tensor([0.6, 0.6, 0.2, 0.2])), torch.log(torch.tensor([0.4] * 4))
    gains = torch.tensor([1.0, -1.0, 1.0, -1.0])  # ratios 1.5, 1.5, 0.5, 0.5
    assert clipped(now, old, gains, 0.2).tolist() == pytest.approx([1.2, -1.5, 0.5, -0.8])
    p, q = torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75])
    assert float(divergence(p.log(), q.log())) == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(2 / 3))


# ---- credit -------------------------------------------------------------------------------------------------------


def test_returns_by_hand() -> None:
    paid = np.array([1.0, 2.0, 4.0]).reshape(3, 1, 1)
    assert returns(paid, 0.5, False).ravel().tolist() == [3.0, 4.0, 4.0]
    assert returns(paid, 0.5, True).ravel().tolist() == [3.0, 3.0, 3.0]


def test_group_relative_advantages_by_hand() -> None:
    values = np.array([1.0, 3.0, 8.0, 10.0, 14.0, 7.0]).reshape(1, 6, 1)
    asked = np.array([True, True, True, True, True, False]).reshape(1, 6, 1)
    found = advantages(values, asked, 3).ravel().tolist()
    assert found == pytest.approx([-3.0, -1.0, 4.0, -2.0, 2.0, 0.0])  # means 4 and 12; the last decided nothing
    sd, two = np.sqrt((9 + 1 + 16) / 2), np.sqrt(8.0)
    found = advantages(values, asked, 3, deviation=True).ravel().tolist()
    assert found == pytest.approx([-3 / sd, -1 / sd, 4 / sd, -2 / two, 2 / two, 0.0])
    alone = advantages(values, asked, None).ravel()
    assert alone[0] == pytest.approx(1.0 - (3 + 8 + 10 + 14) / 4) and alone[5] == 0.0
    assert not advantages(np.full((1, 4, 1), 0.1 + 0.2), np.ones((1, 4, 1), bool), 4, True).any()


def test_shuffling_permutes_samples_whole_and_tells_nothing() -> None:
    values = np.arange(24.0).reshape(2, 6, 2)
    mixed = shuffled(values, np.random.default_rng(0))
    assert not np.array_equal(mixed, values)
    assert sorted(map(tuple, mixed.reshape(2, -1).T)) == sorted(map(tuple, values.reshape(2, -1).T))
    own = np.arange(4.0).reshape(1, 4, 1)
    draws = [shuffled(own, np.random.default_rng(i)) for i in range(4000)]
    assert np.mean([(draw * (own - 1.5)).mean() for draw in draws]) == pytest.approx(0.0, abs=0.04)  # se 0.011


def test_groups_meet_the_same_chance_and_seats_the_credit_that_is_named() -> None:
    game = create("games", "HiddenAction", utility="linear", reservation=0.0)
    paid, others = {}, {"principal": create("policies", "random")}
    for credit in ("own", "principal", "all"):
        played = _Learner(small(group=4, credit=credit), game, "agent", 8, 0, others).play()
        pays = {d.chat.user.partition("pay:")[2] for _, d in played.decisions if d.options[0].startswith('"refuse')}
        assert len(pays) == 2  # random offers: one a group of four
        paid[credit] = played.paid
    np.testing.assert_allclose(paid["all"], paid["own"] + paid["principal"])
    assert paid["own"].std() > 0 and paid["principal"].std() > 0
    with pytest.raises(ValueError, match="credit: one of own, welfare, team, all, principal, agent, got 'nobody'"):
        _Learner(small(credit="nobody"), game, "agent", 8, 0, {})


def test_team_credit_is_the_sum_over_seats() -> None:
    game = create("games", "Commons", users=3, months=2)
    paid = {credit: _Learner(small(credit=credit), game, "fisher", 4, 0, {}).play().paid for credit in ("own", "team")}
    np.testing.assert_allclose(paid["team"], np.repeat(paid["own"].sum(axis=2, keepdims=True), 3, axis=2))
    assert paid["own"].std() > 0


def test_welfare_credits_every_seat_with_what_the_game_says_was_created() -> None:
    """To customers too, whom no role stands for: output 0.4 at a price of 0.6 and a cost of 0 leaves them 0.08."""
    game = create("games", "Quantity", firms=3, c=0.0, repetitions=2)
    credited = {}
    for credit, name, seats in (("welfare", "firm", 3), ("all", "firm", 3), ("welfare", "firm_1", 1)):
        learner = _Learner(small(credit=credit), game, name, 4, 3, {})
        outcome = learner.worlds.step({"firm": {"quantity": np.tile([0.1, 0.2, 0.1], (4, 1))}})
        credited[credit, name] = found = learner.credit(outcome)
        assert found.shape == (4, seats)
    np.testing.assert_allclose(credited["welfare", "firm"], 0.32)
    np.testing.assert_allclose(credited["all", "firm"], 0.24)
    np.testing.assert_allclose(credited["welfare", "firm_1"], 0.32)


# ---- what learns, and what stays ----------------------------------------------------------------------------------


def test_the_loss_of_imitation_is_that_of_the_answer_alone() -> None:
    game, teacher = employment(), Callable(lambda seen: {"accept": "accept", "effort": "high"})
    learner = _Learner(small(teacher=teacher, warmup=1, rate=0.0), game, "agent", 2, 0, {"principal": offer(3.0)})
    found, losses = learner.imitate(0.0), []
    for _, d in learner.play(taught=True).decisions:
        assert d.options[d.pick] in ('"accept"}', '"high"}')
        prompt, end = learner.scorer.tokens(d.chat), learner.scorer.tokenizer.encode(d.options[d.pick])
        labels = torch.tensor([[-100] * len(prompt) + end])  # the mask: what is asked carries no loss
        with torch.no_grad():
            mean = learner.scorer.model(input_ids=torch.tensor([prompt + end]), labels=labels).loss
        losses.append(float(mean) * len(end))
    assert -found == pytest.approx(np.mean(losses), rel=1e-4)


def test_adapters_alone_learn_and_change_nothing_at_first(scorer: Scorer) -> None:
    pytest.importorskip("peft")
    chat, plain = Chat("Rules.", "Go.", "{"), scorer.score([Chat("Rules.", "Go.", "{")], [WORK])[0]
    learner = _Learner(
        small(rate=1e-2, entropy=1.0, lora={"r": 2}), employment(), "agent", 8, 3, {"principal": offer(3.0)}
    )
    np.testing.assert_allclose(learner.scorer.score([chat], [WORK])[0], plain, atol=1e-6)
    before = {name: weight.clone() for name, weight in learner.scorer.model.state_dict().items()}
    learner.reinforce(1.0)
    changed = {n for n, w in learner.scorer.model.state_dict().items() if not torch.equal(w, before[n])}
    assert changed and all("lora_" in name for name in changed)
    assert sum(w.numel() for w in learner.weights) < 5_000


def test_the_same_seed_gives_the_same_curve_and_another_seed_another() -> None:
    policy, game = small(rate=1e-3, group=4, entropy=0.1, kl=0.1, passes=2), employment()
    curves = [
        policy.learn(game, "agent", episodes=3, sessions=8, seed=seed, others={"principal": offer(3.0)}).curve
        for seed in (1, 1, 2)
    ]
    assert curves[0] == curves[1] != curves[2] and len(curves[0]) == 3


@pytest.mark.parametrize("lora", [None, {"r": 2}])
def test_what_was_learned_is_kept_and_acts_the_same_again(tmp_path: Path, lora: dict[str, Any] | None) -> None:
    game, others = employment(), {"principal": offer(3.0)}
    learned = small(rate=1e-2, group=2, lora=lora).learn(game, "agent", episodes=2, sessions=4, others=others)
    learned.save(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert ("adapter_model.safetensors" if lora else "model.safetensors") in names
    assert not any(name.endswith((".bin", ".pt", ".pkl")) for name in names)
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["base"]["Tiny"]["width"] == 32 and card["role"] == "agent" and card["curve"] == learned.curve
    again = LanguageModel({"Tiny": SMALL}, template=BRIEF, levels=6, adapter=tmp_path)
    again.ready()
    chat = Chat("Rules.", "Pay.", '{"effort": ')
    np.testing.assert_allclose(
        again.scorer.score([chat], [WORK])[0], learned.scorer.score([chat], [WORK])[0], atol=1e-6
    )
    told = [
        play(game, {"agent": policy, **others}, worlds=6, seed=2).measures["accepted"] for policy in (learned, again)
    ]
    np.testing.assert_array_equal(*told)
    if lora:
        with pytest.raises(ValueError, match="was learned on model"):
            _ = LanguageModel({"Tiny": {**SMALL, "width": 64}}, adapter=tmp_path).scorer
    with pytest.raises(FileNotFoundError, match="no card.json"):
        LanguageModel({"Tiny": SMALL}, adapter=tmp_path / "nothing").ready()


def test_one_player_learns_among_others_of_its_role() -> None:
    game = create("games", "Commons", users=3, months=2)
    learner = _Learner(small(), game, "fisher_1", 4, 0, {"fisher": create("policies", "scripted", character="fair")})
    played = learner.play()
    assert {d.place[1] for _, d in played.decisions} == {0} and played.paid.shape[2] == 1
    assert {d.chat.user.splitlines()[-1] for _, d in played.decisions} == {"You are fisher_1."}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "ppo"}, "method: one of"),
        ({"group": 1}, "group: "),
        ({"warmup": 2}, "teacher: imitation needs one"),
        ({"lora": {"rank": 8}}, "lora: one of"),
        ({"teacher": {"scripted": {}, "random": {}}}, "teacher: one policy"),
        ({"rate": -1.0}, "rate: "),
    ],
)
def test_wrong_parameters_are_refused_by_name(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Training(**given)


def test_what_cannot_learn_says_so() -> None:
    game, others = employment(), {"principal": offer(3.0)}
    with pytest.raises(ValueError, match=r"sessions: a multiple of training.group \(8\), got 12"):
        small().learn(game, "agent", episodes=1, sessions=12, others=others)
    cold = LanguageModel({"Tiny": SMALL}, temperature=0.0)
    with pytest.raises(ValueError, match="temperature: above 0"):
        cold.learn(game, "agent", episodes=1, sessions=8, others=others)

    class Server:
        def answer(self, *_: Any, **__: Any) -> list[Any]:
            return []

    with pytest.raises(TypeError, match="Server has no weights"):
        LanguageModel(Server()).learn(game, "agent", episodes=1, sessions=8, others=others)


def test_tiny_is_made_from_its_seed_and_reads_numbers_and_any_text() -> None:
    one, two, other = (Tiny(**{**SMALL, "seed": seed}).fresh() for seed in (4, 4, 5))
    weights = [scorer.model.model.embed_tokens.weight for scorer in (one, two, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    ids = one.tokenizer.encode("harvest 85 tonnes, für alle\n")
    assert one.tokenizer.decode(ids) == "harvest 85 tonnes, für alle\n" and "85" in one.tokenizer.convert_ids_to_tokens(
        ids
    )
    assert 150_000 < sum(weight.numel() for weight in Tiny().fresh().model.parameters()) < 900_000
    with pytest.raises(ValueError, match="games"):
        Tiny(["Chess"])


# ---- learning -----------------------------------------------------------------------------------------------------


def test_a_pupil_does_what_its_teacher_does() -> None:
    game, others = employment(), {"principal": offer(3.0)}
    taught = teach(
        small(), game, "agent", Callable(lambda seen: {"accept": "accept", "effort": "high"}),
        episodes=20, sessions=4, rate=2e-2, others=others,
    )  # fmt: skip
    assert taught.curve[-1] > -0.5 and taught.curve[0] < -10.0
    found = play(game, {"agent": taught, **others}, worlds=20, seed=1).measures
    assert found["accepted"].mean() > 0.9 and found["effort"].mean() > 0.9


@pytest.mark.slow
def test_under_a_contract_effort_is_learned_from_rewards() -> None:
    principal, effort = create("policies", "scripted", character="fair"), {}
    for bonus in (0.5, 10.0):  # high effort costs 1 and makes a bonus likelier by 0.4
        terms = Bonus("outcome", payer="principal", payee="agent", amount=bonus, options=("high",))
        game = employment() | Contract(terms=terms)
        policy = small(rate=1e-3, deviation=True, entropy=0.1)
        learned = policy.learn(game, "agent", episodes=25, sessions=32, others={"principal": principal})
        found = play(game, {"agent": learned, "principal": principal}, worlds=60, seed=1).measures
        effort[bonus] = float(found["effort"].mean())
    assert effort[0.5] < 0.3 and effort[10.0] > 0.7


def test_the_reference_of_kl_stays_as_it_was_while_the_model_learns() -> None:
    """What is kept of prompts between calls is each model's own."""
    scorer = Scorer(tiny_llama(), tiny_tokenizer(), device="cpu")
    chats, options = [Chat("rules", "what now?", '{"act": ')], [["1}", "2}", "30}"]]
    before = scorer.score(chats, options)[0]
    reference = scorer.frozen()
    with torch.no_grad():
        for weight in scorer.model.parameters():
            weight += 0.05
    scorer.forget()
    after = scorer.score(chats, options)[0]
    assert np.abs(after - before).max() > 0.01
    np.testing.assert_allclose(reference.score(chats, options)[0], before, atol=1e-4)
