"""Talk: cheap talk in a finite vocabulary before each round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..envs.core import validate
from ..envs.core.arrays import Array, full, namespace, to_float, to_int
from ..envs.core.fields import Choice, Field, Role
from ..envs.core.game import Acts, Game, Measure, Seen, Stage, shared
from ..envs.core.mechanism import Institution, Mechanism, joined, parted, players_of

SILENCE = "nothing"


@dataclass(frozen=True)
class Talk(Mechanism):
    """Non-binding messages that everyone hears (Crawford and Sobel 1982; Ostrom, Walker and Gardner 1992).

    Parameters
    ----------
    rounds
        Rounds of messages before each round of the game; 0 is the game without talk.
    vocabulary
        What can be said, besides nothing.
    cost
        What a message costs its sender, in units of reward; lost to all.
    """

    rounds: int = 1
    vocabulary: tuple[str, ...] = ("let us all hold back", "I take what I can")
    cost: float = 0.0

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.whole("rounds", self.rounds, 0, 16)
        validate.real("cost", self.cost, 0.0)
        if not self.vocabulary or SILENCE in self.vocabulary:
            raise ValueError(f"vocabulary: at least one text, and not {SILENCE!r} (it is always possible)")

    def apply(self, game: Game) -> Game:
        """Return the game with talk before each round."""
        return game if self.rounds == 0 else Talking(game, self)


class TalkState(NamedTuple):
    """What each said last, index into the vocabulary with silence first (*batch, players); messages so far (*batch)."""

    said: Array
    messages: Array


class Talking(Institution):
    """A game with talk before each round."""

    mechanism: Talk
    own_reports = (Measure("messages", "messages sent in an episode", "number of messages", "messages"),)

    def __init__(self, base: Game, mechanism: Talk) -> None:
        super().__init__(base, mechanism)
        self.speakers_roles = tuple(role.name for role in base.roles)
        self.people = players_of(base, self.speakers_roles)
        self.says = tuple("say" if mechanism.rounds == 1 else f"say_{k + 1}" for k in range(mechanism.rounds))
        names = ["talk" if mechanism.rounds == 1 else f"talk_{k + 1}" for k in range(mechanism.rounds)]
        self.opening = tuple(Stage(name, "each says something that everyone hears; it binds nobody") for name in names)
        self.words = Choice((SILENCE, *mechanism.vocabulary))

    @property
    def terms(self) -> str:
        """The institution in words."""
        cost = f" A message costs {self.mechanism.cost:g}." if self.mechanism.cost else ""
        times = "" if self.mechanism.rounds == 1 else f", {self.mechanism.rounds} times"
        return f"Before each round everyone may say something{times}, heard by all and binding nobody.{cost}"

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show what was said last."""
        return (Field("heard", self.words, "what each said last", each=self.people, verifiable=True),)

    def acts(self, role: Role) -> tuple[Field, ...]:
        """Ask for a message."""
        return tuple(
            Field(say, self.words, "what you say to all", stage=stage.name)
            for say, stage in zip(self.says, self.opening, strict=True)
        )

    def begin(self, base: Any, u: Array) -> TalkState:
        """Start in silence."""
        batch = tuple(u.shape[:-1])
        return TalkState(full(u, (*batch, len(self.people)), 0, integer=True), full(u, batch, 0.0))

    def meet(
        self, stage: Array, own: TalkState, base: Any, acts: Mapping[str, Acts], u: Array
    ) -> tuple[TalkState, dict[str, Array], Array | None]:
        """Hear what was said."""
        xp = namespace(own.said)
        said = own.said
        for k, say in enumerate(self.says):
            new = to_int(joined({name: acts[name][say] for name in self.speakers_roles}, self.speakers_roles))
            said = xp.where((stage == k)[..., None], new, said)
        spoke = to_float(said > 0)
        own = TalkState(said, own.messages + xp.sum(spoke, axis=-1))
        if not self.mechanism.cost:
            return own, {}, None
        pay = -self.mechanism.cost * spoke
        return own, parted(pay, self.base, self.speakers_roles), xp.sum(pay, axis=-1)

    def show(self, own: TalkState, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show everyone what was said last."""
        shown = {}
        for role in self.base.roles:
            shown[role.name] = {**seen[role.name], "heard": shared(own.said, role.count)}
        return shown

    def account(self, own: TalkState) -> dict[str, Array]:
        """Return the number of messages."""
        return {"messages": own.messages}
