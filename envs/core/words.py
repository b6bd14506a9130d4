"""Games in words: rules, prompts, JSON schemas and the parser of answers, all derived from fields."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import Array, to_numpy
from .fields import Choice, Field, Integer, Role, Text, printable

if TYPE_CHECKING:
    from .game import Game

Value = float | int | Sequence[float | int | Sequence[int]]
Act = dict[str, Value]
"""What one player decides: {field: number, or list of numbers}; choices as indices, texts as lists of code points."""


@dataclass(frozen=True)
class Complaint:
    """Why an answer is not an act: the field, what was given, what is allowed, and what to do."""

    field: str
    given: str
    allowed: str
    mend: str

    def __str__(self) -> str:
        return f"{self.field}: {self.given} is not {self.allowed}; {self.mend}"


class ActError(ValueError):
    """An act outside its field's space; the message names field, value, range and mend."""


def figure(value: Any) -> str:
    """Write a number with four digits; what is zero but for rounding is zero."""
    return f"{round(float(value), 12) + 0.0:.4g}"


_MARKERS = re.compile(
    r"<(?=[|\uff5c]|/?s>|/?(?:pad|bos|eos|unk|end|think)>|/?(?:start|end)_of_turn>)|\[(?=/?(?:INST|SYSTEM_PROMPT)\])"
    r"|<(?=<SYS>>|</SYS>>)"
)


def disarm(text: str) -> str:
    """Write the openings of markers by which models tell roles apart (``<|...``, ``[INST]``) as JSON escapes.

    Within a quoted text the escape means the same character, so a text that carries a marker is still read as it was
    written, but no tokenizer takes it for the end of a message.
    """
    return _MARKERS.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def quoted(text: str) -> str:
    """Write a text as a JSON string, on one line: whatever it says, it ends where its quotation mark does.

    Markers of a model's roles are disarmed, so it cannot pass for another's turn either.
    """
    return disarm(json.dumps(text, ensure_ascii=False))


def number(field: Field, value: Any) -> str:
    """Write one value of a field in words, with its unit."""
    if isinstance(field.space, Text):
        return quoted(field.space.decode(value))
    if isinstance(field.space, Choice):
        return field.space.options[round(float(value))]
    text = str(round(float(value))) if isinstance(field.space, Integer) else figure(value)
    return f"{text} {field.unit}" if field.unit else text


def told(field: Field, values: Array) -> str:
    """Write the values that one player sees in a field: values (*components), texts with their length last."""
    if field.each:
        return ", ".join(f"{label} {number(field, values[i])}" for i, label in enumerate(field.each))
    return number(field, values)


def _line(field: Field) -> str:
    unit = f" ({field.unit})" if field.unit else ""
    shape = f", for each of {', '.join(field.each)}" if field.each else ""
    return f"- {field.name}{unit}: {field.means}; {field.space}{shape}"


def rules(game: Game, role: Role) -> str:
    """Return the rules of a game as told to one role."""
    others = [f"{other.count} {other.name}{'s' if other.count > 1 else ''}" for other in game.roles]
    place = f"the {role.name}" if role.count == 1 else f"one of the {role.name}s"
    lines = [game.about.strip(), "", f"Players: {', '.join(others)}. You are {place}: {role.means}."]
    if len(game.stages) > 1:
        lines += ["", "Stages, in order:"]
        lines += [f"- {stage.name}: {stage.means}" for stage in game.stages]
    lines += ["", "You see:", *(_line(field) for field in role.sees)]
    lines += ["", "You decide:"]
    order = [stage.name for stage in game.stages]
    for field in sorted(role.acts, key=lambda field: order.index(field.stage)):
        lines.append(_line(field) + (f" (at stage {field.stage})" if field.stage else ""))
    return "\n".join(lines)


def example(field: Field) -> str:
    """Return the form of a field's value in a JSON answer."""
    if isinstance(field.space, Choice):
        one = " or ".join(json.dumps(option) for option in field.space.options)
    elif isinstance(field.space, Text):
        one = f'"<{field.space}>"'
    else:
        one = f"<{field.space}>"
    if not field.each:
        return one
    return "{" + ", ".join(f"{json.dumps(label)}: {one}" for label in field.each) + "}"


def prompt(game: Game, role: Role, index: int, seen: dict[str, Array], stage: int) -> str:
    """Return what one player sees and is asked, in words; ``seen`` {field: (*components)} is that player's own."""
    asked = role.deciding(game.stages[stage].name, index)
    # what tells players apart comes last, so that a language model reads what they share only once
    sight = ["You see:", *(f"- {field.name}: {told(field, seen[field.name])}" for field in role.sees)]
    who = f"You are {role.player(index)}."
    if not asked:
        return "\n".join(["It is not your turn: you decide nothing now.", *sight, who])
    task = "Decide now: " + "; ".join(f"{field.name} - {field.means}" for field in asked) + "."
    form = "{" + ", ".join(f'"{field.name}": {example(field)}' for field in asked) + "}"
    return "\n".join([task, f"Answer with JSON only, of the form {form}", *sight, who])


def brief(game: Game, role: Role, index: int, seen: dict[str, Array], stage: int) -> str:
    """Return the same in few words, for small models: the game, what the player sees, who it is, and what it decides.

    Values stand without units, and those of several players in their order.
    """
    asked = role.deciding(game.stages[stage].name, index)
    sight = (
        f"{field.name} " + (" ".join(number(bare, v) for v in values) if field.each else number(bare, values))
        for field, values in ((field, seen[field.name]) for field in role.sees)
        for bare in (replace(field, unit=""),)
    )
    return f"{game.name}: {', '.join(sight)}; {role.player(index)}: {', '.join(field.name for field in asked) or 'nothing'}"


def _space_schema(field: Field) -> dict[str, Any]:
    space = field.space
    if isinstance(space, Choice):
        return {"enum": list(space.options)}
    if isinstance(space, Text):
        return {"type": "string", "maxLength": space.length}
    bounds = {"minimum": space.low, "maximum": space.high}
    bounds = {name: bound for name, bound in bounds.items() if not math.isinf(bound)}
    return {"type": "integer" if isinstance(space, Integer) else "number", **bounds}


def schema(fields: tuple[Field, ...]) -> dict[str, Any]:
    """Return the JSON schema of an answer that decides these fields."""
    properties: dict[str, Any] = {}
    for field in fields:
        one = _space_schema(field)
        if field.each:
            parts = dict.fromkeys(field.each, one)
            one = {"type": "object", "properties": parts, "required": list(field.each), "additionalProperties": False}
        unit = f" ({field.unit})" if field.unit else ""
        properties[field.name] = {"description": field.means + unit, **one}
    names = [field.name for field in fields]
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}


def complain(field: Field, given: Any) -> Complaint:
    """Return the complaint about one value of a field."""
    unit = f" {field.unit}" if field.unit else ""
    space = field.space
    if isinstance(space, Choice):
        mend = "give one of these texts"
    elif isinstance(space, Text):
        if isinstance(given, str) and (size := len(space.normal(given))) > space.length:
            mend = f"shorten it to {space.length} characters"
            return Complaint(field.name, f'{quoted(given[:40])[:-1]}..." ({size} characters)', str(space), mend)
        mend = "give a text in quotation marks (in arrays: the code points of its characters, 0 for none)"
    elif isinstance(space, Integer):
        mend = f"give a bare whole number from {space.low} to {space.high}"
    else:
        mend = f"give a bare number from {space.low:g} to {space.high:g}"
    text = given if isinstance(given, str) and given == "nothing" else json.dumps(given, default=str)
    return Complaint(field.name, text[:80], f"{space}{unit}", mend)


def read(field: Field, given: Any) -> float | int | list[int] | Complaint:
    """Read one value of a field as it stands in a JSON answer: as arrays hold it, or the complaint about it."""
    space = field.space
    if isinstance(space, Text):
        try:
            return list(space.encode(given).tolist()) if isinstance(given, str) else complain(field, given)
        except ValueError:
            return complain(field, given)
    if isinstance(space, Choice):
        return (
            space.options.index(given) if isinstance(given, str) and given in space.options else complain(field, given)
        )
    if isinstance(given, bool) or not isinstance(given, int | float) or not space.low <= given <= space.high:
        return complain(field, given)
    try:
        value = float(given)
    except OverflowError:
        value = math.inf
    if math.isinf(value) or (isinstance(space, Integer) and not value.is_integer()):
        return complain(field, given)
    return int(given) if isinstance(space, Integer) else value


def _object(answer: str) -> dict[str, Any] | None:
    """Find the first JSON object in a text."""
    decoder = json.JSONDecoder()
    for match in re.finditer(r"\{", answer[:100_000]):
        try:
            found, _ = decoder.raw_decode(answer, match.start())
        except ValueError:
            continue
        except RecursionError:
            return None
        if isinstance(found, dict):
            return found
    return None


def _bare(answer: str, field: Field) -> Any:
    """Read an answer that is a plain value."""
    bare, text = answer.strip('"'), isinstance(field.space, Text)
    if isinstance(field.space, Choice) or (text and not answer.startswith('"')):
        return bare
    try:
        return json.loads(answer if text else bare)
    except (ValueError, RecursionError):
        return bare


def parse(answer: str, fields: tuple[Field, ...]) -> Act | Complaint:
    """Read an answer: the act, or the first complaint about it.

    Accepts a JSON object anywhere in the text. Where a single plain value is asked for, also the bare value.
    """
    data = _object(answer)
    if data is None and len(fields) == 1 and not fields[0].each:
        data = {fields[0].name: _bare(answer.strip(), fields[0])}
    if data is None:
        form = "{" + ", ".join(f'"{field.name}": {example(field)}' for field in fields) + "}"
        return Complaint("answer", json.dumps(answer[:60]), "a JSON object", f"answer with JSON of the form {form}")
    act: Act = {}
    for field in fields:
        if field.name not in data:
            return complain(field, "nothing")
        given = data[field.name]
        if not field.each:
            value = read(field, given)
            if isinstance(value, Complaint):
                return value
            act[field.name] = value
            continue
        parts: list[Any] = []
        for label in field.each:
            if not isinstance(given, dict) or label not in given:
                missing = complain(field, given if not isinstance(given, dict) else "nothing")
                return Complaint(f"{field.name}[{label}]", missing.given, missing.allowed, missing.mend)
            value = read(field, given[label])
            if isinstance(value, Complaint):
                return Complaint(f"{field.name}[{label}]", value.given, value.allowed, value.mend)
            parts.append(value)
        odd = sorted(set(given) - set(field.each))
        if odd:
            labels = f"one of {', '.join(field.each)}"
            return Complaint(
                f"{field.name}[{odd[0]}]", json.dumps(odd[0])[:80], labels, f"give only: {', '.join(field.each)}"
            )
        act[field.name] = parts
    unknown = sorted(set(data) - {field.name for field in fields})
    if unknown:
        asked = ", ".join(field.name for field in fields)
        return Complaint(unknown[0], json.dumps(data[unknown[0]], default=str)[:80], "asked for", f"give only: {asked}")
    return act


def check(field: Field, values: Array, who: str = "") -> None:
    """Raise ActError unless every value of an array of acts lies in the field's space."""
    host = to_numpy(values)
    if isinstance(field.space, Text):
        _check_text(field, host, who)
        return
    if host.dtype.kind not in "iufb":
        raise ActError(str(complain(field, str(host.reshape(-1)[0]) if host.size else "nothing")))
    # written so that NaN fails; whole numbers may come as floats
    fine = (host >= field.space.low) & (host <= field.space.high)
    if field.discrete and host.dtype.kind == "f":
        fine &= host == host.round()
    if not fine.all():
        wrong = host[~fine].reshape(-1)[0]
        shown = wrong.item()
        complaint = complain(field, shown if math.isfinite(shown) else str(shown))
        raise ActError(f"{who}{': ' if who else ''}{complaint}")


def _check_text(field: Field, host: np.ndarray[Any, Any], who: str) -> None:
    """Raise ActError unless every row of an array of code points is a text of the field."""
    space = field.space
    assert isinstance(space, Text)
    mend, given = f"give code points (..., {space.length}), 0 for none: encode(text) of the field's space", ""
    if host.dtype.kind not in "iufb":
        given = quoted(str(host.reshape(-1)[0]))[:40] if host.size else "nothing"
    elif host.shape[-1:] != (space.length,):
        given = f"an array of shape {host.shape}"
    else:
        codes = [code for code in np.unique(host).tolist() if code != 0]
        odd = [code for code in codes if not (code == code // 1 and printable(int(code)))]
        given = f"code point {odd[0]:g}" if odd else ""
    if given:
        raise ActError(f"{who}{': ' if who else ''}{Complaint(field.name, given, str(space), mend)}")


def read_acts(given: Mapping[str, Any], fields: tuple[Field, ...], name: str, role: str) -> Act:
    """Read acts that stand in a parameter as they would in an answer: {field: value as arrays hold it}.

    A single value for a field with several components is the value of each.

    Raises
    ------
    ValueError
        If a field or value is none of the role's; the message begins with the parameter's name.
    """
    known = {field.name: field for field in fields}
    found: Act = {}
    for key, value in given.items():
        if key not in known:
            raise ValueError(f"{name}: {role} has no act field {key!r}; it decides {', '.join(known) or 'nothing'}")
        field = known[key]
        whole = dict.fromkeys(field.each, value) if field.each and not isinstance(value, Mapping) else value
        act = parse(json.dumps({key: whole}), (field,))
        if isinstance(act, Complaint):
            raise ValueError(f"{name}: {act}")
        found |= act
    return found
