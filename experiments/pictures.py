"""The pictures of a report: headline measure by institution, and learning curves.

Colour stands for the institution (Okabe and Ito's palette, which colour-blind readers can tell apart), the filling of a
marker for the level of uncertainty, a panel for a policy. Where there are several games, they stand side by side, rows are
institutions, and colour and marker stand for the level.

Source of the palette: M. Okabe, K. Ito, "Color Universal Design" (2008); B. Wong, "Points of view:
Color blindness", Nature Methods 8 (2011) 441.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from societas.experiments.statistics import lookup

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from societas.experiments.decomposition import Loss
    from societas.experiments.interaction import Joint

__all__ = ["curves", "grid", "headline", "png", "svg", "waterfall"]

OKABE_ITO = [
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
]  # black for its yellow, that is faint on white
LEVELS, MARKERS = (
    ["#08306B", "#2878B8", "#56B4E9", "#E69F00", "#D55E00"],
    "osDv^",
)  # of uncertainty, from little to much
DOTS = 120
"""Most worlds of a cell that are drawn as dots."""
INK, GREY, FAINT = "#222222", "#666666", "#BBBBBB"
WIDTH, LEFT, RIGHT = 4.8, 0.95, 0.12  # inches; narrow, so that the text stays legible on a phone


def _style() -> AbstractContextManager[None]:
    """Settings of matplotlib inside the context; nothing outside it changes."""
    import matplotlib as mpl

    settings: Any = {
        "font.family": "DejaVu Sans",
        "font.size": 10,
        "text.color": INK,
        "axes.edgecolor": GREY,
        "axes.labelcolor": INK,
        "xtick.color": GREY,
        "ytick.color": GREY,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "svg.hashsalt": "societas",  # the same data give the same file
        "svg.fonttype": "path",
    }
    return mpl.rc_context(settings)


def svg(figure: Figure) -> bytes:
    """Figure as SVG, letters drawn as paths, the same bytes for the same data."""
    return _encoded(figure, "svg", {"Date": None, "Creator": None})


def png(figure: Figure, dpi: int = 220) -> bytes:
    """Figure as PNG."""
    return _encoded(figure, "png", {"Software": None}, dpi)


def _encoded(figure: Figure, kind: str, metadata: dict[str, Any], dpi: int = 100) -> bytes:
    buffer = io.BytesIO()
    with _style():
        figure.savefig(buffer, format=kind, dpi=dpi, metadata=metadata, facecolor="white")
    return buffer.getvalue()


def _colours(spec: Mapping[str, Any]) -> dict[str, str]:
    """A colour for each institution; the baseline is grey."""
    others = [name for name in spec["institutions"] if name != spec["baseline"]]
    found = {name: OKABE_ITO[i % len(OKABE_ITO)] for i, name in enumerate(others)}
    return {spec["baseline"]: GREY, **found}


def _toward_white(colour: str, share: float) -> tuple[float, float, float]:
    from matplotlib.colors import to_rgb

    red, green, blue = (c + (1 - c) * share for c in to_rgb(colour))
    return red, green, blue


def _blank(height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    return figure


def _panel(figure: Figure, top: float, height: float, right: float = RIGHT) -> Axes:
    """Axes that reach from ``top`` inches below the upper edge over ``height`` inches."""
    total = figure.get_figheight()
    box = (LEFT / WIDTH, 1 - (top + height) / total, (WIDTH - LEFT - right) / WIDTH, height / total)
    axes = figure.add_axes(box)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    return axes


def _title(axes: Axes, text: str) -> None:
    """Panel title, flush with the left edge of the figure."""
    axes.annotate(
        text,
        xy=(0, 1),
        xycoords="axes fraction",
        xytext=(-(LEFT - 0.08) * 72, 5),
        textcoords="offset points",
        fontweight="bold",
        fontsize=11,
    )


def _axis_name(measure: str, about: Mapping[str, Any]) -> str:
    unit = str(about.get("unit") or "").strip()
    return measure if unit in ("", "1") else f"{measure} ({unit})"


def _limits(ends: Sequence[float], points: NDArray[np.float64], anchors: Sequence[float]) -> tuple[float, float]:
    """Range that shows every interval, the anchors and all worlds, or all but stray ones.

    Worlds are stray, beyond the range of the middle 96%, only if showing them would double the axis.
    """
    shown = np.array([*ends, *anchors], dtype=np.float64)
    shown = shown[np.isfinite(shown)]
    low, high = (float(shown.min()), float(shown.max())) if shown.size else (0.0, 1.0)
    if points.size:
        inner, outer = (
            (min(low, float(np.quantile(points, share))), max(high, float(np.quantile(points, 1 - share))))
            for share in (0.02, 0.0)
        )
        low, high = inner if outer[1] - outer[0] > 2 * (inner[1] - inner[0]) else outer
    margin = 0.04 * ((high - low) or 1.0)
    return low - margin, high + margin


def headline(summary: pd.DataFrame, rows: pd.DataFrame, spec: Mapping[str, Any], meta: Mapping[str, Any]) -> Figure:
    """Headline measure by institution, a panel for each policy, a marker for each level of uncertainty.

    Markers are means over worlds, bars their intervals, faint dots single worlds (at most the first DOTS).  Where the
    headline is ``alignment``, lines mark 0 (equilibrium, or the game's own baseline) and 1 (first best).
    Where the specification names a ``dial``, the levels are numbers and the headline is drawn over them:
    a line for each institution, with its interval shaded. Several games stand side by side.

    Parameters
    ----------
    summary, rows
        As returned and taken by :func:`societas.experiments.statistics.summary`.
    spec, meta
        The run's specification and its record.
    """
    with _style():
        if len(spec.get("games", ())) > 1:
            return _side_by_side(summary, spec, meta)
        return (_over_dial if spec.get("dial") else _headline)(summary, rows, spec, meta)


def _side_by_side(summary: pd.DataFrame, spec: Mapping[str, Any], meta: Mapping[str, Any]) -> Figure:
    """A column for each policy in each game, a row for each institution, a marker for each level of uncertainty."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    measure, institutions, levels = str(spec["headline"]), list(spec["institutions"]), list(spec["uncertainty"])
    cells = lookup(summary[summary["measure"] == measure])
    arms = [arm for arm in spec["policies"] if any(key[0] == arm for key in cells)]
    marks = _marks(spec, measure)
    low, high = _limits([m.mean for m, _ in cells.values()], np.array([]), list(marks))
    shades = [LEVELS[round(j * (len(LEVELS) - 1) / max(len(levels) - 1, 1))] for j in range(len(levels))]

    left, column, between, head, foot = 1.4, 2.1, 0.22, 1.08, 0.62
    row = 0.15 * len(levels) + 0.08
    width, height = left + len(arms) * (column + between), head + row * len(institutions) + foot
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    about: Mapping[str, Any] = meta.get("measures", {}).get(measure, {})
    for index, arm in enumerate(arms):
        box = (
            (left + index * (column + between)) / width,
            foot / height,
            column / width,
            row * len(institutions) / height,
        )
        axes = figure.add_axes(box)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.set(xlim=(low, high), ylim=(len(institutions) - 0.5, -0.5))
        axes.set_title(arm.removeprefix(f"{_only(spec)}, "), loc="left", fontweight="bold", fontsize=11, pad=20)
        axes.tick_params(axis="y", length=0)
        axes.set_yticks(range(len(institutions)), [textwrap.fill(n.replace("_", " "), 16) for n in institutions])
        axes.tick_params(axis="y", labelleft=index == 0)
        for i in range(0, len(institutions), 2):
            axes.axhspan(i - 0.5, i + 0.5, color="#F4F4F4", linewidth=0, zorder=-1)
        for at, name in marks.items():
            axes.axvline(at, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
            axes.annotate(
                name,
                xy=(at, 1),
                xycoords=("data", "axes fraction"),
                xytext=(0, 4),
                textcoords="offset points",
                ha="center",
                fontsize=8.5,
                color=GREY,
            )
        for i, institution in enumerate(institutions):
            there = [(j, cells.get((arm, level, institution, measure))) for j, level in enumerate(levels)]
            if all(found is None for _, found in there):
                axes.text((low + high) / 2, i, "does not apply", ha="center", va="center", fontsize=8.5, color=GREY)
            for j, found in there:
                if found is None:
                    continue
                mean, y = found[0], i + (j - (len(levels) - 1) / 2) * 0.15 / row
                axes.plot([mean.low, mean.high], [y, y], color=shades[j], linewidth=1.6, zorder=3)
                axes.plot(mean.mean, y, MARKERS[j % len(MARKERS)], markersize=5, color=shades[j], zorder=4)
        axes.set_xlabel(_axis_name(measure, about), labelpad=4)
    keys = [
        Line2D([], [], marker=MARKERS[j % len(MARKERS)], color=shades[j], linewidth=1.6, markersize=5, label=level)
        for j, level in enumerate(levels)
    ]
    figure.legend(
        handles=keys,
        title=f"{measure}, mean and 95% interval",
        loc="upper left",
        ncols=len(keys),
        frameon=False,
        fontsize=9.5,
        title_fontsize=9,
        alignment="left",
    )
    return figure


def _only(spec: Mapping[str, Any]) -> str:
    """Return the name of the only policy, with which the names of all arms begin; empty if there are several."""
    names = {arm.rpartition(", ")[0] for arm in spec["policies"]}
    return names.pop() if len(names) == 1 else ""


def _headline(summary: pd.DataFrame, rows: pd.DataFrame, spec: Mapping[str, Any], meta: Mapping[str, Any]) -> Figure:
    from matplotlib.lines import Line2D

    measure = str(spec["headline"])
    about: Mapping[str, Any] = meta.get("measures", {}).get(measure, {})
    cells = lookup(summary[summary["measure"] == measure])
    worlds = rows[(rows["measure"] == measure) & rows["value"].notna() & (rows["world"] < DOTS)]
    policies = [p for p in spec["policies"] if p in set(worlds["policy"])]
    institutions, levels, colours = list(spec["institutions"]), list(spec["uncertainty"]), _colours(spec)
    marks = _marks(spec, measure)

    points = worlds["value"].to_numpy(dtype=np.float64)
    low, high = _limits([end for mean, _ in cells.values() for end in mean[:3]], points, list(marks))
    stray = int(((points < low) | (points > high)).sum())

    wide = sum(0.3 + 0.075 * len(name) for name in (*levels, "95% interval", "one world"))  # inches, of the legend
    columns = len(levels) + 2 if wide < WIDTH else 3
    above = 0.2 * (math.ceil((len(levels) + 2) / columns) - 1)
    head, gap, foot = above + (0.82 if marks else 0.62), 0.34, 0.62 + (0.2 if stray else 0.0)
    names = [textwrap.fill(name.replace("_", " "), 13) for name in institutions]
    lines = max(name.count("\n") + 1 for name in names)
    row = max(0.36 if len(levels) < 3 else 0.18 * len(levels), 0.14 * lines + 0.04)
    panel = row * len(institutions)
    figure = _blank(head + len(policies) * panel + (len(policies) - 1) * gap + foot)
    spread = 0.42 if len(levels) == 2 else 0.75 / max(len(levels), 1)

    for index, policy in enumerate(policies):
        axes = _panel(figure, head + index * (panel + gap), panel)
        axes.set(xlim=(low, high), ylim=(len(institutions) - 0.5, -0.5))
        _title(axes, policy)
        axes.set_yticks(range(len(institutions)), names, linespacing=0.95, fontsize=10 if lines < 3 else 8.5)
        axes.tick_params(axis="y", length=0)
        last = index == len(policies) - 1
        axes.tick_params(axis="x", labelbottom=last, length=3 if last else 0)
        axes.spines["bottom"].set_visible(last)
        for at in marks:
            axes.axvline(at, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
        for i, institution in enumerate(institutions):
            axes.axhline(i + 0.5, color="#EEEEEE", linewidth=0.8, zorder=0)
            for j, level in enumerate(levels):
                here = worlds[
                    (worlds["policy"] == policy)
                    & (worlds["institution"] == institution)
                    & (worlds["uncertainty"] == level)
                ]
                if here.empty:
                    continue
                y = i + (j - (len(levels) - 1) / 2) * spread
                _cell(axes, here, y, spread, colours[institution], (low, high))
                mean = cells[policy, level, institution, measure][0]
                axes.plot([mean.low, mean.high], [y, y], color=colours[institution], linewidth=2.0, zorder=3)
                axes.plot(
                    mean.mean,
                    y,
                    "o",
                    markersize=6.5,
                    color=colours[institution],
                    markerfacecolor=_toward_white(colours[institution], j / max(len(levels) - 1, 1)),
                    markeredgewidth=1.6,
                    zorder=4,
                )
        if index == 0:
            for at, name in marks.items():
                axes.annotate(
                    f"{at:.0f} = {name}",
                    xy=(at, 1),
                    xycoords=("data", "axes fraction"),
                    xytext=(0, 20),
                    textcoords="offset points",
                    ha="right" if at > low + 0.85 * (high - low) else "center",
                    fontsize=9,
                    color=GREY,
                )
        if last:
            arrow = "← better" if about.get("better") == "lower" else "better →"
            name = textwrap.fill(_axis_name(measure, about), 36)
            axes.set_xlabel(name, labelpad=5)
            axes.annotate(
                arrow,
                xy=(float(about.get("better") != "lower"), 0),
                xycoords="axes fraction",
                xytext=(0, -29),
                textcoords="offset points",
                ha="left" if about.get("better") == "lower" else "right",
                fontsize=9,
                color=GREY,
            )

    keys = [
        Line2D([], [], marker="o", linestyle="", markersize=6.5, markeredgewidth=1.6, color=GREY, label=level)
        for level in levels
    ]
    for j, key in enumerate(keys):
        key.set_markerfacecolor(_toward_white(GREY, j / max(len(levels) - 1, 1)))
    keys.append(Line2D([], [], color=GREY, linewidth=2, label="95% interval"))
    keys.append(Line2D([], [], marker="o", linestyle="", markersize=3, color=FAINT, label="one world"))
    figure.legend(
        handles=keys,
        loc="upper left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=columns,
        frameon=False,
        fontsize=9.5,
        handletextpad=0.3,
        columnspacing=1.2,
        handlelength=1.3,
    )
    if stray:
        text = f"{stray} of {points.size} dots lie beyond the axis; triangles at its ends stand for them."
        figure.text(0.015, 0.012, text, fontsize=8.5, color=GREY)
    return figure


def _marks(spec: Mapping[str, Any], measure: str) -> dict[float, str]:
    """Lines across the headline picture, and what they stand for."""
    return {0.0: str(spec.get("zero", "equilibrium")), 1.0: "first best"} if measure == "alignment" else {}


def _over_dial(summary: pd.DataFrame, rows: pd.DataFrame, spec: Mapping[str, Any], meta: Mapping[str, Any]) -> Figure:
    measure = str(spec["headline"])
    cells = lookup(summary[summary["measure"] == measure])
    policies = [p for p in spec["policies"] if any(key[0] == p for key in cells)]
    levels, colours, marks = sorted(spec["uncertainty"], key=float), _colours(spec), _marks(spec, measure)
    ends = [end for mean, _ in cells.values() for end in mean[:3] if np.isfinite(end)]
    low, high = _limits(ends, np.array([]), list(marks))
    head, panel, gap, foot = 0.32, 2.7, 0.42, 0.55
    right = 0.4 + 0.08 * max(len(name) for name in spec["institutions"])  # inches for the labels
    figure = _blank(head + len(policies) * panel + (len(policies) - 1) * gap + foot)
    for index, policy in enumerate(policies):
        axes = _panel(figure, head + index * (panel + gap), panel, right)
        axes.spines["left"].set_visible(True)
        _title(axes, policy)
        axes.set_ylabel(textwrap.fill(_axis_name(measure, meta.get("measures", {}).get(measure, {})), 30))
        axes.set(xlim=(float(levels[0]), float(levels[-1])), ylim=(low, high))
        for at, name in marks.items():
            axes.axhline(at, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
            axes.annotate(
                f"{at:.0f} = {name}",
                xy=(0.01, at),
                xycoords=("axes fraction", "data"),
                xytext=(0, 3 if at == 0 else -3),
                textcoords="offset points",
                va="bottom" if at == 0 else "top",
                fontsize=9,
                color=GREY,
            )
        labels = []
        for institution in spec["institutions"]:
            here = [(float(level), cells.get((policy, level, institution, measure))) for level in levels]
            line = [(x, cell[0]) for x, cell in here if cell is not None and np.isfinite(cell[0].mean)]
            if not line:
                continue
            x, colour = [at for at, _ in line], colours[institution]
            axes.fill_between(
                x, [m.low for _, m in line], [m.high for _, m in line], color=colour, alpha=0.18, linewidth=0
            )
            axes.plot(x, [m.mean for _, m in line], "o-", color=colour, linewidth=1.8, markersize=3.5, clip_on=False)
            labels.append((institution, x[-1], line[-1][1].mean))
        _end_labels(axes, labels, colours, panel)
        last = index == len(policies) - 1
        axes.tick_params(axis="x", labelbottom=last)
        if last:
            axes.set_xlabel(str(spec["dial"]), labelpad=5)
    return figure


def _cell(axes: Axes, here: pd.DataFrame, y: float, spread: float, colour: str, limits: tuple[float, float]) -> None:
    """Single worlds as faint dots, spread a little by world number; stray ones at the edge."""
    low, high = limits
    x = here["value"].to_numpy(dtype=np.float64)
    turn = here["world"].to_numpy(dtype=np.float64) * 0.6180339887498949  # golden ratio: even spread
    heights = y + (turn % 1 - 0.5) * spread * 0.6
    pale = _toward_white(colour, 0.45)
    for keep, marker, size in ((x < low, "<", 12), (x > high, ">", 12), ((x >= low) & (x <= high), "o", 7)):
        axes.scatter(
            np.clip(x[keep], low, high),
            heights[keep],
            s=size,
            marker=marker,
            color=[pale],
            alpha=0.55,
            linewidths=0,
            clip_on=False,
            zorder=1,
        )


def curves(table: pd.DataFrame, spec: Mapping[str, Any], window: int | None = None) -> Figure:
    """Learning curves: mean return by episode, a panel for each policy and level of uncertainty.

    Thin lines are the values as recorded, thick ones their centred running mean.

    Parameters
    ----------
    table
        Columns ``institution, uncertainty, policy, episode, value``; several values of one episode
        are averaged.
    spec
        The run's specification.
    window
        Width of the running mean in recorded points; by default a twentieth of the longest curve.
    """
    with _style():
        return _curves(table, spec, window)


def _curves(table: pd.DataFrame, spec: Mapping[str, Any], window: int | None) -> Figure:
    lines = {
        tuple(str(part) for part in key): line.groupby("episode")["value"].mean()
        for key, line in table.groupby(["policy", "uncertainty", "institution"])
    }
    present = {key[:2] for key in lines}
    facets = [(p, u) for p in spec["policies"] for u in spec["uncertainty"] if (p, u) in present]
    colours = _colours(spec)
    head, panel, gap, foot = 0.32, 1.9, 0.42, 0.5
    right = 0.4 + 0.08 * max(len(name) for name in spec["institutions"])  # inches for the labels
    figure = _blank(head + len(facets) * panel + (len(facets) - 1) * gap + foot)

    drawn: list[tuple[Axes, list[tuple[str, float, float]]]] = []
    for index, (policy, level) in enumerate(facets):
        axes = _panel(figure, head + index * (panel + gap), panel, right)
        axes.spines["left"].set_visible(True)
        _title(axes, f"{policy}, {level}" if len(spec["uncertainty"]) > 1 else policy)
        axes.set_ylabel("mean return")
        axes.margins(x=0.0, y=0.06)
        ends = []
        for institution in spec["institutions"]:
            line = lines.get((policy, level, institution))
            if line is None:
                continue
            width = window or max(1, len(line) // 20)
            smooth = line.rolling(width, center=True, min_periods=1).mean()
            colour = colours[institution]
            if width > 1:
                axes.plot(line.index, line, color=colour, linewidth=0.6, alpha=0.25)
            axes.plot(smooth.index, smooth, color=colour, linewidth=1.8)
            ends.append((institution, float(line.index.max()), float(smooth.iloc[-1])))
        axes.tick_params(axis="x", labelbottom=index == len(facets) - 1)
        drawn.append((axes, ends))
    if drawn:
        drawn[-1][0].set_xlabel("episode of learning")
        low = min(axes.get_ylim()[0] for axes, _ in drawn)
        high = max(axes.get_ylim()[1] for axes, _ in drawn)
        end = max(axes.get_xlim()[1] for axes, _ in drawn)
        start = min(axes.get_xlim()[0] for axes, _ in drawn)
        for axes, ends in drawn:
            axes.set(ylim=(low, high), xlim=(start, end))
            _end_labels(axes, ends, colours, panel)
    return figure


def grid(pairs: Sequence[Joint], name: str) -> Figure:
    """Policies as rows, institutions as columns: what is reached with both; a panel for each game and level of uncertainty.

    Parameters
    ----------
    pairs
        As returned by :func:`societas.experiments.interaction.joint`, at least one.
    name
        What is shown, for the bar of colours.
    """
    with _style():
        return _grid(pairs, name)


def _grid(pairs: Sequence[Joint], name: str) -> Figure:
    from matplotlib.colors import LinearSegmentedColormap

    policies, institutions = (
        list(dict.fromkeys(getattr(pair, part) for pair in pairs)) for part in ("policy", "institution")
    )
    levels = list(dict.fromkeys((pair.game, pair.uncertainty) for pair in pairs))
    values = {((pair.game, pair.uncertainty), pair.policy, pair.institution): pair.score.mean for pair in pairs}
    low, high = min(0.0, *values.values()), max(1.0, *values.values())
    if name == "alignment":
        low, high = max(low, -1.0), 1.0  # what is far below the baseline is as dark as can be
    # dark is far from the first best, in one hue, so that it reads without colour and in print
    shades = LinearSegmentedColormap.from_list("shades", ["#08306B", "#2878B8", "#9CC9E8", "#F4F9FD"])
    row, head, gap, names = 0.34, 0.34, 0.42, 0.95
    panel = row * len(policies)
    figure = _blank(head + len(levels) * panel + (len(levels) - 1) * gap + names)
    for index, level in enumerate(levels):
        axes = _panel(figure, head + index * (panel + gap), panel)
        _title(axes, ", ".join(part for part in level if part))
        table = np.array([[values.get((level, p, i), np.nan) for i in institutions] for p in policies])
        axes.imshow(table, cmap=shades, vmin=low, vmax=high, aspect="auto")
        axes.set_yticks(range(len(policies)), policies)
        axes.set_xticks(range(len(institutions)), institutions, rotation=40, ha="right", rotation_mode="anchor")
        axes.tick_params(length=0, labelbottom=index == len(levels) - 1)
        axes.spines["bottom"].set_visible(False)
        for (y, x), value in np.ndenumerate(table):
            if np.isfinite(value):
                dark = (value - low) / (high - low) < 0.55
                said = (f"{value:.2f}" if abs(value) < 9.95 else f"{value:.0f}").replace("-", "−")
                axes.text(x, y, said, ha="center", va="center", fontsize=8.5, color="white" if dark else INK)
    axes.set_xlabel(f"{name}; rows are policies, columns institutions", labelpad=2)
    return figure


def waterfall(losses: Sequence[Loss]) -> Figure:
    """Where the alignment score goes: from the first best down to what is left, a step for each cause.

    A panel for each policy and institution (or level). A cause that takes is orange, one that gives is blue; each step says
    its size. Thin lines are 95% intervals of the step.

    Parameters
    ----------
    losses
        As returned by :func:`societas.experiments.decomposition.decompose`, at least one.
    """
    with _style():
        return _waterfall(losses)


def _waterfall(losses: Sequence[Loss]) -> Figure:
    panels: dict[tuple[str, str], list[Loss]] = {}
    for each in losses:
        panels.setdefault((each.policy, each.place), []).append(each)
    names = [textwrap.fill(each.cause.replace("_", " "), 13) for each in next(iter(panels.values()))] + ["left"]
    rows = [0.24 + 0.14 * name.count("\n") for name in names]
    panel, head, gap, foot = sum(rows), 0.34, 0.42, 0.5
    figure = _blank(head + len(panels) * panel + (len(panels) - 1) * gap + foot)
    ends = [end for each in losses for end in (each.left.mean, each.left.mean + each.loss.mean)]
    low, high = min(0.0, *ends), max(1.0, *ends)
    margin = 0.16 * (high - low)  # room for the sizes
    middles = [sum(rows[:i]) + row / 2 for i, row in enumerate(rows)]
    for index, ((policy, place), steps) in enumerate(panels.items()):
        axes = _panel(figure, head + index * (panel + gap), panel)
        _title(axes, f"{policy}, {place}")
        axes.set(xlim=(low - margin * (low < 0), high + margin), ylim=(panel, 0))
        axes.set_yticks(middles, names, linespacing=0.95)
        axes.tick_params(axis="y", length=0)
        axes.tick_params(axis="x", labelbottom=index == len(panels) - 1)
        for at in (0, 1):
            axes.axvline(at, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
        for i, (each, y) in enumerate(zip(steps, middles, strict=False)):
            after, before = each.left.mean, each.left.mean + each.loss.mean
            colour = OKABE_ITO[1] if each.loss.mean > 0 else OKABE_ITO[0]
            axes.barh(y, before - after, left=after, height=0.16, color=colour, zorder=2)
            if np.isfinite(each.loss.low):
                axes.plot([before - each.loss.low, before - each.loss.high], [y, y], color=INK, linewidth=1, zorder=3)
            axes.plot([after, after], [y, middles[i + 1]], color=FAINT, linewidth=0.8, zorder=1)
            said = f"{-each.loss.mean:+.2f}".replace("-", "−")
            edge = max(before, after, before - min(each.loss.low, each.loss.high))
            axes.annotate(
                said,
                (edge, y),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
                annotation_clip=False,
            )
        left = steps[-1].left.mean
        axes.barh(middles[-1], left, height=0.16, color=GREY, zorder=2)
        said = f"{left:.2f}".replace("-", "−")
        axes.annotate(
            said, (max(left, 0), middles[-1]), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9
        )
    axes.set_xlabel("alignment", labelpad=4)
    return figure


def _end_labels(axes: Axes, ends: list[tuple[str, float, float]], colours: Mapping[str, str], inches: float) -> None:
    """Name each line at its end, labels pushed apart so that none covers another."""
    low, high = axes.get_ylim()
    step = 0.165 / inches * (high - low)  # one line of text
    ends = sorted(ends, key=lambda each: each[2])
    places: list[float] = []
    for _, _, y in ends:  # blocks of labels that touch are centred on their lines
        places.append(y)
        begin = len(places) - 1
        while begin and places[begin] - places[begin - 1] < step:
            begin -= 1
            while begin and places[begin] - places[begin - 1] < step * 1.01:
                begin -= 1
            block = range(begin, len(places))
            middle = sum(ends[i][2] for i in block) / len(block)
            for i in block:
                places[i] = middle + (i - begin - (len(block) - 1) / 2) * step
    if places:
        shift = max(0.0, low - places[0]) - max(0.0, places[-1] - high)
        places = [place + shift for place in places]
    for (name, x, y), place in zip(ends, places, strict=True):
        axes.annotate(
            name,
            xy=(x, y),
            xytext=(1.06, (place - low) / (high - low)),
            textcoords="axes fraction",
            va="center",
            fontsize=9.5,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colours[name],
                "linewidth": 1.4,
                "shrinkA": 1,
                "shrinkB": 0,
                "relpos": (0.0, 0.5),
            },
        )
