"""Policy: what acts. It sees fields, never a game."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Self

from .arrays import Array, full
from .fields import Role
from .game import Acts, Seen

if TYPE_CHECKING:
    from .game import Game


class Policy(ABC):
    """Decides for some seats of one role, for a whole batch of worlds at once.

    A policy is bound to seats (``bind``), starts an episode (``begin``) and then acts. What it remembers within an
    episode it returns and is handed back; its random numbers are given to it.
    """

    draws: int = 0
    """Uniform numbers it takes a seat and move."""

    role: Role
    seats: tuple[int, ...]

    def bind(self, game: Game, role: str, seats: tuple[int, ...]) -> Self:
        """Return the policy fitted to some seats of a role of a game (itself or a copy).

        Here a policy may ask for the rules in words or refuse a role that it cannot play.
        """
        import copy

        bound = copy.copy(self)
        bound.role, bound.seats = game.role(role), seats
        return bound

    def ready(self) -> None:  # noqa: B027  (most policies need nothing)
        """Raise an error that says what to do, if something that the policy needs is absent."""

    def begin(self, batch: tuple[int, ...], xp: Any, device: Any) -> Any:
        """Return its memory at the start of an episode; None if it has none."""
        return None

    @abstractmethod
    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Decide.

        Parameters
        ----------
        seen
            {field: (*batch, seats, *components)}.
        stage
            Index of the stage that is next, integer (*batch); -1 where the episode is over and nothing is asked.
        u
            Uniform numbers (*batch, seats, draws).
        memory
            What it returned last.

        Returns
        -------
        tuple
            Acts {field: (*batch, seats, *components)} for every act field of the role (what is not asked for at the
            stage is ignored), and the new memory.
        """


def default_acts(role: Role, like: Array, seats: int) -> Acts:
    """Return the null act: every field at the value of its space nearest to zero. ``like`` is (*batch)."""
    acts = {}
    for field in role.acts:
        value = min(max(0, field.space.low), field.space.high)
        acts[field.name] = full(like, (*like.shape, seats, *field.shape), value, integer=field.discrete)
    return acts
