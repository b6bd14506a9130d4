"""PoolSanction: players pay in advance into a pool that fines whoever breaks a rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from ..envs.core import validate
from ..envs.core.arrays import Array, full, namespace, to_float, to_int
from ..envs.core.fields import Choice, Field, Real, Role
from ..envs.core.game import Acts, Game, Measure, Outcome, Seen, Stage
from ..envs.core.mechanism import Institution, Mechanism, Unfit, joined, parted, players_of, told
from .rule import Rule


@dataclass(frozen=True)
class PoolSanction(Mechanism):
    """Pool punishment (Sigmund, De Silva, Traulsen and Hauert 2010, doi:10.1038/nature09203; Yamagishi 1986).

    Before each round each decides whether to pay into a pool. After the round whoever broke the rule is fined, in
    proportion to the number of those who paid in, whether she did or not. Payments and fines are lost to all: welfare
    falls by both.

    Parameters
    ----------
    field
        The verifiable field on which the rule is, each player's own, as it stands after a round.
    wrong
        Options of the field that break the rule.
    limit
        Where the field is a number: values above it break the rule. Either this or ``wrong`` is given.
    cost
        What paying into the pool costs, in units of reward.
    fine
        Fine for each one who paid in, in units of reward; 0 is the game itself.
    per_contributor
        False makes ``fine`` the whole fine, as soon as anybody has paid in.
    second_order
        Whether those who did not pay in are fined like those who broke the rule; who did both is fined once.
    roles
        Roles that pay in and to which the rule applies; empty for all that see the field.
    """

    field: str
    wrong: tuple[str, ...] = ()
    limit: float | None = None
    cost: float = 1.0
    fine: float = 1.0
    per_contributor: bool = True
    second_order: bool = False
    roles: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        object.__setattr__(self, "wrong", validate.names("wrong", self.wrong))
        object.__setattr__(self, "roles", validate.names("roles", self.roles))
        validate.real("cost", self.cost, 0.0)
        validate.real("fine", self.fine, 0.0)
        _ = self.rule

    @property
    def rule(self) -> Rule:
        """What is fined."""
        return Rule(self.field, self.wrong, self.limit)

    @classmethod
    def suited(cls, game: Game) -> Self:
        """Return a pool that fines by the first verifiable fact."""
        rule = Rule.suited(game)
        return cls(rule.field, rule.options, rule.limit)

    def apply(self, game: Game) -> Game:
        """Return the game with a pool before each round."""
        return game if self.fine == 0 else Pooled(game, self)


class PoolState(NamedTuple):
    """Who paid in for this round, 0 or 1, and what each was fined last (*batch, players); payments and fines (*batch)."""

    members: Array
    fined: Array
    payments: Array
    fines: Array


class Pooled(Institution):
    """A game with a pool that punishes."""

    mechanism: PoolSanction
    opening = (Stage("pool", "each may pay into a pool that fines those who break its rule in the round"),)
    own_reports = (
        Measure("pool_payments", "payments into the pool in an episode", "number of payments", "payments"),
        Measure("pool_fines", "fines that the pool imposed in an episode", "number of fines", "fines", better="lower"),
    )

    def __init__(self, base: Game, mechanism: PoolSanction) -> None:
        super().__init__(base, mechanism)
        self.rule = mechanism.rule
        self.involved = self.rule.holders(base, mechanism.roles)
        self.people = players_of(base, self.involved)
        if len(self.people) < 2:
            raise Unfit(f"roles: a pool needs at least 2 players, got {', '.join(self.people)}")

    @property
    def terms(self) -> str:
        """The institution in words."""
        dial = self.mechanism
        times = "for each one who paid in" if dial.per_contributor else "if anybody has paid in"
        also = " or has not paid in" if dial.second_order else ""
        return (
            f"Before each round each of {', '.join(self.people)} may pay {dial.cost:g} into a pool. After the round whoever "
            f"broke the rule{also} is fined {dial.fine:g} {times}; the rule is broken by: {self.rule.text}. Payments and "
            "fines are lost."
        )

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show who paid in, and one's own fine."""
        means = "whether each paid into the pool last"
        members = Field("pool_members", Choice(("no", "yes")), means, each=self.people, verifiable=True)
        most = self.mechanism.fine * (len(self.people) if self.mechanism.per_contributor else 1)
        fined = Field("pool_fined", Real(0.0, most), "what the pool fined you for the last round", verifiable=True)
        return (members, fined) if role.name in self.involved else (members,)

    def acts(self, role: Role) -> tuple[Field, ...]:
        """Ask who pays in."""
        if role.name not in self.involved:
            return ()
        return (Field("join", Choice(("stay out", "pay in")), "whether you pay into the pool", stage="pool"),)

    def begin(self, base: Any, u: Array) -> PoolState:
        """Start with an empty pool."""
        batch = tuple(u.shape[:-1])
        shape, zero = (*batch, len(self.people)), full(u, batch, 0.0)
        return PoolState(full(u, shape, 0, integer=True), full(u, shape, 0.0), zero, zero)

    def meet(
        self, stage: Array, own: PoolState, base: Any, acts: Mapping[str, Acts], u: Array
    ) -> tuple[PoolState, dict[str, Array], Array | None]:
        """Take the payments."""
        members = to_int(joined({name: acts[name]["join"] for name in self.involved}, self.involved))
        paid = to_float(members)
        xp, pay = namespace(paid), -self.mechanism.cost * paid
        own = own._replace(members=members, payments=own.payments + xp.sum(paid, axis=-1))
        return own, parted(pay, self.base, self.involved), xp.sum(pay, axis=-1)

    def settle(self, own: PoolState, outcome: Outcome, ended: Array, u: Array) -> tuple[PoolState, Outcome]:
        """Fine those who broke the rule."""
        xp, dial = namespace(own.members), self.mechanism
        guilty = self.rule.broken(self.base, self.base.view(outcome.state), self.involved)
        if dial.second_order:
            guilty = guilty | (own.members == 0)
        size = xp.sum(own.members, axis=-1)
        fine = dial.fine * to_float(size if dial.per_contributor else size > 0)
        fined = to_float(guilty) * fine[..., None]
        due = fined * to_float(ended)[..., None]
        own = own._replace(
            fined=xp.where(ended[..., None], fined, own.fined),
            fines=own.fines + xp.sum(to_float(due > 0.0), axis=-1),
        )
        lost = parted(due, self.base, self.involved)
        rewards = {name: pay - lost[name] if name in lost else pay for name, pay in outcome.rewards.items()}
        return own, outcome._replace(rewards=rewards, welfare=outcome.welfare - xp.sum(due, axis=-1))

    def show(self, own: PoolState, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show everyone who paid in."""
        return told(
            self.base, seen, {"pool_members": own.members}, {"pool_fined": parted(own.fined, self.base, self.involved)}
        )

    def account(self, own: PoolState) -> dict[str, Array]:
        """Return payments and fines."""
        return {"pool_payments": own.payments, "pool_fines": own.fines}
