"""Claims and what came of them: how a claim is judged, and the table of all."""

from __future__ import annotations

import html
import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...envs.core.statistics import interval
from ...envs.core.words import figure
from .play import Host

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

TOLERANCE = 1e-9
"""Relative to the returns: below it nothing fails."""

CLAIMS = (
    "equilibrium",
    "participation",
    "budget balance",
    "truth-telling",
    "collusion-proof",
    "sabotage-proof",
    "renegotiation-proof",
)
"""The claims, in the order in which they are listed."""

_COLOURS = {"holds": "green", "fails": "red", "not checked": "dim"}


class Claim(NamedTuple):
    """An incentive claim and what came of it.

    ``verdict`` is "holds", "fails" or "not checked". ``gain`` is by how much it fails, in units of reward an episode (0
    or less where it holds), with a 95% interval from ``low`` to ``high``; all are nan where it was not checked. ``how``
    says how it was checked, or why not.
    """

    name: str
    who: str
    verdict: str
    gain: float
    low: float
    high: float
    how: str

    @property
    def figures(self) -> tuple[str, str]:
        """By how much it fails, and the interval if it has a width, as they are printed; nothing where it was not checked."""
        if math.isnan(self.gain):
            return "", ""
        return figure(self.gain), "" if self.low == self.high else f"{figure(self.low)} to {figure(self.high)}"


def unchecked(name: str, who: str, why: str) -> Claim:
    """Return the claim that could not be checked, and why."""
    return Claim(name, who, "not checked", math.nan, math.nan, math.nan, why)


def judged(name: str, who: str, gains: Host, size: float, how: str) -> Claim:
    """Return the claim that fails if the mean of ``gains`` (worlds,) is above 0."""
    mean, low, high, _ = interval(np.repeat(gains, 2) if gains.size == 1 else gains, resamples=2000)
    verdict = "fails" if low > TOLERANCE * max(1.0, size) else "holds"
    return Claim(name, who, verdict, mean + 0.0, low + 0.0, high + 0.0, how)


@dataclass(frozen=True)
class Audit:
    """What an audit found: the game's name, and a row for every claim and player. Printed, it is a table."""

    game: str
    rows: tuple[Claim, ...]

    def find(self, name: str, who: str | None = None) -> Claim:
        """Return the row of a claim, about someone (None takes the first); the error lists the rows there are."""
        for row in self.rows:
            if row.name == name and who in (None, row.who):
                return row
        known = ", ".join(f"{row.name} ({row.who})" for row in self.rows)
        raise KeyError(f"no claim {name!r} about {who or 'anyone'}; there are: {known}")

    def regret(self, player: str) -> float:
        """Return what a player gains by the best deviation that was found; nan where it was not checked."""
        return self.find("equilibrium", player).gain

    def of(self, verdict: str) -> tuple[Claim, ...]:
        """Return the rows with a verdict: "holds", "fails" or "not checked"."""
        if verdict not in _COLOURS:
            raise ValueError(f"verdict: one of {', '.join(_COLOURS)}, got {verdict!r}")
        return tuple(row for row in self.rows if row.verdict == verdict)

    def as_rows(self) -> list[dict[str, Any]]:
        """Return the rows as plain data."""
        return [row._asdict() for row in self.rows]

    def to_frame(self) -> pd.DataFrame:
        """Return the rows as a data frame."""
        import pandas as pd

        return pd.DataFrame(self.as_rows(), columns=list(Claim._fields))

    @property
    def summary(self) -> str:
        """How many claims hold, fail and were not checked."""
        hold, fail, rest = (len(self.of(verdict)) for verdict in _COLOURS)
        return f"{hold} hold{'s' * (hold == 1)}, {fail} fail{'s' * (fail == 1)}, {rest} not checked"

    def table(self) -> Table:
        """Return the rows as a table for a terminal."""
        from rich import box
        from rich.markup import escape
        from rich.table import Table

        title = f"Incentives in {self.game}: {self.summary}"
        table = Table(title=escape(title), title_justify="left", box=box.SIMPLE)
        for heading in ("claim", "who", "verdict"):
            table.add_column(heading, no_wrap=heading != "who")
        for heading in ("fails by", "95% interval"):
            table.add_column(heading, justify="right")
        table.add_column("how", overflow="fold")
        last = ""
        for row in self.rows:
            name, last = row.name if row.name != last else "", row.name
            verdict = f"[{_COLOURS[row.verdict]}]{row.verdict}[/]"
            table.add_row(escape(name), escape(row.who), verdict, *row.figures, escape(row.how))
        return table

    def text(self, width: int = 120, *, colour: bool = False) -> str:
        """Return the table as text of so many columns, coloured for a terminal if asked for."""
        from rich.console import Console

        out = io.StringIO()
        Console(
            file=out, width=width, force_terminal=colour, no_color=not colour, force_jupyter=False, highlight=False
        ).print(self.table())
        return "\n".join(line.rstrip() for line in out.getvalue().strip("\n").splitlines())

    def __str__(self) -> str:
        """Return the table as text."""
        return self.text()

    def _repr_html_(self) -> str:
        """Return the table as a notebook shows it."""
        colours = {"holds": "#1a7f37", "fails": "#cf222e", "not checked": "#777"}
        head = "".join(f"<th>{name}</th>" for name in ("claim", "who", "verdict", "fails by", "95% interval", "how"))
        body = []
        for row in self.rows:
            cells = [row.name, row.who, row.verdict, *row.figures, row.how]
            told = "".join(f'<td style="text-align:left">{html.escape(cell)}</td>' for cell in cells)
            body.append(f'<tr style="color:{colours[row.verdict]}">{told}</tr>')
        title = html.escape(f"Incentives in {self.game}: {self.summary}")
        return f"<table><caption>{title}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
