"""Studies behind claims that take more than playing a game: each returns {row: number, values a run, or interval}."""

from __future__ import annotations

import itertools
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
    others: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, np.ndarray[Any, Any]]:
    """Alignment scores in the held-out scenarios of a method and its control, fitted from the same seeds, and the difference.

    ``method``, ``control`` and ``others`` are parameters of the policy ``aligned``; each value is one seed, the mean over games
    and institutions. For each of ``others`` there is ``difference to NAME``, and ``share of NAME``: how much of the way
    from control to it the method goes. Rows of one game end in ``, GAME``, and those that begin with ``what matters: `` are of
    the mean of the aspects that matter in a situation (``policies.align.prompts``) and not of alignment.
    """
    from ...envs.core.episodes import play
    from ...policies.align import prompts, scenarios
    from ...policies.align.aligned import Aligned

    places = [(game, under) for game in games for under in institutions]
    tests = [(scenarios.scenario(g, under, scenarios.HELD_OUT[g]), scenarios.ROLES[g]) for g, under in places]
    arms = {"method": method, "control": control, **(others or {})}
    found = {arm: np.zeros((2, seeds, len(places))) for arm in arms}
    for number in range(seeds):
        for part, (name, given) in enumerate(arms.items()):
            policy = Aligned(**given)
            policy.ready()
            # what is fitted does not depend on where it is asked
            fitted = policy.learn(*tests[0], episodes=budget, sessions=sessions, seed=seed + number)
            for place, (game, role) in enumerate(tests):
                episodes = play(game, {role: fitted}, worlds=worlds, seed=number)
                scores = episodes.alignment.mean(), np.mean(list(prompts.mattering(episodes, role).values()))
                found[name][:, number, place] = scores
            watch((number + (part + 1) / len(arms)) / seeds)
    rows: dict[str, np.ndarray[Any, Any]] = {}
    own = {game: [place[0] == game for place in places] for game in games}
    for measure, before in enumerate(("", "what matters: ")):
        for after, which in {"": [True] * len(places), **{f", {game}": which for game, which in own.items()}}.items():
            values = {name: each[measure][:, which].mean(axis=1) for name, each in found.items()}
            gain = values["method"] - values["control"]
            values["difference"] = gain
            for name in others or {}:
                values[f"share of {name}"] = _share(gain, values[name] - values["control"])
                values[f"difference to {name}"] = values["method"] - values[name]
            rows |= {f"{before}{name}{after}": each for name, each in values.items()}
    return rows


def _share(part: np.ndarray[Any, Any], whole: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the ratio of two means as values of runs: its linearisation, whose mean is the ratio itself."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = part.mean() / whole.mean()
        return np.asarray(ratio + (part - ratio * whole) / whole.mean())


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


def token_shift(
    watch: Watch,
    method: Mapping[str, Any],
    seeds: int = 5,
    games: Sequence[str] = ("commons", "team", "market"),
    institutions: Sequence[str] = ("none", "enforced", "sanction", "vote"),
    budget: int = 84,
    sessions: int = 16,
    seed: int = 2027,
) -> dict[str, np.ndarray[Any, Any]]:
    """Which tokens of an aligned model's answers its base would not have written, in the held-out scenarios.

    ``method`` are parameters of the policy ``aligned``. The questions are those that the aligned model is asked in play; it takes
    the likeliest legal value, and each token of the value is ranked among all under the base; names and punctuation of an
    answer are given and not counted. Rows are the shares of tokens (``unshifted``, ``marginal``, ``shifted``), and the divergence
    of the next token, KL(aligned || base) in natural logarithms, without and after the examples of URIAL. Each value is
    one seed, the mean over games and institutions.
    """
    from ...policies.align import scenarios, urial
    from ...policies.align.aligned import Aligned, base
    from ...policies.align.stable import Society

    policy = Aligned(**method)
    policy.ready()
    places = [
        Society(scenarios.scenario(game, under, scenarios.HELD_OUT[game]), scenarios.ROLES[game])
        for game in games
        for under in institutions
    ]
    start: Any = base(policy.model).scorer
    rows: dict[str, list[float]] = {}
    for number in range(seeds):
        game, role, _ = places[0]  # what is fitted does not depend on where it is asked
        fitted: Any = policy.learn(game, role, episodes=budget, sessions=sessions, seed=seed + number)
        shown = urial.examples(seed=seed + number)
        found: dict[str, list[float]] = {}
        for place in places:
            said = urial.answered(fitted, place, seed=number)
            bare, after = (
                urial.shift(fitted.scorer, start, list(said), shown=some, answers=list(said.values()))
                for some in ((), shown)
            )
            each = {name: float(bare[name]) for name in urial.BANDS}
            each |= {"divergence": float(bare["kl"].mean()), "divergence after examples": float(after["kl"].mean())}
            for name, value in each.items():
                found.setdefault(name, []).append(value)
        for name, some in found.items():
            rows.setdefault(name, []).append(float(np.mean(some)))
        watch((number + 1) / seeds)
    result = {name: np.asarray(some) for name, some in rows.items()}
    result["all"] = sum((result[name] for name in urial.BANDS), np.zeros(seeds))
    result |= {f"{a} - {b}": result[a] - result[b] for a, b in itertools.pairwise(urial.BANDS)}
    result["closer after examples"] = result["divergence"] - result["divergence after examples"]
    return result


def concepts(
    watch: Watch, seeds: int = 5, seed: int = 2027, sparsity: float = 0.75, ratio: float = 0.001, most: int = 40
) -> dict[str, np.ndarray[Any, Any]]:
    """Accuracy of a sparse monitor less that of a dense one, and errors that small edits of its masks mend, over seeds.

    In the commons, catches of up to 2.2 times the sustainable share are judged: compliant, fair, efficient, and, where most
    of these hold, accepted. Both monitors learn for 40 epochs from 20 worlds and are judged on 2000 acts of 40 others. ``ratio`` is
    the share of a mask that is dropped and regrown; an edit is ``guided`` by gradients with their signs and relative to
    what is usual, ``published`` by their sizes alone, or ``random``. At most ``most`` errors are mended, each by itself, by
    an oracle's word.
    """
    from ...envs.core.registry import create
    from ...policies.align import concepts as monitors
    from ...policies.align.stable import Society

    game = create("games", "Commons")
    known, society = monitors.commons(game), Society(game, "fisher")
    names, accepted = [concept.name for concept in known], monitors.most(known)
    tempted = monitors.Varied({"harvest": lambda seen: 2.2 * seen["stock"] / 2 / game.users})
    found: list[dict[str, float]] = []
    for own in range(seed, seed + seeds):
        train, test = (
            monitors.cases(society, tempted, known, accepted, worlds=20 * part, seed=10 * own + part) for part in (1, 2)
        )
        test = monitors.Cases(*(part[:2000] for part in test))
        dense, sparse = (monitors.fit(names, train, 40, own, sparsity=share) for share in (0.0, sparsity))
        less = {name: sparse.accuracy(test)[name] - right for name, right in dense.accuracy(test).items()}
        row = {
            "accuracy of concepts, sparse - dense": float(np.mean([less[name] for name in names])),
            "accuracy of the label, sparse - dense": less["label"],
            "sparsity": min(sparse.sparsity),
        }
        rules = {"guided": "specific", "published": "published", "random": "random"}
        mended = {
            label: monitors.trial(sparse, test, ratio=ratio, rule=rule, most=most, seed=own)
            for label, rule in rules.items()
        }
        row |= {f"fixed, {label}": each["fixed"] for label, each in mended.items()}
        row |= {
            f"fixed, {label} - random": row[f"fixed, {label}"] - row["fixed, random"]
            for label in ("guided", "published")
        }
        row |= {f"accuracy on other cases, {label}": each["collateral"] for label, each in mended.items()}
        row["label right, guided: after - before"] = mended["guided"]["label_after"] - mended["guided"]["label_before"]
        found.append(row | {"edited": mended["guided"]["edited"]})
        watch(len(found) / seeds)
    return {name: np.array([row[name] for row in found]) for name in found[0]}


def evolution(watch: Watch, seeds: int = 5, seed: int = 2027, generations: int = 10) -> dict[str, np.ndarray[Any, Any]]:
    """Hypervolumes of fronts of policies, evolved and by controls, on worlds held out, over seeds.

    Three goods are allocated among three people; the objectives are welfare and the return of the worst-off. Eight members
    evolve, children by 25 gradient steps each. All volumes are above what the base reaches; ``policies.align.evolve.compare``
    says what the arms are. ``evolved / ARM - 1`` is the difference as a share of the control's volume.
    """
    from ...envs.core.registry import create
    from ...policies.align import evolve
    from ...policies.align.stable import Society
    from ...policies.gradient import PolicyGradient

    society = Society(create("games", "Allocation", people=3, goods=3), "spectator")
    ends = {"welfare": evolve.welfare, "least": evolve.least("person")}
    rows: list[dict[str, Any]] = []
    for own in range(seed, seed + seeds):
        rows += evolve.compare(
            PolicyGradient((48,)), society, generations, range(own, own + 1), objectives=ends,
            population=8, steps=25, cases=24, tries=6, judged=384, rate=2e-2, entropy=0.5,
        )  # fmt: skip
        watch((own + 1 - seed) / seeds)
    volumes = {
        arm: np.array([row["volume"] for row in rows if row["arm"] == arm])
        for arm in dict.fromkeys(r["arm"] for r in rows)
    }
    result = {f"volume, {arm}": volume for arm, volume in volumes.items()}
    for arm in volumes:
        if arm != "evolved":
            result[f"volume, evolved - {arm}"] = evolve.paired(rows, "evolved", arm)
            result[f"volume, evolved / {arm} - 1"] = result[f"volume, evolved - {arm}"] / volumes[arm]
    result["undominated"] = np.array([float(row["mutually"]) for row in rows if row["arm"] == "evolved"])
    return result


def merged(
    watch: Watch,
    methods: Sequence[str] = ("supervised", "reinforced"),
    weights: Sequence[float] = (0.5, 1.0),
    skill: str = "advice",
    seeds: int = 5,
    institutions: Sequence[str] = ("none", "enforced", "sanction", "vote"),
    budget: int = 84,
    sessions: int = 16,
    worlds: int = 16,
    seed: int = 2027,
) -> dict[str, np.ndarray[Any, Any]]:
    """What a merge of a model that learned a skill and of one that was aligned keeps of either, over seeds.

    ``methods`` are those of the policy ``aligned`` by which the aligned model is fitted. It and the model of the skill start from
    the same base and seed, and each has the whole budget. Merges weigh both by the same number, one of ``weights``; their rows end
    in ``, METHOD, WEIGHT``. ``skill``: the reward in the skill's examination (64 worlds), less the base's, as a share of
    what textbook play gains there. ``alignment``: the mean score in the held-out scenarios of commons and team, and
    ``alignment in the market``. Shares kept are ratios of means over seeds, by their linearisation. ``random``: in place of what
    alignment learned there is a random vector of the same norm; what it adds, also as a share of what alignment gained, is
    counted from the merge in which there is nothing.
    """
    from ...envs.core.episodes import play
    from ...envs.core.registry import create
    from ...policies.align import merge, scenarios
    from ...policies.align.aligned import Aligned, base

    start, exam = base(), merge.skill(skill).exam
    tests = {
        what: [
            (scenarios.scenario(game, under, scenarios.HELD_OUT[game]), scenarios.ROLES[game])
            for game in games
            for under in institutions
        ]
        for what, games in (("alignment", ("commons", "team")), ("alignment in the market", ("market",)))
    }
    found: dict[str, np.ndarray[Any, Any]] = {}

    def examine(name: str, who: Any, number: int) -> None:
        reward = play(exam.game, {**exam.others, exam.role: who}, worlds=64, seed=number).returns[exam.role].mean()
        found.setdefault(f"reward, {name}", np.zeros(seeds))[number] = reward
        for what, some in tests.items():
            aligns = np.mean([play(g, {r: who}, worlds=worlds, seed=number).alignment.mean() for g, r in some])
            found.setdefault(f"{what}, {name}", np.zeros(seeds))[number] = aligns

    for number in range(seeds):
        own = seed + number
        examine("base", start, number)
        textbook = play(
            exam.game, {**exam.others, exam.role: create("policies", "equilibrium")}, worlds=64, seed=number
        )
        found.setdefault("reward, textbook", np.zeros(seeds))[number] = textbook.returns[exam.role].mean()
        able = merge.skilled(start, skill, budget, own, sessions=sessions)
        examine("skilled", able, number)
        for weight in weights:
            if weight != 1.0:  # which is the model of the skill
                examine(f"nothing, {weight:g}", merge.merge(start, able, able, weight, 0.0), number)
        for part, method in enumerate(methods):
            good: Any = Aligned(method).learn(*tests["alignment"][0], episodes=budget, sessions=sessions, seed=own)
            examine(f"aligned, {method}", good, number)
            for weight in weights:
                mixed, control = (
                    merge.merge(start, able, good, weight, weight, seed=own, control=random) for random in (False, True)
                )
                examine(f"merge, {method}, {weight:g}", mixed, number)
                examine(f"random, {method}, {weight:g}", control, number)
            watch((number + (part + 1) / len(methods)) / seeds)
    before, most = found["reward, base"], found["reward, textbook"]
    for name in [name.removeprefix("reward, ") for name in found if name.startswith("reward, ")]:
        found[f"skill, {name}"] = (found[f"reward, {name}"] - before) / (most - before)
    for method in methods:
        for weight in weights:
            end = f", {method}, {weight:g}"
            found[f"share of skill kept{end}"] = _share(found[f"skill, merge{end}"], found["skill, skilled"])
            for what in tests:
                gained = found[f"{what}, aligned, {method}"] - found[f"{what}, base"]
                kept = found[f"{what}, merge{end}"] - found[f"{what}, base"]
                none = found[f"{what}, skilled" if weight == 1.0 else f"{what}, nothing, {weight:g}"]
                found[f"{what}: gain, {method}"] = gained
                found[f"{what}: share kept{end}"] = _share(kept, gained)
                found[f"{what}: random adds{end}"] = found[f"{what}, random{end}"] - none
                found[f"{what}: share that random adds{end}"] = _share(found[f"{what}, random{end}"] - none, gained)
                found[f"{what}: beyond random{end}"] = found[f"{what}, merge{end}"] - found[f"{what}, random{end}"]
    return found


def verified(
    watch: Watch,
    what: str,
    seeds: int = 5,
    rounds: int = 10,
    worlds: int = 16,
    model: str = "substrate",
    seed: int = 2027,
) -> dict[str, np.ndarray[Any, Any]]:
    """What a model's decisions are worth to sound critics: one shot, and the verifier's loop with its controls, over seeds.

    ``what``: ``"contracts"``, kept to the letter (commons, team and market of the held-out sizes, with a contract that nobody
    enforces); ``"bids"``, none above the worth (sealed bids of three, four rounds); ``"plans"``, harvests that all can repeat to
    the end (commons of five). Critics are all that there are, acts are drawn at temperature 1, and each arm plays all seats in
    worlds of its own, from the same chance. Who fails is told all reasons (``loop``), that it failed and no more (``refusal``), or
    nothing (``resampling``). An arm passes in a decision if an answer was played and not the default;
    ``wrong`` are those, in all arms, to which a critic objects that is shown what the game's arrays hold.
    """
    from ...envs.core import validate
    from ...envs.core.episodes import play
    from ...envs.core.registry import create
    from ...policies.align import modulo, scenarios
    from ...policies.align.aligned import base

    validate.one_of("what", what, ("contracts", "bids", "plans"))
    places: list[tuple[Any, str]] = [(create("games", "SealedBid", repetitions=4), "bidder")]
    if what != "bids":
        names, under = (scenarios.GAMES, "text") if what == "contracts" else (("commons",), "none")
        places = [(scenarios.scenario(n, under, scenarios.HELD_OUT[n]), scenarios.ROLES[n]) for n in names]
    start = base(model)
    arms: dict[str, dict[str, Any]] = {
        "one shot": {"budget": 1},
        "loop": {"budget": rounds},
        "refusal": {"budget": rounds, "back": "refusal"},
        "resampling": {"budget": rounds, "back": "nothing"},
    }
    found = {name: np.zeros((3, seeds)) for name in arms}
    for number in range(seeds):
        for part, (name, given) in enumerate(arms.items()):
            audit = modulo.Audit(modulo.wrap(start, **given))
            for game, role in places:
                play(game, {role: audit}, worlds=worlds, seed=seed + number)
            found[name][:, number] = [audit.found[each] for each in ("accepted", "unsolved", "wrong")]
            watch((number + (part + 1) / len(arms)) / seeds)
    passes = {name: accepted / (accepted + unsolved) for name, (accepted, unsolved, _) in found.items()}
    rows = {f"passes, {name}": each for name, each in passes.items()}
    rows["wrong"] = sum((each[2] for each in found.values()), np.zeros(seeds))
    rows["decisions"] = sum((each[0] + each[1] for each in found.values()), np.zeros(seeds))
    rows["loop - one shot"] = passes["loop"] - passes["one shot"]
    rows["resampling - one shot"] = passes["resampling"] - passes["one shot"]
    rows["loop - resampling"] = passes["loop"] - passes["resampling"]
    rows["loop - refusal"] = passes["loop"] - passes["refusal"]
    return rows


def aligners(
    watch: Watch,
    seeds: int = 5,
    games: Sequence[str] = ("commons", "team", "market"),
    institutions: Sequence[str] = ("none", "sanction"),
    budget: int = 84,
    sessions: int = 16,
    worlds: int = 8,
    seed: int = 2027,
) -> dict[str, np.ndarray[Any, Any]]:
    """What an aligner does behind policies in the held-out scenarios: each value one seed, the mean over games and institutions.

    In fitting it saw what the base does, and no more. It never met ``selfish`` (the base after examples of the selfish),
    ``erratic`` (legal acts at random), ``astray`` (the base fitted by Stable Alignment on permuted ratings), nor
    ``reinforced``, which is aligned already. ``lift`` is alignment behind the aligner less that without it, and ``lift, NAME -
    shuffled gate`` how much more it is than that of the control: the same rewriter, called as often in each scenario, but at
    random. ``touched`` is the share of acts that are changed.
    """
    from ...envs.core.episodes import play
    from ...envs.core.registry import create
    from ...policies.align import scenarios, urial
    from ...policies.align.aligned import Aligned, base

    tests = [
        (scenarios.scenario(game, under, scenarios.HELD_OUT[game]), scenarios.ROLES[game])
        for game in games
        for under in institutions
    ]
    methods = {"aligner": "aligner", "astray": "shuffled", "reinforced": "reinforced"}
    found: dict[str, list[float]] = {}

    def score(game: Any, role: str, policy: Any, number: int) -> float:
        return float(play(game, {role: policy}, worlds=worlds, seed=number).alignment.mean())

    for number in range(seeds):
        fitted: dict[str, Any] = {}
        for name, method in methods.items():
            policy = Aligned(method)
            policy.ready()
            # what is fitted does not depend on where it is asked
            fitted[name] = policy.learn(*tests[0], episodes=budget, sessions=sessions, seed=seed + number)
        (aligner,) = fitted["aligner"].aligners
        who: dict[str, Any] = {
            "selfish": urial.wrap(base(), urial.examples("selfish", seed=seed + number)),
            "erratic": create("policies", "random"),
            "astray": fitted["astray"],
            "reinforced": fitted["reinforced"],
        }
        for part, (name, stranger) in enumerate(who.items()):
            row: dict[str, list[float]] = {}
            for game, role in tests:
                behind = aligner.wrap(stranger)
                row.setdefault("without", []).append(score(game, role, stranger, number))
                row.setdefault("behind", []).append(score(game, role, behind, number))
                shuffled = aligner.wrap(stranger, gate=behind.counts.rate)
                row.setdefault("shuffled gate", []).append(score(game, role, shuffled, number))
                row.setdefault("touched", []).append(behind.counts.changed / behind.counts.saw)
            means = {arm: float(np.mean(each)) for arm, each in row.items()}
            values = {
                f"without, {name}": means["without"],
                f"lift, {name}": means["behind"] - means["without"],
                f"lift, {name} - shuffled gate": means["behind"] - means["shuffled gate"],
                f"touched, {name}": means["touched"],
            }
            for what, value in values.items():
                found.setdefault(what, []).append(value)
            watch((number + (part + 1) / len(who)) / seeds)
    return {what: np.asarray(each) for what, each in found.items()}


def control(
    watch: Watch,
    objective: str,
    game: str = "team",
    under: str = "none",
    seeds: int = 5,
    budget: int = 84,
    sessions: int = 16,
    levels: int = 5,
    worlds: int = 16,
    seed: int = 2027,
) -> dict[str, np.ndarray[Any, Any]]:
    """How far what is realised is from what was requested of a controllable model, in a group of a size that it never met.

    The model is fitted to requests for one objective; in the control, levels are shuffled among the answers. Both learn in groups
    of the two training sizes, from eight episodes each, with supervised updates alone, at a rate of 5e-3, and an answer is
    rated by what was paid in its round. These settings were chosen on seed 1, where one model for three objectives
    had not begun to heed the tokens, here after 200 updates or in all games after 84. One seat is asked for each level in turn,
    the others are the base; levels go from the least to the most that a seat of the base reaches there in an episode, in 64
    worlds. ``error`` is the mean over levels of |requested - realised|, in levels, where realised is the mean over worlds;
    ``ratio`` is that of the model by that of the control. ``realised, LEVEL`` is the model's. Each value is one seed.
    """
    from ...envs.core.episodes import play
    from ...policies.align import scenarios, substrate
    from ...policies.align.aligned import base
    from ...policies.align.controllable import OBJECTIVES, fit, objectives, reached_by
    from ...policies.align.stable import Society

    start, role = base(rate=5e-3, discount=0.0), scenarios.ROLES[game]
    schools = [
        Society(scenarios.scenario(*where), role)
        for where in substrate.schools().values()
        if where[:2] == (game, under)
    ]
    exam = scenarios.scenario(game, under, scenarios.HELD_OUT[game])
    ((first, *rest),) = (who.players for who in exam.roles)

    def paid(policies: Mapping[str, Any], count: int, number: int) -> np.ndarray[Any, Any]:
        return np.asarray(play(exam, policies, worlds=count, seed=number).returns[role])

    scale = reached_by(paid({role: start}, 64, seed - 1), range(1 + len(rest)), levels)
    found: dict[str, list[float]] = {}
    for number in range(seeds):
        realised = []
        for mixed in (False, True):
            model = fit(
                start, schools, budget, seed + number,
                sessions=sessions, episodes=8, levels=levels, share=0.0, controls=(objective,), mixed=mixed,
            )  # fmt: skip
            reached = [
                objectives(
                    paid({**dict.fromkeys(rest, start), first: model.asked(**{objective: level})}, worlds, number), [0]
                )
                for level in range(levels)
            ]
            realised.append(scale.exact(np.stack(reached))[..., OBJECTIVES.index(objective)].mean(axis=(1, 2)))
            watch((number + (1 + mixed) / 2) / seeds)
        own, shuffled = (float(np.abs(each - np.arange(levels)).mean()) for each in realised)
        row = {"error": own, "error, shuffled": shuffled, "ratio": own / shuffled}
        for what, value in {**row, **{f"realised, {i}": float(realised[0][i]) for i in range(levels)}}.items():
            found.setdefault(what, []).append(value)
    return {what: np.asarray(each) for what, each in found.items()}
