"""Deliberation: citizens draft, rate, amend and vote on a statement that then binds them all."""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core import tally, validate
from ..core.arrays import Array, constant, device_of, namespace, to_float, to_int, total
from ..core.fields import Choice, Field, Real, Role, Text
from ..core.game import Acts, Benchmarks, Level, Measure, Seen, Stage, shared, spread
from ..core.rounds import Record, RoundGame, RoundState, Settled

RULES = {
    "schulze": "drafts are compared two by two (Schulze's rule): one that more citizens rate above each other draft than below "
    "it wins, and where there is none, the one with the strongest chains of victories",
    "borda": "a draft gets a point for every citizen and other draft that the citizen rates lower, half a point where it rates "
    "both alike, and the one with the most points wins",
    "plurality": "the draft that most citizens rate highest wins",
    "score": "the draft with the highest sum of ratings wins",
}
BEST = 10.0  # the highest rating


@dataclass(frozen=True)
class Deliberation(RoundGame):
    """Citizens look for common ground, in the order of the Habermas machine (Tessler et al. 2024,
    doi:10.1126/science.adq2852): drafts are rated, a winner is elected (there by Schulze's rule), it is criticised and
    revised, and voted on. Here the citizens themselves write, and positions stand for statements (Downs 1957): citizen i
    has an opinion x_i in [0, 1]^d, uniform and known to itself alone, and a statement s costs it |x_i - s|^2.

    Each citizen drafts a statement; each rates all drafts from 0 to 10; a voting rule elects one. Where drafts are
    revised, each says what it would make of the winner, and on each issue the median of these stands (of two middle ones
    the lower). Where statements are ratified, more than half must accept it, or else the status quo stays. What stands
    binds all: the position can be the parameter of a game that follows, such as a quota.

    In theory: of single-peaked preferences over one issue the median is the Condorcet winner (Black 1948), which
    Schulze's rule elects from sincere ratings of sincere drafts. The median of amendments is strategy-proof where
    preferences are single-peaked and separable over issues (Moulin 1980; Border and Jordan 1983), as they are here: to
    amend sincerely is then dominant, but for ratification, in which citizens close to the status quo may gain where an
    extreme statement fails. The mean of opinions would cost least, which is the first best.

    Parameters
    ----------
    citizens
        Number of citizens, n.
    issues
        Number of issues, d.
    rule
        By which a draft is elected: ``"schulze"`` (2011), ``"borda"``, ``"plurality"`` or ``"score"`` (sum of ratings).
    revise
        Whether the winner is amended.
    ratify
        Whether the citizens vote on what results.
    quo
        The status quo, from 0 to 1, on every issue: what stands in the first round before anything is adopted, and in
        every round in which the statement is refused.
    words
        Most characters of a text that goes with each draft and each amendment; 0 for none. Texts have no effect but
        what they have on those who read them.
    repetitions
        Rounds of an episode, each with new opinions; nothing carries over but what is remembered.
    """

    citizens: int = 5
    issues: int = 1
    rule: str = "schulze"
    revise: bool = True
    ratify: bool = True
    quo: float = 0.0
    words: int = 0
    repetitions: int = 1

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.whole("citizens", self.citizens, 3, 15)
        validate.whole("issues", self.issues, 1, 3)
        validate.one_of("rule", self.rule, tuple(RULES))
        validate.probability("quo", self.quo)
        validate.whole("words", self.words, 0, 2_000)
        validate.whole("repetitions", self.repetitions, 1, 1_000_000)
        for name in ("revise", "ratify"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name}: true or false, got {getattr(self, name)!r}")

    # ---- the game in words and fields ---------------------------------------------------------------------------

    @functools.cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Drafts, ratings, amendments and the vote, as far as there are."""
        found = [Stage("draft", "each citizen drafts a statement"), Stage("rate", "each citizen rates all drafts")]
        if self.revise:
            found.append(Stage("revise", "each citizen amends the winning draft"))
        if self.ratify:
            found.append(Stage("decide", "the citizens accept the statement or keep the status quo"))
        return tuple(found)

    @functools.cached_property
    def reports(self) -> tuple[Measure, ...]:  # type: ignore[override]
        """Losses, votes, and the positions that stand."""
        found = [
            Measure("loss", "a citizen's mean loss a round", "sum_ti |x_ti - s_t|^2 / (n T)", better="lower"),
            Measure("worst", "the largest loss of a citizen, a round", "sum_t max_i |x_ti - s_t|^2 / T", better="lower"),
            Measure("distance", "how far what stands is from the mean opinion", "sum_t |s_t - mean_i x_ti| / T", better="lower"),
        ]  # fmt: skip
        if self.ratify:
            found.append(Measure("accepted", "share of votes that accept", "#accept / (n T)"))
            found.append(Measure("adopted", "share of statements adopted", "#adopted / T"))
        found += [Measure(name, f"mean position that stands on {name}", "sum_t s_t / T") for name in self.names]
        return tuple(found)

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the issues."""
        return tuple(f"issue_{k + 1}" for k in range(self.issues))

    @property
    def about(self) -> str:
        """The rules in words."""
        on = "an issue" if self.issues == 1 else f"each of {self.issues} issues"
        way = [
            f"First each of you drafts a statement, a position from 0 to 1 on {on}. Then each rates all drafts, from 0 to "
            f"{BEST:g}; the drafts are open, and {RULES[self.rule]}; of drafts that tie the first wins."
        ]
        if self.revise:
            way.append(
                "Then each says what it would make of the winning draft, a position from 0 to 1 on each issue, and the statement "
                "becomes the median of these, issue by issue (of two middle ones the lower)."
            )
        if self.ratify:
            way.append(
                "Last each accepts the statement or refuses it. If more than half accept, it is adopted; otherwise the status quo "
                f"stays, position {self.quo:g} on each issue."
            )
        texts = " Drafts and amendments can be explained in a text, which all can read." if self.words else ""
        return (
            f"{self.citizens} citizens look for a statement that will bind them all. Each has an opinion on {on}, a number from 0 "
            "to 1, drawn anew every round, all numbers being equally likely; nobody else sees it.\n"
            + " ".join(way)
            + texts
            + " You see of all this what there was last, and zeros or nothing before the first time."
            + "\nYour reward is minus the square of the distance between your opinion and the position that stands, "
            "added up over the issues."
        )

    def cast(self) -> tuple[Role, ...]:
        """The citizens."""
        n, d = self.citizens, self.issues
        who = tuple(f"citizen_{i}" for i in range(n))
        spots = who if d == 1 else tuple(f"{name}.{issue}" for name in who for issue in self.names)
        position, rating = Real(0.0, 1.0), Real(0.0, BEST)
        sees = [
            Field("opinion", position, "your opinion, which only you see", each=self.names),
            Field("drafts", position, "the drafts", each=spots, verifiable=True),
            Field("ratings", rating, "the mean rating of each draft", each=who, verifiable=True),
            Field("winner", Choice(who), "whose draft has won", verifiable=True),
            Field("winning", position, "the winning draft", each=self.names, verifiable=True),
            Field("stands", position, "what stood after the last round", each=self.names, verifiable=True),
        ]
        acts = [
            Field("draft", position, "the statement that you draft", each=self.names, stage="draft"),
            Field("rating", rating, "your rating of each draft", each=who, stage="rate"),
        ]
        if self.revise:
            sees.append(Field("statement", position, "the statement as amended", each=self.names, verifiable=True))
            acts.append(Field("revision", position, "the statement as you want it", each=self.names, stage="revise"))
        if self.ratify:
            acts.append(
                Field("accept", Choice(("refuse", "accept")), "whether you accept the statement", stage="decide")
            )
        if self.words:
            text = Text(self.words)
            sees.append(Field("texts", text, "what was written with the drafts", each=who))
            acts.append(Field("text", text, "words that go with your draft", stage="draft"))
            if self.revise:
                sees.append(Field("critiques", text, "what was written with the amendments", each=who))
                acts.append(Field("critique", text, "what you say of the winning draft", stage="revise"))
        means = "you want the statement close to your opinion"
        return (Role("citizen", n, tuple(sees), tuple(acts), means),)

    # ---- the game in arrays -------------------------------------------------------------------------------------

    @property
    def nature(self) -> int:  # type: ignore[override]
        """Opinions."""
        return self.citizens * self.issues

    def open(self, u: Array) -> Record:
        """Draw the opinions, (*batch, citizens, issues)."""
        return {"opinions": namespace(u).reshape(u, (*u.shape[:-1], self.citizens, self.issues))}

    def recall(self, like: Array) -> Record:
        """Return the status quo."""
        return {"stands": namespace(like).stack([to_float(like) + self.quo] * self.issues, axis=-1)}

    def elected(self, ratings: Array) -> Array:
        """Return whose draft wins (*batch), from ratings (*batch, citizens, drafts)."""
        xp = namespace(ratings)
        if self.rule == "score":
            return tally.winner(functools.reduce(operator.add, (ratings[..., i, :] for i in range(self.citizens))))
        if self.rule == "plurality":
            return tally.winner(tally.plurality(xp.argmax(ratings, axis=-1), self.citizens))
        ranked = tally.schulze if self.rule == "schulze" else tally.borda
        return tally.winner(ranked(-ratings))  # only the order counts

    def drafted(self, acts: Acts) -> tuple[Array, Array, Array]:
        """Return the winner (*batch), its draft, and the statement that results (*batch, issues)."""
        xp, drafts = namespace(acts["draft"]), acts["draft"]
        winner = self.elected(acts["rating"])
        here = xp.arange(self.citizens, device=device_of(winner)) == winner[..., None]
        winning = xp.sum(xp.where(here[..., None], drafts, 0.0), axis=-2)
        if not self.revise:
            return winner, winning, winning
        return winner, winning, xp.sort(acts["revision"], axis=-2)[..., (self.citizens - 1) // 2, :]

    def own(self, state: RoundState) -> dict[str, Seen]:
        """Show each citizen its own opinion, and all of them what has been written and decided."""
        acts, n = state.acts["citizen"], self.citizens
        xp, drafts, ratings = namespace(acts["draft"]), acts["draft"], acts["rating"]
        winner, winning, statement = self.drafted(acts)
        mean = functools.reduce(operator.add, (ratings[..., i, :] for i in range(n))) / n
        seen = {
            "opinion": state.nature["opinions"],
            "drafts": shared(xp.reshape(drafts, (*drafts.shape[:-2], n * self.issues)), n),
            "ratings": shared(xp.clip(mean, 0.0, BEST), n),
            "winner": spread(winner, n),
            "winning": shared(winning, n),
            "statement": shared(statement, n),
        }
        if self.words:
            for name, act in (("texts", "text"), ("critiques", "critique"))[: 2 if self.revise else 1]:
                texts = acts[act][..., None, :, :]
                seen[name] = xp.broadcast_to(texts, (*texts.shape[:-3], n, *texts.shape[-2:]))
        return {"citizen": seen}

    def settle(self, nature: Record, acts: dict[str, Acts], memory: Record, u: Array) -> Settled:
        """Let the statement, or the status quo, bind all."""
        mine, opinions, n = acts["citizen"], nature["opinions"], self.citizens
        xp, sums = namespace(opinions), {}
        _, _, standing = self.drafted(mine)
        if self.ratify:
            votes = xp.sum(to_int(mine["accept"]), axis=-1)
            adopted = 2 * votes > n
            standing = xp.where(adopted[..., None], standing, self.quo)
            sums = {"accepted": to_float(votes) / n, "adopted": to_float(adopted)}
        losses = total((opinions - standing[..., None, :]) ** 2)
        together = functools.reduce(operator.add, (losses[..., i] for i in range(n)))
        mean = functools.reduce(operator.add, (opinions[..., i, :] for i in range(n))) / n
        sums |= {
            "loss": together / n,
            "worst": xp.max(losses, axis=-1),
            "distance": xp.sqrt(total((standing - mean) ** 2)),
            **{name: standing[..., k] for k, name in enumerate(self.names)},
        }
        return Settled({"citizen": -losses}, -together, sums, {"stands": standing})

    # ---- what theory says ---------------------------------------------------------------------------------------

    def sincere(self, seen: Seen) -> Acts:
        """Draft and amend one's opinion, rate by distance, and accept what is better than the status quo."""
        xp, opinion, n, d = namespace(seen["opinion"]), seen["opinion"], self.citizens, self.issues
        drafts = xp.reshape(seen["drafts"], (*seen["drafts"].shape[:-1], n, d))
        statement = seen["statement" if self.revise else "winning"]
        acts = {"draft": opinion, "rating": BEST * (1.0 - total((drafts - opinion[..., None, :]) ** 2) / d)}
        if self.revise:
            acts["revision"] = opinion
        if self.ratify:
            acts["accept"] = to_int(total((opinion - statement) ** 2) < total((opinion - self.quo) ** 2))
        return acts

    @property
    def median_loss(self) -> float:
        """Expected loss of all citizens together in a round, at the median of opinions (the lower, of two).

        The difference of the uniform order statistics k and r is Beta(|k - r|, n + 1 - |k - r|).
        """
        n, middle = self.citizens, (self.citizens - 1) // 2
        steps = [abs(k - middle) for k in range(n)]
        return self.issues * sum(j * (j + 1) for j in steps) / ((n + 1) * (n + 2))

    @property
    def quo_loss(self) -> float:
        """Expected loss of all citizens together in a round, at the status quo."""
        return self.citizens * self.issues * (1 / 3 - self.quo + self.quo**2)

    def benchmarks(self) -> Benchmarks:
        """Return what the mean, the median, one citizen's draft and the status quo cost."""
        n, d, times = self.citizens, self.issues, self.repetitions

        def refuses(seen: Seen) -> Acts:
            return {**self.sincere(seen), "accept": seen["winner"] * 0}

        def defers(seen: Seen) -> Acts:
            first = constant(seen["ratings"], (BEST, *[0.0] * (n - 1)))
            return {"draft": seen["opinion"], "rating": seen["ratings"] * 0.0 + first}

        sincere = {"citizen": self.sincere}
        quo = Level(-times * self.quo_loss, "the status quo stays")
        if self.ratify:
            equilibrium = Level(
                quo.value,
                "all refuse whatever is proposed: no vote decides, and the status quo stays",
                {"citizen": refuses},
            )
        elif self.revise:
            equilibrium = Level(
                -times * self.median_loss,
                "the median of opinions on each issue: sincere amendments are dominant (Moulin 1980; Border and Jordan 1983)",
                sincere,
            )
        else:
            equilibrium = Level(
                -times * d * (n - 1) / 6,
                "all rate the first citizen's draft, its opinion, highest and the others lowest, which nobody can change alone",
                {"citizen": defers},
            )
        others = {}
        elects = self.revise or (self.rule == "schulze" and d == 1 and n % 2 == 1)
        passes = not self.ratify or (d == 1 and (n % 2 == 1 or self.quo == 0.0))
        if elects and passes and equilibrium.play is not sincere:
            others["sincere"] = Level(
                -times * self.median_loss,
                "all are sincere: the median of opinions, which a majority prefers to anything else (Black 1948)",
                sincere,
            )
        return Benchmarks(
            first_best=Level(-times * d * (n - 1) / 12, "the mean of opinions, which costs least"),
            equilibrium=equilibrium,
            baseline=quo,
            others=others,
        )


# ---- common ground of groups ------------------------------------------------------------------------------------------


def group_aware_consensus(ratings: Any, agree: float = BEST / 2, seed: int = 0) -> tuple[Any, Any]:
    """Return how far all groups of opinion agree with each statement, and the groups (Polis: Small et al. 2021).

    The consensus on a statement is the product over groups of the estimated chance that a member agrees, (1 + number
    that agree) / (2 + number that rated it): what one group dislikes cannot win by the size of another. Collective
    Constitutional AI (Huang et al. 2024, arXiv:2406.07814) chose its principles so.

    Parameters
    ----------
    ratings
        Of each statement by each citizen, (citizens, statements); NaN where it was not rated.
    agree
        Who rates a statement above it agrees.
    seed
        Where the search for groups starts.

    Returns
    -------
    tuple
        The consensus on each statement (statements,), and each citizen's group (citizens,).
    """
    table = np.asarray(ratings, dtype=float)
    if table.ndim != 2 or not table.size:
        raise ValueError(f"ratings: an array (citizens, statements), got one of shape {table.shape}")
    groups = opinion_groups(table, seed)
    rated = ~np.isnan(table)
    chances = [
        (1.0 + (table[groups == g] > agree).sum(axis=0)) / (2.0 + rated[groups == g].sum(axis=0))
        for g in range(groups.max() + 1)
    ]
    return np.prod(chances, axis=0), groups


def opinion_groups(ratings: Any, seed: int = 0, most: int = 5) -> Any:
    """Return each citizen's group (citizens,), numbered by first appearance.

    Ratings (citizens, statements) are centred (what is missing counts as the statement's mean), projected on their first
    two principal components and grouped by k-means; k, from 2 to ``most``, is that of the best mean silhouette (Rousseeuw
    1987). There is one group where all rate alike.
    """
    table = np.asarray(ratings, dtype=float)
    rated = ~np.isnan(table)
    means = np.where(rated, table, 0.0).sum(axis=0) / np.maximum(rated.sum(axis=0), 1)
    centred = np.where(rated, table - means, 0.0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    points = (left * sizes)[:, :2]
    distinct = len(np.unique(points.round(9), axis=0))
    best, chosen = -np.inf, np.zeros(len(table), dtype=np.int64)
    for k in range(2, min(most, distinct) + 1):
        groups = _k_means(points, k, seed)
        quality = _silhouette(points, groups)
        if quality > best + 1e-12:
            best, chosen = quality, groups
    _, first, inverse = np.unique(chosen, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def _k_means(points: Any, k: int, seed: int, starts: int = 10) -> Any:
    """Return the groups with the least scatter that Lloyd's algorithm finds from k-means++ starts."""
    rng = np.random.default_rng([seed, k])
    best, chosen = np.inf, np.zeros(len(points), dtype=np.int64)
    for _ in range(starts):
        centres = points[[rng.integers(len(points))]]
        while len(centres) < k:
            near = ((points[:, None] - centres) ** 2).sum(axis=-1).min(axis=1)
            centres = np.vstack([centres, points[rng.choice(len(points), p=near / near.sum())]])
        groups = np.full(len(points), -1)
        for _ in range(100):
            distances = ((points[:, None] - centres) ** 2).sum(axis=-1)
            now = distances.argmin(axis=1)
            if (now == groups).all():
                break
            groups = now
            centres = np.array(
                [points[groups == g].mean(axis=0) if (groups == g).any() else centres[g] for g in range(k)]
            )
        scatter = ((points - centres[groups]) ** 2).sum()
        if scatter < best - 1e-12:
            best, chosen = scatter, groups
    return chosen


def _silhouette(points: Any, groups: Any) -> float:
    """Return the mean over points of (b - a) / max(a, b): a to the own group, b to the nearest other; 0 for one alone."""
    distances = np.sqrt(((points[:, None] - points) ** 2).sum(axis=-1))
    labels = np.unique(groups)
    if len(labels) < 2:
        return -1.0
    member = groups[:, None] == labels
    sums, counts = distances @ member, member.sum(axis=0)
    own = np.maximum((counts * member).sum(axis=1) - 1, 1)
    within = (sums * member).sum(axis=1) / own
    other = np.where(member, np.inf, sums / counts).min(axis=1)
    alone = (counts * member).sum(axis=1) == 1
    top = np.maximum(np.maximum(within, other), 1e-300)
    return float(np.where(alone, 0.0, (other - within) / top).mean())
