"""What each cause of misalignment takes: the gap to the first best, split along a sequence of levels or institutions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from .statistics import Interval, interval

if TYPE_CHECKING:
    import pandas as pd


class Loss(NamedTuple):
    """What one cause takes from the alignment score, and the score that is left with it and all causes before it.

    ``place`` is the institution where the causes are levels of uncertainty, and the level where they are institutions.
    """

    policy: str
    place: str
    cause: str
    loss: Interval
    left: Interval


def decompose(rows: pd.DataFrame, spec: Mapping[str, Any]) -> list[Loss]:
    r"""Split the gap :math:`1 - A` along ``spec["decomposition"]``, of which each adds one cause to the one before.

    With the mean scores :math:`A_1, A_2, \ldots` of the sequence and :math:`A_0 = 1`, the first best, cause :math:`k` takes
    :math:`A_{k-1} - A_k`; the sum is the whole gap. Differences are taken within worlds, among those that all of the
    sequence have. What a cause takes depends on which came before it.

    Parameters
    ----------
    rows
        Long table with the columns ``institution, uncertainty, policy, world, measure, value``.
    spec
        The run's specification.

    Returns
    -------
    list of Loss
        In the order of the specification; nothing where an arm lacks a part of the sequence.
    """
    steps = list(spec.get("decomposition") or [])
    if not steps:
        return []
    along, across = (
        ("uncertainty", "institution") if set(steps) <= set(spec["uncertainty"]) else ("institution", "uncertainty")
    )
    scores = rows[rows["measure"] == "alignment"]
    found = []
    for policy in spec["policies"]:
        for place in spec["institutions" if across == "institution" else "uncertainty"]:
            here = scores[(scores["policy"] == policy) & (scores[across] == place)]
            if not set(steps) <= set(here[along]):
                continue
            wide = here.pivot(index="world", columns=along, values="value")[steps].dropna()
            before = wide[steps[0]] * 0 + 1.0
            for step in steps:
                found.append(Loss(policy, place, step, interval(before - wide[step]), interval(wide[step])))
                before = wide[step]
    return found


def table(losses: list[Loss]) -> pd.DataFrame:
    """Return losses as a table, one row each: ``policy, place, cause, loss, low, high, left, worlds``."""
    import pandas as pd

    records = [(x.policy, x.place, x.cause, *x.loss[:3], x.left.mean, x.loss.n) for x in losses]
    return pd.DataFrame.from_records(
        records, columns=["policy", "place", "cause", "loss", "low", "high", "left", "worlds"]
    )
