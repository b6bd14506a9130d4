"""Foraging with a hidden poison, taboos and their enforcers: what rules without a purpose are good for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core import chance, validate
from ..core.arrays import Array, constant, full, look_up, namespace, to_float, to_int, total
from ..core.fields import Choice, Field, Real, Role
from ..core.game import Acts, Benchmarks, Level, Measure, Seen, shared
from ..core.rounds import Record, RoundGame, RoundState, Settled

COLOURS = ("red", "blue", "yellow", "green", "white", "black", "purple", "orange")
CLEAR = ("clear", "marked")


@dataclass(frozen=True)
class SillyRules(RoundGame):
    """Foragers, a slow poison and taboos (Köster et al. 2022, doi:10.1073/pnas.2106028118), without the paper's map.

    Each round every forager finds a bush of one kind, all kinds equally likely, and eats or leaves its berries; and it
    meets one other forager (the round's meetings are one cycle shift, so that each meets one and is met by one), whom
    it may zap. Berries are worth F. One kind is poisonous: it does a harm H only ``delay`` rounds later, and nobody sees
    why. Who eats a taboo kind is marked, visibly, until it is zapped: the zapper then gains the bounty B, the marked
    one loses the fine L. Zapping one who is not marked costs both M. Under ``taboos="important"`` the poison is taboo;
    under ``"silly"`` so are harmless kinds (Hadfield-Menell, Andrus and Hadfield 2019, arXiv:1811.01267). Welfare counts
    the harm of a poison in the round in which it is eaten; harm still to come is suffered in the last round.

    To the informed silly rules only cost food: the equilibrium loses what they forbid. What they give is practice in
    enforcement, to learners, and observations of it, to those who must decide whether a group enforces its rules
    (``legibility``).

    Parameters
    ----------
    foragers
        n, number of foragers.
    kinds
        k, kinds of berries.
    poison
        Which kind is poisonous, from 0; the players are not told.
    taboos
        What is taboo: ``"none"``, ``"important"`` (the poison) or ``"silly"`` (the poison and harmless kinds).
    silly
        How many harmless kinds are taboo under silly rules: at first those that follow the poison in the list.
    food
        F, worth of a bush's berries, in points.
    harm
        H, what a poisonous meal costs later, in points.
    delay
        Rounds between a poisonous meal and its harm.
    bounty, fine, misfire
        B, L and M, in points; B is not above L, for zapping must create nothing.
    altar
        ``"none"``, or ``"public"``: all but the newcomers see which kinds are forbidden.
    change
        Probability, after each round, that the list of silly taboos is drawn anew.
    newcomers
        The last so many foragers do not see the altar.
    repetitions
        Rounds of an episode.
    """

    foragers: int = 6
    kinds: int = 4
    poison: int = 0
    taboos: str = "silly"
    silly: int = 1
    food: float = 1.0
    harm: float = 3.0
    delay: int = 4
    bounty: float = 2.0
    fine: float = 2.0
    misfire: float = 1.0
    altar: str = "none"
    change: float = 0.0
    newcomers: int = 0
    repetitions: int = 20

    luck = 2
    reports = (
        Measure("poison", "share of the poisonous bushes found that were eaten", "#eaten / #found", better="lower"),
        Measure("violations", "taboo meals of a forager a round", "#taboo meals / (n T)", better="lower"),
        Measure("marked", "share of their time that foragers were marked", "#(i, t) marked / (n T)", better="lower"),
        Measure("enforced", "share of meetings with a marked forager in which it was zapped", "#zapped / #met marked"),
        Measure("misfires", "zaps of the unmarked, of a forager a round", "#zapped unmarked / (n T)", better="lower"),
    )

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.whole("foragers", self.foragers, 2, 64)
        validate.whole("kinds", self.kinds, 2, len(COLOURS))
        validate.whole("poison", self.poison, 0, self.kinds - 1)
        validate.one_of("taboos", self.taboos, ("none", "important", "silly"))
        validate.whole("silly", self.silly, 0, self.kinds - 1)
        for name in ("food", "harm", "fine", "misfire"):
            validate.real(name, getattr(self, name), 0.0, 1e6)
        validate.real("bounty", self.bounty, 0.0, self.fine)
        validate.whole("delay", self.delay, 0, 1000)
        validate.one_of("altar", self.altar, ("none", "public"))
        validate.probability("change", self.change)
        validate.whole("newcomers", self.newcomers, 0, self.foragers)
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)

    @property
    def nature(self) -> int:  # type: ignore[override]
        """Uniform numbers with which a round opens: a bush for each forager, and who meets whom."""
        return self.foragers + 1

    @property
    def berries(self) -> tuple[str, ...]:
        """Names of the kinds."""
        return COLOURS[: self.kinds]

    @property
    def shown(self) -> bool:
        """Whether some see the altar."""
        return self.altar == "public" and self.newcomers < self.foragers

    @property
    def frivolous(self) -> int:
        """How many harmless kinds are taboo."""
        return self.silly if self.taboos == "silly" else 0

    # ---- the game in words and fields ---------------------------------------------------------------------------

    @property
    def about(self) -> str:
        """The rules in words; neither which kind is poisonous nor what is taboo."""
        late = f"{self.delay} round{'s' if self.delay > 1 else ''} later" if self.delay else "at once"
        lines = [
            f"{self.foragers} foragers live from berries of {self.kinds} kinds: {', '.join(self.berries)}. In each of "
            f"{self.repetitions} rounds you find a bush of one kind, all equally likely, and eat its berries or leave them. "
            f"In points, a meal of berries is worth {self.food:g}. One kind, always the same, is poisonous: eating it costs you "
            f"{self.harm:g} {late} (what is still to come is suffered in the last round). You are not told which "
            f"kind it is, nor what your points in a round are made of.",
            "Some kinds may be taboo, the poisonous one, harmless ones or none. Who eats a taboo kind is marked, and all "
            "see it, until it is zapped.",
            f"In each round you also meet one other forager and may zap it, in the same moment as you eat. If it bore a mark "
            f"from before, you gain {self.bounty:g}, it loses {self.fine:g} and that mark is gone. If it bore none, you "
            f"lose {self.misfire:g} and so does it. Each forager meets one other and is met by one other, at random.",
        ]
        if self.shown:
            blind = f" Newcomers, the last {self.newcomers} of the list, cannot read it." if self.newcomers else ""
            lines.append(f"An altar says which kinds are forbidden, that is taboo.{blind}")
        if self.change and self.frivolous:
            lines.append(
                f"After each round, with probability {self.change:g}, it is drawn anew which harmless kinds are taboo."
            )
        return " ".join(lines)

    def cast(self) -> tuple[Role, ...]:
        """One role: the foragers."""
        people = tuple(f"forager_{i}" for i in range(self.foragers))
        late = self.harm * (self.delay + 1)
        points = Real(-late - self.misfire - max(self.fine, self.misfire), self.food + self.bounty)
        sees = [
            Field("bush", Choice(self.berries), "the kind of berries that you found"),
            Field("mark", Choice(CLEAR), "whether you are marked", verifiable=True),
            Field("meets", Choice(people), "whom you meet"),
            Field("met", Choice(CLEAR), "whether the forager whom you meet is marked"),
            Field("marks", Choice(CLEAR), "who is marked", each=people, verifiable=True),
            Field("zapped", Choice(("no", "yes")), "whether you were zapped last round", verifiable=True),
            Field("points", points, "what you got last round, all in all", "points"),
        ]
        if self.shown:
            law = Choice(("allowed", "forbidden", "unreadable"))
            sees.append(Field("altar", law, "what the altar says of each kind", each=self.berries))
        acts = (
            Field("eat", Choice(("leave", "eat")), "what you do with the berries that you found"),
            Field("zap", Choice(("pass", "zap")), "what you do to the forager whom you meet"),
        )
        return (Role("forager", self.foragers, tuple(sees), acts, "you want many points for yourself"),)

    # ---- the game in arrays -------------------------------------------------------------------------------------

    def open(self, u: Array) -> Record:
        """Draw what each finds, and how far off in the circle of foragers those are whom they meet."""
        return {
            "bush": chance.whole(u[..., : self.foragers], 0, self.kinds - 1),
            "shift": chance.whole(u[..., self.foragers], 1, self.foragers - 1),
        }

    def recall(self, like: Array) -> Record:
        """Return that nobody is marked and no harm is under way."""
        none = full(like, (*like.shape, self.foragers), 0, integer=True)
        due = full(like, (*like.shape, self.foragers, max(self.delay, 1)), 0, integer=True)
        return {"clock": like, "first": like, "marked": none, "due": due, "zapped": none, "points": to_float(none)}

    def forbidden(self, first: Array) -> Array:
        """Return which kinds are taboo, integer (*batch, kinds), where the silly taboos begin at ``first`` (*batch)."""
        place = constant(first, self._places)
        silly = ((place - first[..., None]) % max(self.kinds - 1, 1) < self.frivolous) & (place < self.kinds - 1)
        return to_int(silly | ((place == self.kinds - 1) & (self.taboos != "none")))

    @functools.cached_property
    def _places(self) -> tuple[int, ...]:
        """How far each kind stands behind the poison in the list, from 0; the poison's own place is the last."""
        return tuple((kind - self.poison - 1) % self.kinds for kind in range(self.kinds))

    @functools.cached_property
    def _seats(self) -> tuple[int, ...]:
        return tuple(range(self.foragers))

    @functools.cached_property
    def _blind(self) -> tuple[bool, ...]:
        """Who cannot read the altar."""
        return tuple(seat >= self.foragers - self.newcomers for seat in self._seats)

    def _met(self, shift: Array) -> Array:
        """Return whom each meets, (*batch, foragers)."""
        return (constant(shift, self._seats) + shift[..., None]) % self.foragers

    def own(self, state: RoundState) -> dict[str, Seen]:
        """Show each forager its bush, whom it meets, the marks, and the altar if it can read it."""
        memory, met = state.memory, self._met(state.nature["shift"])
        xp = namespace(met)
        seen = {
            "bush": state.nature["bush"],
            "mark": memory["marked"],
            "meets": met,
            "met": xp.take_along_axis(memory["marked"], met, axis=-1),
            "marks": shared(memory["marked"], self.foragers),
            "zapped": memory["zapped"],
            "points": memory["points"],
        }
        if self.shown:
            blind = constant(met, self._blind)
            law = shared(self.forbidden(memory["first"]), self.foragers)
            seen["altar"] = xp.where(blind[:, None], 2, law)
        return {"forager": seen}

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Eat, mark, zap, and let the poison work."""
        xp, mine = namespace(u), acts["forager"]
        bush, marked, clock = nature["bush"], memory["marked"], memory["clock"] + 1
        eaten, zap = to_int(mine["eat"] == 1), to_int(mine["zap"] == 1)
        poisonous = to_int(bush == self.poison)
        taken = eaten * poisonous
        broke = eaten * xp.take_along_axis(self.forbidden(memory["first"]), bush, axis=-1)
        met = self._met(nature["shift"])
        by = (2 * constant(met, self._seats) - met) % self.foragers
        prey = xp.take_along_axis(marked, met, axis=-1)
        struck = xp.take_along_axis(zap, by, axis=-1)
        hits, missed, caught = zap * prey, zap * (1 - prey), struck * marked

        due = memory["due"] if self.delay else taken[..., None]
        last = (clock >= self.repetitions)[..., None]
        left = total(due) + (taken if self.delay else 0)
        hurt = xp.where(last, left, due[..., 0])
        after = xp.concat([due[..., 1:], taken[..., None]], axis=-1) if self.delay else due * 0
        points = (
            to_float(eaten) * self.food
            - to_float(hurt) * self.harm
            + to_float(hits) * self.bounty
            - to_float(caught) * self.fine
            - to_float(missed + struck - caught) * self.misfire
        )
        good = to_float(total(eaten)) * self.food - to_float(total(taken)) * self.harm
        zaps = to_float(total(hits)) * (self.bounty - self.fine) - to_float(total(missed)) * (2.0 * self.misfire)
        anew = chance.whole(u[..., 1], 0, max(self.kinds - 2, 0))
        counts = (taken, poisonous, broke, marked, hits, prey, missed)
        return Settled(
            {"forager": points},
            welfare=good + zaps,
            sums={name: to_float(total(count)) for name, count in zip(self.summed, counts, strict=True)},
            memory={
                "clock": clock,
                "first": xp.where(u[..., 0] < self.change, anew, memory["first"]),
                "marked": to_int((marked * (1 - struck) + broke) > 0),
                "due": after,
                "zapped": struck,
                "points": points,
            },
        )

    @property
    def summed(self) -> tuple[str, ...]:
        """Names of what is counted."""
        return ("taken", "poisonous", "broke", "marked", "hits", "prey", "missed")

    def measures(self, state: RoundState) -> Record:
        """Return shares of what was found and met, and means of a forager a round."""
        sums, played = state.sums, to_float(state.played + (state.played == 0)) * self.foragers

        def share(part: str, whole: str) -> Array:
            return sums[part] / (sums[whole] + (sums[whole] == 0))

        return {
            "poison": share("taken", "poisonous"),
            "violations": sums["broke"] / played,
            "marked": sums["marked"] / played,
            "enforced": share("hits", "prey"),
            "misfires": sums["missed"] / played,
        }

    # ---- what theory says ---------------------------------------------------------------------------------------

    def benchmarks(self) -> Benchmarks:
        """Return what the informed reach with and without enforcement, and what is reached by eating all."""
        n, rounds, k, bad = self.foragers, self.repetitions, self.kinds, self.poison
        wholesome = self.food >= self.harm  # a poison that pays all the same
        fined, silly = self.food > self.fine, self.frivolous
        best = rounds * n * ((k - 1) * self.food + max(self.food - self.harm, 0.0)) / k
        everything = rounds * n * (k * self.food - self.harm) / k
        # while enforcement is to come a taboo kind is eaten only if it pays in spite of the fine; in the last round it is free
        lost = silly * (self.fine - self.bounty if fined else self.food)
        if wholesome and self.taboos != "none":
            gain = self.food - self.harm
            lost += self.fine - self.bounty if gain > self.fine else gain
        lawful = best - (rounds - 1) * n * lost / k
        # the list must be seen by all, or never change, for all to know it
        known = not silly or not self.change or silly == k - 1 or (self.shown and not self.newcomers)
        at_first = tuple(self.forbidden(np.zeros((), dtype=np.int64)).tolist())

        def eats(careful: bool) -> Callable[[Seen], Acts]:
            def play(seen: Seen) -> Acts:
                bush = seen["bush"]
                xp = namespace(bush)
                eat = (bush != bad) | wholesome
                if not careful:
                    return {"eat": to_int(eat), "zap": bush * 0}
                if self.shown and not self.newcomers:
                    taboo = xp.take_along_axis(seen["altar"], bush[..., None], axis=-1)[..., 0]
                else:
                    taboo = look_up(bush, at_first, bush)
                free = (taboo == 0) | (seen["round"] == rounds)
                worth = self.food - self.harm * to_float(bush == bad)
                return {"eat": to_int(eat & (free | (worth > self.fine))), "zap": seen["met"]}

            return play

        def greedy(seen: Seen) -> Acts:
            return {"eat": seen["bush"] * 0 + 1, "zap": seen["bush"] * 0}

        return Benchmarks(
            first_best=Level(best, "all that is wholesome is eaten, the poison is left", {"forager": eats(False)}),
            equilibrium=Level(
                lawful,
                "complete information, by backward induction: a mark is zapped in the next round for certain, so taboos are "
                "kept until the last round where the fine exceeds the food",
                {"forager": eats(True)} if known else None,
            ),
            baseline=Level(
                everything,
                "nobody knows what does the harm, which comes late: all is eaten and nobody zapped",
                {"forager": greedy},
            ),
        )


def legibility(
    density: float, enforcement: float, rounds: int, threshold: float, prior: tuple[float, float] = (1.0, 1.0)
) -> tuple[float, float]:
    """Return what an observer of a group's rules comes to believe of their enforcement, and whether it stays.

    Each round a rule is broken with probability ``density`` and the observer sees whether that is punished, which
    happens with probability ``enforcement``, q. It begins with a Beta belief about q and stays in the group while its
    mean is at least ``threshold`` (after Hadfield-Menell, Andrus and Hadfield 2019, arXiv:1811.01267: silly rules raise
    the density). Returned are the expected squared error of its belief's mean after ``rounds`` rounds and the
    probability that it stays then, both exact: sums over how many violations (binomial) and how many of them were punished.

    Parameters
    ----------
    density
        Probability that a round shows whether a rule is enforced.
    enforcement
        q, probability that a violation is punished.
    rounds
        Rounds observed.
    threshold
        Least enforcement at which staying pays.
    prior
        The two parameters, positive, of the observer's first belief.
    """
    from scipy.stats import binom

    validate.probability("density", density)
    validate.probability("enforcement", enforcement)
    validate.probability("threshold", threshold)
    validate.whole("rounds", rounds, 0, 10_000)
    a, b = (validate.real("prior", value, 1e-9, 1e9) for value in prior)
    density, enforcement = (p if p > 1e-200 else 0.0 for p in (density, enforcement))  # smaller ones overflow in SciPy
    seen: Any = np.arange(rounds + 1)[:, None]
    punished: Any = np.arange(rounds + 1)[None, :]
    chances = binom.pmf(seen, rounds, density) * binom.pmf(punished, seen, enforcement)
    mean = (a + punished) / (a + b + seen)
    stays = chances * (mean >= threshold - 1e-12)
    return float((chances * (mean - enforcement) ** 2).sum()), float(stays.sum())
