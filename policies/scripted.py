"""Scripted characters: strategies that people and textbooks describe, written against field names."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from ..envs.core import validate
from ..envs.core.arrays import Array, namespace, to_float, to_int
from ..envs.core.policy import Policy, default_acts

if TYPE_CHECKING:
    from ..envs.core.game import Acts, Game, Seen


class Character:
    """A character decides the fields for which it has a method of that name; the rest is the null act.

    Methods take what is seen and what is remembered, arrays (*batch, seats, ...), and a uniform number u (*batch,
    seats); they return (*batch, seats).
    """

    knows: tuple[str, ...] = ()

    def remember(self, seen: Seen, memory: Array) -> Array:
        """Return what it remembers: one flag (*batch, seats), 0 at the start."""
        return memory


def fair_share(seen: Seen) -> Array:
    """Return the sustainable share of a stock that doubles: half of it, divided by the number of players."""
    n = seen["catches"].shape[-1]
    return seen["stock"] // 2 // n


class Fair(Character):
    """Takes the sustainable share, agrees to what is proposed, punishes nobody."""

    knows: tuple[str, ...] = ("harvest", "consent", "say")

    def harvest(self, seen: Seen, memory: Array, u: Array) -> Array:
        """Take the sustainable share."""
        return fair_share(seen)

    def consent(self, seen: Seen, memory: Array, u: Array) -> Array:
        """Agree."""
        return to_int(memory * 0 + 1)

    def say(self, seen: Seen, memory: Array, u: Array) -> Array:
        """Say the first thing in the vocabulary."""
        return to_int(memory * 0 + 1)


class Opportunist(Fair):
    """Takes twice the sustainable share unless it does not pay.

    Keeps to an agreement if the expected fine exceeds the gain of a unit (Becker 1968); takes the sustainable share
    once it has been sanctioned.
    """

    def remember(self, seen: Seen, memory: Array) -> Array:
        """Remember whether it was ever sanctioned."""
        return namespace(memory).maximum(memory, to_float(seen["fined"] > 0)) if "fined" in seen else memory

    def harvest(self, seen: Seen, memory: Array, u: Array) -> Array:
        """Weigh the temptation against fine and sanction."""
        xp = namespace(memory)
        fair = fair_share(seen)
        take = xp.where(memory > 0, fair, 2 * fair)
        if "agreed_limit" not in seen:
            return take
        deterred = (seen["agreement"] == 2) & (seen["enforcement"] * seen["agreed_fine"] > 1.0)
        return xp.where(deterred, xp.minimum(take, to_int(seen["agreed_limit"])), take)


class Reciprocator(Fair):
    """Takes the sustainable share while others do, follows them when they take more, and punishes the greediest.

    Conditional cooperation and altruistic punishment (Fischbacher, Gächter and Fehr 2001; Fehr and Gächter 2002).
    """

    knows = ("harvest", "consent", "say", "punish")

    def harvest(self, seen: Seen, memory: Array, u: Array) -> Array:
        """Match what the others took on average last month, if that was more than its own catch and it cannot punish."""
        xp = namespace(memory)
        if "fined" in seen:
            return fair_share(seen)
        caught, catches = to_float(seen["caught"]), to_float(seen["catches"])
        others = (xp.sum(catches, axis=-1) - caught) / (catches.shape[-1] - 1)
        disappointed = others > caught + 1.0
        return xp.where(disappointed, xp.minimum(to_int(others), seen["stock"]), fair_share(seen))

    def punish(self, seen: Seen, memory: Array, u: Array) -> Array:
        """Sanction whoever took most, if that was more than its own catch by more than a unit; ties at random."""
        xp = namespace(memory)
        catches = seen["catches"]
        most = xp.max(catches, axis=-1)
        greediest = to_int(catches == most[..., None])
        nth = to_int(u * to_float(xp.sum(greediest, axis=-1)))
        whom = xp.argmax(to_int(xp.cumulative_sum(greediest, axis=-1) > nth[..., None]), axis=-1)
        return xp.where(most > seen["caught"] + 1, to_int(whom) + 1, 0)


class TitForTat(Character):
    """Starts with the first action and then does what the other did last (Rapoport; Axelrod 1980). Two players."""

    knows = ("action",)

    def action(self, seen: Seen, memory: Array, u: Array) -> Array:
        """Copy the other's last action."""
        xp = namespace(memory)
        if seen["actions"].shape[-1] != 2:
            raise ValueError(f"tit_for_tat: needs 2 players, got {seen['actions'].shape[-1]}")
        # the other's last action is the sum of both minus one's own; before the first round all are "none"
        last = seen["actions"][..., 0] + seen["actions"][..., 1] - seen["own"]
        return xp.where(seen["round"] <= 1, last * 0, last)


CHARACTERS: dict[str, type[Character]] = {
    "fair": Fair,
    "opportunist": Opportunist,
    "reciprocator": Reciprocator,
    "tit_for_tat": TitForTat,
}


class Memory(NamedTuple):
    """What a character remembers, (*batch, seats)."""

    flag: Array


class Scripted(Policy):
    """Plays a character.

    Parameters
    ----------
    character
        ``"fair"``, ``"opportunist"``, ``"reciprocator"`` or ``"tit_for_tat"``.
    """

    draws = 1

    def __init__(self, character: str = "fair") -> None:
        self.character = CHARACTERS[validate.one_of("character", character, tuple(CHARACTERS))]()

    def bind(self, game: Game, role: str, seats: tuple[int, ...]) -> Self:
        """Refuse a role of which the character knows no decision."""
        bound = copy.copy(super().bind(game, role, seats))
        if not any(field.name in self.character.knows for field in bound.role.acts):
            asked = ", ".join(field.name for field in bound.role.acts)
            knows = ", ".join(self.character.knows)
            raise ValueError(f"character: {type(self.character).__name__} decides {knows}; {role} decides {asked}")
        return bound

    def begin(self, batch: tuple[int, ...], xp: Any, device: Any) -> Memory:
        """Start with a clean memory."""
        return Memory(xp.zeros((*batch, len(self.seats)), dtype=xp.float64, device=device))

    def act(self, seen: Seen, stage: Array, u: Array, memory: Memory) -> tuple[Acts, Memory]:
        """Let the character decide what it knows about."""
        flag = self.character.remember(seen, memory.flag)
        acts = default_acts(self.role, stage, len(self.seats))
        for field in self.role.acts:
            if field.name in self.character.knows:
                acts[field.name] = getattr(self.character, field.name)(seen, flag, u[..., 0])
        return acts, Memory(flag)
