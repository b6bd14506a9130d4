"""Contract: proposed terms, unanimous acceptance, transfers that a court enforces - or does not."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

from ..envs.core import validate
from ..envs.core.arrays import Array, full, namespace, to_float, to_int
from ..envs.core.fields import Choice, Field, Real, Role
from ..envs.core.game import Acts, Game, Measure, Outcome, Seen, Stage, spread
from ..envs.core.mechanism import Institution, Mechanism, Unfit, joined, parted, players_of
from .terms import Compensation, Deal, Quota, Terms

REGIMES = ("none", "text", "enforced")


@dataclass(frozen=True)
class Court:
    """A court that finds out a breach with probability ``accuracy``, independently for each debtor and round."""

    accuracy: float = 1.0

    def __post_init__(self) -> None:
        """Refuse an accuracy that is no probability."""
        validate.probability("accuracy", self.accuracy)


@dataclass(frozen=True)
class Contract(Mechanism):
    """A formal contract on verifiable facts (Christoffersen, Haupt and Hadfield-Menell 2022, arXiv:2208.10469).

    Before the first round the proposer fills in the terms' blanks and may offer a side payment; then all others who are
    bound accept or refuse. Only if all accept does the contract hold, for the whole episode.

    Parameters
    ----------
    terms
        What is owed after which facts.
    regime
        ``"none"``: the base game itself; ``"text"``: proposed and accepted, but no debt is ever paid; ``"enforced"``.
    proposer
        Position of the proposer among those who are bound; with fixed terms and no side payment nobody proposes and all
        of them answer.
    bound
        Roles that are bound; empty for all.
    court
        Who enforces.
    side_payment
        Most that the proposer can pay each of the others on acceptance, or ask of each, in units of reward.
    """

    terms: Terms = dataclasses.field(default_factory=Quota)
    regime: str = "enforced"
    proposer: int = 0
    bound: tuple[str, ...] = ()
    court: Court = dataclasses.field(default_factory=Court)
    side_payment: float = 0.0

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.one_of("regime", self.regime, REGIMES)
        validate.whole("proposer", self.proposer, 0, 1_000_000)
        validate.real("side_payment", self.side_payment, 0.0)

    @classmethod
    def suited(cls, game: Game) -> Self:
        """Return a contract on the first verifiable fact that all see: a quota, or a fine on the second of some options."""
        for field in game.roles[0].sees:
            if not field.verifiable or field.each:
                continue
            seen = [next((f for f in role.sees if f.name == field.name), None) for role in game.roles]
            if all(f is not None and f.verifiable and f.space == field.space for f in seen):
                space = field.space
                if isinstance(space, Choice):
                    if len(space.options) < 2:
                        continue
                    return cls(Compensation(None, space.options[1], space.options[0], field.name))
                limit = int(min(max(space.low, 1), space.high, 1_000_000))
                return cls(Quota(limit, field=field.name, most=max(limit, 1)))
        raise Unfit(f"terms: no single verifiable fact is seen by all roles of {game.name}")

    def apply(self, game: Game) -> Game:
        """Return the game under the contract."""
        return game if self.regime == "none" else Contracted(game, self)


class ContractState(NamedTuple):
    """Numbers of the terms and side payment (*batch), answer (0 open, 1 refused, 2 in force), and books."""

    numbers: dict[str, Array]
    side: Array
    status: Array
    breaches: Array
    moved: Array


class Contracted(Institution):
    """A game under a contract."""

    mechanism: Contract
    own_reports = (
        Measure("agreed", "share of societies in which the contract was accepted by all", "1 if all accepted, else 0"),
        Measure(
            "breaches",
            "breaches a player and round while the contract is in force",
            "#{(i, t): i owes something after round t} / (n T)",
            better="lower",
        ),
        Measure("transfers", "reward moved between players by the contract", "sum_it |transfer_it| / 2"),
    )

    def __init__(self, base: Game, mechanism: Contract) -> None:
        super().__init__(base, mechanism)
        self.bound = mechanism.bound or tuple(role.name for role in base.roles)
        self.parties = players_of(base, self.bound)
        terms = mechanism.terms
        if mechanism.proposer >= len(self.parties):
            raise Unfit(f"proposer: 0 to {len(self.parties) - 1} ({', '.join(self.parties)}), got {mechanism.proposer}")
        if len(self.parties) < 2:
            raise Unfit(f"bound: a contract binds at least 2 players, got {', '.join(self.parties)}")
        self.deal = self._deal(base)
        terms.suit(self.deal)
        self.proposes = bool(terms.blanks) or mechanism.side_payment > 0
        answer = Stage("consent", "once, before the first round: those who would be bound accept or refuse a contract")
        propose = Stage("propose", f"once, first of all: {self.parties[mechanism.proposer]} proposes the contract")
        self.before = (propose, answer) if self.proposes else (answer,)
        self.own_draws = len(self.parties) if mechanism.court.accuracy < 1.0 else 0

    def _deal(self, base: Game) -> Deal:
        """Return the players and the facts that the terms use; raise Unfit where a fact is not verifiable by any of them."""
        verifiable = {
            name: {f.name: f for f in base.role(name).sees if f.verifiable and not f.each} for name in self.bound
        }
        fields, known = {}, {}
        for used in self.mechanism.terms.uses:
            found = [facts[used] for facts in verifiable.values() if used in facts]
            if not found:
                there = ", ".join(sorted(set().union(*verifiable.values()))) or "none"
                raise Unfit(
                    f"terms: a contract can condition only on verifiable fields that are one value a player; {used!r} is not "
                    f"for {' or '.join(self.bound)} (verifiable: {there})"
                )
            if any(field.space != found[0].space for field in found):
                raise Unfit(f"terms: field {used!r} must have the same values in every role that is bound")
            fields[used] = found[0]
            known[used] = tuple(used in verifiable[name] for name in self.bound for _ in base.role(name).players)
        return Deal(self.parties, fields, known)

    def _facts(self, seen: Mapping[str, Seen], like: Array) -> dict[str, Array]:
        """Return the facts as those who are bound see them, (*batch, players), 0 for who does not; ``like`` is (*batch)."""
        facts = {}
        for used, field in self.deal.fields.items():
            parts, begin = {}, 0
            for name in self.bound:
                count = self.base.role(name).count
                nothing = full(like, (*like.shape, count), 0, integer=field.discrete)
                parts[name] = seen[name][used] if self.deal.known[used][begin] else nothing
                begin += count
            facts[used] = joined(parts, self.bound)
        return facts

    @property
    def terms(self) -> str:
        """The contract in words."""
        contract = self.mechanism
        force = {
            "text": "Nobody enforces it: it is a promise.",
            "enforced": "A court enforces it: what is owed is paid."
            if contract.court.accuracy == 1.0
            else f"A court enforces it: a breach is found out with probability {contract.court.accuracy:g}, and then "
            "what is owed is paid.",
        }[contract.regime]
        side = ""
        if contract.side_payment:
            most = f"{contract.side_payment:g}"
            side = f" The proposer may add a payment of up to {most} to, or from, each of the others on acceptance."
        return (
            f"Before the first round a contract is put to {', '.join(self.parties)}: {contract.terms.text}; what is owed "
            f"goes to the others who are bound.{side} It holds only if all accept. {force}"
        )

    def _seats(self, role: Role, who: tuple[str, ...]) -> tuple[int, ...]:
        return tuple(i for i, player in enumerate(role.players) if player in who)

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show the answer and the numbers of the terms."""
        shown = [
            Field("agreement", Choice(("open", "refused", "in force")), "the contract", verifiable=True),
            Field("enforcement", Real(0.0, 1.0), "probability that what is owed under the contract is collected"),
        ]
        shown += [replace(figure, name=f"agreed_{figure.name}") for figure in self.mechanism.terms.figures]
        if self.mechanism.side_payment:
            most = self.mechanism.side_payment
            shown.append(
                Field(
                    "side_offer",
                    Real(-most, most),
                    "what the proposer pays each of the others on acceptance; below zero, what it asks of each",
                )
            )
        return tuple(shown)

    def acts(self, role: Role) -> tuple[Field, ...]:
        """Ask the proposer for the terms, and those who would be bound for their answer."""
        proposer = self.parties[self.mechanism.proposer]
        mine = self._seats(role, (proposer,))
        asked: list[Field] = []
        if self.proposes and mine:
            asked += [replace(f, stage="propose", by=mine) for f in self.mechanism.terms.blanks]
            if self.mechanism.side_payment:
                space = Real(-self.mechanism.side_payment, self.mechanism.side_payment)
                means = "what you pay each of the others if all accept; below zero, what you ask of each"
                asked.append(Field("side", space, means, stage="propose", by=mine))
        answering = tuple(p for p in self.parties if not (self.proposes and p == proposer))
        if seats := self._seats(role, answering):
            by = None if len(seats) == role.count else seats
            asked.append(
                Field(
                    "consent", Choice(("refuse", "accept")), "whether you accept the contract", stage="consent", by=by
                )
            )
        return tuple(asked)

    def begin(self, base: Any, u: Array) -> ContractState:
        """Start with no contract."""
        zero = full(u, tuple(u.shape[:-1]), 0.0)
        return ContractState(self.mechanism.terms.stated({}, zero), zero, to_int(zero), zero, zero)

    @functools.cached_property
    def _proposer_seat(self) -> tuple[str, int]:
        proposer = self.parties[self.mechanism.proposer]
        role, _, index = proposer.rpartition("_")
        return role, int(index)

    def meet(
        self, stage: Array, own: ContractState, base: Any, acts: Mapping[str, Acts], u: Array
    ) -> tuple[ContractState, dict[str, Array], Array | None]:
        """Record the proposal, or the answers; pay the side payment on acceptance."""
        xp = namespace(stage)
        numbers, side = own.numbers, own.side
        if self.proposes:
            role, seat = self._proposer_seat
            filled = {f.name: to_float(acts[role][f.name][..., seat]) for f in self.mechanism.terms.blanks}
            proposing = stage == 0
            offered = self.mechanism.terms.stated(filled, side)
            numbers = {name: xp.where(proposing, offered[name], numbers[name]) for name in numbers}
            if self.mechanism.side_payment:
                side = xp.where(proposing, to_float(acts[role]["side"][..., seat]), side)
        answers = [acts[name]["consent"][..., i] == 1 for name, seats in self._answering.items() for i in seats]
        accepted = functools.reduce(operator.and_, answers)
        answering = stage == len(self.before) - 1
        status = xp.where(answering, 1 + to_int(accepted), own.status)
        rewards: dict[str, Array] = {}
        if self.mechanism.side_payment and self.mechanism.regime == "enforced":
            n = len(self.parties)
            pay = xp.where(answering & accepted, side, side * 0.0)
            signs = [-(n - 1.0) if i == self.mechanism.proposer else 1.0 for i in range(n)]
            rewards = parted(xp.stack([pay * sign for sign in signs], axis=-1), self.base, self.bound)
        return own._replace(numbers=numbers, side=side, status=status), rewards, None

    @functools.cached_property
    def _answering(self) -> dict[str, tuple[int, ...]]:
        seats = {}
        for name in self.bound:
            role = self.role(name)
            fields = [f for f in role.acts if f.name == "consent"]
            if fields:
                seats[name] = fields[0].by if fields[0].by is not None else tuple(range(role.count))
        return seats

    def settle(self, own: ContractState, outcome: Outcome, ended: Array, u: Array) -> tuple[ContractState, Outcome]:
        """Establish the facts of the round and, where the contract is enforced, move what is owed."""
        xp = namespace(own.status)
        seen = self.base.view(outcome.state)
        debts = self.mechanism.terms.owed(own.numbers, self._facts(seen, own.side), self.deal)
        holds = to_float((own.status == 2) & ended)
        debts = debts * holds[..., None, None]
        breach = xp.mean(to_float(xp.sum(debts, axis=-1) > 0), axis=-1)
        own = own._replace(breaches=own.breaches + breach)
        if self.mechanism.regime != "enforced":
            return own, outcome
        if self.own_draws:
            debts = debts * to_float(u < self.mechanism.court.accuracy)[..., :, None]
        transfer = xp.sum(debts, axis=-2) - xp.sum(debts, axis=-1)
        own = own._replace(moved=own.moved + xp.sum(xp.abs(transfer), axis=-1) / 2)
        moved = parted(transfer, self.base, self.bound)
        rewards = {name: pay + moved[name] if name in moved else pay for name, pay in outcome.rewards.items()}
        return own, outcome._replace(rewards=rewards)

    def show(self, own: ContractState, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show everyone the state of the contract."""
        shown = {}
        enforced = self.mechanism.court.accuracy if self.mechanism.regime == "enforced" else 0.0
        for role in self.roles:
            extra = {
                "agreement": spread(own.status, role.count),
                "enforcement": full(own.side, (*own.side.shape, role.count), enforced),
            }
            for figure in self.mechanism.terms.figures:
                number = own.numbers[figure.name]
                extra[f"agreed_{figure.name}"] = spread(to_int(number) if figure.discrete else number, role.count)
            if self.mechanism.side_payment:
                extra["side_offer"] = spread(own.side, role.count)
            shown[role.name] = {**seen[role.name], **extra}
        return shown

    def account(self, own: ContractState) -> dict[str, Array]:
        """Return agreement, breaches and transfers."""
        return {"agreed": to_float(own.status == 2), "breaches": own.breaches / self.rounds, "transfers": own.moved}
