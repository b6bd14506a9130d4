from __future__ import annotations

import os
import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import tiny_llama, tiny_tokenizer

from societas.policies.llm.models import locate
from societas.policies.llm.scorer import Chat, Scorer, _Blocks

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
torch.set_num_threads(1)

NUMBERS = [f"{n}}}" for n in range(101)]
MIXED = ['fish"}', 'fight"}', '"}', "7}", "wait and see}"]


def make(template: bool = True, **settings: Any) -> Scorer:
    return Scorer(tiny_llama(), tiny_tokenizer(template), device="cpu", **settings)


@pytest.fixture
def scorer() -> Scorer:
    return make()


def naive(scorer: Scorer, chat: Chat, options: list[str]) -> NDArray[np.float64]:
    """One forward pass over the whole text for every option; nothing is taken from the scorer but the prompt."""
    prompt, scores = scorer.tokens(chat), []
    for option in options:
        end = scorer.tokenizer.encode(option, add_special_tokens=False)
        with torch.inference_mode():
            logits = scorer.model(input_ids=torch.tensor([[*prompt, *end]])).logits[0].double()
        logs = torch.log_softmax(logits, dim=-1)
        scores.append(sum(float(logs[len(prompt) - 1 + k, token]) for k, token in enumerate(end)))
    return np.array(scores)


def chats(count: int) -> list[Chat]:
    """Return chats that share their rules and differ in the length of the rest."""
    return [Chat("Share the lake.", f"You are number {i}." + " Go on." * i, '{"take": ') for i in range(count)]


def passes(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the number of tokens of every forward pass."""
    sizes: list[int] = []
    forward = scorer.model.forward

    def counted(*args: Any, **named: Any) -> Any:
        sizes.append(int(named["input_ids"].numel()))
        return forward(*args, **named)

    monkeypatch.setattr(scorer.model, "forward", counted)
    return sizes


@pytest.mark.parametrize("options", [NUMBERS, MIXED, ["9}"]])
def test_the_tree_scores_as_one_pass_per_option_does(scorer: Scorer, options: list[str]) -> None:
    some = chats(3)
    found = scorer.score(some, [options] * 3)
    assert scorer.plain is False
    for chat, scores in zip(some, found, strict=True):
        assert scores.dtype == np.float64 and scores.shape == (len(options),)
        np.testing.assert_allclose(scores, naive(scorer, chat, options), rtol=0, atol=1e-4)


def test_chats_may_have_different_options_and_nothing_in_common(scorer: Scorer) -> None:
    some = [Chat("", "yes?"), Chat("Rules.", "no?", "{"), Chat("Rules.", "no?", "{")]
    options = [NUMBERS[:12], MIXED, NUMBERS[90:]]
    for chat, mine, scores in zip(some, options, scorer.score(some, options), strict=True):
        np.testing.assert_allclose(scores, naive(scorer, chat, mine), rtol=0, atol=1e-4)


def test_no_common_prefix_at_all() -> None:
    scorer = make(template=False)
    some = [Chat("a b", "c"), Chat("x", "y z")]
    for chat, scores in zip(some, scorer.score(some, [MIXED] * 2), strict=True):
        np.testing.assert_allclose(scores, naive(scorer, chat, MIXED), rtol=0, atol=1e-4)


def test_company_does_not_change_a_score(scorer: Scorer) -> None:
    some = chats(4)
    together = scorer.score(some, [NUMBERS] * 4)
    for chat, scores in zip(some, together, strict=True):
        np.testing.assert_allclose(scores, make().score([chat], [NUMBERS])[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("chunk", [1, 150, 100_000])
def test_size_of_a_pass_does_not_change_a_score(chunk: int) -> None:
    some = chats(4)
    for a, b in zip(make(chunk=chunk).score(some, [NUMBERS] * 4), make().score(some, [NUMBERS] * 4), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4)


def uneven() -> list[Chat]:
    """Return chats that part early and late, with long and short rests: blocks of one, of several and of parts of them."""
    some = [Chat("Rules.", f"{i} of 9." + " Wait." * (7 * i % 23), "{") for i in range(9)]
    return [*some, *(Chat("Rules.", "A long story. " * 9 + f"Chapter {i}" + "?" * i) for i in range(5))]


def test_blocks_see_what_a_mask_shows() -> None:
    some = uneven()
    blocks, mask = make(), make()
    mask.blocks = False
    options = [NUMBERS[::9] if i % 2 else MIXED for i in range(len(some))]
    found, right = blocks.score(some, options), mask.score(some, options)
    assert blocks.blocks and not blocks.plain and not mask.blocks and not mask.plain
    for a, b in zip(found, right, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4)
    assert blocks.model.config._attn_implementation == mask.model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("size", [1, 5, 64])
def test_every_node_lies_in_one_block_and_sees_what_it_saw(size: int) -> None:
    rng = np.random.default_rng(size)
    count, shared = 150, 3
    sees = np.zeros((count, count), dtype=bool)
    for node in range(count):
        if node and rng.random() < 0.9:
            sees[node] = sees[rng.integers(max(0, node - 3), node)]
        sees[node, node] = True
    blocks, mask = _Blocks.cut(sees, shared, torch.float32, size)
    rows, keys = blocks.rows.numpy(), blocks.keys.numpy()
    assert rows.shape[1] <= size and mask.shape == (len(rows), 1, rows.shape[1], keys.shape[1])
    np.testing.assert_array_equal(rows.ravel()[blocks.places], np.arange(count))
    for node, place in enumerate(blocks.places.tolist()):
        block, row = divmod(place, rows.shape[1])
        seen = keys[block][mask[block, 0, row].numpy() == 0]
        np.testing.assert_array_equal(seen, [*range(shared), *(shared + np.flatnonzero(sees[node]))])


def test_gradients_through_blocks_are_those_of_a_mask() -> None:
    some, gradients = uneven()[:11], []
    for way in (True, False):
        scorer = make()
        scorer.model.double()
        scorer.blocks = way
        for _, scores in scorer.differentiable(some, [MIXED] * len(some)):
            sum(score.logsumexp(0) for score in scores).backward()
        assert scorer.blocks is way and scorer.plain is False
        gradients.append([parameter.grad.clone() for parameter in scorer.model.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("mask", "refuses"), [(True, False), (True, True), (False, False)])
def test_a_model_that_hands_nothing_on_is_found_out(mask: bool, refuses: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = make()
    forward = scorer.model.forward

    def deaf(*args: Any, **named: Any) -> Any:
        if "blocks" in named and refuses:
            raise TypeError("forward() got an unexpected keyword argument 'blocks'")
        named.pop("blocks", None)
        if not mask:
            named["attention_mask"] = None
        usual, scorer.model.config._attn_implementation = scorer.model.config._attn_implementation, "sdpa"
        try:
            return forward(*args, **named)
        finally:
            scorer.model.config._attn_implementation = usual

    monkeypatch.setattr(scorer.model, "forward", deaf)
    some = [Chat("", "one?"), Chat("", "two?")]
    options = ["1", "2"]  # one token each: no tree within a prompt
    found = scorer.score(some, [options] * 2)
    assert scorer.blocks is False and scorer.plain is not mask
    for chat, scores in zip(some, found, strict=True):
        np.testing.assert_allclose(scores, naive(scorer, chat, options), rtol=0, atol=1e-4)


def test_equal_questions_are_computed_once(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    one = chats(2)[1]
    scorer.score([one], [MIXED])  # the check of the first call
    sizes = passes(scorer, monkeypatch)
    alone = scorer.score([one], [NUMBERS])[0]
    before, sizes[:] = sum(sizes), []
    many = scorer.score([one] * 5, [NUMBERS] * 5)
    assert sum(sizes) <= before
    for scores in many:
        np.testing.assert_allclose(scores, alone, rtol=0, atol=1e-4)


def test_a_prefix_is_kept_between_calls(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    some = chats(3)
    first = scorer.score(some, [NUMBERS] * 3)
    sizes = passes(scorer, monkeypatch)
    again = scorer.score(some, [NUMBERS] * 3)
    shared = len(os.path.commonprefix([scorer.tokens(chat) for chat in some]))  # noqa: RUF071  (token lists, no paths)
    assert sum(sizes) < sum(len(scorer.tokens(c)) - shared for c in some) + 3 * 110
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_failing_pass_does_not_spoil_the_prefix(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    some = chats(3)
    right = scorer.score(some, [NUMBERS] * 3)
    head, fails = scorer.model.lm_head, [True]

    def broken(*args: Any) -> None:
        if fails:
            fails.clear()
            raise MemoryError("no room")

    with head.register_forward_pre_hook(broken):
        with pytest.raises(MemoryError):
            scorer.score(some, [NUMBERS] * 3)
        again = scorer.score(some, [NUMBERS] * 3)
    for a, b in zip(right, again, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4)


def test_callers_may_change_what_they_get(scorer: Scorer) -> None:
    one = chats(1)[0]
    first, second = scorer.score([one, one], [MIXED, MIXED])
    kept = second.copy()
    first[:] = 0.0
    np.testing.assert_array_equal(second, kept)


def test_no_chats_no_scores(scorer: Scorer) -> None:
    assert scorer.score([], []) == []


@pytest.mark.parametrize("options", [["1", "10}"], ["10}", "10}"], ["", "1}"]])
def test_an_option_that_begins_another_is_refused(scorer: Scorer, options: list[str]) -> None:
    with pytest.raises(ValueError, match="options"):
        scorer.score([Chat("s", "u")], [options])


def test_lists_of_different_lengths_are_refused(scorer: Scorer) -> None:
    with pytest.raises(ValueError, match="2 chats"):
        scorer.score(chats(2), [MIXED])


def test_probabilities_of_all_tokens_sum_to_one(scorer: Scorer) -> None:
    characters = [chr(c) for c in range(32, 127)]
    total = np.exp(scorer.score([Chat("s", "u")], [characters])[0]).sum()
    assert 0.0 < total <= 1.0 + 1e-6


def test_a_template_without_system_role_gets_one_message() -> None:
    scorer = make()
    scorer.tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        + scorer.tokenizer.chat_template
    )
    text = scorer.tokenizer.decode(scorer.tokens(Chat("Rules.", "Now.", "{")))
    assert text == "[user]Rules.\n\nNow.\n[assistant]{"


SHOWN = (("Before?", "10}"), ("And then?", "7}"))


@pytest.mark.parametrize("system", ["Rules.", ""])
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            "roles",
            "{system:[system]%s\n}[user]Before?\n[assistant]10}\n[user]And then?\n[assistant]7}\n[user]Now.\n[assistant]{",
        ),
        (
            "no system",
            "[user]{system:%s\n\n}Before?\n[assistant]10}\n[user]And then?\n[assistant]7}\n[user]Now.\n[assistant]{",
        ),
        ("plain", "{system:%s\n\n}Before?\n\n10}\n\nAnd then?\n\n7}\n\nNow.\n\n{"),
    ],
)
def test_examples_are_turns_between_the_rules_and_the_question(kind: str, expected: str, system: str) -> None:
    """Before the question, in their order; what has no system role hears the rules with the first turn, and nothing twice."""
    scorer = make(template=kind != "plain")
    if kind == "no system":
        refusal = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        scorer.tokenizer.chat_template = refusal + scorer.tokenizer.chat_template
    rules = re.sub(r"\{system:([^}]*)\}", lambda m: m[1] % system if system else "", expected)
    assert scorer.tokenizer.decode(scorer.tokens(Chat(system, "Now.", "{", SHOWN))) == rules
    alone = scorer.tokens(Chat(system, "Now.", "{"))
    assert scorer.tokens(Chat(system, "Now.", "{", ())) == alone != scorer.tokens(Chat(system, "Now.", "{", SHOWN))


def test_chats_with_other_examples_are_told_apart_and_scored_as_alone(scorer: Scorer) -> None:
    some = [Chat("Rules.", "Now.", "{", SHOWN[:n]) for n in range(3)] + [Chat("Rules.", "Now.", "{", SHOWN[::-1])]
    scores = scorer.score(some, [MIXED] * 4)
    for chat, score in zip(some, scores, strict=True):
        np.testing.assert_allclose(score, naive(scorer, chat, MIXED), atol=1e-3)
    assert len({tuple(score.round(4)) for score in scores}) == 4


def test_free_text_is_greedy(scorer: Scorer) -> None:
    some = chats(2)
    together = scorer.generate(some, max_new_tokens=5)
    assert together == [scorer.generate([chat], max_new_tokens=5)[0] for chat in some]


@pytest.fixture(scope="module")
def smollm2() -> Scorer:
    try:
        folder = locate("smollm2")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    return Scorer.load(folder, device="cpu")


@pytest.mark.model
def test_smollm2_scores_as_one_pass_per_option_does(smollm2: Scorer) -> None:
    some = chats(2)
    options = [f"{n}}}" for n in (0, 1, 7, 10, 42, 99, 100)]
    for chat, scores in zip(some, smollm2.score(some, [options] * 2), strict=True):
        np.testing.assert_allclose(scores, naive(smollm2, chat, options), rtol=0, atol=1e-4)
    assert smollm2.plain is False


@pytest.mark.model
def test_smollm2_writes_sentences(smollm2: Scorer) -> None:
    text = smollm2.generate([Chat("You are helpful.", "What is the capital of France?")], max_new_tokens=24)[0]
    assert "Paris" in text
