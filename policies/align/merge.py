"""Merging of models: what was learned for a domain and what was learned for alignment, added to the base they share.

``fit`` learns a domain and alignment from one base, each with half of the budget, and merges them. The domain is a skill
that the game scores and that is not alignment (``SKILLS``).
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ...envs.core import registry, validate
from ..llm.policy import LanguageModel
from ..llm.scorer import Scorer
from ..llm.train.adapters import card, described, start
from ..llm.train.learning import _Learner
from . import stable

Model = TypeVar("Model", bound=LanguageModel)
Tensors = Mapping[str, Any]
"""Torch tensors by name: a state dict, or what ``read`` finds in a file."""


def read(path: str | Path) -> dict[str, Any]:
    """Return the tensors of a safetensors file, on the CPU.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a .safetensors file; nothing else is read, as a pickle could run code.
    """
    from safetensors.torch import load_file

    file = Path(path)
    if file.suffix != ".safetensors":
        raise ValueError(f"path: a .safetensors file, got {file.name!r}; convert it with safetensors first")
    if not file.is_file():
        raise FileNotFoundError(f"path: no file {str(file)!r}")
    return dict(load_file(file))


def write(tensors: Tensors, path: str | Path) -> None:
    """Write tensors as a safetensors file, each a copy of its own, as tied ones share memory."""
    from safetensors.torch import save_file

    if Path(path).suffix != ".safetensors":
        raise ValueError(f"path: a .safetensors file, got {Path(path).name!r}; name it so")
    save_file({name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}, path)


def merged(base: Tensors, domain: Tensors, alignment: Tensors, a: float = 0.5, b: float = 0.5) -> dict[str, Any]:
    """Return base + a (domain - base) + b (alignment - base), by name.

    theta = theta_base + a tau_domain + b tau_alignment, task vectors (Ilharco et al. 2023, arXiv:2212.04089) of a model
    trained for a domain and of one that was aligned, as MergeAlign adds them (Thakkar et al. 2025, arXiv:2411.06824). It
    is computed in double precision as (1 - a - b) base + a domain + b alignment, so that (0, 0), (1, 0) and (0, 1) are
    the base, the domain's model and the aligned one, bit for bit.

    Parameters
    ----------
    base, domain, alignment
        Tensors by name, of the same names and shapes. Those that are no real numbers (counts, masks) must be equal.
    a, b
        Weights, finite; ``a = 1 - b`` is interpolation.

    Raises
    ------
    ValueError
        If a tensor is missing, or differs in shape or, where it cannot be added, in value; it is named.
    """
    import torch

    for name, weight in (("a", a), ("b", b)):
        validate.real(name, weight, -1e6, 1e6)
    _alike("domain", base, domain)
    _alike("alignment", base, alignment)
    found = {}
    for name, start_ in base.items():
        if not start_.dtype.is_floating_point:
            for label, other in (("domain", domain), ("alignment", alignment)):
                if not torch.equal(start_, other[name].to(start_)):
                    raise ValueError(f"{label}: {name!r} of {start_.dtype} differs from the base's and cannot be added")
            found[name] = start_.clone()
            continue
        total = torch.zeros_like(start_, dtype=torch.float64)
        for weight, tensor in ((1.0 - a - b, start_), (a, domain[name]), (b, alignment[name])):
            if weight:
                total = total + weight * tensor.to(total)
        found[name] = total.to(start_.dtype)
    return found


def stacked(domain: Tensors, alignment: Tensors, a: float = 0.5, b: float = 0.5) -> dict[str, Any]:
    """Return adapters of low rank whose product is a B_d A_d + b B_a A_a: exact, of the sum of both ranks.

    Adding A to A and B to B would not do: (B_d + B_a)(A_d + A_a) has cross terms. So rows of A are put below each
    other, and columns of B, times a and b, beside each other (``"cat"`` of PEFT's ``add_weighted_adapter``).
    Whoever loads them keeps the factor alpha / rank as it was: alpha grows with the rank.

    Parameters
    ----------
    domain, alignment
        Tensors ``....lora_A.weight`` (rank, in) and ``....lora_B.weight`` (out, rank), as PEFT saves them, of adapters
        of one base with one factor alpha / rank.
    a, b
        Weights.

    Raises
    ------
    ValueError
        If a tensor is missing, is no adapter, or differs in what is not the rank; it is named.
    """
    import torch

    for name, weight in (("a", a), ("b", b)):
        validate.real(name, weight, -1e6, 1e6)
    _same_names("alignment", domain, alignment)
    found = {}
    for name, one in domain.items():
        two = alignment[name]
        if "lora_A" not in name and "lora_B" not in name:
            raise ValueError(
                f"domain: {name!r} is no adapter of low rank (lora_A, lora_B); use merged for whole weights"
            )
        down = "lora_A" in name
        axis = 0 if down else 1
        if one.ndim != 2 or two.ndim != 2 or one.shape[1 - axis] != two.shape[1 - axis]:
            raise ValueError(
                f"alignment: {name!r} has shape {tuple(two.shape)}, and the domain's {tuple(one.shape)}; they may differ "
                f"in the rank (axis {axis}) alone, so both must be of one base"
            )
        found[name] = torch.cat((one, two) if down else (a * one, b * two), dim=axis)
    return found


def random_like(base: Tensors, alignment: Tensors, seed: int) -> dict[str, Any]:
    """Return base + a random vector with the norm of alignment - base, tensor by tensor: the control of ``merged``.

    Directions are uniform on the sphere; what is no real number stays the base's.
    """
    import torch

    _alike("alignment", base, alignment)
    rng = np.random.default_rng(validate.whole("seed", seed, 0, 2**62))
    found = {}
    for name, start_ in base.items():
        if not start_.dtype.is_floating_point:
            found[name] = start_.clone()
            continue
        length = (alignment[name].double().to(start_.device) - start_.double()).norm()
        step = torch.from_numpy(rng.standard_normal(tuple(start_.shape))).to(start_.device)
        found[name] = (start_.double() + step * (length / step.norm().clamp(min=1e-300))).to(start_.dtype)
    return found


def cosines(base: Tensors, domain: Tensors, alignment: Tensors) -> dict[str, float]:
    """Return the cosine of what was learned for domain and alignment, by tensor and, as ``""``, of all together.

    Near 0 the two hardly meet and can be added; 0 also where one of them learned nothing.
    """
    import torch

    _alike("domain", base, domain)
    _alike("alignment", base, alignment)
    steps = {
        name: [(other[name].double() - start_.double()).flatten() for other in (domain, alignment)]
        for name, start_ in base.items()
        if start_.dtype.is_floating_point
    }
    whole = [torch.cat([pair[i] for pair in steps.values()]) for i in (0, 1)]

    def cosine(one: Any, two: Any) -> float:
        return float(one @ two / (one.norm() * two.norm()).clamp(min=1e-300))

    return {name: cosine(*pair) for name, pair in steps.items()} | {"": cosine(*whole)}


def _same_names(label: str, base: Tensors, other: Tensors) -> None:
    if missing := sorted(set(base) ^ set(other)):
        name = missing[0]
        where = f"lacks {name!r}" if name in base else f"has {name!r}, which the first lacks"
        raise ValueError(f"{label}: {where} ({len(missing)} such); all must come from one base, in one form")


def _alike(label: str, base: Tensors, other: Tensors) -> None:
    _same_names(label, base, other)
    for name, tensor in base.items():
        if tensor.shape != other[name].shape:
            raise ValueError(
                f"{label}: {name!r} has shape {tuple(other[name].shape)}, and the base's {tuple(tensor.shape)}; "
                "all must come from one base"
            )


# ---- policies -----------------------------------------------------------------------------------------------------


def merge(
    base: Model,
    domain: LanguageModel,
    alignment: LanguageModel,
    a: float = 0.5,
    b: float = 0.5,
    *,
    seed: int = 0,
    control: bool = False,
) -> Model:
    """Return the base with what two policies learned from it, by ``merged``; adapters are first added to the weights.

    Parameters
    ----------
    base
        Policy from which both learned.
    domain, alignment
        Policies that ``learn``, ``teach`` or another fit returned, or that play with the ``adapter`` that one kept.
    a, b
        Weights.
    seed
        Of the weights of a ``Tiny`` that has no seed of its own (that of learning), and of the control.
    control
        Whether a random vector of the same norm stands for what alignment learned.

    Raises
    ------
    ValueError
        If a policy did not learn from this base, or a tensor does not fit.
    """
    scorer, (first, one, two) = _apart(base, domain, alignment, seed)
    if control:
        two = random_like(first, two, seed)
    scorer.model.load_state_dict(merged(first, one, two, a, b))
    scorer.forget()
    policy = copy.copy(base)
    policy.model, policy.adapter, policy.trace = scorer, None, None
    return policy


def directions(base: LanguageModel, domain: LanguageModel, alignment: LanguageModel, seed: int = 0) -> dict[str, float]:
    """Return the ``cosines`` of what two policies learned from the base; the parameters are those of ``merge``."""
    return cosines(*_apart(base, domain, alignment, seed)[1])


def _apart(
    base: LanguageModel, domain: LanguageModel, alignment: LanguageModel, seed: int
) -> tuple[Scorer, list[dict[str, Any]]]:
    """Return a model of the base's, and the weights of the base and of those that learned from it."""
    for label, policy in (("domain", domain), ("alignment", alignment)):
        learned = getattr(policy, "learned", None)
        if learned is None and policy.adapter is not None:
            learned = card(policy.adapter)
        if learned is None or not isinstance(policy.scorer, Scorer):
            raise ValueError(
                f"{label}: a policy that has learned, got none; call learn(game, role, episodes=...) first"
            )
        if learned["base"] != described(base.model):
            raise ValueError(
                f"{label}: it learned on model {learned['base']!r}, and the base is {described(base.model)!r}; give that"
            )
    scorer = start(base.model, seed, base.device)
    return scorer, [_weights(model) for model in (scorer.model, *(_scorer(p).model for p in (domain, alignment)))]


def _scorer(policy: LanguageModel) -> Scorer:
    found = policy.scorer
    assert isinstance(found, Scorer)
    return found


def _weights(model: Any) -> dict[str, Any]:
    """Return the weights of a model on the CPU, with those of its adapters added."""
    whole = copy.deepcopy(model).merge_and_unload() if hasattr(model, "merge_and_unload") else model
    return {name: tensor.detach().cpu() for name, tensor in whole.state_dict().items()}


# ---- a domain, and both in one budget -----------------------------------------------------------------------------


class Skill(NamedTuple):
    """What is learned for a domain: where it is taught, by how the other role plays, and where it is examined."""

    schools: tuple[stable.Society, ...]
    exam: stable.Society


def skill(name: str = "advice") -> Skill:
    """Return a skill by name.

    ``"advice"``: to decide on the word of an adviser who is biased (``CheapTalk``, Crawford and Sobel 1982), four times, with
    a bias of 0.05 and 0.07 in learning and of 0.06 in the examination. All advisers tell in which of three steps the state
    lies, and what is best differs by the message: no constant act does as well. Nobody else gains or loses by it.
    """
    validate.one_of("skill", name, SKILLS)
    adviser = {"agent": registry.create("policies", "equilibrium")}
    places = [
        stable.Society(registry.create("games", "CheapTalk", bias=bias, repetitions=4), "principal", adviser)
        for bias in (0.05, 0.07, 0.06)
    ]
    return Skill(tuple(places[:-1]), places[-1])


SKILLS = ("advice",)
"""Skills by name."""


def skilled(base: Model, name: str, budget: int, seed: int, *, sessions: int = 16) -> Model:
    """Return the base after imitation of textbook play (``equilibrium``) in a skill's schools, one update each by turns.

    Parameters
    ----------
    base
        Policy to start from; its ``training`` gives rate and norm.
    name
        A skill.
    budget
        Updates.
    seed
        Of all chance.
    sessions
        Worlds that are watched at once.
    """
    validate.whole("budget", budget, 1, 1_000_000_000)
    schools = skill(name).schools
    pupil = copy.copy(base)
    textbook = registry.create("policies", "equilibrium")
    pupil.training = dataclasses.replace(base.training, method="imitation", teacher=textbook)
    learner = stable._Travelling(
        [_Learner(pupil, one.game, one.role, sessions, seed, one.others) for one in schools],
    )
    curve = []
    for update in range(budget):
        learner.move()
        curve.append(learner.imitate(base.training.rate * (1.0 - update / budget)))
    return stable.finish(base, learner, schools, sessions, seed, curve, method="skilled", skill=name)


def fit(
    base: Model,
    society: stable.Societies,
    budget: int,
    seed: int,
    *,
    sessions: int = 16,
    a: float = 0.5,
    b: float = 0.5,
    skill: str = "advice",
    control: bool = False,
) -> Model:
    """Return base + a times what was learned for a skill + b times what was learned for alignment (MergeAlign).

    Half of the budget (rounded up) goes to alignment, by imitation of the best rated answers (``stable.fit`` with
    ``ratio`` 0), the other half to the skill (``skilled``); both start from the base.

    Parameters
    ----------
    base, society, budget, seed, sessions
        As of ``stable.fit``; the budget is at least 2.
    a, b
        Weights of what was learned for the skill and for alignment.
    skill
        A name in ``SKILLS``.
    control
        Whether a random vector of the same norm stands for what was learned for alignment.

    Returns
    -------
    LanguageModel
        With the ``curve`` of alignment.
    """
    validate.whole("budget", budget, 2, 1_000_000_000)
    alignment = stable.fit(base, society, budget - budget // 2, seed, sessions=sessions, ratio=0.0)
    domain = skilled(base, skill, budget // 2, seed, sessions=sessions)
    found = merge(base, domain, alignment, a, b, seed=seed, control=control)
    found.training = dataclasses.replace(base.training, lora=None)  # adapters are in the weights now
    found.curve = alignment.curve
    weights = {"a": a, "b": b, "skill": skill, "control": control}
    found.learned = {**alignment.learned, "method": "merge", **weights}  # type: ignore[attr-defined]
    return found
