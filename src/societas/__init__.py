"""societas: which incentives, norms and institutions make agents do what no contract can fully say?

The public names. Games, mechanisms and policies are made by name (``make``, ``mechanism``, ``policy``) or imported from
``societas.envs``, ``societas.mechanisms`` and ``societas.policies``. Importing societas registers every game with
Gymnasium and PettingZoo, at once where they are imported already, else as they are; it imports nothing heavy itself.
"""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

from .envs.views.register import register_on_import as _register_on_import

if TYPE_CHECKING:
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


def __getattr__(name: str) -> Any:
    """Import what is asked for where it is asked for, so that the command line and ``import societas`` stay quick."""
    if name == "__version__":
        return _version()
    if name not in __all__:
        raise AttributeError(f"module 'societas' has no attribute {name!r}")
    from .envs import core

    return globals().setdefault(name, getattr(core, name))


def __dir__() -> builtins.list[str]:
    """Return the public names, those not imported yet too."""
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("societas")
    except PackageNotFoundError:  # a source tree that was never installed
        return "0+unknown"


def make(name: str, **parameters: Any) -> Game:
    """Return a registered game, for example ``make("Fishery", fishers=5)``."""
    from .envs.core import registry

    game: Game = registry.create("games", name, **parameters)
    return game


def mechanism(name: str, **parameters: Any) -> Mechanism:
    """Return a registered mechanism, for example ``mechanism("Sanction", cost=1)``."""
    from .envs.core import registry

    found: Mechanism = registry.create("mechanisms", name, **parameters)
    return found


def policy(name: str, **parameters: Any) -> Policy:
    """Return a registered policy, for example ``policy("random")``."""
    from .envs.core import registry

    found: Policy = registry.create("policies", name, **parameters)
    return found


def register(kind: str, name: str, target: str | type) -> None:
    """Register a game, mechanism or policy of your own, a class or "module:Class"; a game also gets its environment ids."""
    from .envs.core import registry
    from .envs.views.register import register_everywhere

    registry.register(kind, name, target)
    register_everywhere()


def list(kind: str = "games") -> builtins.list[str]:
    """Return the registered names of a kind: ``"games"``, ``"mechanisms"`` or ``"policies"``."""
    from .envs.core import registry

    return builtins.list(registry.entries(kind))


_register_on_import()

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
