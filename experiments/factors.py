"""Factors: institutions or levels of uncertainty that are all combinations of a few changes, written once each."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

KEYS = ("common", "factors")

Filter = dict[Literal["policy", "game", "uncertainty", "institution"], str | list[str]]
"""Cells by name; ``*`` stands for any text: ``{policy: learners, institution: ["*fine 0*", none]}``."""


def expanded(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data of a spec with every entry that has ``factors`` in the place of which its combinations stand.

    An entry ``contract: {common: [...], factors: {fine: {1: [...], 2: [...]}, accuracy: {0.9: [...]}}}`` of ``institutions``
    or ``uncertainty`` becomes "contract, fine 1, accuracy 0.9" and so on, the last factor running fastest. Parts of the
    same name become one: the combination is ``common``, changed by the level of each factor.

    Raises
    ------
    ValueError
        If two factors set the same parameter, or something else in such an entry is wrong.
    """
    found = dict(spec)
    games = list(spec["games"]) if isinstance(spec.get("games"), Mapping) else []
    for part in ("uncertainty", "institutions"):
        entries = spec.get(part)
        if not isinstance(entries, Mapping):
            continue
        found[part] = {}
        for name, layers in entries.items():
            crossed = isinstance(layers, Mapping) and "factors" in layers and "factors" not in games
            new = _crossed(f"{part}.{name}", str(name), layers, games) if crossed else {name: layers}
            if twice := [key for key in new if key in found[part]]:
                raise ValueError(f"{part}: {twice[0]!r} is there twice; give one of them another name")
            found[part] |= new
    return found


def _crossed(where: str, name: str, entry: Mapping[str, Any], games: Sequence[str]) -> dict[str, Any]:
    """Return {name of a combination: its layers}."""
    if unknown := [key for key in entry if key not in KEYS]:
        raise ValueError(f"{where}: beside factors only common, got {unknown[0]!r}")
    factors = entry["factors"]
    if not isinstance(factors, Mapping) or not factors:
        raise ValueError(f"{where}.factors: {{factor: {{level: [mechanisms]}}}}, got {factors!r}")
    for factor, levels in factors.items():
        if not isinstance(levels, Mapping) or not levels:
            raise ValueError(f"{where}.factors.{factor}: {{level: [mechanisms]}}, got {levels!r}")
    found: dict[str, Any] = {}
    for levels in itertools.product(*(each.items() for each in factors.values())):
        labels = [f"{factor} {level}" for factor, (level, _) in zip(factors, levels, strict=True)]
        parts = [entry.get("common", []), *(changes for _, changes in levels)]
        label = ", ".join([name, *labels])
        if any(isinstance(part, Mapping) for part in parts):
            by_game = {
                game: [part.get(game) if isinstance(part, Mapping) else part for part in parts] for game in games
            }
            found[label] = {g: _merged(f"{where}: {label}", p) for g, p in by_game.items() if None not in p}
            if stray := [g for part in parts if isinstance(part, Mapping) for g in part if g not in games]:
                raise ValueError(f"{where}: one of the games {', '.join(games) or '(none)'}, got {stray[0]!r}")
        else:
            found[label] = _merged(f"{where}: {label}", parts)
    return found


def _merged(where: str, parts: Sequence[Any]) -> list[dict[str, Any]]:
    """Return common parts, as the levels of the factors change them; what they do not have comes after."""
    common, *levels = (_listed(where, part) for part in parts)
    changes: list[dict[str, Any]] = []
    for level in levels:
        _put(where, changes, level, strict=True)
    found = copy.deepcopy(common)
    _put(where, found, changes, strict=False)
    return found


def _listed(where: str, part: Any) -> list[dict[str, Any]]:
    if not isinstance(part, list) or not all(isinstance(each, Mapping) and len(each) == 1 for each in part):
        raise ValueError(f"{where}: a list of mechanisms, each one name with its parameters, got {part!r}")
    return [dict(each) for each in part]


def _put(where: str, into: list[dict[str, Any]], parts: Sequence[dict[str, Any]], strict: bool) -> None:
    new = []
    for part in parts:
        ((name, parameters),) = part.items()
        there = [each for each in into if name in each]
        if len(there) > 1:
            raise ValueError(
                f"{where}: {name!r} is there {len(there)} times, so that it is not clear which one changes"
            )
        if there:
            there[0][name] = _joined(f"{where}: {name}", there[0][name] or {}, parameters or {}, strict)
        else:
            new.append(copy.deepcopy(part))
    into += new


def _joined(where: str, old: Any, new: Any, strict: bool) -> Any:
    """Return parameters of which the new go before the old; strictly, both may not set the same one."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found = dict(old)
        for key, value in new.items():
            found[key] = _joined(f"{where}.{key}", old[key], value, strict) if key in old else copy.deepcopy(value)
        return found
    if strict and old != new:
        raise ValueError(
            f"{where}: two factors set it, to {old!r} and to {new!r}; each parameter belongs to one factor"
        )
    return copy.deepcopy(new)


def matches(cell: Any, where: Filter, besides: Sequence[str] = ()) -> bool:
    """Whether a cell is one of a filter; parts named in ``besides`` are not looked at."""
    return all(
        any(fnmatchcase(getattr(cell, part), name) for name in ([names] if isinstance(names, str) else names))
        for part, names in where.items()
        if part not in besides
    )
