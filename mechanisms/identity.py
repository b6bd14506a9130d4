"""Identity: players belong to groups and side with their own."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Self

from ..envs.core import validate
from ..envs.core.arrays import Array, constant, total
from ..envs.core.game import Game, Outcome
from ..envs.core.mechanism import Institution, Mechanism, Unfit, every, joined, parted, several

BY_ROLE = "by role"


@dataclass(frozen=True)
class Identity(Mechanism):
    """Group identity (Akerlof and Kranton 2000, doi:10.1162/003355300554881; Chen and Li 2009, doi:10.1257/aer.99.1.431).

    A member's reward becomes its own plus ``weight`` times the sum of the rewards of the other members of its group, less
    ``rivalry`` times the sum of the rewards of all who are not in it. It is a taste and no money: ``Outcome.welfare`` and
    the base game's measures stay material. One group of all is ``Prosocial``.

    Parameters
    ----------
    groups
        Groups, each a list of players; nobody is in two. Who is in none is paid as before, and an outsider to all.
        ``"by role"`` makes each role a group.
    weight
        Weight of the rewards of one's own group, 0 to 1.
    rivalry
        Weight, taken away, of the rewards of outsiders, 0 to 1. Both 0 are the game itself.
    """

    groups: tuple[tuple[str, ...], ...] | str = BY_ROLE
    weight: float = 0.5
    rivalry: float = 0.0

    budget = None

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.real("weight", self.weight, 0.0, 1.0)
        validate.real("rivalry", self.rivalry, 0.0, 1.0)
        if self.groups == BY_ROLE:
            return
        if not isinstance(self.groups, list | tuple) or not self.groups:
            raise ValueError(f"groups: {BY_ROLE!r} or a list of lists of players, got {self.groups!r}")
        groups = tuple(validate.names(f"groups[{i}]", group) for i, group in enumerate(self.groups))
        members = [player for group in groups for player in group]
        if not all(groups) or len(set(members)) < len(members):
            raise ValueError(f"groups: no empty group, and nobody in two, got {self.groups!r}; name each player once")
        object.__setattr__(self, "groups", groups)

    @classmethod
    def suited(cls, game: Game) -> Self:
        """Return groups by role, or the two halves of a single role, with some rivalry."""
        several(game)
        half = (len(game.players) + 1) // 2
        halves = (game.players[:half], game.players[half:])
        return cls(BY_ROLE if len(game.roles) > 1 else halves, 0.5, 0.25)

    def apply(self, game: Game) -> Game:
        """Return the game among members of groups."""
        return game if self.weight == 0 and self.rivalry == 0 else Grouped(game, self)


class Grouped(Institution):
    """A game among members of groups."""

    mechanism: Identity

    def __init__(self, base: Game, mechanism: Identity) -> None:
        super().__init__(base, mechanism)
        several(base)
        groups = mechanism.groups
        self.groups = tuple(role.players for role in base.roles) if isinstance(groups, str) else groups
        strange = [player for group in self.groups for player in group if player not in base.players]
        if strange:
            raise Unfit(
                f"groups: {base.name} has no player {', '.join(strange)}; its players are: {', '.join(base.players)}"
            )

    @functools.cached_property
    def weights(self) -> tuple[tuple[float, ...], ...]:
        """Weight, row by row, that each player puts on the reward of each."""
        group = {player: i for i, players in enumerate(self.groups) for player in players}

        def weight(one: str, other: str) -> float:
            if one == other:
                return 1.0
            if one not in group:
                return 0.0
            return self.mechanism.weight if group.get(other) == group[one] else -self.mechanism.rivalry

        return tuple(tuple(weight(one, other) for other in self.base.players) for one in self.base.players)

    @property
    def terms(self) -> str:
        """The groups and the preference in words."""
        groups = "; ".join(", ".join(group) for group in self.groups)
        parts = []
        if self.mechanism.weight:
            parts.append(f"plus {self.mechanism.weight:g} times the sum of what the others of its group are paid")
        if self.mechanism.rivalry:
            parts.append(f"less {self.mechanism.rivalry:g} times the sum of what all outside its group are paid")
        return (
            f"Players belong to groups: {groups}. The reward of each member is what it is paid, {' and '.join(parts)}."
        )

    def settle(self, own: Any, outcome: Outcome, ended: Array, u: Array) -> tuple[Any, Outcome]:
        """Weigh everybody's rewards; welfare stays."""
        roles = every(self.base)
        pay = joined(outcome.rewards, roles)
        felt = total(pay[..., None, :] * constant(pay, self.weights))
        return own, outcome._replace(rewards=parted(felt, self.base, roles))
