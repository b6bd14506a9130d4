"""Do policy and institution add up, make one another needless, or need one another?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from .spec import arm_name
from .statistics import Interval, interval

if TYPE_CHECKING:
    import pandas as pd


class Joint(NamedTuple):
    """What a policy and an institution do to the headline, alone and together, at one level of uncertainty.

    ``score`` is what is reached with both. Differences are to the reference policy without an institution: of the policy
    ``alone``, of the institution alone (``under``), of ``both``; and the ``interaction``, which is what both do beyond the sum
    of what each does alone: below zero they stand in for one another, above zero they need one another.
    """

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

    With the headline :math:`x_{pi}` of policy :math:`p` under institution :math:`i`, the mean over games, the interaction is
    :math:`x_{pi} - x_{p0} - x_{0i} + x_{00}`, where 0 is the reference and the baseline. Differences are taken within
    observations (worlds; or learnings, where policies learn), among those that all four have; games that lack one of the
    four are left out of the pair.

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
    games = list(spec["games"]) or [""]
    scores = rows[rows["measure"] == spec["headline"]]
    series = {
        key: part.set_index("world")["value"] for key, part in scores.groupby(["uncertainty", "institution", "policy"])
    }
    found = []
    for level in spec["uncertainty"]:
        for policy in spec["spec"]["policies"]:
            for institution in spec["institutions"]:
                corners = []
                for game in games:
                    keys = [
                        (level, i, arm_name(p, game))
                        for p, i in (
                            (policy, institution),
                            (policy, baseline),
                            (reference, institution),
                            (reference, baseline),
                        )
                    ]
                    if all(key in series for key in keys):
                        corners.append([series[key] for key in keys])
                if not corners:
                    continue
                both, alone, under, neither = (sum(each[k] for each in corners) / len(corners) for k in range(4))
                found.append(
                    Joint(
                        level,
                        policy,
                        institution,
                        *(
                            interval(values.dropna().to_numpy())
                            for values in (
                                both,
                                alone - neither,
                                under - neither,
                                both - neither,
                                both - alone - under + neither,
                            )
                        ),
                    )
                )
    return found


def table(pairs: list[Joint]) -> pd.DataFrame:
    """Return pairs as a table, one row each, with the ends of all intervals."""
    import pandas as pd

    records = []
    for pair in pairs:
        record: dict[str, Any] = {
            "uncertainty": pair.uncertainty,
            "policy": pair.policy,
            "institution": pair.institution,
        }
        for name in ("score", "alone", "under", "both", "interaction"):
            found: Interval = getattr(pair, name)
            record |= {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}
        records.append({**record, "observations": pair.score.n})
    return pd.DataFrame.from_records(records)
