"""Tax: on rewards, on wealth, or on a quantity that can be verified, by brackets - and the books of all levies."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..envs.core import measures, validate
from ..envs.core.arrays import Array, absent, constant, full, namespace, to_float, total
from ..envs.core.fields import Choice, Field, Real, Role, find
from ..envs.core.game import Game, Measure, Outcome, Seen
from ..envs.core.mechanism import Institution, Mechanism, Unfit, chosen, joined, parted, players_of

REVENUE = ("shared", "all", "burnt")
MONEY = ("reward", "wealth")


@dataclass(frozen=True)
class Tax(Mechanism):
    """A tax after each completed round, linear or by brackets.

    The part of the base above each threshold, up to the next, is taxed at that threshold's marginal rate: one threshold of
    0 makes it linear, a higher first one exempts. What is below zero is not taxed. Where no income is negative, a linear tax
    on it that is shared equally multiplies the Gini coefficient by 1 - rate, and one with rising rates never raises that of
    a round's incomes (Jakobsson 1976). Shared among n, a payer gets 1/n of her own tax back. Rewards count as money: what
    one loses another can be given.

    Parameters
    ----------
    base
        ``"reward"``: what a player earned in the round, over all its stages; ``"wealth"``: what she holds, all that she
        earned so far less what this tax took from her and with what it gave her; or the name of a verifiable number
        that she sees after the round.
    rates
        Marginal rates, one a threshold: shares from 0 to 1 of reward or wealth, reward per unit of a number. All 0 is
        the game itself.
    thresholds
        Where the rates begin, rising, from 0 on, in units of the base.
    revenue
        ``"shared"`` equally among those taxed, or among ``"all"`` players (players together then lose nothing), or
        ``"burnt"``: it leaves the society, and welfare falls by it.
    roles
        Roles that are taxed; empty for all, or for every role that sees the number.
    """

    base: str = "reward"
    rates: tuple[float, ...] = (0.3,)
    thresholds: tuple[float, ...] = (0.0,)
    revenue: str = "shared"
    roles: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        for name in ("rates", "thresholds"):
            value = getattr(self, name)
            if not isinstance(value, list | tuple) or not value:
                raise ValueError(f"{name}: a list of at least one number, got {value!r}")
            most = 1.0 if name == "rates" and self.base in MONEY else 1e9
            object.__setattr__(
                self, name, tuple(validate.real(f"{name}[{i}]", v, 0.0, most) for i, v in enumerate(value))
            )
        if len(self.rates) != len(self.thresholds):
            raise ValueError(f"rates: one for each of the {len(self.thresholds)} thresholds, got {len(self.rates)}")
        if any(low >= high for low, high in zip(self.thresholds, self.thresholds[1:], strict=False)):
            raise ValueError(f"thresholds: each higher than the one before, got {self.thresholds}")
        validate.one_of("revenue", self.revenue, REVENUE)
        object.__setattr__(self, "roles", validate.names("roles", self.roles))

    def apply(self, game: Game) -> Game:
        """Return the game with the tax after each round."""
        return game if not any(self.rates) else Taxed(game, self)

    def due(self, base: Array) -> Array:
        """Return the tax on an array of any shape."""
        xp, owed = namespace(base), base * 0.0
        ends = (*self.thresholds[1:], None)
        for rate, low, high in zip(self.rates, self.thresholds, ends, strict=True):
            owed = owed + rate * xp.clip(base - low, 0.0, None if high is None else high - low)
        return owed


# ---- what taxes, pools, subsidies and charges have in common ----------------------------------------------------------


class Ledger(NamedTuple):
    """Books of those involved.

    Per player (*batch, players): the reward of the unfinished round, all reward before and after transfers, and what was
    last taken and given; ``volume`` (*batch) is the sum so far of what the levy measures.
    """

    income: Array
    gross: Array
    net: Array
    taken: Array
    given: Array
    volume: Array


class Fiscal(Institution):
    """A game in which something is taken from players, and given to them, after each completed round.

    Parameters
    ----------
    base, mechanism
        The game and the mechanism.
    label
        Begins the names of what is shown and measured.
    involved
        Roles from which is taken or to which is given.
    counted
        Roles, among them, whose quantity of a field counts.
    field, option
        The quantity: a number, or whether an option was chosen; empty where none counts.
    volume
        What is summed over an episode, as a measure: end of its name, words, formula.
    """

    burns = False
    """Whether what is taken and not given is lost to the society."""

    def __init__(
        self,
        base: Game,
        mechanism: Mechanism,
        label: str,
        involved: tuple[str, ...],
        counted: tuple[str, ...],
        volume: tuple[str, str, str],
        field: str = "",
        option: str = "",
    ) -> None:
        super().__init__(base, mechanism)
        self.involved, self.counted, self.field, self.option = involved, counted, field, option
        self.people = players_of(base, involved)
        self.n = len(self.people)
        formula = "sum_ij |x_i - x_j| / (2 n sum_i x_i), x_i the episode's reward {} transfers, 0 if negative"
        held = (
            "how unevenly rewards were spread {} the transfers of this levy (losses count as nothing), Gini coefficient"
        )
        suffix, means, how = volume
        self.own_reports = (
            Measure(f"{label}_{suffix}", means, how, "reward"),
            *(
                Measure(f"{label}_gini_{when}", held.format(when), formula.format(when), "", "Gini 1912", "lower")
                for when in ("before", "after")
            ),
        )

    @property
    @abstractmethod
    def books(self) -> tuple[tuple[str, Field, tuple[str, ...]], ...]:
        """What is shown: "taken" or "given", the field, and the roles that see it."""

    @abstractmethod
    def reckon(self, income: Array, wealth: Array, quantity: Array) -> tuple[Array, Array]:
        """Return what is taken and given (*batch, players), from the round's reward, what is held, and the quantity."""

    def counts(self, taken: Array, given: Array) -> Array:
        """Return what a round adds to the volume, (*batch): by default what is taken."""
        return total(taken)

    def sees(self, role: Role) -> tuple[Field, ...]:
        """Show each what was last taken and given."""
        return tuple(field for _, field, roles in self.books if role.name in roles)

    def begin(self, base: Any, u: Array) -> Ledger:
        """Open the books."""
        batch = tuple(u.shape[:-1])
        none = full(u, (*batch, self.n), 0.0)
        return Ledger(none, none, none, none, none, full(u, batch, 0.0))

    def _quantity(self, state: Any, like: dict[str, Array]) -> Array:
        seen, parts = self.base.view(state), {}
        for name in self.involved:
            parts[name] = like[name] * 0.0
            if name in self.counted:
                values = seen[name][self.field]
                if self.option:
                    space = find(self.base.role(name).sees, self.field, name).space
                    assert isinstance(space, Choice)
                    parts[name] = to_float(values == space.options.index(self.option))
                else:
                    parts[name] = namespace(values).clip(to_float(values), 0.0, None)
        return joined(parts, self.involved)

    def settle(self, own: Ledger, outcome: Outcome, ended: Array, u: Array) -> tuple[Ledger, Outcome]:
        """Enter the rewards; where a round is completed, take and give."""
        xp, pay = namespace(own.gross), joined(outcome.rewards, self.involved)
        own = own._replace(income=own.income + pay, gross=own.gross + pay, net=own.net + pay)
        if absent(ended):
            return own, outcome
        quantity = self._quantity(outcome.state, outcome.rewards) if self.field else own.income * 0.0
        taken, given = self.reckon(own.income, own.net, quantity)
        zero, income, last = own.income * 0.0, own.income * 0.0, (taken, given)
        if not absent(~ended):
            now = ended[..., None]
            taken, given = xp.where(now, taken, zero), xp.where(now, given, zero)
            income = xp.where(now, zero, own.income)
            last = xp.where(now, taken, own.taken), xp.where(now, given, own.given)
        change = given - taken
        own = Ledger(income, own.gross, own.net + change, *last, own.volume + self.counts(taken, given))
        moved = parted(change, self.base, self.involved)
        rewards = {name: paid + moved[name] if name in moved else paid for name, paid in outcome.rewards.items()}
        welfare = outcome.welfare - total(taken - given) if self.burns else outcome.welfare
        return own, outcome._replace(rewards=rewards, welfare=welfare)

    def show(self, own: Ledger, base: Any, seen: dict[str, Seen]) -> dict[str, Seen]:
        """Show what was last taken and given."""
        shown = {name: dict(fields) for name, fields in seen.items()}
        for column, field, roles in self.books:
            values = parted(getattr(own, column), self.base, self.involved)
            for name in roles:
                shown[name][field.name] = values[name]
        return shown

    def account(self, own: Ledger) -> dict[str, Array]:
        """Return the volume, and the Gini coefficient before and after the transfers."""
        xp = namespace(own.gross)
        ginis = (1.0 - measures.equality(xp.clip(held, 0.0, None)) for held in (own.gross, own.net))
        names = [measure.name for measure in self.own_reports]
        return dict(zip(names, (own.volume, *ginis), strict=True))


def measurable(game: Game, name: str, roles: tuple[str, ...], option: str = "") -> tuple[str, ...]:
    """Return the roles whose own quantity of a field can be verified: those named, or all of whom that is true.

    Raises
    ------
    Unfit
        If a role that is named does not see the field, or it is not verifiable or not of the right kind; if none does.
    """
    found, wrong = [], []
    for role in (game.role(one) for one in chosen(game, roles)):
        verifiable = ", ".join(f.name for f in role.sees if f.verifiable) or "none"
        field = next((f for f in role.sees if f.name == name), None)
        if field is None or not field.verifiable:
            what = "does not see" if field is None else "sees, but nobody can verify,"
            wrong.append(f"{role.name} {what} {name!r} (verifiable: {verifiable})")
        elif field.each:
            wrong.append(f"{name!r} of {role.name} is not her own quantity but one of each of {', '.join(field.each)}")
        elif option and not (isinstance(field.space, Choice) and option in field.space.options):
            wrong.append(f"option {option!r} is not among the values of {name!r} of {role.name}, {field.space}")
        elif not option and isinstance(field.space, Choice):
            wrong.append(f"{name!r} of {role.name} is no number but {field.space}")
        else:
            found.append(role.name)
    if wrong and (roles or not found):
        raise Unfit(f"field: {'; '.join(wrong)}")
    return tuple(found)


def first_measurable(game: Game) -> tuple[str, Field]:
    """Return the first verifiable single number that a role sees, or else choice, with the role.

    Raises
    ------
    Unfit
        If there is neither.
    """
    facts = [(role.name, field) for role in game.roles for field in role.sees if field.verifiable and not field.each]
    if not facts:
        raise Unfit(f"field: nobody in {game.name} sees a single verifiable fact")
    return next((fact for fact in facts if not isinstance(fact[1].space, Choice)), facts[0])


def per_unit(game: Game, roles: tuple[str, ...], name: str, option: str) -> str:
    """Say in words for what a rate is paid: 'for each unit of "caught" (tonnes)', 'if "own" is then "defect"'."""
    if option:
        return f'if "{name}" is then "{option}"'
    field = find(game.role(roles[0]).sees, name, roles[0])
    low = " above zero" if field.space.low < 0 else ""
    return f'for each unit of "{name}"{f" ({field.unit})" if field.unit else ""}{low}'


def each_of(roles: tuple[str, ...]) -> str:
    """Name the players of some roles in words."""
    return " and ".join(f"each {name}" for name in roles)


# ---- the tax ----------------------------------------------------------------------------------------------------------


class Taxed(Fiscal):
    """A game with a tax."""

    mechanism: Tax

    def __init__(self, base: Game, mechanism: Tax) -> None:
        money = mechanism.base in MONEY
        taxed = chosen(base, mechanism.roles) if money else measurable(base, mechanism.base, mechanism.roles)
        involved = chosen(base, ()) if mechanism.revenue == "all" else taxed
        self.label = f"{mechanism.base}_tax"
        volume = ("revenue", f"tax on {mechanism.base} taken in an episode", "sum_it tax_it")
        super().__init__(base, mechanism, self.label, involved, taxed, volume, "" if money else mechanism.base)
        self.burns = mechanism.revenue == "burnt"
        if self.n < 2 and not self.burns:
            raise Unfit(f"revenue: shared with nobody but {self.people[0]}, who pays it; take 'all' or 'burnt'")
        self.pays = tuple(float(role in taxed) for role in involved for _ in range(base.role(role).count))

    @property
    def terms(self) -> str:
        """The tax in words."""
        dial = self.mechanism
        money = dial.base in MONEY
        means = {
            "reward": "what she earned in it",
            "wealth": "what she holds then (all that she earned so far, after this tax and what it paid to her)",
        }.get(dial.base, f'her "{dial.base}"')
        parts = []
        for i, (rate, low) in enumerate(zip(dial.rates, dial.thresholds, strict=True)):
            upto = f" and up to {dial.thresholds[i + 1]:g}" if i + 1 < len(dial.thresholds) else ""
            price = f"{100 * rate:g}% of what" if money else f"{rate:g} for each unit that"
            parts.append(f"{price} is above {low:g}{upto}")
        uses = {
            "shared": "is divided equally among those who are taxed",
            "all": "is divided equally among all players",
            "burnt": "leaves the society and benefits no player",
        }[dial.revenue]
        return (
            f"After each round {each_of(self.counted)} pays a tax on {means}: {', '.join(parts)}. The revenue {uses}."
            f"{' Losses are not taxed.' if money else ''}"
        )

    @property
    def books(self) -> tuple[tuple[str, Field, tuple[str, ...]], ...]:
        """The tax, and the share of its revenue."""
        paid = Field(
            self.label, Real(0.0), f"the tax on your {self.mechanism.base} that you last paid", verifiable=True
        )
        means = f"what you last got of the revenue of the tax on {self.mechanism.base}"
        got = Field(f"{self.label}_share", Real(0.0), means, verifiable=True)
        shown = (("taken", paid, self.counted), ("given", got, self.involved))
        return shown[:1] if self.burns else shown

    def reckon(self, income: Array, wealth: Array, quantity: Array) -> tuple[Array, Array]:
        """Tax the base, and share the revenue."""
        owed = self.mechanism.due({"reward": income, "wealth": wealth}.get(self.mechanism.base, quantity))
        if 0.0 in self.pays:
            owed = owed * constant(owed, self.pays)
        return owed, owed * 0.0 if self.burns else owed * 0.0 + total(owed)[..., None] / self.n
