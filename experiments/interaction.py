"""Do policy and institution add up, make one another needless, or need one another?"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from .spec import arm_name
from .statistics import Interval, interval

if TYPE_CHECKING:
    import pandas as pd


class Joint(NamedTuple):
    """What a policy and an institution do to the headline, alone and together, in one game at one level of uncertainty.

    ``score`` is what is reached with both. Differences are to the reference policy without an institution: of the policy
    ``alone``, of the institution alone (``under``), of ``both``; and the ``interaction``, which is what both do beyond the sum
    of what each does alone: below zero they stand in for one another, above zero they need one another.
    """

    game: str
    uncertainty: str
    policy: str
    institution: str
    score: Interval
    alone: Interval
    under: Interval
    both: Interval
    interaction: Interval


def joint(rows: pd.DataFrame, spec: Mapping[str, Any]) -> list[Joint]:
    r"""Return all pairs of policies and institutions, the reference ``spec["interaction"]`` and the baseline among them.

    With the headline :math:`x_{pi}` of policy :math:`p` under institution :math:`i`, the interaction is
    :math:`x_{pi} - x_{p0} - x_{0i} + x_{00}`, where 0 is the reference and the baseline. Differences are taken within
    observations (worlds; or learnings, where policies learn), among those that all four have. Pairs that lack one of the four
    are left out.

    Parameters
    ----------
    rows
        Long table with the columns ``institution, uncertainty, policy, world, measure, value``; policies of several games
        are "policy, game".
    spec
        The run's specification.
    """
    reference, baseline = spec.get("interaction"), spec["baseline"]
    if not reference:
        return []
    scores = rows[rows["measure"] == spec["headline"]]
    series = {
        key: part.set_index("world")["value"] for key, part in scores.groupby(["uncertainty", "institution", "policy"])
    }
    found = []
    for game, level in itertools.product(spec["games"] or [""], spec["uncertainty"]):
        for policy, institution in itertools.product(spec["spec"]["policies"], spec["institutions"]):
            keys = [(level, i, arm_name(p, game)) for p in (policy, reference) for i in (institution, baseline)]
            if not all(key in series for key in keys):
                continue
            both, alone, under, neither = (series[key] for key in keys)
            values = (both, alone - neither, under - neither, both - neither, both - alone - under + neither)
            ends = (interval(each.dropna().to_numpy()) for each in values)
            found.append(Joint(game, level, policy, institution, *ends))
    return found


def table(pairs: list[Joint]) -> pd.DataFrame:
    """Return pairs as a table, one row each, with the ends of all intervals."""
    import pandas as pd

    records = []
    for pair in pairs:
        record: dict[str, Any] = {
            "game": pair.game,
            "uncertainty": pair.uncertainty,
            "policy": pair.policy,
            "institution": pair.institution,
        }
        for name in ("score", "alone", "under", "both", "interaction"):
            found: Interval = getattr(pair, name)
            record |= {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}
        records.append({**record, "observations": pair.score.n})
    return pd.DataFrame.from_records(records)
