"""A claim as data, and what it takes to check it: benchmarks, play, or a study."""

from __future__ import annotations

import hashlib
import importlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from ...envs.core.episodes import play
from ...envs.core.statistics import Interval, interval, paired_difference
from ..run import learned
from ..spec import Part, Player, SpecError, Strict, build, read, validated
from ..work import Watch

if TYPE_CHECKING:
    from ...envs.core.game import Game

SHIPPED = Path(__file__).parent
AREAS = ("contracting", "markets", "norms", "alignment")

STUDIES = {
    "aligned": "societas.experiments.claims.studies:aligned",
    "aligners": "societas.experiments.claims.studies:aligners",
    "calvano": "societas.experiments.claims.studies:calvano",
    "control": "societas.experiments.claims.studies:control",
    "concepts": "societas.experiments.claims.studies:concepts",
    "evolution": "societas.experiments.claims.studies:evolution",
    "later_layers": "societas.experiments.claims.studies:later_layers",
    "lewis": "societas.experiments.claims.studies:lewis",
    "merged": "societas.experiments.claims.studies:merged",
    "diamond_saez": "societas.experiments.claims.studies:diamond_saez",
    "dilemma": "societas.experiments.claims.studies:dilemma",
    "axelrod": "societas.experiments.claims.studies:axelrod",
    "sigmund": "societas.experiments.claims.studies:sigmund",
    "token_shift": "societas.experiments.claims.studies:token_shift",
    "verified": "societas.experiments.claims.studies:verified",
}
"""Studies that are more than play: {name: "module:function"}; called with their parameters and ``watch``."""


class Expected(Strict):
    """What a number should be.

    One of: ``exactly`` (the number itself, within ``tolerance``, absolute and relative to numbers above 1), ``between`` (the
    mean lies in this band), ``above`` or ``below`` (the whole 95% interval does). ``published`` is the number as printed, where
    it is not the one that is asked for.
    """

    exactly: float | None = None
    tolerance: float = Field(default=1e-6, gt=0)
    between: tuple[float, float] | None = None
    above: float | None = None
    below: float | None = None
    published: float | None = None
    means: str = ""

    @model_validator(mode="before")
    @classmethod
    def _number(cls, given: Any) -> Any:
        return {"exactly": given} if isinstance(given, int | float) and not isinstance(given, bool) else given

    @model_validator(mode="after")
    def _one(self) -> Expected:
        asked = [name for name in ("exactly", "between", "above", "below") if getattr(self, name) is not None]
        if len(asked) != 1:
            raise ValueError(f"exactly one of exactly, between, above, below; got {', '.join(asked) or 'none'}")
        if self.between is not None and not self.between[0] < self.between[1]:
            raise ValueError(f"between: a lower and a higher number, got {list(self.between)}")
        return self

    @property
    def told(self) -> str:
        """What is expected, in words."""
        if self.between is not None:
            return f"{self.between[0]:g} to {self.between[1]:g}"
        if self.above is not None:
            return f"above {self.above:g}"
        return f"below {self.below:g}" if self.below is not None else f"{self.exactly:.6g}"

    def holds(self, found: Interval) -> bool:
        """Whether a number is as expected."""
        if self.exactly is not None:
            return abs(found.mean - self.exactly) <= self.tolerance * max(1.0, abs(self.exactly))
        if self.between is not None:
            return self.between[0] <= found.mean <= self.between[1]
        low, high = (found.mean if math.isnan(end) else end for end in (found.low, found.high))
        return low > self.above if self.above is not None else high < (self.below or 0.0)


class Setting(Strict):
    """A game, what stands on it, who plays it, and how often."""

    game: Part
    under: list[Part] = Field(default=[])
    policies: dict[str, Player] = Field(default={})
    worlds: int = Field(default=1, gt=0)
    seed: int = 0

    def build(self) -> Game:
        """Return the game under its mechanisms."""
        built: Game = build("games", self.game)
        for part in self.under:
            built = built | build("mechanisms", part)
        return built


class Check(Setting):
    """One thing that is run, and what is expected of it.

    ``levels`` {benchmark: expected} are welfare per episode as the game's theory has it, and ``theory`` {name: expected} other
    numbers that the game derives from its parameters (``nash_price``); ``measures`` {measure: expected} are means
    over worlds of what was played, by the equilibrium where no policies are given: a measure of the game, ``welfare``,
    ``alignment`` or ``return of ROLE`` (per player). With ``minus`` (changes of the setting), measures are differences to
    the same worlds played otherwise. ``study`` names something else that is run, ``rows`` what is expected of what it
    returns.
    """

    game: Part = Field(default={})
    levels: dict[str, Expected] = Field(default={})
    theory: dict[str, Expected] = Field(default={})
    measures: dict[str, Expected] = Field(default={})
    minus: dict[str, Any] = Field(default={})
    study: Part | None = None
    rows: dict[str, Expected] = Field(default={})

    @model_validator(mode="after")
    def _whole(self) -> Check:
        if self.study is not None:
            if not self.rows or self.game:
                raise ValueError("study: with rows, and without a game")
            ((name, _),) = self.study.items()
            if name not in STUDIES:
                raise ValueError(f"study: one of {', '.join(STUDIES)}, got {name!r}")
            return self
        if not (self.levels or self.theory or self.measures):
            raise ValueError("levels, theory, measures: at least one that is expected")
        game = self.build()
        for name in self.theory:
            if name.startswith("_") or not isinstance(getattr(game, name, None), int | float):
                raise ValueError(f"theory: {game.name} has no number {name!r}")
        named = {
            "levels": set(game.benchmarks().levels),
            "measures": {"welfare", "alignment", *(m.name for m in game.reports)}
            | {f"return of {role.name}" for role in game.roles},
        }
        for kind, known in named.items():
            for name in getattr(self, kind):
                if name not in known:
                    raise ValueError(f"{kind}: of {', '.join(sorted(known))}, got {name!r}")
        if self.minus:
            self.other  # noqa: B018  (says now what is wrong with it)
        return self

    @property
    def other(self) -> Setting:
        """The setting that is subtracted."""
        own = {name: getattr(self, name) for name in Setting.model_fields}
        return Setting.model_validate({**own, **self.minus})


class Claim(Strict):
    """A published number or theorem, with its source, and the checks of it."""

    title: str
    says: str
    source: str
    tier: Literal["fast", "full"] = "fast"
    checks: list[Check] = Field(min_length=1)


class Row(NamedTuple):
    """One number of a claim: as expected and as found."""

    what: str
    published: float | None
    expected: str
    found: float
    low: float
    high: float
    n: int
    holds: bool


def shipped() -> dict[str, Path]:
    """Return the files of the claims that come with the library: {"area/name": path}."""
    return {f"{area}/{path.stem}": path for area in AREAS for path in sorted((SHIPPED / area).glob("*.yaml"))}


def load(name: str | Path) -> Claim:
    """Read a claim: one that is shipped, by name, or a file.

    Raises
    ------
    SpecError
        If there is none, or something in it is wrong; the message gives the path within the file.
    """
    path = shipped().get(str(name), Path(name))
    if not path.is_file():
        raise SpecError(f"no claim {str(name)!r}; there are: {', '.join(shipped())}")
    return validated(path, read(path, Claim), Claim)


def digest(claim: Claim) -> str:
    """Return a hash of all that determines the result, but for the code."""
    return hashlib.sha256(claim.model_dump_json().encode()).hexdigest()[:8]


def played(setting: Setting, watch: Watch) -> dict[str, np.ndarray[Any, Any]]:
    """Learn and play a setting; return {measure: (worlds,)}."""
    game = setting.build()
    given = setting.policies or {role.name: Player(policy="equilibrium") for role in game.roles}
    policies, _ = learned(
        game, given, "", setting.seed + 1, lambda share: watch(0.9 * share), "policies", setting.worlds
    )
    episodes = play(game, policies, worlds=setting.worlds, seed=setting.seed)
    returns = {f"return of {name}": values.mean(axis=1) for name, values in episodes.returns.items()}
    found = {"welfare": episodes.welfare, **returns, **episodes.measures}
    try:
        return {"alignment": episodes.alignment, **found}
    except ValueError:  # nothing to align
        return found


def checked(check: Check, watch: Watch) -> list[Row]:
    """Run one check."""
    found: dict[str, Any] = {}
    if check.study is not None:
        ((name, parameters),) = check.study.items()
        module, _, function = STUDIES[name].partition(":")
        found = dict(getattr(importlib.import_module(module), function)(**(parameters or {}), watch=watch))
        asked: Mapping[str, Expected] = check.rows
    else:
        asked = check.levels | check.theory | check.measures
        game = check.build()
        levels = game.benchmarks().levels if check.levels else {}
        found = {name: levels[name].value for name in check.levels} | {
            name: getattr(game, name) for name in check.theory
        }
        if check.measures:
            ours = played(check, watch)
            theirs = played(check.other, watch) if check.minus else None
            for name in check.measures:
                found[name] = ours[name] if theirs is None else paired_difference(ours[name], theirs[name])
    rows = []
    for name, expected in asked.items():
        value = found[name]
        if not isinstance(value, Interval):
            value = interval(np.atleast_1d(np.asarray(value, dtype=float)))
        printed = expected.published if expected.published is not None else expected.exactly
        rows.append(Row(expected.means or name, printed, expected.told, *value, expected.holds(value)))
    return rows


def check_claim(name: str, watch: Watch) -> dict[str, Any]:
    """Check a claim as a job; return {"rows": its rows}."""
    claim = load(name)
    rows: list[Row] = []
    for number, check in enumerate(claim.checks):
        rows += checked(check, lambda share, n=number: watch((n + share) / len(claim.checks)))  # type: ignore[misc]
    return {"rows": [row._asdict() for row in rows]}
