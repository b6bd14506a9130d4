"""Games in normal form, once or repeated: the prisoner's dilemma and its relatives."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from ..core import measures, solve, validate
from ..core.arrays import Array, constant, full, look_up, to_float, to_int, total
from ..core.fields import Choice, Field, Integer, Role
from ..core.game import Acts, Benchmarks, Game, Level, Measure, Outcome, Seen, shared, spread

Nested = tuple[Any, ...]


class MatrixState(NamedTuple):
    """Rounds played (*batch); per player (*batch, players): last action, total payoff, times the first action was taken."""

    played: Array
    last: Array
    total: Array
    first: Array


def _dilemma(R: float, S: float, T: float, P: float) -> Nested:
    return (((R, S), (T, P)), ((R, T), (S, P)))


@dataclass(frozen=True)
class MatrixGame(Game):
    """A game of simultaneous moves given by its payoffs, repeated a known number of times.

    The default is the prisoner's dilemma with (R, S, T, P) = (3, 0, 5, 1) (Axelrod 1984). ``stag_hunt``, ``chicken``,
    ``matching_pennies`` and ``public_goods`` make the others.

    Parameters
    ----------
    payoffs
        Nested numbers of shape (players, actions of player 0, actions of player 1, ...).
    actions
        Names of the actions, the same for every player.
    repetitions
        Rounds of an episode; all know when it ends.
    """

    payoffs: Nested = (((3, 0), (5, 1)), ((3, 5), (0, 1)))
    actions: tuple[str, ...] = ("cooperate", "defect")
    repetitions: int = 1

    reports = (
        Measure("payoff", "mean payoff a player and round", "sum_it pi_it / (n T)"),
        Measure("first_action", "share of moves that were the first action", "#{(i, t): a_it = first} / (n T)"),
        Measure(
            "equality",
            "how evenly payoffs were spread",
            "1 - Gini of the payoffs, above the table's lowest if negative",
        ),
    )

    def __post_init__(self) -> None:
        """Refuse payoffs whose shape does not fit the actions."""
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)
        try:
            table = np.asarray(self.payoffs, dtype=float)
        except (TypeError, ValueError) as error:
            raise ValueError(f"payoffs: a table of numbers without holes, got {self.payoffs!r}") from error
        count = table.shape[0] if table.ndim else 0
        if count < 2 or table.shape != (count, *(len(self.actions),) * count) or not np.isfinite(table).all():
            raise ValueError(f"payoffs: finite, of shape (players, {len(self.actions)}, ...), got shape {table.shape}")
        object.__setattr__(self, "actions", tuple(self.actions))
        object.__setattr__(self, "payoffs", _tuples(table.tolist()))

    @classmethod
    def prisoners_dilemma(cls, R: float = 3, S: float = 0, T: float = 5, P: float = 1, rounds: int = 1) -> Self:
        """Return the prisoner's dilemma: T > R > P > S."""
        if not T > R > P > S:
            raise ValueError(f"payoffs: a prisoner's dilemma has T > R > P > S, got R={R}, S={S}, T={T}, P={P}")
        return cls(_dilemma(R, S, T, P), repetitions=rounds)

    @classmethod
    def stag_hunt(cls, stag: float = 4, hare: float = 3, rounds: int = 1) -> Self:
        """Return the stag hunt (Rousseau 1755): hunting the stag pays only together."""
        return cls(_dilemma(stag, 0, hare, hare), ("stag", "hare"), rounds)

    @classmethod
    def chicken(cls, prize: float = 5, crash: float = -10, rounds: int = 1) -> Self:
        """Return chicken, or hawk and dove: two who hold their course crash."""
        return cls(_dilemma(0, -prize, prize, crash), ("swerve", "straight"), rounds)

    @classmethod
    def matching_pennies(cls, rounds: int = 1) -> Self:
        """Return matching pennies: player 0 wins if the coins match."""
        return cls((((1, -1), (-1, 1)), ((-1, 1), (1, -1))), ("heads", "tails"), rounds)

    @classmethod
    def public_goods(cls, players: int = 4, endowment: float = 20, mpcr: float = 0.4, rounds: int = 1) -> Self:
        """Return the public goods game (Isaac and Walker 1988): all get ``mpcr`` times all that is given, and keep the rest.

        Each gives its whole endowment or keeps it. All had better give and each had better keep: 1/players < mpcr < 1.
        """
        validate.whole("players", players, 2, 8)  # the table has 2^players cells
        validate.real("endowment", endowment, 1e-6, 1e4)
        if not 1 / players < validate.real("mpcr", mpcr) < 1:
            raise ValueError(f"mpcr: above 1/players = {1 / players:g} and below 1, or it is no dilemma, got {mpcr!r}")
        keeps = np.indices((2,) * players)
        payoffs = endowment * (keeps + mpcr * (players - keeps.sum(axis=0)))
        return cls(payoffs.tolist(), ("give", "keep"), rounds)

    @functools.cached_property
    def table(self) -> np.ndarray[Any, Any]:
        """Payoffs as an array (players, actions, ...)."""
        return np.asarray(self.payoffs, dtype=float)

    @functools.cached_property
    def _lowest(self) -> float:
        """Lowest payoff in the table, or 0."""
        return min(0.0, float(self.table.min()))

    @functools.cached_property
    def _cells(self) -> Nested:
        """Payoffs of all players, cell by cell."""
        return tuple(map(tuple, self.table.reshape(self.n, -1).T.tolist()))

    @property
    def n(self) -> int:
        """Number of players."""
        return int(self.table.shape[0])

    @property
    def about(self) -> str:
        """The rules in words, with the whole table."""
        names = ", ".join(f"player_{i}" for i in range(self.n))
        lines = [
            f"In each of {self.repetitions} rounds {names} choose at once among {', '.join(self.actions)}. Payoffs, in that order:"
        ]
        for cell in np.ndindex(self.table.shape[1:]):
            chosen = ", ".join(self.actions[a] for a in cell)
            paid = ", ".join(f"{self.table[i][cell]:g}" for i in range(self.n))
            lines.append(f"- {chosen}: {paid}")
        return "\n".join(lines)

    @functools.cached_property
    def roles(self) -> tuple[Role, ...]:
        """One role: the players."""
        seen = Choice((*self.actions, "none"))
        names = tuple(f"player_{i}" for i in range(self.n))
        sees = (
            Field("round", Integer(1, self.repetitions), "this round's number"),
            Field("actions", seen, "what each chose last round", each=names, verifiable=True),
            Field("own", seen, "what you chose last round", verifiable=True),
        )
        acts = (Field("action", Choice(self.actions), "what you choose"),)
        return (Role("player", self.n, sees, acts, "you want a high payoff for yourself"),)

    @property
    def rounds(self) -> int:
        """Rounds."""
        return self.repetitions

    def start(self, u: Array) -> MatrixState:
        """Return the state before the first round."""
        batch = tuple(u.shape[:-1])
        shape = (*batch, self.n)
        none = full(u, shape, len(self.actions), integer=True)
        return MatrixState(full(u, batch, 0, integer=True), none, full(u, shape, 0.0), full(u, shape, 0.0))

    def view(self, state: MatrixState) -> dict[str, Seen]:
        """Show the round and the last actions."""
        n = self.n
        number = state.played + (state.played < self.repetitions)
        return {"player": {"round": spread(number, n), "actions": shared(state.last, n), "own": state.last}}

    def step(self, state: MatrixState, acts: Mapping[str, Acts], u: Array) -> Outcome:
        """Look the payoffs up."""
        action = to_int(acts["player"]["action"])
        size = len(self.actions)
        cell = action[..., 0]
        for i in range(1, self.n):
            cell = cell * size + action[..., i]
        pay = look_up(state.total, self._cells, cell)
        played = state.played + 1
        first = state.first + to_float(action == 0)
        after = MatrixState(played, action, state.total + pay, first)
        return Outcome(after, {"player": pay}, played >= self.repetitions, total(pay))

    def round(self, state: MatrixState) -> Array:
        """Return the rounds played."""
        return state.played

    def measures(self, state: MatrixState) -> dict[str, Array]:
        """Return payoff, share of the first action, and equality."""
        played = to_float(state.played + (state.played == 0))
        return {
            "payoff": total(state.total) / (played * self.n),
            "first_action": total(state.first) / (played * self.n),
            "equality": measures.equality(state.total - self._lowest * to_float(state.played)[..., None]),
        }

    def benchmarks(self) -> Benchmarks:
        """Return the best cell, and the equilibrium of the stage game with the lowest welfare, played every round."""
        welfare = self.table.sum(axis=0)
        best = tuple(int(i) for i in np.unravel_index(int(welfare.argmax()), welfare.shape))
        pure = solve.pure_nash(self.table)
        if pure:
            worst = min(pure, key=lambda cell: float(welfare[cell]))
            level = Level(
                self.repetitions * float(welfare[worst]),
                "equilibrium in pure actions of each round with the lowest welfare, by enumeration (regret 0)",
                {"player": self._always(worst)},
            )
        else:
            if self.n != 2:
                raise ValueError(
                    "benchmarks: no equilibrium in pure actions, and mixed ones are found for 2 players only"
                )
            x, y = min(solve.mixed_nash(self.table), key=lambda mix: float(mix[0] @ welfare @ mix[1]))
            level = Level(
                self.repetitions * float(x @ welfare @ y), "mixed equilibrium of each round, by support enumeration"
            )
        return Benchmarks(
            first_best=Level(
                self.repetitions * float(welfare[best]),
                "the cell with the highest sum of payoffs",
                {"player": self._always(best)},
            ),
            equilibrium=level,
        )

    def _always(self, cell: tuple[int, ...]) -> Any:
        def play(seen: Seen) -> Acts:
            own = seen["own"] * 0
            count = own.shape[-1]
            if count != len(cell) and len(set(cell)) > 1:
                raise ValueError("play: an equilibrium in which players differ is played for all seats at once")
            return {"action": own + constant(own, cell[:count])}

        return play


def _tuples(values: Any) -> Any:
    return tuple(map(_tuples, values)) if isinstance(values, list) else values
