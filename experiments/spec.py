"""Spec: an experiment as data. Nothing in it is evaluated as code."""

from __future__ import annotations

import functools
import hashlib
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..envs.core import registry
from ..envs.core.game import Game
from ..envs.core.policy import Policy

SHIPPED = Path(__file__).parent / "specs"

Part = dict[str, dict[str, Any]]
"""One registered name with its parameters: ``{"Talk": {"rounds": 2}}``."""


class Strict(BaseModel):
    """A model that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Learning(Strict):
    """How a policy learns before it is measured.

    ``episodes`` is what the policy's ``learn`` counts, ``sessions`` how many worlds it learns in (by default as many as are
    measured), and ``against`` who plays the other roles meanwhile; by default those who are fixed or have learned before.
    """

    episodes: int = Field(gt=0)
    sessions: int | None = Field(default=None, gt=0)
    against: dict[str, Player] = {}


class Player(Strict):
    """A policy by name, its parameters, and how it learns; {institution: {parameter: value}} in ``within``."""

    policy: str
    parameters: dict[str, Any] = {}
    within: dict[str, dict[str, Any]] = {}
    learning: Learning | None = None


class Arm(Strict):
    """Who plays: policies by role or player, and how many worlds are measured.

    Those who learn do so in the order in which they are named. ``replicas`` repeats the learning that often with other
    seeds, each measured in an equal part of the worlds; the mean of each is then one observation, so that intervals
    cover the variation of learning.
    """

    worlds: int = Field(gt=0)
    players: dict[str, Player]
    replicas: int = Field(default=1, gt=0)

    @model_validator(mode="after")
    def _whole(self) -> Arm:
        if self.worlds % self.replicas:
            raise ValueError(f"worlds: a multiple of replicas ({self.replicas}), got {self.worlds}")
        return self


class Spec(Strict):
    """An experiment: one game x uncertainty levels x institutions x policies, on common random numbers.

    Levels and institutions are lists of mechanisms; ``game: {parameter: value}`` among them changes the game itself.
    ``dial`` says what the levels are where they are numbers: the headline is then drawn over them.
    """

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    title: str
    question: str
    design: str
    game: Part
    uncertainty: dict[str, list[Part]]
    institutions: dict[str, list[Part]]
    policies: dict[str, Arm]
    measures: list[str]
    headline: str = "alignment"
    baseline: str
    dial: str = ""
    seed: int = 0

    @model_validator(mode="after")
    def _whole(self) -> Spec:
        if self.baseline not in self.institutions:
            raise ValueError(f"baseline: one of the institutions {', '.join(self.institutions)}, got {self.baseline!r}")
        if self.headline not in self.measures:
            raise ValueError(f"headline: one of the measures {', '.join(self.measures)}, got {self.headline!r}")
        if self.dial:
            for level in self.uncertainty:
                _number(level)
        for level in self.uncertainty:
            for institution in self.institutions:
                self.build(level, institution)  # every cell must be a game; what is wrong is said before anything runs
        return self

    def build(self, uncertainty: str, institution: str) -> Game:
        """Return the game of a cell. Uncertainty comes first, so that its draws are the same in every institution."""
        parts = self.uncertainty[uncertainty] + self.institutions[institution]
        ((name, parameters),) = self.game.items()
        changes = [part["game"] for part in parts if "game" in part]
        game: Game = build("games", {name: functools.reduce(operator.or_, changes, parameters or {})})
        for part in parts:
            if "game" not in part:
                game = game | build("mechanisms", part)
        return game

    def cells(self) -> list[tuple[str, str, str]]:
        """Return the cells (policy, uncertainty, institution) in order."""
        return [(p, u, i) for p in self.policies for u in self.uncertainty for i in self.institutions]

    @property
    def sha256(self) -> str:
        """Hash of all that determines the result."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def _number(level: str) -> float:
    try:
        return float(level)
    except ValueError:
        raise ValueError(f"dial: levels of uncertainty must then be numbers, got {level!r}") from None


def build(kind: str, part: Part) -> Any:
    """Build what a part names; parameters that are parts themselves are built too."""
    if len(part) != 1:
        raise ValueError(f"{kind}: one name with its parameters, got {part!r}")
    ((name, parameters),) = part.items()
    return registry.create(kind, name, **{key: _value(value) for key, value in (parameters or {}).items()})


def _value(value: Any) -> Any:
    if isinstance(value, Mapping) and len(value) == 1:
        ((name, _),) = value.items()
        if name in registry.entries("parts"):
            return build("parts", dict(value))
    if isinstance(value, list):
        return tuple(_value(item) for item in value)
    return value


def build_policy(player: Player, institution: str) -> Policy:
    """Build a player's policy as it is within an institution."""
    parameters = {**player.parameters, **player.within.get(institution, {})}
    parameters = {key: _value(value) for key, value in parameters.items()}
    policy: Policy = registry.create("policies", player.policy, **parameters)
    return policy


def shipped() -> dict[str, Path]:
    """Return the specs that come with the library, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}


class SpecError(ValueError):
    """A spec that cannot be run; the message says where and why."""


def load(source: str | Path, changes: Mapping[str, Any] | None = None, without: Sequence[str] = ()) -> Spec:
    """Read a spec: the name of a shipped one, or a YAML file.

    ``changes`` {"a.b.c": value} override it; policies named in ``without`` are left out.

    Raises
    ------
    SpecError
        If there is no such spec, or something in it is wrong; the message gives the path within the file.
    """
    path = shipped().get(str(source), Path(source))
    if not path.is_file():
        raise SpecError(f"no spec {str(source)!r}: give a YAML file or one of {', '.join(shipped())}")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise SpecError(f"{path.name}: not YAML: {error}") from error
    if not isinstance(data, dict):
        raise SpecError(
            f"{path.name}: a mapping with the keys {', '.join(Spec.model_fields)}, got {type(data).__name__}"
        )
    for key, value in (changes or {}).items():
        _put(data, key, value, path.name)
    for name in without:
        if name not in data.get("policies", {}):
            raise SpecError(
                f"without: {path.name} has no policy {name!r}; there are: {', '.join(data.get('policies', {}))}"
            )
        del data["policies"][name]
    try:
        return Spec.model_validate(data)
    except ValidationError as error:
        lines = [
            f"  {'.'.join(map(str, e['loc'])) or 'spec'}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        ]
        raise SpecError(f"{path.name}:\n" + "\n".join(lines)) from error
    except (KeyError, TypeError, ValueError) as error:
        raise SpecError(f"{path.name}: {error.args[0] if error.args else error}") from error


def _put(data: dict[str, Any], key: str, value: Any, where: str) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        if not isinstance(data.get(parent), dict):
            raise SpecError(f"{where}: no mapping at {parent!r} of {key!r} to change")
        data = data[parent]
    if last not in data:
        raise SpecError(f"{where}: nothing at {key!r} to change; there are: {', '.join(map(str, data))}")
    data[last] = value
