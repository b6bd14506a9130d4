"""A batch of worlds as torch tensors on any device, for training where the worlds live."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..core.game import Game
from ..core.worlds import Worlds
from .spaces import Flat

if TYPE_CHECKING:
    from torch import Tensor


class TorchWorlds:
    """Worlds that step without leaving the device; a world that ends begins its next episode in the same step.

    Actions are not checked (that would cost a round trip); sample them from ``flats[role].action_space()``'s range.

    Parameters
    ----------
    game
        The game.
    worlds
        How many.
    seed
        World ``i`` is the same world on every backend and in a batch of any size.
    device
        None takes cuda if there is one.
    """

    def __init__(self, game: Game, worlds: int, *, seed: int = 0, device: str | None = None) -> None:
        self.game = game
        self.worlds = Worlds(game, worlds, seed=seed, backend="torch", device=device, check=False)
        self.flats = {role.name: Flat(role) for role in game.roles}

    def _observe(self) -> dict[str, Tensor]:
        seen = self.worlds.view()
        return {name: flat.flatten(seen[name]) for name, flat in self.flats.items()}

    def reset(self, seed: int | None = None) -> dict[str, Tensor]:
        """Start all worlds; return observations {role: (worlds, count, dim)}, float32."""
        self.worlds.reset(seed)
        return self._observe()

    def step(
        self, actions: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor, dict[str, Any]]:
        """Act in all worlds.

        Parameters
        ----------
        actions
            {role: (worlds, count[, components])} in the form of ``flats[role].action_space()``.

        Returns
        -------
        tuple
            Observations, rewards {role: (worlds, count)}, done (worlds,), and info: ``stage`` (worlds,) after the step,
            ``welfare`` (worlds,), and ``final``, the observations before worlds that ended began anew.
        """
        outcome = self.worlds.step({name: flat.acts(actions[name]) for name, flat in self.flats.items()})
        final = self._observe()
        self.worlds.restart(outcome.done)
        info = {"welfare": outcome.welfare, "final": final, "stage": self.worlds.stage}
        return self._observe(), outcome.rewards, outcome.done, info
