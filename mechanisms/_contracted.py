"""What follows from a contract: debts after each round, a court that collects them or a promise, and its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..envs.core.arrays import Array, absent, full, namespace, to_float, to_int, total
from ..envs.core.fields import Choice, Field, Real, Role
from ..envs.core.game import Acts, Game, Outcome, Seen, Stage, shared
from ..envs.core.mechanism import Unfit, joined, parted
from ._party import ENDED, IN_FORCE, ContractState
from ._proposal import Proposed

if TYPE_CHECKING:
    from .contract import Contract


class Contracted(Proposed):
    """A game under a contract."""

    def __init__(self, base: Game, mechanism: Contract) -> None:
        super().__init__(base, mechanism)
        self.own_reports += (
            self._measure(
                "breaches",
                "breaches a player and round while the contract is in force",
                "#{(i, t): i owes something after round t, and no pay} / (n T)",
                better="lower",
            ),
            self._measure("transfers", "reward moved between players by the contract", "sum_it |transfer_it| / 2"),
        )
        self.judges = mechanism.regime == "enforced"
        self.penal = any(item.terms.penal for item in self.items)
        if mechanism.remedy != "performance" and not all(item.terms.penal for item in self.items):
            raise Unfit(
                f"remedy: {mechanism.remedy!r} is for breaches, and these terms forbid nothing, what is owed is pay; take "
                "'performance'"
            )
        self.delays = self.judges and mechanism.court.delay > 0 and mechanism.remedy != "termination"
        self.charges = self.judges and mechanism.court.cost > 0
        if self.charges:
            means = "what debtors paid for their cases, lost to all"
            self.own_reports += (self._measure("court_costs", means, "cost x #cases", "reward", better="lower"),)

    @property
    def terms(self) -> str:
        """The contract in words."""
        return f"{self._said()} {self._force()}"

    def _force(self) -> str:
        contract = self.mechanism
        court = contract.court
        if contract.regime != "enforced":
            return "Nobody enforces it: it is a promise."
        remedy = {
            "performance": "what is owed is paid",
            "damages": f"{contract.damages:g} times what is owed is paid",
            "termination": "the contract ends; nothing is paid",
        }[contract.remedy]
        if not self.penal:
            said = f"A court enforces it: {remedy}" + (
                f", with probability {court.accuracy:g}." if court.accuracy < 1 else "."
            )
            return said + court.text
        if court.accuracy == 1.0:
            found = f"after a breach {remedy}" if contract.remedy == "termination" else remedy
            said = f"A court enforces it: {found}."
        else:
            said = f"A court enforces it: a breach is found out with probability {court.accuracy:g}, and then {remedy}."
        if contract.remedy == "termination":
            return said + replace(court, delay=0).text
        return said + court.text

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show also what a court has awarded and is not yet paid."""
        shown = super().sees(role)
        if not self.delays or role.name not in self.bound:
            return shown
        means = "what you are still to be paid of what the court has awarded; below zero, what you are still to pay"
        return (*shown, Field(self.named("outstanding"), Real(), means, verifiable=True))

    def begin(self, base: Any, u: Array) -> ContractState:
        """Start with no awards."""
        own = super().begin(base, u)
        if self.delays:
            shape = (*u.shape[:-1], self.mechanism.court.delay, len(self.parties))
            own.more["queue"] = full(u, shape, 0.0)
        if self.charges:
            own.more["costs"] = own.side
        return own

    def _debts(self, own: ContractState, base: Any) -> Array:
        """Return what the contract says that each owes each, (*batch, players, players)."""
        facts = self._facts(self.base.view(base), own.side)
        if not self.mechanism.menu:
            return self.items[0].terms.owed(own.numbers, facts, self.deal)
        xp, debts = namespace(own.side), None
        for k, item in enumerate(self.items, 1):
            owed = item.terms.owed(item.numbers(own.numbers), facts, self.deal)
            debts = owed * 0.0 if debts is None else debts
            debts = xp.where((own.more["item"] == k)[..., None, None], owed, debts)
        return debts

    def settle(self, own: ContractState, outcome: Outcome, ended: Array, u: Array) -> tuple[ContractState, Outcome]:
        """Establish the facts of the round; where the contract is enforced, move what is owed; end what has ended."""
        if absent(ended):
            return own, outcome
        holds = (own.status == IN_FORCE) & ended
        debts = self._debts(own, outcome.state) * to_float(holds)[..., None, None]
        owes = total(debts) > 0
        if self.penal:
            breaches = total(to_float(owes)) / len(self.parties)
            own = own._replace(breaches=own.breaches + breaches * self._wrong(own))
        own, outcome, broken = self._followed(own, outcome, debts, owes, ended, u)
        return self._aged(own, holds, ended, broken, u), outcome

    def _wrong(self, own: ContractState) -> Array | float:
        """Say where who owes something did wrong, 1 or 0, (*batch): in a menu that depends on the item."""
        if all(item.terms.penal for item in self.items):
            return 1.0
        return sum(to_float(own.more["item"] == k) for k, item in enumerate(self.items, 1) if item.terms.penal)

    def _followed(
        self, own: ContractState, outcome: Outcome, debts: Array, owes: Array, ended: Array, u: Array
    ) -> tuple[ContractState, Outcome, Array | None]:
        """Do what the regime does about debts: state and outcome, and where (*batch) it ends the contract."""
        if not self.judges:
            return own, outcome, None
        xp = namespace(own.status)
        if self.mechanism.errs:
            found = u[..., : len(self.parties)] < self.mechanism.court.accuracy
            debts, owes = debts * to_float(found)[..., :, None], owes & found
        own, outcome = self._judged(own, outcome, debts, owes, ended)
        return own, outcome, xp.any(owes, axis=-1) if self.mechanism.remedy == "termination" else None

    def _judged(
        self, own: ContractState, outcome: Outcome, debts: Array, owes: Array, ended: Array
    ) -> tuple[ContractState, Outcome]:
        """Collect what is owed by those who are found out, and the costs of their cases."""
        xp, contract, pay = namespace(own.status), self.mechanism, None
        if contract.remedy != "termination":
            if contract.remedy == "damages":
                debts = debts * contract.damages
            pay = total(debts, axis=-2) - total(debts)
            if self.delays:
                own, pay = self._delayed(own, pay, ended, outcome.done)
            own = own._replace(moved=own.moved + total(xp.abs(pay)) / 2)
        welfare = outcome.welfare
        if self.charges:
            costs = contract.court.cost * to_float(owes)
            pay = -costs if pay is None else pay - costs
            welfare = welfare - total(costs)
            own = own._replace(more=own.more | {"costs": own.more["costs"] + total(costs)})
        if pay is None:
            return own, outcome
        moved = parted(pay, self.base, self.bound)
        rewards = {name: paid + moved[name] if name in moved else paid for name, paid in outcome.rewards.items()}
        return own, outcome._replace(rewards=rewards, welfare=welfare)

    def _delayed(self, own: ContractState, pay: Array, ended: Array, done: Array) -> tuple[ContractState, Array]:
        """Put awards at the end of the queue, and return those that are due, (*batch, players)."""
        xp, queue = namespace(pay), own.more["queue"]
        longer = xp.concat([queue, pay[..., None, :]], axis=-2)
        due = xp.where(ended[..., None], queue[..., 0, :], pay * 0.0)
        queue = xp.where(ended[..., None, None], longer[..., 1:, :], queue)
        if not self.mechanism.court.lapses:
            due = due + xp.where(done[..., None], xp.sum(queue, axis=-2), pay * 0.0)
            queue = xp.where(done[..., None, None], queue * 0.0, queue)
        return own._replace(more=own.more | {"queue": queue}), due

    def _aged(self, own: ContractState, holds: Array, ended: Array, broken: Array | None, u: Array) -> ContractState:
        """Count the rounds of the contract, and end it where it has lasted its time or is broken; draw the next proposer."""
        if not self.mechanism.changes:
            return own
        xp, more, over = namespace(own.status), dict(own.more), broken
        more["held"] = more["held"] + to_float(holds)
        if self.mechanism.duration is not None:
            more["left"] = more["left"] - to_int(holds)
            spent = holds & (more["left"] == 0)
            over = spent if over is None else over | spent
        if self.mechanism.proposer == "random" and self.mechanism.recurs:
            more["proposer"] = xp.where(ended, self._lot(u), more["proposer"])
        own = own._replace(more=more)
        return own if over is None else self._ended(own, over)

    def _ended(self, own: ContractState, over: Array) -> ContractState:
        """End the contract in some worlds."""
        xp, more = namespace(over), own.more
        if self.mechanism.duration is not None:
            more = more | {"left": xp.where(over, 0, more["left"])}
        return own._replace(status=xp.where(over, ENDED, own.status), more=more)

    def opens(self, own: ContractState, base: Any) -> Array | None:
        """Say where a contract is proposed, or the owner decides: where none is in force."""
        if self.mechanism.renegotiation or not self.opening:
            return None
        found: Array = own.status != IN_FORCE
        return found

    def show(self, own: ContractState, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show those who are bound what is outstanding too."""
        shown = super().show(own, base, seen)
        if self.delays:
            xp = namespace(own.side)
            for name, values in parted(xp.sum(own.more["queue"], axis=-2), self.base, self.bound).items():
                shown[name] = {**shown[name], self.named("outstanding"): values}
        return shown

    def account(self, own: ContractState) -> dict[str, Array]:
        """Return agreement, breaches, transfers and costs."""
        found = {"breaches": own.breaches / self.rounds, "transfers": own.moved}
        if self.charges:
            found["court_costs"] = own.more["costs"]
        return super().account(own) | {self.named(name): values for name, values in found.items()}


class SelfEnforced(Contracted):
    """A game under a contract that no court enforces: after a round those who owe something honour it, or renege."""

    def __init__(self, base: Game, mechanism: Contract) -> None:
        super().__init__(base, mechanism)
        means = "those who owe something for the round just played honour the contract or renege"
        self.closing = (Stage(self.named("honour"), means),)
        self.own_reports += (
            self._measure(
                "reneged", "share of debts that were not honoured", "#reneged / #{(i, t): i owes in t}", better="lower"
            ),
        )

    def _force(self) -> str:
        said = (
            "No court enforces it. After each round in which somebody owes something under it, each who does honours it, and "
            "pays all that it owes, or reneges and pays nothing. All see who reneged."
        )
        return f"{said} After anyone has reneged the contract ends." if self.mechanism.trigger else said

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show what each owes, and whether it reneged."""
        owed = Field(
            self.named("owed"),
            Real(0.0),
            f"what each owes under the contract for the last round; at stage {self.closing[0].name} it is paid or not",
            each=self.parties,
        )
        whether = Field(
            self.named("reneged"), Choice(("no", "yes")), "who reneged after the last round", each=self.parties
        )
        return (*super().sees(role), owed, whether)

    def acts(self, role: Role) -> tuple[Field, ...]:
        """Ask who owes something whether it pays."""
        asked = super().acts(role)
        if role.name not in self.bound:
            return asked
        options = Choice(("renege", "honour"))
        means = "whether you pay all that you owe for this round; it counts if you owe something"
        return (*asked, Field(self.named("honour"), options, means, stage=self.named("honour")))

    def begin(self, base: Any, u: Array) -> ContractState:
        """Start with no debts."""
        own, n = super().begin(base, u), len(self.parties)
        batch = tuple(u.shape[:-1])
        own.more["owed"] = full(u, (*batch, n, n), 0.0)
        own.more["reneged"] = full(u, (*batch, n), 0, integer=True)
        own.more.update(promises=own.side, reneges=own.side)
        return own

    def _followed(
        self, own: ContractState, outcome: Outcome, debts: Array, owes: Array, ended: Array, u: Array
    ) -> tuple[ContractState, Outcome, Array | None]:
        """Write down who owes what."""
        xp = namespace(own.status)
        more = own.more | {
            "owed": xp.where(ended[..., None, None], debts, own.more["owed"]),
            "reneged": xp.where(ended[..., None], 0, own.more["reneged"]),
        }
        return own._replace(more=more), outcome, None

    def closes(self, own: ContractState, base: Any) -> Array | None:
        """Say where somebody owes something."""
        found: Array = namespace(own.side).any(own.more["owed"] > 0.0, axis=(-2, -1))
        return found

    def meet(
        self, stage: Array, own: ContractState, base: Any, acts: Mapping[str, Acts], u: Array
    ) -> tuple[ContractState, dict[str, Array], Array | None]:
        """Pay what is honoured, and end the contract where someone reneged."""
        own, rewards, welfare = super().meet(stage, own, base, acts, u)
        xp, owed = namespace(stage), own.more["owed"]
        now = self._is(stage, "honour")[..., None]
        answers = {name: acts[name][self.named("honour")] for name in self.bound}
        honours, owes = joined(answers, self.bound) == 1, xp.sum(owed, axis=-1) > 0.0
        paid = owed * to_float(now & honours)[..., :, None]
        pay = xp.sum(paid, axis=-2) - xp.sum(paid, axis=-1)
        reneged = now & owes & ~honours
        more = own.more | {
            "reneged": xp.where(now, to_int(reneged), own.more["reneged"]),
            "promises": own.more["promises"] + total(to_float(now & owes)),
            "reneges": own.more["reneges"] + total(to_float(reneged)),
        }
        own = own._replace(moved=own.moved + xp.sum(xp.abs(pay), axis=-1) / 2, more=more)
        if self.mechanism.trigger:
            own = self._ended(own, xp.any(reneged, axis=-1))
        moved = parted(pay, self.base, self.bound)
        rewards = {name: paid + rewards[name] if name in rewards else paid for name, paid in moved.items()}
        return own, rewards, welfare

    def show(self, own: ContractState, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show everyone what each owes, and who reneged."""
        shown = super().show(own, base, seen)
        owed = namespace(own.side).sum(own.more["owed"], axis=-1)
        for role in self.roles:
            extra = {"owed": shared(owed, role.count), "reneged": shared(own.more["reneged"], role.count)}
            shown[role.name] = {**shown[role.name], **{self.named(name): values for name, values in extra.items()}}
        return shown

    def account(self, own: ContractState) -> dict[str, Array]:
        """Return also how often it was not honoured."""
        promises = own.more["promises"]
        return super().account(own) | {
            self.named("reneged"): own.more["reneges"] / (promises + to_float(promises == 0.0))
        }
