"""Evolution of policies towards several ends at once: no weights are set between them, and all good compromises are kept."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...envs.core import measures, validate
from ...envs.core.arrays import absent, select, to_numpy
from ...envs.core.chance import categorical
from ...envs.core.episodes import Episodes
from ...envs.core.worlds import Cast, Worlds
from ..gradient import PolicyGradient, acts_of, heads_of, normal, one_thread, width_of
from .stable import Society

Table = np.ndarray[Any, Any]
Weights = Mapping[str, Any]
"""Arrays or torch tensors by name: what a policy has learned, a state dict, or adapters of a language model."""

Objective = Callable[[Episodes], Table]
"""Scores each world's episode, (worlds,); more is better."""

SURVIVALS = ("nsga2", "sms-emoa")
MUTATIONS = ("gradient", "noise")


# ---- objectives, all scored by the game -----------------------------------------------------------------------------


def welfare(episodes: Episodes) -> Table:
    """Return the welfare of each episode."""
    return episodes.welfare


def equality(role: str) -> Objective:
    """Score how equal the returns of a role's players are: 1 - Gini (``measures.equality``); returns must be 0 or more."""
    return lambda episodes: np.asarray(measures.equality(episodes.returns[role]))


def least(role: str) -> Objective:
    """Score the return of the worst-off of a role's players (Rawls 1971)."""
    return lambda episodes: np.asarray(episodes.returns[role].min(axis=-1))


def measure(name: str, sign: float = 1.0) -> Objective:
    """Score a measure of the game; ``sign=-1`` where less is better."""
    return lambda episodes: sign * np.asarray(episodes.measures[name], dtype=float)


# ---- sets of policies ------------------------------------------------------------------------------------------------


def undominated(scores: Table) -> list[int]:
    """Return the rows of scores (members, objectives) that none beats in one objective without losing in another.

    Of equal rows the first; sorted by the first objective, best first. The sorting is pymoo's.
    """
    needed()
    from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

    scores = np.asarray(scores, dtype=float)
    front = NonDominatedSorting().do(-scores, only_non_dominated_front=True)
    _, first = np.unique(scores[front], axis=0, return_index=True)
    return sorted((int(front[i]) for i in first), key=lambda row: (*(-scores[row]), row))


def volume(scores: Table, reference: Sequence[float] | Table) -> float:
    """Return the hypervolume that scores (members, objectives) cover above a reference (objectives,), by pymoo.

    Zitzler and Thiele 1999 (doi:10.1109/4235.797969). It is in the product of the objectives' units.
    """
    needed()
    from pymoo.indicators.hv import HV

    scores, low = np.asarray(scores, dtype=float), np.asarray(reference, dtype=float)
    above = scores[(scores > low).all(axis=1)]
    return float(HV(ref_point=-low)(-above)) if len(above) else 0.0


def survivors(scores: Table, count: int, rule: str = "nsga2", seed: int = 0) -> list[int]:
    """Return the rows of scores (members, objectives) that survive, by pymoo's operator.

    ``"nsga2"``: by rank, then crowding (Deb et al. 2002, doi:10.1109/4235.996017). ``"sms-emoa"``: by rank, then by what
    each adds to the hypervolume (Beume, Naujoks and Emmerich 2007, doi:10.1016/j.ejor.2006.08.008).
    """
    validate.one_of("rule", rule, SURVIVALS)
    scores = np.asarray(scores, dtype=float)
    validate.whole("count", count, 1, len(scores))
    needed()
    from pymoo.algorithms.moo.nsga2 import RankAndCrowding
    from pymoo.algorithms.moo.sms import LeastHypervolumeContributionSurvival
    from pymoo.core.population import Population
    from pymoo.core.problem import Problem

    rows = np.arange(len(scores), dtype=float)[:, None]
    population = Population.new("X", rows, "F", -scores)
    problem = Problem(n_var=1, n_obj=scores.shape[1])
    kind = RankAndCrowding if rule == "nsga2" else LeastHypervolumeContributionSurvival
    kept = kind().do(problem, population, n_survive=count, random_state=np.random.default_rng(seed))
    return [int(row) for row in kept.get("X")[:, 0]]


def needed() -> None:
    """Raise ImportError, with what to install, where pymoo is absent."""
    try:
        import pymoo  # noqa: F401
    except ImportError:
        raise ImportError("evolution needs pymoo, which is not installed; pip install 'societas[design]'") from None


def crossed(one: Weights, two: Weights, a: float) -> dict[str, Any]:
    """Return a one + (1 - a) two, by name: a child of two siblings, which both come from one base.

    What is no real number (counts, masks) is taken from ``one``.

    Raises
    ------
    ValueError
        If they differ in names or shapes; networks that do not share a base have no common coordinates.
    """
    a = validate.probability("a", a)
    if different := sorted(set(one) ^ set(two)) or [n for n in one if tuple(one[n].shape) != tuple(two[n].shape)]:
        raise ValueError(f"two: {different[0]!r} is missing or of another shape; cross siblings of one base")

    return {name: a * v + (1.0 - a) * two[name] if _real(v) else v for name, v in one.items()}


def _real(values: Any) -> bool:
    kind = values.dtype
    return bool(kind.kind == "f" if isinstance(values, np.ndarray) else kind.is_floating_point)


# ---- the algorithm, for weights of any kind --------------------------------------------------------------------------


class Evolved(NamedTuple):
    """A population: its weights, its scores (members, objectives), and the rows of ``curve``, one a generation."""

    members: list[dict[str, Any]]
    scores: Table
    curve: list[dict[str, float]]


def evolve(
    base: Weights,
    *,
    score: Callable[[list[dict[str, Any]]], Table],
    vary: Callable[[list[dict[str, Any]], Table, int], list[dict[str, Any]]],
    population: int,
    generations: int,
    seed: int,
    rule: str = "nsga2",
    mutation: str = "gradient",
    noise: float = 0.05,
) -> Evolved:
    """Evolve weights towards several objectives (Zhang et al. 2024, arXiv:2411.14500).

    At first every member is the base, varied towards an objective drawn for it (every objective about as often). In each
    generation as many children as there are members are made, each a convex ``crossed`` of two members, varied towards
    an objective drawn at random; of parents and children together pymoo's operator keeps the survivors.

    Parameters
    ----------
    base
        Weights from which all descend.
    score
        Returns scores (members, objectives) of weights, higher better: on worlds on which nothing is learned.
    vary
        Returns weights after gradient steps: it is given members, how much each objective counts for each (members,
        objectives), and a seed.
    population, generations
        Members, and how often they have children.
    seed
        Seed of all chance here.
    rule
        Who survives: ``"nsga2"`` or ``"sms-emoa"``.
    mutation
        ``"gradient"``: children are varied. ``"noise"``, the control: they get normal noise instead, of ``noise``
        standard deviations of each array.
    """
    validate.whole("population", population, 2, 10_000)
    validate.whole("generations", generations, 0, 1_000_000)
    validate.one_of("mutation", mutation, MUTATIONS)
    validate.real("noise", noise, 0.0, 100.0)
    rng = np.random.default_rng(validate.whole("seed", seed, 0, 2**31))
    first = [dict(base)] * population
    many = int(np.asarray(score(first[:1])).shape[1])
    chosen = rng.permutation(np.arange(population) % many)
    members = vary(first, np.eye(many)[chosen], int(rng.integers(2**31)))
    scores = np.asarray(score(members), dtype=float)
    low = scores.min(axis=0)
    curve = [{"generation": 0.0, "volume": volume(scores, low), "undominated": float(len(undominated(scores)))}]
    for generation in range(1, generations + 1):
        children = []
        for _ in range(population):
            i, j = rng.choice(population, size=2, replace=False)
            children.append(crossed(members[i], members[j], float(rng.random())))
        towards = np.eye(many)[rng.integers(many, size=population)]
        if mutation == "gradient":
            children = vary(children, towards, int(rng.integers(2**31)))
        else:
            children = [_shaken(child, noise, rng) for child in children]
        pool, both = [*members, *children], np.concatenate([scores, np.asarray(score(children), dtype=float)])
        kept = survivors(both, population, rule, int(rng.integers(2**31)))
        members, scores = [pool[i] for i in kept], both[kept]
        found = {"volume": volume(scores, low), "undominated": float(len(undominated(scores)))}
        curve.append({"generation": float(generation), **found})
    return Evolved(members, scores, curve)


def _shaken(weights: Weights, noise: float, rng: np.random.Generator) -> dict[str, Any]:
    """Return weights with normal noise of ``noise`` standard deviations of each array.

    What is no real number stays, and so does how a network standardises what it sees.
    """
    found = dict(weights)
    for name, values in weights.items():
        if _real(values) and name not in ("middle", "scale"):
            shift = rng.standard_normal(tuple(values.shape)) * noise * float(to_numpy(values).std())
            found[name] = values + (shift if isinstance(values, np.ndarray) else values.new_tensor(shift))
    return found


# ---- networks in a society -------------------------------------------------------------------------------------------


class Front(NamedTuple):
    """Policies none of which is better than another in every objective on the validation worlds.

    ``validation`` and ``held_out`` are their scores (policies, objectives) on the worlds on which they were chosen and on
    others; ``start`` (objectives,) is what the base reaches on the latter; ``steps`` counts all gradient steps.
    """

    policies: list[PolicyGradient]
    objectives: tuple[str, ...]
    validation: Table
    held_out: Table
    start: Table
    steps: int
    curve: list[dict[str, float]]

    def volume(self) -> float:
        """Return the hypervolume of the held-out scores above what the base reaches."""
        return volume(self.held_out, self.start)

    def best(self, objective: str) -> PolicyGradient:
        """Return the policy that is best in one objective on the validation worlds."""
        if objective not in self.objectives:
            raise KeyError(f"objective: one of {', '.join(self.objectives)}, got {objective!r}")
        return self.policies[int(self.validation[:, self.objectives.index(objective)].argmax())]


class Trainer:
    """Plays and improves many networks of one layout at once, in the seats of one role.

    Parameters
    ----------
    base
        The policy whose layout, ``spread`` and ``sample`` all share. One that has learned nothing begins with one update.
    society
        The game, the role, and the policies of the others.
    objectives
        {name: objective}.
    steps
        Gradient steps of one variation.
    cases, tries
        Worlds of a step, and how often each is played in it: what is done in a world is compared with what else was
        tried in the same world, on the same draws.
    judged
        Worlds on which members are scored; as many are held out.
    rate
        Learning rate (Adam).
    entropy
        Weight of the entropy of whole numbers and choices.
    seed
        Seed of the worlds: 3 seed + 1 of those of training, + 2 of validation, + 3 of those held out.
    """

    def __init__(
        self,
        base: PolicyGradient,
        society: Society,
        objectives: Mapping[str, Objective],
        *,
        steps: int = 20,
        cases: int = 32,
        tries: int = 8,
        judged: int = 512,
        rate: float = 3e-3,
        entropy: float = 0.01,
        seed: int = 0,
    ) -> None:
        if len(objectives) < 2:
            raise ValueError(f"objectives: at least 2, got {len(objectives)}; learn(game, role) serves a single one")
        self.steps = validate.whole("steps", steps, 1, 1_000_000)
        self.cases = validate.whole("cases", cases, 1, 1_000_000)
        self.tries = validate.whole("tries", tries, 2, 1_000_000)
        self.judged = validate.whole("judged", judged, 1, 10_000_000)
        self.rate = validate.real("rate", rate, 1e-9, 1.0)
        self.entropy = validate.real("entropy", entropy, 0.0, 100.0)
        self.seed = validate.whole("seed", seed, 0, 2**40)
        self.society, self.objectives, self.used = society, dict(objectives), 0
        game, role = society.game, society.game.role(society.role)
        if not base.weights:
            base = base.learn(game, role.name, episodes=1, sessions=64, seed=seed, others=society.others)
        self.base = base.bind(game, role.name, tuple(range(role.count)))
        self.heads = heads_of(role, base.levels)
        self.depth = len(base.hidden) + 1
        asked = [
            [[h.field in role.deciding(s.name, i) for h in self.heads] for i in range(role.count)] for s in game.stages
        ]
        self.asked = np.array(asked)

    # ---- playing --------------------------------------------------------------------------------------------------

    def stacked(self, members: Sequence[Weights]) -> dict[str, Any]:
        """Return the members' networks as tensors (members, nets, ...), float32."""
        import torch

        names = [f"{part}.{layer}" for layer in range(self.depth) for part in ("weight", "bias")]
        return {n: torch.as_tensor(np.stack([m[n] for m in members]), dtype=torch.float32) for n in names}

    def forward(self, nets: Mapping[str, Any], sight: Any) -> Any:
        """Return outputs (members, worlds, seats, outputs) of sight (members, worlds, seats, in)."""
        import torch

        members, worlds, seats, _ = sight.shape
        own = nets["weight.0"].shape[1] > 1
        x = sight.transpose(1, 2) if own else sight.reshape(members, 1, worlds * seats, -1)
        for layer in range(self.depth):
            x = (torch.relu(x) if layer else x) @ nets[f"weight.{layer}"] + nets[f"bias.{layer}"][..., None, :]
        return x.transpose(1, 2) if own else x.reshape(members, worlds, seats, -1)

    def play(
        self, nets: Mapping[str, Any], seed: int, cases: int, tries: int, episode: int, sample: bool
    ) -> tuple[Episodes, Any, Any]:
        """Play an episode of every member in each of ``cases`` worlds, ``tries`` times on the same draws of the game.

        Episode 0 is the one that ``play`` plays.

        Returns
        -------
        tuple
            Episodes, member by member, case by case, try by try; and of every world the log-likelihood of what was
            done, and the entropy, (members, cases, tries).
        """
        import torch

        game, role = self.society.game, self.base.role
        members = len(nets["weight.0"])
        count = members * cases * tries
        worlds = Worlds(game, count, seed=seed, check=False)
        worlds.world = np.tile(np.repeat(np.arange(cases, dtype=np.int64), tries), members)
        worlds.episode = worlds.world * 0 + episode - 1
        worlds.reset()
        cast = Cast(game, self.society.others, except_=role.players)
        cast.begin(worlds)
        rng = np.random.default_rng([seed, episode, tries])
        spread = self.base.spread[0 if tries > 1 else 1]
        live, welfare_, length = np.ones(count, dtype=bool), np.zeros(count), np.zeros(count)
        returns = {r.name: np.zeros((count, r.count)) for r in game.roles}
        logs = entropy = torch.zeros(count)
        for _ in range(game.horizon):
            seen, before, given = worlds.view(), worlds.state, {}
            asked = self.asked[worlds.stage] & live[:, None, None]
            if asked.any():
                sight = self.base.sight(seen[role.name])
                rows = torch.as_tensor(sight, dtype=torch.float32).reshape(members, cases * tries, role.count, -1)
                outputs = self.forward(nets, rows).reshape(count, role.count, -1)
                u = rng.random((cases * tries, role.count, len(self.heads)))  # all members explore alike
                numbers, chance, doubt = self._decide(
                    outputs, torch.as_tensor(np.tile(u, (members, 1, 1))), spread, sample
                )
                mask = torch.as_tensor(asked, dtype=torch.float32)
                logs, entropy = logs + (mask * chance).sum((1, 2)), entropy + (mask * doubt).sum((1, 2))
                given = {role.name: acts_of(role, self.heads, [n.numpy() for n in numbers])}
            outcome = worlds.step(cast.act(worlds, seen, given, None if live.all() else live))
            returns = {n: v + to_numpy(outcome.rewards[n]) * live[:, None] for n, v in returns.items()}
            welfare_, length = welfare_ + outcome.welfare * live, length + live
            if not live.all():
                worlds.state = select(live, worlds.state, before)
            live = live & ~outcome.done
            if absent(live):
                break
        found = {name: to_numpy(values) for name, values in game.measures(worlds.state).items()}
        shape = (members, cases, tries)
        episodes = Episodes(game, returns, welfare_, length.astype(int), found, [])
        return episodes, logs.reshape(shape), entropy.reshape(shape)

    def _decide(self, outputs: Any, u: Any, spread: float, sample: bool) -> tuple[list[Any], Any, Any]:
        """Return a number for each head, and log-likelihoods and entropies (worlds, seats, heads)."""
        import torch

        numbers, chances, doubts = [], [], []
        for i, head in enumerate(self.heads):
            part = outputs[..., head.outputs]
            if head.values:
                logs = torch.log_softmax(part, dim=-1)
                odds = logs.detach().double().exp()
                pick = categorical(u[..., i], odds / odds.sum(-1, keepdim=True)) if sample else part.argmax(-1)
                numbers.append(pick)
                chances.append(logs.gather(-1, pick[..., None].long())[..., 0])
                doubts.append(-(logs.exp() * logs).sum(-1))
            else:
                mean = part[..., 0]
                fixed = mean.detach().double()
                value = fixed + width_of(fixed, spread) * normal(u[..., i]) if sample else fixed
                numbers.append(value)
                chances.append(-((value.float() - mean) ** 2) / (2.0 * spread))
                doubts.append(-((mean.abs() - 1.0 - spread / 3.0).clip(min=0.0) ** 2))
        return numbers, torch.stack(chances, -1), torch.stack(doubts, -1)

    def scored(self, episodes: Episodes, shape: tuple[int, ...]) -> Table:
        """Return the objectives of every episode, (objectives, *shape)."""
        rows = []
        for name, objective in self.objectives.items():
            values = np.asarray(objective(episodes), dtype=float)
            if values.shape != episodes.welfare.shape or not np.isfinite(values).all():
                raise ValueError(
                    f"objectives: {name!r} must give one finite number a world, {episodes.welfare.shape}, got "
                    f"{values.shape}; score whole episodes"
                )
            rows.append(values.reshape(shape))
        return np.stack(rows)

    def judge(self, members: Sequence[Weights], held_out: bool = False) -> Table:
        """Return the mean scores (members, objectives) on validation worlds, or on those held out."""
        import torch

        found = []
        with torch.no_grad(), one_thread(torch):
            for begin in range(0, len(members), 16):  # bounds the memory
                part = members[begin : begin + 16]
                seed = 3 * self.seed + (3 if held_out else 2)
                episodes, _, _ = self.play(self.stacked(part), seed, self.judged, 1, 0, self.base.sample)
                found.append(self.scored(episodes, (len(part), self.judged)).mean(axis=-1).T)
        return np.concatenate(found)

    # ---- learning -------------------------------------------------------------------------------------------------

    def vary(
        self, members: Sequence[Weights], towards: Table, seed: int, steps: int | None = None
    ) -> list[dict[str, Any]]:
        """Return the members after gradient steps towards objectives.

        A step ascends the policy gradient (Williams 1992) of sum_j towards_j A_j, where A_j is what an episode scored in
        objective j less the mean of all tries in its world, in standard deviations over the member's worlds.

        Parameters
        ----------
        members
            Weights.
        towards
            How much each objective counts for each member, (members, objectives).
        seed
            Tells one variation's worlds from another's.
        steps
            Gradient steps, None for those of one variation.
        """
        import torch

        towards = np.asarray(towards, dtype=float)
        if towards.shape != (len(members), len(self.objectives)):
            raise ValueError(f"towards: {(len(members), len(self.objectives))} numbers, got {towards.shape}")
        steps = self.steps if steps is None else steps
        with one_thread(torch):
            nets = {name: v.clone().requires_grad_() for name, v in self.stacked(members).items()}
            adam = torch.optim.Adam(list(nets.values()), lr=self.rate)  # element by element: members do not meet
            for step in range(steps):
                episode = 1 + (seed * 1_000_003 + step) % 2**40
                episodes, logs, entropy = self.play(nets, 3 * self.seed + 1, self.cases, self.tries, episode, True)
                gains = self.scored(episodes, tuple(logs.shape))
                gains = gains - gains.mean(axis=-1, keepdims=True)
                sizes = np.sqrt((gains**2).mean(axis=(-1, -2), keepdims=True))
                gains = gains / np.where(sizes > 1e-12, sizes, 1.0)
                gain = torch.as_tensor(np.einsum("mo,omct->mct", towards, gains), dtype=torch.float32)
                loss = -(gain * logs + self.entropy * entropy).mean(dim=(1, 2)).sum()
                adam.zero_grad()
                loss.backward()
                adam.step()
        self.used += steps * len(members)
        found = []
        for i, member in enumerate(members):
            found.append(dict(member) | {n: v[i].detach().numpy().astype(np.float64) for n, v in nets.items()})
        return found

    def front(self, members: Sequence[Weights], curve: list[dict[str, float]]) -> Front:
        """Return those members that are undominated on the validation worlds, judged on those held out."""
        scores = self.judge(members)
        kept = undominated(scores)
        policies = []
        for i in kept:
            policy = copy.copy(self.base)
            policy.weights = dict(members[i])
            policies.append(policy)
        chosen = [members[i] for i in kept]
        start = self.judge([self.base.weights], held_out=True)[0]
        held = self.judge(chosen, held_out=True)
        return Front(policies, tuple(self.objectives), scores[kept], held, start, self.used, curve)


def fit(
    base: PolicyGradient,
    society: Society,
    budget: int,
    seed: int,
    *,
    objectives: Mapping[str, Objective],
    population: int = 12,
    rule: str = "nsga2",
    mutation: str = "gradient",
    noise: float = 0.05,
    **options: Any,
) -> Front:
    """Evolve a policy of a society; return all that are undominated.

    Parameters
    ----------
    base
        A network; ``shared`` or one a seat.
    society
        The game, the role that is learned, and the policies of the others.
    budget
        Generations.
    seed
        Seed of all chance.
    objectives
        {name: objective}, at least two, scored by the game: ``welfare``, ``equality(role)``, ``least(role)``, ``measure(name)``.
    population, rule, mutation, noise
        As for ``evolve``.
    options
        Those of ``Trainer``: ``steps``, ``cases``, ``tries``, ``judged``, ``rate``, ``entropy``.
    """
    trainer = Trainer(base, society, objectives, seed=seed, **options)
    found = evolve(
        trainer.base.weights,
        score=trainer.judge,
        vary=trainer.vary,
        population=population,
        generations=budget,
        seed=seed,
        rule=rule,
        mutation=mutation,
        noise=noise,
    )
    return trainer.front(found.members, found.curve)


def sweep(
    base: PolicyGradient,
    society: Society,
    budget: int,
    seed: int,
    *,
    objectives: Mapping[str, Objective],
    population: int = 12,
    weights: Table | None = None,
    **options: Any,
) -> Front:
    """Return the undominated of policies that each learned a weighted sum of the objectives: the strong control.

    Each learns for (budget + 1) x ``steps`` gradient steps, so that all together take as many as ``fit`` does.

    Parameters
    ----------
    base, society, budget, seed, objectives, population, options
        As for ``fit``.
    weights
        How much each objective counts for each policy (policies, objectives). Unless given, two objectives are weighed
        evenly spaced from one to the other, and more at random (uniform on the simplex).
    """
    trainer = Trainer(base, society, objectives, seed=seed, **options)
    many = len(objectives)
    if weights is None and many == 2:
        share = np.linspace(0.0, 1.0, validate.whole("population", population, 2, 10_000))
        weights = np.stack([share, 1.0 - share], axis=1)
    elif weights is None:
        weights = np.random.default_rng(seed).dirichlet(np.ones(many), size=population)
    steps = trainer.steps * (validate.whole("budget", budget, 0, 1_000_000) + 1)
    members = trainer.vary([dict(trainer.base.weights)] * len(weights), weights, seed, steps)
    return trainer.front(members, [])


def compare(
    base: PolicyGradient,
    society: Society,
    budget: int,
    seeds: range,
    *,
    objectives: Mapping[str, Objective],
    population: int = 12,
    rule: str = "nsga2",
    **options: Any,
) -> list[dict[str, Any]]:
    """Return a row for every seed and arm; the arms of a seed share their worlds and are pairs.

    Arms: ``evolved`` (``fit``); ``weighted sums`` (``sweep``, with as many gradient steps); ``noise`` (``fit`` whose
    children get noise instead of gradients); ``single`` (a policy that learns the first objective alone, as long as one of
    the sweep) and ``single, all steps`` (as long as all of the sweep together). A row has ``arm``, ``seed``, ``volume``
    (held out, above the base's scores), ``policies``, ``mutually``, how many of these are undominated on the held-out
    worlds too, ``steps``, and each objective's best held-out score.
    """
    rows = []
    alone = np.eye(len(objectives))[:1]
    for seed in seeds:
        same: dict[str, Any] = {"objectives": objectives, "population": population, **options}
        fronts = {
            "evolved": fit(base, society, budget, seed, rule=rule, **same),
            "weighted sums": sweep(base, society, budget, seed, **same),
            "noise": fit(base, society, budget, seed, rule=rule, mutation="noise", **same),
            "single": sweep(base, society, budget, seed, weights=alone, **same),
            "single, all steps": sweep(base, society, population * (budget + 1) - 1, seed, weights=alone, **same),
        }
        for arm, front in fronts.items():
            best = dict(zip(front.objectives, front.held_out.max(axis=0).tolist(), strict=True))
            mutually = len(undominated(front.held_out))
            row = {"arm": arm, "seed": seed, "volume": front.volume(), "policies": len(front.policies)}
            rows.append(row | {"mutually": mutually, "steps": front.steps, **best})
    return rows


def paired(rows: Sequence[Mapping[str, Any]], arm: str, other: str, name: str = "volume") -> Table:
    """Return what an arm had more of than another, (seeds,), in the order of the seeds."""
    found = []
    for which in (arm, other):
        values = {row["seed"]: float(row[name]) for row in rows if row["arm"] == which}
        if not values:
            raise ValueError(f"arm: one of {', '.join(sorted({row['arm'] for row in rows}))}, got {which!r}")
        found.append(values)
    return np.array([found[0][seed] - found[1][seed] for seed in sorted(found[0])])
