"""Golden playthroughs: what players are told and what happens, for every game and mechanism, byte for byte.

``pytest --regenerate-golden`` rewrites them. Read the difference before it is committed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import societas
from societas import Game, Policy, Worlds, make, mechanism, play, policy
from societas.envs.core import registry
from societas.mechanisms.contract import Court
from societas.mechanisms.terms import Quota

FOLDER = Path(__file__).parent / "golden"
MOST_LINES = 140

Cast = dict[str, Policy]


class Case(NamedTuple):
    """A game, who plays it, and how many steps are told."""

    game: Callable[[], Game]
    cast: Callable[[Game], Cast]
    steps: int = 6


def villagers(game: Game) -> Cast:
    """One of each character, and one who takes more every month and agrees to anything."""
    decides = {field.name for field in game.role("fisher").acts}

    def restless(seen: dict[str, object]) -> dict[str, object]:
        act = {"harvest": min(100, 11 + 2 * int(str(seen["month"]))), "accept": "accept"}
        return {name: value for name, value in act.items() if name in decides}

    return {
        "fisher": policy("scripted", character="fair"),
        "fisher_0": policy("scripted", character="reciprocator"),
        "fisher_1": policy("scripted", character="opportunist"),
        "fisher_2": policy("callable", function=restless),
    }


def equilibrium(game: Game) -> Cast:
    return {role.name: policy("equilibrium") for role in game.roles}


def anything(game: Game) -> Cast:
    return {role.name: policy("random") for role in game.roles}


def rivals(game: Game) -> Cast:
    return {"player_0": policy("scripted", character="tit_for_tat"), "player_1": policy("random")}


def proposing(game: Game) -> Cast:
    """A proposer who offers a limit of 12 tonnes and 5 to each on acceptance."""
    offer = policy("callable", function=lambda seen: {"harvest": 12, "limit": 12, "side": 5.0})
    return {**villagers(game), "fisher_0": offer}


CASES = {
    "CheapTalk": Case(lambda: make("CheapTalk", repetitions=2), equilibrium),
    "Delegation": Case(lambda: make("Delegation", repetitions=2), equilibrium),
    "Donor": Case(lambda: make("Donor", members=4), anything, 4),
    "DoubleAuction": Case(lambda: make("DoubleAuction", values=[9, 7], costs=[3, 6], ceiling=10), equilibrium, 2),
    "Economy": Case(lambda: make("Economy", citizens=2, width=6, height=5, steps=12, period=6, sight=1), anything, 2),
    "Fishery": Case(lambda: make("Fishery"), villagers),
    "GridCommons": Case(lambda: make("GridCommons", foragers=2, width=6, height=5, sight=1), anything, 2),
    "HiddenAction": Case(lambda: make("HiddenAction", repetitions=2), equilibrium),
    "HoldUp": Case(lambda: make("HoldUp", ownership=0.5, bargaining="ultimatum"), equilibrium),
    "IncompleteContract": Case(lambda: make("IncompleteContract", remedy="bonus"), equilibrium, 3),
    "Lewis": Case(lambda: make("Lewis", candidates=3), equilibrium),
    "MatrixGame": Case(lambda: make("MatrixGame", repetitions=5), rivals),
    "Multitask": Case(lambda: make("Multitask"), equilibrium),
    "Naming": Case(lambda: make("Naming", agents=4), anything, 4),
    "NormsGame": Case(lambda: make("NormsGame", agents=4, metanorms=True), anything),
    "Pricing": Case(lambda: make("Pricing"), anything, 4),
    "Procurement": Case(lambda: make("Procurement"), equilibrium),
    "Relational": Case(lambda: make("Relational", delta=0.3, repetitions=10), equilibrium, 2),
    "Screening": Case(lambda: make("Screening", repetitions=2), equilibrium),
    "Team": Case(lambda: make("Team", rule="tournament"), equilibrium),
}
"""How a registered game is played; others are played once at random."""

UNDER = {
    "Contract": Case(
        lambda: make("Fishery") | mechanism("Contract", terms=Quota(limit=None), court=Court(0.75), side_payment=5.0),
        proposing,
        5,
    ),
    "Misspecify": Case(lambda: make("Fishery") | mechanism("Misspecify", field="total", weight=0.5), villagers, 4),
    "Noise": Case(lambda: make("Fishery") | mechanism("Noise", field="stock", sd=5.0), villagers, 4),
}
"""How Fishery is played under a registered mechanism; under others (parameters that suit it) the villagers play."""


def under(name: str) -> Game:
    """Fishery under a mechanism, with parameters that suit it."""
    game = make("Fishery")
    return game | registry.resolve("mechanisms", name).suited(game)


def cases() -> dict[str, Case]:
    found = {name: CASES.get(name, Case(functools.partial(make, name), anything)) for name in societas.list("games")}
    for name in societas.list("mechanisms"):
        usual = Case(functools.partial(under, name), villagers)
        found[f"Fishery-{name}"] = UNDER.get(name, usual)
    return found


def tale(case: Case) -> str:
    """Rules and first prompt of every role, and the episode."""
    game = case.game()
    state = Worlds(game, 1, seed=0).state
    parts = []
    for role in game.roles:
        parts += [f"# Rules, as told to the role {role.name}", game.rules(role.name)]
        parts += [f"# What {role.players[0]} is asked first", game.prompt(state, role.name, 0, world=0)]
    told = play(game, case.cast(game), worlds=1, seed=0, keep=True).tell(steps=case.steps)
    return "\n\n".join(parts) + "\n\n" + told


@pytest.mark.parametrize("name", sorted(cases()))
def test_golden(name: str, request: pytest.FixtureRequest) -> None:
    text, path = tale(cases()[name]), FOLDER / f"{name}.md"
    if request.config.getoption("--regenerate-golden"):
        path.write_text(text, encoding="utf-8", newline="\n")
    assert path.exists(), f"{path.name} is missing: run pytest --regenerate-golden, read it, commit it"
    assert text.encode() == path.read_bytes(), "intended? then pytest --regenerate-golden, read the diff, commit it"
    assert len(text.splitlines()) <= MOST_LINES, "tell fewer steps: Case.steps"


def test_no_playthrough_is_left_behind() -> None:
    assert {path.stem for path in FOLDER.glob("*.md")} == set(cases())
