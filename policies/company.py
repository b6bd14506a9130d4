"""Company: most seats of a role are played by one policy, the last ones by another."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

from ..envs.core import registry, validate
from ..envs.core.arrays import Array, namespace
from ..envs.core.policy import Policy

if TYPE_CHECKING:
    from ..envs.core.game import Acts, Game, Seen

Who = Policy | str | Mapping[str, Any]


class Company(Policy):
    """A policy among others in its own role: how does it do beside somebody whom it never met?

    Parameters
    ----------
    most
        Who has all seats but the last few: a policy, its name, or ``{name: {parameters}}``.
    guests
        Who has the last seats.
    count
        How many seats guests have; a role with no more seats is played by ``most`` alone.
    """

    curve: list[float]

    def __init__(self, most: Who, guests: Who = "random", *, count: int = 1) -> None:
        self.most, self.guests = _made("most", most), _made("guests", guests)
        self.count = validate.whole("count", count, 0, 1_000_000)

    def ready(self) -> None:
        """Say what either lacks."""
        self.most.ready()
        self.guests.ready()

    def learn(
        self,
        game: Game,
        role: str,
        *,
        episodes: int,
        sessions: int = 64,
        seed: int = 0,
        others: Mapping[str, Policy] | None = None,
        watch: Callable[[int, int], None] | None = None,
    ) -> Self:
        """Return the company in which ``most`` has learned; it learns as it does alone, and meets the guests afterwards."""
        learner: Any = self.most
        if not hasattr(learner, "learn"):
            raise ValueError(f"most: {type(learner).__name__} does not learn; leave out learning")
        learned, told = copy.copy(self), {"sessions": sessions, "seed": seed, "others": others, "watch": watch}
        after = learner.learn(game, role, episodes=episodes, **told)
        learned.most, learned.curve = after, after.curve
        return learned

    def bind(self, game: Game, role: str, seats: tuple[int, ...]) -> Self:
        """Seat both."""
        bound = super().bind(game, role, seats)
        guests = self.count if self.count < len(seats) else 0
        bound.parts = [  # type: ignore[attr-defined]
            who.bind(game, role, some)
            for who, some in ((self.most, seats[: len(seats) - guests]), (self.guests, seats[len(seats) - guests :]))
            if some
        ]
        bound.draws = max(part.draws for part in bound.parts)  # type: ignore[attr-defined]
        return bound

    def begin(self, batch: tuple[int, ...], xp: Any, device: Any) -> Any:
        """Begin both."""
        return tuple(part.begin(batch, xp, device) for part in self.parts)  # type: ignore[attr-defined]

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Ask each for its seats."""
        found, kept, at = [], [], 0
        axis = len(stage.shape)
        for part, own in zip(self.parts, memory, strict=True):  # type: ignore[attr-defined]
            here = (slice(None),) * axis + (slice(at, at + len(part.seats)),)
            sight = {name: values[here] for name, values in seen.items()}
            acts, remembered = part.act(sight, stage, u[here][..., : part.draws], own)
            found.append(acts)
            kept.append(remembered)
            at += len(part.seats)
        xp = namespace(stage)
        return {name: xp.concat([acts[name] for acts in found], axis=axis) for name in found[0]}, tuple(kept)


def _made(name: str, given: Who) -> Policy:
    if isinstance(given, Policy):
        return given
    if isinstance(given, Mapping) and len(given) == 1:
        ((policy, parameters),) = given.items()
    elif isinstance(given, str):
        policy, parameters = given, None
    else:
        raise ValueError(f"{name}: a policy, its name, or {{name: {{parameters}}}}, got {given!r}")
    made: Policy = registry.create("policies", policy, **(parameters or {}))
    return made
