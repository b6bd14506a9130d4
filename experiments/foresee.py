"""What a run will take and what it can find, told in the terminal before it begins."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from .estimate import estimate, makespan, reporting, starting
from .plan import plan
from .spec import Spec, arm_name
from .work import Progress

if TYPE_CHECKING:
    from rich.console import Console


def span(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def print_estimate(spec: Spec, workers: int | None, console: Console) -> None:
    """Try every policy for a moment and print the cells, worlds and time of each, and of all on some workers.

    Parameters
    ----------
    spec
        What would be run.
    workers
        Processes; None takes one a core.
    console
        Where to print.
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    cells = spec.cells()
    for part, names in (
        ("policies", [cell.arm for cell in cells]),
        ("levels of uncertainty", [cell.uncertainty for cell in cells]),
        ("institutions", [cell.institution for cell in cells]),
    ):
        once = list(dict.fromkeys(names))
        console.print(f"{len(once)} {part}: {'; '.join(once)}", highlight=False, markup=False)
    with console.status("trying") as status:
        found = estimate(spec, lambda name: status.update(f"trying {escape(name)}"))
    table = Table("policy", box=box.SIMPLE_HEAD)
    for name in ("cells", "worlds a cell", "a cell", "computing"):
        table.add_column(name, justify="right")
    for each in found:
        least, most = min(each.worlds), max(each.worlds)
        table.add_row(
            escape(arm_name(each.policy, each.game)),
            str(len(each.cells)),
            f"{least:,}" if least == most else f"{least:,} to {most:,}",
            span(each.total / len(each.cells)),
            span(each.total),
        )
    console.print(table)
    count = min(workers or os.cpu_count() or 1, len(cells))
    computing = makespan((seconds for each in found for seconds in each.seconds), count)
    whole = starting() + computing + reporting(spec, found)
    used = f"{count} worker{'s' if count > 1 else ''}"
    console.print(
        f"{len(cells)} cells, about {span(whole)} on {used}, start and report included, judged from short trials",
        highlight=False,
    )


def print_plan(
    spec: Spec, effect: float, root: Path, workers: int | None, progress: Progress, console: Console
) -> None:
    """Print which effects a spec can find in its headline, and how many worlds an effect needs.

    Parameters
    ----------
    spec, effect, root, workers, progress
        As for :func:`societas.experiments.plan.plan`.
    console
        Where to print.
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    found = plan(spec, effect, root, workers=workers, progress=progress)
    for policy in dict.fromkeys(each.policy for each in found):
        table = Table(box=box.SIMPLE_HEAD, title=escape(policy), title_justify="left")
        table.add_column("institution", min_width=12)
        table.add_column("")
        for name in ("sd", "worlds", "finds", "power", "needs"):
            table.add_column(name, justify="right", no_wrap=True)
        for each in (each for each in found if each.policy == policy):
            numbers = (f"{each.least:.3g}", f"{100 * each.power:.0f}%", f"{each.needed:,}") if each.needed else "–––"
            known = (f"{each.sd:.3g}", str(each.worlds))
            table.add_row(escape(each.institution), escape(each.uncertainty), *known, *numbers)
        console.print(table)
    console.print(
        f"Differences in {spec.headline} from {spec.baseline!r} within worlds (learnings, where an arm has replicas). sd: of up "
        f"to {max((each.pilot for each in found), default=0)} differences of a pilot run. finds: the effect found with a "
        f"probability of 80%. power: the probability of finding {effect:g}. needs: the worlds with which that is 80%. All at the "
        "5% level (paired t-test), before any adjustment for many comparisons. –: nothing varied in the pilot run.",
        highlight=False,
        markup=False,
    )
