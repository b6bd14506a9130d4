"""What a game says about itself: parameters, roles, fields, stages, measures."""

from __future__ import annotations

from collections.abc import Iterable

from ..envs.core.fields import Field, Role
from ..envs.core.game import Game
from ..envs.core.mechanism import Institution
from .walk import during, fail, is_frozen


def check_declarations(game: Game) -> None:
    """Check that a game is an immutable value whose parts all have words and distinct names."""
    if not isinstance(game, Game):
        fail(repr(game), "is not a Game", "derive its class from societas.Game")
    name = game.name
    if not isinstance(game, Institution) and not is_frozen(game):
        fail(name, "its parameters can be changed", "decorate the class with @dataclass(frozen=True)")
    with during(name, "hash()"):
        hash(game)
    if not game.about.strip():
        fail(name, "about is empty", "say in words what a player must know to play")
    _distinct(name, "roles", [role.name for role in game.roles])
    _distinct(name, "players", list(game.players))
    _distinct(name, "stages", [stage.name for stage in game.stages])
    _distinct(name, "measures", [measure.name for measure in game.reports])
    if tuple(game.roles) != tuple(game.roles) or not game.roles:
        fail(name, "roles is empty or changes from call to call", "return the same tuple of roles every time")
    for role in game.roles:
        _check_role(game, role)
    for stage in game.stages:
        if not stage.means.strip():
            fail(name, f"stage {stage.name!r} has no words", "say in Stage(means=...) what is decided at it")
        if not any(role.deciding(stage.name) for role in game.roles):
            fail(name, f"nobody decides anything at stage {stage.name!r}", "drop it, or give a role an act field there")
    for measure in game.reports:
        if not measure.means.strip() or not measure.formula.strip():
            fail(
                name, f"measure {measure.name!r} has no words or no formula", "fill in Measure(means=..., formula=...)"
            )
        if measure.better not in ("higher", "lower"):
            fail(name, f"measure {measure.name!r}: better is {measure.better!r}", "say 'higher' or 'lower'")
    if game.rounds < 1 or game.horizon < game.rounds:
        fail(name, f"rounds is {game.rounds}, horizon {game.horizon}", "an episode has a round, a round has a step")


def _distinct(who: str, what: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        fail(who, f"{what} share a name: {', '.join(twice)}", "rename one of them")


def _check_role(game: Game, role: Role) -> None:
    who = f"{game.name}: role {role.name}"
    if not role.means.strip():
        fail(who, "has no words", "say in Role(means=...) who it is and what it wants")
    names = [stage.name for stage in game.stages]
    for field in _words(who, (*role.sees, *role.acts)):
        _distinct(f"{who}: field {field.name}", "components", list(field.each))
    for field in role.acts:
        if field.stage not in names:
            stages = ", ".join(map(repr, names))
            fail(
                f"{who}: field {field.name}",
                f"is decided at stage {field.stage!r}",
                f"take one of the stages: {stages}",
            )
        if field.by is not None and not (field.by and set(field.by) <= set(range(role.count))):
            fail(f"{who}: field {field.name}", f"by is {field.by}", f"name seats from 0 to {role.count - 1}")
    if len(names) > 1 and not any(f.name == "stage" for f in role.sees):
        fail(who, "does not see which stage is next", "add stage_field(stages) to what it sees, and show it in view")


def _words(who: str, fields: Iterable[Field]) -> Iterable[Field]:
    for field in fields:
        if not field.means.strip():
            fail(f"{who}: field {field.name}", "has no words", "say in Field(means=...) what it is")
        yield field
