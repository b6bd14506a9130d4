"""A direct mechanism as a game: types are drawn, players report, a lottery and payments follow."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...envs.core import validate
from ...envs.core.arrays import Array, constant, look_up, namespace, to_float
from ...envs.core.chance import categorical
from ...envs.core.fields import Choice, Field, Real, Role
from ...envs.core.game import Acts, Benchmarks, Level, Measure, Seen
from ...envs.core.rounds import Record, RoundGame, RoundState, Settled
from ...envs.core.words import figure
from .programme import DirectMechanism, surplus

LISTED = 64
"""Most profiles of reports whose outcome the rules spell out."""


@dataclass(frozen=True)
class DirectGame(RoundGame):
    """A direct mechanism that is played: every player sees its type and reports one.

    The reports fix a lottery over outcomes and what each player pays. Welfare is what the outcome is worth to all players
    and to the designer, who is not a player and to whom the payments go. Where the mechanism is incentive compatible,
    telling the truth is an equilibrium.

    Parameters
    ----------
    parties
        Names of the players, each a role of its own.
    types
        For each player, the names of its types.
    outcomes
        Names of the outcomes.
    values
        For each player, and each of its types, what each outcome is worth to it, in coins.
    worth
        What each outcome is worth to the designer, in coins.
    prior
        Probability of each profile of types, the last player's type changing fastest.
    lotteries
        For each profile of reports, in that order, the probability of each outcome.
    payments
        For each profile of reports what each player pays, in coins.
    repetitions
        Rounds of an episode, each with new types.
    """

    parties: tuple[str, ...] = ("buyer",)
    types: tuple[tuple[str, ...], ...] = (("1", "1.5"),)
    outcomes: tuple[str, ...] = ("0.5", "1.5")
    values: tuple[tuple[tuple[float, ...], ...], ...] = (((0.5, 1.5), (0.75, 2.25)),)
    worth: tuple[float, ...] = (-0.125, -1.125)
    prior: tuple[float, ...] = (0.5, 0.5)
    lotteries: tuple[tuple[float, ...], ...] = ((1.0, 0.0), (0.0, 1.0))
    payments: tuple[tuple[float, ...], ...] = ((0.5,), (2.0,))
    repetitions: int = 1

    luck = 1
    nature = 1
    reports = (
        Measure("revenue", "what players pay, a round", "sum_i payment_i", "coins"),
        Measure("honesty", "share of reports that are true", "#(report = type) / players"),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range; take lists for tuples."""
        for name in ("parties", "types", "outcomes", "values", "worth", "prior", "lotteries", "payments"):
            object.__setattr__(self, name, _tuples(getattr(self, name)))
        validate.names("parties", self.parties)
        validate.names("outcomes", self.outcomes)
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)
        n, k = len(self.parties), len(self.outcomes)
        shape = tuple(len(validate.names("types", own)) for own in self.types)
        cells = math.prod(shape)
        wanted: dict[str, tuple[Any, tuple[int, ...]]] = {
            "types": (shape, (n,)),
            "worth": (self.worth, (k,)),
            "prior": (self.prior, (cells,)),
            "lotteries": (self.lotteries, (cells, k)),
            "payments": (self.payments, (cells, n)),
        }
        if len(self.values) != n:
            raise ValueError(f"values: a table for each of {n} players, got {len(self.values)}")
        wanted |= {f"values[{i}]": (self.values[i], (shape[i], k)) for i in range(min(n, len(shape)))}
        for name, (value, size) in wanted.items():
            try:
                found = np.asarray(value, dtype=float)
            except ValueError:
                found = np.full(0, np.nan)
            if found.shape != size or not np.isfinite(found).all():
                raise ValueError(f"{name}: finite numbers of shape {size}, got {value!r}")
        for name, rows in (("prior", (self.prior,)), ("lotteries", self.lotteries)):
            for row in rows:
                if min(row) < 0 or abs(math.fsum(row) - 1.0) > 1e-9:
                    raise ValueError(f"{name}: probabilities that sum to 1, got {row}")

    @classmethod
    def of(cls, found: DirectMechanism, repetitions: int = 1) -> DirectGame:
        """Return the game of a mechanism that was found."""
        n, k = len(found.players), len(found.outcomes)
        return cls(
            tuple(found.players),
            tuple(_told(own) for own in found.players.values()),
            _told(found.outcomes),
            _tuples([table.tolist() for table in found.tables]),
            _tuples(found.worth.tolist()),
            _tuples(found.prior.reshape(-1).tolist()),
            _tuples(found.allocation.reshape(-1, k).tolist()),
            _tuples(found.payments.reshape(-1, n).tolist()),
            repetitions,
        )

    @property
    def truths(self) -> dict[str, dict[str, str]]:
        """Which act reports what, as the audit's ``reports`` take it."""
        return {name: {"report": "type"} for name in self.parties}

    @property
    def shape(self) -> tuple[int, ...]:
        """How many types each player has."""
        return tuple(len(own) for own in self.types)

    @property
    def about(self) -> str:
        """The rules in words, with all numbers where these are few."""
        likely = np.asarray(self.prior).reshape(self.shape)
        lines = [
            "Each player has a type that it alone sees, drawn anew every round. All report a type at once, true or not. The "
            "reports fix the chances of the outcomes and what each player pays (or, below 0, is paid). A player's reward is "
            "what the outcome is worth to it at its true type, less its payment."
        ]
        for i, (name, own) in enumerate(zip(self.parties, self.types, strict=True)):
            alone = likely.sum(axis=tuple(j for j in range(len(self.shape)) if j != i))
            if len(own) > LISTED:
                lines.append(f"Types of {name}: {len(own)}, from {own[0]} to {own[-1]}.")
                continue
            kinds = [
                f"{kind} (chance {figure(p)}): "
                + ", ".join(f"{o} {figure(v)}" for o, v in zip(self.outcomes, row, strict=True))
                for kind, p, row in zip(own, alone, self.values[i], strict=True)
            ]
            lines.append(f"Types of {name}, and what outcomes are worth to each, in coins: {'; '.join(kinds)}.")
        if len(self.prior) > LISTED:
            lines.append(f"There are {len(self.prior)} profiles of reports, each with its own lottery and payments.")
            return "\n".join(lines)
        for profile, odds, pays in zip(itertools.product(*self.types), self.lotteries, self.payments, strict=True):
            said = ", ".join(f"{name} {kind}" for name, kind in zip(self.parties, profile, strict=True))
            drawn = ", ".join(f"{o} {figure(p)}" for o, p in zip(self.outcomes, odds, strict=True) if p > 0)
            paid = ", ".join(f"{name} {figure(pay)}" for name, pay in zip(self.parties, pays, strict=True))
            lines.append(f"- Reports {said}: chances {drawn}; payments {paid}.")
        return "\n".join(lines)

    def cast(self) -> tuple[Role, ...]:
        """Every player in a role of its own."""
        seen = (
            Field("last_outcome", Choice((*self.outcomes, "none yet")), "the outcome of the round before"),
            Field("last_payment", Real(), "what you paid in the round before, 0 before the first", "coins"),
        )
        roles = []
        for name, own, table in zip(self.parties, self.types, self.values, strict=True):
            low, high = min(map(min, table)), max(map(max, table))
            mine = (
                Field("type", Choice(own), "your type; nobody else sees it"),
                Field("worth", Real(low, high), "what each outcome is worth to you", "coins", each=self.outcomes),
            )
            report = Field("report", Choice(own), "the type that you report")
            roles.append(Role(name, 1, (*mine, *seen), (report,), "you have a type, and report one"))
        return tuple(roles)

    def open(self, u: Array) -> Record:
        """Draw the types of all players together."""
        table = constant(u, self.prior)
        odds = namespace(u).broadcast_to(table, (*u.shape[:-1], len(self.prior)))
        return {"profile": categorical(u[..., 0], odds)}

    def recall(self, like: Array) -> Record:
        """Return that nothing has happened yet."""
        xp = namespace(like)
        return {
            "last_outcome": like + len(self.outcomes),
            "paid": xp.stack([to_float(like) * 0.0] * len(self.parties), axis=-1),
        }

    def _kinds(self, profile: Array) -> list[Array]:
        """Return each player's type at a profile."""
        found = []
        for size in reversed(self.shape):
            found.append(profile % size)
            profile = profile // size
        return found[::-1]

    def own(self, state: RoundState) -> dict[str, Seen]:
        """Show every player its type, what outcomes are worth to it, and what it paid."""
        kinds = self._kinds(state.nature["profile"])
        return {
            name: {
                "type": kind[..., None],
                "worth": look_up(kind, table, kind)[..., None, :],
                "last_payment": state.memory["paid"][..., i : i + 1],
            }
            for i, (name, kind, table) in enumerate(zip(self.parties, kinds, self.values, strict=True))
        }

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Draw the outcome at the reports, and take the payments."""
        kinds, said = self._kinds(nature["profile"]), [acts[name]["report"] for name in self.parties]
        xp, cell, true = namespace(u), said[0] * 0, to_float(said[0]) * 0.0
        for size, report, kind in zip(self.shape, said, kinds, strict=True):
            cell = cell * size + report
            true = true + to_float(report == kind)
        outcome = categorical(u[..., 0], look_up(u, self.lotteries, cell))
        pays = look_up(u, self.payments, cell)
        welfare = look_up(u, self.worth, outcome)
        rewards = {}
        for i, (name, kind) in enumerate(zip(self.parties, kinds, strict=True)):
            value = look_up(u, self._flat[i], kind * len(self.outcomes) + outcome)
            rewards[name] = value - pays[..., i]
            welfare = welfare + value
        sums = {"revenue": xp.sum(pays, axis=-1), "honesty": true / len(self.parties)}
        return Settled(rewards, welfare, sums, {"last_outcome": outcome, "paid": pays})

    @functools.cached_property
    def _flat(self) -> tuple[tuple[float, ...], ...]:
        """Each player's table as one row."""
        return tuple(tuple(v for row in table for v in row) for table in self.values)

    def benchmarks(self) -> Benchmarks:
        """Return the first best, what true reports lead to, and the best outcome that is fixed in advance."""
        total = surplus([np.asarray(table) for table in self.values], np.asarray(self.worth)).reshape(
            -1, len(self.outcomes)
        )
        prior = np.asarray(self.prior)
        told = float((prior * (total * np.asarray(self.lotteries)).sum(axis=-1)).sum())

        def truthful(seen: Seen) -> Acts:
            return {"report": seen["type"]}

        return Benchmarks(
            first_best=Level(
                self.repetitions * float((prior * total.max(axis=-1)).sum()),
                "the best outcome at every profile of types",
            ),
            equilibrium=Level(
                self.repetitions * told,
                "all report their types, an equilibrium of an incentive-compatible mechanism (Myerson 1979)",
                dict.fromkeys(self.parties, truthful),
            ),
            baseline=Level(self.repetitions * min(told, float((prior @ total).max())), BASELINE),
        )


BASELINE = "the best outcome fixed without asking anybody (or what the mechanism reaches, where that is less)"


def _told(kinds: tuple[Any, ...]) -> tuple[str, ...]:
    """Return names of types or outcomes: numbers short, where these remain distinct."""
    short = tuple(f"{float(kind):.4g}" if isinstance(kind, int | float | np.number) else str(kind) for kind in kinds)
    return short if len(set(short)) == len(kinds) else tuple(str(kind) for kind in kinds)


def _tuples(values: Any) -> Any:
    return tuple(_tuples(v) for v in values) if isinstance(values, list | tuple) else values
