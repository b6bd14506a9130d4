"""NormUncertainty: a norm is enforced, and newcomers may not know which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from ..envs.core import validate
from ..envs.core.arrays import Array, full, look_up, namespace, to_float, to_int, total
from ..envs.core.chance import whole
from ..envs.core.fields import Choice, Field, Real, Role
from ..envs.core.game import Game, Measure, Outcome, Seen
from ..envs.core.mechanism import Institution, Mechanism, Unfit, joined, parted, players_of

UNKNOWN = "unknown"


@dataclass(frozen=True)
class NormUncertainty(Mechanism):
    """One of several norms is in force (after Hadfield and Weingast 2012; Köster et al. 2022, doi:10.1073/pnas.2106028118).

    At the start a norm is drawn, all being equally likely, and with it, for each player, whether it is told which it is.
    After each round whoever broke the norm in force is fined. Who was not told can learn from fines. For play that
    depends on what a player is told and on nothing else, welfare is on average linear in ``known``, and its slope is what
    it is worth to know the norm.

    Parameters
    ----------
    field
        A verifiable field of a single value, each player's own.
    norms
        Two or more norms: numbers are limits (a value above is wrong), texts are options (to take it is wrong).
    known
        Probability that a player is told, from 1 (all know what is expected) to 0 (nobody does).
    fine
        What each breach costs, in units of reward; 0 is the game itself.
    share
        Whether the others receive the fine, in equal parts; otherwise it is lost to all and welfare falls by it.
    roles
        Roles that the norm binds; empty for those that see the field.
    """

    field: str
    norms: tuple[float | str, ...]
    known: float = 0.5
    fine: float = 1.0
    share: bool = False
    roles: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        for name in ("norms", "roles"):
            if isinstance(getattr(self, name), str):
                raise ValueError(f"{name}: a list, got {getattr(self, name)!r}")
            object.__setattr__(self, name, tuple(getattr(self, name)))
        texts = [isinstance(norm, str) for norm in self.norms]
        if len(self.norms) < 2 or len(set(self.norms)) < len(self.norms) or any(texts) != all(texts):
            raise ValueError(f"norms: 2 or more different limits, or as many different options, got {self.norms!r}")
        for norm in self.norms:
            if not isinstance(norm, str):
                validate.real("norms", norm)
        validate.probability("known", self.known)
        validate.real("fine", self.fine, 0.0)

    @classmethod
    def suited(cls, game: Game) -> Self:
        """Return two norms on the first verifiable fact of a single value that somebody sees."""
        for role in game.roles:
            for field in role.sees:
                space = field.space
                if not field.verifiable or field.each or space.high <= space.low:
                    continue
                if isinstance(space, Choice):
                    return cls(field.name, space.options[:2])
                low = max(space.low, min(0.0, space.high - 1.0))
                return cls(field.name, (low, min(low + 1.0, 0.5 * (low + space.high))))
        raise Unfit(f"field: nobody in {game.name} sees a verifiable field of a single value")

    def apply(self, game: Game) -> Game:
        """Return the game with a norm."""
        return game if self.fine == 0 else Normed(game, self)


class NormState(NamedTuple):
    """The norm in force and breaches so far (*batch); whether told, and the fine last paid, (*batch, players)."""

    norm: Array
    breaches: Array
    told: Array
    fined: Array


class Normed(Institution):
    """A game with a norm that not all know."""

    mechanism: NormUncertainty
    own_reports = (
        Measure(
            "norm_breaches",
            "breaches of the norm in force, a player and round",
            "#{(i, t): i breaks the norm in round t} / (n T)",
            better="lower",
        ),
    )

    def __init__(self, base: Game, mechanism: NormUncertainty) -> None:
        super().__init__(base, mechanism)
        name = mechanism.field
        facts = {role.name: f for role in base.roles for f in role.sees if f.name == name and f.verifiable}
        self.bound = mechanism.roles or tuple(facts)
        known = sorted({f.name for role in base.roles for f in role.sees if f.verifiable and not f.each})
        for role in self.bound or ("anybody",):
            if role not in facts:
                raise Unfit(
                    f"field: a norm needs a verifiable field; {name!r} is none that {role} sees in {base.name}; "
                    f"there are: {', '.join(known) or 'none'}"
                )
        field = facts[self.bound[0]]
        if field.each or any(facts[role].space != field.space for role in self.bound):
            raise Unfit(f"field: {name!r} must be a single value, and have the same values in every role that is bound")
        if isinstance(field.space, Choice) != isinstance(mechanism.norms[0], str):
            raise Unfit(f"norms: {name!r} is {field.space}; limits are for numbers and options for choices")
        if isinstance(field.space, Choice):
            options = field.space.options
            if strange := [norm for norm in mechanism.norms if norm not in options]:
                raise Unfit(f"norms: {strange[0]!r} is not among the options of {name!r}: {', '.join(options)}")
            self.values: tuple[float, ...] = tuple(float(options.index(str(norm))) for norm in mechanism.norms)
            self.labels = tuple(f"no {norm}" for norm in mechanism.norms)
        else:
            self.values = tuple(float(norm) for norm in mechanism.norms)
            self.labels = tuple(f"at most {value:g}" for value in self.values)
        self.limited = not isinstance(field.space, Choice)
        self.people = players_of(base, self.bound)
        self.own_draws = 1 + len(self.people)
        if mechanism.share and len(self.people) < 2:
            raise Unfit(f"share: nobody is there to receive what {self.people[0]} pays; let the fine be lost")
        if any(f.name in ("norm", "norm_fine") for role in base.roles for f in role.sees):
            raise Unfit(f"{base.name} already has a field 'norm' or 'norm_fine'; put one norm on it")

    @property
    def terms(self) -> str:
        """The norm in words."""
        dial = self.mechanism
        goes = "shared equally among the others who are bound" if dial.share else "lost to all"
        return (
            f"A norm on {dial.field} binds {', '.join(self.people)}. It is one of: {'; '.join(self.labels)}. Which one is drawn at "
            f"the start, all being equally likely, and stays. Each is told which it is with probability {dial.known:g}, and "
            f"otherwise not. After each round whoever broke it is fined {dial.fine:g}, which is {goes}; each sees its own fine."
        )

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show the norm to those who were told, and each its fine."""
        if role.name not in self.bound:
            return ()
        means = f"the norm on {self.mechanism.field} that is in force, if you were told"
        fine = Real(0.0, self.mechanism.fine)
        return (
            Field("norm", Choice((UNKNOWN, *self.labels)), means),
            Field("norm_fine", fine, "the fine you paid for the last round under the norm", verifiable=True),
        )

    def begin(self, base: Any, u: Array) -> NormState:
        """Draw the norm, and who is told."""
        batch = tuple(u.shape[:-1])
        norm = whole(u[..., 0], 0, len(self.values) - 1)
        told = to_int(u[..., 1:] < self.mechanism.known)
        return NormState(norm, full(u, batch, 0.0), told, full(u, (*batch, len(self.people)), 0.0))

    def settle(self, own: NormState, outcome: Outcome, ended: Array, u: Array) -> tuple[NormState, Outcome]:
        """Fine whoever broke the norm in a round that was completed."""
        xp, dial, n = namespace(own.fined), self.mechanism, len(self.people)
        seen, after = self.base.view(outcome.state), ended[..., None]
        fact = to_float(joined({name: seen[name][dial.field] for name in self.bound}, self.bound))
        standard = look_up(fact, self.values, own.norm)[..., None]
        breach = to_float(((fact > standard) if self.limited else (fact == standard)) & after)
        fined = dial.fine * breach
        pay, burnt = -fined, total(fined)
        if dial.share:
            pay, burnt = (burnt[..., None] - fined) / (n - 1) - fined, burnt * 0.0
        own = NormState(own.norm, own.breaches + total(breach), own.told, xp.where(after, fined, own.fined))
        moved = parted(pay, self.base, self.bound)
        rewards = {name: paid + moved[name] if name in moved else paid for name, paid in outcome.rewards.items()}
        return own, outcome._replace(rewards=rewards, welfare=outcome.welfare - burnt)

    def show(self, own: NormState, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show the norm to those who were told, and each its fine."""
        norm = parted(own.told * (1 + own.norm[..., None]), self.base, self.bound)
        fined = parted(own.fined, self.base, self.bound)
        return {
            name: {**fields, "norm": norm[name], "norm_fine": fined[name]} if name in norm else fields
            for name, fields in seen.items()
        }

    def account(self, own: NormState) -> dict[str, Array]:
        """Return the breaches a player and round."""
        return {"norm_breaches": own.breaches / (self.rounds * len(self.people))}
