"""Exact mechanism design: the best direct mechanism by linear programming, with the prices of what binds it."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...envs.core import validate
from ...envs.core.words import figure

if TYPE_CHECKING:
    from .direct_game import DirectGame

Host = np.ndarray[Any, Any]
Profile = tuple[Any, ...]
"""A type of each player."""

TOLERANCE = 1e-7
"""Relative to the largest value: by so much may a constraint fail in the numbers returned."""

LARGEST = 5_000_000
"""Most numbers in the matrix of a programme."""

WORDS = {
    "incentive": "incentive compatibility",
    "participation": "participation",
    "budget": "budget balance",
    "allowed": "the outcomes that are allowed",
    "payments": "the bounds of payments",
}


class Infeasible(ValueError):
    """No mechanism keeps the constraints.

    ``conflict`` names constraints that contradict each other, of which none can be spared; ``subsidy`` is the least
    expected subsidy with which there is a mechanism, None where a subsidy does not help.
    """

    def __init__(self, conflict: tuple[str, ...], subsidy: float | None, how: Mapping[str, str]) -> None:
        self.conflict, self.subsidy = conflict, subsidy
        parts = [f"{WORDS[name]} ({how[name]})" if how[name] else WORDS[name] for name in conflict]
        text = f"no mechanism has all of: {'; '.join(parts)}. Without any one of these there is one"
        if subsidy is not None:
            text += f"; an expected subsidy of {figure(subsidy)} is needed"
        super().__init__(text)


class Price(NamedTuple):
    """A constraint that binds, and by how much the objective would rise if it were relaxed by one unit."""

    family: str
    constraint: str
    price: float


@dataclass(frozen=True, eq=False)
class DirectMechanism:
    """A direct mechanism: players report their types, an outcome is drawn, payments are made.

    ``allocation`` is (*types, outcomes), the probability of each outcome at each profile of reports, and ``payments`` is
    (*types, players). ``value`` is the objective; ``prices`` are the constraints that bind, dearest first. ``regret``,
    ``shortfall`` and ``deficit`` are by how much incentives, participation and budget fail in these very numbers: 0 up
    to rounding, or the mechanism would not have been returned. ``tables`` holds the value of each outcome to each type
    of each player, (types, outcomes), ``worth`` that to the designer, and ``prior`` is (*types).
    """

    players: dict[str, tuple[Any, ...]]
    outcomes: tuple[Any, ...]
    tables: tuple[Host, ...]
    worth: Host
    prior: Host
    allocation: Host
    payments: Host
    value: float
    prices: tuple[Price, ...]
    regret: float
    shortfall: float
    deficit: float
    terms: dict[str, str]

    def at(self, *types: Any) -> tuple[dict[Any, float], dict[str, float]]:
        """Return the lottery and the payments at a profile of reports."""
        if len(types) != len(self.players):
            raise ValueError(f"types: one of each of {', '.join(self.players)}, got {len(types)}")
        cell = tuple(_place(name, own, t) for (name, own), t in zip(self.players.items(), types, strict=True))
        odds = {o: float(p) for o, p in zip(self.outcomes, self.allocation[cell], strict=True) if p > 0}
        return odds, dict(zip(self.players, map(float, self.payments[cell]), strict=True))

    def utilities(self, player: str) -> Host:
        """Return a player's expected utility by (type, report) when the others report their types."""
        i = self._index(player)
        return np.asarray(np.sum(_others(self.prior, i)[:, None, :] * self.hindsight(player), axis=-1))

    def hindsight(self, player: str) -> Host:
        """Return a player's utility by (type, report, the others' reports)."""
        i = self._index(player)
        odds = np.moveaxis(self.allocation, i, 0).reshape(len(self.tables[i]), -1, len(self.outcomes))
        pays = np.moveaxis(self.payments[..., i], i, 0).reshape(len(self.tables[i]), -1)
        return np.asarray(np.einsum("rok,tk->tro", odds, self.tables[i]) - pays[None])

    def chances(self, player: str) -> Host:
        """Return the probability of each outcome by the player's type, (types, outcomes), when all report their types."""
        i = self._index(player)
        odds = np.moveaxis(self.allocation, i, 0).reshape(len(self.tables[i]), -1, len(self.outcomes))
        return np.asarray(np.sum(_others(self.prior, i)[..., None] * odds, axis=1))

    def expected_payments(self, player: str) -> Host:
        """Return what the player expects to pay by its type, (types,), when all report their types."""
        i = self._index(player)
        pays = np.moveaxis(self.payments[..., i], i, 0).reshape(len(self.tables[i]), -1)
        return np.asarray((_others(self.prior, i) * pays).sum(axis=1))

    @property
    def welfare(self) -> float:
        """Expected value of the outcome to all players and the designer."""
        total = surplus(self.tables, self.worth)
        return float((self.prior[..., None] * self.allocation * total).sum())

    @property
    def revenue(self) -> float:
        """Expected payments."""
        return float((self.prior[..., None] * self.payments).sum())

    @property
    def first_best(self) -> float:
        """Expected welfare if types were known."""
        return float((self.prior * surplus(self.tables, self.worth).max(axis=-1)).sum())

    def as_rows(self) -> list[dict[str, Any]]:
        """Return the mechanism as plain data: a row for every profile of types."""
        rows = []
        for cell in np.ndindex(*self.prior.shape):
            types = [own[k] for own, k in zip(self.players.values(), cell, strict=True)]
            odds, pays = self.at(*types)
            row: dict[str, Any] = dict(zip(self.players, types, strict=True)) | {"chance": float(self.prior[cell])}
            rows.append(row | {f"odds of {o}": p for o, p in odds.items()} | {f"{n} pays": p for n, p in pays.items()})
        return rows

    def game(self, repetitions: int = 1) -> DirectGame:
        """Return the mechanism as a game: players see their types and report."""
        from .direct_game import DirectGame

        return DirectGame.of(self, repetitions)

    def _index(self, player: str) -> int:
        validate.one_of("player", player, tuple(self.players))
        return list(self.players).index(player)


def direct(
    players: Mapping[str, Sequence[Any]],
    outcomes: Sequence[Any],
    values: Callable[[str, Any, Any], float] | Mapping[str, Any],
    prior: Mapping[str, Sequence[float]] | Sequence[Any] | Host | None = None,
    *,
    objective: str | Mapping[str, float] | Callable[[Any, Profile], float] = "welfare",
    worth: Callable[[Any], float] | Sequence[float] | None = None,
    incentive: str = "bayesian",
    participation: str = "interim",
    outside: float | Callable[[str, Any], float] = 0.0,
    budget: str = "none",
    payments: tuple[float, float] | None = None,
    allowed: str | Callable[[Any, Profile], bool] = "all",
) -> DirectMechanism:
    """Return the best direct mechanism for finite types and outcomes (Conitzer and Sandholm 2002, UAI; Vohra 2011).

    The unknowns are the probability of each outcome and each player's payment at every profile of types, in which
    objective and constraints are linear (HiGHS solves it). By the revelation principle no other mechanism does better
    under the same notion of equilibrium. Utilities are v_i(outcome, own type) less the payment. The solution is read
    back and all constraints are measured in it, by other arithmetic than that of the programme.

    Parameters
    ----------
    players
        {name: its types}; types are distinct.
    outcomes
        The outcomes, distinct, one of which happens; where nothing may happen, this is one of them.
    values
        Value of an outcome to a player of a type, as a function (player, outcome, type), or as {player: table} of
        (types, outcomes).
    prior
        {player: probabilities of its types} if types are independent, or the joint probabilities as an array with an
        axis a player; None: all profiles equally likely. Every type has a positive chance.
    objective
        ``"welfare"``: the value to all players and the designer; ``"revenue"``: payments; ``"profit"``: payments and the
        value to the designer; a player's name: its utility; {any of these: weight}; or the value of an outcome at a
        profile of types, as a function.
    worth
        Value of an outcome to the designer, minus its cost, as a function or a list; None: 0.
    incentive
        ``"bayesian"``: nobody gains by a misreport in expectation over the others' types; ``"dominant"``: nor whatever
        they report; ``"none"``: types are known.
    participation
        ``"interim"``: nobody who knows its type expects less than ``outside``; ``"ex post"``: nor gets less at any
        profile; ``"none"``.
    outside
        Utility of staying away, a number or a function (player, type).
    budget
        Payments and ``worth`` together are at least 0: ``"ex ante"``, in expectation; ``"ex post"``, at any profile, in
        expectation over the lottery; ``"balanced"``: exactly 0 at any profile; ``"none"``.
    payments
        Lowest and highest payment of a player at any profile; None: no bounds.
    allowed
        ``"all"``, ``"efficient"`` (only outcomes of the greatest welfare), or a function (outcome, profile of types):
        which outcomes may happen at a profile.

    Returns
    -------
    DirectMechanism
        The mechanism, its value, and what binds.

    Raises
    ------
    Infeasible
        If no mechanism keeps the constraints: which contradict each other, and the least subsidy that helps.
    ValueError
        If a parameter is out of range, or the objective has no bound (for example revenue without participation).
    """
    validate.one_of("incentive", incentive, ("bayesian", "dominant", "none"))
    validate.one_of("participation", participation, ("interim", "ex post", "none"))
    validate.one_of("budget", budget, ("none", "ex ante", "ex post", "balanced"))
    problem = _Problem(players, outcomes, values, prior, worth, outside, payments, allowed)
    gain = problem.objective(objective)
    kinds = {
        "incentive": incentive,
        "participation": participation,
        "budget": budget,
        "allowed": "" if allowed == "all" else allowed if isinstance(allowed, str) else "as given",
        "payments": "" if payments is None else f"{payments[0]:g} to {payments[1]:g}",
    }
    found = problem.solve(gain, kinds)
    if found is None:
        raise problem.conflict(kinds)
    return problem.read(found, gain, kinds)


def surplus(tables: Sequence[Host], worth: Host) -> Host:
    """Return the value of each outcome to all together at every profile, (*types, outcomes)."""
    found = np.asarray(worth)
    for i, table in enumerate(tables):
        found = found + _alone(table, i, len(tables))
    return found


def _others(prior: Host, i: int) -> Host:
    """Return the probability of the others' types given one's own, (types, others)."""
    joint = np.moveaxis(prior, i, 0).reshape(prior.shape[i], -1)
    return np.asarray(joint / joint.sum(axis=1, keepdims=True))


def _place(name: str, types: tuple[Any, ...], kind: Any) -> int:
    if kind not in types:
        raise ValueError(f"{name}: one of its types {', '.join(map(str, types))}, got {kind!r}")
    return types.index(kind)


class _Row(NamedTuple):
    """A constraint: sum of coefficients times unknowns is at most ``most``, or equals it; ``name`` says which."""

    columns: Host
    coefficients: Host
    most: float
    family: str
    name: Callable[[], str]


class _Found(NamedTuple):
    """Unknowns and what binds, as the solver returned them."""

    x: Host
    prices: tuple[Price, ...]
    value: float
    place: Host


class _Problem:
    """Players, outcomes and values as arrays, and the programmes made of them."""

    def __init__(
        self,
        players: Any,
        outcomes: Any,
        values: Any,
        prior: Any,
        worth: Any,
        outside: Any,
        payments: Any,
        allowed: Any,
    ) -> None:
        if not isinstance(players, Mapping) or not players:
            raise ValueError(f"players: {{name: types}} of one player or more, got {players!r}")
        self.names = tuple(players)
        self.types = tuple(tuple(players[name]) for name in self.names)
        for name, types in zip(self.names, self.types, strict=True):
            if not types or len(set(types)) < len(types):
                raise ValueError(f"players[{name}]: one type or more, all distinct, got {types!r}")
            if name in ("welfare", "revenue", "profit"):
                raise ValueError(f"players: {name!r} is the name of an objective; rename the player")
        self.outcomes = tuple(outcomes)
        if not self.outcomes or len(set(self.outcomes)) < len(self.outcomes):
            raise ValueError(f"outcomes: one or more, all distinct, got {self.outcomes!r}")
        self.shape = tuple(len(types) for types in self.types)
        self.n, self.k, self.cells = len(self.shape), len(self.outcomes), math.prod(self.shape)
        if self.cells * (self.k + self.n) > LARGEST:
            raise ValueError(
                f"players: at most {LARGEST} unknowns, got {self.cells} profiles x {self.k} outcomes and {self.n} payments"
            )
        self.tables = tuple(self._table(i, values) for i in range(self.n))
        raw = [0.0] * self.k if worth is None else [worth(o) for o in self.outcomes] if callable(worth) else list(worth)
        if len(raw) != self.k:
            raise ValueError(f"worth: {self.k} numbers, one an outcome, got {len(raw)}")
        self.worth = np.asarray([validate.real("worth", float(w)) for w in raw])
        self.prior, self.independent = self._prior(prior)
        self.outside = tuple(
            np.asarray(
                [validate.real("outside", float(outside(name, t) if callable(outside) else outside)) for t in types]
            )
            for name, types in zip(self.names, self.types, strict=True)
        )
        self.bounds = self._bounds(payments)
        self.total = surplus(self.tables, self.worth)
        self.scale = max(1.0, float(np.abs(self.total).max()), *(float(np.abs(table).max()) for table in self.tables))
        self.permitted = self._permitted(allowed)

    def _table(self, i: int, values: Any) -> Host:
        name, types = self.names[i], self.types[i]
        if callable(values):
            table = np.asarray(
                [[values(name, outcome, kind) for outcome in self.outcomes] for kind in types], dtype=float
            )
        elif isinstance(values, Mapping) and name in values:
            table = np.asarray(values[name], dtype=float)
        else:
            raise ValueError(f"values: a function (player, outcome, type), or a table of {name}, got {values!r}")
        if table.shape != (len(types), self.k) or not np.isfinite(table).all():
            raise ValueError(
                f"values: finite numbers of shape {(len(types), self.k)} for {name}, got shape {table.shape}: {table!r}"
            )
        return table

    def _prior(self, prior: Any) -> tuple[Host, bool]:
        if prior is None:
            return np.full(self.shape, 1.0 / self.cells), True
        if isinstance(prior, Mapping):
            if set(prior) != set(self.names):
                raise ValueError(
                    f"prior: probabilities for each of {', '.join(self.names)}, got {sorted(map(str, prior))}"
                )
            parts = [np.asarray(prior[name], dtype=float) for name in self.names]
            for name, part, count in zip(self.names, parts, self.shape, strict=True):
                if part.shape != (count,):
                    raise ValueError(f"prior[{name}]: {count} probabilities, got shape {part.shape}")
            joint = np.asarray(functools.reduce(np.multiply.outer, parts))
        else:
            joint = np.asarray(prior, dtype=float)
        if joint.shape != self.shape:
            raise ValueError(f"prior: an array of shape {self.shape}, an axis a player, got shape {joint.shape}")
        if not (joint >= 0).all() or abs(joint.sum() - 1.0) > 1e-9:
            raise ValueError(
                f"prior: probabilities that sum to 1, got {joint.min():g} to {joint.max():g}, sum {joint.sum():g}"
            )
        sums = [joint.sum(axis=tuple(j for j in range(self.n) if j != i)) for i in range(self.n)]
        for name, types, own in zip(self.names, self.types, sums, strict=True):
            if (own <= 0).any():
                raise ValueError(f"prior: type {types[int(own.argmin())]} of {name} has no chance; leave it out")
        apart = np.asarray(functools.reduce(np.multiply.outer, sums))
        return joint / joint.sum(), bool(np.abs(joint - apart).max() < 1e-12)

    def _bounds(self, payments: Any) -> tuple[float, float] | None:
        if payments is None:
            return None
        low, high = (float(bound) for bound in payments)
        if not low <= high:
            raise ValueError(f"payments: lowest and highest, got {payments!r}")
        return low, high

    def _permitted(self, allowed: Any) -> Host:
        if allowed == "all":
            return np.ones((*self.shape, self.k), dtype=bool)
        if allowed == "efficient":
            return np.asarray(self.total >= self.total.max(axis=-1, keepdims=True) - 1e-9 * self.scale)
        if not callable(allowed):
            raise ValueError(f"allowed: 'all', 'efficient' or a function (outcome, profile), got {allowed!r}")
        table = np.asarray(
            [[bool(allowed(o, types)) for o in self.outcomes] for types in itertools.product(*self.types)]
        )
        if not table.any(axis=1).all():
            profile = list(itertools.product(*self.types))[int(table.any(axis=1).argmin())]
            raise ValueError(f"allowed: an outcome at every profile, got none at {profile}")
        return table.reshape(*self.shape, self.k)

    # ---- the programme --------------------------------------------------------------------------------------------

    def objective(self, wanted: Any) -> tuple[Host, Host]:
        """Return the coefficients of outcomes (*types, outcomes) and of payments (*types, players), prior included."""
        odds, pays = np.zeros((*self.shape, self.k)), np.zeros((*self.shape, self.n))
        weight = self.prior[..., None]
        if callable(wanted):
            table = [[wanted(o, types) for o in self.outcomes] for types in itertools.product(*self.types)]
            return weight * np.asarray(table, dtype=float).reshape(odds.shape), pays
        weights = {wanted: 1.0} if isinstance(wanted, str) else dict(wanted)
        for name, much in weights.items():
            validate.one_of("objective", name, ("welfare", "revenue", "profit", *self.names))
            validate.real("objective", much)
            if name == "welfare":
                odds += much * weight * self.total
            elif name in ("revenue", "profit"):
                pays += much * weight
                odds += much * weight * self.worth * (name == "profit")
            else:
                i = self.names.index(name)
                odds += much * weight * _alone(self.tables[i], i, self.n)
                pays[..., i] -= much * self.prior
        return odds, pays

    def _layout(self, kinds: Mapping[str, str]) -> Host:
        """Return the unknown behind each payment (profiles, players).

        Where payments matter in expectation over others' types only, and these are independent of one's own, a payment
        that depends on one's own report alone does what any other does; its bounds hold for the mean if they do for all.
        """
        first = self.cells * self.k
        plain = kinds["incentive"] != "dominant" and kinds["participation"] != "ex post"
        if plain and self.independent and kinds["budget"] in ("none", "ex ante"):
            cells = np.indices(self.shape).reshape(self.n, -1).T
            return np.asarray(first + np.cumsum((0, *self.shape[:-1])) + cells)
        return first + np.arange(self.cells * self.n).reshape(self.cells, self.n)

    def _rows(self, kinds: Mapping[str, str], place: Host) -> Iterator[_Row]:
        """Yield the inequalities."""
        for i in range(self.n):
            yield from self._incentive(i, kinds["incentive"], place)
            yield from self._participation(i, kinds["participation"], place)
        if kinds["budget"] == "ex ante":
            weight = self.prior.reshape(-1)
            columns = np.concatenate([np.arange(self.cells * self.k), place.reshape(-1)])
            odds = np.multiply.outer(weight, self.worth).reshape(-1)
            yield _Row(columns, -np.concatenate([odds, np.repeat(weight, self.n)]), 0.0, "budget", lambda: "ex ante")
        elif kinds["budget"] == "ex post":
            for cell in range(self.cells):
                yield self._balance(cell, place)

    def _balance(self, cell: int, place: Host) -> _Row:
        columns = np.concatenate([cell * self.k + np.arange(self.k), place[cell]])
        amounts = -np.concatenate([self.worth, np.ones(self.n)])
        return _Row(columns, amounts, 0.0, "budget", lambda: f"at {self._told(cell)}")

    def _told(self, cell: int, without: int | None = None) -> str:
        places = np.unravel_index(cell, self.shape)
        return ", ".join(f"{self.names[j]} {self.types[j][k]}" for j, k in enumerate(places) if j != without)

    def _cells(self, i: int) -> Host:
        """Return the profiles by (own type, others' types)."""
        return np.moveaxis(np.arange(self.cells).reshape(self.shape), i, 0).reshape(self.shape[i], -1)

    def _utility(self, i: int, kind: int, cells: Host, weights: Host, place: Host) -> tuple[Host, Host]:
        """Return unknowns and coefficients of the utility of a type at some profiles of reports, with weights."""
        columns = np.concatenate([(cells[:, None] * self.k + np.arange(self.k)).reshape(-1), place[cells, i]])
        return columns, np.concatenate([np.multiply.outer(weights, self.tables[i][kind]).reshape(-1), -weights])

    def _spread(self, i: int, kind: int, notion: str) -> Iterator[tuple[Host, Host]]:
        """Yield the others' types over which an expectation is taken, and their weights: all at once, or one by one."""
        if notion in ("bayesian", "interim"):
            odds = _others(self.prior, i)[kind]
            some = np.flatnonzero(odds > 0)
            yield some, odds[some]
        else:
            for other in range(self.cells // self.shape[i]):
                yield np.asarray([other]), np.ones(1)

    def _incentive(self, i: int, notion: str, place: Host) -> Iterator[_Row]:
        if notion == "none":
            return
        cells, name, types = self._cells(i), self.names[i], self.types[i]
        for kind, report in itertools.permutations(range(self.shape[i]), 2):
            for others, weights in self._spread(i, kind, notion):
                lie = self._utility(i, kind, cells[report][others], weights, place)
                truth = self._utility(i, kind, cells[kind][others], weights, place)
                at = int(cells[kind][others[0]]) if notion == "dominant" and self.n > 1 else None
                yield _Row(
                    np.concatenate([lie[0], truth[0]]),
                    np.concatenate([lie[1], -truth[1]]),
                    0.0,
                    "incentive",
                    functools.partial(self._lie_told, name, types[kind], types[report], i, at),
                )

    def _lie_told(self, name: str, kind: Any, report: Any, i: int, at: int | None) -> str:
        return f"{name} {kind} does not report {report}" + ("" if at is None else f" at {self._told(at, i)}")

    def _participation(self, i: int, notion: str, place: Host) -> Iterator[_Row]:
        if notion == "none":
            return
        cells, name, types = self._cells(i), self.names[i], self.types[i]
        for kind in range(self.shape[i]):
            for others, weights in self._spread(i, kind, notion):
                columns, utility = self._utility(i, kind, cells[kind][others], weights, place)
                at = int(cells[kind][others[0]]) if notion == "ex post" and self.n > 1 else None
                told = f"{name} {types[kind]}" + ("" if at is None else f" at {self._told(at, i)}")
                yield _Row(
                    columns, -utility, -float(self.outside[i][kind]), "participation", functools.partial(str, told)
                )

    def solve(self, gain: tuple[Host, Host], kinds: Mapping[str, str]) -> _Found | None:
        """Return the best unknowns under some families of constraints, or None if there are none."""
        from scipy.optimize import linprog

        place = self._layout(kinds)
        count = int(place.max()) + 1
        cost = np.zeros(count)
        cost[: self.cells * self.k] = -gain[0].reshape(-1)
        np.add.at(cost, place.reshape(-1), -gain[1].reshape(-1))
        rows = list(self._rows(kinds, place))
        even = [*self._sums()]
        if kinds["budget"] == "balanced":
            even += [self._balance(cell, place) for cell in range(self.cells)]
        permitted = self.permitted.reshape(-1) if kinds["allowed"] else np.ones(self.cells * self.k, dtype=bool)
        low, high = self.bounds if self.bounds and kinds["payments"] else (-np.inf, np.inf)
        lows = np.concatenate([np.zeros(self.cells * self.k), np.full(count - self.cells * self.k, low)])
        highs = np.concatenate([permitted.astype(float), np.full(count - self.cells * self.k, high)])
        found = linprog(
            cost,
            A_ub=_matrix(rows, count),
            b_ub=[row.most for row in rows] or None,
            A_eq=_matrix(even, count),
            b_eq=[row.most for row in even],
            bounds=np.stack([lows, highs], axis=1),
            method="highs",
        )
        if found.status == 3:
            raise ValueError(
                "objective: it has no bound under these constraints; bound the payments, or ask for participation (got "
                f"participation {kinds['participation']!r}, payments {self.bounds})"
            )
        if found.status == 2:
            return None
        if found.status != 0:
            raise RuntimeError(f"direct: the linear programme was not solved: {found.message}")
        dear = [(row, -float(m)) for row, m in zip(rows, found.ineqlin.marginals, strict=True)] if rows else []
        if kinds["budget"] == "balanced":
            dear += [
                (row, abs(float(m)))
                for row, m in zip(even, found.eqlin.marginals, strict=True)
                if row.family == "budget"
            ]
        prices = [Price(row.family, row.name(), price) for row, price in dear if price > 1e-9]
        return _Found(found.x, tuple(sorted(prices, key=lambda p: -p.price)), -float(found.fun), place)

    def _sums(self) -> Iterator[_Row]:
        for cell in range(self.cells):
            yield _Row(cell * self.k + np.arange(self.k), np.ones(self.k), 1.0, "lottery", str)

    def conflict(self, kinds: dict[str, str]) -> Infeasible:
        """Find constraints that contradict each other and of which none can be spared, by leaving out one after the other."""
        nothing = (np.zeros((*self.shape, self.k)), np.zeros((*self.shape, self.n)))
        off = {"incentive": "none", "participation": "none", "budget": "none", "allowed": "", "payments": ""}
        kept = dict(kinds)
        for name, without in off.items():
            if kept[name] != without and self.solve(nothing, kept | {name: without}) is None:
                kept[name] = without
        subsidy = None
        if kept["budget"] != "none":
            # revenue and the designer's value, as high as the other constraints let them be
            best = self.solve(self.objective("profit"), kinds | {"budget": "none"})
            subsidy = -best.value if best is not None and best.value < 0 else None
        return Infeasible(tuple(name for name in off if kept[name] != off[name]), subsidy, kinds)

    # ---- reading it back ------------------------------------------------------------------------------------------

    def read(self, found: _Found, gain: tuple[Host, Host], kinds: dict[str, str]) -> DirectMechanism:
        """Return the mechanism that unknowns describe; measure in it all that was asked for."""
        odds = np.clip(found.x[: self.cells * self.k].reshape(*self.shape, self.k), 0.0, 1.0)
        odds = np.where(odds < 1e-12, 0.0, odds)
        odds = odds / odds.sum(axis=-1, keepdims=True)
        pays = found.x[found.place].reshape(*self.shape, self.n)
        made = DirectMechanism(
            dict(zip(self.names, self.types, strict=True)),
            self.outcomes,
            self.tables,
            self.worth,
            self.prior,
            odds,
            pays + 0.0,
            float((gain[0] * odds).sum() + (gain[1] * pays).sum()),
            found.prices,
            0.0,
            0.0,
            0.0,
            kinds,
        )
        regret, shortfall, deficit = self.measure(made, kinds)
        wrong = {
            "regret": regret,
            "shortfall": shortfall,
            "deficit": deficit,
            "probability of what is not allowed": float((odds * ~self.permitted).max()),
            "payment out of bounds": self._outside_bounds(pays),
            "gap of the objective": abs(made.value - found.value),
        }
        for what, size in wrong.items():
            if size > TOLERANCE * self.scale:
                raise RuntimeError(f"direct: the solution that was found has a {what} of {size:g}; rescale the values")
        return replace(made, regret=regret, shortfall=shortfall, deficit=deficit)

    def _outside_bounds(self, pays: Host) -> float:
        low, high = self.bounds or (-np.inf, np.inf)
        return max(0.0, low - float(pays.min()), float(pays.max()) - high)

    def measure(self, made: DirectMechanism, kinds: Mapping[str, str]) -> tuple[float, float, float]:
        """Return by how much incentives, participation and budget fail."""
        regret = shortfall = 0.0
        for i, name in enumerate(self.names):
            hindsight, mean = made.hindsight(name), made.utilities(name)
            own = np.arange(self.shape[i])
            if kinds["incentive"] != "none":
                table = hindsight if kinds["incentive"] == "dominant" else mean[..., None]
                regret = max(regret, float((table - table[own, own][:, None]).max()))
            if kinds["participation"] != "none":
                truth = hindsight[own, own] if kinds["participation"] == "ex post" else mean[own, own][:, None]
                shortfall = max(shortfall, float((self.outside[i][:, None] - truth).max()))
        surplus_ = made.payments.sum(axis=-1) + made.allocation @ self.worth
        deficit = {
            "none": 0.0,
            "ex ante": -float((self.prior * surplus_).sum()),
            "ex post": -float(surplus_.min()),
            "balanced": float(np.abs(surplus_).max()),
        }[kinds["budget"]]
        return regret, shortfall, max(0.0, deficit)


def _alone(table: Host, i: int, n: int) -> Host:
    return table.reshape(*(len(table) if j == i else 1 for j in range(n)), table.shape[1])


def _matrix(rows: Sequence[_Row], count: int) -> Any:
    """Return rows as a sparse matrix; coefficients of the same unknown are added."""
    from scipy.sparse import csr_array

    if not rows:
        return None
    sizes = np.asarray([len(row.columns) for row in rows])
    if sizes.sum() > 4 * LARGEST:
        raise ValueError(f"players: too many types: {sizes.sum()} coefficients, at most {4 * LARGEST}")
    data = np.concatenate([row.coefficients for row in rows]).astype(float)
    columns = np.concatenate([row.columns for row in rows])
    return csr_array((data, (np.repeat(np.arange(len(rows)), sizes), columns)), shape=(len(rows), count))


class Pay(NamedTuple):
    """A contract: pay for each outcome, expected pay, and the agent's utility above its outside option."""

    pay: tuple[float, ...]
    expected: float
    rent: float


def minimum_pay(
    chances: Sequence[Sequence[float]],
    costs: Sequence[float],
    effort: int,
    *,
    utility: str = "linear",
    reservation: float = 0.0,
    limited_liability: bool = True,
    max_pay: float = 1000.0,
) -> Pay:
    """Return the cheapest pay for outcomes that makes an agent accept and choose an effort that nobody sees.

    It is the principal's programme of Grossman and Hart (1983, doi:10.2307/1912246), linear in pay or, for ``"sqrt"``,
    a least-distance programme in utilities, as solved and checked by ``HiddenAction.cheapest``.

    Parameters
    ----------
    chances
        For each effort, the probability of each outcome.
    costs
        Cost of each effort, in utils.
    effort
        Index of the effort that is wanted.
    utility
        Of pay: ``"linear"`` or ``"sqrt"``.
    reservation
        Utility of refusing.
    limited_liability
        Whether pay cannot be negative (always so with ``"sqrt"``).
    max_pay
        Most that can be paid for an outcome, in coins.

    Raises
    ------
    Infeasible
        If no pay within the bounds does it.
    """
    from ...envs.contracting.hidden_action import HiddenAction

    rows = tuple(tuple(float(p) for p in row) for row in chances)
    count = len(rows[0]) if rows else 0
    game = HiddenAction(
        tuple(float(k) for k in range(count)),
        rows,
        tuple(float(c) for c in costs),
        utility,
        reservation,
        limited_liability,
        max_pay,
    )
    found = game.cheapest(effort)
    if found is None:
        bounds = f"{game.lowest_pay:g} to {max_pay:g}"
        how = {"incentive": f"effort {effort}", "participation": f"{reservation:g}", "payments": bounds}
        raise Infeasible(("incentive", "participation", "payments"), None, how)
    felt = np.asarray(game.felt(np.asarray(found[0])))
    return Pay(found[0], found[1], float(np.asarray(rows[effort]) @ felt) - game.costs[effort] - reservation)
