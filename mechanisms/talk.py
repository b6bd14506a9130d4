"""Talk: cheap talk before each round, from a vocabulary or in words of one's own, to all or to one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..envs.core import validate
from ..envs.core.arrays import Array, constant, full, namespace, to_float, to_int
from ..envs.core.fields import Choice, Field, Role, Text
from ..envs.core.game import Acts, Game, Measure, Seen, Stage, shared
from ..envs.core.mechanism import Institution, Mechanism, chosen, every, joined, parted, players_of, several

SILENCE = "nothing"
NOBODY, EVERYONE = "nobody", "everyone"


@dataclass(frozen=True)
class Talk(Mechanism):
    """Non-binding messages that everyone hears (Crawford and Sobel 1982; Ostrom, Walker and Gardner 1992), or one does.

    Parameters
    ----------
    rounds
        Rounds of messages before each round of the game; 0 is the game without talk.
    vocabulary
        What can be said, besides nothing.
    cost
        What a message costs its sender, in units of reward; lost to all. Silence is free.
    text
        Characters of a message in words of one's own, in place of the vocabulary; 0 for the vocabulary.
    to
        ``"all"``: everyone hears every message. ``"one"``: each says whom she speaks to, everyone or a single player;
        the others cannot tell a message to somebody else from silence.
    memory
        Rounds of messages that players see, the last ones.
    roles
        Who may speak; everyone unless given. Everyone listens.
    """

    rounds: int = 1
    vocabulary: tuple[str, ...] = ("let us all hold back", "I take what I can")
    cost: float = 0.0
    text: int = 0
    to: str = "all"
    memory: int = 1
    roles: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.whole("rounds", self.rounds, 0, 16)
        validate.real("cost", self.cost, 0.0)
        validate.whole("text", self.text, 0, 2_000)
        validate.one_of("to", self.to, ("all", "one"))
        validate.whole("memory", self.memory, 1, 64)
        object.__setattr__(self, "roles", validate.names("roles", self.roles))
        object.__setattr__(self, "vocabulary", validate.names("vocabulary", self.vocabulary))
        if not self.vocabulary or SILENCE in self.vocabulary:
            raise ValueError(f"vocabulary: at least one text, and not {SILENCE!r} (it is always possible)")

    def apply(self, game: Game) -> Game:
        """Return the game with talk before each round."""
        return game if self.rounds == 0 else Talking(game, self)


class TalkState(NamedTuple):
    """What each said and to whom, the last round of talk first; messages sent, and those to one player.

    ``said`` arrays (*batch, speakers[, characters]), index into the vocabulary with silence first or code points;
    ``whom`` (*batch, speakers), 0 nobody, 1 everyone, then the players; ``messages`` and ``private`` (*batch).
    """

    said: tuple[Array, ...]
    whom: tuple[Array, ...]
    messages: Array
    private: Array


class Talking(Institution):
    """A game with talk before each round."""

    mechanism: Talk

    def __init__(self, base: Game, mechanism: Talk) -> None:
        super().__init__(base, mechanism)
        if mechanism.to == "one":
            several(base)
        self.speaking = chosen(base, mechanism.roles)
        self.people = players_of(base, self.speaking)
        place = {player: index for index, player in enumerate(base.players)}
        self.seats = {role.name: tuple((place[player],) for player in role.players) for role in base.roles}
        self.seated = tuple(place[player] for player in self.people)
        self.words = Text(mechanism.text) if mechanism.text else Choice((SILENCE, *mechanism.vocabulary))
        self.size = self.words.length if isinstance(self.words, Text) else 0
        self.private = mechanism.to == "one"
        ends = [""] if mechanism.rounds == 1 else [f"_{k + 1}" for k in range(mechanism.rounds)]
        self.says = tuple(f"{'message' if self.size else 'say'}{end}" for end in ends)
        self.tos = tuple(f"to{end}" for end in ends)
        self.heard = tuple("heard" if k == 0 else f"heard_{k + 1}" for k in range(mechanism.memory))
        self.who = "each" if self.speaking == every(base) else self._named()
        hears = "that everyone or one other hears" if self.private else "that everyone hears"
        self.opening = tuple(Stage(f"talk{end}", f"{self.who} says something {hears}; it binds nobody") for end in ends)
        self.own_reports = (Measure("messages", "messages sent in an episode", "number of messages", "messages"),)
        if self.private:
            private = Measure("private_messages", "messages sent to one player alone", "number of them", "messages")
            self.own_reports = (*self.own_reports, private)

    def _named(self) -> str:
        """Say who speaks."""
        return " and ".join(f"{'each' if self.base.role(name).count > 1 else 'the'} {name}" for name in self.speaking)

    @property
    def terms(self) -> str:
        """The institution in words."""
        ours, who = self.mechanism, "everyone" if self.who == "each" else self.who
        how = f" in at most {self.size} characters" if self.size else ""
        times = "" if ours.rounds == 1 else f", {ours.rounds} times"
        told = f"Before each round {who} may say something{how}{times}, heard by all and binding nobody."
        if self.private:
            told = (
                f"Before each round {who} may say something{how}{times}, to everyone or to one player; it binds nobody. "
                "What is said to one player is heard by that player alone: to the others it is as if nothing were said."
            )
        return told + (f" A message costs {ours.cost:g}." if ours.cost else "")

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show what was said last, and to whom."""
        fields: list[Field] = []
        for k, name in enumerate(self.heard):
            back = "last" if k == 0 else f"{k + 1} rounds of talk ago"
            what = f"what each said {back}" + (", as far as you hear it" if self.private else "")
            public = not self.private and not self.size
            fields.append(Field(name, self.words, what, each=self.people, verifiable=public))
            if self.private:
                whom = Choice((NOBODY, EVERYONE, *self.base.players))
                means = f"whom each said it to {back}; {NOBODY} where you heard nothing"
                fields.append(Field(f"{name}_to", whom, means, each=self.people))
        return tuple(fields)

    def acts(self, role: Role) -> tuple[Field, ...]:
        """Ask for a message, and whom it is for."""
        if role.name not in self.speaking:
            return ()
        fields: list[Field] = []
        for say, to, stage in zip(self.says, self.tos, self.opening, strict=True):
            what = "what you say to that player, or to all" if self.private else "what you say to all"
            if self.private:
                whom = Choice((EVERYONE, *self.base.players))
                fields.append(Field(to, whom, "whom you speak to; nobody else hears it", stage=stage.name))
            silent = "; empty to say nothing" if self.size else ""
            fields.append(Field(say, self.words, what + silent, stage=stage.name))
        return tuple(fields)

    def begin(self, base: Any, u: Array) -> TalkState:
        """Start in silence."""
        batch = tuple(u.shape[:-1])
        quiet = full(u, (*batch, len(self.people)), 0, integer=True)
        said = full(u, (*quiet.shape, self.size), 0, integer=True) if self.size else quiet
        none, memory = full(u, batch, 0.0), self.mechanism.memory
        return TalkState((said,) * memory, (quiet,) * memory, none, none)

    def meet(
        self, stage: Array, own: TalkState, base: Any, acts: Mapping[str, Acts], u: Array
    ) -> tuple[TalkState, dict[str, Array], Array | None]:
        """Hear what was said."""
        xp = namespace(own.messages)
        said, to = own.said[0], own.whom[0] * 0 + 1
        for k, (say, name) in enumerate(zip(self.says, self.tos, strict=True)):
            now = (stage == k)[..., None]
            parts = [to_int(acts[role][say]) for role in self.speaking]
            new = parts[0] if len(parts) == 1 else xp.concat(parts, axis=-2 if self.size else -1)
            said = xp.where(now[..., None] if self.size else now, new, said)
            if self.private:
                to = xp.where(now, joined({r: to_int(acts[r][name]) for r in self.speaking}, self.speaking) + 1, to)
        spoke = xp.any(said > 32, axis=-1) if self.size else said > 0  # blanks alone are silence
        whom = to * to_int(spoke)
        said = said * to_int(spoke)[..., None] if self.size else said
        sent, private = to_float(spoke), to_float(whom > 1)
        messages, private = own.messages + xp.sum(sent, axis=-1), own.private + xp.sum(private, axis=-1)
        own = TalkState((said, *own.said[:-1]), (whom, *own.whom[:-1]), messages, private)
        if not self.mechanism.cost:
            return own, {}, None
        pay = -self.mechanism.cost * sent
        return own, parted(pay, self.base, self.speaking), xp.sum(pay, axis=-1)

    def show(self, own: TalkState, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show everyone what was said to all, and each what was said to her or by her."""
        shown = {}
        for role in self.base.roles:
            fields: Seen = {}
            for name, said, whom in zip(self.heard, own.said, own.whom, strict=True):
                if self.private:
                    audible = self._audible(role, whom)
                    fields[f"{name}_to"] = whom[..., None, :] * audible
                    audible = audible[..., None] if self.size else audible
                    fields[name] = (said[..., None, :, :] if self.size else said[..., None, :]) * audible
                elif self.size:
                    shape = (*said.shape[:-2], role.count, *said.shape[-2:])
                    fields[name] = namespace(said).broadcast_to(said[..., None, :, :], shape)
                else:
                    fields[name] = shared(said, role.count)
            shown[role.name] = {**seen[role.name], **fields}
        return shown

    def _audible(self, role: Role, whom: Array) -> Array:
        """Say what each player of a role hears, 1 or 0 (*batch, count, speakers)."""
        listeners, speakers, whom = (
            constant(whom, self.seats[role.name]),
            constant(whom, self.seated),
            whom[..., None, :],
        )
        return to_int((whom == 1) | (whom == listeners + 2) | (speakers == listeners))

    def account(self, own: TalkState) -> dict[str, Array]:
        """Return the number of messages."""
        counts = {"messages": own.messages}
        return {**counts, "private_messages": own.private} if self.private else counts
