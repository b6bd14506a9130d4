"""A local model that is asked and answers, and can write nothing but what the schema of an answer allows."""

from __future__ import annotations

import decimal
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...envs.core import validate, words
from ...envs.core.fields import Text
from .protocol import Answer, Message

if TYPE_CHECKING:
    from .scorer import Chat, Scorer

FORMS = ("json_schema", "none")
"""How an answer is held to its schema: token by token, or not at all."""

WIDEST = 10**9
"""Where a number ends that no bound holds."""

FINEST = 1e-6
"""Ranges of real numbers below this have one number: their lower end."""

EXACT = decimal.Context(prec=1_000)

ROOM = 24
"""Tokens that an answer is expected to take, by which the sizes of batches are chosen."""

SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""Objects are written as prompts show them."""


class Constrained:
    """Asks a transformers model in this process, and lets it write nothing but what the schema allows.

    Before each token, llguidance names those with which the text can still become an answer of the schema; the model chooses
    among them. So every answer is one: in range, of an option, within its length. What the schema leaves no choice about
    (names, brackets) is not generated but read by the model. All conversations of a call form one tree of tokens over the
    beginning that they share, whose keys and values the ``Scorer`` keeps between calls; equal questions are answered
    once.

    Tokens are chosen among the allowed ones by the model's probabilities, one token after the other. A number is therefore
    not drawn from the model's probabilities of whole numbers, as it is where a model scores all of them (``LanguageModel``
    with a ``Scorer``): see Park et al. (2024), "Grammar-Aligned Decoding".

    What a schema cannot say, or leaves endless, is narrowed first: real numbers are multiples of a power of ten that
    divides their range into at least a thousand steps (hundredths at the coarsest), so that they end; numbers without a
    bound end at a billion, and a range below a millionth is its lower end; texts have at most ``longest`` characters and
    no control characters.

    Parameters
    ----------
    model
        The model: a ``Scorer``, or what ``Scorer.load`` takes ("smollm2", a folder, a hub id).
    structured
        ``"json_schema"``; or ``"none"`` to let the model write freely, as models do that nothing holds.
    longest
        Most characters of a text, and of an answer that nothing holds.
    device
        Where a model runs that is given by name; None chooses at run time.

    Raises
    ------
    ImportError
        When the first question is put, if llguidance is not installed.
    """

    def __init__(
        self,
        model: Scorer | str | Path = "smollm2",
        *,
        structured: Literal["json_schema", "none"] = "json_schema",
        longest: int = 200,
        device: str | None = None,
    ) -> None:
        self.model = model
        self.structured = validate.one_of("structured", structured, FORMS)
        self.longest = validate.whole("longest", longest, 1, 10_000)
        self.device = device
        self._matchers: dict[str, Any] = {}
        self._tokenizer: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is made when it is needed."""
        return vars(self) | {"_matchers": {}, "_tokenizer": None}

    @property
    def scorer(self) -> Scorer:
        """The model, loaded when it is first needed."""
        from .scorer import Scorer

        if isinstance(self.model, str | Path):
            from .policy import load_scorer

            loaded = load_scorer(str(self.model), self.device)
            assert isinstance(loaded, Scorer)
            return loaded
        return self.model

    @property
    def settings(self) -> dict[str, Any]:
        """What decides answers besides the question."""
        name = self.model if isinstance(self.model, str | Path) else self.model.model.name_or_path
        return {"model": str(name), "structured": self.structured, "longest": self.longest}

    def ready(self) -> None:
        """Say what is missing, before anything is played."""
        _llguidance()
        if isinstance(self.model, str | Path):
            from .models import locate

            locate(str(self.model))

    def answer(
        self,
        conversations: Sequence[Sequence[Message]],
        schemas: Sequence[dict[str, Any]],
        *,
        temperature: float,
        luck: Sequence[float],
    ) -> list[Answer]:
        """Answer all conversations together; company changes the probabilities of tokens by rounding alone.

        Parameters
        ----------
        conversations
            What was said so far.
        schemas
            For each conversation the JSON schema of its answer; an empty one asks for plain text.
        temperature
            0 takes the most probable token; 1 samples from the model's own probabilities.
        luck
            For each conversation a number in [0, 1), of which follow the uniform numbers by which its tokens are drawn.

        Returns
        -------
        list
            An answer each; ``error`` says where a schema is beyond llguidance.
        """
        from .scorer import _common

        begun = time.perf_counter()
        numbers = [float(number) if temperature else 0.0 for number in luck]
        marks = ["" if self.structured == "none" else json.dumps(schema) for schema in schemas]
        asked = list(zip(map(_chat, conversations), marks, numbers, strict=True))
        prompts: dict[tuple[Any, ...], list[int]] = {}
        found: dict[tuple[Any, ...], tuple[str, str, int]] = {}
        for job in dict.fromkeys(asked):  # equal questions are answered once
            try:
                forced = self._matcher(job[1])[1]
            except ValueError as why:
                found[job] = "", f"schema: llguidance cannot hold an answer to it: {why}", 0
            else:
                prompts[job] = self.scorer.tokens(job[0]) + forced
        shared = _common([prompt[:-1] for prompt in prompts.values()]) if prompts else 0
        plain = bool(prompts) and self._plain()
        group: list[tuple[Any, ...]] = []
        size, before = 0, list[int]()
        for job in sorted(prompts, key=prompts.__getitem__):  # neighbours share most
            cost = len(prompts[job]) - max(shared, _common([before, prompts[job]])) + ROOM
            if group and (plain or size + cost > self.scorer.chunk):
                found |= zip(
                    group, self._write(shared, [prompts[one] for one in group], group, temperature), strict=True
                )
                group, size, cost = [], 0, len(prompts[job]) - shared + ROOM
            group.append(job)
            size, before = size + cost, prompts[job]
        if group:
            found |= zip(group, self._write(shared, [prompts[one] for one in group], group, temperature), strict=True)
        seconds = (time.perf_counter() - begun) / max(1, len(asked))
        answers = []
        for job, schema in zip(asked, schemas, strict=True):
            text, error, count = found[job]
            text = mended(text, schema) if text and job[1] not in ("", "{}") else text
            answers.append(Answer(text, error, len(prompts.get(job, ())), count, seconds))
        return answers

    def _write(
        self, shared: int, prompts: list[list[int]], jobs: list[tuple[Any, ...]], temperature: float
    ) -> list[tuple[str, str, int]]:
        """Write behind prompts that share a beginning; return (text, error, tokens) each."""
        import torch

        from .scorer import _next, _Trie

        scorer, tokenizer = self.scorer, self._tokens()
        prefix = prompts[0][:shared]
        trie = _Trie()
        sees: list[list[int]] = [[]]  # of each node those that it sees: its ancestors and itself
        at = [trie.add(prompt[shared:])[-1] for prompt in prompts]
        matchers = [self._matcher(mark)[0].deep_copy() for _, mark, _ in jobs]
        written = [list(self._matcher(mark)[1]) for _, mark, _ in jobs]
        draws = [np.random.default_rng(int(number * 2**53)) for _, _, number in jobs]
        fresh = [list[int]()] * len(jobs)
        open_ = [i for i, matcher in enumerate(matchers) if not matcher.is_stopped()]
        with torch.inference_mode():
            cache = scorer._prefixes.pop(tuple(prefix), None) or scorer._cache(prefix)
            while open_:
                done, count = len(sees), len(trie.token)
                for node in range(done, count):
                    sees.append([*sees[trie.parent[node]], node - 1])
                allowed = np.zeros((count - done, count - 1), dtype=bool)
                for node in range(done, count):
                    allowed[node - done, sees[node]] = True
                keep = sorted({at[i] for i in open_})
                depths, rows = [depth - 1 for depth in trie.depth[done:]], [node - done for node in keep]
                out = scorer._logits(trie.token[done:], depths, allowed, rows, shared, cache)
                logits = dict(zip(keep, out.double().cpu().numpy(), strict=True))
                for i in open_:
                    fresh[i] = _step(matchers[i], logits[at[i]], temperature, draws[i], _next)
                    written[i] += fresh[i]
                open_ = [i for i in open_ if not matchers[i].is_stopped()]
                for i in open_:
                    for token in fresh[i]:  # on a branch of its own
                        trie.token.append(token)
                        trie.parent.append(at[i])
                        trie.depth.append(trie.depth[at[i]] + 1)
                        at[i] = len(trie.token) - 1
            if len(sees) > 1:
                cache.crop(-(len(sees) - 1))
            scorer._prefixes[tuple(prefix)] = (
                cache  # off the shelf while in use: a pass that fails leaves nothing wrong
            )
            while len(scorer._prefixes) > 4:
                scorer._prefixes.popitem(last=False)
        results = []
        for matcher, tokens in zip(matchers, written, strict=True):
            text = tokenizer.decode_str([token for token in tokens if token != tokenizer.eos_token])
            stuck = (
                "" if matcher.is_accepting() else f"the model has no tokens for an answer of the schema after {text!r}"
            )
            results.append(("" if stuck else text, stuck, len(tokens)))
        return results

    def _plain(self) -> bool:
        """Say whether the model takes no trees; then each conversation is answered on its own."""
        from .scorer import Chat

        if self.scorer.plain is None:
            self.scorer.score([Chat("", "?")], [["one way", "another"]])  # finds out how the model can be run
        return bool(self.scorer.plain)

    def _matcher(self, mark: str) -> tuple[Any, list[int]]:
        """Return what follows an answer of a schema token by token, and the tokens with which all such answers begin."""
        if mark not in self._matchers:
            kind = _llguidance().LLMatcher
            schema = json.loads(mark) if mark else {}
            if schema:
                grammar = kind.grammar_from_json_schema(narrowed(schema, self.longest), overrides=SPACING)
            else:
                grammar = kind.grammar_from_regex(rf"(?s:.{{0,{self.longest}}})")
            matcher = kind(self._tokens(), grammar, log_level=0)
            if matcher.is_error():
                raise ValueError(matcher.get_error().strip().splitlines()[0])
            self._matchers[mark] = matcher, _forced(matcher)
        matcher, forced = self._matchers[mark]
        return matcher, forced

    def _tokens(self) -> Any:
        """Return the tokenizer as llguidance reads it."""
        if self._tokenizer is None:
            from .scorer import quiet

            with quiet():
                self._tokenizer = _lltokenizer(self.scorer)
        return self._tokenizer


def narrowed(schema: dict[str, Any], longest: int) -> dict[str, Any]:
    """Return a schema all of whose answers are answers of the given one, and come to an end.

    Parameters
    ----------
    schema
        An object of numbers, whole numbers, texts, options and such objects, as ``words.schema`` writes it.
    longest
        Most characters of a text.
    """
    found = dict(schema)
    kind = schema.get("type")
    if kind == "object":
        found["properties"] = {name: narrowed(part, longest) for name, part in schema["properties"].items()}
    elif kind == "string":
        found["maxLength"] = min(schema.get("maxLength", longest), longest)
        found["pattern"] = r"^[^\p{C}]*$"
    elif kind in ("integer", "number"):
        low = found["minimum"] = schema.get("minimum", min(-WIDEST, schema.get("maximum", 0) - WIDEST))
        high = found["maximum"] = schema.get("maximum", max(WIDEST, low + WIDEST))
        if high - low < FINEST:
            return {"enum": [low]}
        if kind == "number":
            step = decimal.Decimal(1).scaleb(-max(2, 3 - math.floor(math.log10(high - low))))
            found["minimum"] = float(decimal.Decimal(low).quantize(step, decimal.ROUND_CEILING, EXACT))
            found["maximum"] = float(decimal.Decimal(high).quantize(step, decimal.ROUND_FLOOR, EXACT))
            found["multipleOf"] = float(step)
    return found


def _llguidance() -> Any:
    try:
        import llguidance
    except ImportError:
        raise ImportError(
            "Constrained: needs llguidance, which is not installed; pip install 'societas[llm]'"
        ) from None
    return llguidance


class _Plain:
    """A tokenizer as llguidance asks for it, whose tokens are the texts that they are read as."""

    def __init__(self, tokenizer: Any, size: int) -> None:
        self.eos_token_id, self.bos_token_id = tokenizer.eos_token_id, tokenizer.bos_token_id
        self.special_token_ids = sorted(tokenizer.all_special_ids)
        self.tokens = [tokenizer.decode([i]).encode() if i < len(tokenizer) else b"" for i in range(size)]
        for i in self.special_token_ids:
            self.tokens[i] = b"\xff<%d>" % i  # a byte that no text has
        self._tokenizer = tokenizer

    def __call__(self, text: bytes | str) -> list[int]:
        """Return the tokens of a text."""
        text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        return list(self._tokenizer.encode(text, add_special_tokens=False))


def _lltokenizer(scorer: Scorer) -> Any:
    """Return a transformers tokenizer as llguidance reads it, with as many tokens as the model has."""
    llguidance = _llguidance()
    from llguidance.hf import from_tokenizer

    tokenizer, size = scorer.tokenizer, int(scorer.model.config.vocab_size)
    try:
        return from_tokenizer(tokenizer, n_vocab=size)
    except ValueError:  # its tokens are neither bytes nor have a fallback to them
        return llguidance.LLTokenizer(llguidance.TokenizerWrapper(_Plain(tokenizer, size)), n_vocab=size)


def _forced(matcher: Any) -> list[int]:
    """Return and take the tokens that leave no choice."""
    tokens = list(matcher.compute_ff_tokens())
    matcher.consume_tokens(tokens)
    return tokens


def _step(
    matcher: Any, logits: np.ndarray[Any, Any], temperature: float, draw: np.random.Generator, choose: Any
) -> list[int]:
    """Choose a token among those that are allowed; return and take it, with those that it leaves no choice about."""
    bits = np.frombuffer(matcher.compute_bitmask(), np.uint8)
    allowed = np.flatnonzero(np.unpackbits(bits, bitorder="little")[: len(logits)])
    if not len(allowed):  # the matcher has stopped
        return []
    token = int(allowed[choose(logits[allowed], temperature, draw.random())])
    matcher.consume_token(token)
    return [token, *([] if matcher.is_stopped() else _forced(matcher))]


def mended(text: str, schema: dict[str, Any]) -> str:
    """Return an answer whose texts have their length in the form in which they are held, and whose numbers are in range.

    llguidance counts characters before they are composed, and reads the last digit of a bound of 17 digits inexactly.
    """

    def held(value: Any, part: dict[str, Any]) -> Any:
        if isinstance(value, dict):
            return {name: held(one, part["properties"][name]) for name, one in value.items()}
        if isinstance(value, str) and "maxLength" in part and len(Text.normal(value)) > part["maxLength"]:
            space = Text(part["maxLength"])
            return space.decode(space.encode(value, cut=True))
        if isinstance(value, float):
            return min(max(value, part.get("minimum", value)), part.get("maximum", value))
        return value

    given = json.loads(text)
    fitting = held(given, schema)
    return text if fitting == given else json.dumps(fitting, ensure_ascii=False)


def _chat(conversation: Sequence[Message]) -> Chat:
    """Put a conversation as one question: earlier answers and what was said to them follow the first question."""
    from .scorer import Chat

    system = "\n\n".join(m.content for m in conversation if m.role == "system")
    parts: list[str] = []
    for message in conversation:
        if message.role == "assistant":
            parts.append(f"Your answer was: {words.quoted(words.disarm(message.content[:400]))}")
        elif message.role == "user":
            parts.append(message.content)
    return Chat(system, "\n\n".join(parts))
