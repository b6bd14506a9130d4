"""Check all claims and write down what came of it: a page, a table for the documentation, and one for the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..provenance import code_version, machine
from ..work import Job, JobsFailed, Progress, results, work, write_atomically
from .claim import AREAS, Claim, Row, digest, load, shipped

if TYPE_CHECKING:
    from rich.table import Table


class Verdict(NamedTuple):
    """What came of a claim; ``error`` is empty, or says why it could not be checked."""

    name: str
    claim: Claim
    rows: list[Row]
    seconds: float
    error: str = ""

    @property
    def holds(self) -> bool:
        """Whether all its numbers are as expected."""
        return not self.error and all(row.holds for row in self.rows)

    @property
    def word(self) -> str:
        """The verdict in a word."""
        return "error" if self.error else "holds" if self.holds else "fails"


def chosen(tier: str = "fast", only: Sequence[str] = ()) -> dict[str, Claim]:
    """Return claims by name: of the ``"fast"`` tier (minutes) or all (``"full"``), whose names begin with one of ``only``."""
    if tier not in ("fast", "full"):
        raise ValueError(f"tier: fast or full, got {tier!r}")
    named = [name for name in shipped() if not only or name.startswith(tuple(only))]
    if not named:
        raise ValueError(f"only: no claim begins with {', '.join(only)}; there are: {', '.join(shipped())}")
    claims = {name: load(name) for name in named}
    return {name: claim for name, claim in claims.items() if tier == "full" or claim.tier == "fast"}


def check_claims(
    claims: Mapping[str, Claim],
    root: Path,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    on: str = "processes",
) -> tuple[Path, list[Verdict]]:
    """Check the claims that were not checked yet with this state of the code; return the folder and the verdicts.

    Parameters
    ----------
    claims
        As ``chosen`` returns them.
    root
        Where runs are kept.
    workers, progress, on
        As in :func:`societas.experiments.work.work`.
    """
    target = root / f"claims-{code_version().partition('+')[2]}"
    jobs = [
        Job(
            f"{name.replace('/', '--')}--{digest(claim)}",
            "societas.experiments.claims.claim:check_claim",
            (name,),
            rank=-(claim.tier == "full"),
        )
        for name, claim in claims.items()
    ]
    errors: dict[str, str] = {}
    try:
        work(jobs, target / "checked", workers=workers, progress=progress, on=on)
    except JobsFailed as failed:
        errors = failed.errors
    found = {job.name: kept for job, kept in results(jobs, target / "checked")}
    verdicts = []
    for job, (name, claim) in zip(jobs, claims.items(), strict=True):
        kept = found.get(job.name, {"rows": [], "seconds": 0.0})
        rows = [Row(**row) for row in kept["rows"]]
        verdicts.append(Verdict(name, claim, rows, kept["seconds"], errors.get(job.name, "")))
    write_atomically(target / "claims.html", page(verdicts))
    write_atomically(target / "claims.csv", table_csv(verdicts))
    return target, verdicts


def number(value: float | None) -> str:
    """Write a number with five digits."""
    return "" if value is None else f"{value:.5g}"


def found(row: Row) -> str:
    """Write what was found, with its interval where there is one."""
    if row.n > 1 and row.high > row.low:
        return f"{number(row.found)} [{number(row.low)}, {number(row.high)}]"
    return number(row.found)


def table_csv(verdicts: Sequence[Verdict]) -> str:
    """Return a row for every number of every claim, as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["claim", "what", "published", "expected", "found", "low", "high", "n", "verdict", "seconds"])
    for verdict in verdicts:
        for row in verdict.rows:
            ends = (row.published, row.expected, row.found, row.low, row.high, row.n)
            writer.writerow(
                [verdict.name, row.what, *ends, "holds" if row.holds else "fails", round(verdict.seconds, 2)]
            )
        if verdict.error:
            writer.writerow([verdict.name, verdict.error, *[""] * 6, "error", ""])
    return text.getvalue()


def table(verdicts: Sequence[Verdict], area: str) -> Table:
    """Return the table of an area for the terminal."""
    from rich.markup import escape
    from rich.table import Table

    shown = Table("claim", "number", "paper or theory", "expected", "found [95% interval]", "verdict", "s", title=area)
    for verdict in verdicts:
        name, seconds = verdict.claim.title, f"{verdict.seconds:.1f}"
        for row in verdict.rows:
            word = "holds" if row.holds else "[bold red]fails[/]"
            shown.add_row(
                escape(name), escape(row.what), number(row.published), row.expected, escape(found(row)), word, seconds
            )
            name = seconds = ""
        if verdict.error:
            shown.add_row(escape(name), escape(verdict.error), "", "", "", "[bold red]error[/]", "")
    return shown


def page(verdicts: Sequence[Verdict]) -> str:
    """Return the page of claims, that opens offline."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"number": number, "found": found}
    areas = {area: [v for v in verdicts if v.name.startswith(f"{area}/")] for area in AREAS}
    return environment.get_template("claims.html.j2").render(
        areas={area: some for area, some in areas.items() if some},
        count=len(verdicts),
        numbers=sum(len(v.rows) for v in verdicts),
        failed=[v for v in verdicts if not v.holds],
        seconds=sum(v.seconds for v in verdicts),
        code=code_version(),
        machine=machine(),
        when=datetime.now(UTC).isoformat(timespec="minutes"),
    )


def markdown(verdicts: Sequence[Verdict], command: str = "societas claims --tier full --page docs/claims.md") -> str:
    """Return the tables of all areas in Markdown, for the documentation; ``command`` is what wrote them."""
    lines = [
        "# Claims",
        "",
        "What papers print and theorems say, beside what is found here. Each claim is a file in `experiments/claims`, with its",
        "source, what is run, and what is expected: a number (within 1e-6 unless it says otherwise), a band for the mean, or a",
        "side on which the whole 95% interval lies. Failures are shown as plainly as passes. This page is written by",
        "",
        "```console",
        command,
        "```",
        "",
        "`societas claims` checks the fast tier, `societas claims markets` an area; both also write a page of their own.",
        "",
        f"Checked with societas {code_version()}: {summary(verdicts)}.",
        "",
    ]
    for area in AREAS:
        some = [v for v in verdicts if v.name.startswith(f"{area}/")]
        if not some:
            continue
        lines += [f"## {area.capitalize()}", ""]
        for verdict in some:
            lines += [f"### {verdict.claim.title}", "", verdict.claim.says, "", f"*{verdict.claim.source}*", ""]
            lines += [f"`{verdict.name}`, {verdict.claim.tier}, {verdict.seconds:.1f} s: **{verdict.word}**", ""]
            lines += [
                "| number | paper or theory | expected | found [95% interval] | |",
                "| --- | --- | --- | --- | --- |",
            ]
            for row in verdict.rows:
                word = "holds" if row.holds else "**fails**"
                lines.append(f"| {row.what} | {number(row.published)} | {row.expected} | {found(row)} | {word} |")
            lines += [verdict.error, ""] if verdict.error else [""]
    return "\n".join(lines)


def summary(verdicts: Sequence[Verdict]) -> str:
    """Say in a line how many claims hold."""
    held = sum(v.holds for v in verdicts)
    rest = [v.name for v in verdicts if not v.holds]
    return f"{held} of {len(verdicts)} claims hold" + (f"; not: {', '.join(rest)}" if rest else "")
