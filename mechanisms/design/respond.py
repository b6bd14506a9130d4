"""Who plays under a candidate: those who respond to it, and what the designer commits to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from ...envs.core.arrays import Array, namespace
from ...envs.core.fields import Choice, find
from ...envs.core.game import Acts, Game, Seen
from ...envs.core.policy import Policy, default_acts
from ...policies.equilibrium import Equilibrium

Policies = Mapping[str, Policy]
Designer = Mapping[str, Callable[[Mapping[str, Any]], Policy | Mapping[str, Any]]]


class Response(ABC):
    """Players who respond to a game under a candidate, and to what the designer commits to."""

    @abstractmethod
    def reply(self, game: Game, committed: Policies) -> Policies:
        """Return who plays, given the policies that the designer has committed to (and that need not be among them)."""

    def __call__(self, game: Game) -> Policies:
        """Return who plays where nobody has committed to anything."""
        return self.reply(game, {})


Respond = Policies | Response | Callable[[Game], Policies] | str | None


class Constant(Policy):
    """Decides the same whatever it sees.

    Parameters
    ----------
    acts
        {field: value, or one a component}; choices as their texts. Other fields are the null act. Numbers may be tensors,
        through which gradients flow.
    """

    def __init__(self, acts: Mapping[str, Any]) -> None:
        self.acts = dict(acts)

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Decide."""
        acts = default_acts(self.role, stage, len(self.seats))
        for name, value in self.acts.items():
            space = find(self.role.acts, name, f"acts of {self.role.name}").space
            if isinstance(space, Choice):
                value = (
                    [_code(space, part) for part in value] if isinstance(value, list | tuple) else _code(space, value)
                )
            null = acts[name] * 0
            if isinstance(value, list | tuple):
                if len(value) != null.shape[-1] or not self._each(name):
                    raise ValueError(
                        f"acts of {self.role.name}: {name} has components {self._each(name)}, got {value!r}"
                    )
                acts[name] = namespace(null).stack([null[..., i] + part for i, part in enumerate(value)], axis=-1)
            else:
                acts[name] = null + value
        return acts, memory

    def _each(self, name: str) -> tuple[str, ...]:
        return find(self.role.acts, name, self.role.name).each


def _code(space: Choice, value: Any) -> Any:
    if isinstance(value, str) and value not in space.options:
        raise ValueError(f"acts: one of {', '.join(space.options)}, got {value!r}")
    return space.options.index(value) if isinstance(value, str) else value


def committed(x: Mapping[str, Any], designer: Designer) -> dict[str, Policy]:
    """Return what the designer commits to at a point."""
    made = {name: decide(x) for name, decide in designer.items()}
    return {name: acts if isinstance(acts, Policy) else Constant(acts) for name, acts in made.items()}


def cast(game: Game, respond: Respond, fixed: Policies) -> dict[str, Policy]:
    """Return who plays a game: those who respond to it, and in their place those who have committed themselves."""
    if isinstance(respond, str):
        if respond != "equilibrium":
            raise ValueError(f"respond: policies, a function of the game or 'equilibrium', got {respond!r}")
        levels = game.benchmarks().levels["equilibrium"].play
        if levels is None:
            raise ValueError(f"respond: {game.name} does not say how its equilibrium is played; give policies")
        return {**{name: Equilibrium() for name in levels}, **fixed}
    if isinstance(respond, Response):
        return {**respond.reply(game, fixed), **fixed}
    return {**(respond(game) if callable(respond) else respond or {}), **fixed}
