"""The report of an evaluation: one page that opens offline, a picture, and a table for the terminal."""

from __future__ import annotations

import base64
import json
import math
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from ...envs.core.statistics import RESAMPLES, Interval
from ..report import _bracket, _duration, _number

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console

FAMILIES = {"contracting": "Contracting", "markets": "Markets", "norms": "Norms"}

DIGITS = 2


class Cell(NamedTuple):
    """A number with its interval, as printed."""

    value: str
    shown: str
    ends: str
    clear_of_zero: bool


def _interval(one: Mapping[str, Any]) -> Interval:
    mean, low, high = (float("nan") if one[key] is None else float(one[key]) for key in ("mean", "low", "high"))
    return Interval(mean, low, high, int(one["n"]))


def _cell(one: Interval | None, sign: bool = False) -> Cell | None:
    """Return a cell: all metrics are shares or close to them, so two decimals suit them."""
    if one is None or one.n == 0 or math.isnan(one.mean):
        return None
    sure = one.low > 0 or one.high < 0
    return Cell(f"{one.mean:.8g}", _number(one.mean, DIGITS, sign), _bracket(one, DIGITS, sign), sure)


class Found(NamedTuple):
    """What a run found, read from its ``results.json``."""

    meta: dict[str, Any]
    metrics: list[dict[str, str]]
    cost: dict[str, float]
    families: dict[str, str]
    titles: dict[str, str]
    told: dict[str, str]
    refused: dict[str, dict[str, str]]
    scores: dict[tuple[str, str, str], Interval]
    minus: dict[tuple[str, str, str], dict[str, Interval]]

    @property
    def model(self) -> str:
        """Name of the model."""
        return str(self.meta["model"])


def read(folder: Path) -> Found:
    """Read a run."""
    whole = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    keys = [(one["player"], one["over"], one["metric"]) for one in whole["scores"]]
    values = {key: _interval(one) for key, one in zip(keys, whole["scores"], strict=True)}
    minus = {
        key: {name: _interval(gap) for name, gap in one["minus"].items()}
        for key, one in zip(keys, whole["scores"], strict=True)
    }
    names = ("meta", "metrics", "cost", "families", "titles", "told", "refused")
    return Found(**{name: whole[name] for name in names}, scores=values, minus=minus)


def sentences(found: Found) -> list[str]:
    """Say in short what was found."""
    said, model, all_ = [], found.model, found.scores
    mean = all_.get((model, "all", "alignment"))
    if mean is not None:
        text = f"Left to itself in all seats {model} reaches an alignment of {_told(mean)}: 0 is the baseline, 1 the first best."
        gap = found.minus[model, "all", "alignment"].get("equilibrium")
        if gap is not None:
            text += f" In the same worlds the equilibrium of self-interest is {_apart(gap)}."
        said.append(text)
    lost = all_.get((model, "all", "exploitability"))
    if lost is not None:
        said.append(
            f"A seat among its copies gains {_told(lost)} of the stake a head by the best response in a set of strangers."
        )
    moved, chance = (all_.get((model, "all", name)) for name in ("words: acts changed", "chance: acts changed"))
    if moved is not None and chance is not None:
        text = f"Saying the same in other words changes {_share(moved)} of its first decisions (other luck alone: {_share(chance)})"
        apart = all_.get((model, "all", "words: distance"))
        said.append(text + (f" and moves its probabilities by {_told(apart)} of 1." if apart is not None else "."))
    shift = all_.get((model, "all", "values: shift of acts"))
    if shift is not None:
        text = (
            f"Told to be prosocial instead of selfish it moves by {_told(shift, sign=True)} of the range towards others"
        )
        said.append(text + ("; that interval includes 0." if shift.holds_zero else "."))
    covenant, sword = (all_.get((model, "all", f"covenant {name}: alignment")) for name in ("said", "enforced"))
    if covenant is not None and sword is not None:
        said.append(
            f"A covenant that is only said adds {_told(covenant, sign=True)} to alignment, "
            f"an enforced one {_told(sword, sign=True)}."
        )
    good = all_.get((model, "all", "good answers"))
    if good is not None and found.meta["kind"] == "asked":
        bad = all_[model, "all", "defaults"]
        said.append(f"{_share(good)} of its answers were as asked at once; for {_share(bad)} the null act stood in.")
    return said


def _told(one: Interval, sign: bool = False) -> str:
    cell = _cell(one, sign)
    return "–" if cell is None else f"{cell.shown} {cell.ends}"


def _share(one: Interval) -> str:
    return f"{100 * one.mean:.0f}%"


def _apart(gap: Interval) -> str:
    """Say where the reference lies, given model minus reference."""
    size = _number(abs(gap.mean), DIGITS)
    if gap.mean == 0:
        return "just as high"
    side = "lower" if gap.mean > 0 else "higher"
    doubt = "; the interval of the difference includes 0" if gap.holds_zero else ""
    return f"{size} {side}{doubt}"


def rows_of_cost(found: Found) -> list[tuple[str, str]]:
    """Return what the model's part took, in words."""
    cost, meta = found.cost, found.meta
    if not cost:
        return [("Time of all cases", _duration(float(meta["seconds"])))]
    rows = [
        ("Calls", f"{cost['calls']:,.0f}"),
        ("Questions", f"{cost['questions']:,.0f}"),
        ("Tokens read", f"{cost['tokens_read']:,.0f}"),
    ]
    if "tokens_written" in cost:
        rows.append(("Tokens written", f"{cost['tokens_written']:,.0f}"))
    rows.append(("Model's time", _duration(cost["seconds"])))
    if cost.get("priced"):
        rows.append(("Price", f"{cost['cost']:.4f} US dollars, of {cost['priced']:,.0f} answers whose price is known"))
    if "errors" in cost:
        rows.append(("Questions without an answer", f"{cost['errors']:,.0f}"))
    return [*rows, ("Time of all cases", _duration(float(meta["seconds"])))]


# --- the picture ---------------------------------------------------------------------------------


def picture(found: Found) -> Figure:
    """Draw the alignment of the model in every game with its interval, and the references beside it."""
    from .. import pictures
    from ..pictures import FAINT, GREY, INK, OKABE_ITO, WIDTH

    games = [name for family in FAMILIES for name, own in found.families.items() if own == family]
    games += [name for name, own in found.families.items() if own not in FAMILIES]
    left, row = 1.45, 0.36
    height = 1.25 + row * len(games)
    with pictures._style():
        figure = pictures._blank(height)
        axes = figure.add_axes((left / WIDTH, 0.62 / height, (WIDTH - left - 0.15) / WIDTH, row * len(games) / height))
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        for x in (0.0, 1.0):
            axes.axvline(x, color=FAINT, linestyle=(0, (4, 3)), linewidth=1, zorder=0)
        marks = {"random": ("x", GREY), "equilibrium": ("D", OKABE_ITO[1]), "null act": ("|", INK)}
        ends = [0.0, 1.0]
        for player, (marker, colour) in marks.items():
            points = [(i, found.scores.get((player, game, "alignment"))) for i, game in enumerate(games)]
            drawn = [(one.mean, i) for i, one in points if one is not None]
            if player != found.model and drawn:
                line = axes.plot(*zip(*drawn, strict=True), marker, color=colour, markersize=6, label=player, zorder=2)
                line[0].set_markerfacecolor("none")
                ends += [x for x, _ in drawn]
        blue, named = OKABE_ITO[0], False
        for i, game in enumerate(games):
            one = found.scores.get((found.model, game, "alignment"))
            if one is not None:
                if not math.isnan(one.low):
                    axes.plot([one.low, one.high], [i, i], color=blue, linewidth=2.2, solid_capstyle="round", zorder=3)
                    ends += [one.low, one.high]
                axes.plot(
                    [one.mean], [i], "o", color=blue, markersize=7, zorder=4, label=None if named else found.model
                )
                named = True
                ends.append(one.mean)
        low, high = max(min(ends), -3.0), min(max(ends), 3.0)
        axes.set_xlim(low - 0.07 * (high - low), high + 0.07 * (high - low))
        axes.set_ylim(len(games) - 0.5, -0.5)
        axes.set_yticks(range(len(games)), games)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("alignment: 0 baseline, 1 first best")
        figure.legend(
            loc="upper left", ncols=2, frameon=False, fontsize=9, bbox_to_anchor=(0.0, 1.0), handletextpad=0.3
        )
    return figure


# --- the page ------------------------------------------------------------------------------------


def _style() -> str:
    """Return the style of the reports of experiments, which is this page's too."""
    source = (Path(__file__).parents[1] / "report.html.j2").read_text(encoding="utf-8")
    style = re.search(r"<style>.*?</style>", source, re.DOTALL)
    assert style is not None, "report.html.j2 has no <style>"
    return style.group()


def tables(found: Found) -> dict[str, Any]:
    """Return the tables: metrics by player, and metrics by game of the model."""
    players = [name for name in found.meta["players"] if any(key[0] == name for key in found.scores)]
    over_all, differences, games = [], [], []
    columns = [*found.families]
    groups = list(dict.fromkeys(found.families.values()))
    for metric in found.metrics:
        name = metric["name"]
        cells = [_cell(found.scores.get((player, "all", name))) for player in players]
        if any(cells):
            over_all.append((metric, cells))
        gaps = found.minus.get((found.model, "all", name), {})
        if gaps:
            differences.append((metric, [_cell(gaps.get(other), sign=True) for other in found.meta["players"][1:]]))
        one = [_cell(found.scores.get((found.model, game, name))) for game in (*groups, *columns)]
        if any(one):
            games.append((metric, one))
    return {
        "players": players,
        "over_all": over_all,
        "references": found.meta["players"][1:],
        "differences": differences,
        "columns": [*groups, *columns],
        "groups": len(groups),
        "games": games,
    }


def write(folder: Path) -> Path:
    """Write ``report.html`` and ``alignment.svg`` of a run, from its ``results.json``; return the page.

    The page needs nothing outside itself: its picture is inside it, and it has no script.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    from .. import pictures

    found = read(folder)
    drawing = pictures.svg(picture(found))
    (folder / "alignment.svg").write_bytes(drawing)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("page.html.j2").render(
        style=Markup(_style()),
        meta=found.meta,
        sentences=sentences(found),
        picture=f"data:image/svg+xml;base64,{base64.b64encode(drawing).decode('ascii')}",
        metrics=found.metrics,
        costs=rows_of_cost(found),
        titles=found.titles,
        told=found.told,
        refused=found.refused,
        resamples=f"{RESAMPLES:,}",
        **tables(found),
    )
    path = folder / "report.html"
    path.write_text(text, encoding="utf-8")
    return path


# --- the terminal --------------------------------------------------------------------------------


def show(folder: Path, console: Console) -> None:
    """Print what was found: in short, every metric of the model and of the references, and what it cost."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    found = read(folder)
    parts = tables(found)
    meta = found.meta
    table = Table(
        title=f"{escape(found.model)}: suite {meta['suite']}, {meta['form']} form, {meta['worlds']} worlds a case; "
        "mean \\[95% interval] over all games",
        box=box.SIMPLE_HEAD,
        title_justify="left",
    )
    table.add_column("metric")
    for player in parts["players"]:
        table.add_column(escape(player), justify="right")
    for metric, cells in parts["over_all"]:
        arrow = "↑" if metric["better"] == "higher" else "↓"
        shown = ["–" if cell is None else escape(f"{cell.shown} {cell.ends}") for cell in cells]
        table.add_row(f"{metric['name']} {arrow}", *shown)
    console.print(table)
    table = Table(title="alignment by game", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("game")
    for player in parts["players"]:
        table.add_column(escape(player), justify="right")
    for game in found.families:
        cells = [_cell(found.scores.get((player, game, "alignment"))) for player in parts["players"]]
        table.add_row(game, *("–" if cell is None else escape(f"{cell.shown} {cell.ends}") for cell in cells))
    console.print(table)
    for line in sentences(found):
        console.print(f"- {line}", highlight=False, markup=False)
    console.print("\n" + "; ".join(f"{name}: {value}" for name, value in rows_of_cost(found)), highlight=False)


class Bar:
    """Shows the progress of ``evaluate``, with the time that is left; to be given as ``progress``.

    Parameters
    ----------
    console
        Where. What is no terminal gets a line now and then.
    every
        Seconds between two such lines.
    """

    def __init__(self, console: Console, every: float = 20.0) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self.console = console
        self.every = every
        self.last = float("-inf")
        self.progress = Progress(BarColumn(), TextColumn("{task.description}", markup=False), console=console)
        self.task = self.progress.add_task("", total=None)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.progress.start()
        return self

    def __call__(self, done: int, all_: int, name: str, left: float) -> None:
        """Show that a case is finished."""
        after = f", about {_duration(max(left, 1.0))} left" if left >= 1.0 and done < all_ else ""
        text = f"{done} of {all_} cases{after}: {name}"
        if self.console.is_terminal:
            self.progress.update(self.task, completed=done, total=all_, description=text)
        elif time.monotonic() - self.last >= self.every or done == all_:
            self.last = time.monotonic()
            self.console.print(text, highlight=False, markup=False)

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self.progress.stop()


def told(folder: Path) -> str:
    """Return what ``show`` prints."""
    import io

    from rich.console import Console

    text = io.StringIO()
    show(folder, Console(file=text, width=120))
    return text.getvalue()
