"""Forget and relearn: part of what was learned is forgotten again and again; what is soon relearned is what stays."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import numpy as np

from ...envs.core import validate
from ...envs.core.chance import code
from ...envs.core.policy import Policy
from ..llm.policy import LanguageModel
from ..rl import PPO
from . import stable

if TYPE_CHECKING:
    from ...envs.core.game import Game

Model = TypeVar("Model", bound=LanguageModel)

Weights = Mapping[str, np.ndarray[Any, Any]]
Mask = dict[str, np.ndarray[Any, Any]]
"""Which entries of each weight are kept (true) and which are forgotten."""

Rule = Callable[[Weights, int], Mask]
"""Chooses a mask from the weights before anything is learned, and a seed."""

Measured = Callable[[dict[str, PPO]], Mapping[str, float]]
"""What is measured of the policies, by name."""


def networks_of(weights: Weights) -> Weights:
    """Return the weights of actor and critic: not the running means of what was seen, which are nobody's choice."""
    return {name: values for name, values in weights.items() if name.startswith(("actor.", "critic."))}


# ---- what is kept ---------------------------------------------------------------------------------------------------


def everything() -> Rule:
    """Forget all: for a receiver alone, the reset of Li and Bowling (2019, arXiv:1906.02403)."""
    return lambda weights, seed: {name: np.zeros(v.shape, dtype=bool) for name, v in networks_of(weights).items()}


def largest(keep: float) -> Rule:
    """Keep the share ``keep`` of each weight's entries that are largest in size; where several are alike, the first.

    The number kept is rounded down. For all who talk with each other this is partial balanced forgetting (Zhou, Vani,
    Larochelle and Courville 2022, arXiv:2202.00155), which keeps a tenth.
    """
    keep = validate.probability("keep", keep)

    def mask(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        kept = np.zeros(values.size, dtype=bool)
        kept[np.argsort(-np.abs(values), axis=None, kind="stable")[: _count(keep, values.size)]] = True
        return kept.reshape(values.shape)

    return lambda weights, seed: {name: mask(v) for name, v in networks_of(weights).items()}


def at_random(keep: float) -> Rule:
    """Keep a random share ``keep`` of each weight's entries, rounded down: a split into a part that fits and one that is reset.

    This is knowledge evolution with a split weight by weight (Taha, Shrivastava and Davis 2021, arXiv:2103.05152).
    """
    keep = validate.probability("keep", keep)

    def mask(name: str, values: np.ndarray[Any, Any], seed: int) -> np.ndarray[Any, Any]:
        order = np.random.default_rng([seed, code(name)]).permutation(values.size)
        return np.asarray(order < _count(keep, values.size)).reshape(values.shape)

    return lambda weights, seed: {name: mask(name, v, seed) for name, v in networks_of(weights).items()}


def later(layer: int) -> Rule:
    """Forget the layers from number ``layer`` on (Zhou et al. 2022), 0 being the first above the GRU, which is kept."""
    return _layers_kept("layer", layer, lambda number: number < layer)


def earlier(layer: int) -> Rule:
    """Forget the layers below number ``layer``, with a GRU below them: the control of ``later``."""
    return _layers_kept("layer", layer, lambda number: number >= layer)


def _layers_kept(parameter: str, layer: int, stays: Callable[[int], bool]) -> Rule:
    validate.whole(parameter, layer, 0, 1000)

    def rule(weights: Weights, seed: int) -> Mask:
        known = networks_of(weights)
        last = max(_layer(name) for name in known)
        if layer > last:
            raise ValueError(f"{parameter}: 0 to {last}, the layers that there are, got {layer}")
        return {name: np.full(v.shape, name != "actor.log_sd" and stays(_layer(name))) for name, v in known.items()}

    return rule


def _count(share: float, size: int) -> int:
    return int(share * size + 1e-9)


def _layer(name: str) -> int:
    """Return the number of the layer that a weight is of; -1 below them."""
    last = name.rsplit(".", 1)[-1]
    return int(last) if last.isdigit() else -1


# ---- forgetting -----------------------------------------------------------------------------------------------------


def forget(weights: Weights, mask: Mask, fresh: Weights) -> dict[str, np.ndarray[Any, Any]]:
    """Return the weights, with those that the mask does not keep replaced by fresh ones; what it does not name stays.

    Raises
    ------
    ValueError
        If mask or fresh weights are not of the weights' shapes.
    """
    for name, kept in mask.items():
        shapes = [None if name not in part else part[name].shape for part in (weights, fresh)]
        if shapes != [kept.shape] * 2:
            raise ValueError(
                f"mask: {name} is {kept.shape}, the weights {shapes[0]} and the fresh ones {shapes[1]}; draw all from one policy"
            )
    return {name: np.where(mask[name], v, fresh[name]) if name in mask else v for name, v in weights.items()}


def untaught(
    game: Game, learners: Mapping[str, PPO], seed: int, others: Mapping[str, Policy] | None = None
) -> dict[str, PPO]:
    """Return the learners with fresh weights, as learning would begin with."""
    from ..rl.training import _Training

    blank = {name: PPO(**policy.parameters) for name, policy in learners.items()}
    return _Training(game, blank, 1, 1, seed, others or {}).policies()


class Fitted(NamedTuple):
    """What was learned, and what was measured on the way.

    Each row of ``rows`` has ``generation``, ``moment`` (``"forgot"`` or ``"learned"``), ``episodes`` so far, and what was
    measured then.
    """

    policies: dict[str, PPO]
    rows: list[dict[str, Any]]


def fit(
    game: Game,
    learners: Mapping[str, PPO],
    rules: Mapping[str, Rule],
    *,
    generations: int,
    episodes: int,
    last: int | None = None,
    sessions: int = 256,
    seed: int = 0,
    others: Mapping[str, Policy] | None = None,
    measure: Measured | None = None,
) -> Fitted:
    """Learn, forget, relearn, and so on; learning comes last (Zhou, Vani, Larochelle and Courville 2022, arXiv:2202.00155).

    Each learner's mask is chosen once, from its weights before it learns, and serves at every forgetting; what is
    forgotten is drawn anew each time. In every generation the optimisers begin anew, and rate and entropy fall as for
    ``train``, also for who forgets nothing: with no rules at all this is the control of equal length.

    Parameters
    ----------
    game, learners, others
        As for ``train``. A learner that has learned already goes on from there.
    rules
        {learner: what it keeps}; the others forget nothing.
    generations
        How often it learns: one time more than it forgets.
    episodes
        Episodes a generation in each world.
    last
        Episodes of the last generation, which shows what is relearned if there is time; None for ``episodes``.
    sessions
        Worlds.
    seed
        Seed of all chance. With the same seed, who forgets by other rules plays the same worlds and draws the same fresh
        weights.
    measure
        Called with the policies after each learning and each forgetting.

    Raises
    ------
    KeyError
        If a rule names none of the learners.
    """
    validate.whole("generations", generations, 1, 1_000_000)
    if unknown := sorted(set(rules) - set(learners)):
        raise KeyError(f"rules: no learner {unknown[0]!r}; there are: {', '.join(learners)}")
    from ..rl import train

    blank = untaught(game, learners, _seed(seed, 0), others)
    now = {name: policy if policy.weights else blank[name] for name, policy in learners.items()}
    masks = {name: rule(now[name].weights, seed) for name, rule in rules.items()}
    rows: list[dict[str, Any]] = []
    done = 0

    def note(generation: int, moment: str) -> None:
        found = {} if measure is None else dict(measure(now))
        rows.append({"generation": generation, "moment": moment, "episodes": done, **found})

    for generation in range(1, generations + 1):
        if generation > 1:
            fresh = untaught(game, learners, _seed(seed, generation), others)
            for name, mask in masks.items():
                changed = copy.copy(now[name])
                changed.weights = forget(changed.weights, mask, fresh[name].weights)
                now[name] = changed
            note(generation, "forgot")
        many = episodes if last is None or generation < generations else last
        now = train(game, now, episodes=many, sessions=sessions, seed=_seed(seed, generation), others=others)
        done += many
        note(generation, "learned")
    return Fitted(now, rows)


def _seed(seed: int, generation: int) -> int:
    return seed * 100_003 + generation


# ---- language models ------------------------------------------------------------------------------------------------

KEPT: dict[str, Callable[[float, int], Rule]] = {
    "largest": lambda keep, blocks: largest(keep),
    "random": lambda keep, blocks: at_random(keep),
    "later": lambda keep, blocks: later(round(keep * blocks)),
}
"""Which weights of a language model stay, by name: rules of a share that is kept, and a number of blocks."""


def numbered(names: Sequence[str]) -> dict[str, str]:
    """Return {name of a language model's weight: that name as rules know it}.

    They know ``actor.NAME.LAYER``. Layers are the model's blocks, and what stands above them (a last norm, a head) is one more;
    what stands below (embeddings, also where the head shares them) has none.
    """
    block = {name: int(found[1]) for name in names if (found := re.search(r"\.(\d+)\.", name))}
    above = names[min(map(names.index, block), default=0) :]
    top = max(block.values(), default=-1) + 1
    return {name: f"actor.{name}" + (f".{block.get(name, top)}" if name in above else "") for name in names}


def forgetful(
    base: Model,
    society: stable.Societies,
    budget: int,
    seed: int,
    *,
    sessions: int = 64,
    generations: int = 3,
    what: str = "largest",
    keep: float = 0.1,
    ratio: float = 0.0,
) -> Model:
    """Align a language model in generations, and forget part of what was learned between them.

    Each generation is ``stable.fit``, with a fresh optimiser and a rate that falls to 0. Then the weights that the mask does not
    keep return to what they were before alignment: a pretrained model forgets what alignment taught it, not how to
    speak. The mask is chosen once, from the pretrained weights (Zhou, Vani, Larochelle and Courville 2022,
    arXiv:2202.00155, whose networks begin untrained and forget into fresh draws).

    Parameters
    ----------
    base, society, budget, seed, sessions, ratio
        As for ``stable.fit``; the updates are divided evenly among generations. ``ratio`` 0 imitates the best.
    generations
        How often it learns: one time more than it forgets. With 1 it is ``stable.fit``.
    what
        What is kept, in ``KEPT``: the ``"largest"`` entries of each weight, a ``"random"`` part of them, or the layers below
        ``"later"`` ones.
    keep
        The share of entries or of blocks that is kept. With 1 nothing is forgotten (``"later"``: what stands above all blocks).

    Returns
    -------
    LanguageModel
        As from ``stable.fit``, with ``learned["forgotten"]``: how far all weights are from the pretrained ones, as a
        Euclidean norm, before and after each forgetting.
    """
    import torch

    from ..llm.train.adapters import described, start

    validate.whole("budget", budget, 1, 1_000_000_000)
    validate.whole("generations", generations, 1, budget)
    validate.one_of("what", what, tuple(KEPT))
    validate.probability("keep", keep)
    if base.training.lora is not None:
        raise ValueError("training.lora: None, as all weights learn and are forgotten, got adapters; leave lora out")
    student: Any = copy.copy(base)
    student.model = start(base.model, seed, base.device)
    pretrained = _weights(student.model.model)
    mask = KEPT[what](keep, max(map(_layer, pretrained)))(pretrained, seed)
    curve, active, forgotten = list[float](), list[float](), list[tuple[float, float]]()
    for generation in range(generations):
        if generation:
            now = _weights(student.model.model)
            after = forget(now, mask, pretrained)
            forgotten.append((_apart(now, pretrained), _apart(after, pretrained)))
            with torch.no_grad():
                for weight, values in zip(student.model.model.parameters(), after.values(), strict=True):
                    weight.copy_(torch.from_numpy(values))
            student.model.forget()
        updates = budget * (generation + 1) // generations - budget * generation // generations
        lot = _seed(seed, generation) if generation else seed
        student = stable.fit(student, society, updates, lot, sessions=sessions, ratio=ratio)
        curve += student.curve
        active += student.learned["active"]
    about = {
        "base": described(base.model),
        "seed": seed,
        "method": "forgetful",
        "active": active,
        "forgotten": forgotten,
    }
    student.learned, student.curve = {**student.learned, **about}, curve
    return cast(Model, student)


def _weights(model: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Return a copy of all weights of a torch model, in its order, under the names that rules know."""
    known = dict(model.named_parameters())
    names = numbered(list(known))
    return {names[name]: weight.detach().cpu().numpy().copy() for name, weight in known.items()}


def _apart(one: Weights, other: Weights) -> float:
    return float(np.sqrt(sum(((one[name] - other[name]) ** 2).sum() for name in one)))


# ---- many at once -------------------------------------------------------------------------------------------------


class Schedule(NamedTuple):
    """What is forgotten by whom, every how many generations, and whether all optimisers then begin anew."""

    rules: Mapping[str, Rule]
    every: int = 1
    anew: bool = True


Networks = Mapping[str, Mapping[str, Any]]
"""{network: {weight: values}}: arrays of one run, or tensors (runs, ...) of many, one arm after the other."""


def many(
    fresh: Callable[[int, int], Mapping[str, Weights]],
    loss: Callable[[Networks, int], Any],
    arms: Mapping[str, Schedule],
    *,
    seeds: range,
    generations: int,
    steps: int,
    last: int | None = None,
    rate: float = 1e-3,
    measure: Callable[[Networks], Mapping[str, np.ndarray[Any, Any]]],
    watch: Callable[[float], object] = lambda share: None,
) -> list[dict[str, Any]]:
    """Learn, forget and relearn with every arm and seed at once; return the rows that ``compare`` would.

    It is ``fit`` for networks whose loss can be computed without playing: all runs are one product of matrices, and none
    knows of the others. The masks are chosen once, and what is forgotten is drawn anew each time. Steps are Adam's
    (Kingma and Ba 2015, arXiv:1412.6980), at a constant rate.

    Parameters
    ----------
    fresh
        {network: weights} of a seed and a generation; generation 0 is the start.
    loss
        Loss (runs,) of all networks at a step, counted from 0; the gradient of a run's loss is of its own weights alone.
    arms
        {name: schedule}. Arms of a seed start alike and meet the same fresh weights.
    seeds
        Seeds.
    generations
        How often it learns: one time more than it can forget.
    steps, last
        Steps a generation, and of the last one (None for ``steps``), in which nothing is forgotten.
    rate
        Adam's.
    measure
        {name: values (runs,)} of the networks; called after each forgetting and at the end of each generation.
    watch
        Called with the part that is done.

    Returns
    -------
    list of dict
        ``arm``, ``seed``, ``generation``, ``moment``, ``episodes`` (steps so far), and what was measured.
    """
    import torch

    validate.whole("generations", generations, 1, 1_000_000)
    validate.whole("steps", steps, 1, 1_000_000_000)
    validate.real("rate", rate, 0.0, 1e6)
    for name, plan in arms.items():
        validate.whole(f"arms.{name}.every", plan.every, 1, 1_000_000)
    count, rows, done = len(seeds), [], 0
    begin = [fresh(seed, 0) for seed in seeds]
    for name, plan in arms.items():
        if unknown := sorted(set(plan.rules) - set(begin[0])):
            raise KeyError(f"arms: {name!r} has a rule for {unknown[0]!r}; there are: {', '.join(begin[0])}")

    def stack(found: list[Mapping[str, Weights]]) -> dict[str, dict[str, Any]]:
        parts = {net: list(weights) for net, weights in found[0].items()}
        return {
            net: {k: torch.tensor(np.stack([one[net][k] for one in found]), dtype=torch.float32) for k in names}
            for net, names in parts.items()
        }

    live = {arm: stack(begin) for arm in arms}  # a copy each
    kept = {
        arm: {
            net: {k: torch.tensor(np.stack([mask[k] for mask in masks])) for k in masks[0]}
            for net, rule in schedule.rules.items()
            for masks in [[rule(one[net], seed) for one, seed in zip(begin, seeds, strict=True)]]
        }
        for arm, schedule in arms.items()
    }

    def leaves(arm: str) -> list[Any]:
        return [tensor.requires_grad_() for weights in live[arm].values() for tensor in weights.values()]

    adam = {arm: torch.optim.Adam(leaves(arm), lr=rate) for arm in arms}

    def together() -> Networks:
        return {
            net: {k: torch.cat([live[arm][net][k] for arm in arms]) for k in weights}
            for net, weights in begin[0].items()
        }

    def note(generation: int, moment: str) -> None:
        with torch.no_grad():
            found = measure(together())
        for number, label in enumerate(arms):
            for place, seed in enumerate(seeds):
                values = {name: float(v[number * count + place]) for name, v in found.items()}
                about = {"arm": label, "seed": seed, "generation": generation, "moment": moment, "episodes": done}
                rows.append({**about, **values})

    for generation in range(1, generations + 1):
        if generation > 1:
            drawn = stack([fresh(seed, generation) for seed in seeds])
            for arm, schedule in arms.items():
                if not schedule.rules or (generation - 1) % schedule.every:
                    continue
                with torch.no_grad():
                    for net, masks in kept[arm].items():
                        for k, stays in masks.items():
                            live[arm][net][k].copy_(torch.where(stays, live[arm][net][k], drawn[net][k]))
                if schedule.anew:
                    adam[arm] = torch.optim.Adam(leaves(arm), lr=rate)
            note(generation, "forgot")
        for _ in range(steps if last is None or generation < generations else last):
            for optimiser in adam.values():
                optimiser.zero_grad(set_to_none=True)
            loss(together(), done).sum().backward()
            for optimiser in adam.values():
                optimiser.step()
            done += 1
        note(generation, "learned")
        watch(generation / generations)
    return rows


def layered(sizes: tuple[int, ...], seed: int, generation: int, name: str) -> dict[str, np.ndarray[Any, Any]]:
    """Return fresh weights of layers of these sizes, uniform within 1 / sqrt(inputs) as torch has them."""
    found = {}
    for i, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        rng = np.random.default_rng([seed, generation, code(name), i])
        for part, shape in (("weight", (inputs, outputs)), ("bias", (outputs,))):
            found[f"actor.{part}.{i}"] = rng.uniform(-1.0, 1.0, shape) / np.sqrt(inputs)
    return found


def through(x: Any, weights: Mapping[str, Any]) -> Any:
    """Return what layers (runs, ...) make of inputs (cases, inputs) or (runs, cases, inputs), with ReLU between them."""
    last = max(_layer(name) for name in weights)
    for i in range(last + 1):
        x = x @ weights[f"actor.weight.{i}"] + weights[f"actor.bias.{i}"][:, None, :]
        x = x.relu() if i < last else x
    return x


class Signallers:
    """Senders and receivers of a signalling game, many at once, that follow the gradient of what they earn exactly.

    A sender gives m symbols, each by its own distribution, to an object of a attributes; the receiver reads them and picks
    among ``candidates`` objects, by the product of what it makes of the message and of each object, or says every
    attribute. Both are paid 1 if it is the object. All M messages are enumerated, so that

        J = mean over objects x of sum_c p(c | x) q(x | c)

    has no noise but that of the candidates, which are drawn at each step, the same for all arms of a seed. The loss is
    -J - entropy (H_sender + H_receiver). Zhou et al. (2022) have LSTMs of 100 units, which learn from single answers.

    Parameters
    ----------
    objects
        Attributes of all objects, (N, a) from 0.
    vocabulary, symbols
        w symbols, of which m make a message: M = w^m.
    hidden
        Units.
    candidates
        Among how many objects the receiver picks; 0 if it says what the object is.
    entropy
        Weight of the entropies, in natural logarithms.
    sets
        Sets of candidates that are drawn at a step; each object of a set is the sender's once.
    held
        Objects that are never met in learning, (seeds, N).
    """

    def __init__(
        self,
        objects: np.ndarray[Any, Any],
        vocabulary: int,
        symbols: int,
        *,
        hidden: int = 100,
        candidates: int = 0,
        entropy: float = 0.1,
        sets: int = 8,
        held: np.ndarray[Any, Any],
    ) -> None:
        import torch

        self.objects = np.asarray(objects)
        self.counts = tuple(int(n) + 1 for n in self.objects.max(axis=0))
        least = int((~held).sum(axis=1).min())
        if candidates:
            validate.whole("candidates", candidates, 2, least)
        self.vocabulary, self.symbols, self.hidden = vocabulary, symbols, hidden
        self.candidates, self.entropy, self.sets, self.held = candidates, entropy, sets, held
        messages = np.stack(np.unravel_index(np.arange(vocabulary**symbols), (vocabulary,) * symbols), axis=1)
        self.things = torch.tensor(_one_hot(self.objects, self.counts), dtype=torch.float32)
        self.words = torch.tensor(_one_hot(messages, (vocabulary,) * symbols), dtype=torch.float32)

    def fresh(self, seed: int, generation: int) -> dict[str, Weights]:
        """Return weights of a sender and a receiver before they have learned."""
        things, words, middle = self.things.shape[1], self.words.shape[1], self.hidden
        receiver = layered((words, middle, middle if self.candidates else things), seed, generation, "receiver")
        if self.candidates:
            seen = layered((things, middle), seed, generation, "candidates")
            receiver["actor.candidates.0"] = seen["actor.weight.0"]
        return {"sender": layered((things, middle, words), seed, generation, "sender"), "receiver": receiver}

    def _speak(self, networks: Networks) -> Any:
        """Return log-probabilities (runs, N, m, w) of symbols."""
        scores = through(self.things, networks["sender"])
        return scores.unflatten(-1, (self.symbols, self.vocabulary)).log_softmax(-1)

    def _hear(self, networks: Networks) -> Any:
        """Return scores (runs, M, N) of objects; the log-probability where the receiver says what the object is."""
        heard = through(self.words, {k: v for k, v in networks["receiver"].items() if "candidates" not in k})
        if self.candidates:
            return heard @ (self.things @ networks["receiver"]["actor.candidates.0"]).transpose(1, 2)
        parts = [part.log_softmax(-1) for part in heard.split(self.counts, -1)]
        return sum(part[..., self.objects[:, i]] for i, part in enumerate(parts))

    def loss(self, networks: Networks, step: int) -> Any:
        """Return the loss (runs,)."""
        import torch

        said, heard = self._speak(networks), self._hear(networks)
        logs = said[:, :, 0]
        for i in range(1, self.symbols):
            logs = (logs[..., None] + said[:, :, i, None, :]).flatten(2)
        sent, runs = logs.exp(), len(said)  # (runs, N, M)
        arms = runs // len(self.held)
        weight = torch.tensor(
            np.tile(~self.held / (~self.held).sum(axis=1, keepdims=True), (arms, 1)), dtype=sent.dtype
        )
        wordy = -((said.exp() * said).sum((-1, -2)) * weight).sum(1)
        if self.candidates:
            draws = np.random.default_rng([step, 41]).random((len(self.held), self.sets, len(self.objects)))
            drawn = np.argsort(draws + 2.0 * self.held[:, None], axis=-1)[..., : self.candidates]
            which = torch.tensor(np.tile(drawn.reshape(len(self.held), -1), (arms, 1)))
            shape = (self.sets, self.candidates)
            shown = heard.gather(2, which[:, None].expand(-1, heard.shape[1], -1)).unflatten(2, shape).log_softmax(-1)
            asked = sent.gather(1, which[..., None].expand(-1, -1, sent.shape[2])).unflatten(1, shape).transpose(2, 3)
            read = shown.exp().transpose(1, 2)  # (runs, sets, M, candidates)
            pay = (asked * read).sum((2, 3)).mean(1) / self.candidates
            unsure = -(read * shown.transpose(1, 2)).sum(-1)
            doubt = (asked.mean(3).detach() * unsure).sum(2).mean(1)
        else:
            read = heard.exp().transpose(1, 2)
            pay = ((sent * read).sum(2) * weight).sum(1)
            used = (sent * weight[..., None]).sum(1).detach()
            doubt = (used * -(heard.exp() * heard).sum(2)).sum(1)
        return -pay - self.entropy * (wordy + doubt)

    def read(self, networks: Networks) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Return the likeliest messages (runs, N, m), and which objects (runs, N) the receiver then finds among all."""
        words = self._speak(networks).argmax(-1).numpy()
        number = np.ravel_multi_index(np.moveaxis(words, -1, 0), (self.vocabulary,) * self.symbols)
        guess = self._hear(networks).argmax(-1).numpy()
        return words, np.take_along_axis(guess, number, axis=1) == np.arange(len(self.objects))


def _one_hot(values: np.ndarray[Any, Any], counts: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Return values (cases, parts) as zeros and ones (cases, sum of counts)."""
    return np.concatenate([np.eye(count)[values[:, i]] for i, count in enumerate(counts)], axis=1)


# ---- comparing ------------------------------------------------------------------------------------------------------


def usual(sender: str, receiver: str, keep: float = 0.1) -> dict[str, dict[str, Rule]]:
    """Return the arms that Zhou et al. (2022) compare in a game of a sender and a receiver: {arm: rules}."""
    return {
        "none": {},
        "receiver reset": {receiver: everything()},
        "partial balanced": {sender: largest(keep), receiver: largest(keep)},
    }


def compare(
    game: Game,
    learners: Mapping[str, PPO],
    arms: Mapping[str, Mapping[str, Rule]],
    *,
    measure: Measured,
    seeds: range,
    **budget: Any,
) -> list[dict[str, Any]]:
    """Fit every arm with every seed; return the rows of all, with ``arm`` and ``seed``. The arms of a seed are pairs.

    Parameters
    ----------
    game, learners, measure
        As for ``fit``.
    arms
        {name: rules}, such as ``usual("sender", "receiver")``.
    seeds
        Seeds.
    budget
        Further arguments of ``fit``: ``generations``, ``episodes``, ``last``, ``sessions``, ``others``.
    """
    rows = []
    for seed in seeds:
        for arm, rules in arms.items():
            found = fit(game, learners, rules, seed=seed, measure=measure, **budget).rows
            rows += [{"arm": arm, "seed": seed, **row} for row in found]
    return rows


def paired(rows: list[dict[str, Any]], name: str, arm: str, other: str) -> np.ndarray[Any, Any]:
    """Return what an arm had more of than another once all was learned, (seeds,), in the order of the seeds.

    What it is on average, with an interval: ``interval`` of ``societas.envs.core.statistics``.
    """

    def finals(which: str) -> dict[int, float]:  # the last row of a seed is what is left in it
        found = {row["seed"]: row[name] for row in rows if row["arm"] == which and row["moment"] == "learned"}
        if not found:
            raise ValueError(f"arm: {which!r} is not among {', '.join(sorted({row['arm'] for row in rows}))}")
        return found

    one, two = finals(arm), finals(other)
    return np.array([one[seed] - two[seed] for seed in sorted(one)])
