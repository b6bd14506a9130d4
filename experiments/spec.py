"""Spec: an experiment as data. Nothing in it is evaluated as code."""

from __future__ import annotations

import functools
import hashlib
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..envs.core import registry
from ..envs.core.game import Game
from ..envs.core.policy import Policy
from . import factors
from .precision import LEAST

SHIPPED = Path(__file__).parent / "specs"

Part = dict[str, dict[str, Any]]
"""One registered name with its parameters: ``{"Talk": {"rounds": 2}}``."""

Layers = list[Part] | dict[str, list[Part]]
"""Mechanisms, innermost first; where they differ between games, by game."""

EVERYONE = "everyone"
"""The seat of a policy that plays every role."""


class Cell(NamedTuple):
    """One cell of the table; ``game`` is empty where an experiment has one game only."""

    policy: str
    game: str
    uncertainty: str
    institution: str

    @property
    def name(self) -> str:
        """Name, also that of its file."""
        return "--".join(part for part in self if part)

    @property
    def arm(self) -> str:
        """Who plays what, as the report names it."""
        return arm_name(self.policy, self.game)


def arm_name(policy: str, game: str) -> str:
    """Return the name of a policy in a game, as the report has it."""
    return f"{policy}, {game}" if game else policy


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
    """Who plays: policies by role or player, or for ``everyone``, and how many worlds are measured.

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


class Precision(Strict):
    """How narrow an interval has to be: arms that learn nothing play on until it is, or ``most`` worlds are reached."""

    measure: str = "alignment"
    half_width: float = Field(gt=0)
    most: int = Field(default=4096, ge=LEAST)


class Spec(Strict):
    """An experiment: games x uncertainty levels x institutions x policies, on common random numbers.

    There is one ``game``, or several ``games`` by name. Levels and institutions are lists of mechanisms, or such lists by
    game; a game without a list is left out. ``game: {parameter: value}`` among them changes the game itself. One that has
    ``factors`` stands for all their combinations (:mod:`societas.experiments.factors`). Of all cells those are played that
    one of ``only`` names, where it is there, and none of ``without``.

    ``dial`` says what the levels are where they are numbers: the headline is then drawn over them. ``precision`` sets the
    number of worlds by the width of an interval, ``margin`` the difference in the headline that does not matter, and
    ``decomposition`` levels, or institutions, of which each adds one cause of misalignment to the one before.
    ``interaction`` names the policy with which others are compared under all institutions, to say whether policy and
    institution add up.

    A file may say ``extends: NAME``, a shipped spec or a file beside it: what it says itself is then put into that one's
    mappings, at whatever depth, and replaces its other values.
    """

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    title: str
    question: str
    design: str
    game: Part | None = None
    games: dict[str, Part] = {}
    uncertainty: dict[str, Layers]
    institutions: dict[str, Layers]
    policies: dict[str, Arm]
    measures: list[str]
    headline: str = "alignment"
    baseline: str
    dial: str = ""
    seed: int = 0
    only: list[factors.Filter] = []
    without: list[factors.Filter] = []
    precision: Precision | None = None
    margin: float | None = Field(default=None, gt=0)
    decomposition: list[str] = []
    interaction: str = ""

    @model_validator(mode="before")
    @classmethod
    def _expanded(cls, data: Any) -> Any:
        return factors.expanded(data) if isinstance(data, Mapping) else data

    @model_validator(mode="after")
    def _whole(self) -> Spec:
        if bool(self.game) == bool(self.games):
            raise ValueError("game, games: either one game, or several by name; not both")
        if self.baseline not in self.institutions:
            raise ValueError(f"baseline: one of the institutions {', '.join(self.institutions)}, got {self.baseline!r}")
        if self.headline not in self.measures:
            raise ValueError(f"headline: one of the measures {', '.join(self.measures)}, got {self.headline!r}")
        if self.dial:
            for level in self.uncertainty:
                _number(level)
        for part, named in (("uncertainty", self.uncertainty), ("institutions", self.institutions)):
            for name, layers in named.items():
                if unknown := [game for game in layers if isinstance(layers, dict) and game not in self.games]:
                    raise ValueError(f"{part}.{name}: one of the games {', '.join(self.games)}, got {unknown[0]!r}")
        for game in self.games or ("",):
            if _layers(self.institutions[self.baseline], game) is None:
                raise ValueError(
                    f"baseline: the institution {self.baseline!r} must be there in every game, not in {game!r}"
                )
        self._check_cells()
        known = {"alignment", "welfare"}
        for cell in self.cells():  # what is wrong is said before anything runs
            known |= {m.name for m in self.build(cell.uncertainty, cell.institution, cell.game).reports}
        if any(player.policy == "llm" for arm in self.policies.values() for player in arm.players.values()):
            from ..policies.llm.answers import OUTCOMES

            known |= {f"llm_{name}" for name in OUTCOMES}
        if unknown := [name for name in self.measures if name not in known]:
            raise ValueError(f"measures: of {', '.join(sorted(known))}, got {unknown[0]!r}")
        if self.precision and self.precision.measure not in known:
            raise ValueError(f"precision.measure: of {', '.join(sorted(known))}, got {self.precision.measure!r}")
        return self

    def _check_cells(self) -> None:
        """Check what speaks of cells: filters, precision and decomposition."""
        every = self._all_cells()
        for part, filters in (("only", self.only), ("without", self.without)):
            for place, each in enumerate(filters):
                if not any(factors.matches(cell, each, besides=["policy"]) for cell in every):
                    raise ValueError(
                        f"{part}.{place}: names of levels and institutions, * for any text, got {each}, which no cell is; "
                        f"there are the levels {', '.join(self.uncertainty)} and the institutions {', '.join(self.institutions)}"
                    )
        if not self.cells():
            raise ValueError("only, without: these filters leave no cell")
        for name, arm in self.policies.items():
            if self.precision and self.sequential(name) and not LEAST <= arm.worlds <= self.precision.most:
                raise ValueError(
                    f"policies.{name}.worlds: from {LEAST} to precision.most ({self.precision.most}) where precision is asked "
                    f"for, got {arm.worlds}"
                )
        if self.interaction and self.interaction not in self.policies:
            raise ValueError(f"interaction: a policy, of {', '.join(self.policies)}, got {self.interaction!r}")
        if steps := self.decomposition:
            if not any(set(steps) <= set(part) for part in (self.uncertainty, self.institutions)):
                raise ValueError(
                    f"decomposition: levels, of {', '.join(self.uncertainty)}, or institutions, of "
                    f"{', '.join(self.institutions)}, got {', '.join(steps)}"
                )
            if len(set(steps)) < max(2, len(steps)):
                raise ValueError(f"decomposition: two names or more, each once, got {', '.join(steps)}")

    def sequential(self, policy: str) -> bool:
        """Whether an arm plays until its intervals are as narrow as asked: where precision is, and nothing learns."""
        arm = self.policies[policy]
        learns = arm.replicas > 1 or any(player.learning for player in arm.players.values())
        return self.precision is not None and not learns

    def build(self, uncertainty: str, institution: str, game: str = "") -> Game:
        """Return the game of a cell. Uncertainty comes first, so that its draws are the same in every institution."""
        inner, outer = _layers(self.uncertainty[uncertainty], game), _layers(self.institutions[institution], game)
        parts = [*(inner or []), *(outer or [])]
        ((name, parameters),) = (self.games[game] if game else self.game or {}).items()
        changes = [part["game"] for part in parts if "game" in part]
        built: Game = build("games", {name: functools.reduce(operator.or_, changes, parameters or {})})
        for part in parts:
            if "game" not in part:
                built = built | build("mechanisms", part)
        return built

    def cells(self) -> list[Cell]:
        """Return the cells in order: those of which the game has the level and the institution, and no filter drops."""
        return [
            cell
            for cell in self._all_cells()
            if (not self.only or any(factors.matches(cell, each) for each in self.only))
            and not any(factors.matches(cell, each) for each in self.without)
        ]

    def _all_cells(self) -> list[Cell]:
        return [
            Cell(policy, game, level, institution)
            for policy in self.policies
            for game in self.games or ("",)
            for level, inner in self.uncertainty.items()
            for institution, outer in self.institutions.items()
            if _layers(inner, game) is not None and _layers(outer, game) is not None
        ]

    @property
    def sha256(self) -> str:
        """Hash of all that determines the result."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def _layers(layers: Layers, game: str) -> list[Part] | None:
    """Return the mechanisms for a game; None where it is left out."""
    return layers if isinstance(layers, list) else layers.get(game)


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
    for key in ("path", "adapter"):
        if isinstance(given := (parameters or {}).get(key), str) and not _beside(given):
            raise ValueError(
                f"{name}.{key}: a path below the folder where the command runs, without '..', got {given!r}; put the file there"
            )
    return registry.create(kind, name, **{key: _value(value) for key, value in (parameters or {}).items()})


def _beside(path: str) -> bool:
    """Whether a path stays below the current folder."""
    return not Path(path).is_absolute() and ".." not in Path(path).parts and not path.startswith("~")


def _value(value: Any) -> Any:
    if isinstance(value, Mapping) and len(value) == 1:
        ((name, _),) = value.items()
        for kind in ("parts", "mechanisms"):
            if name in registry.entries(kind):
                return build(kind, dict(value))
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
    data = _extended(path)
    for key, value in (changes or {}).items():
        _put(data, key, value, path.name)
    for name in without:
        if name not in data.get("policies", {}):
            raise SpecError(
                f"without: {path.name} has no policy {name!r}; there are: {', '.join(data.get('policies', {}))}"
            )
        del data["policies"][name]
    return validated(path, data, Spec)


DEEPEST = 8
"""Files that may extend one another."""


def _extended(path: Path, depth: int = 0) -> dict[str, Any]:
    """Read a spec's file, put into the one that it extends."""
    data = read(path, Spec)
    if "extends" not in data:
        return data
    name = data.pop("extends")
    if not isinstance(name, str) or not _beside(name):
        raise SpecError(f"{path.name}: extends: one of {', '.join(shipped())}, or a file beside this one, got {name!r}")
    other = shipped().get(name, path.parent / name)
    if not other.is_file():
        raise SpecError(
            f"{path.name}: extends: no spec {name!r}: a file beside this one or one of {', '.join(shipped())}"
        )
    if depth == DEEPEST:
        raise SpecError(
            f"{path.name}: extends: more than {DEEPEST} files that extend one another; does one extend itself?"
        )
    return _merged(_extended(other, depth + 1), data)


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    both = {k: _merged(old[k], v) for k, v in new.items() if isinstance(v, dict) and isinstance(old.get(k), dict)}
    return {**old, **new, **both}


LARGEST, MOST = 1_000_000, 100_000
"""Bytes of a file, and values in it after its anchors have been followed."""


def read(path: Path, model: type[BaseModel]) -> dict[str, Any]:
    """Read a YAML file of plain values; one that is no mapping, or grows beyond measure, is refused."""
    try:
        if path.stat().st_size > LARGEST:
            raise SpecError(f"{path.name}: a file of at most {LARGEST:,} bytes, got {path.stat().st_size:,}")
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise SpecError(f"{path.name}: not text in UTF-8: {error}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise SpecError(f"{path.name}: not YAML: {error}") from error
    if not isinstance(data, dict):
        raise SpecError(
            f"{path.name}: a mapping with the keys {', '.join(model.model_fields)}, got {type(data).__name__}"
        )
    left, count = [data], 0
    while left:
        part: Any = left.pop()
        count += 1
        if count > MOST:
            raise SpecError(f"{path.name}: more than {MOST:,} values once its anchors (&, *) are followed; write fewer")
        if isinstance(part, dict):
            left += part.values()
        elif isinstance(part, list):
            left += part
    return data


Model = TypeVar("Model", bound=BaseModel)


def validated(path: Path, data: Mapping[str, Any], model: type[Model]) -> Model:
    """Return what a file says as its model, or raise a SpecError with the line and path of all that is wrong."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        text = path.read_text(encoding="utf-8")
        lines = [
            f"  {where(text, e['loc'])}{'.'.join(map(str, e['loc'])) or path.stem}: "
            f"{e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        ]
        raise SpecError(f"{path.name}:\n" + "\n".join(lines)) from error
    except (KeyError, TypeError, ValueError) as error:
        raise SpecError(f"{path.name}: {error.args[0] if error.args else error}") from error


def where(text: str, place: Sequence[int | str]) -> str:
    """Return "line 12: " for a path within a YAML file, as far as it goes there; nothing where it leads nowhere."""
    node, line = yaml.compose(text, Loader=yaml.SafeLoader), 0
    for step in place:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == str(step)]
            if not found:
                break
            key, node = found[-1]
            line = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            break
    return f"line {line}: " if line else ""


def _put(data: dict[str, Any], key: str, value: Any, where: str) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        if not isinstance(data.get(parent), dict):
            raise SpecError(f"{where}: no mapping at {parent!r} of {key!r} to change")
        data = data[parent]
    if last not in data:
        raise SpecError(f"{where}: nothing at {key!r} to change; there are: {', '.join(map(str, data))}")
    data[last] = value
