"""Contract: terms that are proposed and accepted by all whom they bind, and what then becomes of them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Self

from ..envs.core import validate
from ..envs.core.fields import Choice
from ..envs.core.game import Game
from ..envs.core.mechanism import Mechanism, Unfit
from ._contracted import Contracted, SelfEnforced
from ._ownership import Owned, OwnedSelfEnforced
from ._party import ContractState
from .court import Court
from .terms import Compensation, Quota, Terms

__all__ = ["Contract", "ContractState", "Contracted", "Court"]

REGIMES = ("none", "text", "enforced", "relational")
PROPOSERS = ("rotating", "random", "auctioned")
REMEDIES = ("performance", "damages", "termination")


@dataclass(frozen=True)
class Contract(Mechanism):
    """A contract on verifiable facts (Christoffersen, Haupt and Hadfield-Menell 2022, arXiv:2208.10469).

    Before the first round the proposer fills in the terms' blanks and may offer a side payment; then all others who are
    bound accept or refuse. Only if all accept does the contract hold: for the whole episode, unless it says otherwise.

    Parameters
    ----------
    terms
        What is owed after which facts. Several terms are a menu: those who answer refuse or choose an item, and the
        contract holds if all choose the same.
    regime
        ``"none"``: the base game itself; ``"text"``: proposed and accepted, but no debt is ever paid; ``"enforced"``, by a
        court; ``"relational"``: no court, but after each round those who owe something decide whether they pay it, for
        the sake of what is to come (MacLeod and Malcomson 1989; Levin 2003,
        doi:10.1257/000282803322157115).
    proposer
        Position of the proposer among those who are bound; with fixed terms and no side payment nobody proposes and all
        of them answer. ``"rotating"``: the next of them with each proposal. ``"random"``: drawn for each proposal (Baron
        and Ferejohn 1989). ``"auctioned"``: all bid, the highest bidder (the first of those who tie) proposes and pays the
        second-highest bid, which the others share equally, in any regime (Crawford 1979). If the proposer is not fixed
        all fill in a proposal, only the proposer's counts, and the proposer agrees to it.
    bound
        Roles that are bound; empty for all.
    court
        Who enforces.
    side_payment
        Most that the proposer can pay each of the others on acceptance, or ask of each, in units of reward; a mere text
        moves nothing.
    duration
        Rounds that a contract lasts; before each round in which none is in force a new one is proposed. None: one contract
        is proposed, once, for the whole episode.
    renegotiation
        Whether a contract is proposed before each round, though one is in force, which stays unless all accept the new
        one (Hart and Moore 1988). A side payment is made for each that is accepted.
    remedy
        What the court orders. ``"performance"``: what is owed is paid; ``"damages"``: ``damages`` times that; at
        1/accuracy a debtor expects to pay just what is owed (Becker 1968, doi:10.1086/259394; Polinsky and Shavell 1998).
        ``"termination"``: nothing is paid, and a breach that is found ends the contract.
    damages
        The multiple: 1 compensates for the breach, more is punitive.
    highest_bid
        Highest bid for the right to propose, in units of reward.
    trigger
        Whether a relational contract ends after anyone has reneged: for good, unless it has a ``duration``.
    owner
        Player with the residual rights of control (Grossman and Hart 1986, doi:10.1086/261404; Hart and Moore 1990,
        doi:10.1086/261729): before each round in which no contract is in force it sets the most that all others may do
        in the field ``asset``, or if that is a choice leaves it free or holds them to one option. Like property it binds
        whether they consent or not. Empty: nobody.
    asset
        A field that players decide, bound or not.
    label
        Put before the names of its stages, fields and measures ("rent" gives ``rent_consent``), so that a game can be
        under several contracts.
    """

    terms: Terms | tuple[Terms, ...] = dataclasses.field(default_factory=Quota)
    regime: str = "enforced"
    proposer: int | str = 0
    bound: tuple[str, ...] = ()
    court: Court = dataclasses.field(default_factory=Court)
    side_payment: float = 0.0
    duration: int | None = None
    renegotiation: bool = False
    remedy: str = "performance"
    damages: float = 1.0
    highest_bid: float = 10.0
    trigger: bool = False
    owner: str = ""
    asset: str = ""
    label: str = ""

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        if isinstance(self.terms, list):
            object.__setattr__(self, "terms", tuple(self.terms))
        if not 1 <= len(self.items) <= 16 or not all(isinstance(item, Terms) for item in self.items):
            raise ValueError(f"terms: terms such as Quota(), or 1 to 16 of them, got {self.terms!r}")
        object.__setattr__(self, "bound", validate.names("bound", self.bound))
        validate.one_of("regime", self.regime, REGIMES)
        validate.one_of("remedy", self.remedy, REMEDIES)
        validate.real("side_payment", self.side_payment, 0.0)
        validate.real("damages", self.damages, 0.0)
        validate.real("highest_bid", self.highest_bid, 0.0)
        if self.duration is not None:
            validate.whole("duration", self.duration, 1, 1_000_000)
        for name in ("renegotiation", "trigger"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name}: true or false, got {getattr(self, name)!r}")
        if self.label and not self.label.isidentifier():
            raise ValueError(f"label: letters, digits and _, not first a digit, got {self.label!r}")
        if not isinstance(self.court, Court):
            raise ValueError(f"court: a Court, for example Court(0.5), got {self.court!r}")
        if bool(self.owner) != bool(self.asset):
            raise ValueError(f"owner, asset: both or neither, got {self.owner!r} and {self.asset!r}")
        self._check_proposer()

    def _check_proposer(self) -> None:
        """Refuse a proposer, or renegotiation, where there is nothing to propose."""
        blank = self.side_payment > 0 or any(item.blanks for item in self.items)
        if not isinstance(self.proposer, str):
            validate.whole("proposer", self.proposer, 0, 1_000_000)
        elif self.proposer not in PROPOSERS:
            raise ValueError(
                f"proposer: a position from 0 or one of {', '.join(map(repr, PROPOSERS))}, got {self.proposer!r}"
            )
        elif not blank:
            raise ValueError(
                f"proposer: {self.proposer!r} takes something to propose; leave a figure of the terms open (None), or allow a "
                "side_payment"
            )
        if self.renegotiation and not (blank or self.menu or self.duration):
            raise ValueError(
                "renegotiation: fixed terms for the whole episode cannot be renegotiated; leave a figure open (None), allow a "
                "side_payment, offer a menu or set a duration"
            )

    # ---- what follows from the parameters -----------------------------------------------------------------------

    @property
    def menu(self) -> bool:
        """Whether there are items to choose from."""
        return isinstance(self.terms, tuple)

    @property
    def items(self) -> tuple[Terms, ...]:
        """The terms on offer."""
        return self.terms if isinstance(self.terms, tuple) else (self.terms,)

    @property
    def recurs(self) -> bool:
        """Whether contracts are proposed before rounds, not once."""
        return self.duration is not None or self.renegotiation

    @property
    def ends(self) -> bool:
        """Whether a contract may end before the episode does."""
        return (
            self.duration is not None
            or (self.regime == "enforced" and self.remedy == "termination")
            or (self.regime == "relational" and self.trigger)
        )

    @property
    def changes(self) -> bool:
        """Whether several contracts may follow each other, or one may end."""
        return self.recurs or self.ends

    @property
    def errs(self) -> bool:
        """Whether chance decides who is found out."""
        return self.court.accuracy < 1.0 and self.regime != "relational"

    @property
    def collected(self) -> float:
        """Probability that what is owed is collected."""
        return self.court.accuracy if self.regime == "enforced" and self.remedy != "termination" else 0.0

    @property
    def name(self) -> str:
        """Name, with the label."""
        return f"Contract({self.label})" if self.label else "Contract"

    @classmethod
    def suited(cls, game: Game) -> Self:
        """Return a contract on the first verifiable fact that all see: a quota, or a fine on the second of some options."""
        for field in game.roles[0].sees:
            if not field.verifiable or field.shape:
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
        if self.regime == "none":
            return game
        if self.regime == "relational":
            return (OwnedSelfEnforced if self.owner else SelfEnforced)(game, self)
        return (Owned if self.owner else Contracted)(game, self)
