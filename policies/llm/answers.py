"""Answers of language models: read strictly, mended by named rules where their meaning is beyond doubt, and counted."""

from __future__ import annotations

import copy
import functools
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ...envs.core import words
from ...envs.core.fields import Choice, Field, Text
from ...envs.core.game import Measure
from ...envs.core.words import Act, Complaint, disarm
from .protocol import Answer, Message

LONGEST = 20_000
"""Most characters of an answer, besides marked thinking; what is cut short could mean something else."""

RULES = {
    "thoughts": "thinking before the answer, marked as such, is left out",
    "code fence": "the object stands in a code fence",
    "words around": "words stand before or after the object, which has its own lines or follows a colon",
    "trailing comma": "a comma before a closing bracket is left out",
    "single quotes": "single quotation marks stand for double ones",
    "bare value": "the value of the only field is given without its name",
    "name in other case": "the name of a field or component is written in other case",
    "reason": "an explanation is given besides what was asked",
    "number in quotes": "a number is given as a text",
    "unit": "a number is followed by its unit",
    "other case": "an option is written in other case or with spaces around it",
    "number for its text": "an option that is a number is given without quotation marks",
}
"""What is mended in an answer, rule by rule. Whatever else is wrong is asked again."""

OUTCOMES = ("good", "repaired", "again", "defaulted")
"""What becomes of a decision: answered well at once, mended at once, answered after a complaint, or replaced."""

_REASONS = frozenset({"reason", "reasons", "reasoning", "rationale", "thought", "thoughts", "explanation", "comment"})
_THOUGHTS = re.compile(r"\s*<(think|thinking|reasoning)>.*</\1>", re.DOTALL)
_FENCE_OPENS, _FENCE_CLOSES = re.compile(r"```[\w-]*\s*\Z"), re.compile(r"\s*```")
_NUMBER = re.compile(r"([+-]?\d{1,300}(?:\.\d{1,300})?)\s*(.*)", re.DOTALL)
_COMMA = re.compile(r'("(?:\\.|[^"\\])*(?:"|\Z))|,(\s*[}\]])')


class Reading(NamedTuple):
    """What an answer was read as: the act and the rules by which it was mended, or the complaint."""

    act: Act | None
    rules: tuple[str, ...]
    complaint: Complaint | None


def form(fields: tuple[Field, ...]) -> str:
    """Return the form of an answer that decides these fields."""
    return "{" + ", ".join(f'"{one.name}": {words.example(one)}' for one in fields) + "}"


def understand(answer: str, fields: tuple[Field, ...]) -> Reading:
    """Read an answer: one JSON object as it was asked for, or what the ``RULES`` make of it beyond doubt.

    Text that names more than one object, that gives a name twice, or whose object stands amid other words is not
    beyond doubt (a model may quote what others want it to do), and leads to a complaint.
    """
    rules: list[str] = []
    try:
        found = _object(answer, fields, rules)
        if isinstance(found, Complaint):
            return Reading(None, tuple(rules), found)
        mended = json.dumps(_mended(found, fields, rules))
        act = words.parse(mended, fields)
    except (ValueError, OverflowError, RecursionError):
        return Reading(None, tuple(rules), _complaint(json.dumps(answer[:60]), fields))
    if isinstance(act, Complaint):
        return Reading(None, tuple(rules), act)
    for one in fields:
        flat = np.asarray(act[one.name], dtype=float)
        if not np.isfinite(flat).all():
            return Reading(None, tuple(rules), words.complain(one, "infinity"))
    return Reading(act, tuple(dict.fromkeys(rules)), None)


def _complaint(given: str, fields: tuple[Field, ...], allowed: str = "a JSON object") -> Complaint:
    return Complaint("answer", given, allowed, f"answer with JSON of the form {form(fields)}")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is given twice")
    return found


_load = functools.partial(json.loads, object_pairs_hook=_pairs)


def _object(answer: str, fields: tuple[Field, ...], rules: list[str]) -> dict[str, Any] | Complaint:
    """Return the one object that an answer is, or holds beyond doubt."""
    text = answer.strip()
    if not text:
        return _complaint("nothing", fields)
    if thoughts := _THOUGHTS.match(text):
        text = text[thoughts.end() :].strip()
        rules.append("thoughts")
    if len(text) > LONGEST:
        return _complaint(f"a text of {len(text)} characters", fields)
    spans = _spans(text)
    if not spans:
        return _bare(text, fields, rules)
    if len(spans) > 1:
        return _complaint(f"a text with {len(spans)} objects", fields, "one JSON object")
    begin, end = spans[0]
    before, after = text[:begin], text[end:]
    if opening := _FENCE_OPENS.search(before):
        closing = _FENCE_CLOSES.match(after)
        before, after = before[: opening.start()].strip(), after[closing.end() if closing else 0 :].strip()
        rules.append("code fence")
        if before or after:
            rules.append("words around")
    elif before or after:
        head, tail = before.rstrip(), after.removeprefix(".").partition("\n")[0]
        if (head and not head.endswith(":") and "\n" not in before[len(head) :]) or tail.strip():
            return _complaint("an object amid other words", fields, "a JSON object alone")
        rules.append("words around")
    return _loaded(text[begin:end], fields, rules)


def _loaded(text: str, fields: tuple[Field, ...], rules: list[str]) -> dict[str, Any] | Complaint:
    """Read an object; failing that, mend its commas, then its quotation marks."""
    steps: tuple[tuple[str, Callable[[str], str]], ...] = (
        ("trailing comma", lambda text: _COMMA.sub(lambda found: found.group(1) or found.group(2), text)),
        ("single quotes", lambda text: text if '"' in text else text.replace("'", '"')),
    )
    used: list[str] = []
    for name, mend in ((None, None), *steps):
        if mend is not None and name is not None:
            changed = mend(text)
            if changed == text:
                continue
            text = changed
            used.append(name)
        try:
            found = _load(text)
        except ValueError:
            continue
        rules += used
        return dict(found)
    return _complaint(json.dumps(text[:60]), fields)


def _spans(text: str) -> list[tuple[int, int]]:
    """Return where the outermost objects of a text begin and end, whether or not they are sound."""
    spans, depth, begin, quoted = [], 0, 0, False
    for found in re.finditer(r'\\.|["{}]', text, re.DOTALL):
        sign = found.group()
        if sign == '"':
            quoted = depth > 0 and not quoted
        elif sign == "{" and not quoted:
            begin, depth = (found.start() if not depth else begin), depth + 1
        elif sign == "}" and depth and not quoted:
            depth -= 1
            if not depth:
                spans.append((begin, found.end()))
    return [*spans, (begin, len(text))] if depth else spans


def _bare(text: str, fields: tuple[Field, ...], rules: list[str]) -> dict[str, Any] | Complaint:
    """Read an answer without an object as the value of the only field; free text must stand in quotation marks."""
    if len(fields) != 1 or fields[0].each:
        return _complaint(json.dumps(text[:60]), fields)
    try:
        given = _load(text)
    except ValueError:
        given = text.strip("`'* \n").removesuffix(".").strip("`'* \n")
        if isinstance(fields[0].space, Text):
            return _complaint(json.dumps(text[:60]), fields)
    rules.append("bare value")
    return {fields[0].name: given}


def _mended(data: dict[str, Any], fields: tuple[Field, ...], rules: list[str]) -> dict[str, Any]:
    """Mend the names and values of an object; what no rule covers is left as it is."""
    asked = tuple(one.name for one in fields)
    data = _names(data, asked, rules)
    for name in [name for name in data if name not in asked and name.casefold() in _REASONS]:
        del data[name]
        rules.append("reason")
    for one in fields:
        if one.name in data:
            given = data[one.name]
            if one.each and isinstance(given, dict):
                named = _names(given, one.each, rules)
                data[one.name] = {label: _value(one, part, rules) for label, part in named.items()}
            elif not one.each:
                data[one.name] = _value(one, given, rules)
    return data


def _names(data: dict[str, Any], asked: tuple[str, ...], rules: list[str]) -> dict[str, Any]:
    """Write names as they were asked for, where they differ in case alone and only one is meant."""
    known = {name.casefold(): name for name in asked}
    if len(known) < len(asked):
        return dict(data)
    found = [known.get(name.strip().casefold(), name) for name in data]
    if len(set(found)) < len(found) or found == list(data):
        return dict(data)
    rules.append("name in other case")
    return dict(zip(found, data.values(), strict=True))


def _value(one: Field, given: Any, rules: list[str]) -> Any:
    """Mend a value."""
    if isinstance(one.space, Text):
        return given
    if isinstance(one.space, Choice):
        if isinstance(given, int | float) and not isinstance(given, bool) and json.dumps(given) in one.space.options:
            rules.append("number for its text")
            return json.dumps(given)
        if not isinstance(given, str) or given in one.space.options:
            return given
        alike = [option for option in one.space.options if option.casefold() == given.strip().casefold()]
        if len(alike) == 1:
            rules.append("other case")
            return alike[0]
        return given
    found = _NUMBER.fullmatch(given.strip()) if isinstance(given, str) else None
    if found is None or found.group(2) not in ("", one.unit):
        return given
    rules.append("unit" if found.group(2) else "number in quotes")
    return json.loads(re.sub(r"^\+|(?<![\d.])0+(?=\d)", "", found.group(1)))


def follow_up(complaint: Complaint, fields: tuple[Field, ...]) -> str:
    """Return the message that sends an answer back."""
    said = Text(1_000)
    why = disarm(said.decode(said.encode(str(complaint), cut=True)))
    return f"Your answer was not accepted. {why}. Answer again with JSON only, of the form {form(fields)}"


@dataclass
class Ledger:
    """What a policy asked its model and what came of it, over all that it has played.

    ``good``, ``repaired``, ``again`` and ``defaulted`` count decisions, one a world, seat and step, and sum to
    ``decisions``; ``rules`` counts repairs by rule; ``places`` holds the same four numbers by (player, world).
    ``seconds`` is the models' own account of their time; ``cost`` is of the ``priced`` answers.
    """

    calls: int = 0
    questions: int = 0
    tokens_read: int = 0
    tokens_written: int = 0
    cost: float = 0.0
    priced: int = 0
    seconds: float = 0.0
    errors: int = 0
    asked_again: int = 0
    good: int = 0
    repaired: int = 0
    again: int = 0
    defaulted: int = 0
    notes: int = 0
    notes_failed: int = 0
    rules: Counter[str] = field(default_factory=Counter)
    why: Counter[str] = field(default_factory=Counter)
    places: dict[tuple[str, tuple[int, ...]], list[int]] = field(default_factory=dict)

    @property
    def decisions(self) -> int:
        """Decisions that were asked for."""
        return self.good + self.repaired + self.again + self.defaulted

    def asked(self, answers: Sequence[Answer]) -> None:
        """Count one call."""
        self.calls += 1
        for answer in answers:
            self.questions += 1
            self.tokens_read += answer.tokens_read
            self.tokens_written += answer.tokens_written
            self.seconds += answer.seconds
            self.errors += bool(answer.error)
            if answer.cost is not None:
                self.cost, self.priced = self.cost + answer.cost, self.priced + 1

    def decided(self, player: str, world: tuple[int, ...], outcome: str, rules: Sequence[str] = ()) -> None:
        """Count one decision."""
        setattr(self, outcome, getattr(self, outcome) + 1)
        self.rules.update(rules)
        self.places.setdefault((player, world), [0] * len(OUTCOMES))[OUTCOMES.index(outcome)] += 1

    def clear(self) -> None:
        """Begin at zero."""
        self.__dict__.update(Ledger().__dict__)

    def rows(self) -> list[dict[str, str | float]]:
        """Return a row for every counter and every rule that was used: name, value, unit, meaning."""
        rows: list[dict[str, str | float]] = [
            {
                "name": m.name,
                "value": float(getattr(self, m.name.removeprefix("llm_"))),
                "unit": m.unit,
                "means": m.means,
            }
            for m in MEASURES
        ]
        for name, count in sorted(self.rules.items()):
            rows.append({"name": f"llm_rule {name}", "value": float(count), "unit": "answers", "means": RULES[name]})
        for name, count in sorted(self.why.items()):
            means = "answers that were not accepted for this field, or for the answer as a whole"
            rows.append({"name": f"llm_complaint {name}", "value": float(count), "unit": "answers", "means": means})
        return rows

    def measures(self, worlds: int) -> dict[str, np.ndarray[Any, Any]]:
        """Return the four kinds of decisions a world, {measure: (worlds,)}, summed over players."""
        found = {f"llm_{name}": np.zeros(worlds) for name in OUTCOMES}
        for (_, world), counts in self.places.items():
            if len(world) == 1 and world[0] < worlds:
                for name, count in zip(OUTCOMES, counts, strict=True):
                    found[f"llm_{name}"][world[0]] += count
        return found


def _counter(name: str, means: str, unit: str, better: str) -> Measure:
    return Measure(f"llm_{name}", means, f"sum of {name}", unit, "LanguageModel.ledger", better)


MEASURES = (
    _counter("calls", "calls of the language model, each with any number of questions", "calls", "lower"),
    _counter("questions", "questions put to the language model, repetitions included", "questions", "lower"),
    _counter("tokens_read", "tokens that the model read", "tokens", "lower"),
    _counter("tokens_written", "tokens that the model wrote", "tokens", "lower"),
    _counter("cost", "what the answers cost whose price is known", "US dollars", "lower"),
    _counter("priced", "answers whose price is known", "answers", "higher"),
    _counter("seconds", "time that the answers took, as the model states it", "seconds", "lower"),
    _counter("errors", "questions to which no answer came", "questions", "lower"),
    _counter("asked_again", "questions put again after an answer that was not accepted", "questions", "lower"),
    _counter("good", "decisions answered as asked at once", "decisions", "higher"),
    _counter("repaired", "decisions answered at once and mended by rule", "decisions", "lower"),
    _counter("again", "decisions answered after a complaint", "decisions", "lower"),
    _counter("defaulted", "decisions replaced by the declared default", "decisions", "lower"),
    _counter("notes", "texts written for the model's own memory", "texts", "higher"),
    _counter(
        "notes_failed", "texts for the memory that were not written; what it held before was kept", "texts", "lower"
    ),
)
"""The counters of a ledger, as measures."""


def ask(
    model: Any,
    conversations: Sequence[Sequence[Message]],
    schemas: Sequence[dict[str, Any]],
    temperature: float,
    luck: Sequence[float],
    ledger: Ledger,
) -> list[Answer]:
    """Put all conversations to a model in one call, and count it.

    A connection that fails (OSError) is an error in every answer, not the end of the run.
    """
    if not conversations:
        return []
    asked = [list(conversation) for conversation in conversations]
    try:
        answers = list(
            model.answer(asked, [copy.deepcopy(s) for s in schemas], temperature=temperature, luck=list(luck))
        )
    except OSError as error:  # late, refused or broken off
        answers = [Answer("", f"{type(error).__name__}: {error}") for _ in asked]
    if len(answers) != len(asked) or not all(isinstance(answer, Answer) for answer in answers):
        kinds = ", ".join(sorted({type(answer).__name__ for answer in answers})) or "none"
        raise TypeError(
            f"model: answer of {type(model).__name__} returned {len(answers)} values ({kinds}) to {len(asked)} "
            "conversations; return one Answer for each"
        )
    ledger.asked(answers)
    return answers
