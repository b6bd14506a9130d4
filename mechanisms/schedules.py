"""Schedules: terms by which one player pays another by verifiable facts, and by which all share what each has."""

from __future__ import annotations

import functools
import operator
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from ..envs.core import validate
from ..envs.core.arrays import Array, constant, device_of, namespace, to_float
from ..envs.core.fields import Choice, Field, Integer, Real
from ..envs.core.mechanism import Unfit
from .terms import Deal, Terms

LARGEST = 1e6  # amounts, either way
MOST_CELLS = 64  # of a table


class Cell(NamedTuple):
    """One amount of a table: for which values of the fields, and how much; None where the proposer fills it in."""

    values: tuple[str | int, ...]
    amount: float | None


class Payment(Terms):
    """Terms by which one player owes another an amount; below zero it is owed the other way round.

    Subclasses are frozen dataclasses with the players ``payer`` and ``payee``: names of players, or of roles of one
    player.
    """

    payer: str
    payee: str

    @property
    def penal(self) -> bool:
        """What is owed is pay and no fine."""
        return False

    @property
    @abstractmethod
    def sources(self) -> tuple[tuple[str, str], ...]:
        """The facts: the field, and the player whose view of it counts."""

    @abstractmethod
    def due(self, numbers: Mapping[str, Array], facts: tuple[Array, ...], deal: Deal) -> Array:
        """Return what payer owes payee, float (*batch), either sign; ``facts`` (*batch) are those of ``sources``."""

    @abstractmethod
    def fits(self, field: Field) -> None:
        """Raise Unfit if a field, which is one value, is not such as the terms need."""

    def check(self, *names: str) -> None:
        """Refuse what is no name among some parameters, and a payer who is the payee."""
        for name in ("payer", "payee", *names):
            _name(name, getattr(self, name), empty=name == "of")
        if self.payer == self.payee:
            raise ValueError(f"payee: another player than the payer, got {self.payee!r} twice")

    @property
    def uses(self) -> tuple[str, ...]:
        """The fields of the facts."""
        return tuple(dict.fromkeys(field for field, _ in self.sources))

    def suit(self, deal: Deal) -> None:
        """Ask for both players, and for facts that are there to see."""
        if place(deal, self.payer, "payer") == place(deal, self.payee, "payee"):
            raise Unfit(f"payee: another player than the payer {self.payer!r}, got {self.payee!r}")
        for name, of in self.sources:
            field, viewer = deal.fields[name], place(deal, of, "of")
            if not deal.known[name][viewer]:
                seers = ", ".join(p for p, sees in zip(deal.players, deal.known[name], strict=True) if sees)
                raise Unfit(
                    f"of: {deal.players[viewer]} does not see {name!r}; say in `of` whose view of it counts, of: {seers}"
                )
            if field.each:
                raise Unfit(f"field: one value is needed, {name!r} holds {len(field.each)}: {', '.join(field.each)}")
            self.fits(field)

    def owed(self, numbers: Mapping[str, Array], facts: Mapping[str, Array], deal: Deal) -> Array:
        """Return the debt of payer to payee, or of payee to payer."""
        seen = tuple(facts[name][..., place(deal, of, "of")] for name, of in self.sources)
        due = self.due(numbers, seen, deal)[..., None, None]
        i, j, n = place(deal, self.payer, "payer"), place(deal, self.payee, "payee"), len(deal.players)
        xp = namespace(due)
        there, back = constant(due, _cell(n, i, j)), constant(due, _cell(n, j, i))
        return xp.clip(due, 0.0, None) * there + xp.clip(-due, 0.0, None) * back


@functools.cache
def _cell(n: int, row: int, column: int) -> tuple[tuple[float, ...], ...]:
    """Return the matrix that is 1 at one place."""
    return tuple(tuple(float((i, j) == (row, column)) for j in range(n)) for i in range(n))


def place(deal: Deal, who: str, parameter: str) -> int:
    """Return the place of a player, or of the only player of a role, among those who are bound; Unfit if there is none."""
    if who in deal.players:
        return deal.players.index(who)
    members = [player for player in deal.players if player.rpartition("_")[0] == who]
    if len(members) > 1:
        raise Unfit(f"{parameter}: role {who!r} has {len(members)} players, name one of {', '.join(members)}")
    return deal.place(members[0] if members else who, parameter)


def figure(name: str, value: float | None, low: float, high: float, means: str) -> Field:
    """Return a number of the terms: a fixed one, or one that is proposed within bounds."""
    space = Real(low, high) if value is None else Real(min(value, 0.0), max(value, 0.0))
    return Field(name, space, means)


def say(value: float | None, what: str = "an amount") -> str:
    """Return a number in words."""
    return f"{what} that is proposed" if value is None else f"{value:g}"


def _name(name: str, value: Any, *, empty: bool = False) -> None:
    if not isinstance(value, str) or not (value or empty):
        raise ValueError(f"{name}: one name, got {value!r}")


def _known(**numbers: float | None) -> dict[str, float]:
    return {name: value for name, value in numbers.items() if value is not None}


def _number(terms: Terms, field: Field) -> None:
    """Raise Unfit if a field is no number."""
    if not isinstance(field.space, Integer | Real):
        raise Unfit(f"{type(terms).__name__}: a field that is a number is needed, {field.name!r} is {field.space}")


OTHER_WAY = "an amount below 0 is paid the other way round"


@dataclass(frozen=True)
class Linear(Payment):
    """A base and a slope: payer owes payee base + slope x fact (Holmstrom and Milgrom 1987, doi:10.2307/1913238).

    Below zero the payee owes the payer.

    Parameters
    ----------
    field
        The verifiable fact, a number.
    payer, payee
        Who pays whom: names of players, or of roles of one player.
    base
        What is owed whatever the fact, in units of reward; None lets the proposer choose.
    slope
        What is owed for each unit of the fact; None lets the proposer choose.
    floor
        Least that is paid: 0 for limited liability, so that the payee never pays; None for no such limit.
    of
        Whose view of the fact counts, where players see their own; empty for the payee's.
    max_base, max_slope
        Most that can be proposed, up or down.
    """

    field: str
    payer: str
    payee: str
    base: float | None = None
    slope: float | None = None
    floor: float | None = None
    of: str = ""
    max_base: float = 10.0
    max_slope: float = 10.0

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        self.check("field", "of")
        for name in ("base", "slope", "floor"):
            if getattr(self, name) is not None:
                validate.real(name, getattr(self, name), -LARGEST, LARGEST)
        for name in ("max_base", "max_slope"):
            validate.real(name, getattr(self, name), 0.0, LARGEST)

    @property
    def sources(self) -> tuple[tuple[str, str], ...]:
        """The fact as the payee, or who else is named, sees it."""
        return ((self.field, self.of or self.payee),)

    @property
    def figures(self) -> tuple[Field, ...]:
        """Base, slope, and the floor where there is one."""
        pays, top, steep = f"{self.payer} pays {self.payee} under the contract", self.max_base, self.max_slope
        base = figure("pay_base", self.base, -top, top, f"what {pays}, before what the slope adds")
        slope = figure("pay_slope", self.slope, -steep, steep, f"what {pays} in addition for each unit of {self.field}")
        floor = figure("pay_floor", self.floor, 0.0, 0.0, f"the least that {pays}")
        return (base, slope) if self.floor is None else (base, slope, floor)

    @property
    def fixed(self) -> Mapping[str, float]:
        """What the proposer does not choose."""
        return _known(pay_base=self.base, pay_slope=self.slope, pay_floor=self.floor)

    @property
    def text(self) -> str:
        """The terms in words."""
        least = "" if self.floor is None else f", but never less than {self.floor:g}"
        back = "" if self.floor is not None and self.floor >= 0 else f" ({OTHER_WAY})"
        return (
            f"after each round {self.payer} pays {self.payee} {say(self.base)}, plus {say(self.slope)} for each unit of "
            f"{self.field}, as {self.of or self.payee} sees it{least}{back}"
        )

    def fits(self, field: Field) -> None:
        """Ask for a number."""
        _number(self, field)

    def due(self, numbers: Mapping[str, Array], facts: tuple[Array, ...], deal: Deal) -> Array:
        """Return base + slope x fact, at least the floor."""
        pay = numbers["pay_base"] + numbers["pay_slope"] * to_float(facts[0])
        return pay if self.floor is None else namespace(pay).clip(pay, self.floor, None)


@dataclass(frozen=True)
class Table(Payment):
    """A payment for each value of a fact, or of several (Grossman and Hart 1983, doi:10.2307/1912246).

    The payments for an agent's outcomes are its pay; those for the joint outcomes of two agents can make them rivals or
    a team (Che and Yoo 2001, doi:10.1257/aer.91.3.525). Below zero the payee owes the payer.

    Parameters
    ----------
    field
        The verifiable fact, a choice or a whole number; a list of fields for their joint values.
    payer, payee
        Who pays whom: names of players, or of roles of one player.
    pay
        {value: amount}, in units of reward; for joint values {value of the first: {value of the second: amount}}. Values
        are options of a choice or whole numbers, None for an amount that the proposer fills in. A list gives the amounts for
        the field's values in their order. A value that is not named pays nothing.
    of
        Whose view of the fact counts, where players see their own; empty for the payee's. A list, one for each field,
        or with a single field for its joint values as those players see them.
    least, most
        Lowest and highest amount that can be proposed.
    """

    field: str | tuple[str, ...]
    payer: str
    payee: str
    pay: Mapping[Any, Any] | Sequence[Any]
    of: str | tuple[str, ...] = ()
    least: float = 0.0
    most: float = 10.0

    def __post_init__(self) -> None:
        """Refuse parameters out of range, and keep the amounts as cells."""
        self.check()
        object.__setattr__(self, "field", validate.names("field", self.field))
        object.__setattr__(self, "of", validate.names("of", self.of) if self.of else ())
        fields, of = len(self.field), len(self.of)
        if not fields or (of > 1 and fields not in (1, of)):
            raise ValueError(f"of: one player, or one for each of {fields} fields, got {self.of!r}")
        object.__setattr__(self, "pay", _cells(self.pay, len(self.sources)))
        if not 1 <= len(self.cells) <= MOST_CELLS:
            raise ValueError(f"pay: 1 to {MOST_CELLS} amounts, got {len(self.cells)}")
        validate.real("least", self.least, -LARGEST, 0.0)
        validate.real("most", self.most, 0.0, LARGEST)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The amounts."""
        return cast(tuple[Cell, ...], self.pay)

    @property
    def sources(self) -> tuple[tuple[str, str], ...]:
        """Each field as the payee, or who else is named, sees it."""
        of = self.of or (self.payee,)
        count = max(len(self.field), len(of))
        fields, viewers = (tuple(part) * (count if len(part) == 1 else 1) for part in (self.field, of))
        return tuple(zip(fields, viewers, strict=True))

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the figures, one for each amount."""
        words = [
            ["m" * (isinstance(v, int) and v < 0) + re.sub("[^0-9A-Za-z]+", "_", str(v)) for v in c.values]
            for c in self.cells
        ]
        names = tuple("pay_" + "_".join(parts) for parts in words)
        return names if len(set(names)) == len(names) else tuple(f"pay_{k}" for k in range(len(names)))

    @property
    def figures(self) -> tuple[Field, ...]:
        """The amounts."""
        pays = f"what {self.payer} pays {self.payee} under the contract"
        return tuple(
            figure(name, cell.amount, self.least, self.most, f"{pays} {self._when(cell)}")
            for name, cell in zip(self.names, self.cells, strict=True)
        )

    def _when(self, cell: Cell) -> str:
        return "for " + " and ".join(f"{f} {v}" for (f, _), v in zip(self.sources, cell.values, strict=True))

    @property
    def fixed(self) -> Mapping[str, float]:
        """The amounts that the proposer does not choose."""
        return _known(**{name: cell.amount for name, cell in zip(self.names, self.cells, strict=True)})

    @property
    def text(self) -> str:
        """The terms in words."""
        facts = " and ".join(f"{field} as {of} sees it" for field, of in self.sources)
        amounts = ", ".join(f"{say(cell.amount)} for {' and '.join(map(str, cell.values))}" for cell in self.cells)
        below = any((self.least if cell.amount is None else cell.amount) < 0 for cell in self.cells)
        return (
            f"after each round {self.payer} pays {self.payee} by {facts}: {amounts}, and nothing otherwise"
            f"{f' ({OTHER_WAY})' if below else ''}"
        )

    def fits(self, field: Field) -> None:
        """Ask for a choice or a whole number."""
        if not isinstance(field.space, Choice | Integer):
            raise Unfit(
                f"Table: a choice or a whole number is needed, {field.name!r} is {field.space}; see Linear, Bonus"
            )

    def suit(self, deal: Deal) -> None:
        """Ask for fields that have the values, each once."""
        super().suit(deal)
        codes = self._codes(deal)
        if len(set(codes)) < len(codes):
            twice = next(c.values for c, code in zip(self.cells, codes, strict=True) if codes.count(code) > 1)
            raise Unfit(f"pay: two amounts for the same value, {', '.join(map(str, twice))}")

    def _codes(self, deal: Deal) -> list[tuple[int, ...]]:
        fields = [deal.fields[name] for name, _ in self.sources]
        return [tuple(_code(f, v) for f, v in zip(fields, cell.values, strict=True)) for cell in self.cells]

    def due(self, numbers: Mapping[str, Array], facts: tuple[Array, ...], deal: Deal) -> Array:
        """Return the amount for the values that came out."""
        amounts = []
        for name, codes in zip(self.names, self._codes(deal), strict=True):
            here = [fact == code for fact, code in zip(facts, codes, strict=True)]
            amounts.append(numbers[name] * to_float(functools.reduce(operator.and_, here)))
        return functools.reduce(operator.add, amounts)


def _cells(pay: Any, depth: int) -> tuple[Cell, ...]:
    """Return the amounts of nested mappings or lists as cells."""
    if isinstance(pay, tuple) and pay and all(isinstance(cell, Cell) for cell in pay):
        if any(len(cell.values) != depth for cell in pay):
            raise ValueError(f"pay: amounts for the values of {depth} fields, got {pay!r}")
        return pay
    if not isinstance(pay, Mapping | list | tuple):
        raise ValueError(f"pay: {{value: amount}}{' for each value of the field before' * (depth > 1)}, got {pay!r}")
    cells: list[Cell] = []
    for value, inner in pay.items() if isinstance(pay, Mapping) else ((f"value {k}", v) for k, v in enumerate(pay, 1)):
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ValueError(
                f"pay: values are names (in quotes where YAML reads them otherwise) or whole numbers, got {value!r}"
            )
        if depth > 1:
            cells += [Cell((value, *cell.values), cell.amount) for cell in _cells(inner, depth - 1)]
        else:
            amount = None if inner is None else validate.real(f"pay[{value}]", inner, -LARGEST, LARGEST)
            cells.append(Cell((value,), amount))
    return tuple(cells)


def _code(field: Field, value: str | int) -> int:
    """Return the number that stands for a value of a field in arrays; Unfit if it has no such value."""
    space, code = field.space, value
    if isinstance(space, Choice) and value in space.options:
        return space.options.index(str(value))
    if isinstance(space, Choice | Integer):
        nth = re.fullmatch("value ([1-9][0-9]*)", str(value))  # as a list names them
        if nth:
            code = int(space.low) + int(nth[1]) - 1
        if isinstance(code, int) and (nth or isinstance(space, Integer)) and space.low <= code <= space.high:
            return code
    raise Unfit(f"pay: {value!r} is no value of field {field.name!r}, which is {space}")


@dataclass(frozen=True)
class Bonus(Payment):
    """An amount for reaching a threshold, or for some outcomes: payer owes it to payee if the fact is as asked.

    Where effort that costs psi raises the probability of success from p to p', effort is worth its while exactly if the
    bonus is at least psi / (p' - p).

    Parameters
    ----------
    field
        The verifiable fact, a number, or a choice.
    payer, payee
        Who pays whom: names of players, or of roles of one player.
    threshold
        The bonus is owed if the fact is at least this; None lets the proposer choose.
    amount
        The bonus, in units of reward, not negative; None lets the proposer choose.
    options
        Where the field is a choice: the options for which the bonus is owed; there is then no threshold.
    of
        Whose view of the fact counts, where players see their own; empty for the payee's.
    most
        Highest bonus that can be proposed.
    thresholds
        Lowest and highest threshold that can be proposed; 0 must be between them.
    """

    field: str
    payer: str
    payee: str
    threshold: float | None = None
    amount: float | None = None
    options: tuple[str, ...] = ()
    of: str = ""
    most: float = 10.0
    thresholds: tuple[float, float] = (0.0, 100.0)

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        self.check("field", "of")
        object.__setattr__(self, "options", validate.names("options", self.options))
        if self.options and self.threshold is not None:
            raise ValueError(
                f"threshold: none where options earn the bonus, got {self.threshold!r} and {self.options!r}"
            )
        if self.threshold is not None:
            validate.real("threshold", self.threshold, -LARGEST, LARGEST)
        if self.amount is not None:
            validate.real("amount", self.amount, 0.0, LARGEST)
        validate.real("most", self.most, 0.0, LARGEST)
        ((low, high),) = validate.matrix("thresholds", (self.thresholds,), columns=2, rows=1)
        if not low <= 0 <= high:
            raise ValueError(f"thresholds: the lowest, at most 0, and the highest, at least 0, got {self.thresholds!r}")
        object.__setattr__(self, "thresholds", (low, high))

    @property
    def sources(self) -> tuple[tuple[str, str], ...]:
        """The fact as the payee, or who else is named, sees it."""
        return ((self.field, self.of or self.payee),)

    @property
    def figures(self) -> tuple[Field, ...]:
        """The bonus, and the threshold where there is one."""
        amount = figure("bonus_amount", self.amount, 0.0, self.most, f"the bonus that {self.payer} pays {self.payee}")
        means = f"the least {self.field} for which {self.payer} pays {self.payee} the bonus"
        threshold = figure("bonus_threshold", self.threshold, *self.thresholds, means)
        return (amount,) if self.options else (amount, threshold)

    @property
    def fixed(self) -> Mapping[str, float]:
        """What the proposer does not choose."""
        return _known(bonus_amount=self.amount, bonus_threshold=self.threshold)

    @property
    def text(self) -> str:
        """The terms in words."""
        bonus = say(None, "a bonus") if self.amount is None else f"a bonus of {self.amount:g}"
        asked = " or ".join(self.options) if self.options else f"at least {say(self.threshold, 'a threshold')}"
        return (
            f"after each round {self.payer} pays {self.payee} {bonus} if {self.field}, as "
            f"{self.of or self.payee} sees it, is {asked}"
        )

    def fits(self, field: Field) -> None:
        """Ask for a number, or for a choice that has the options."""
        if not self.options:
            if isinstance(field.space, Choice):
                raise Unfit(f"options: {field.name!r} is {field.space}; say which of them earn the bonus")
            _number(self, field)
        elif not isinstance(field.space, Choice) or not set(self.options) <= set(field.space.options):
            listed = ", ".join(map(repr, self.options))
            raise Unfit(f"options: {listed} must be among those of field {field.name!r}, which is {field.space}")

    def due(self, numbers: Mapping[str, Array], facts: tuple[Array, ...], deal: Deal) -> Array:
        """Return the bonus where it is earned."""
        space = deal.fields[self.field].space
        if self.options and isinstance(space, Choice):
            earned = functools.reduce(operator.or_, [facts[0] == space.options.index(o) for o in self.options])
        else:
            earned = to_float(facts[0]) >= numbers["bonus_threshold"]
        return numbers["bonus_amount"] * to_float(earned)


@dataclass(frozen=True)
class Share(Terms):
    """Each owes a share of its own quantity to the others who are bound, in equal parts.

    A share of (n - 1)/n divides the quantities equally among n, so that of what one adds it keeps 1/n (Holmstrom 1982,
    doi:10.2307/3003457). Of a quantity below zero the others owe the share.

    Parameters
    ----------
    field
        The verifiable quantity, each player's own.
    share
        The share, 0 to 1; None lets the proposer choose.
    most
        Highest share that can be proposed.
    """

    field: str
    share: float | None = None
    most: float = 1.0

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        _name("field", self.field)
        validate.probability("most", self.most)
        if self.share is not None:
            validate.probability("share", self.share)

    @property
    def penal(self) -> bool:
        """What is owed is pay and no fine."""
        return False

    @property
    def uses(self) -> tuple[str, ...]:
        """The quantity."""
        return (self.field,)

    @property
    def figures(self) -> tuple[Field, ...]:
        """The share."""
        means = f"the share of its own {self.field} that each owes to the others under the contract, in equal parts"
        return (figure("share", self.share, 0.0, self.most, means),)

    @property
    def fixed(self) -> Mapping[str, float]:
        """The share, unless the proposer chooses it."""
        return _known(share=self.share)

    @property
    def text(self) -> str:
        """The terms in words."""
        share = "a share that is proposed" if self.share is None else f"a share of {self.share:g}"
        return (
            f"after each round each owes {share} of its own {self.field} to the others, in equal parts (where it is below 0, "
            "they owe it)"
        )

    def suit(self, deal: Deal) -> None:
        """Ask for a single number that all see."""
        field = deal.field_of_all(self.field)
        if field.each:
            raise Unfit(f"field: one value is needed, {field.name!r} holds {len(field.each)}: {', '.join(field.each)}")
        _number(self, field)

    def owed(self, numbers: Mapping[str, Array], facts: Mapping[str, Array], deal: Deal) -> Array:
        """Return share x quantity / (n - 1) to each of the others, or from each where it is below zero."""
        quantity = to_float(facts[self.field])
        xp, n = namespace(quantity), len(deal.players)
        part = numbers["share"][..., None] * quantity / (n - 1)
        others = 1.0 - xp.eye(n, dtype=xp.float64, device=device_of(quantity))
        return (xp.clip(part, 0.0, None)[..., :, None] + xp.clip(-part, 0.0, None)[..., None, :]) * others
