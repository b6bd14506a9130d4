"""Exclude: after each round a majority can shut one player out of the game for some rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..envs.core import validate, words
from ..envs.core.arrays import Array, align, device_of, full, namespace, to_float, to_int
from ..envs.core.fields import Choice, Field, Integer, Role
from ..envs.core.game import Acts, Game, Measure, Outcome, Seen, Stage, shared
from ..envs.core.mechanism import Institution, Mechanism, Unfit, joined, parted, players_of


@dataclass(frozen=True)
class Exclude(Mechanism):
    """Exclusion by vote (Cinyabuguma, Page and Putterman 2005; Maier-Rigaud, Martinsson and Staffiero 2010).

    After each round each may name one other. Who is named most often, and by more than half of the others who have a
    vote, is shut out for some rounds; if two are named equally often nobody is. While she is shut out she plays the null
    act (0, or what is nearest to it; the first option of a choice) in everything below this mechanism, and has no vote.
    What is destroyed, votes and withheld pay, is taken from welfare.

    Parameters
    ----------
    rounds
        How long an exclusion lasts, in rounds; 0 is the game itself.
    cost
        What naming somebody costs the one who does, in units of reward.
    benefits
        Whether who is shut out still gets what the game pays her; else what she would gain is withheld, and lost to all
        (what she would lose she loses).
    roles
        Roles that vote and can be shut out; empty for all.
    """

    rounds: int = 1
    cost: float = 0.0
    benefits: bool = True
    roles: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        object.__setattr__(self, "roles", validate.names("roles", self.roles))
        validate.whole("rounds", self.rounds, 0, 1_000_000)
        validate.real("cost", self.cost, 0.0)

    def apply(self, game: Game) -> Game:
        """Return the game with a vote after each round."""
        return game if self.rounds == 0 else Excluding(game, self)


class ExcludeState(NamedTuple):
    """Rounds for which each is still shut out, and votes for it last (*batch, players); exclusions so far (*batch)."""

    left: Array
    votes: Array
    exclusions: Array


class Excluding(Institution):
    """A game from which players can be shut out."""

    mechanism: Exclude
    closing = (Stage("exclusion", "each may name one other who is to be shut out of the next rounds"),)
    own_reports = (
        Measure("exclusions", "exclusions in an episode", "number of exclusions", "exclusions", better="lower"),
    )

    def __init__(self, base: Game, mechanism: Exclude) -> None:
        super().__init__(base, mechanism)
        known = [role.name for role in base.roles]
        if strange := [name for name in mechanism.roles if name not in known]:
            raise Unfit(f"roles: {base.name} has no role {strange[0]!r}; it has: {', '.join(known)}")
        self.involved = mechanism.roles or tuple(known)
        self.people = players_of(base, self.involved)
        if len(self.people) < 2:
            raise Unfit(f"roles: at least 2 players must have a vote, got {', '.join(self.people)}")
        self.null = {
            name: {f.name: min(max(0, f.space.low), f.space.high) for f in base.role(name).acts}
            for name in self.involved
        }

    @property
    def terms(self) -> str:
        """The institution in words."""
        dial = self.mechanism
        does = "; ".join(
            f"{name}: " + ", ".join(f"{f.name} {words.number(f, self.null[name][f.name])}" for f in role.acts)
            for name, role in ((name, self.base.role(name)) for name in self.involved)
            if role.acts
        )
        cost = f" To name somebody costs {dial.cost:g}, which is lost." if dial.cost else ""
        pay = "is still paid" if dial.benefits else "gains nothing: what she would be paid is withheld and lost"
        return (
            f"After each round each of {', '.join(self.people)} may name one other. Who is named most often, and by more than "
            f"half of the others who have a vote, is shut out for {dial.rounds} round{'s' if dial.rounds > 1 else ''}; if two "
            f"are named equally often nobody is.{cost} Who is shut out has no vote, {pay}, and whatever she decides this is "
            f"done in her place ({does})."
        )

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show who is shut out, and the last vote."""
        left = Integer(0, self.mechanism.rounds)
        votes = Integer(0, len(self.people))
        return (
            Field("excluded", left, "rounds for which each is still shut out", each=self.people, verifiable=True),
            Field("exclude_votes", votes, "how many named each in the last vote", each=self.people, verifiable=True),
        )

    def acts(self, role: Role) -> tuple[Field, ...]:
        """Ask whom to shut out."""
        if role.name not in self.involved:
            return ()
        means = "whom you name to be shut out (naming yourself, or one who is shut out, names nobody)"
        return (Field("exclude", Choice(("nobody", *self.people)), means, stage="exclusion"),)

    def begin(self, base: Any, u: Array) -> ExcludeState:
        """Start with everybody in."""
        batch = tuple(u.shape[:-1])
        none = full(u, (*batch, len(self.people)), 0, integer=True)
        return ExcludeState(none, none, full(u, batch, 0.0))

    def bend(self, own: ExcludeState, base: Any, acts: Mapping[str, Acts], u: Array) -> Mapping[str, Acts]:
        """Let those who are shut out play the null act."""
        xp, bent = namespace(own.left), dict(acts)
        for name, left in parted(own.left, self.base, self.involved).items():
            bent[name] = dict(acts[name])
            for field in self.base.role(name).acts:
                out = left > 0
                value = self.null[name][field.name]
                bent[name][field.name] = xp.where(align(out, acts[name][field.name]), value, acts[name][field.name])
        return bent

    def settle(self, own: ExcludeState, outcome: Outcome, ended: Array, u: Array) -> tuple[ExcludeState, Outcome]:
        """Withhold what those who are shut out would gain; count the round down."""
        xp = namespace(own.left)
        if not self.mechanism.benefits:
            lost = {
                name: xp.clip(outcome.rewards[name], 0.0, None) * to_float(left > 0)
                for name, left in parted(own.left, self.base, self.involved).items()
            }
            rewards = {name: pay - lost[name] if name in lost else pay for name, pay in outcome.rewards.items()}
            gone = xp.sum(joined(lost, self.involved), axis=-1)
            outcome = outcome._replace(rewards=rewards, welfare=outcome.welfare - gone)
        return own._replace(left=own.left - to_int(ended[..., None] & (own.left > 0))), outcome

    def meet(
        self, stage: Array, own: ExcludeState, base: Any, acts: Mapping[str, Acts], u: Array
    ) -> tuple[ExcludeState, dict[str, Array], Array | None]:
        """Count the votes."""
        target = to_int(joined({name: acts[name]["exclude"] for name in self.involved}, self.involved)) - 1
        xp = namespace(target)
        people = xp.arange(len(self.people), device=device_of(target))
        inside = own.left == 0
        valid = (target[..., :, None] == people) & (people[:, None] != people)
        valid = valid & inside[..., :, None] & inside[..., None, :]
        votes, cast = xp.sum(to_int(valid), axis=-2), xp.sum(to_int(valid), axis=-1)
        others = xp.sum(to_int(inside), axis=-1)[..., None] - 1
        most = votes == xp.max(votes, axis=-1)[..., None]
        alone = xp.sum(to_int(most), axis=-1)[..., None] == 1
        out = most & alone & (2 * votes > others)
        own = ExcludeState(
            left=xp.where(out, self.mechanism.rounds, own.left),
            votes=votes,
            exclusions=own.exclusions + to_float(xp.sum(to_int(out), axis=-1)),
        )
        if not self.mechanism.cost:
            return own, {}, None
        pay = -self.mechanism.cost * to_float(cast)
        return own, parted(pay, self.base, self.involved), xp.sum(pay, axis=-1)

    def show(self, own: ExcludeState, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show everyone who is shut out."""
        return {
            role.name: {
                **seen[role.name],
                "excluded": shared(own.left, role.count),
                "exclude_votes": shared(own.votes, role.count),
            }
            for role in self.base.roles
        }

    def account(self, own: ExcludeState) -> dict[str, Array]:
        """Return the number of exclusions."""
        return {"exclusions": own.exclusions}
