"""A game in words: rules, prompts, schemas, and the round trip of every act through JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import jsonschema
import numpy as np

from ..envs.core.arrays import to_numpy
from ..envs.core.fields import Choice, Field, Text
from ..envs.core.game import Game
from ..envs.core.words import Complaint
from .walk import Step, during, fail, walk

WORLDS = 4
STEPS = 24


def rendered(field: Field, values: Any) -> Any:
    """Return one player's act in a field as it stands in a JSON answer."""
    host = np.asarray(values)
    if field.each:
        return {label: rendered_one(field, host[i]) for i, label in enumerate(field.each)}
    return rendered_one(field, host)


def rendered_one(field: Field, value: Any) -> Any:
    """Return a single value as it stands in a JSON answer."""
    if isinstance(field.space, Choice):
        return field.space.options[int(value)]
    if isinstance(field.space, Text):
        return field.space.decode(value)
    return int(value) if field.discrete else float(value)


def check_words(game: Game, seed: int) -> None:
    """Check that players can be told everything and that what they answer is understood."""
    for role in game.roles:
        with during(game.name, f"rules({role.name!r})"):
            rules = game.rules(role.name)
        for field in (*role.sees, *role.acts):
            if field.means not in rules or field.name not in rules:
                fail(f"{game.name}: role {role.name}", f"its rules do not explain {field.name!r}", "use words.rules")
    schemas: set[tuple[str, int, int]] = set()
    for step in walk(game, WORLDS, seed):
        if step.number > STEPS:
            break
        for world in range(WORLDS):
            for role in game.roles:
                for index in {0, role.count - 1}:
                    stage = int(to_numpy(step.stage)[world])
                    _check_player(game, step, role.name, index, world, (role.name, stage, index) not in schemas)
                    schemas.add((role.name, stage, index))


def _check_player(game: Game, step: Step, role: str, index: int, world: int, fresh: bool) -> None:
    who, stage = f"{game.name}: {role}_{index}", int(to_numpy(step.stage)[world])
    with during(who, f"prompt before step {step.number}"):
        prompt = game.prompt(step.state, role, index, world)
    asked = game.role(role).deciding(game.stages[stage].name, index)
    unsaid = [f.name for f in (*game.role(role).sees, *asked) if f.name not in prompt]
    if unsaid:
        fail(who, f"its prompt does not mention {', '.join(unsaid)}", "use words.prompt")
    if not asked:
        return
    acts = {field.name: to_numpy(step.acts[role][field.name])[world, index] for field in asked}
    answer = {field.name: rendered(field, acts[field.name]) for field in asked}
    with during(who, "parse"):
        parsed = game.parse(json.dumps(answer), role, stage, index)
    if isinstance(parsed, Complaint):
        fail(who, f"parse refuses the legal act {answer}: {parsed}", "let Game.parse accept what the fields allow")
    for field in asked:
        read, done = parsed[field.name], acts[field.name]
        if isinstance(field.space, Text):  # a text is the same wherever in its row the gaps are
            same = np.shape(read) == np.shape(done) and rendered(field, read) == answer[field.name]
        else:
            same = np.array_equal(np.asarray(read, dtype=float), np.asarray(done, dtype=float))
        if not same:
            fail(who, f"parse reads {answer} as {parsed}", "let every act come back as it was told")
    if not fresh:
        return
    with during(who, "schema"):
        schema = game.schema(role, stage, index)
        jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    if (wrong := next(iter(validator.iter_errors(answer)), None)) is not None:
        fail(who, f"the schema refuses the legal act {answer}: {wrong.message}", "derive it from the fields")
    for field in asked:
        for value in _illegal(field):
            bad = answer | {field.name: dict.fromkeys(field.each, value) if field.each else value}
            _check_refused(game, who, json.dumps(bad), role, stage, index, field)
            if isinstance(value, str | int) and validator.is_valid(bad):
                fail(who, f"the schema allows {field.name} = {value!r}", f"it is {field.space}")
        rest = {name: value for name, value in answer.items() if name != field.name}
        _check_refused(game, who, json.dumps(rest), role, stage, index, field)


def _illegal(field: Field) -> list[Any]:
    if isinstance(field.space, Choice):
        return ["none of these", len(field.space.options), ""]
    if isinstance(field.space, Text):
        return ["x" * (field.space.length + 1), 12, None]
    values: list[Any] = ["12 tonnes", True, math.nan]
    if not math.isinf(field.space.low):
        values.append(math.floor(field.space.low) - 1)
    if not math.isinf(field.space.high):
        values.append(math.ceil(field.space.high) + 1)
    if field.discrete:
        values.append(field.space.low + 0.5)
    return values


def _check_refused(game: Game, who: str, answer: str, role: str, stage: int, index: int, field: Field) -> None:
    with during(who, f"parse of {answer}"):
        parsed = game.parse(answer, role, stage, index)
    if not isinstance(parsed, Complaint) or not parsed.field.startswith(field.name):
        fail(who, f"{answer} was read as {parsed}", f"complain about {field.name}: it is {field.space}")
