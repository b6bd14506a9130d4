"""The audit as a text, for the command line."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from ...envs.core.game import Game
from ...envs.core.policy import Policy
from .checks import audit


def report(
    game: Game,
    policies: Mapping[str, Policy],
    *,
    width: int = 120,
    colour: bool = False,
    progress: bool = True,
    **options: Any,
) -> str:
    """Audit a game as it is played and return the table as text.

    Parameters
    ----------
    game, policies
        As for ``audit``, which takes all other options.
    width
        Columns of the table.
    colour
        Whether verdicts are coloured for a terminal.
    progress
        Whether a bar is shown on standard error while it runs; only where that is a terminal.
    """
    if not progress or not sys.stderr.isatty():
        return audit(game, policies, **options).text(width, colour=colour)
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("auditing", total=None)
        found = audit(
            game, policies, watch=lambda part, parts: bar.update(task, completed=part, total=parts), **options
        )
    return found.text(width, colour=colour)
