"""The norms game and the metanorms game: how bold to be in breaking a norm, how vengeful in defending it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..core import chance, validate
from ..core.arrays import Array, constant, device_of, namespace, to_float, to_int, total
from ..core.fields import Field, Integer, Real, Role
from ..core.game import Acts, Benchmarks, Level, Measure, Seen, Stage
from ..core.rounds import Record, RoundGame, RoundState, Settled

_GAMMA = -0x61C8864680B583EB  # the stride of SplitMix64, as a signed 64-bit integer
_BLOCK = 1 << 14  # failures to punish that are looked into at once

OBSERVERS = ("anyone", "witnesses again", "witnesses")


class Tally(NamedTuple):
    """How often in a generation each agent did or met what is paid for: counts (*batch, agents) of float64."""

    defected: Array
    punished: Array
    punishing: Array
    metapunished: Array
    metapunishing: Array


@dataclass(frozen=True)
class NormsGame(RoundGame):
    """Axelrod's norms game (1986, doi:10.2307/1960858); with ``metanorms``, who lets a defection pass can be punished too.

    A round is one generation. Each agent chooses two traits, boldness b and vengefulness v, both k / (2^bits - 1), and
    keeps them for all its opportunities to defect. An opportunity has a chance S of being seen, uniform on (0, 1); the
    agent knows S and defects if b > S, gains T and costs every other H. Each other agent sees the defection with
    probability S and, if it does, punishes it with probability v: the defector pays P, the punisher E. With metanorms,
    each agent k besides the two sees with probability S that a witness j let the defection pass, and then punishes j
    with probability v_k: j pays P', k pays E'. Scores add up and traits are fixed within a generation, so the order in
    which opportunities come cannot matter.

    Parameters
    ----------
    agents
        N, number of agents.
    opportunities
        Opportunities to defect that each agent has in a generation.
    metanorms
        Whether failing to punish is punished.
    bits
        Bits of a trait, which has 2^bits values.
    temptation, harm, punishment, enforcement
        T, H, P, E, in points; what hurts is not above 0.
    metapunishment, metaenforcement
        P' and E', in points.
    observers
        Who sees that a witness let a defection pass: "anyone" with probability S, whether or not it saw the defection
        itself (the reading that gives Axelrod's results); "witnesses again", who saw the defection and, with probability
        S, see this too; "witnesses", who saw the defection, for certain.
    sight
        What S belongs to: each "agent" and opportunity has its own (Axelrod's), or all agents share one an "opportunity".
    repetitions
        Generations of an episode.
    """

    agents: int = 20
    opportunities: int = 4
    metanorms: bool = False
    bits: int = 3
    temptation: float = 3.0
    harm: float = -1.0
    punishment: float = -9.0
    enforcement: float = -2.0
    metapunishment: float = -9.0
    metaenforcement: float = -2.0
    observers: str = "anyone"
    sight: str = "agent"
    repetitions: int = 1

    luck = 1  # the address from which the numbers of a generation are drawn, as many as are needed
    stages = (Stage("", "all choose their traits at once"),)
    reports = (
        Measure("boldness", "mean boldness a generation, 0 to 1", "sum_it b_it / (N T)", better="lower"),
        Measure("vengefulness", "mean vengefulness a generation, 0 to 1", "sum_it v_it / (N T)"),
        Measure(
            "defection", "share of opportunities to defect that were taken", "defections / (N O T)", better="lower"
        ),
        Measure("punishment", "punishments of defectors a generation", "sum_t punishments / T"),
        Measure(
            "metapunishment", "punishments of those who let a defection pass, a generation", "sum_t metapunishments / T"
        ),
        Measure("score", "mean score of an agent a generation", "sum_it score_it / (N T)", "points"),
    )

    def __post_init__(self) -> None:
        """Refuse parameters that do not describe such a game."""
        validate.whole("agents", self.agents, 2, 200)
        validate.whole("opportunities", self.opportunities, 1, 100)
        validate.whole("bits", self.bits, 1, 8)
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)
        validate.real("temptation", self.temptation, 0.0, 1e6)
        for name in ("harm", "punishment", "enforcement", "metapunishment", "metaenforcement"):
            validate.real(name, getattr(self, name), -1e6, 0.0)
        validate.one_of("observers", self.observers, OBSERVERS)
        validate.one_of("sight", self.sight, ("agent", "opportunity"))
        if not isinstance(self.metanorms, bool):
            raise ValueError(f"metanorms: true or false, got {self.metanorms!r}")

    @property
    def top(self) -> int:
        """The highest value of a trait, which stands for 1."""
        return (1 << self.bits) - 1

    @property
    def about(self) -> str:
        """The rules in words."""
        n, top, many = self.agents, self.top, self.repetitions > 1
        whose = (
            "each agent and each opportunity" if self.sight == "agent" else "each opportunity, the same for all agents"
        )
        lines = [
            f"{n} agents live under a norm. {f'In each of {self.repetitions} generations' if many else 'Once'} every agent chooses "
            f"its boldness B and its vengefulness V, whole numbers from 0 to {top}. Then each agent has {self.opportunities} "
            f"opportunities to break the norm, that is, to defect.",
            f"An opportunity has a chance S of being seen, drawn between 0 and 1, all equally likely, anew for {whose}. The agent "
            f"defects if B/{top} is above S. A defection gives the defector {self.temptation:g} points and each other agent "
            f"{self.harm:g}.",
            f"Each other agent sees the defection with probability S. Who sees it punishes the defector with probability V/{top}: "
            f"that is {self.punishment:g} points for the defector and {self.enforcement:g} for the punisher.",
        ]
        if self.metanorms:
            who = {
                "anyone": "Each third agent, whether it saw the defection or not, sees that with probability S",
                "witnesses again": "Each third agent who saw the defection sees that too with probability S",
                "witnesses": "Each third agent who saw the defection knows that",
            }[self.observers]
            lines.append(
                f"Who sees a defection and does not punish it can be punished for that. {who}, and then punishes with probability "
                f"V/{top} (its own V): {self.metapunishment:g} points for the one who let it pass and {self.metaenforcement:g} for "
                f"the one who punishes that."
            )
        lines.append("Your score is the sum of your points.")
        return "\n".join(lines)

    def cast(self) -> tuple[Role, ...]:
        """One role: the agents."""
        trait = Integer(0, self.top)
        others = self.agents - 1
        pain = self.harm + self.punishment + self.enforcement
        if self.metanorms:
            pain += (self.agents - 2) * (self.metapunishment + self.metaenforcement)
        score = Real(self.opportunities * others * pain, self.opportunities * self.temptation)
        sees = (
            Field("score", score, "your score in the last generation, 0 before the first", "points"),
            Field("defection", Real(0.0, 1.0), "share of opportunities that all took in it", verifiable=True),
            Field("boldness", Real(0.0, float(self.top)), "mean B of all agents in it"),
            Field("vengefulness", Real(0.0, float(self.top)), "mean V of all agents in it"),
        )
        acts = (
            Field("boldness", trait, f"your B: you defect if B/{self.top} is above the chance of being seen"),
            Field("vengefulness", trait, f"your V: you punish what you see with probability V/{self.top}"),
        )
        return (Role("agent", self.agents, sees, acts, "you want a high score for yourself"),)

    def recall(self, like: Array) -> Record:
        """Return that nothing has happened yet."""
        zero = to_float(like)
        none = namespace(zero).broadcast_to(zero[..., None], (*zero.shape, self.agents))
        return {"scores": none * 1.0, "defection": zero, "boldness": zero, "vengefulness": zero}

    def own(self, state: RoundState) -> dict[str, Seen]:
        """Show each agent its own score."""
        return {"agent": {"score": state.memory["scores"]}}

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Live a generation."""
        mine, n, chances = acts["agent"], self.agents, self.agents * self.opportunities
        b, v = to_float(mine["boldness"]), to_float(mine["vengefulness"])
        did = self.tally(b / self.top, v / self.top, u[..., 0])
        score = (
            did.defected * self.temptation
            + (total(did.defected)[..., None] - did.defected) * self.harm
            + did.punished * self.punishment
            + did.punishing * self.enforcement
            + did.metapunished * self.metapunishment
            + did.metapunishing * self.metaenforcement
        )
        welfare, share = total(score), total(did.defected) / chances
        sums = {
            "boldness": total(b) / (self.top * n),
            "vengefulness": total(v) / (self.top * n),
            "defection": share,
            "punishment": total(did.punished),
            "metapunishment": total(did.metapunished),
            "score": welfare / n,
        }
        after = {"scores": score, "defection": share, "boldness": total(b) / n, "vengefulness": total(v) / n}
        return Settled({"agent": score}, welfare, sums, after)

    # ---- what chance does -----------------------------------------------------------------------------------------

    def tally(self, b: Array, v: Array, u: Array) -> Tally:
        """Count what happens in a generation to agents with traits b and v (*batch, agents); u (*batch) is its address.

        Every event has its own number: of opportunity and defector, of witness, of who sees the witness. NumPy draws
        only those that are needed; other libraries draw all, and the counts are the same.
        """
        xp, n, times = namespace(b), self.agents, self.opportunities
        address = to_int(xp.floor(u * 2.0**53))
        if self.sight == "agent":
            seen = chance.uniform(chance.key(0, address), times * n).reshape((*u.shape, times, n))
        else:
            each = chance.uniform(chance.key(0, address), times)
            seen = xp.broadcast_to(each[..., None], (*u.shape, times, n))
        defect = b[..., None, :] > seen
        count = _sparse if isinstance(defect, np.ndarray) and device_of(defect) is not None else _dense
        return count(self, v, address, seen, defect)

    @functools.cached_property
    def _places(self) -> tuple[int, ...]:
        return tuple(range(self.agents))

    # ---- what theory says -----------------------------------------------------------------------------------------

    def expected(self, b: Any, v: Any) -> Any:
        """Return the expected scores of agents with traits b and v, each (agents,) in 0..1: E S^k over S < b is b^(k+1)/(k+1)."""
        b, v, n = np.asarray(b, dtype=float), np.asarray(v, dtype=float), self.agents
        one, two, three = b, b**2 / 2, b**3 / 3
        off = 1.0 - np.eye(n)
        score = self.temptation * one + self.harm * (off @ one)
        score = score + self.punishment * two * (off @ v) + self.enforcement * v * (off @ two)
        if self.metanorms:
            # weight[d, j, k]: chance that j lets d's defection pass and k punishes j for it
            power = {"anyone": three, "witnesses again": b**4 / 4, "witnesses": three}[self.observers]
            third = off[:, :, None] * off[:, None, :] * off[None, :, :]
            weight = third * power[:, None, None] * (1.0 - v)[None, :, None] * v[None, None, :]
            score = (
                score + self.metapunishment * weight.sum(axis=(0, 2)) + self.metaenforcement * weight.sum(axis=(0, 1))
            )
        return self.opportunities * score

    def regret(self, boldness: int, vengefulness: int) -> float:
        """Return the most that one agent gains, in expectation, by leaving a profile in which all choose the same traits."""
        b, v = (np.full(self.agents, value / self.top) for value in (boldness, vengefulness))
        held, best = float(self.expected(b, v)[0]), -np.inf
        for other in np.ndindex(self.top + 1, self.top + 1):
            b[0], v[0] = other[0] / self.top, other[1] / self.top
            best = max(best, float(self.expected(b, v)[0]))
        return best - held

    def benchmarks(self) -> Benchmarks:
        """Return the first best, the state without a norm (an equilibrium), and the norm where it is one too.

        Welfare falls with every punishment and is linear in the boldness of unpunished agents, so that all or none
        defect at the first best. Where nobody is vengeful, to be bold is best and to be vengeful costs.
        """
        lawless = self.repetitions * float(self.expected([1.0] * self.agents, [0.0] * self.agents).sum())
        slack = 1e-9 * max(1.0, abs(lawless))
        if self.regret(self.top, 0) > slack:
            raise RuntimeError(
                f"benchmarks: boldness 1 without vengefulness leaves a regret of {self.regret(self.top, 0):g}"
            )
        none = Level(
            lawless, "no norm: all defect and nobody punishes (expected scores; regret 0)", self._always(self.top, 0)
        )
        others = {}
        if self.regret(0, self.top) <= slack:
            source = "the norm holds: nobody defects, all would punish (expected scores; regret 0)"
            others["norm"] = Level(0.0, source, self._always(0, self.top))
        best = "nobody defects" if lawless <= 0.0 else "all defect unpunished: the temptation exceeds the harm"
        return Benchmarks(
            first_best=Level(
                max(lawless, 0.0), best, self._always(0, 0) if lawless <= 0.0 else self._always(self.top, 0)
            ),
            equilibrium=none,
            others=others,
        )

    def _always(self, boldness: int, vengefulness: int) -> dict[str, Callable[[Seen], Acts]]:
        def play(seen: Seen) -> Acts:
            zero = seen["round"] * 0
            return {"boldness": zero + boldness, "vengefulness": zero + vengefulness}

        return {"agent": play}


def _numbers(key: Array, place: Array) -> Array:
    """Return the number that ``chance.uniform(key, ...)`` has at a place."""
    with np.errstate(over="ignore"):
        bits = chance.mix(key + (place + 1) * _GAMMA)
    return to_float((bits >> 11) & 0x1FFFFFFFFFFFFF) * 2.0**-53


def _hits(key: Array, bound: Array) -> tuple[Array, Array, Array]:
    """Return rows, columns and numbers where the number of a row's key (rows,) falls below its bound (rows, agents)."""
    if 3 * np.count_nonzero(bound) > bound.size:
        u = _numbers(key[:, None], np.arange(bound.shape[-1]))
        row, column = np.nonzero(u < bound)
        return row, column, u[row, column]
    row, column = np.nonzero(bound)
    u = _numbers(key[row], column)
    low = u < bound[row, column]
    return row[low], column[low], u[low]


def _sparse(game: NormsGame, v: Array, address: Array, seen: Array, defect: Array) -> Tally:
    """Count with NumPy: one row a defection, then one row a failure to punish; what cannot happen is not drawn."""
    n, shape = game.agents, v.shape
    v, address, place = v.reshape(-1, n), address.reshape(-1), np.arange(n)
    cells = np.flatnonzero(defect)
    world, rest = np.divmod(cells, game.opportunities * n)
    who, s = rest % n, seen.reshape(-1)[cells]

    def tally(*places: tuple[Array, Array]) -> Array:
        none = np.zeros(v.size, dtype=np.int64)
        found = sum((np.bincount(at * n + agent, minlength=v.size) for at, agent in places), none)
        return to_float(found).reshape(shape)

    key = chance.key(1, address[world], rest)
    bound = s[:, None] * (place != who[:, None]) * (1.0 if game.metanorms else v[world])
    row, other, u = _hits(key, bound)  # of those who see it, u < s v punish
    punish = u < s[row] * v[world[row], other]
    by, punisher = row[punish], other[punish]
    defected, punished = tally((world, who)), tally((world[by], who[by]))
    punishing = tally((world[by], punisher))
    if not game.metanorms:
        return Tally(defected, punished, punishing, defected * 0.0, defected * 0.0)
    sees = None
    if game.observers != "anyone":
        sees = np.zeros(bound.shape, dtype=bool)
        sees[row, other] = True
    failed, failures = np.flatnonzero(~punish), []
    for block in (failed[i : i + _BLOCK] for i in range(0, len(failed), _BLOCK)):
        case, witness = row[block], other[block]
        where = world[case]
        bound = v[where] * (place != who[case][:, None]) * (place != witness[:, None])
        if game.observers != "witnesses":
            bound = s[case][:, None] * bound
        if sees is not None:
            bound = bound * sees[case]
        hit, avenger, _ = _hits(chance.key(2, key[case], witness), bound)
        failures.append((where[hit], witness[hit], avenger))
    metapunished = tally(*((at, witness) for at, witness, _ in failures))
    return Tally(defected, punished, punishing, metapunished, tally(*((at, avenger) for at, _, avenger in failures)))


def _dense(game: NormsGame, v: Array, address: Array, seen: Array, defect: Array) -> Tally:
    """Count in arrays of fixed shape (*batch, defector, witness, third), opportunity by opportunity."""
    xp, n = namespace(v), game.agents
    place = constant(v, game._places)
    defected = xp.sum(to_float(defect), axis=-2)
    punished, punishing, metapunished, metapunishing = (defected * 0.0 for _ in range(4))
    other = place != place[:, None]
    third = other[:, :, None] & other[:, None, :] & other
    for time in range(game.opportunities):
        s = seen[..., time, :, None]
        key = chance.key(1, address[..., None], place + time * n)
        u = _numbers(key[..., None], place)
        sees = (u < s) & other & defect[..., time, :, None]
        punish = sees & (u < s * v[..., None, :])
        counted = to_float(punish)
        punished, punishing = punished + total(counted), punishing + xp.sum(counted, axis=-2)
        if not game.metanorms:
            continue
        u = _numbers(chance.key(2, key[..., None], place)[..., None], place)
        rate = v[..., None, None, :]
        hit = (
            third & (sees & ~punish)[..., None] & (u < (rate if game.observers == "witnesses" else s[..., None] * rate))
        )
        counted = xp.sum(to_float(hit if game.observers == "anyone" else hit & sees[..., None, :]), axis=-3)
        metapunished, metapunishing = metapunished + total(counted), metapunishing + xp.sum(counted, axis=-2)
    return Tally(defected, punished, punishing, metapunished, metapunishing)
