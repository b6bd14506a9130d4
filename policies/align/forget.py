"""Forget and relearn: part of what was learned is forgotten again and again; what is soon relearned is what stays."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...envs.core import validate
from ...envs.core.chance import code
from ...envs.core.policy import Policy
from ..rl import PPO

if TYPE_CHECKING:
    from ...envs.core.game import Game

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
    layer = validate.whole("layer", layer, 0, 1000)

    def rule(weights: Weights, seed: int) -> Mask:
        known = networks_of(weights)
        last = max(_layer(name) for name in known)
        if layer > last:
            raise ValueError(f"layer: 0 to {last}, the layers that there are, got {layer}")
        return {name: np.full(v.shape, name != "actor.log_sd" and _layer(name) < layer) for name, v in known.items()}

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
