"""Indirect reciprocity: one helps a stranger of whom one knows what others know, or say."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from ..core import measures, validate
from ..core.arrays import Array, constant, full, look_up, namespace, to_float, to_int, total
from ..core.fields import Choice, Field, Integer, Real, Role
from ..core.game import Acts, Benchmarks, Level, Measure, Seen, Stage
from ..core.rounds import Record, RoundGame, RoundState, Settled

Bits = tuple[int, ...]

CASES = tuple(itertools.product(("good", "bad"), ("good", "bad"), ("gives", "keeps")))
"""What an assessment depends on, in the order of its bits: the donor's reputation, the recipient's, the act."""

ASSESSMENTS: dict[str, Bits] = {
    # GG gives, keeps; GB gives, keeps; BG gives, keeps; BB gives, keeps (donor, recipient): 1 makes good, 0 bad
    "L1": (1, 0, 1, 1, 1, 0, 1, 0),
    "L2": (1, 0, 0, 1, 1, 0, 1, 0),
    "L3": (1, 0, 1, 1, 1, 0, 1, 1),
    "L4": (1, 0, 1, 1, 1, 0, 0, 1),
    "L5": (1, 0, 0, 1, 1, 0, 1, 1),
    "L6": (1, 0, 0, 1, 1, 0, 0, 1),
    "L7": (1, 0, 1, 1, 1, 0, 0, 0),
    "L8": (1, 0, 0, 1, 1, 0, 0, 0),
    "scoring": (1, 0, 1, 0, 1, 0, 1, 0),
}
"""Norms by name: the leading eight of Ohtsuki and Iwasa (2004), and scoring in two levels."""

ASSESSMENTS |= {"standing": ASSESSMENTS["L1"], "stern": ASSESSMENTS["L6"]}
NORMS = ("none", "image", *ASSESSMENTS)


@dataclass(frozen=True)
class Donor(RoundGame):
    """The donor game of indirect reciprocity (Nowak and Sigmund 1998, doi:10.1038/31225; Ohtsuki and Iwasa 2004,
    doi:10.1016/j.jtbi.2004.06.005).

    Each round a lot makes pairs of a donor and a recipient. Giving costs the donor ``cost`` and brings the recipient
    ``benefit``; with ``amounts`` a donor gives any share of her resources, and the recipient gets benefit/cost times that.
    A social norm judges each donor's act by her own and the recipient's reputation before the round. Welfare is what is
    received less what is given. In finitely many rounds nobody gives in the subgame-perfect equilibrium; norms are stable in
    the sense of evolution, against few mutants in a large population: ``invasion``.

    Parameters
    ----------
    members
        Number of players, n; if it is odd one has no partner in a round.
    benefit, cost
        What a recipient gets when helped, and what it costs the donor, in coins.
    norm
        ``"none"``; ``"image"``, a score that rises by 1 with a gift and falls by 1 without one (Nowak and Sigmund 1998);
        ``"scoring"``, the same in two levels; ``"L1"`` to ``"L8"``, the leading eight; ``"standing"`` (L1; Sugden 1986) and
        ``"stern"`` (L6; Kandori 1992); or 4 bits (recipient good, bad x gives, keeps) or 8 bits (the same for a donor who is
        good, then for one who is bad), 1 where the act makes good. All are good, or have a score of 0, at first.
    public
        Whether there is one reputation of each player; else each has an opinion of her own of everybody, herself included.
    knowledge
        Probability that a donor knows her recipient's reputation, q.
    execution
        Probability that a gift fails against the donor's will.
    assessment
        Probability that a judgement is the opposite of what the norm says; where opinions are private, each judge errs alone.
    trace
        How many earlier acts a donor is told: the recipient's last, that of the one who then was the recipient, and so on.
    amounts
        Whether donors give a share of their resources in place of giving or keeping.
    endowment
        Resources at first, in coins; with ``amounts`` only.
    threshold
        Share of her resources from which on a donor counts as one who gives; with ``amounts`` only.
    most
        Highest score under ``"image"``.
    repetitions
        Rounds of an episode; all know when it ends.
    """

    members: int = 10
    benefit: float = 3.0
    cost: float = 1.0
    norm: str | Bits = "L3"
    public: bool = True
    knowledge: float = 1.0
    execution: float = 0.0
    assessment: float = 0.0
    trace: int = 0
    amounts: bool = False
    endowment: float = 10.0
    threshold: float = 0.5
    most: int = 5
    repetitions: int = 10

    stages = (Stage("", "donors decide what to give"),)

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.whole("members", self.members, 2, 64)
        validate.real("cost", self.cost, 1e-6, 1e6)
        validate.real("benefit", self.benefit, self.cost, 1e9)
        if isinstance(self.norm, str):
            validate.one_of("norm", self.norm, NORMS)
        else:
            given: Any = self.norm
            if (
                not isinstance(given, list | tuple)
                or len(given) not in (4, 8)
                or any(bit not in (0, 1) for bit in given)
            ):
                raise ValueError(f"norm: a name or 4 or 8 bits, each 0 or 1, got {given!r}; names: {', '.join(NORMS)}")
            object.__setattr__(self, "norm", tuple(int(bit) for bit in given))
        for name in ("knowledge", "execution", "assessment", "threshold"):
            validate.probability(name, getattr(self, name))
        validate.whole("trace", self.trace, 0, 8)
        validate.real("endowment", self.endowment, 1e-6, 1e6)
        validate.whole("most", self.most, 1, 1_000_000)
        validate.whole("repetitions", self.repetitions, 1, 100_000)
        if self.amounts and self.repetitions * math.log(self.benefit / self.cost) > math.log(1e12):
            raise ValueError(
                f"repetitions: with amounts resources can grow by {self.benefit / self.cost:g} a round, so at most "
                f"{math.floor(math.log(1e12) / math.log(self.benefit / self.cost))} rounds, got {self.repetitions}"
            )

    @classmethod
    def vallinder_hughes(cls, repetitions: int = 12) -> Self:
        """Return the game of Vallinder and Hughes (2024, arXiv:2412.10270): 12 players, gifts doubled, a trace of 3.

        Who is donor is drawn by lot each round. Selection between generations is not part of the game.
        """
        return cls(12, 2.0, 1.0, "none", trace=3, amounts=True, endowment=10.0, repetitions=repetitions)

    # ---- the norm -----------------------------------------------------------------------------------------------

    @functools.cached_property
    def table(self) -> Bits | None:
        """The eight bits of the norm, in the order of ``CASES``; None for a score or no norm."""
        bits = ASSESSMENTS.get(self.norm) if isinstance(self.norm, str) else self.norm
        return bits if bits is None or len(bits) == 8 else (*bits, *bits)

    @functools.cached_property
    def actions(self) -> Bits:
        """What a follower of the norm does as a donor, 1 to give: good towards good, good towards bad, bad towards the same.

        She helps the good, and the bad only if she is bad herself, and that, and nothing else, makes her good again, under a
        norm that lets the good refuse the bad (Ohtsuki and Iwasa 2004).
        """
        bits = self.table
        return (1, 0, 1, int(bits is not None and bits[3] == 1 and bits[6] == 1 and bits[7] == 0))

    @property
    def errs(self) -> bool:
        """Whether gifts or judgements can go wrong."""
        return self.execution > 0.0 or self.assessment > 0.0

    @property
    def judged(self) -> bool:
        """Whether there are reputations."""
        return self.norm != "none"

    # ---- the game in words and fields ---------------------------------------------------------------------------

    @property
    def pairs(self) -> int:
        """Donors in a round."""
        return self.members // 2

    @property
    def nature(self) -> int:  # type: ignore[override]
        """Numbers that pair the players, and say who knows whom."""
        return self.members * (2 if self._blind else 1)

    @property
    def luck(self) -> int:  # type: ignore[override]
        """Numbers by which gifts and judgements go wrong."""
        return (self.members if self.execution else 0) + (self._judges * self.members if self._misjudged else 0)

    @property
    def _judges(self) -> int:
        return 1 if self.public else self.members

    @property
    def _blind(self) -> bool:
        return self.judged and self.knowledge < 1.0

    @property
    def _misjudged(self) -> bool:
        return self.judged and self.assessment > 0.0

    @functools.cached_property
    def _seats(self) -> tuple[int, ...]:
        return tuple(range(self.members))

    @property
    def ceiling(self) -> float:
        """Coins that nobody can have more of."""
        growth = self.benefit / self.cost if self.amounts else 1.0
        return float(math.ceil(self.members * self.endowment * growth**self.repetitions * 1.000001))

    @property
    def reports(self) -> tuple[Measure, ...]:  # type: ignore[override]
        """Gifts, payoffs, reputations and, where resources grow, how evenly."""
        shares = "sum_it (share given) / #donors" if self.amounts else "#gifts / #donors"
        found = [
            Measure("cooperation", "mean share that donors gave, gifts that fail not counted", shares),
            Measure("payoff", "mean payoff a player and round", "sum_it pi_it / (n T)", "coins"),
        ]
        if self.judged:
            means, unit = ("mean score", "points") if self.norm == "image" else ("share of good reputations", "")
            found.append(Measure("reputations", f"{means} at the end", "mean over judges and players", unit))
        if self.amounts:
            found.append(
                Measure("equality", "how evenly resources were spread at the end", "1 - Gini of the resources")
            )
        return tuple(found)

    @property
    def about(self) -> str:
        """The rules in words, with all numbers."""
        factor = f"{self.benefit / self.cost:g}"
        lines = [
            f"In each of {self.repetitions} rounds {self.members} players are paired by lot, and a lot makes one of each pair the "
            "donor and the other the recipient. You do not learn who the other is."
        ]
        if self.members % 2:
            lines[0] += " One player, drawn by lot, has no partner."
        if self.amounts:
            lines.append(
                f"Everyone starts with {self.endowment:g} coins. The donor gives a share of the coins that she has then; the "
                f"recipient gets {factor} times what is given. Your reward is what you have at the end less what you started with."
            )
        else:
            lines.append(
                f"The donor gives or keeps. Giving costs her {self.cost:g} and brings the recipient {self.benefit:g}; keeping "
                "costs and brings nothing. Your reward is the sum of what you receive less what giving costs you."
            )
        if self.execution:
            lines.append(
                f"A gift fails, at no cost, with probability {self.execution:g}; it then looks as if nothing had been given."
            )
        if self.judged:
            lines.append(self._norm_in_words())
        if self.trace:
            lines.append(
                f"A donor is told up to {self.trace} earlier acts: the share that her recipient gave when last a donor (1 all that "
                "could be given, 0 nothing, -1 if there was no such act); then the same of the one who was the recipient of that "
                "act, as it stood then; and so on."
            )
        return "\n".join(lines)

    def _norm_in_words(self) -> str:
        line = f"{self.threshold:g} of her coins"
        gave, kept = (f"gave at least {line}", f"gave less than {line}") if self.amounts else ("gave", "kept")
        if self.norm == "image":
            said = (
                f"Everyone has a score, 0 at first, which rises by 1 when as a donor she {gave} and falls by 1 when she "
                f"did not, between -{self.most} and {self.most}."
            )
        else:
            assert self.table is not None
            second = self.table[:4] == self.table[4:]
            rules = []
            for (own, other, done), bit in zip(CASES, self.table, strict=True):
                if second and own == "bad":
                    continue
                who = "who" if second else f"who was {own} and"
                did = gave if done == "gives" else kept
                rules.append(f"- {who} {did}, towards a {other} recipient: {'good' if bit else 'bad'}")
            said = (
                "Everyone has a reputation, good at first. A donor's is judged anew after the round, of one\n"
                + "\n".join(rules)
            )
        if not self.public:
            said += (
                "\nEach player has an opinion of her own of everybody, herself included, and sees all that donors do."
            )
        if self.assessment:
            whose = "" if self.public else " of each player"
            said += f"\nEach judgement{whose} is the opposite with probability {self.assessment:g}."
        if self.knowledge < 1.0:
            said += f"\nA donor learns her recipient's reputation with probability {self.knowledge:g}."
        return said

    def cast(self) -> tuple[Role, ...]:
        """One role: the players, any of whom may be donor or recipient."""
        coins = Real(0.0, max(self.ceiling, self.benefit) if self.amounts else self.benefit)
        whose = "" if self.public else ", in your opinion"
        sees = [Field("part", Choice(("donor", "recipient", "no partner")), "what you are in this round")]
        if self.norm == "image":
            score = Integer(-self.most, self.most)
            sees.append(
                Field("recipient_score", score, f"if you are the donor: your recipient's score{whose} (0 if unknown)")
            )
            sees.append(
                Field("known", Choice(("no", "yes")), "whether you are the donor and know the recipient's score")
            )
            sees.append(Field("own_score", score, f"your own score{whose}", verifiable=self.public))
        elif self.judged:
            good = Choice(("bad", "good"))
            kinds = Choice(("bad", "good", "unknown"))
            sees.append(
                Field("recipient_reputation", kinds, f"if you are the donor: your recipient's reputation{whose}")
            )
            sees.append(Field("own_reputation", good, f"your own reputation{whose}", verifiable=self.public))
        if self.trace:
            names = tuple(f"act_{k + 1}" for k in range(self.trace))
            sees.append(Field("trace", Real(-1.0, 1.0), "if you are the donor: the chain of earlier acts", each=names))
        if self.amounts:
            sees.append(Field("resources", coins, "what you have", "coins"))
        sees.append(Field("gave", coins, "what you gave last round", "coins", verifiable=True))
        sees.append(Field("received", coins, "what you received last round", "coins", verifiable=True))
        give = (
            Field("give", Real(0.0, 1.0), "the share of your coins that you give if you are the donor")
            if self.amounts
            else Field("give", Choice(("keep", "give")), "what you do if you are the donor")
        )
        return (Role("player", self.members, tuple(sees), (give,), "you want many coins for yourself"),)

    # ---- the game in arrays -------------------------------------------------------------------------------------

    def open(self, u: Array) -> Record:
        """Pair the players: to whom each gives, the number of players if to nobody; and who knows whom."""
        xp, n, seats = namespace(u), self.members, constant(u, self._seats)
        lot = u[..., :n]
        first = (lot[..., None, :] < lot[..., None]) | (
            (lot[..., None, :] == lot[..., None]) & (seats[None, :] < seats[:, None])
        )
        rank = total(to_int(first))
        gives = (rank[..., None, :] == rank[..., None] + 1) & (rank % 2 == 0)[..., None]
        found = {"recipient": xp.where(xp.any(gives, axis=-1), total(to_int(gives) * seats), n)}
        if self._blind:
            found["known"] = to_int(u[..., n:] < self.knowledge)
        return found

    def recall(self, like: Array) -> Record:
        """Return that nobody has given yet, and all are good."""
        n, batch = self.members, tuple(like.shape)
        none = full(like, (*batch, n), 0.0)
        memory = {"gave": none, "received": none}
        if self.amounts:
            memory["resources"] = none + self.endowment
        if self.judged:
            first = 0 if self.norm == "image" else 1
            memory["opinion"] = full(like, (*batch, self._judges, n), first, integer=True)
        if self.trace:
            memory["trace"] = full(like, (*batch, n, self.trace), -1.0)
        return memory

    def _gives(self, nature: Record) -> Array:
        """Return 1.0 where a player (row) may give to another (column): (*batch, n, n)."""
        recipient = nature["recipient"]
        return to_float(recipient[..., None] == constant(recipient, self._seats))

    def own(self, state: RoundState) -> dict[str, Seen]:
        """Show each player her part, what she knows of the recipient, and her own account."""
        memory, gives = state.memory, self._gives(state.nature)
        xp, donor = namespace(gives), state.nature["recipient"] < self.members
        seen = {"gave": memory["gave"], "received": memory["received"]}
        seen["part"] = xp.where(donor, 0, 2 - to_int(total(gives, axis=-2) > 0.0))
        if self.amounts:
            seen["resources"] = memory["resources"]
        if self.trace:
            seen["trace"] = xp.where(donor[..., None], xp.matmul(gives, memory["trace"]), -1.0)
        if self.judged:
            opinion = memory["opinion"]
            other = to_int(total(gives * to_float(opinion)))
            if self.public:
                mine = opinion[..., 0, :]
            else:
                seats = constant(opinion, self._seats)
                mine = total(opinion * to_int(seats[:, None] == seats[None, :]))
            known = donor & (state.nature["known"] == 1) if self._blind else donor
            if self.norm == "image":
                seen |= {"recipient_score": xp.where(known, other, 0), "known": to_int(known), "own_score": mine}
            else:
                seen |= {"recipient_reputation": xp.where(known, other, 2), "own_reputation": mine}
        return {"player": seen}

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Give, receive, and be judged."""
        gives, n = self._gives(nature), self.members
        xp, donor = namespace(gives), nature["recipient"] < n
        share = xp.where(donor, to_float(acts["player"]["give"]), 0.0)
        if self.execution:
            share = xp.where(u[..., :n] < self.execution, 0.0, share)
        gave = share * memory["resources"] if self.amounts else share * self.cost
        brought = gave * (self.benefit / self.cost) if self.amounts else share * self.benefit
        received = total(gives * brought[..., None], axis=-2)
        payoff = received - gave
        after: Record = {"gave": gave, "received": received}
        if self.amounts:
            after["resources"] = memory["resources"] + payoff
        if self.judged:
            noise = u[..., u.shape[-1] - self._judges * n :] if self._misjudged else None
            after["opinion"] = self._judge(memory["opinion"], gives, donor, share, noise)
        if self.trace:
            chain = xp.concat([share[..., None], xp.matmul(gives, memory["trace"])[..., : self.trace - 1]], axis=-1)
            after["trace"] = xp.where(donor[..., None], chain, memory["trace"])
        welfare = total(payoff)
        return Settled(
            {"player": payoff},
            welfare=welfare,
            sums={"cooperation": total(share) / self.pairs, "payoff": welfare / n},
            memory=after,
        )

    def _judge(self, opinion: Array, gives: Array, donor: Array, share: Array, noise: Array | None) -> Array:
        """Return opinions (*batch, judges, n) after the donors' acts."""
        xp = namespace(opinion)
        well = share >= (self.threshold if self.amounts else 1.0)
        if self.norm == "image":
            good = well[..., None, :]
        else:
            other = to_int(xp.matmul(to_float(opinion), xp.matrix_transpose(gives)))
            case = 4 * (1 - opinion) + 2 * (1 - other) + (1 - to_int(well))[..., None, :]
            assert self.table is not None
            good = look_up(opinion, self.table, case) == 1
        if noise is not None:
            good = good != (noise.reshape(opinion.shape) < self.assessment)
        judged = to_int(good)
        if self.norm == "image":
            judged = xp.clip(opinion + 2 * judged - 1, -self.most, self.most)
        return xp.where(donor[..., None, :], judged, opinion)

    @property
    def summed(self) -> tuple[str, ...]:
        """Gifts and payoffs."""
        return ("cooperation", "payoff")

    def measures(self, state: RoundState) -> Record:
        """Return gifts and payoffs a round, and how reputations and resources stand."""
        found = super().measures(state)
        if self.judged:
            found["reputations"] = total(total(to_float(state.memory["opinion"]))) / (self._judges * self.members)
        if self.amounts:
            found["equality"] = measures.equality(state.memory["resources"])
        return found

    # ---- what theory says ---------------------------------------------------------------------------------------

    def _moves(self, actions: Bits) -> tuple[Any, Any]:
        """For a player with these actions, P(gives) and P(judged good), [own reputation, recipient's], 0 bad and 1 good.

        One who does not know the recipient does what she would do if both were good.
        """
        table = self.table or ASSESSMENTS["scoring"]
        gives, good = np.zeros((2, 2)), np.zeros((2, 2))
        for own, other in itertools.product((1, 0), (1, 0)):
            will = self.knowledge * actions[2 * (1 - own) + 1 - other] + (1.0 - self.knowledge) * actions[0]
            gives[own, other] = p = will * (1.0 - self.execution)
            at = 4 * (1 - own) + 2 * (1 - other)
            right = p * table[at] + (1.0 - p) * table[at + 1]
            good[own, other] = right * (1.0 - self.assessment) + (1.0 - right) * self.assessment
        return gives, good

    def invasion(self, mutant: Bits) -> tuple[float, float]:
        """Return the long-run payoffs a round of a follower of the norm and of a mutant, each once donor and once recipient.

        The population is infinite and follows the norm (``actions``); mutants are rare; reputations are public or, which is the
        same, judged without error. Residents' reputations are at the stationary point that is reached from all good, the
        mutant's at its own (Ohtsuki and Iwasa 2004). The norm withstands the mutant if the first payoff is the higher one.

        Parameters
        ----------
        mutant
            What a mutant does, 1 to give: when good towards good, when good towards bad, when bad towards good, when bad towards
            bad. (1, 1, 1, 1) always gives, (0, 0, 0, 0) never.
        """
        if not self._solvable or self.amounts:
            raise ValueError(
                f"invasion: needs a norm without amounts, public or judged without error, and 'image' without errors at all; got "
                f"norm={self.norm!r}, public={self.public}, assessment={self.assessment:g}, amounts={self.amounts}"
            )
        if len(mutant) != 4 or any(bit not in (0, 1) for bit in mutant):
            raise ValueError(f"mutant: 4 bits, each 0 or 1, got {mutant!r}")
        gives, good = self._moves(self.actions)
        mine, judged = self._moves(mutant)
        share = 1.0  # of residents who are good
        for _ in range(100_000):
            split = np.array([1.0 - share, share])
            old, share = share, float(split @ good @ split)
            if abs(share - old) < 1e-15:
                break
        else:
            if abs(share - old) > 1e-9:
                raise RuntimeError(f"invasion: reputations do not settle: {old:g}, then {share:g} are good")
        split = np.array([1.0 - share, share])
        stay, rise = (judged @ split)[1], (judged @ split)[0]
        own = rise / (1.0 - stay + rise) if rise + 1.0 - stay > 0.0 else 1.0
        seen = np.array([1.0 - own, own])
        resident = (self.benefit - self.cost) * float(split @ gives @ split)
        return resident, self.benefit * float(split @ gives @ seen) - self.cost * float(seen @ mine @ split)

    @property
    def _solvable(self) -> bool:
        """Whether reputations follow a chain that can be solved: public or judged without error, and good or bad."""
        if self.norm in ("none", "image"):
            return self.norm == "image" and not self.errs
        return self.public or self.assessment == 0.0

    @functools.cached_property
    def norm_gifts(self) -> float:
        """Expected gifts in an episode in which all follow the norm, from all good, exactly.

        The number of good players is a Markov chain; its transitions are summed pair by pair, drawn without replacement.
        """
        if not self._solvable:
            raise ValueError(
                f"norm_gifts: no chain to solve with norm={self.norm!r}, public={self.public} and these errors"
            )
        gives, good = self._moves(self.actions)
        n, pairs, number = self.members, self.pairs, np.arange(self.members + 1.0)
        moves, gifts = np.zeros((n + 1, n + 1)), np.zeros(n + 1)
        for start in range(n + 1):
            chances = np.zeros((n + 1, 2 * pairs + 1))  # good players not yet paired, change in the number of the good
            chances[start, pairs] = 1.0
            for pair in range(pairs):
                left, after = n - 2 * pair, np.zeros_like(chances)
                for own, other in itertools.product((0, 1), (0, 1)):
                    donor = number if own else left - number
                    recipient = number - own if other else left - 1 - (number - own)
                    part = chances * (np.clip(donor * recipient, 0.0, None) / (left * (left - 1)))[:, None]
                    gifts[start] += part.sum() * gives[own, other]
                    part = np.roll(part, -(own + other), axis=0)
                    for new, p in ((1, good[own, other]), (0, 1.0 - good[own, other])):
                        after += p * np.roll(part, new - own, axis=1)
                chances = after
            for change, p in enumerate(chances.sum(axis=0)):
                if p > 0.0:
                    moves[start, min(max(start + change - pairs, 0), n)] += p
        at, expected = np.eye(n + 1)[n], 0.0
        for _ in range(self.repetitions):
            expected += float(at @ gifts)
            at = at @ moves
        return expected

    def benchmarks(self) -> Benchmarks:
        """Return universal giving, the equilibrium without gifts, and what the norm reaches where that can be computed."""

        def gives(all_: bool) -> dict[str, Callable[[Seen], Acts]]:
            def player(seen: Seen) -> Acts:
                give = seen["part"] * 0 + int(all_)
                return {"give": to_float(give) if self.amounts else give}

            return {"player": player}

        def follows(seen: Seen) -> Acts:
            if self.norm == "image":
                give = to_int(seen["recipient_score"] >= 0)
            else:
                other, own = seen["recipient_reputation"], seen["own_reputation"]
                known = look_up(own, self.actions, 2 * (1 - own) + to_int(other == 0))
                give = namespace(own).where(other == 2, 1, known)
            return {"give": to_float(give) if self.amounts else give}

        gained = (self.benefit - self.cost) * (1.0 - self.execution)
        most, source = self.repetitions * self.pairs * gained, "every donor gives: a gift brings more than it costs"
        if self.amounts:
            growth = 1.0 + self.pairs / self.members * gained / self.cost
            most = self.members * self.endowment * (growth**self.repetitions - 1.0)
            source = "every donor gives all: a coin grows the same whoever has it before the lot"
        others = {}
        if self._solvable and (not self.amounts or (not self.errs and (self.table or (1,))[0] == 1)):
            worth = most if self.amounts else (self.benefit - self.cost) * self.norm_gifts
            others["norm"] = Level(
                min(worth, most),
                "all follow the norm: Markov chain of the number of good reputations; no equilibrium, for the last donors gain by "
                "keeping",
                {"player": follows},
            )
        return Benchmarks(
            first_best=Level(most, source, gives(True)),
            equilibrium=Level(
                0.0, "subgame-perfect, by backward induction from the last round: nobody gives", gives(False)
            ),
            others=others,
        )
