"""Terms: what a contract says, as debts between those it binds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ..envs.core import validate
from ..envs.core.arrays import Array, device_of, full, namespace, to_float
from ..envs.core.fields import Choice, Field, Integer, Real
from ..envs.core.mechanism import Unfit


class Deal(NamedTuple):
    """Between whom terms are agreed, and on which facts.

    ``players`` are the n players who are bound, in the order of debts; ``fields`` the verifiable fields that the terms use,
    and ``known`` which of the players see each of them.
    """

    players: tuple[str, ...]
    fields: Mapping[str, Field]
    known: Mapping[str, tuple[bool, ...]]

    def field_of_all(self, name: str) -> Field:
        """Return a field that all who are bound see; Unfit if one does not."""
        if blind := [p for p, sees in zip(self.players, self.known[name], strict=True) if not sees]:
            raise Unfit(f"terms: {name!r} must be seen by all who are bound; not by {', '.join(blind)}")
        return self.fields[name]

    def place(self, player: str, parameter: str) -> int:
        """Return a player's place among those who are bound; Unfit if there is no such player."""
        if player not in self.players:
            raise Unfit(f"{parameter}: one of those who are bound, {', '.join(self.players)}, got {player!r}")
        return self.players.index(player)


class Terms(ABC):
    """What those who are bound owe each other after a round, given verifiable facts.

    Terms state debts, player to player, so that what they transfer sums to zero whatever they say.
    """

    @property
    @abstractmethod
    def uses(self) -> tuple[str, ...]:
        """Names of the verifiable fields on which the terms condition; some player who is bound must see each."""

    @property
    @abstractmethod
    def figures(self) -> tuple[Field, ...]:
        """The numbers in the terms, shown to all."""

    @property
    @abstractmethod
    def fixed(self) -> Mapping[str, float]:
        """Values of the figures that are fixed."""

    @property
    def blanks(self) -> tuple[Field, ...]:
        """The figures that the proposer fills in."""
        return tuple(figure for figure in self.figures if figure.name not in self.fixed)

    @property
    @abstractmethod
    def text(self) -> str:
        """The terms in words."""

    @property
    def penal(self) -> bool:
        """Whether owing something means that one did wrong: a breach, and no pay."""
        return True

    def stated(self, filled: Mapping[str, Array], like: Array) -> dict[str, Array]:
        """Return the value of every figure, float (*batch): filled in, fixed, or 0; ``like`` is (*batch)."""
        return {
            figure.name: to_float(filled[figure.name])
            if figure.name in filled
            else full(like, tuple(like.shape), self.fixed.get(figure.name, 0.0))
            for figure in self.figures
        }

    @abstractmethod
    def suit(self, deal: Deal) -> None:
        """Raise Unfit if players or verifiable fields are not such as the terms need."""

    @abstractmethod
    def owed(self, numbers: Mapping[str, Array], facts: Mapping[str, Array], deal: Deal) -> Array:
        """Return debts (*batch, n, n), not negative: entry i, j is what i owes j.

        ``numbers`` (*batch) come from ``stated``, ``facts`` {field: (*batch, n)} are the verifiable fields as the
        players who are bound see them (0 for who does not), and ``deal`` says how to read them.
        """


@dataclass(frozen=True)
class Quota(Terms):
    """A limit on a quantity; who exceeds it pays a fine on the excess, shared equally among the others.

    Parameters
    ----------
    limit
        Most that is allowed a round, in the field's unit; None lets the proposer choose.
    fine
        What each unit above the limit costs, in units of reward.
    field
        The verifiable quantity.
    most
        Highest limit that can be proposed.
    """

    limit: int | None = 10
    fine: float = 2.0
    field: str = "caught"
    most: int = 100

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.whole("most", self.most, 0, 1_000_000)
        if self.limit is not None:
            validate.whole("limit", self.limit, 0, self.most)
        validate.real("fine", self.fine, 0.0)

    @property
    def uses(self) -> tuple[str, ...]:
        """The limited quantity."""
        return (self.field,)

    @property
    def figures(self) -> tuple[Field, ...]:
        """The limit and the fine."""
        limit = Field("limit", Integer(0, self.most), f"the most {self.field} that the contract allows each a round")
        return (limit, Field("fine", Real(0.0, self.fine), "what each unit above the limit costs under the contract"))

    @property
    def fixed(self) -> Mapping[str, float]:
        """The fine, and the limit unless the proposer chooses it."""
        return {"fine": self.fine} | ({} if self.limit is None else {"limit": self.limit})

    @property
    def text(self) -> str:
        """The terms in words."""
        limit = "a limit that is proposed" if self.limit is None else f"{self.limit}"
        return (
            f"each keeps {self.field} to at most {limit} a round; who exceeds it owes {self.fine:g} for each unit above, "
            "in equal parts to the others who are bound"
        )

    def suit(self, deal: Deal) -> None:
        """Ask for a single number."""
        field = deal.field_of_all(self.field)
        if isinstance(field.space, Choice) or field.each:
            raise Unfit(f"Quota: a limit needs a field that is a single number, {field.name!r} is {field.space}")

    def owed(self, numbers: Mapping[str, Array], facts: Mapping[str, Array], deal: Deal) -> Array:
        """Return fine x excess / (n - 1) to each of the others."""
        return _fined(to_float(facts[self.field]) - numbers["limit"][..., None], self.fine)


@dataclass(frozen=True)
class Duty(Terms):
    """A least quantity; who falls short of it pays a fine on the shortfall, shared equally among the others.

    Parameters
    ----------
    least
        Least that is owed a round, in the field's unit.
    fine
        What each unit below it costs, in units of reward.
    field
        The verifiable quantity.
    """

    least: float = 1.0
    fine: float = 2.0
    field: str = "given"

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.real("least", self.least, -1e6, 1e6)
        validate.real("fine", self.fine, 0.0)

    @property
    def uses(self) -> tuple[str, ...]:
        """The quantity that is owed."""
        return (self.field,)

    @property
    def figures(self) -> tuple[Field, ...]:
        """The duty and the fine."""
        low, high = min(self.least, 0.0), max(self.least, 0.0)
        duty = Field("least", Real(low, high), f"the least {self.field} that the contract asks of each a round")
        return (duty, Field("fine", Real(0.0, self.fine), "what each unit below it costs under the contract"))

    @property
    def fixed(self) -> Mapping[str, float]:
        """Both."""
        return {"least": self.least, "fine": self.fine}

    @property
    def text(self) -> str:
        """The terms in words."""
        return (
            f"each comes to at least {self.least:g} of {self.field} a round; who falls short owes {self.fine:g} for each "
            "unit below, in equal parts to the others who are bound"
        )

    def suit(self, deal: Deal) -> None:
        """Ask for a single number."""
        field = deal.field_of_all(self.field)
        if isinstance(field.space, Choice) or field.each:
            raise Unfit(f"Duty: a least value needs a field that is a single number, {field.name!r} is {field.space}")

    def owed(self, numbers: Mapping[str, Array], facts: Mapping[str, Array], deal: Deal) -> Array:
        """Return fine x shortfall / (n - 1) to each of the others."""
        return _fined(numbers["least"][..., None] - to_float(facts[self.field]), self.fine)


def _fined(by: Array, fine: float) -> Array:
    """Return what each owes each of the others (*batch, n, n) for doing wrong ``by`` (*batch, n)."""
    xp, n = namespace(by), by.shape[-1]
    others = 1.0 - xp.eye(n, dtype=xp.float64, device=device_of(by))
    return (fine / (n - 1)) * xp.clip(by, 0.0, None)[..., :, None] * others


@dataclass(frozen=True)
class Compensation(Terms):
    """Who did wrong pays theta to each who did right (Christoffersen, Haupt and Hadfield-Menell 2022,
    arXiv:2208.10469).

    Parameters
    ----------
    theta
        The payment; None lets the proposer choose it, from 0 (the null contract) to ``most``.
    wrong, right
        Options of the field.
    field
        The verifiable choice.
    most
        Highest payment that can be proposed.
    """

    theta: float | None = None
    wrong: str = "defect"
    right: str = "cooperate"
    field: str = "own"
    most: float = 10.0

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.real("most", self.most, 0.0)
        if self.theta is not None:
            validate.real("theta", self.theta, 0.0, self.most)

    @property
    def uses(self) -> tuple[str, ...]:
        """The choice."""
        return (self.field,)

    @property
    def figures(self) -> tuple[Field, ...]:
        """The payment."""
        means = f"what whoever plays {self.wrong} pays to whoever plays {self.right} under the contract"
        return (Field("theta", Real(0.0, self.most), means),)

    @property
    def fixed(self) -> Mapping[str, float]:
        """The payment, unless the proposer chooses it."""
        return {} if self.theta is None else {"theta": self.theta}

    @property
    def text(self) -> str:
        """The terms in words."""
        amount = "an amount that is proposed" if self.theta is None else f"{self.theta:g}"
        return f"whoever plays {self.wrong} pays {amount} to each who plays {self.right}"

    def suit(self, deal: Deal) -> None:
        """Ask for a choice that has both options."""
        field = deal.field_of_all(self.field)
        if not isinstance(field.space, Choice) or not {self.wrong, self.right} <= set(field.space.options):
            raise Unfit(
                f"Compensation: wrong {self.wrong!r} and right {self.right!r} must be among the options of field "
                f"{field.name!r}, which is {field.space}"
            )
        if field.each:
            raise Unfit(f"Compensation: field {field.name!r} must be each player's own choice, not a list of them")

    def owed(self, numbers: Mapping[str, Array], facts: Mapping[str, Array], deal: Deal) -> Array:
        """Return theta from each wrongdoer to each who did right."""
        space = deal.fields[self.field].space
        assert isinstance(space, Choice)
        did = facts[self.field]
        wrong = to_float(did == space.options.index(self.wrong))
        right = to_float(did == space.options.index(self.right))
        return numbers["theta"][..., None, None] * wrong[..., :, None] * right[..., None, :]
