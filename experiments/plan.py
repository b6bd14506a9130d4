"""What a spec can find: from a pilot run, the effects its worlds can show, and the worlds that an effect needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from . import store
from .run import folder, run
from .spec import Spec
from .statistics import findable, power, worlds_needed
from .work import Progress

WORLDS, REPLICAS = 64, 8
"""Most worlds, and learnings, of an arm in a pilot run."""


class Planned(NamedTuple):
    """What can be found in one comparison with the baseline, at the 5% level; ``needed`` is 0 where nothing varies.

    ``sd`` is the standard deviation of the difference within a world, ``worlds`` how many the spec has (learnings, where an arm has
    replicas), ``least`` the effect that is found with a probability of 80%, ``power`` that of finding the effect asked about,
    and ``needed`` the worlds with which that is 80%.
    """

    policy: str
    uncertainty: str
    institution: str
    sd: float
    pilot: int
    worlds: int
    least: float
    power: float
    needed: int


def pilot(spec: Spec) -> Spec:
    """Return a spec's pilot: the same cells, with few worlds, and few learnings of arms with replicas."""
    arms = {}
    for name, arm in spec.policies.items():
        replicas = min(arm.replicas, REPLICAS)
        worlds = arm.worlds // arm.replicas * replicas if replicas > 1 else min(arm.worlds, WORLDS)
        players = {  # learns as it will: in as many worlds as it would
            seat: player.model_copy(
                update={
                    "learning": player.learning
                    and player.learning.model_copy(
                        update={"sessions": player.learning.sessions or arm.worlds // arm.replicas}
                    )
                }
            )
            for seat, player in arm.players.items()
        }
        arms[name] = arm.model_copy(update={"worlds": worlds, "replicas": replicas, "players": players})
    return spec.model_copy(update={"name": f"{spec.name}-pilot", "policies": arms, "precision": None})


def plan(
    spec: Spec, effect: float, root: Path, *, workers: int | None = None, progress: Progress | None = None
) -> list[Planned]:
    """Return what a spec can find, for each comparison with its baseline.

    The standard deviations come from the spec's own run below ``root``, where it is finished, else from its pilot, which
    is run and kept there.

    Parameters
    ----------
    spec
        The spec.
    effect
        A difference in the headline measure, in its unit; other than 0.
    root
        Where runs are kept.
    workers, progress
        As for :func:`societas.experiments.run.run`.
    """
    if not effect:
        raise ValueError("effect: a difference in the headline measure other than 0, got 0")
    done = folder(spec, root)
    if not (done / store.TABLE).is_file():
        done = run(pilot(spec), root, workers=workers, progress=progress, command="pilot run")
    return list(_planned(spec, effect, done))


def _planned(spec: Spec, effect: float, done: Path) -> Iterator[Planned]:
    rows = store.read(done)
    rows = rows[rows["measure"] == spec.headline]
    values = {key: cell.set_index("world")["value"] for key, cell in rows.groupby([*store.PLACE])}
    for cell in spec.cells():
        theirs, base = (
            values.get((cell.game, name, cell.uncertainty, cell.policy)) for name in (cell.institution, spec.baseline)
        )
        if cell.institution == spec.baseline or theirs is None or base is None:
            continue
        differences = (theirs - base).dropna()
        arm = spec.policies[cell.policy]
        worlds = arm.replicas if arm.replicas > 1 else arm.worlds
        sd = float(differences.std()) if len(differences) > 1 else float("nan")
        known = (cell.arm, cell.uncertainty, cell.institution, sd, len(differences), worlds)
        if not sd > 0 or worlds < 2:
            yield Planned(*known, float("nan"), float("nan"), 0)
        else:
            yield Planned(*known, findable(sd, worlds), power(effect, sd, worlds), worlds_needed(effect, sd))
