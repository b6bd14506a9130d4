"""Fields and roles: what is seen and done, declared once, in words and numbers."""

from __future__ import annotations

import functools
import math
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .arrays import Array, namespace, to_numpy


@dataclass(frozen=True)
class Integer:
    """Whole numbers from ``low`` to ``high``, both included."""

    low: int
    high: int

    def __post_init__(self) -> None:
        """Refuse an empty range."""
        if self.high < self.low:
            raise ValueError(f"Integer: high must be at least low={self.low}, got {self.high}")

    def __str__(self) -> str:
        return f"a whole number from {self.low} to {self.high}"


@dataclass(frozen=True)
class Real:
    """Real numbers from ``low`` to ``high``; either may be infinite."""

    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        """Refuse an empty range."""
        if not self.high >= self.low:
            raise ValueError(f"Real: high must be at least low={self.low}, got {self.high}")

    def __str__(self) -> str:
        if math.isinf(self.low) and math.isinf(self.high):
            return "a number"
        if math.isinf(self.high):
            return f"a number, at least {self.low:g}"
        if math.isinf(self.low):
            return f"a number, at most {self.high:g}"
        return f"a number from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Choice:
    """One of several named options; arrays hold its index, 0 to ``len(options) - 1``."""

    options: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse an empty or ambiguous list of options."""
        if not self.options or len(set(self.options)) != len(self.options):
            raise ValueError(f"Choice: options must be non-empty and distinct, got {self.options!r}")

    @functools.cached_property
    def codes(self) -> tuple[int, ...]:
        """Indices of the options."""
        return tuple(range(len(self.options)))

    @property
    def low(self) -> int:
        """Index of the first option."""
        return 0

    @property
    def high(self) -> int:
        """Index of the last option."""
        return len(self.options) - 1

    def __str__(self) -> str:
        return "one of " + ", ".join(f'"{option}"' for option in self.options)


@functools.lru_cache(maxsize=4096)
def printable(code: int) -> bool:
    """Say whether a code point is a character of texts: no control, line break, direction mark, surrogate or spare code."""
    kind = unicodedata.category(chr(code)) if 0 < code <= Text.high else "Cn"
    return kind[0] not in "CZ" or code == 32


def one_line(text: str) -> str:
    """Return a text in printable characters: line breaks, tabs and odd spaces as spaces, what else is invisible left out."""
    if text.isascii() and text.isprintable():
        return text.strip()
    spaced = "".join(" " if char.isspace() else char for char in text)
    return "".join(char for char in spaced if printable(ord(char))).strip()


@dataclass(frozen=True)
class Text:
    """Free text of at most ``length`` characters, on one line.

    Arrays hold it along a last axis of that length: the Unicode code points of its characters, 0 for no character.
    What cannot be printed (controls, line breaks, marks that turn the direction of writing) is no part of a text, and
    composed characters are one character (Unicode's form NFC).
    """

    length: int

    low: ClassVar[int] = 0
    high: ClassVar[int] = 0x10FFFF
    typed: ClassVar[int] = 126
    """Highest code point that learners write, who act by numbers: texts of theirs are ASCII."""

    def __post_init__(self) -> None:
        """Refuse a text without room for a character."""
        if not 1 <= self.length <= 10_000:
            raise ValueError(f"Text: length must be a whole number from 1 to 10000, got {self.length!r}")

    @staticmethod
    def normal(text: str) -> str:
        """Return a text in the form in which it is held."""
        return unicodedata.normalize("NFC", one_line(text))

    def encode(self, text: str, *, cut: bool = False) -> np.ndarray[Any, Any]:
        """Return the code points of a text, int64 (length,).

        Parameters
        ----------
        text
            The text; it is normalised first.
        cut
            Whether a text that is too long loses its end.

        Raises
        ------
        ValueError
            If the text is too long and is not to be cut.
        """
        line = self.normal(text)
        if len(line) > self.length and not cut:
            raise ValueError(f"text: at most {self.length} characters, got {len(line)}: {line[:40]!r}...")
        codes = [ord(char) for char in line[: self.length].rstrip()]
        return np.array(codes + [0] * (self.length - len(codes)), dtype=np.int64)

    def decode(self, codes: Array) -> str:
        """Return the text of one row of code points, (length,); what is no character is left out."""
        numbers = to_numpy(codes).reshape(-1).tolist()
        return one_line("".join(chr(round(code)) for code in numbers if 0 < code <= self.high))

    def __str__(self) -> str:
        return f"a text of at most {self.length} character{'s' if self.length > 1 else ''}"


Space = Integer | Real | Choice | Text


@dataclass(frozen=True)
class Field:
    """One quantity that a role sees or decides.

    Parameters
    ----------
    name
        Identifier, unique within what a role sees and within what it does.
    space
        Its possible values.
    means
        What it is, in words, for the prompt, the form and the docs. It cannot be empty.
    unit
        Unit of the values ("tonnes"); empty for a pure number.
    each
        Names of its components where it holds several values; arrays then end in an axis of that length.
    verifiable
        Whether a court could establish it: a contract can condition on verifiable fields only. Free text is none.
    stage
        Acts only: the stage at which it is decided; empty for the game's single stage.
    by
        Acts only: indices of the players of the role who decide it; None for all.
    """

    name: str
    space: Space
    means: str
    unit: str = ""
    each: tuple[str, ...] = ()
    verifiable: bool = False
    stage: str = ""
    by: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse a field without words or with an unusable name."""
        if not self.name.isidentifier():
            raise ValueError(f"Field: name must be an identifier, got {self.name!r}")
        if not self.means.strip():
            raise ValueError(f"Field {self.name!r}: means must say in words what it is, got an empty text")
        if self.verifiable and isinstance(self.space, Text):
            raise ValueError(
                f"Field {self.name!r}: free text is not verifiable, no rule is stated on it; leave that out"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Trailing shape of its arrays: () or (components,), and for texts their length."""
        each = (len(self.each),) if self.each else ()
        return (*each, self.space.length) if isinstance(self.space, Text) else each

    @property
    def discrete(self) -> bool:
        """Whether its values are integers."""
        return not isinstance(self.space, Real)

    def clip(self, values: Array) -> Array:
        """Bring values into the space (whole numbers are rounded to the nearest)."""
        xp = namespace(values)
        if self.discrete:
            return xp.clip(xp.round(values), self.space.low, self.space.high)
        return xp.clip(values, self.space.low, self.space.high)


@dataclass(frozen=True)
class Role:
    """A kind of player: how many there are, what each sees and what each decides."""

    name: str
    count: int
    sees: tuple[Field, ...]
    acts: tuple[Field, ...]
    means: str = ""

    def __post_init__(self) -> None:
        """Refuse an empty role and names that occur twice."""
        if self.count < 1:
            raise ValueError(f"Role {self.name!r}: count must be at least 1, got {self.count}")
        for group in (self.sees, self.acts):
            names = [field.name for field in group]
            twice = {name for name in names if names.count(name) > 1}
            if twice:
                raise ValueError(f"Role {self.name!r}: field names must be distinct, got {sorted(twice)} twice")

    def player(self, index: int) -> str:
        """Return the name of one player, for example ``fisher_0``."""
        return f"{self.name}_{index}"

    @functools.cached_property
    def players(self) -> tuple[str, ...]:
        """Names of all its players."""
        return tuple(self.player(i) for i in range(self.count))

    def deciding(self, stage: str, index: int | None = None) -> tuple[Field, ...]:
        """Return the fields decided at a stage (by one player, where an index is given)."""
        return tuple(
            field
            for field in self.acts
            if field.stage == stage and (index is None or field.by is None or index in field.by)
        )


def find(fields: tuple[Field, ...], name: str, where: str) -> Field:
    """Return the field of that name; the error lists the names there are."""
    for field in fields:
        if field.name == name:
            return field
    known = ", ".join(field.name for field in fields) or "none"
    raise KeyError(f"{where} has no field {name!r}; it has: {known}")


def components(field: Field) -> Iterator[tuple[str, int | None]]:
    """Yield (label, position) of each number a field holds."""
    if field.each:
        for position, label in enumerate(field.each):
            yield f"{field.name}[{label}]", position
    else:
        yield field.name, None
