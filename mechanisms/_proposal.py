"""How a contract comes about: who proposes it, what is on offer, and who accepts."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..envs.core.arrays import Array, full, namespace, to_float, to_int, total
from ..envs.core.chance import whole
from ..envs.core.fields import Choice, Field, Integer, Real, Role
from ..envs.core.game import Acts, Game, Seen, Stage, spread
from ..envs.core.mechanism import Unfit, joined, parted
from ._party import IN_FORCE, REFUSED, ContractState, Party

if TYPE_CHECKING:
    from .contract import Contract


class Proposed(Party):
    """A game before or in which a contract is proposed, and accepted or refused."""

    def __init__(self, base: Game, mechanism: Contract) -> None:
        super().__init__(base, mechanism)
        self.proposes = bool(self.blanks) or mechanism.side_payment > 0
        self.fixed = mechanism.proposer if isinstance(mechanism.proposer, int) else None
        if self.fixed is not None and self.fixed >= len(self.parties):
            raise Unfit(f"proposer: 0 to {len(self.parties) - 1} ({', '.join(self.parties)}), got {self.fixed}")
        if mechanism.recurs:
            self.opening = self._asking()
        else:
            self.before = self._asking()
        self.own_draws = (len(self.parties) if mechanism.errs else 0) + (mechanism.proposer == "random")
        self.own_reports = (
            self._measure(
                "agreed", "share of societies in which the contract was accepted by all", "1 if all accepted, else 0"
            ),
        )
        if mechanism.changes:
            self.own_reports += (
                self._measure("signed", "contracts made in an episode", "#{t: all accept in t}", "contracts"),
                self._measure("in_force", "share of rounds with a contract in force", "#{t: in force in t} / T"),
            )
        if mechanism.proposer == "auctioned":
            means = "what was paid for the right to propose"
            self.own_reports += (self._measure("proposal_prices", means, "sum of second-highest bids", "reward"),)

    # ---- in words and fields ------------------------------------------------------------------------------------

    def _asking(self) -> tuple[Stage, ...]:
        """Return the stages at which the contract is proposed and answered."""
        contract, who = self.mechanism, "those who would be bound"
        when = "before each round" if contract.renegotiation else "before each round in which no contract is in force"
        first = when if contract.recurs else "once, first of all"
        when = when if contract.recurs else "once, before the first round"
        answer = Stage(self.named("consent"), f"{when}: {who} accept or refuse a contract")
        if not self.proposes:
            return (answer,)
        if self.fixed is not None:
            propose = Stage(self.named("propose"), f"{first}: {self.parties[self.fixed]} proposes the contract")
            return propose, answer
        means = f"{when}: {who} fill in a proposal; only that of the proposer counts"
        propose = Stage(self.named("propose"), means)
        if contract.proposer != "auctioned":
            return propose, answer
        return Stage(self.named("tender"), f"{first}: {who} bid for the right to propose the contract"), propose, answer

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show the answer, the numbers of the terms, and who proposes."""
        contract = self.mechanism
        states = ("open", "refused", "in force") + (("ended",) if contract.ends else ())
        which = f"the contract {contract.label}" if contract.label else "the contract"
        shown = [
            Field("agreement", Choice(states), which, verifiable=True),
            Field("enforcement", Real(0.0, 1.0), "probability that what is owed under the contract is collected"),
        ]
        shown += [replace(figure, name=f"agreed_{figure.name}") for figure in self.figures]
        if contract.menu:
            options = Choice(("none", *(item.label for item in self.items)))
            shown.append(Field("agreed_item", options, "the item of the menu that all chose last", verifiable=True))
        if contract.renegotiation:
            shown += [
                replace(f, name=f"offered_{f.name}", means=f"as proposed last, in force or not: {f.means}")
                for f in self.figures
            ]
        if contract.side_payment:
            most = contract.side_payment
            means = "what the proposer pays each of the others on acceptance; below zero, what it asks of each"
            shown.append(Field("side_offer", Real(-most, most), means))
        if self.fixed is None:
            shown.append(self._whose())
        if contract.proposer == "auctioned":
            price = Real(0.0, contract.highest_bid)
            shown.append(Field("proposal_price", price, "what was paid last for the right to propose"))
        if contract.duration is not None:
            left = Integer(0, contract.duration)
            shown.append(Field("rounds_left", left, "rounds that the contract still lasts; 0 if none is in force"))
        return tuple(replace(field, name=self.named(field.name)) for field in shown)

    def _whose(self) -> Field:
        how = {
            "rotating": "those who are bound take turns",
            "random": "drawn by lot before each proposal",
            "auctioned": "who bid most",
        }[str(self.mechanism.proposer)]
        if self.mechanism.proposer == "auctioned":
            return Field(
                "proposer", Choice((*self.parties, "nobody yet")), f"whose proposal counts, or counted last: {how}"
            )
        means = f"whose proposal counts, of the contract on the table or else the next one: {how}"
        return Field("proposer", Choice(self.parties), means)

    def acts(self, role: Role) -> tuple[Field, ...]:
        """Ask for bids, for the terms, and for an answer."""
        if role.name not in self.bound:
            return ()
        contract = self.mechanism
        asked: list[Field] = []
        if contract.proposer == "auctioned":
            means = "what you bid for the right to propose; the highest bidder pays the second-highest bid"
            asked.append(
                Field(self.named("tender"), Real(0.0, contract.highest_bid), means, stage=self.named("tender"))
            )
        proposer = None if self.fixed is None else self.parties[self.fixed]
        mine = None if proposer is None else tuple(i for i, player in enumerate(role.players) if player == proposer)
        if self.proposes and mine != ():
            only = "" if self.fixed is not None else "; it counts if you propose"
            forms = list(self.blanks)
            if contract.side_payment:
                space = Real(-contract.side_payment, contract.side_payment)
                forms.append(
                    Field(
                        "side", space, "what you pay each of the others if all accept; below zero, what you ask of each"
                    )
                )
            asked += [
                replace(f, name=self.named(f.name), means=f.means + only, stage=self.named("propose"), by=mine)
                for f in forms
            ]
        answering = tuple(i for i, player in enumerate(role.players) if not self.proposes or player != proposer)
        if answering:
            by = None if len(answering) == role.count else answering
            asked.append(replace(self._answer, by=by))
        return tuple(asked)

    @property
    def _answer(self) -> Field:
        """The field in which a contract is answered."""
        contract = self.mechanism
        which = f"the contract {contract.label}" if contract.label else "the contract"
        options: tuple[str, ...] = ("refuse", "accept")
        means = f"whether you accept {which}"
        if contract.menu:
            options = ("refuse", *(item.label for item in self.items))
            means = f"which item of {which} you accept; it holds if all choose the same"
        if contract.renegotiation:
            means += "; one that is in force stays unless all accept the new one"
        if self.proposes and self.fixed is None:
            means += "; if you are the proposer you agree, whatever you answer"
        return Field(self.named("consent"), Choice(options), means, stage=self.named("consent"))

    def _said(self) -> str:
        """Return in words what is proposed and when it holds."""
        contract, who = self.mechanism, ", ".join(self.parties)
        when = "Before the first round"
        if contract.recurs:
            when = "Before each round" + ("" if contract.renegotiation else " in which no contract is in force")
        label = f" ({contract.label})" if contract.label else ""
        if contract.menu:
            offer = f"a menu of contracts{label}"
            text = "; ".join(f"({item.label}) {item.terms.text}" for item in self.items)
        else:
            offer, text = f"a contract{label}", contract.items[0].text
        said = f"{when} {offer} is put to {who}: {text}."
        if self.fixed is None:
            said += {
                "rotating": f" They take turns in proposing it, {self.parties[0]} first.",
                "random": " Who proposes it is drawn by lot, each time anew.",
                "auctioned": " The right to propose it is auctioned: the highest bidder (the first of those who tie) proposes, "
                "and pays the second-highest bid, which the others share equally.",
            }[str(contract.proposer)]
            said += " All fill in a proposal, and only the proposer's counts; the proposer agrees to it."
        if contract.side_payment:
            most = f"{contract.side_payment:g}"
            said += f" The proposer may add a payment of up to {most} to, or from, each of the others on acceptance."
        said += " An item holds only if all choose it." if contract.menu else " It holds only if all accept."
        if contract.duration is not None:
            rounds = f"{contract.duration} round{'' if contract.duration == 1 else 's'}"
            said += f" It then lasts {rounds}; once it has ended a new one can be made."
        if contract.renegotiation:
            said += " If one is in force already, it stays unless all accept the new one."
        return said

    # ---- in arrays ----------------------------------------------------------------------------------------------

    def begin(self, base: Any, u: Array) -> ContractState:
        """Start with no contract."""
        zero = full(u, tuple(u.shape[:-1]), 0.0)
        none = to_int(zero)
        more: dict[str, Any] = {}
        if self.mechanism.menu:
            more["item"] = none
        if self.mechanism.renegotiation:
            more["offer"] = self._stated({}, zero)
        if self.mechanism.changes:
            more |= {"held": zero, "signed": zero}
        if self.mechanism.duration is not None:
            more["left"] = none
        if self.mechanism.proposer == "auctioned":
            more |= {"price": zero, "prices": zero, "proposer": none + len(self.parties)}
        elif self.fixed is None:
            more["proposer"] = self._lot(u) if self.mechanism.proposer == "random" else none
        return ContractState(self._stated({}, zero), zero, none, zero, zero, more)

    def _stated(self, filled: Mapping[str, Array], like: Array) -> dict[str, Array]:
        return {name: value for item in self.items for name, value in item.stated(filled, like).items()}

    def _lot(self, u: Array) -> Array:
        """Draw a proposer: integer (*batch)."""
        return whole(u[..., -1], 0, len(self.parties) - 1)

    @functools.cached_property
    def _proposer_seat(self) -> tuple[str, int]:
        """Role and seat of the proposer, or of the first one."""
        role, _, index = self.parties[self.fixed or 0].rpartition("_")
        return role, int(index)

    @functools.cached_property
    def _answering(self) -> dict[str, tuple[int, ...]]:
        seats = {}
        for name in self.bound:
            role = self.role(name)
            fields = [f for f in role.acts if f.name == self.named("consent")]
            if fields:
                seats[name] = fields[0].by if fields[0].by is not None else tuple(range(role.count))
        return seats

    def _proposing(self, own: ContractState) -> Array:
        """Say who proposes, where that is not fixed: (*batch, players)."""
        xp = namespace(own.status)
        return xp.stack([own.more["proposer"] == i for i in range(len(self.parties))], axis=-1)

    def _filled(self, name: str, own: ContractState, acts: Mapping[str, Acts]) -> Array:
        """Return what the proposer fills in, float (*batch)."""
        if self.fixed is not None:
            role, seat = self._proposer_seat
            return to_float(acts[role][name][..., seat])
        values = to_float(joined({role: acts[role][name] for role in self.bound}, self.bound))
        return total(namespace(values).where(self._proposing(own), values, values * 0.0))

    def meet(
        self, stage: Array, own: ContractState, base: Any, acts: Mapping[str, Acts], u: Array
    ) -> tuple[ContractState, dict[str, Array], Array | None]:
        """Auction the right to propose; record the proposal, or the answers; pay the side payment on acceptance."""
        price = None
        if self.mechanism.proposer == "auctioned":
            own, price = self._auction(self._is(stage, "tender"), own, acts)
        if self.proposes:
            own = self._propose(self._is(stage, "propose"), own, acts)
        own, pay = self._answered(self._is(stage, "consent"), own, acts)
        if price is not None:
            pay = price if pay is None else pay + price
        return own, {} if pay is None else parted(pay, self.base, self.bound), None

    def _auction(self, bidding: Array, own: ContractState, acts: Mapping[str, Acts]) -> tuple[ContractState, Array]:
        """Return who may propose, and what everyone pays or gets (*batch, players)."""
        bids = to_float(joined({role: acts[role][self.named("tender")] for role in self.bound}, self.bound))
        xp, n = namespace(bids), len(self.parties)
        first, best, price = own.status * 0, bids[..., 0], bids[..., 0] * 0.0
        for i in range(1, n):
            higher = bids[..., i] > best
            price = xp.maximum(price, xp.minimum(bids[..., i], best)) if i > 1 else xp.minimum(bids[..., i], best)
            first, best = xp.where(higher, i, first), xp.where(higher, bids[..., i], best)
        price = xp.where(bidding, price, price * 0.0)
        more = own.more | {
            "proposer": xp.where(bidding, first, own.more["proposer"]),
            "price": xp.where(bidding, price, own.more["price"]),
            "prices": own.more["prices"] + price,
        }
        own = own._replace(more=more)
        return own, price[..., None] * (1.0 / (n - 1) - n / (n - 1) * to_float(self._proposing(own)))

    def _propose(self, proposing: Array, own: ContractState, acts: Mapping[str, Acts]) -> ContractState:
        """Record the proposal."""
        xp, side = namespace(own.status), own.side
        filled = {f.name: self._filled(self.named(f.name), own, acts) for f in self.blanks}
        offered = self._stated(filled, side)
        old = own.more["offer"] if self.mechanism.renegotiation else own.numbers
        numbers = {name: xp.where(proposing, offered[name], old[name]) for name in old}
        if self.mechanism.side_payment:
            side = xp.where(proposing, self._filled(self.named("side"), own, acts), side)
        if self.mechanism.renegotiation:
            return own._replace(side=side, more=own.more | {"offer": numbers})
        return own._replace(numbers=numbers, side=side)

    def _answered(
        self, answering: Array, own: ContractState, acts: Mapping[str, Acts]
    ) -> tuple[ContractState, Array | None]:
        """Return the answer, and what the proposer pays each (*batch, players) where there are such payments."""
        xp, contract, n = namespace(own.status), self.mechanism, len(self.parties)
        answers = [acts[name][self.named("consent")][..., i] for name, seats in self._answering.items() for i in seats]
        agree = [[answer == k for answer in answers] for k in range(1, len(self.items) + 1)]
        proposer = None
        if self.proposes and self.fixed is None:
            proposer = self._proposing(own)
            agree = [[yes | proposer[..., i] for i, yes in enumerate(item)] for item in agree]
        accepted = [answering & functools.reduce(operator.and_, item) for item in agree]
        signed = functools.reduce(operator.or_, accepted)
        kept = own.status == IN_FORCE if contract.renegotiation else None
        refused = answering & ~signed if kept is None else answering & ~signed & ~kept
        status = xp.where(signed, IN_FORCE, xp.where(refused, REFUSED, own.status))
        more = dict(own.more)
        if contract.menu:
            for k, item in enumerate(accepted, 1):
                more["item"] = xp.where(item, k, more["item"])
        numbers = own.numbers
        if contract.renegotiation and self.proposes:
            numbers = {name: xp.where(signed, more["offer"][name], numbers[name]) for name in numbers}
        if contract.changes:
            more["signed"] = more["signed"] + to_float(signed)
        if contract.duration is not None:
            more["left"] = xp.where(signed, contract.duration, more["left"])
        if contract.proposer == "rotating":
            more["proposer"] = xp.where(answering, (more["proposer"] + 1) % n, more["proposer"])
        pay = None
        if contract.side_payment and contract.regime != "text":
            amount = xp.where(signed, own.side, own.side * 0.0)
            if proposer is None:
                pay = xp.stack([amount * (-(n - 1.0) if i == self.fixed else 1.0) for i in range(n)], axis=-1)
            else:
                pay = amount[..., None] * (1.0 - n * to_float(proposer))
        return own._replace(numbers=numbers, status=status, more=more), pay

    def show(self, own: ContractState, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show everyone the state of the contract."""
        contract, more = self.mechanism, own.more
        shown: dict[str, Seen] = {}
        for role in self.roles:
            extra = {
                "agreement": spread(own.status, role.count),
                "enforcement": full(own.side, (*own.side.shape, role.count), contract.collected),
            }
            for figure in self.figures:
                extra[f"agreed_{figure.name}"] = self._told(figure, own.numbers, role)
                if contract.renegotiation:
                    extra[f"offered_{figure.name}"] = self._told(figure, more["offer"], role)
            if contract.menu:
                extra["agreed_item"] = spread(more["item"], role.count)
            if contract.side_payment:
                extra["side_offer"] = spread(own.side, role.count)
            if self.fixed is None:
                extra["proposer"] = spread(more["proposer"], role.count)
            if contract.proposer == "auctioned":
                extra["proposal_price"] = spread(more["price"], role.count)
            if contract.duration is not None:
                extra["rounds_left"] = spread(more["left"], role.count)
            shown[role.name] = {**seen[role.name], **{self.named(name): values for name, values in extra.items()}}
        return shown

    @staticmethod
    def _told(figure: Field, numbers: Mapping[str, Array], role: Role) -> Array:
        number = numbers[figure.name]
        return spread(to_int(number) if figure.discrete else number, role.count)

    def account(self, own: ContractState) -> dict[str, Array]:
        """Return whether a contract was made, how long one was in force, and what the right to propose cost."""
        if not self.mechanism.changes:
            found = {"agreed": to_float(own.status == IN_FORCE)}
        else:
            signed = own.more["signed"]
            found = {"agreed": to_float(signed > 0.0), "signed": signed, "in_force": own.more["held"] / self.rounds}
        if self.mechanism.proposer == "auctioned":
            found["proposal_prices"] = own.more["prices"]
        return {self.named(name): values for name, values in found.items()}
