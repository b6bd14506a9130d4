"""Answers that a grammar holds to their schema: always legal, and chosen as the model's probabilities say."""

from __future__ import annotations

import json
import pickle
import sys
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import tiny_llama, tiny_tokenizer

import societas
from societas.envs.core import words
from societas.envs.core.fields import Choice, Field, Integer, Real, Text
from societas.mechanisms.talk import Talk
from societas.policies.llm.answers import understand
from societas.policies.llm.policy import LanguageModel
from societas.policies.llm.protocol import Answers, Message

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
llguidance = pytest.importorskip("llguidance")
torch.set_num_threads(1)

from societas.policies.llm.constrained import SPACING, Constrained, mended, narrowed  # noqa: E402
from societas.policies.llm.models import locate  # noqa: E402
from societas.policies.llm.scorer import Chat, Scorer  # noqa: E402

SAY = (Field("say", Text(6), means="a word"), Field("pay", Real(0, 2), means="a wage", each=("low", "high")))
MOVE = (Field("move", Choice(("left", "right", "up")), means="where"),)


def talk(text: str) -> list[Message]:
    return [Message("system", "Share the lake."), Message("user", text)]


@pytest.fixture(scope="module")
def tiny() -> Constrained:
    return Constrained(Scorer(tiny_llama(), tiny_tokenizer(), device="cpu"), longest=12)


def ask(model: Constrained, texts: list[str], fields: Any, temperature: float, luck: list[float]) -> list[str]:
    schema = words.schema(fields)
    answers = model.answer([talk(t) for t in texts], [schema] * len(texts), temperature=temperature, luck=luck)
    assert not any(answer.error for answer in answers)
    return [answer.text for answer in answers]


signs = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=6)
ends = st.floats(-1e6, 1e6, allow_nan=False)
spaces = st.one_of(
    st.lists(st.integers(-10_000, 10_000), min_size=2, max_size=2).map(lambda two: Integer(min(two), max(two))),
    st.lists(ends, min_size=2, max_size=2).map(lambda two: Real(min(two), max(two))),
    st.floats(0, 1).map(lambda width: Real(1 / 3, 1 / 3 + width * 1e-3)),
    ends.map(lambda low: Real(low=low)),
    ends.map(lambda high: Real(high=high)),
    st.just(Real()),
    st.lists(signs, min_size=1, max_size=5, unique=True).map(lambda options: Choice(tuple(options))),
    st.integers(1, 30).map(Text),
)
labels = st.sampled_from([(), (), ("one",), ("low", "high"), ('a "b"', "c\\d")])


@settings(max_examples=25, deadline=None)
@given(
    kinds=st.lists(st.tuples(spaces, labels), min_size=1, max_size=3),
    temperature=st.sampled_from([0.0, 1.0, 5.0]),
    luck=st.floats(0, 1, exclude_max=True),
)
def test_every_answer_is_one_of_the_schema(
    tiny: Constrained, kinds: list[tuple[Any, tuple[str, ...]]], temperature: float, luck: float
) -> None:
    fields = tuple(Field(f"f{i}", space, means="it", each=each) for i, (space, each) in enumerate(kinds))
    for text in ask(tiny, ["Now?", "And now?"], fields, temperature, [luck, luck]):
        reading = understand(text, fields)
        assert reading.complaint is None and reading.rules == (), (text, reading)
        jsonschema.validate(json.loads(text), words.schema(fields))


def test_the_ledger_shows_good_answers_alone() -> None:
    model = Constrained(Scorer(tiny_llama(), tiny_tokenizer(), device="cpu"), longest=12)
    assert isinstance(model, Answers)
    game = societas.make("HiddenAction", repetitions=2) | Talk(text=8)
    players = {
        role.name: LanguageModel(model, memory={"summary": {"every": 2, "length": 20}}, again=0) for role in game.roles
    }
    societas.play(game, players, worlds=2)
    for policy in players.values():
        assert policy.ledger.good == policy.ledger.decisions >= 4
        assert policy.ledger.errors == policy.ledger.asked_again == 0 and not policy.ledger.why
        assert policy.ledger.notes + policy.ledger.notes_failed > 0


def alone(model: Constrained, text: str, fields: Any) -> str:
    """Write greedily, with a forward pass over the whole text for each token and nothing kept between them."""
    scorer = model.scorer
    grammar = llguidance.LLMatcher.grammar_from_json_schema(
        narrowed(words.schema(fields), model.longest), overrides=SPACING
    )
    matcher = llguidance.LLMatcher(model._tokens(), grammar)
    prompt, written = scorer.tokens(Chat("Share the lake.", text)), list[int]()
    while not matcher.is_stopped():
        with torch.inference_mode():
            logits = scorer.model(input_ids=torch.tensor([prompt + written])).logits[0, -1].double().numpy()
        mask = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")[: len(logits)]
        written.append(int(np.where(mask, logits, -np.inf).argmax()))
        assert matcher.consume_token(written[-1])
    return str(scorer.tokenizer.decode(written))


@pytest.mark.parametrize("chunk", [60, 4096])
def test_a_tree_of_conversations_writes_what_each_would_alone(chunk: int) -> None:
    model = Constrained(Scorer(tiny_llama(), tiny_tokenizer(), device="cpu", chunk=chunk), longest=12)
    texts = [f"You are number {i}." + " Go on." * (i % 3) for i in range(5)]
    assert ask(model, texts, SAY, 0.0, [0.5] * 5) == [alone(model, text, SAY) for text in texts]
    some = ask(model, texts, SAY, 1.0, [0.1, 0.2, 0.3, 0.4, 0.5])
    assert some == [ask(model, [text], SAY, 1.0, [(i + 1) / 10])[0] for i, text in enumerate(texts)]
    model.scorer.plain = True  # a model that takes no trees
    assert ask(model, texts, SAY, 1.0, [0.1, 0.2, 0.3, 0.4, 0.5]) == some


def test_choices_follow_the_probabilities_of_the_allowed_tokens(tiny: Constrained) -> None:
    count, first = 600, [option[0] for option in MOVE[0].space.options]  # type: ignore[union-attr]
    chat = Chat("Share the lake.", "Where?", '{"move": "')
    chances = np.exp(tiny.scorer.score([chat], [first])[0])
    for temperature in (1.0, 3.0):
        expected = chances ** (1 / temperature) / (chances ** (1 / temperature)).sum()
        luck = ((np.arange(count) + 0.5) / count).tolist()
        found = ask(tiny, ["Where?"] * count, MOVE, temperature, luck)
        shares = np.array([sum(json.loads(text)["move"][0] == sign for text in found) for sign in first]) / count
        assert (np.abs(shares - expected) < 4 * np.sqrt(expected * (1 - expected) / count) + 1e-9).all()
        assert found == ask(tiny, ["Where?"] * count, MOVE, temperature, luck)


def test_equal_questions_are_answered_once(tiny: Constrained, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    forward = tiny.scorer.model.forward

    def counted(*args: Any, **named: Any) -> Any:
        sizes.append(int(named["input_ids"].numel()))
        return forward(*args, **named)

    monkeypatch.setattr(tiny.scorer.model, "forward", counted)
    one = ask(tiny, ["What?"], SAY, 0.0, [0.1])
    tokens, sizes[:] = sum(sizes), []
    assert ask(tiny, ["What?"] * 50, SAY, 0.0, np.linspace(0, 0.9, 50).tolist()) == one * 50
    assert sum(sizes) <= tokens


def test_keys_and_values_are_kept_also_where_a_prompt_goes_on_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Constrained(Scorer(tiny_llama(), tiny_tokenizer(), device="cpu"))
    sizes: list[int] = []
    forward = model.scorer.model.forward

    def counted(*args: Any, **named: Any) -> Any:
        sizes.append(int(named["input_ids"].numel()))
        return forward(*args, **named)

    first = ask(model, ["It is month 1 and all is well."], MOVE, 0.0, [0.5])
    monkeypatch.setattr(model.scorer.model, "forward", counted)
    second = ask(model, ["It is month 2 and all is well."], MOVE, 0.0, [0.5])
    assert sum(sizes) < 60 < len(model.scorer.tokens(Chat("Share the lake.", "It is month 2 and all is well.")))
    assert second == [alone(model, "It is month 2 and all is well.", MOVE)]
    assert ask(model, ["It is month 1 and all is well."], MOVE, 0.0, [0.5]) == first
    assert first == [alone(model, "It is month 1 and all is well.", MOVE)]


def test_what_a_schema_leaves_endless_is_narrowed() -> None:
    def number(**bounds: float) -> dict[str, Any]:
        return narrowed({"type": "number", **bounds}, 5)

    assert number(minimum=0, maximum=100)["multipleOf"] == 0.01
    assert number(minimum=0.5, maximum=1.5)["multipleOf"] == 0.001
    assert number(minimum=1 / 3, maximum=1 / 3 + 2e-4) == {
        "type": "number",
        "minimum": 0.3333334,
        "maximum": 0.3335333,
        "multipleOf": 1e-7,
    }
    assert number(minimum=2.5, maximum=2.5) == number(minimum=2.5, maximum=2.5 + 1e-7) == {"enum": [2.5]}
    assert number(minimum=5)["maximum"] >= 10**9 and number()["minimum"] == -(10**9)
    assert narrowed({"type": "integer", "minimum": 2 * 10**9}, 5)["maximum"] == 3 * 10**9
    assert narrowed({"type": "string", "maxLength": 9}, 5)["maxLength"] == 5
    assert narrowed({"type": "string", "maxLength": 3}, 5)["maxLength"] == 3


def test_texts_that_grow_when_composed_are_cut() -> None:
    fields = (Field("say", Text(3), means="a word"), Field("tell", Text(9), means="a word", each=("x",)))
    grows = "\u0958\u0958"  # each is held as two characters
    text = json.dumps({"say": grows, "tell": {"x": grows}}, ensure_ascii=False)
    assert understand(text, fields).complaint is not None
    act = understand(mended(text, words.schema(fields)), fields).act
    assert act == {"say": [0x915, 0x93C, 0x915], "tell": [[0x915, 0x93C, 0x915, 0x93C, 0, 0, 0, 0, 0]]}


def test_a_schema_beyond_the_model_is_an_error_of_its_answer_alone(tiny: Constrained) -> None:
    foreign = words.schema((Field("name", Choice(("\u00e9", "\u00e8")), means="who"),))  # no token writes these
    wrong = {"type": "object", "properties": {"x": {"type": "string", "format": "nonsense"}}, "required": ["x"]}
    fine = words.schema(MOVE)
    answers = tiny.answer([talk("?")] * 3, [foreign, wrong, fine], temperature=0.0, luck=[0.1] * 3)
    assert "no tokens for an answer of the schema" in answers[0].error and not answers[0].text
    assert "llguidance cannot hold an answer to it" in answers[1].error
    assert not answers[2].error and understand(answers[2].text, MOVE).rules == ()


def test_a_model_that_nothing_holds_answers_and_the_run_goes_on() -> None:
    model = Constrained(Scorer(tiny_llama(), tiny_tokenizer(), device="cpu"), structured="none", longest=6)
    schema = words.schema(MOVE)
    for temperature in (0.0, 1.0):
        first, second, other = model.answer(
            [talk("How?")] * 3, [schema] * 3, temperature=temperature, luck=[0.1, 0.1, 0.7]
        )
        assert first.text == second.text and first.tokens_read > 10 and 0 < first.tokens_written <= 7
        assert (other.text == first.text) == (temperature == 0.0)
    policy = LanguageModel(model, again=1)
    societas.play(societas.make("MatrixGame", repetitions=1), {"player": policy})
    ledger = policy.ledger
    assert ledger.decisions == 2 and ledger.asked_again >= ledger.defaulted and ledger.tokens_written > 0


def test_what_is_missing_is_said_beforehand(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("SOCIETAS_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="societas fetch smollm2"):
        LanguageModel(Constrained()).ready()
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(ImportError, match=r"pip install 'societas\[llm\]'"):
        LanguageModel(Constrained()).ready()
    with pytest.raises(ValueError, match="structured: one of 'json_schema', 'none'"):
        Constrained(structured="json")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="longest"):
        Constrained(longest=0)


def test_settings_name_what_decides_answers_and_copies_are_light(tiny: Constrained) -> None:
    assert Constrained("smollm2").settings == {"model": "smollm2", "structured": "json_schema", "longest": 200}
    assert pickle.loads(pickle.dumps(Constrained("smollm2", longest=9))).settings["longest"] == 9
    assert tiny.settings["longest"] == 12


@pytest.mark.model
def test_smollm2_writes_answers_of_the_schema_in_any_script() -> None:
    try:
        locate("smollm2")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    model = Constrained("smollm2", longest=10)
    fields = (Field("say", Text(10), means="a word in Japanese"), Field("take", Integer(10, 20), means="an amount"))
    question = "Say good morning in Japanese and take 15."
    texts = ask(model, [question] * 3, fields, 1.0, [0.1, 0.5, 0.9])
    assert all(understand(text, fields).rules == () and understand(text, fields).act for text in texts)
    assert len(set(texts)) == 3
    assert ask(model, [question], fields, 1.0, [0.5]) == texts[1:2]
