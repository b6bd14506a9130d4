"""How a language model is fine-tuned: the parameters, and what they mean for returns and advantages, in arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....envs.core import registry, validate
from ....envs.core.policy import Policy

METHODS = ("grpo", "gradient", "imitation")
RETURNS = ("to go", "episode")
LORA = {"r": 8, "alpha": 16.0, "targets": "all-linear"}


@dataclass(frozen=True)
class Training:
    """Parameters of fine-tuning.

    A decision is a choice among legal options, of probability pi = softmax(log-probabilities of their tokens /
    temperature), so that log pi and its gradient are exact: no token outside the game can be sampled, and no answer is
    shorter or longer for being good.

    ``"grpo"`` (Shao et al. 2024, arXiv:2402.03300, equations 3 and 4) plays the same worlds ``group`` times: the chance
    of the game and of the other players is the same in a group, the samples of the policy differ. The advantage of a
    decision is its return less the mean of the group's at the same step, divided by their standard deviation if
    ``deviation`` says so. ``"gradient"`` is REINFORCE (Williams 1992): each world has its own chance, and the baseline is
    the mean return of all other worlds at the same step. ``"imitation"`` raises the probability of what the teacher does.

    Parameters
    ----------
    method
        ``"grpo"``, ``"gradient"`` or ``"imitation"``.
    rate
        Learning rate of AdamW (without decay); it falls linearly to zero over the episodes.
    group
        Samples of each world, G (grpo).
    deviation
        Whether advantages are divided by the group's standard deviation, as Shao et al. do. Without, a group counts as
        its rewards differ (Liu et al. 2025, arXiv:2503.20783: the division weighs up questions that are nearly decided).
    credit
        Whose rewards a seat learns from: ``"own"``; ``"team"``, the sum over its role; ``"all"``, the sum over everyone
        in the game; ``"welfare"``, the value that the game says was created; or the name of a role, the sum over that.
    returns
        ``"to go"``: a decision is credited with what is paid from its step on; ``"episode"``: with all that is paid.
    discount
        Factor a step.
    clip
        Bound on how far the ratio of probabilities, now over when it was played, counts (Schulman et al. 2017).
    passes
        Updates on the same play; in the first the ratio is 1 and nothing is clipped.
    kl
        Weight of KL(pi || start) in each decision; it is exact, as the options are few.
    entropy
        Weight of the entropy of each decision; it falls linearly to zero over the episodes.
    most
        Most decisions of an update, drawn at random among those that can teach something; None for all.
    norm
        Most length of a gradient.
    lora
        None trains all weights; ``{"r": 8, "alpha": 16, "targets": "all-linear"}`` or a part of it trains adapters of
        low rank (Hu et al. 2021, arXiv:2106.09685).
    teacher
        Who is imitated: a policy, or one by name: ``{"scripted": {"character": "opportunist"}}``.
    warmup
        Updates of imitation before the first episode, each on the teacher's play in all worlds.
    warmup_rate
        Their learning rate, which does not fall; None for ``rate``.
    shuffled
        Whether returns are permuted among the samples at random: the control, which can learn nothing from rewards.
    """

    method: str = "grpo"
    rate: float = 1e-3
    group: int = 8
    deviation: bool = False
    credit: str = "own"
    returns: str = "to go"
    discount: float = 1.0
    clip: float = 0.2
    passes: int = 1
    kl: float = 0.0
    entropy: float = 0.0
    most: int | None = None
    norm: float = 1.0
    lora: Mapping[str, Any] | None = None
    teacher: Policy | Mapping[str, Any] | None = None
    warmup: int = 0
    warmup_rate: float | None = None
    shuffled: bool = False

    def __post_init__(self) -> None:
        """Refuse parameters out of range."""
        validate.one_of("method", self.method, METHODS)
        validate.one_of("returns", self.returns, RETURNS)
        for name in ("rate", "kl", "entropy"):
            validate.real(name, getattr(self, name), 0.0, 1e3)
        if self.warmup_rate is not None:
            validate.real("warmup_rate", self.warmup_rate, 0.0, 1e3)
        validate.whole("group", self.group, 2, 100_000)
        validate.real("discount", self.discount, 0.0, 1.0)
        validate.real("clip", self.clip, 0.0, 1.0)
        validate.real("norm", self.norm, 1e-9, 1e9)
        validate.whole("passes", self.passes, 1, 1_000)
        validate.whole("warmup", self.warmup, 0, 1_000_000)
        if self.most is not None:
            validate.whole("most", self.most, 1, 1_000_000_000)
        if self.lora is not None:
            for name in self.lora:
                validate.one_of("lora", name, tuple(LORA))
            object.__setattr__(self, "lora", {**LORA, **self.lora})
            validate.whole("lora.r", self.lora["r"], 1, 4_096)
            validate.real("lora.alpha", self.lora["alpha"], 0.0, 1e6)
        if isinstance(self.teacher, Mapping):
            if len(self.teacher) != 1:
                raise ValueError(f"teacher: one policy with its parameters, got {dict(self.teacher)!r}")
            ((name, parameters),) = self.teacher.items()
            object.__setattr__(self, "teacher", registry.create("policies", name, **(parameters or {})))
        if (self.warmup or self.method == "imitation") and self.teacher is None:
            raise ValueError('teacher: imitation needs one; give a policy, or {"scripted": {"character": "fair"}}')

    def plain(self) -> dict[str, Any]:
        """Return the parameters as JSON takes them; a teacher by its class."""
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**found, "teacher": None if self.teacher is None else type(self.teacher).__name__}


def returns(paid: NDArray[np.float64], discount: float, whole: bool) -> NDArray[np.float64]:
    """Return what is credited at each step (steps, ...) for what is paid at each: the sum to come, or of the episode.

    sum_k discount^k paid[t + k]; whole: sum_k discount^k paid[k] at every step.
    """
    later = np.zeros_like(paid)
    total = np.zeros(paid.shape[1:])
    for step in reversed(range(len(paid))):
        total = later[step] = paid[step] + discount * total
    return np.broadcast_to(later[:1], paid.shape).copy() if whole else later


def shuffled(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return returns (steps, worlds, seats) permuted among samples (world and seat), each with all of its steps.

    All permutations are equally likely, those with fixed points too: among others only, a return would tell that it is
    not one's own, and after subtraction of the mean so the opposite would be learned.
    """
    flat = values.reshape(len(values), -1)
    return flat[:, rng.permutation(flat.shape[1])].reshape(values.shape)


def advantages(
    values: NDArray[np.float64], asked: NDArray[np.bool_], group: int | None, deviation: bool = False
) -> NDArray[np.float64]:
    """Return advantages (steps, worlds, seats) of returns; zero where nothing was asked.

    Parameters
    ----------
    values
        Returns (steps, worlds, seats).
    asked
        Where a decision was made, of the same shape.
    group
        Consecutive worlds that are samples of the same one: A = R - mean of those who decided at that step, by seat.
        None: A = R - mean over all other worlds (leave one out).
    deviation
        Whether A is divided by the standard deviation (n - 1) of the group.
    """
    steps, worlds, seats = values.shape
    shape = (steps, -1, group or worlds, seats)
    part, known = values.reshape(shape), asked.reshape(shape)
    count = known.sum(axis=2, keepdims=True)
    mean = np.where(known, part, 0.0).sum(axis=2, keepdims=True) / np.maximum(count, 1)
    gain = np.where(known & (count > 1), part - mean, 0.0)
    gain[np.abs(gain) <= 1e-9 * (1.0 + np.abs(mean))] = 0.0  # equal but for rounding
    if group is None:
        gain = gain * count / np.maximum(count - 1, 1)
    if deviation:
        sd = np.sqrt((gain**2).sum(axis=2, keepdims=True) / np.maximum(count - 1, 1))
        gain = np.divide(gain, sd, out=np.zeros_like(gain), where=sd > 0)
    return gain.reshape(values.shape)
