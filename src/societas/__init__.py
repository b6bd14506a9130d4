"""societas: which incentives, norms and institutions make agents do what no contract can fully say?

The public names. Games, mechanisms and policies are made by name (``make``, ``mechanism``, ``policy``) or imported from
``societas.envs``, ``societas.mechanisms`` and ``societas.policies``. Importing societas registers every game with
Gymnasium and PettingZoo; it imports neither torch nor transformers.
"""

from __future__ import annotations

import builtins
from typing import Any

from .envs.core import (
    ActError,
    Benchmarks,
    Choice,
    Complaint,
    Episodes,
    Field,
    Game,
    Institution,
    Integer,
    Level,
    Measure,
    Mechanism,
    Outcome,
    Policy,
    Real,
    Role,
    Stage,
    Text,
    Unfit,
    Worlds,
    play,
)
from .envs.core import registry as _registry
from .envs.views.register import register_everywhere as _register_everywhere


def __getattr__(name: str) -> Any:
    """Read the version where somebody asks for it: to look it up takes longer than to import most of this."""
    if name != "__version__":
        raise AttributeError(f"module 'societas' has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("societas")
    except PackageNotFoundError:  # a source tree that was never installed
        return "0+unknown"


def make(name: str, **parameters: Any) -> Game:
    """Return a registered game, for example ``make("Fishery", fishers=5)``."""
    game: Game = _registry.create("games", name, **parameters)
    return game


def mechanism(name: str, **parameters: Any) -> Mechanism:
    """Return a registered mechanism, for example ``mechanism("Sanction", cost=1)``."""
    found: Mechanism = _registry.create("mechanisms", name, **parameters)
    return found


def policy(name: str, **parameters: Any) -> Policy:
    """Return a registered policy, for example ``policy("random")``."""
    found: Policy = _registry.create("policies", name, **parameters)
    return found


def register(kind: str, name: str, target: str | type) -> None:
    """Register a game, mechanism or policy of your own, a class or "module:Class"; a game also gets its environment ids."""
    _registry.register(kind, name, target)
    _register_everywhere()


def list(kind: str = "games") -> builtins.list[str]:
    """Return the registered names of a kind: ``"games"``, ``"mechanisms"`` or ``"policies"``."""
    return builtins.list(_registry.entries(kind))


_register_everywhere()

__all__ = [
    "ActError",
    "Benchmarks",
    "Choice",
    "Complaint",
    "Episodes",
    "Field",
    "Game",
    "Institution",
    "Integer",
    "Level",
    "Measure",
    "Mechanism",
    "Outcome",
    "Policy",
    "Real",
    "Role",
    "Stage",
    "Text",
    "Unfit",
    "Worlds",
    "list",
    "make",
    "mechanism",
    "play",
    "policy",
    "register",
]
