"""Studies behind claims that take more than playing a game: each returns {row: number, values a run, or interval}."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ..work import Watch


def axelrod(metanorms: bool, populations: int, watch: Watch, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Axelrod's (1986) norms and metanorms games: the shares of populations in which the norm is established or gone."""
    from ...policies.populations.norms import axelrod as evolved

    fates = evolved(metanorms=metanorms, populations=populations, seed=seed)
    return {what: np.arange(populations) < round(share * populations) for what, share in fates._asdict().items()}


def sigmund(strategies: list[str], watch: Watch) -> dict[str, float]:
    """Shares of strategies in the long run of Sigmund et al. (2010), under rare mutation and strong imitation."""
    from ...policies.populations.public_goods import PublicGoods
    from ...policies.populations.stationary import stationary

    shares = stationary(PublicGoods(tuple(strategies)).groups())
    return dict(zip(strategies, map(float, shares), strict=True))


def dilemma(theta: float, watch: Watch) -> dict[str, float]:
    """Pure equilibria of the prisoner's dilemma in which a defector pays theta to a cooperator, once all have signed.

    The payoffs are those that the game itself pays; rows say which profiles are equilibria (1) and which are not (0).
    """
    from ...envs.core.episodes import play
    from ...envs.norms.matrix_game import MatrixGame
    from ...mechanisms.contract import Contract
    from ...mechanisms.terms import Compensation
    from ...policies.callable import Callable

    game = MatrixGame() | Contract(Compensation(theta))

    def signs_and(action: int) -> Callable:
        return Callable(lambda seen: {"action": seen["own"] * 0 + action, "consent": seen["own"] * 0 + 1}, batched=True)

    paid = np.zeros((2, 2, 2))
    for mine in (0, 1):
        for other in (0, 1):
            episodes = play(game, {"player_0": signs_and(mine), "player_1": signs_and(other)})
            paid[mine, other] = episodes.returns["player"][0]
    best = (paid[..., 0] >= paid[..., 0].max(axis=0)) & (paid[..., 1] >= paid[..., 1].max(axis=1, keepdims=True))
    names = {"both cooperate": (0, 0), "both defect": (1, 1), "one of each": (0, 1)}
    return {name: float(best[place]) for name, place in names.items()} | {
        "welfare of cooperation": float(paid[0, 0].sum())
    }


def calvano(sessions: int, beta: float, watch: Watch, delta: float = 0.95, seed: int = 0) -> dict[str, Any]:
    """Calvano et al.'s (2020) pricing learners, alpha = 0.15: profit gain, convergence, and what follows undercutting."""
    from ..collusion import learn

    market = learn(sessions=sessions, beta=beta, delta=delta, seed=seed)
    undercut = market.deviation(periods=15)
    prices = undercut.prices
    return {
        "profit gain": market.gain,
        "converged": market.learned.converged,
        "undercutting pays": undercut.gain > 1e-9,
        "rival's price after": prices[:, 2, 1] - prices[:, 0, 1],
        "rival's price 15 periods after": prices[:, -1, 1] - prices[:, 0, 1],
    }


def diamond_saez(index: float, elasticity: float, watch: Watch) -> dict[str, float]:
    """The top rate that raises most on a Pareto tail: as direct search finds it in the game, and as the game's formula has it."""
    from ...envs.markets.tax_labour import TaxLabour

    theory = 1.0 / (1.0 + index * elasticity)
    game = TaxLabour.pareto(10, index, 2, elasticity, theory, planner="revenue")
    return {"by search": game.optimal["revenue"][0], "by formula": game.saez(theory)}


def aligned(
    watch: Watch,
    method: Mapping[str, Any],
    control: Mapping[str, Any],
    seeds: int = 5,
    games: Sequence[str] = ("commons", "team", "market"),
    institutions: Sequence[str] = ("none", "enforced", "sanction", "vote"),
    budget: int = 84,
    sessions: int = 16,
    worlds: int = 16,
    seed: int = 2027,
) -> dict[str, np.ndarray[Any, Any]]:
    """Alignment scores in the held-out scenarios of a method and its control, fitted from the same seeds, and the difference.

    ``method`` and ``control`` are parameters of the policy ``aligned``; each value is one seed, the mean over games and
    institutions.
    """
    from ...envs.core.episodes import play
    from ...policies.align import scenarios
    from ...policies.align.aligned import Aligned

    places = [(game, under) for game in games for under in institutions]
    found: dict[str, list[float]] = {"method": [], "control": []}
    for number in range(seeds):
        for part, (name, given) in enumerate((("method", method), ("control", control))):
            policy = Aligned(**given)
            policy.ready()
            tests = [(scenarios.scenario(g, under, scenarios.HELD_OUT[g]), scenarios.ROLES[g]) for g, under in places]
            # what is fitted does not depend on where it is asked
            fitted = policy.learn(*tests[0], episodes=budget, sessions=sessions, seed=seed + number)
            scores = [play(game, {role: fitted}, worlds=worlds, seed=number).alignment.mean() for game, role in tests]
            found[name].append(float(np.mean(scores)))
            watch((2 * number + part + 1) / (2 * seeds))
    values = {name: np.asarray(each) for name, each in found.items()}
    return {**values, "difference": values["method"] - values["control"]}


def lewis(seeds: int, watch: Watch, candidates: int = 0, keep: float = 0.1) -> dict[str, Any]:
    """Forgetting in Lewis's game: what a code keeps of the structure of objects, as differences between arms, over seeds.

    Eight colours and four shapes, two symbols of eight, as Zhou et al. (2022) have them. Partial balanced forgetting keeps the
    same largest tenth of sender and receiver each generation, with the optimisers going on, and the receiver is reset every
    other generation, with fresh ones, as in their code; ``as often`` resets it in each. In a last generation, four times as
    long as the others, nothing is forgotten. All arms take equally many steps. Of each colour one shape is never met in
    learning, another for each seed: ``unseen`` is the share of these that are found among all objects.
    """
    from ...envs.norms.lewis import similarity
    from ...policies.align.forget import Networks, Schedule, Signallers, everything, largest, many, paired

    objects = np.stack(np.unravel_index(np.arange(32), (8, 4)), axis=1)
    held = np.array(
        [np.random.default_rng([seed, 3]).permutation(8)[objects[:, 0]] % 4 == objects[:, 1] for seed in range(seeds)]
    )
    part = dict.fromkeys(("sender", "receiver"), largest(keep))
    arms = {
        "none": Schedule({}),
        "receiver reset": Schedule({"receiver": everything()}, every=2),
        "receiver reset as often": Schedule({"receiver": everything()}),
        "full reset": Schedule(dict.fromkeys(part, everything())),
        "partial balanced": Schedule(part, anew=False),
    }
    if candidates:
        settings: dict[str, Any] = {"candidates": candidates, "entropy": 0.1}
        course: dict[str, Any] = {"generations": 6, "steps": 200, "last": 800, "rate": 1e-3}
    else:
        settings, course = {"entropy": 0.02}, {"generations": 11, "steps": 100, "last": 400, "rate": 1e-2}
    pairs = Signallers(objects, 8, 2, hidden=64, held=held, sets=4, **settings)

    def measure(networks: Networks) -> dict[str, np.ndarray[Any, Any]]:
        words, found = pairs.read(networks)
        unseen = np.tile(held, (len(arms), 1))
        return {
            "similarity": np.array([similarity(objects, one) for one in words]),
            "accuracy": (found & ~unseen).sum(axis=1) / (~unseen).sum(axis=1),
            "unseen": (found & unseen).sum(axis=1) / unseen.sum(axis=1),
        }

    rows = many(pairs.fresh, pairs.loss, arms, seeds=range(seeds), measure=measure, watch=watch, **course)
    ends = [row for row in rows if row["moment"] == "learned" and row["generation"] == course["generations"]]
    result: dict[str, Any] = {}
    for what in ("similarity", "accuracy", "unseen"):
        for arm in arms:
            result[f"{what}, {arm}"] = np.array([row[what] for row in ends if row["arm"] == arm])
            for other in arms:
                if other != arm:
                    result[f"{what}, {arm} - {other}"] = paired(rows, what, arm, other)
    return result


def later_layers(seeds: int, watch: Watch, noise: float = 0.4, cases: int = 256) -> dict[str, Any]:
    """Forgetting of later layers where labels are noisy: accuracy on the true labels of fresh cases, over seeds.

    Zhou et al. (2022) reset the later layers each generation. Here the inputs are 16 numbers, the label is one of 16 classes
    by a random teacher of one hidden layer, and a share of labels is replaced at random. The networks have four layers, of
    which the first two and the last two are of equal size (but for biases); all arms take equally many steps, the last
    generation forgets nothing, and no arm stops early.
    """
    import torch

    from ...policies.align.forget import Networks, Schedule, earlier, everything, later, layered, many, paired, through

    features, classes, hidden = 16, 16, 64

    def data(seed: int, count: int, part: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        x = np.random.default_rng([seed, 5, part]).standard_normal((count, features))
        teacher = np.random.default_rng([seed, 7])
        first, second = teacher.standard_normal((features, 32)), teacher.standard_normal((32, classes))
        return x, np.argmax(np.maximum(x @ first, 0.0) @ second, axis=1)

    train, test = ([data(seed, count, part) for seed in range(seeds)] for count, part in ((cases, 0), (512, 1)))
    x, z = (torch.tensor(np.stack([one[0] for one in some]), dtype=torch.float32) for some in (train, test))
    given = []
    for seed, (_, label) in enumerate(train):
        rng = np.random.default_rng([seed, 11])
        given.append(np.where(rng.random(cases) < noise, rng.integers(classes, size=cases), label))
    y, truth = torch.tensor(np.stack(given)), np.stack([one[1] for one in test])
    rule = {"later layers": later(2), "earlier layers": earlier(2), "full reset": everything()}
    arms = {"none": Schedule({})} | {name: Schedule({"network": one}) for name, one in rule.items()}

    def loss(networks: Networks, step: int) -> Any:
        logs = through(x.repeat(len(arms), 1, 1), networks["network"]).log_softmax(-1)
        return -logs.gather(2, y.repeat(len(arms), 1)[..., None])[..., 0].mean(1)

    def measure(networks: Networks) -> dict[str, np.ndarray[Any, Any]]:
        found = through(z.repeat(len(arms), 1, 1), networks["network"]).argmax(-1).numpy()
        fitted = through(x.repeat(len(arms), 1, 1), networks["network"]).argmax(-1).numpy()
        return {
            "accuracy": (found == np.tile(truth, (len(arms), 1))).mean(axis=1),
            "fitted": (fitted == np.tile(y.numpy(), (len(arms), 1))).mean(axis=1),
        }

    rows = many(
        lambda seed, generation: {"network": layered((features, hidden, hidden, hidden, classes), seed, generation, "net")},
        loss, arms, seeds=range(seeds), generations=6, steps=150, rate=2e-3, measure=measure, watch=watch,
    )  # fmt: skip
    ends = [row for row in rows if row["moment"] == "learned" and row["generation"] == 6]
    result: dict[str, Any] = {f"later layers - {arm}": paired(rows, "accuracy", "later layers", arm) for arm in arms}
    for arm in arms:
        for what in ("accuracy", "fitted"):
            result[f"{what}, {arm}"] = np.array([row[what] for row in ends if row["arm"] == arm])
    return result
