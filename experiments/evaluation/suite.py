"""The suite as data: games, who sits in them, what they are told and under which rules."""

from __future__ import annotations

import functools
import hashlib
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import Field

from ...envs.core.game import Game
from ..spec import Part, Strict, build

SHIPPED = Path(__file__).parent / "suite.yaml"

KINDS = ("society", "stranger", "newcomer", "probe")
"""``society``: the model holds all seats. ``stranger``: one seat is a stranger's, the model holds the others. ``newcomer``: the
model holds one seat among strangers. ``probe``: the model holds one seat and decides once, the others play as in ``elsewhere``.
"""

PLAIN = "plain"
"""The wording that is the game's own; also the value, regime and uncertainty that are none."""

NONE = "none"


class Scenario(Strict):
    """A game of the suite.

    ``quick`` holds the parameters that are changed in the quick form (None leaves the game out of it), ``toward`` {act
    field: +1 or -1} which way an act gives others more, ``elsewhere`` the stranger whom a probe meets, ``strangers`` more
    of them for this game and ``without`` those left out, ``synonyms`` other words for roles and places.
    """

    family: str
    title: str
    game: Part
    quick: dict[str, Any] | None = None
    elsewhere: str = "first best"
    strangers: dict[str, Part] = Field(default_factory=dict)
    without: list[str] = Field(default_factory=list)
    toward: dict[str, int] = Field(default_factory=dict)
    synonyms: dict[str, str] = Field(default_factory=dict)
    uncertainty: dict[str, list[Part]] = Field(default_factory=dict)
    regimes: dict[str, list[Part]] = Field(default_factory=dict)


class Case(NamedTuple):
    """One thing that is played, in every world."""

    scenario: str
    kind: str
    seat: str = ""
    stranger: str = ""
    values: str = NONE
    regime: str = NONE
    uncertainty: str = NONE
    wording: str = PLAIN

    @property
    def name(self) -> str:
        """Name, also that of its file."""
        parts = (self.scenario, self.kind, self.seat, self.stranger)
        told = [f"{key} {value}" for key, value in self._asdict().items() if key in _TOLD and value != _TOLD[key]]
        return "--".join(part.replace(" ", "_") for part in (*parts, *told) if part)


_TOLD = {"values": NONE, "regime": NONE, "uncertainty": NONE, "wording": PLAIN}


class Suite(Strict):
    """The whole suite."""

    version: str
    worlds: dict[str, int]
    levels: int = Field(ge=2)
    strangers: dict[str, dict[str, dict[str, Any]]]
    values: list[str]
    wordings: dict[str, dict[str, str]]
    scenarios: dict[str, Scenario]

    @property
    def sha256(self) -> str:
        """Hash of all that it says."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def form(self, quick: bool) -> Suite:
        """Return the suite in its quick or its full form, the changes of the quick form made."""
        if not quick:
            return self
        kept = {}
        for name, one in self.scenarios.items():
            if one.quick is not None:
                ((game, parameters),) = one.game.items()
                kept[name] = one.model_copy(update={"game": {game: {**parameters, **one.quick}}})
        return self.model_copy(update={"scenarios": kept})

    def game(self, case: Case) -> Game:
        """Return the game of a case: uncertainty first, so that its draws are the same in every regime."""
        one = self.scenarios[case.scenario]
        parts = [*one.uncertainty.get(case.uncertainty, []), *one.regimes.get(case.regime, [])]
        ((name, parameters),) = one.game.items()
        changes = [part["game"] for part in parts if "game" in part]
        game: Game = build("games", {name: functools.reduce(operator.or_, changes, parameters)})
        for part in parts:
            if "game" not in part:
                game = game | build("mechanisms", part)
        return game

    def strangers_of(self, scenario: str) -> dict[str, Part]:
        """Return the strangers of a game."""
        one = self.scenarios[scenario]
        return {name: part for name, part in {**self.strangers, **one.strangers}.items() if name not in one.without}

    def seats(self, scenario: str) -> list[str]:
        """Return one seat of each role that decides something: the last, so that any character may sit in it."""
        game = self.game(Case(scenario, "society"))
        return [role.players[-1] for role in game.roles if role.acts]

    def cases(self, *, reads: bool) -> list[Case]:
        """Return the cases in order; those that differ in words alone only for a model that ``reads``."""
        found = []
        for name, one in self.scenarios.items():
            seats, strangers = self.seats(name), self.strangers_of(name)
            found.append(Case(name, "society"))
            found += [Case(name, "society", uncertainty=level) for level in one.uncertainty]
            found += [Case(name, "society", regime=regime) for regime in one.regimes]
            found += [Case(name, "stranger", seat, stranger) for seat in seats for stranger in strangers]
            if len(self.game(found[-1]).players) > 2:
                found += [Case(name, "newcomer", seat, stranger) for seat in seats for stranger in strangers]
            if reads:
                found += [Case(name, "society", values=values) for values in self.values]
                told = [Case(name, "probe", values=values) for values in (NONE, *self.values)]
                told += [Case(name, "probe", wording=wording) for wording in (*self.wordings, AGAIN)]
                told += [Case(name, "probe", uncertainty=level) for level in one.uncertainty]
                found += [case._replace(seat=seat, stranger=one.elsewhere) for seat in seats for case in told]
        return found

    def template(self, case: Case) -> dict[str, str] | None:
        """Return the template of a case's wording; None for the game's own words."""
        if case.wording in (PLAIN, AGAIN):
            return None
        return self.wordings[case.wording] or renaming(self.scenarios[case.scenario].synonyms)


AGAIN = "again"
"""The game's own words, asked again with other luck: how much changes by chance alone."""


def renaming(synonyms: Mapping[str, str]) -> dict[str, str]:
    """Return a template that puts other words for some, in small letters and capitalised."""
    filters = ""
    for old, new in synonyms.items():
        for a, b in ((old, new), (old.capitalize(), new.capitalize())):
            filters += f" | replace({a!r}, {b!r})"
    given = "{% if values %}What you care about: {{ values }}\n\n{% endif %}"
    return {"system": f"{given}{{{{ rules{filters} }}}}", "user": f"{{{{ prompt{filters} }}}}"}


@functools.cache
def load() -> Suite:
    """Read the suite that is shipped."""
    return Suite.model_validate(yaml.safe_load(SHIPPED.read_text(encoding="utf-8")))
