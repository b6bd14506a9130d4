"""The naming game: how a population without a centre agrees on a convention, and how few can overturn it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

from ..core import validate
from ..core.arrays import Array, constant, full, namespace, to_float, to_int, total
from ..core.fields import Choice, Field, Real, Role
from ..core.game import Acts, Benchmarks, Level, Measure, Seen
from ..core.rounds import Record, RoundGame, RoundState, Settled


@dataclass(frozen=True)
class Naming(RoundGame):
    """Pairs of strangers are paid for saying the same name (Ashery, Aiello and Baronchelli 2025, doi:10.1126/sciadv.adu9368).

    N agents are paired at random, without knowing with whom; each of a pair says one of W names; both gain if the names
    are equal and lose if not. An agent remembers its last M interactions: what it said, what it heard. The population
    has agreed when 3N interactions in a row have succeeded. ``committed`` agents, the last ones, say the name ``push``
    from round ``since`` on, whatever their players decide: they are part of the world, so that one parameter sweeps
    their share. Nobody is told of them (Centola, Becker, Brackbill and Baronchelli 2018, doi:10.1126/science.aas8827). With
    ``convention`` the agents begin with a memory full of agreement on that name.

    Any name that all say is an equilibrium; the levels take ``push`` where some are committed to it. Of agents who answer
    best to what they remember hearing, ``critical_mass`` tells the least share of committed ones that wins over the rest.

    Parameters
    ----------
    agents
        N, number of agents.
    names
        The pool of W names.
    memory
        M, interactions that an agent remembers.
    success, failure
        What each of a pair gets for equal and for different names, in points.
    pairing
        Who interacts in a round: ``"all"``, in N/2 pairs, or one ``"pair"``, as in the papers; the others wait.
    committed
        How many agents are committed to a name.
    push
        The name that they say, as its place in the pool, from 0.
    since
        The first round in which they do.
    convention
        The name that all remember at the start, as its place in the pool; None for empty memories.
    stop
        Whether the episode ends when the population agrees (successes are counted from round ``since`` on, where agents
        are committed). What is left is then paid as if it were played in agreement.
    repetitions
        Most rounds of an episode.
    """

    agents: int = 24
    names: tuple[str, ...] = ("F", "J")
    memory: int = 5
    success: float = 100.0
    failure: float = -50.0
    pairing: str = "all"
    committed: int = 0
    push: int = 1
    since: int = 1
    convention: int | None = None
    stop: bool = False
    repetitions: int = 30

    reports = (
        Measure("success", "share of interactions in which the names were equal", "#successes / #interactions"),
        Measure("consensus", "whether 3N interactions in a row have succeeded", "1 if so, else 0"),
        Measure(
            "interactions",
            "interactions until the population agreed, all of them if it has not",
            "#interactions until 3N successes in a row",
            better="lower",
        ),
        Measure(
            "agreement", "how many say the commonest name, committed agents left out", "max_w #{i: last_i = w} / n"
        ),
        Measure("pushed", "how many say the name pushed, committed agents left out", "#{i: last_i = push} / n"),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.whole("agents", self.agents, 2, 1000)
        object.__setattr__(self, "names", validate.names("names", self.names))
        if not 2 <= len(self.names) <= 64:
            raise ValueError(f"names: 2 to 64 of them, got {len(self.names)}")
        validate.whole("memory", self.memory, 1, 100)
        validate.real("success", self.success, -1e6, 1e6)
        validate.real("failure", self.failure, -1e6, self.success)
        validate.one_of("pairing", self.pairing, ("all", "pair"))
        if self.pairing == "all" and self.agents % 2:
            raise ValueError(f"agents: an even number if all are paired, got {self.agents}; add one, or pairing='pair'")
        validate.whole("committed", self.committed, 0, self.agents - 1)
        validate.whole("push", self.push, 0, len(self.names) - 1)
        validate.whole("since", self.since, 1, 1_000_000)
        if self.convention is not None:
            validate.whole("convention", self.convention, 0, len(self.names) - 1)
        if not isinstance(self.stop, bool):
            raise ValueError(f"stop: true or false, got {self.stop!r}")
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)

    @property
    def nature(self) -> int:  # type: ignore[override]
        """Uniform numbers with which a round opens: their order pairs the agents."""
        return self.agents

    @property
    def pairs(self) -> int:
        """Interactions a round."""
        return self.agents // 2 if self.pairing == "all" else 1

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the places of the memory, the latest first."""
        return ("last", *(f"{i}_ago" for i in range(2, self.memory + 1)))

    # ---- the game in words and fields ---------------------------------------------------------------------------

    @property
    def about(self) -> str:
        """The rules in words."""
        if self.pairing == "all":
            who = "In each round all are paired at random"
        else:
            who = "In each round two of them, drawn at random, are paired, and what the others say does not count"
        end = (
            f" The game ends early once {3 * self.agents} interactions in a row have succeeded; the rounds that are left are "
            "paid as if they were played in agreement."
            if self.stop
            else ""
        )
        return (
            f"{self.agents} agents play for {self.repetitions} rounds. {who}; nobody knows with whom. Each of a pair says one of "
            f"the names {', '.join(self.names)}, both at once. If they say the same name each gets {self.success:g} points, if "
            f"not each gets {self.failure:g}. You remember your last {self.memory} interactions: what you said and what you "
            f"heard.{end}"
        )

    def cast(self) -> tuple[Role, ...]:
        """One role: the agents."""
        name, past = Choice(self.names), Choice((*self.names, "nothing"))
        most = self.repetitions * max(abs(self.success), abs(self.failure))
        sees = [
            Field("said", past, "what you said in your last interactions", each=self.slots, verifiable=True),
            Field("partners", past, "what your partners said in them", each=self.slots, verifiable=True),
            Field("score", Real(-most, most), "your points so far", "points"),
        ]
        if self.pairing == "pair":
            sees.append(Field("turn", Choice(("wait", "play")), "whether you are one of the pair in this round"))
        acts = (Field("name", name, "the name that you say"),)
        return (Role("agent", self.agents, tuple(sees), acts, "you want many points for yourself"),)

    # ---- the game in arrays -------------------------------------------------------------------------------------

    def open(self, u: Array) -> Record:
        """Pair the agents: in random order, the first with the second, the third with the fourth and so on."""
        xp = namespace(u)
        order = xp.argsort(u, axis=-1)
        rank = xp.argsort(order, axis=-1)
        other = rank + 1 - 2 * (rank % 2)
        if self.agents % 2:  # the last is in no pair
            other = xp.where(other < self.agents, other, rank)
        partner = xp.take_along_axis(order, other, axis=-1)
        return {"partner": to_int(partner), "turn": to_int(rank < 2 * self.pairs)}

    def recall(self, like: Array) -> Record:
        """Return memories that are empty, or full of the convention."""
        n, none = self.agents, len(self.names)
        begin = none if self.convention is None else self.convention
        past = full(like, (*like.shape, self.memory, n), begin, integer=True)  # the latest first
        score = full(like, (*like.shape, n), 0.0)
        return {
            "said": past,
            "partners": past,
            "score": score,
            "clock": like,
            "streak": like,
            "until": like,
            "agreed": like,
        }

    def own(self, state: RoundState) -> dict[str, Seen]:
        """Show each agent its memory, its score and whether it is its turn."""
        past = {name: namespace(state.played).matrix_transpose(state.memory[name]) for name in ("said", "partners")}
        seen = {**past, "score": state.memory["score"]}
        return {"agent": seen | ({"turn": state.nature["turn"]} if self.pairing == "pair" else {})}

    @functools.cached_property
    def _zealous(self) -> tuple[bool, ...]:
        """Which agents are committed."""
        return tuple(i >= self.agents - self.committed for i in range(self.agents))

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Compare the names, pay, and remember."""
        name, turn, n = to_int(acts["agent"]["name"]), nature["turn"], self.agents
        xp, clock = namespace(name), memory["clock"] + 1
        if self.committed:
            bound = constant(name, self._zealous) & (clock >= self.since)[..., None]
            name = xp.where(bound, self.push, name)
        heard = xp.take_along_axis(name, nature["partner"], axis=-1)
        ended = memory["agreed"] == 1 if self.stop else clock < 0
        met = (turn == 1) & ~ended[..., None]
        points = xp.where(met, xp.where(name == heard, self.success, self.failure), 0.0)
        good = total(to_int(met & (name == heard))) // 2

        counted = (clock >= self.since) if self.committed else (clock > 0)
        streak = xp.where(counted & (good == self.pairs), memory["streak"] + self.pairs, 0)
        agreed = to_int((memory["agreed"] == 1) | (streak >= 3 * n))
        over = (agreed == 1) if self.stop else ended
        # the rest of an episode that ends: so many interactions for each agent, in agreement
        left = to_float(to_int(over & ~ended) * (self.repetitions - clock)) * (2.0 * self.pairs / n)
        points = points + left[..., None] * self.success

        def noted(past: Array, new: Array) -> Array:
            now = xp.concat([new[..., None, :], past[..., :-1, :]], axis=-2)
            return now if self.pairing == "all" and not self.stop else xp.where(met[..., None, :], now, past)

        return Settled(
            {"agent": points},
            welfare=total(points),
            sums={"success": to_float(good) / self.pairs},
            memory={
                "said": noted(memory["said"], name),
                "partners": noted(memory["partners"], heard),
                "score": memory["score"] + points,
                "clock": clock,
                "streak": streak,
                "until": xp.where(memory["agreed"] == 1, memory["until"], clock * self.pairs),
                "agreed": agreed,
            },
            over=over,
        )

    @property
    def summed(self) -> tuple[str, ...]:
        """What is counted."""
        return ("success",)

    def measures(self, state: RoundState) -> Record:
        """Return the success rate, whether and when the population agreed, and what its members said last."""
        memory, free = state.memory, self.agents - self.committed
        last = memory["said"][..., 0, :free]
        shares = [total(to_float(last == w)) / free for w in range(len(self.names))]
        xp = namespace(last)
        return {
            "success": state.sums["success"] / to_float(state.played + (state.played == 0)),
            "consensus": to_float(memory["agreed"]),
            "interactions": to_float(memory["until"]),
            "agreement": xp.max(xp.stack(shares, axis=-1), axis=-1),
            "pushed": shares[self.push],
        }

    # ---- what theory says ---------------------------------------------------------------------------------------

    @property
    def critical_mass(self) -> float:
        """Least share of committed agents that wins over a large population of best replies to memory.

        The others say the name that they have heard most often in their last M interactions, of the old one and the new
        (Ellison's best reply, 1993, doi:10.2307/2951493, as in Centola et al. 2018). Where a share p of all say the new one,
        each of them says it next with probability g(p), the chance of a majority of M draws (half where they are even).
        With a share c of committed agents p becomes c + (1 - c) g(p), which passes every p if c > (p - g(p)) / (1 - g(p))
        at each: the critical mass is the maximum of the right-hand side.
        """
        m = self.memory

        def swayed(p: float) -> float:
            chances = [math.comb(m, i) * p**i * (1.0 - p) ** (m - i) for i in range(m + 1)]
            return math.fsum(chances[m // 2 + 1 :]) + (0.0 if m % 2 else chances[m // 2] / 2.0)

        return max((p - g) / (1.0 - g) for p in (i / 10_000 for i in range(5_001)) for g in (swayed(p),))

    def _welfare(self, together: float, rounds: int) -> float:
        """Return the welfare of some rounds in which the names of a pair are equal with a probability."""
        return 2.0 * rounds * self.pairs * (together * self.success + (1.0 - together) * self.failure)

    def benchmarks(self) -> Benchmarks:
        """Return what agreement yields, what saying anything yields, and what keeping to the convention does."""
        n, c, rounds = self.agents, self.committed, self.repetitions
        late = max(rounds - self.since + 1, 0) if c else 0  # rounds in which agents are committed
        chance = 1.0 / len(self.names)
        zeal = c * (c - 1) / (n * (n - 1))  # both of a pair are committed
        split = zeal + (n - c) * (n - c - 1) / (n * (n - 1))  # both or neither
        best = self._welfare(1.0, rounds)
        apart = self._welfare(chance, rounds - late) + self._welfare(zeal + (1.0 - zeal) * chance, late)
        common = self.push if c else self.convention or 0

        def says(name: int) -> dict[str, Callable[[Seen], Acts]]:
            def play(seen: Seen) -> Acts:
                return {"name": seen["round"] * 0 + name}

            return {"agent": play}

        others = {}
        if c and self.convention not in (None, self.push) and not self.stop:
            others["convention"] = Level(
                self._welfare(1.0, rounds - late) + self._welfare(split, late),
                "all but the committed keep to the convention: a pair agrees if both or neither of them are committed",
                says(int(self.convention or 0)),
            )
        source = f"all say {self.names[common]}: every interaction succeeds"
        return Benchmarks(
            first_best=Level(best, source, says(common)),
            equilibrium=Level(best, f"{source}, and who says another name fails (any name would do)", says(common)),
            baseline=Level(apart, "all but the committed say any name, all equally likely, at every time"),
            others=others,
        )
