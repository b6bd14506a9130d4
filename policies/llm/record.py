"""Calls of a language model written down as they are made, and played again without the model."""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from .protocol import Answer, Message

if TYPE_CHECKING:
    from .scorer import Chat

KINDS = ("answer", "score", "write")
"""What a model can be asked for, each by the method of that name."""

START = b'{"hash":'
"""How every line of a recording begins."""

LOOKED = 20_000
"""Most lines that are compared with a call that is not in the recording."""

TOLD = 5
"""Calls not in the recording for which the nearest one is looked up; later ones are only named as absent."""


class Recorded:
    """A model whose calls are written to a file, one JSON line ``{hash, request, answer}`` each.

    It has those of the methods ``answer``, ``score`` and ``write`` that the model has. A line holds everything that
    decides the call: the model's name and settings, the conversation, the schema or the options, temperature and luck. The
    lines of a call are written at once behind those that are there, under a lock, so several processes may share a file. A
    last line that was torn when a process was killed is dropped before the next one is written.

    Parameters
    ----------
    model
        What is asked: an object with ``answer``, or with ``score`` and perhaps ``write``; or the name or folder of a
        transformers model.
    path
        The file, for example ``runs/calls.jsonl``.
    name
        Name of the model in the file; by default what it calls itself. Give one where several models share a file.
    resume
        Whether calls that are in the file already are answered from it, each line once and in their order, and the model
        is asked for the others alone: a run that was killed and is started again goes on where it was.
    """

    answer: Callable[..., list[Answer]]
    score: Callable[..., list[np.ndarray[Any, Any]]]
    write: Callable[..., list[str]]

    def __init__(self, model: Any, path: str | Path, *, name: str = "", resume: bool = False) -> None:
        kinds = (
            KINDS[1:] if isinstance(model, str | Path) else tuple(k for k in KINDS if callable(getattr(model, k, None)))
        )
        if not kinds:
            raise TypeError(
                f"model: an object with a method answer or score, or the name of a model, got {type(model).__name__}"
            )
        self.model = model
        self.path = Path(path)
        self.settings = _settings(model, name)
        if self.path.is_file():
            with self.path.open("rb") as file:
                if (begin := file.read(len(START))) != START[: len(begin)]:
                    raise ValueError(f"path: {self.path} is not a recording of calls; give another file")
        self._tape = _Tape(self.path) if resume and self.path.is_file() else None
        for kind in kinds:  # as attributes, so that whoever looks for a method finds those of the model alone
            setattr(self, kind, getattr(self, f"_{kind}"))

    def __repr__(self) -> str:
        return f"Recorded({self.model!r}, {str(self.path)!r})"

    def ready(self) -> None:
        """Say what the model needs, where it is absent."""
        if isinstance(self.model, str | Path):
            from .models import locate

            locate(str(self.model))
        elif callable(check := getattr(self.model, "ready", None)):
            check()

    def _answer(
        self,
        conversations: Sequence[Sequence[Message]],
        schemas: Sequence[dict[str, Any]],
        *,
        temperature: float,
        luck: Sequence[float],
    ) -> list[Answer]:
        """Answer every conversation as the model does."""

        def ask(some: list[int]) -> list[Answer]:
            return list(
                self.model.answer(
                    [conversations[i] for i in some],
                    [schemas[i] for i in some],
                    temperature=temperature,
                    luck=[luck[i] for i in some],
                )
            )

        calls = _answers(conversations, schemas, temperature, luck)
        return [Answer(*answer) for answer in self._call("answer", calls, ask)]

    def _score(self, chats: Sequence[Chat], options: Sequence[Sequence[str]]) -> list[np.ndarray[Any, Any]]:
        """Return one array (options,) a chat, as the model does."""

        def ask(some: list[int]) -> list[np.ndarray[Any, Any]]:
            found = self._asked().score([chats[i] for i in some], [options[i] for i in some])
            return [np.asarray(scores) for scores in found]

        return self._call("score", _scores(chats, options), ask)

    def _write(
        self,
        chats: Sequence[Chat],
        limit: int,
        *,
        temperature: float = 0.0,
        luck: Sequence[float] | None = None,
    ) -> list[str]:
        """Return a text a chat, as the model does."""

        def ask(some: list[int]) -> list[str]:
            lots = None if luck is None else [luck[i] for i in some]
            return list(self._asked().write([chats[i] for i in some], limit, temperature=temperature, luck=lots))

        return self._call("write", _writes(chats, limit, temperature, luck), ask)

    def _asked(self) -> Any:
        """Return the model, loaded where it was only named."""
        if isinstance(self.model, str | Path):
            from .policy import load_scorer

            return load_scorer(str(self.model), None)
        return self.model

    def _call(self, kind: str, calls: list[dict[str, Any]], ask: Any) -> list[Any]:
        """Take from the file what is to be taken, ask for the rest and write it down."""
        requests = [{"kind": kind, "model": self.settings, **call} for call in calls]
        marks = [_digest(request) for request in requests]
        found: dict[int, Any] = {}
        if self._tape is not None:
            for i, mark in enumerate(marks):
                if (kept := self._tape.take(mark)) is not None:
                    found[i] = _revive(kind, kept)
        missing = [i for i in range(len(calls)) if i not in found]
        if missing:
            fresh = ask(missing)
            if len(fresh) != len(missing):
                raise ValueError(
                    f"{kind}: one result for each of {len(missing)} calls, got {len(fresh)} from {self.model!r}"
                )
            lines = [
                {"hash": marks[i], "request": requests[i], "answer": _keep(kind, result)}
                for i, result in zip(missing, fresh, strict=True)
            ]
            try:
                _append(self.path, b"".join(_canonical(line) + b"\n" for line in lines))
            except OSError as error:  # not to be taken for a failure of the model
                raise RuntimeError(f"path: the recording {str(self.path)!r} cannot be written: {error}") from error
            found |= zip(missing, fresh, strict=True)
        return [found[i] for i in range(len(calls))]


class Replay:
    """Plays a recording again, without the model.

    It has those of the methods ``answer``, ``score`` and ``write`` that were recorded. Calls that were made several times
    are answered in the order in which they were answered then. A call that is not in the recording, or was made more often
    than then, is an ``Answer.error`` of ``answer`` and a KeyError of ``score`` and ``write``, with the nearest recorded call
    and the first difference. ``missed`` counts such calls: it is 0 after a true replay.

    Parameters
    ----------
    path
        What ``Recorded`` wrote.
    model
        Name of the model whose calls are played; None for all in the file.
    """

    answer: Callable[..., list[Answer]]
    score: Callable[..., list[np.ndarray[Any, Any]]]
    write: Callable[..., list[str]]

    def __init__(self, path: str | Path, *, model: str | None = None) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"path: no recording {str(self.path)!r}; make one with Recorded(model, path)")
        self._tape = _Tape(self.path)
        self._models = [settings for settings in self._tape.models if model in (None, settings.get("name"))]
        if not self._models:
            if not self._tape.models:
                raise ValueError(f"path: the recording {str(self.path)!r} holds no call")
            names = ", ".join(sorted({repr(settings.get("name")) for settings in self._tape.models}))
            raise ValueError(f"model: {self.path} has no {model!r}; it has: {names}")
        self.missed = 0
        self.settings = self._models[0] if len(self._models) == 1 else {"name": [m.get("name") for m in self._models]}
        for kind in sorted({kind for settings, kind in self._tape.kinds if settings in self._models}):
            setattr(self, kind, getattr(self, f"_{kind}"))

    def __repr__(self) -> str:
        return f"Replay({str(self.path)!r})"

    def rewind(self) -> None:
        """Begin again: every call of the recording may be made once more."""
        self._tape.rewind()
        self.missed = 0

    def _answer(
        self,
        conversations: Sequence[Sequence[Message]],
        schemas: Sequence[dict[str, Any]],
        *,
        temperature: float,
        luck: Sequence[float],
    ) -> list[Answer]:
        """Answer every conversation as it was answered then."""
        answers = []
        for call in _answers(conversations, schemas, temperature, luck):
            try:
                answers.append(Answer(*self._find("answer", call)))
            except KeyError as error:
                answers.append(Answer("", str(error.args[0]), attempts=0))
        return answers

    def _score(self, chats: Sequence[Chat], options: Sequence[Sequence[str]]) -> list[np.ndarray[Any, Any]]:
        """Return one array (options,) a chat, as it was then."""
        return [self._find("score", call) for call in _scores(chats, options)]

    def _write(
        self,
        chats: Sequence[Chat],
        limit: int,
        *,
        temperature: float = 0.0,
        luck: Sequence[float] | None = None,
    ) -> list[str]:
        """Return a text a chat, as it was then."""
        return [self._find("write", call) for call in _writes(chats, limit, temperature, luck)]

    def _find(self, kind: str, call: dict[str, Any]) -> Any:
        """Return the next recorded result of a call, or raise KeyError."""
        self.missed += 1
        requests = [{"kind": kind, "model": settings, **call} for settings in self._models]
        known = [mark for mark in map(_digest, requests) if mark in self._tape]
        if len(known) > 1:
            names = ", ".join(repr(settings.get("name")) for settings in self._models)
            raise KeyError(f"{self.path}: more than one model was asked this; give model=, one of {names}")
        if not known:
            raise KeyError(f"{self.path}: the call is not in the recording{self._tape.nearest(requests)}")
        kept = self._tape.take(known[0])
        if kept is None:
            times = self._tape.times(known[0])
            raise KeyError(f"{self.path}: the call was recorded {times} time{'s' * (times > 1)} and is made once more")
        self.missed -= 1
        return _revive(kind, kept)


class _Tape:
    """Where in a file each call stands, and how often it has been taken."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.places: dict[str, list[int]] = {}
        self.models: list[dict[str, Any]] = []
        self.kinds: list[tuple[dict[str, Any], str]] = []
        self.taken: dict[str, int] = {}
        self.told = 0
        seen = set()
        for place, line in _lines(path):
            request = line["request"]
            self.places.setdefault(line["hash"], []).append(place)
            mark = _canonical([request["model"], request["kind"]])
            if mark not in seen:
                seen.add(mark)
                self.kinds.append((request["model"], request["kind"]))
                if request["model"] not in self.models:
                    self.models.append(request["model"])

    def __contains__(self, mark: str) -> bool:
        return mark in self.places

    def times(self, mark: str) -> int:
        """Return how often a call was recorded."""
        return len(self.places[mark])

    def rewind(self) -> None:
        """Forget what was taken."""
        self.taken.clear()

    def take(self, mark: str) -> Any:
        """Return what was recorded of a call, the next time it was made; None where there is no more."""
        places = self.places.get(mark, [])
        number = self.taken.get(mark, 0)
        if number >= len(places):
            return None
        self.taken[mark] = number + 1
        with self.path.open("rb") as file:
            file.seek(places[number])
            line = json.loads(file.readline())
        if line["hash"] != mark:
            raise ValueError(f"{self.path} was changed while it was played; open it again")
        return line["answer"]

    def nearest(self, requests: list[dict[str, Any]]) -> str:
        """Say which recorded call is most like one that is not there, and where they first differ."""
        self.told += 1
        if self.told > TOLD:
            return ""
        best: tuple[int, int] = (-1, -1)
        found = ""
        plain = [json.loads(_canonical(request)) for request in requests]
        for number, (_, line) in enumerate(_lines(self.path), 1):
            if number > LOOKED:
                break
            there = line["request"]
            for asked in plain:
                if there["model"] != asked["model"] or there["kind"] != asked["kind"]:
                    continue
                equal = sum(there.get(part) == value for part, value in asked.items())
                if equal < best[0]:
                    continue
                alike, where = _compare(there, asked)
                if (equal, alike) > best:
                    best, found = (equal, alike), f"; the nearest, in line {number}, differs in {where}"
        return found


def _answers(
    conversations: Sequence[Sequence[Message]],
    schemas: Sequence[dict[str, Any]],
    temperature: float,
    luck: Sequence[float],
) -> list[dict[str, Any]]:
    """Return what decides each answer."""
    return [
        {
            "conversation": [{"role": role, "content": content} for role, content in conversation],
            "schema": schema,
            "temperature": float(temperature),
            "luck": float(number),
        }
        for conversation, schema, number in zip(conversations, schemas, luck, strict=True)
    ]


def _scores(chats: Sequence[Chat], options: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """Return what decides each array of scores."""
    return [{"chat": _chat(chat), "options": list(some)} for chat, some in zip(chats, options, strict=True)]


def _writes(
    chats: Sequence[Chat], limit: int, temperature: float, luck: Sequence[float] | None
) -> list[dict[str, Any]]:
    """Return what decides each text."""
    lots = [None] * len(chats) if luck is None else [float(number) for number in luck]
    return [
        {"chat": _chat(chat), "limit": int(limit), "temperature": float(temperature), "luck": number}
        for chat, number in zip(chats, lots, strict=True)
    ]


def _chat(chat: Chat) -> dict[str, str]:
    return {"system": chat.system, "user": chat.user, "answer": chat.answer}


def _settings(model: Any, name: str) -> dict[str, Any]:
    """Return what a model is called and what decides its results besides the question."""
    if isinstance(model, str | Path):
        known: Mapping[str, Any] = {"class": "Scorer", "model": str(model)}
    else:
        known = {"class": type(model).__name__}
        own = getattr(model, "settings", None)
        inner = getattr(getattr(model, "model", None), "name_or_path", None)  # of transformers
        if isinstance(own, Mapping):
            known = {**known, **own}
        elif isinstance(inner, str) and inner:
            known = {**known, "model": inner}
    called = name or str(known.get("name") or known.get("model") or known.get("function") or known["class"])
    return dict(json.loads(json.dumps({**known, "name": called}, sort_keys=True)))


def _keep(kind: str, result: Any) -> dict[str, Any]:
    """Return a result as JSON holds it."""
    if kind == "answer":
        return Answer(*result)._asdict()
    if kind == "write":
        return {"text": str(result)}
    values = [value if math.isfinite(value) else str(value) for value in result.tolist()]
    return {"scores": values, "type": str(result.dtype)}


def _revive(kind: str, kept: dict[str, Any]) -> Any:
    """Return a result as the model gave it."""
    if kind == "answer":
        return Answer(**{name: value for name, value in kept.items() if name in Answer._fields})
    if kind == "write":
        return kept["text"]
    return np.array([float(value) if isinstance(value, str) else value for value in kept["scores"]], dtype=kept["type"])


def _canonical(value: Any) -> bytes:
    """Return JSON of one form; the order of names is kept, as it is the order in which a model writes."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def _digest(request: dict[str, Any]) -> str:
    return hashlib.sha256(_canonical(request)).hexdigest()


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield where each line of a recording begins and what it holds; a torn last line is passed over."""
    place = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                found = json.loads(line)
                mark, request = found["hash"], found["request"]
                sound = request["kind"] in KINDS and isinstance(request["model"], dict) and "answer" in found
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{path}, line {number}: not a line of a recording ({error!r}); remove it") from None
            if not sound or mark != _digest(request):
                raise ValueError(
                    f"{path}, line {number}: the request was changed, its hash is another; remove the line"
                )
            yield place, found
            place += len(line)


def _append(path: Path, lines: bytes) -> None:
    """Write whole lines behind those that are there, alone at the file, and drop a torn one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+", buffering=0) as file:
        _alone(file)
        size = file.seek(0, os.SEEK_END)
        end = size
        while end:
            begin = max(0, end - 65536)
            file.seek(begin)
            if (last := file.read(end - begin).rfind(b"\n")) >= 0:
                end = begin + last + 1
                break
            end = begin
        if end < size:
            file.truncate(end)
        rest = memoryview(lines)
        while rest:
            rest = rest[file.write(rest) :]


def _alone(file: BinaryIO | Any) -> None:
    """Wait until no other process writes to the file; the lock ends with it."""
    if sys.platform != "win32":
        import contextlib
        import fcntl

        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)


def _compare(there: Any, asked: Any, where: str = "") -> tuple[int, str]:
    """Return how much two requests have in common, in characters and values, and the first difference in words."""
    if isinstance(there, dict) and isinstance(asked, dict):
        parts = [
            (f"{where}.{name}".lstrip("."), there.get(name), asked.get(name))
            for name in dict.fromkeys([*asked, *there])
        ]
    elif isinstance(there, list) and isinstance(asked, list):
        longest = max(len(there), len(asked))
        filled = ([*some, *[None] * (longest - len(some))] for some in (there, asked))
        parts = [(f"{where}[{i}]", *pair) for i, pair in enumerate(zip(*filled, strict=True))]
    elif isinstance(there, str) and isinstance(asked, str):
        same = _same(there, asked)
        if there == asked:
            return same + 1, ""
        begin = max(0, same - 20)
        return same, f"{where} from character {same}: recorded {_part(there, begin)}, now {_part(asked, begin)}"
    else:
        return (
            (1, "")
            if there == asked
            else (0, f"{where}: recorded {json.dumps(there)[:80]}, now {json.dumps(asked)[:80]}")
        )
    found = [_compare(a, b, name) for name, a, b in parts]
    if not found and there != asked:
        return 0, f"{where}: recorded {json.dumps(there)[:80]}, now {json.dumps(asked)[:80]}"
    return sum(count for count, _ in found), next((text for _, text in found if text), "")


def _same(one: str, other: str) -> int:
    """Return how many characters two texts begin with in common."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle - 1)
    return low


def _part(text: str, begin: int) -> str:
    """Return a piece of a text, in quotation marks."""
    piece = text[begin : begin + 60]
    return f"{'...' * (begin > 0)}{json.dumps(piece, ensure_ascii=False)}{'...' * (begin + 60 < len(text))}"
