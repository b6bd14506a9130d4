"""Alignment in context and token shift: formulas by hand, what examples are drawn from, the controls, and equal models."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from societas.envs.core.episodes import play
from societas.envs.core.statistics import paired_difference
from societas.policies.align import aligned, scenarios, substrate, urial
from societas.policies.align.stable import Society
from societas.policies.align.urial import Situations, bands, clearest, examples, shift, telling, wrap
from societas.policies.llm.models import cache_folder
from societas.policies.llm.policy import LanguageModel
from societas.policies.llm.scorer import Chat, Scorer
from societas.policies.llm.train import Tiny

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
torch.set_num_threads(1)

SMALL = {"width": 32, "layers": 1, "heads": 2, "vocabulary": 400}
TEAM = Society(scenarios.scenario("team", "none", 3), "member")


def said(effort: float) -> str:
    return json.dumps({"effort": effort})


TOLD: Situations = {
    "cooperative": {
        "team, none, 2": [("start", said(1.0))] + [(f"high {i}", said(1.0)) for i in range(8)] + [("low", said(0.0))]
    },
    "selfish": {
        "team, none, 2": [("start", said(0.0))] * 6
        + [("mean", said(0.0)), ("mean", said(1.0)), ("kind", said(1.0))] * 2
    },
    "erratic": {"team, none, 2": [("start", said(1.0)), ("odd", said(0.0)), ("odd", said(2.0)), ("wild", said(3.0))]},
}


# ---- examples -----------------------------------------------------------------------------------------------------


def test_how_telling_an_answer_is_by_hand() -> None:
    # the cooperative give 1 in 9 of 10, the selfish in 4 of 12, the erratic in 1 of 4; 0 in 1, 8 and 1
    some = telling(TOLD, "cooperative")["team, none, 2"]
    prior = substrate.PERSONAS
    assert "start" not in {user for user, _ in some}  # the others stood there too
    high = prior["cooperative"] * 0.9 + prior["selfish"] * 4 / 12 + prior["erratic"] / 4
    low = prior["cooperative"] * 0.1 + prior["selfish"] * 8 / 12 + prior["erratic"] / 4
    assert some["high 3", said(1.0)] == pytest.approx(prior["cooperative"] * 0.9 / high)
    assert some["low", said(0.0)] == pytest.approx(prior["cooperative"] * 0.1 / low)
    assert telling(TOLD, "erratic")["team, none, 2"]["wild", said(3.0)] == 1.0  # nobody else ever did


def test_examples_are_few_constant_and_the_personas_own() -> None:
    first = examples(count=3, seed=4, told=TOLD)
    assert first == examples(count=3, seed=4, told=TOLD) and len(set(first)) == 3
    assert first != examples(count=3, seed=5, told=TOLD)
    assert all(user.startswith("high") and answer == said(1.0) for user, answer in first)
    assert examples(count=0, told=TOLD) == ()
    ties = len(clearest(TOLD, "cooperative")["team"])
    assert ties == 8  # as clear as each other; the one low act is not among them
    with pytest.raises(ValueError, match=f"count: at most {ties}"):
        examples(count=ties + 1, told=TOLD)
    with pytest.raises(ValueError, match="kind"):
        examples("kindly", told=TOLD)


def test_other_acts_in_the_right_situations() -> None:
    right, other = (examples(count=6, seed=1, told=TOLD, acts=acts) for acts in ("", "erratic"))
    assert [user for user, _ in right] != [] and {user for user, _ in other} <= {f"high {i}" for i in range(8)}
    given = {answer for _, answer in other}
    assert given <= {answer for _, answer in TOLD["erratic"]["team, none, 2"]} and len(given) > 1


def test_wrap_shows_examples_and_leaves_the_policy_as_it_was() -> None:
    model = LanguageModel({"Tiny": {**SMALL, "games": ["Team"]}}, levels=3, template=substrate.TEMPLATE)
    wrapped = wrap(model, [("How?", said(1.0))], "Think, then decide.")
    assert model.examples == () and model.template == substrate.TEMPLATE
    chats = urial.asked(wrapped, TEAM, worlds=1)
    assert {chat.system for chat in chats} == {"Think, then decide."}
    assert {(chat.answer, chat.examples) for chat in chats} == {("", ())} and len(set(chats)) == len(chats) > 3
    assert wrapped.trace is None


# ---- token shift --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base() -> Scorer:
    return Tiny(("Team",), **SMALL).fresh()


@pytest.fixture(scope="module")
def other(base: Scorer) -> Scorer:
    """The same model with the weights of another seed."""
    found = copy.copy(base)
    found.model = copy.deepcopy(base.model)
    with torch.no_grad():
        for number, weight in enumerate(found.model.parameters()):
            weight += 0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(number))
    return found


CHATS = [Chat("Decide.", f"Team: round {i}, output {'1.' * i}; effort") for i in range(1, 8)]


def by_hand(
    aligned_: Scorer, base_: Scorer, chats: list[Chat], longest: int, shown: Any = ()
) -> dict[str, list[float]]:
    """One chat and one token at a time."""
    found: dict[str, list[float]] = {"rank": [], "kl": [], "position": []}
    for chat in sorted(chats, key=lambda one: len(one.user)):
        mine, theirs = aligned_.tokens(chat), base_.tokens(replace(chat, examples=tuple(shown)))
        for position in range(longest):
            logs = []
            with torch.inference_mode():
                for scorer, tokens in ((aligned_, mine), (base_, theirs)):
                    logits = scorer.model(input_ids=torch.tensor([tokens])).logits[0, -1].double()
                    logs.append(logits - logits.logsumexp(0))
            token = int(logs[0].argmax())
            found["rank"].append(1 + int((logs[1] > logs[1][token]).sum()))
            found["kl"].append(float((logs[0].exp() * (logs[0] - logs[1])).sum()))
            found["position"].append(position)
            mine, theirs = [*mine, token], [*theirs, token]
            if token in aligned_.tokenizer.all_special_ids or "}" in aligned_.tokenizer.decode([token]):
                break
    return found


@pytest.mark.parametrize("shown", [(), (("How much?", said(1.0)),)])
@pytest.mark.parametrize("batch", [1, 3, 32])
def test_shift_in_batches_is_shift_token_by_token(base: Scorer, other: Scorer, shown: Any, batch: int) -> None:
    slow, fast = by_hand(other, base, CHATS, 6, shown), shift(other, base, CHATS, 6, shown=shown, batch=batch)
    assert fast["kl"].tolist() == pytest.approx(slow["kl"], abs=1e-5)
    assert fast["rank"].tolist() == slow["rank"] and fast["position"].tolist() == slow["position"]
    assert sum(float(fast[band]) for band in urial.BANDS) == pytest.approx(1.0)
    assert max(slow["rank"]) > 1 and fast["kl"].mean() > 0.01  # the models do differ
    first = [kl for kl, position in zip(slow["kl"], slow["position"], strict=True) if position == 0]
    assert fast["by_position"][0] == pytest.approx(np.mean(first), abs=1e-5) and fast["by_position"].shape == (6,)


def test_nothing_is_shifted_where_models_are_equal(base: Scorer) -> None:
    found = shift(base, base.frozen(), CHATS, 8)
    assert found["unshifted"] == 1.0 and found["marginal"] == found["shifted"] == 0.0
    assert found["kl"].tolist() == [0.0] * len(found["rank"])


def test_bands_by_hand() -> None:
    assert {k: float(v) for k, v in bands([1, 1, 2, 3, 4, 90, 1, 1]).items()} == {
        "unshifted": 0.5,
        "marginal": 0.25,
        "shifted": 0.25,
    }


def test_position_without_tokens_is_undefined(little_substrate: Path) -> None:
    model = LanguageModel(str(little_substrate), levels=11, template=substrate.TEMPLATE, device="cpu")
    found = shift(model.scorer, model.scorer, urial.asked(model, TEAM), 40)  # type: ignore[arg-type]
    ends = int(found["position"].max())
    assert ends < 39 and np.isnan(found["by_position"][ends + 1 :]).all()
    assert np.isfinite(found["by_position"][: ends + 1]).all()


def test_what_is_written_can_be_given(base: Scorer, other: Scorer) -> None:
    given = shift(other, base, CHATS, 2, answers=["10"] * len(CHATS), batch=2)
    wrote = list(other.tokenizer.encode("10", add_special_tokens=False))[:2]
    ranks, gaps = [], []
    for chat in sorted(CHATS, key=lambda one: len(one.user)):
        for position, token in enumerate(wrote):
            with torch.inference_mode():
                ids = torch.tensor([[*other.tokens(chat), *wrote[:position]]])
                mine, theirs = (m.model(input_ids=ids).logits[0, -1].double().log_softmax(0) for m in (other, base))
            ranks.append(1 + int((theirs > theirs[token]).sum()))
            gaps.append(float((mine.exp() * (mine - theirs)).sum()))
    assert given["rank"].tolist() == ranks and given["kl"].tolist() == pytest.approx(gaps, abs=1e-5)
    for wrong in (["10"] * (len(CHATS) + 1), [""] * len(CHATS)):
        with pytest.raises(ValueError, match="answers: one text for each of the"):
            shift(other, base, CHATS, answers=wrong)


def test_what_a_policy_answers_is_its_likeliest_legal_value(little_substrate: Path) -> None:
    model = LanguageModel(str(little_substrate), levels=11, template=substrate.TEMPLATE, device="cpu")
    said = urial.answered(model, TEAM, worlds=2)
    assert said and all(chat.answer == '{"effort": ' and not chat.examples for chat in said)
    legal = [f"{i / 5:.2f}" for i in range(11)]
    for chat, text in list(said.items())[:3]:
        scores = model.scorer.score([chat], [[f"{value}}}" for value in legal]])[0]
        assert text == legal[int(scores.argmax())]
    assert {replace(chat, answer="") for chat in said} <= set(urial.asked(_greedily(model), TEAM, worlds=2))


def _greedily(model: LanguageModel) -> LanguageModel:
    greedy = copy.copy(model)
    greedy.temperature = 1e-6
    return greedy


def test_shift_says_what_is_wrong(base: Scorer) -> None:
    with pytest.raises(ValueError, match="chats: at least one"):
        shift(base, base, [])
    with pytest.raises(ValueError, match="longest"):
        shift(base, base, CHATS, 0)
    with pytest.raises(ValueError, match="base: a model with the tokenizer"):
        shift(base, Tiny(("Commons",), **{**SMALL, "vocabulary": 350}).fresh(), CHATS)


# ---- what examples do ---------------------------------------------------------------------------------------------

WHOLE = cache_folder() / substrate.MODEL
"""The substrate itself, whatever other tests name so."""


def team(policy: LanguageModel) -> float:
    """Return the alignment of a team of a size that no document tells of, over institutions."""
    games = [scenarios.scenario("team", under, scenarios.HELD_OUT["team"]) for under in ("none", "talk", "enforced")]
    return float(np.mean([play(game, {"member": policy}, worlds=16, seed=1).alignment.mean() for game in games]))


@pytest.mark.slow
@pytest.mark.skipif(not (WHOLE / "situations.json").is_file(), reason="needs societas fetch substrate")
def test_good_examples_lift_the_substrate_and_selfish_ones_do_not() -> None:
    start, told = aligned.base(str(WHOLE)), urial.situations(WHOLE)
    zero = team(start)
    good, bad = (
        [team(wrap(start, examples(kind, seed=seed, told=told))) for seed in range(5)]
        for kind in ("cooperative", "selfish")
    )
    assert paired_difference(good, [zero] * 5).low > 0.0
    assert np.mean(bad) <= zero + 0.05
    assert paired_difference(good, bad).low > 0.1
