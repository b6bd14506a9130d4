"""Matching: before the game its players are assigned to its seats."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

from ..envs.core import assignment, validate
from ..envs.core.arrays import Array, common, constant, device_of, full, namespace, to_float, to_int, total
from ..envs.core.fields import Choice, Field, Integer, Role
from ..envs.core.game import Acts, Game, Measure, Outcome, Seen, Stage, shared
from ..envs.core.mechanism import Institution, Layered, Mechanism, Unfit

RULES = {
    "fixed": "each keeps her own seat",
    "lot": "a lot decides who sits where, all assignments being equally likely",
    "serial": "one after the other takes the seat that she ranks best of those that are left (serial dictatorship)",
    "deferred": "each asks for the seat that she ranks best; of those who ask for it a seat keeps the one who is first in its "
    "line, for the time being, and the others ask for the next in their ranking, until nobody is refused any more "
    "(deferred acceptance)",
    "boston": "each seat goes to the one who is first in its line of those who rank it first; what is left goes to the first "
    "in line of those who rank it second, and so on (immediate acceptance)",
    "trading": "each points to the seat that she ranks best of those that are left, and each of these seats to the first in "
    "its line; all on a cycle get the seat to which they point and leave, until all have one (top trading cycles)",
}
LINED = ("deferred", "boston", "trading")


@dataclass(frozen=True)
class Matching(Mechanism):
    """An assignment of the players of one role to its seats, before the first round.

    The seats of a role may differ: in what they are paid, what they know, what they decide. Each player ranks them; then a
    rule says who sits where, for the whole episode. Players keep their names: what is seen and done names them, and acts,
    rewards and what a seat sees go with the seat. Nothing is paid for a seat, and the same play of the seats makes the same
    welfare whoever sits where.

    Parameters
    ----------
    rule
        ``"fixed"``: each keeps her own seat, the game itself; ``"lot"``; ``"serial"`` dictatorship; ``"deferred"`` acceptance
        (Gale and Shapley 1962); ``"boston"``, immediate acceptance (Abdulkadiroglu and Sonmez 2003); ``"trading"``, top
        trading cycles (Shapley and Scarf 1974).
    role
        The role, of at least two players; empty for the first that has as many.
    lines
        For each seat the numbers of the players, from the first in its line to the last. One line alone is that of every
        seat, or the order in which players choose (``"serial"``). Empty: one line for all that is drawn by lot, or, for
        ``"trading"``, each player first in line at her own seat, which she owns, and then in the order of their numbers.
    """

    rule: str = "serial"
    role: str = ""
    lines: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        """Refuse lines in which somebody is missing."""
        validate.one_of("rule", self.rule, tuple(RULES))
        given: Any = self.lines
        if not isinstance(given, list | tuple) or not all(isinstance(line, list | tuple) for line in given):
            raise ValueError(f"lines: a list of lists of player numbers, got {given!r}")
        object.__setattr__(self, "lines", tuple(tuple(line) for line in given))
        if self.lines and self.rule in ("fixed", "lot"):
            raise ValueError(f"lines: none with rule {self.rule!r}, got {self.lines!r}")
        if len(self.lines) > 1 and self.rule == "serial":
            raise ValueError(f"lines: one, the order in which players choose, got {len(self.lines)}")
        for line in self.lines:
            if sorted(line) != list(range(len(line))):
                raise ValueError(f"lines: each player once, by number from 0, got {line!r}")

    @classmethod
    def suited(cls, game: Game) -> Self:
        """Return deferred acceptance in the first role of several players."""
        return cls("deferred", _role(game, "").name)

    def apply(self, game: Game) -> Game:
        """Return the game with the assignment before it."""
        return game if self.rule == "fixed" else Matched(game, self)


def _role(game: Game, name: str) -> Role:
    """Return the role whose seats are assigned; Unfit where it has one only."""
    if name and name not in {role.name for role in game.roles}:
        raise Unfit(f"role: one of {', '.join(role.name for role in game.roles)}, got {name!r}")
    found = next((role for role in game.roles if role.count > 1 and name in ("", role.name)), None)
    if found is None:
        raise Unfit(f"role: {name or 'every role'} of {game.name} has one seat only: there is nothing to assign")
    return found


class MatchState(NamedTuple):
    """The seat of each player and who sits on each seat, (*batch, players); the rank that each gave to her seat."""

    seat: Array
    sitter: Array
    rank: Array


class Matched(Institution):
    """A game whose players are assigned to its seats."""

    mechanism: Matching

    def __init__(self, base: Game, mechanism: Matching) -> None:
        super().__init__(base, mechanism)
        role = _role(base, mechanism.role)
        self.seated, self.people, self.n = role.name, role.players, role.count
        self.drawn = mechanism.rule == "lot"
        lines, lined = mechanism.lines, mechanism.rule in LINED
        if lines and (len(lines) not in ((1, self.n) if lined else (1,)) or any(len(line) != self.n for line in lines)):
            raise Unfit(f"lines: one, or {self.n}, of the {self.n} players of {role.name}, got {lines!r}")
        if not lines and mechanism.rule == "trading":
            lines = tuple((i, *(j for j in range(self.n) if j != i)) for i in range(self.n))
        self.lines = lines * self.n if lined and len(lines) == 1 else lines
        self.before_each = tuple(tuple(line.index(i) for i in range(self.n)) for line in self.lines)
        self.own_draws = 0 if self.lines else self.n
        self.seats = tuple(f"seat_{i}" for i in range(self.n))
        if not self.drawn:
            self.before = (
                Stage("match", "once, before the first round: each ranks the seats, which are then assigned"),
            )
            self.own_reports = (
                Measure(
                    "seat_rank", "mean rank that players gave to the seat that they got, 1 is best", "sum_i k_i / n"
                ),
                Measure(
                    "first_choices", "share of players who got the seat that they ranked best", "#{i: k_i = 1} / n"
                ),
            )
        self.named: dict[tuple[str, ...], tuple[int, ...]] = {}
        for field in (f for r in base.roles for f in (*r.sees, *r.acts)):
            self._read(field)

    def _read(self, field: Field) -> None:
        """Note where a field names players; raise Unfit where it names some of them only, or in longer words."""
        options = field.space.options if isinstance(field.space, Choice) else ()
        for names in (field.each, options):
            found = [player for player in self.people if player in names]
            if found and len(found) < self.n:
                raise Unfit(f"role: field {field.name!r} of {self.base.name} names some players of {self.seated} only")
            if found:
                self.named[names] = tuple(names.index(player) for player in self.people)
            spelt = [n for n in names if n not in self.people and set(re.findall(r"\w+", n)) & set(self.people)]
            if spelt:
                raise Unfit(f"role: field {field.name!r} of {self.base.name} has {spelt[0]!r}, which names a seat")

    # ---- in words and fields ------------------------------------------------------------------------------------

    @property
    def terms(self) -> str:
        """The assignment in words."""
        rule = self.mechanism.rule
        owners = ", ".join(f"{seat} for {player}" for seat, player in zip(self.seats, self.people, strict=True))
        said = (
            f"In the rules so far, {', '.join(self.people)} are the names of seats: read {owners}. Whoever sits on a seat sees "
            f"what it sees, decides what it decides and gets what it is paid. What you see names players, not seats."
        )
        if self.drawn:
            return f"{said} Before the first round {RULES[rule]}."
        said += (
            f" Until they are assigned each is on the seat of her own number. Before the first round "
            f"{', '.join(self.people)} rank the seats, at once and in secret, and then {RULES[rule]}. Of seats that are ranked "
            f"equal the one listed first counts as better."
        )
        if not self.lines:
            what = "The order" if rule == "serial" else "The line, the same at all seats,"
            return f"{said} {what} is drawn by lot after that."
        named = [", ".join(self.people[i] for i in line) for line in self.lines]
        if rule == "serial":
            return f"{said} The order is {named[0]}."
        if len(set(named)) == 1:
            return f"{said} The line at each seat is {named[0]}."
        return f"{said} In line are: {'; '.join(f'at {s} {line}' for s, line in zip(self.seats, named, strict=True))}."

    @functools.cached_property
    def roles(self) -> tuple[Role, ...]:
        """Roles of the base game; what some seats decide only, everybody is asked, since anybody may sit there."""
        return tuple(
            replace(role, acts=tuple(map(self._for_all, role.acts))) if role.name == self.seated else role
            for role in super().roles
        )

    def _for_all(self, field: Field) -> Field:
        if field.by is None:
            return field
        who = " or ".join(self.seats[i] for i in field.by)
        return replace(field, by=None, means=f"{field.means}; it counts if you sit on {who}")

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show who sits where."""
        where = Field("seats", Choice(self.seats), f"where each {self.seated} sits", each=self.people, verifiable=True)
        mine = Field("seat", Choice(self.seats), "your seat", verifiable=True)
        return (mine, where) if role.name == self.seated else (where,)

    def acts(self, role: Role) -> tuple[Field, ...]:
        """Ask for a ranking."""
        if role.name != self.seated or self.drawn:
            return ()
        means = "your rank for each seat: 1 is best, and equal ranks are allowed"
        return (Field("rank_seats", Integer(1, self.n), means, each=self.seats, stage="match"),)

    # ---- in arrays ----------------------------------------------------------------------------------------------

    def begin(self, base: Any, u: Array) -> MatchState:
        """Sit down on one's own seat, or where a lot says."""
        own = self._own(u, tuple(u.shape[:-1]))
        return self._state(assignment.lot(u), own) if self.drawn else MatchState(own, own, own * 0)

    def _own(self, like: Array, batch: tuple[int, ...]) -> Array:
        own = namespace(like).arange(self.n, device=device_of(like))
        return full(like, (*batch, self.n), 0, integer=True) + own

    def _state(self, seat: Array, rank: Array) -> MatchState:
        """Return the state given the seats, a permutation; the rank that sorts it is its inverse."""
        sits = to_int(seat[..., :, None] == self._own(seat, ())[None, :])
        return MatchState(seat, namespace(seat).sum(sits * self._own(seat, ())[:, None], axis=-2), rank)

    def meet(
        self, stage: Array, own: MatchState, base: Any, acts: Mapping[str, Acts], u: Array
    ) -> tuple[MatchState, dict[str, Array], Array | None]:
        """Assign the seats."""
        ranks = to_int(acts[self.seated]["rank_seats"])
        xp, rule = namespace(ranks), self.mechanism.rule
        before = constant(ranks, self.before_each) if self.lines else assignment.lot(u)
        if rule == "serial":
            seat = assignment.serial(ranks, before[0] if self.lines else before)
        else:
            queues = before if self.lines else before[..., None, :]
            seat = getattr(assignment, rule)(ranks, xp.broadcast_to(queues, ranks.shape))
        got = xp.take_along_axis(assignment.places(ranks), seat[..., None], axis=-1)[..., 0]
        return self._state(seat, got + 1), {}, None

    def bend(self, own: MatchState, base: Any, acts: Mapping[str, Acts], u: Array) -> Mapping[str, Acts]:
        """Let each act for her seat, and mean the seats of those whom she names."""
        bent = {}
        for role in self.base.roles:
            bent[role.name] = {
                f.name: self._moved(acts[role.name][f.name], f, role.name, own.sitter, own.seat) for f in role.acts
            }
        return bent

    def _moved(self, values: Array, field: Field, role: str, order: Array, named: Array) -> Array:
        """Rearrange a field (*batch, count, *components) from players to seats, or from seats to players.

        ``order`` (*batch, players) says whose value comes at each place; ``named`` what a name turns into.
        """
        if role == self.seated:
            values = _taken(values, order, 1 + len(field.shape), self.n)
        if field.each in self.named:
            values = _taken(values, self._placed(field.each, order), len(field.shape), len(field.each))
        if isinstance(field.space, Choice) and field.space.options in self.named:
            xp, table = namespace(values), self._placed(field.space.options, named)
            batch, kept = tuple(table.shape[:-1]), tuple(values.shape)
            index = xp.reshape(to_int(values), (*batch, -1))
            values = xp.reshape(xp.take_along_axis(table, index, axis=-1), kept)
        return values

    def _placed(self, names: tuple[str, ...], order: Array) -> Array:
        """Return which of some names comes at each place, (*batch, names): those of players in an order, the others as is."""
        xp = namespace(order)
        columns, at = [], constant(order, self.named[names])
        for place, name in enumerate(names):
            if name in self.people:
                columns.append(at[order[..., self.people.index(name)]])
            else:
                columns.append(order[..., 0] * 0 + place)
        return xp.stack(columns, axis=-1)

    def settle(self, own: MatchState, outcome: Outcome, ended: Array, u: Array) -> tuple[MatchState, Outcome]:
        """Pay each what her seat is paid."""
        paid = namespace(own.seat).take_along_axis(outcome.rewards[self.seated], own.seat, axis=-1)
        return own, outcome._replace(rewards={**outcome.rewards, self.seated: paid})

    def reads_own(self, state: Layered) -> bool:
        """Say whether a lot may be drawn in the next step."""
        return bool(self.before) and common(state.stage) in (None, 0)

    def foreseen(self, state: Layered, acts: Mapping[str, Acts]) -> Mapping[str, Acts]:
        """Return the acts on the seats for which they count."""
        return self.bend(state.own, state.base, acts, state.stage)

    def show(self, own: MatchState, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show each what her seat sees, and who sits where."""
        shown: dict[str, Seen] = {}
        for role in self.base.roles:
            declared = {field.name: field for field in role.sees}
            shown[role.name] = {
                name: self._moved(values, declared[name], role.name, own.seat, own.sitter)
                for name, values in seen[role.name].items()
            }
            shown[role.name]["seats"] = shared(own.seat, role.count)
        shown[self.seated]["seat"] = own.seat
        return shown

    def account(self, own: MatchState) -> dict[str, Array]:
        """Return how players like their seats."""
        if self.drawn:
            return {}
        return {
            "seat_rank": to_float(total(own.rank)) / self.n,
            "first_choices": total(to_float(own.rank == 1)) / self.n,
        }


def _taken(values: Array, order: Array, axes: int, count: int) -> Array:
    """Rearrange an axis, counted from the end, by ``order`` (*batch, count)."""
    xp = namespace(values)
    batch = tuple(order.shape[:-1])
    between = values.ndim - len(batch) - axes
    index = xp.reshape(order, (*batch, *(1,) * between, count, *(1,) * (axes - 1)))
    shape = (*values.shape[: values.ndim - axes], count, *values.shape[values.ndim - axes + 1 :])
    return xp.take_along_axis(values, xp.broadcast_to(index, shape), axis=values.ndim - axes)
