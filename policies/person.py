"""A person at a terminal as a policy."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..envs.core import words
from ..envs.core.arrays import Array, constant, to_numpy
from ..envs.core.policy import Policy, default_acts

if TYPE_CHECKING:
    from ..envs.core.game import Acts, Game, Seen


class Person(Policy):
    """Asks a person: shows the prompt, reads the answer, and says what is wrong with it until it is an act.

    Parameters
    ----------
    ask
        Called with the prompt; returns the answer.
    tell
        Called with the rules at the start and with complaints.
    """

    def __init__(self, ask: Callable[[str], str] = input, tell: Callable[[str], None] = print) -> None:
        self.ask = ask
        self.tell = tell

    def bind(self, game: Game, role: str, seats: tuple[int, ...]) -> Self:
        """Tell the rules."""
        bound = copy.copy(super().bind(game, role, seats))
        bound.game = game  # type: ignore[attr-defined]  # for its words alone
        self.tell(game.rules(role))
        return bound

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Ask for every seat that has something to decide."""
        acts = default_acts(self.role, stage, len(self.seats))
        host = {name: to_numpy(values).copy() for name, values in acts.items()}
        sight = {name: to_numpy(values) for name, values in seen.items()}
        game: Game = self.game  # type: ignore[attr-defined]
        for place in np.ndindex(*stage.shape, len(self.seats)):
            number, index = int(stage[place[:-1]]), self.seats[place[-1]]
            if number < 0 or not self.role.deciding(game.stages[number].name, index):
                continue
            own = {name: values[place] for name, values in sight.items()}
            question = words.prompt(game, self.role, index, own, number)
            act = game.parse(self.ask(question), self.role.name, number, index)
            while isinstance(act, words.Complaint):
                self.tell(str(act))
                act = game.parse(self.ask(question), self.role.name, number, index)
            for name, value in act.items():
                host[name][place] = value
        return {name: constant(acts[name], values) for name, values in host.items()}, memory
