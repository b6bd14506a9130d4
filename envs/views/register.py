"""Registration of every game with Gymnasium and PettingZoo, on ``import societas``.

To import the two takes longer than all of societas, and many who import it need neither (the command line, a sweep's
parent). So a library that is imported already is told at once, and another as soon as somebody imports it: a finder on
``sys.meta_path`` lets Python's own import do its work and then registers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def environment_id(game: str) -> str:
    """Return the id under which a game is registered."""
    return f"societas/{game}-v0"


def register_everywhere() -> None:
    """Register every game of the registry that is not yet, with those that are imported; no game is imported by it."""
    for library, tell in _LIBRARIES.items():
        if library in sys.modules:
            tell()


def register_on_import() -> None:
    """Register every game, with a library that is not imported yet when it is."""
    for library, tell in _LIBRARIES.items():
        if library in sys.modules:
            tell()
        elif not any(isinstance(finder, _Then) and finder.library == library for finder in sys.meta_path):
            sys.meta_path.insert(0, _Then(library, tell))


class _Then:
    """A finder that runs a function once a module has been imported, and then is gone."""

    def __init__(self, library: str, function: Callable[[], None]) -> None:
        self.library, self.function = library, function

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the library's own spec, whose loader calls the function last; None for every other name."""
        if name != self.library:
            return None
        others = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next((found for found in others if found is not None), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                    self.function()

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _with_gymnasium() -> None:
    import gymnasium

    from ..core import registry

    for name in registry.entries("games"):
        if environment_id(name) not in gymnasium.registry:
            gymnasium.register(
                environment_id(name),
                entry_point="societas.envs.views.gymnasium:RoleEnv",
                vector_entry_point="societas.envs.views.vector:RoleVectorEnv",
                kwargs={"game": name},
            )


def _with_pettingzoo() -> None:
    import pettingzoo

    from ..core import registry

    views = "societas.envs.views.pettingzoo"
    for name in registry.entries("games"):
        identity, options = environment_id(name), {"game": name}
        if identity not in pettingzoo.parallel_registry:
            pettingzoo.register("parallel", identity, entry_point=f"{views}:parallel_env", kwargs=options)
            pettingzoo.register("aec", identity, entry_point=f"{views}:env", kwargs=options)


_LIBRARIES: dict[str, Callable[[], None]] = {"gymnasium": _with_gymnasium, "pettingzoo": _with_pettingzoo}
