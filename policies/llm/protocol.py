"""What a language model can do for a policy: score options, write a text, or answer a question with JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable


class Message(NamedTuple):
    """One message of a conversation; ``role`` is ``"system"``, ``"user"`` or ``"assistant"``."""

    role: str
    content: str


class Answer(NamedTuple):
    """What a model answered, and what it took.

    ``error`` is empty, or says why there is no text: the server was late, refused, or sent nothing. ``cost`` is in US dollars,
    None where prices are not known.
    """

    text: str
    error: str = ""
    tokens_read: int = 0
    tokens_written: int = 0
    seconds: float = 0.0
    cost: float | None = None
    attempts: int = 1


@runtime_checkable
class Answers(Protocol):
    """A model that is asked, and answers in text: a server, a recording, a function."""

    def answer(
        self,
        conversations: Sequence[Sequence[Message]],
        schemas: Sequence[dict[str, Any]],
        *,
        temperature: float,
        luck: Sequence[float],
    ) -> list[Answer]:
        """Answer every conversation, each with JSON of its schema where the model can be held to one.

        ``luck`` is one uniform number a conversation; from it a model that samples makes its seed, so that a run can be
        repeated as far as the model allows it. An answer never raises: what went wrong stands in ``Answer.error``.
        """
        ...
