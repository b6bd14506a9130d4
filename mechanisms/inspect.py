"""Inspect: acts are inspected at random, at a cost, and what is beyond a limit is fined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from ..envs.core import validate
from ..envs.core.arrays import Array, full, look_up, namespace, to_float, to_int, total
from ..envs.core.fields import Choice, Field, Real, Role
from ..envs.core.game import Acts, Game, Measure, Outcome, Seen
from ..envs.core.mechanism import Institution, Mechanism, Unfit
from ._limits import between, check_limits, check_option, decided_by, middling, numbers

RECEIVERS = ("outside", "others")


@dataclass(frozen=True)
class Inspect(Mechanism):
    """Random inspections and fines (Becker 1968, doi:10.1086/259394; Avenhaus, von Stengel and Zamir 2002).

    After each round each player is inspected with a probability, independent of all others. Who decided something beyond
    the limits is then found out, unless the inspection misses it, and fined. Who is indifferent to risk gains nothing by
    it where probability x (1 - miss) x fine is at least what it brings. An inspection costs resources, and welfare falls
    by that; a fine is a transfer and leaves welfare as it is.

    It inspects the act as it comes to it, with or without consequences, and whether or not anybody sees it: unlike
    ``GraduatedSanction``, whose rule is on a verifiable fact, and whose fines grow and are lost. What ``Monitor`` finds is
    shown to others, and costs nothing by itself.

    Parameters
    ----------
    field
        The act: a field that players decide.
    low, high
        What is below or above is fined, in the act's unit; None for no limit. The options of a choice count as the
        numbers that they are. Of an act of several components each is held to the limits.
    wrong
        Options of a choice that are fined; empty where there are limits.
    relative
        Whether limits count from the mean of what the other players who are inspected decide in the same round.
    probability
        Probability of an inspection, for each player and round; 0 is the game itself.
    miss
        Probability that an inspection does not find what is there. It never finds what is not.
    fine
        What it costs to be found out, in units of reward.
    cost
        What an inspection costs, in units of reward.
    to
        ``"outside"``: an authority outside the game gets the fines and pays for inspections. ``"others"``: all other
        players of the game share a fine equally, and all players the costs.
    who
        Roles and players who can be inspected; empty for all who decide the act.
    """

    field: str
    low: float | None = None
    high: float | None = None
    wrong: tuple[str, ...] = ()
    relative: bool = False
    probability: float = 0.5
    miss: float = 0.0
    fine: float = 1.0
    cost: float = 0.0
    to: str = "outside"
    who: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        check_limits(self.low, self.high)
        for name in ("wrong", "who"):
            object.__setattr__(self, name, validate.names(name, getattr(self, name)))
        limited = self.low is not None or self.high is not None
        if bool(self.wrong) == limited:
            raise ValueError(
                f"wrong, low, high: either options that are fined, or limits; got wrong={self.wrong!r}, low={self.low!r}, "
                f"high={self.high!r}"
            )
        if self.relative and not limited:
            raise ValueError("relative: false where options are fined, got True; options have no mean")
        validate.probability("probability", self.probability)
        validate.probability("miss", self.miss)
        validate.real("fine", self.fine, 0.0)
        validate.real("cost", self.cost, 0.0)
        validate.one_of("to", self.to, RECEIVERS)

    @property
    def budget(self) -> float | None:  # type: ignore[override]
        """Zero where players share fines and costs; unbounded where they go outside."""
        return 0.0 if self.to == "others" else None

    @classmethod
    def suited(cls, game: Game) -> Self:
        """Return inspections of the first act: above the middle of its range, or its first option, is fined."""
        name, middle, option = middling(game)
        return cls(name, high=middle, wrong=(option,) if option else (), cost=0.25)

    def apply(self, game: Game) -> Game:
        """Return the game with inspections."""
        return game if self.probability == 0 else Inspected(game, self)


class InspectState(NamedTuple):
    """Of each player (*batch, players): whether it is beyond the limits in this round, whether it was inspected after the
    last (0 or 1), and its fine; so far (*batch): acts beyond the limits, inspections, fines and rounds.
    """

    beyond: Array
    inspected: Array
    fined: Array
    breaches: Array
    inspections: Array
    fines: Array
    rounds: Array


class Inspected(Institution):
    """A game with inspections."""

    mechanism: Inspect

    def __init__(self, base: Game, mechanism: Inspect) -> None:
        super().__init__(base, mechanism)
        name, dial = mechanism.field, mechanism
        self.watched = decided_by(base, name, dial.who)
        self.n = len(self.watched.players)
        if self.n < 2 and dial.relative:
            raise Unfit(f"relative: at least 2 players must be inspected, got {self.watched.players[0]}")
        if len(base.players) < 2 and dial.to == "others":
            raise Unfit(f"to: nobody is there to receive what {self.watched.players[0]} pays; take 'outside'")
        self.wrong = tuple(check_option(self.watched.field, option, "wrong") for option in dial.wrong)
        self.worth = () if dial.wrong else numbers(self.watched.field)
        self.own_draws = self.n if self._found < 1.0 or dial.probability < 1.0 else 0
        what = "#{(i, t): i is beyond the limits in t} / (n T)"
        self.own_reports = (
            Measure(f"beyond_{name}", f"share of acts beyond the limits of {name}", what, better="lower"),
            Measure(
                f"inspections_{name}", f"inspections of {name} in an episode", "number", "inspections", "", "lower"
            ),
            Measure(
                f"fines_{name}", f"fines for {name} in an episode, all together", "sum_it fine_it", "", "", "lower"
            ),
        )

    @property
    def _found(self) -> float:
        """Probability that who is beyond the limits is found out."""
        return self.mechanism.probability * (1.0 - self.mechanism.miss)

    @property
    def terms(self) -> str:
        """The institution in words."""
        dial, unit = self.mechanism, f" {self.watched.field.unit}" if self.watched.field.unit else ""
        rule = " or ".join(f'"{option}"' for option in dial.wrong)
        rule = f"is {rule}" if rule else f"is not {between(dial.low, dial.high)}{unit}"
        if dial.relative:
            rule += " when the mean of the others' is taken from it"
        often = "" if dial.probability == 1 else f" with probability {dial.probability:g} each"
        miss = f", unless the inspection misses it, with probability {dial.miss:g}" if dial.miss else ""
        cost = f" An inspection costs {dial.cost:g}." if dial.cost else ""
        books = {
            "outside": "An authority outside the game gets the fines and pays for the inspections.",
            "others": f"All other players share a fine equally{', and all players the costs' if dial.cost else ''}.",
        }[dial.to]
        return (
            f"After each round {', '.join(self.watched.players)} are inspected{often}. Whose {dial.field} {rule} pays a fine "
            f"of {dial.fine:g}{miss}.{cost} {books}"
        )

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show each whether it was inspected, and its fine."""
        if not any(name == role.name for name, _ in self.watched.seats):
            return ()
        name = self.mechanism.field
        means = f"whether your {name} of the last round was inspected"
        fine = f"the fine that you paid for your {name} of the last round"
        return (
            Field(f"inspected_{name}", Choice(("no", "yes")), means, verifiable=True),
            Field(f"fined_{name}", Real(0.0, self.mechanism.fine), fine, verifiable=True),
        )

    def begin(self, base: Any, u: Array) -> InspectState:
        """Start with a clean record."""
        batch = tuple(u.shape[:-1])
        flags, none = full(u, (*batch, self.n), 0, integer=True), full(u, (*batch, self.n), 0.0)
        zero = full(u, batch, 0.0)
        return InspectState(flags, flags, none, zero, zero, zero, zero)

    def observe(self, own: InspectState, base: Any, acts: Mapping[str, Acts]) -> InspectState:
        """Judge the act where it is decided."""
        here = self.base.stage(base) == self.watched.stage
        name = self.mechanism.field
        did = self.watched.gather({role: acts[role][name] for role, _ in self.watched.seats})
        xp = namespace(did)
        return own._replace(beyond=xp.where(here[..., None], to_int(xp.any(self._judge(did), axis=-1)), own.beyond))

    def _judge(self, did: Array) -> Array:
        """Say which acts (*batch, players, components) are beyond the limits."""
        dial = self.mechanism
        if self.wrong:
            found = did == self.wrong[0]
            for option in self.wrong[1:]:
                found = found | (did == option)
            return found
        value = look_up(did, self.worth, did) if self.worth else to_float(did)
        if dial.relative:
            value = value - (total(value, axis=-2)[..., None, :] - value) / (self.n - 1)
        found = namespace(value).isnan(value)  # none
        if dial.low is not None:
            found = found | (value < dial.low)
        return found if dial.high is None else found | (value > dial.high)

    def settle(self, own: InspectState, outcome: Outcome, ended: Array, u: Array) -> tuple[InspectState, Outcome]:
        """At a round's end inspect, and fine who is found out."""
        xp, dial, after = namespace(own.fined), self.mechanism, ended[..., None]
        now = to_int(after)
        inspected, found = now + own.inspected * 0, own.beyond * now
        if self.own_draws:
            inspected = inspected * to_int(u < dial.probability)
            found = found * to_int(u < self._found)
        fined, looks = dial.fine * to_float(found), to_float(total(inspected))
        fines = total(fined)
        own = InspectState(
            xp.where(after, 0, own.beyond),
            xp.where(after, inspected, own.inspected),
            xp.where(after, fined, own.fined),
            own.breaches + to_float(total(own.beyond * now)),
            own.inspections + looks,
            own.fines + fines,
            own.rounds + to_float(ended),
        )
        lost = self.watched.scattered(fined, self.base)
        rewards = {name: pay - lost[name] if name in lost else pay for name, pay in outcome.rewards.items()}
        if dial.to == "others":
            others = len(self.base.players) - 1
            for name, pay in rewards.items():
                got = fines[..., None] - lost[name] if name in lost else fines[..., None]
                rewards[name] = pay + got / others - (dial.cost / (others + 1)) * looks[..., None]
        return own, outcome._replace(rewards=rewards, welfare=outcome.welfare - dial.cost * looks)

    def show(self, own: InspectState, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show each whether it was inspected, and its fine."""
        name, shown = self.mechanism.field, dict(seen)
        inspected, fined = (self.watched.scattered(x, self.base) for x in (own.inspected, own.fined))
        for role, values in inspected.items():
            shown[role] = {**seen[role], f"inspected_{name}": values, f"fined_{name}": fined[role]}
        return shown

    def account(self, own: InspectState) -> dict[str, Array]:
        """Return the share of acts beyond the limits, inspections and fines."""
        name, acts = self.mechanism.field, own.rounds * self.n
        return {
            f"beyond_{name}": own.breaches / (acts + (acts == 0)),
            f"inspections_{name}": own.inspections,
            f"fines_{name}": own.fines,
        }
