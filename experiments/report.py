"""The report of a run: one page that opens offline, its pictures and tables, and tables for the terminal."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from societas.experiments import store
from societas.experiments.decomposition import Loss, decompose
from societas.experiments.decomposition import table as losses_table
from societas.experiments.interaction import Joint, joint
from societas.experiments.interaction import table as pairs_table
from societas.experiments.precision import half_width
from societas.experiments.statistics import RESAMPLES, Interval, lookup, paired_difference, summary

if TYPE_CHECKING:
    import pandas as pd
    from markupsafe import Markup
    from rich.console import Console

__all__ = ["answers", "print_tables", "write_report"]

KEY = ["policy", "uncertainty", "institution", "measure"]


@dataclass(frozen=True)
class Answer:
    """What one policy did at one level of uncertainty, in a sentence or two."""

    policy: str
    uncertainty: str
    text: str


@dataclass(frozen=True)
class Cell:
    """A number with its interval, as printed; ``value`` keeps more digits.

    Of a difference, ``p`` is its p-value, adjusted for all of the same measure, and ``small`` says whether it is shown to be
    smaller than the margin.
    """

    value: str
    shown: str
    ends: str
    worlds: int
    p: float
    small: bool

    @property
    def sure(self) -> bool:
        """Whether the difference stands among all of its measure: Holm-adjusted p below 5%."""
        return self.p < 0.05

    @property
    def significance(self) -> str:
        """The adjusted p-value as printed."""
        return "" if math.isnan(self.p) else "p < 0.001" if self.p < 0.001 else f"p {self.p:.3f}"


@dataclass(frozen=True)
class Reached:
    """Whether the interval of one cell is as narrow as asked for."""

    policy: str
    uncertainty: str
    institution: str
    worlds: int
    half_width: str
    reached: bool


@dataclass(frozen=True)
class Panel:
    """One table: institutions as rows, measures as columns."""

    policy: str
    uncertainty: str
    worlds: str
    rows: list[tuple[str, list[Cell | None]]]


# --- numbers -------------------------------------------------------------------------------------


def _digits(values: Sequence[float]) -> int:
    """Decimals that suit a column: two for sizes near one, fewer above ten, more below a tenth."""
    scale = max((abs(value) for value in values if math.isfinite(value)), default=1.0)
    if 0.1 <= scale < 10 or scale == 0:
        return 2
    return min(6, max(0, 1 - math.floor(math.log10(scale)) + (scale >= 10)))


def _number(value: float, digits: int, sign: bool = False) -> str:
    if math.isnan(value):
        return "–"
    text = f"{value:{'+' if sign else ''},.{digits}f}"
    if float(text.replace(",", "")) == 0:  # neither -0.00 nor +0.00
        text = f"{0:.{digits}f}"
    return text.replace("-", "−")


def _bracket(found: Interval, digits: int, sign: bool = False) -> str:
    if math.isnan(found.low):
        return "[–]"
    return f"[{_number(found.low, digits, sign)}, {_number(found.high, digits, sign)}]"


def _joined(names: Sequence[str]) -> str:
    names = [f"“{name}”" for name in names]
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


# --- reading -------------------------------------------------------------------------------------


def _margins(spec: Mapping[str, Any]) -> dict[str, float]:
    return {str(spec["headline"]): float(spec["margin"])} if spec.get("margin") else {}


def _in_order(found: pd.DataFrame, spec: Mapping[str, Any]) -> pd.DataFrame:
    """Rows of a summary in the order of the specification; measures it does not name come last."""
    places = {
        column: {str(name): place for place, name in enumerate(spec[part])}
        for column, part in (
            ("policy", "policies"),
            ("uncertainty", "uncertainty"),
            ("institution", "institutions"),
            ("measure", "measures"),
        )
    }
    for column in KEY[:3]:
        unknown = set(found[column]) - set(places[column])
        if unknown:
            raise ValueError(f"the specification names no {column} {sorted(unknown)}")
    ordered = found.sort_values(KEY, key=lambda column: column.map(places[str(column.name)]))
    return ordered.reset_index(drop=True)


def _cells(spec: Mapping[str, Any], found: pd.DataFrame) -> list[tuple[str, str]]:
    """Pairs of policy and level of uncertainty that were run, in order."""
    present = set(zip(found["policy"], found["uncertainty"], strict=True))
    return [(p, u) for p in spec["policies"] for u in spec["uncertainty"] if (p, u) in present]


# --- answers -------------------------------------------------------------------------------------


def answers(found: pd.DataFrame, rows: pd.DataFrame, spec: Mapping[str, Any], meta: Mapping[str, Any]) -> list[Answer]:
    """Best institution by the headline measure, for each policy and level of uncertainty.

    Each says how far the best is from the baseline in the same worlds, whether that interval
    includes zero, and which other institutions these worlds cannot tell apart from the best.

    Parameters
    ----------
    found, rows
        As returned and taken by :func:`societas.experiments.statistics.summary`.
    spec, meta
        The run's specification and its record.
    """
    headline, baseline = str(spec["headline"]), str(spec["baseline"])
    lower = meta.get("measures", {}).get(headline, {}).get("better", "higher") == "lower"
    cells = lookup(found[(found["measure"] == headline) & found["mean"].notna()])
    shown = found[(found["measure"] == headline) & found["equivalent"]]
    equal = set(zip(shown["policy"], shown["uncertainty"], shown["institution"], strict=True))
    digits = _digits([end for mean, _ in cells.values() for end in mean[:3]])
    said = []
    for policy, level in _cells(spec, found):
        here = {
            name: cells[policy, level, name, headline]
            for name in spec["institutions"]
            if (policy, level, name, headline) in cells
        }
        if not here:
            continue
        best = (min if lower else max)(here, key=lambda name: here[name][0].mean)
        mean, difference = here[best]
        if len(spec["institutions"]) == 1:
            text = f"{headline} is {_number(mean.mean, digits)} {_bracket(mean, digits)}."
            said.append(Answer(policy, level, text))
            continue
        text = f"“{best}” has the {'lowest' if lower else 'highest'} {headline}, "
        text += f"{_number(mean.mean, digits)} {_bracket(mean, digits)}"
        same = [
            name
            for name in here
            if name not in (best, baseline) and _between(rows, headline, policy, level, best, name).holds_zero
        ]
        if best == baseline:
            text += ": no institution did better on average than the baseline."
        elif difference.n == 0:
            text += f"; “{baseline}” was not run in the same worlds."
        else:
            size = _number(abs(difference.mean), digits)
            side = "above" if difference.mean > 0 else "below"
            text += f", {size} {side} “{baseline}” in the same worlds {_bracket(difference, digits, sign=True)}"
            if math.isnan(difference.low):
                text += "; one world gives no interval."
            elif difference.holds_zero:
                text += "; that interval includes zero."
                same.insert(0, baseline)
            else:
                text += "; that interval excludes zero"
                text += (
                    f", but it is shown to be smaller than {spec['margin']:g}."
                    if (policy, level, best) in equal
                    else "."
                )
        small = [name for name in here if name != best and (policy, level, name) in equal]
        if small:
            text += f" Shown to differ from “{baseline}” by less than {spec['margin']:g}: {_joined(small)}."
        if same and mean.n > 1:
            text += f" These worlds do not tell it from {_joined(same)}."
        said.append(Answer(policy, level, text))
    return said


def _between(rows: pd.DataFrame, measure: str, policy: str, level: str, first: str, second: str) -> Interval:
    """Paired difference of two institutions in one measure."""
    here = rows[(rows["measure"] == measure) & (rows["policy"] == policy) & (rows["uncertainty"] == level)]
    wide = here.pivot(index="world", columns="institution", values="value")
    return paired_difference(wide[first], wide[second])


# --- tables --------------------------------------------------------------------------------------


def _columns(spec: Mapping[str, Any], found: pd.DataFrame | None = None) -> list[str]:
    """Measures with the headline first, so that a narrow screen shows it.

    With a summary (of effects): also the alignment score, and welfare, in the game's own unit.
    """
    there = set() if found is None else set(found["measure"])
    names = [spec["headline"], *spec["measures"], *(name for name in ("alignment", "welfare") if name in there)]
    return list(dict.fromkeys(names))


def _panels(found: pd.DataFrame, spec: Mapping[str, Any], effect: bool) -> list[Panel]:
    """Tables of means, or of paired differences to the baseline."""
    measures = _columns(spec, found if effect else None)
    keys = zip(*(found[column] for column in KEY), strict=True)
    tests = dict(zip(keys, zip(found["p_holm"], found["equivalent"], strict=True), strict=True))
    values = {key: both[int(effect)] for key, both in lookup(found).items()}
    digits = {
        name: _digits([end for key, each in values.items() if key[3] == name for end in each[:3]]) for name in measures
    }

    def cell(key: tuple[str, str, str, str]) -> Cell | None:
        each = values.get(key)
        if each is None or math.isnan(each.mean):
            return None
        return Cell(
            value=f"{each.mean:.8g}",
            shown=_number(each.mean, digits[key[3]], sign=effect),
            ends=_bracket(each, digits[key[3]], sign=effect),
            worlds=each.n,
            p=float(tests[key][0]) if effect else math.nan,
            small=bool(effect and tests[key][1]),
        )

    panels = []
    for policy, level in _cells(spec, found):
        names = [name for name in spec["institutions"] if not (effect and name == spec["baseline"])]
        body = [(name, [cell((policy, level, name, measure)) for measure in measures]) for name in names]
        body = [(name, cells) for name, cells in body if any(cells)]
        if body:
            sizes = sorted({each.worlds for _, cells in body for each in cells if each is not None})
            worlds = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
            worlds = f"{worlds} {_unit(spec, policy)}"
            panels.append(Panel(policy, level, worlds, body))
    return panels


def _unit(spec: Mapping[str, Any], policy: str) -> str:
    """Return what one observation is: a world, or a learning, which is measured in several."""
    arms: Mapping[str, Any] = spec.get("spec", {}).get("policies", {})
    arm = arms.get(policy) or arms.get(policy.rpartition(", ")[0]) or {}
    return "learnings" if arm.get("replicas", 1) > 1 else "worlds"


def print_tables(run: Path, console: Console) -> None:
    """Print, for each policy, the headline with its intervals, then the means of the other measures.

    Parameters
    ----------
    run
        Folder of a run of which the report was written.
    console
        Where to print.
    """
    import yaml
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    spec: dict[str, Any] = yaml.safe_load((run / "spec.yaml").read_text(encoding="utf-8"))
    kept = run / "summary.csv"
    found = _in_order(store.read_plain(kept) if kept.is_file() else _summary(run, spec)[0], spec)
    headline, baseline, *others = spec["headline"], spec["baseline"], *_columns(spec)[1:]
    means, effects = _panels(found, spec, effect=False), _panels(found, spec, effect=True)
    differences = {(panel.policy, panel.uncertainty, name): cells[0] for panel in effects for name, cells in panel.rows}

    def pair(cell: Cell | None) -> str:
        return "–" if cell is None else escape(f"{cell.shown} {cell.ends}{' *' * cell.sure}{' ≈' * cell.small}")

    for policy in dict.fromkeys(panel.policy for panel in means):
        here = [panel for panel in means if panel.policy == policy]
        first = Table(title=f"{escape(policy)}: {escape(headline)}, mean \\[95% interval]", box=box.SIMPLE_HEAD)
        second = Table(title=f"{escape(policy)}: means of the other measures", box=box.SIMPLE_HEAD)
        for table in (first, second):
            table.title_justify = "left"
            table.add_column("institution", min_width=12)
            table.add_column("", no_wrap=len(spec["uncertainty"]) < 2 or max(map(len, spec["uncertainty"])) < 12)
        first.add_column(escape(headline), justify="right", no_wrap=True)
        first.add_column(f"minus {escape(baseline)}", justify="right", no_wrap=True)
        first.add_column("worlds", justify="right")
        for name in others:
            second.add_column(escape(name), justify="right")
        for name in spec["institutions"]:
            head = escape(name)
            for panel in here:
                cells = dict(panel.rows).get(name)
                if cells is None:
                    continue
                difference = differences.get((policy, panel.uncertainty, name))
                shown = pair(difference)
                style = "bold" if difference is not None and difference.sure else ""
                first.add_row(
                    head,
                    escape(panel.uncertainty),
                    pair(cells[0]),
                    f"[{style}]{shown}[/]" if style else shown,
                    "–" if cells[0] is None else str(cells[0].worlds),
                )
                second.add_row(
                    head,
                    escape(panel.uncertainty),
                    *("–" if cell is None else cell.shown for cell in cells[1:]),
                )
                head = ""  # named once
        console.print(first)
        console.print(second)
    said = (
        f"minus {baseline}: in the same worlds. * p below 0.05, adjusted for all differences of the measure (Holm 1979)"
    )
    if spec.get("margin"):
        said += f"; ≈ shown to be smaller than {spec['margin']:g}"
    console.print(said, highlight=False)


# --- the page ------------------------------------------------------------------------------------


def _prose(text: str) -> Markup:
    """Paragraphs, bullet lists, `code`, *emphasis* and **strong emphasis**; all else is escaped."""
    from markupsafe import Markup, escape

    text = re.sub(r"(?m)^(?![-*\s])(.+)\n(?=[-*] )", r"\1\n\n", text)  # a list may follow its lead-in
    blocks = []
    for block in re.split(r"\n\s*\n", text.strip()):
        safe = str(escape(block))
        safe = re.sub(r"`([^`]+)`", r"<code>\1</code>", safe)
        safe = re.sub(r"\*\*([^*\n]+)\*\*", r"<strong>\1</strong>", safe)
        safe = re.sub(r"(?<![\w*])\*([^*\s][^*\n]*)\*(?![\w*])", r"<em>\1</em>", safe)
        if re.match(r"[-*] ", safe):
            items = re.split(r"(?:^|\n)[-*] ", safe)[1:]
            blocks.append("<ul>" + "".join(f"<li>{item}</li>" for item in items) + "</ul>")
        else:
            blocks.append(f"<p>{safe}</p>")
    return Markup("\n".join(blocks))  # each block was escaped above


def _bibtex(spec: Mapping[str, Any], meta: Mapping[str, Any]) -> str:
    """Entry for citing the run."""

    def plain(text: object) -> str:
        return re.sub(r"([&%$#_])", r"\\\1", re.sub(r"[{}\\~^]", "", str(text)))

    key = re.sub(r"[^A-Za-z0-9]+", "-", str(spec["name"])).strip("-").lower()
    started = str(meta.get("started", ""))
    year = f"\n  year   = {{{started[:4]}}}," if re.match(r"\d{4}", started) else ""
    note = f"societas {plain(meta.get('version', ''))}, seed {plain(meta.get('seed', ''))}"
    digest = str(meta.get("spec_sha256", ""))[:16]
    return (
        f"@misc{{societas-{key},\n  author = {{{{The societas authors}}}},\n"
        f"  title  = {{{{{plain(spec['title'])}}}}},{year}\n"
        f"  note   = {{{note}, specification sha256 {plain(digest)}}}\n}}"
    )


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _provenance(spec: Mapping[str, Any], meta: Mapping[str, Any]) -> list[tuple[str, str]]:
    labels = {
        "command": "Command",
        "seed": "Seed",
        "started": "Started",
        "seconds": "Took",
        "version": "societas",
        "python": "Python",
        "numpy": "NumPy",
        "torch": "PyTorch",
        "platform": "Platform",
        "spec_sha256": "Specification (sha256)",
    }
    found = [("Game", str(spec.get("game", "–")))]
    for name, label in labels.items():
        if meta.get(name) is not None:
            value = meta[name]
            found.append((label, _duration(float(value)) if name == "seconds" else str(value)))
    return found


def _summary(run: Path, spec: Mapping[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the summary of a run, and its rows."""
    rows = store.by_arm(store.read(run))
    return summary(rows, baseline=spec["baseline"], margins=_margins(spec)), rows


def _reached(found: pd.DataFrame, rows: pd.DataFrame, spec: Mapping[str, Any]) -> list[Reached]:
    """Return for each cell that was played until its interval is narrow enough whether it is."""
    wanted = spec.get("precision")
    if not wanted:
        return []
    values = {key: cell["value"] for key, cell in rows[rows["measure"] == wanted["measure"]].groupby(KEY[:3])}
    digits, said = _digits([wanted["half_width"]]), []
    for (policy, level, institution, measure), (mean, _) in lookup(found).items():
        if measure == wanted["measure"] and policy in spec["sequential"]:
            width = half_width(values[policy, level, institution], mean)
            shown = _number(width, digits + 1)
            said.append(Reached(policy, level, institution, mean.n, shown, width <= wanted["half_width"]))
    return said


def _models(run: Path) -> list[dict[str, str]]:
    """Return what language models took and how their answers were, a row for each arm and seat."""
    path = run / "models.csv"
    if not path.is_file():
        return []
    said = []
    table = store.by_arm(store.read_plain(path))
    for (policy, seat), part in table.groupby(["policy", "seat"], sort=False):
        took = part.groupby("counter")["value"].sum()

        def total(name: str, took: pd.Series[float] = took) -> float:
            return float(took.get(f"llm_{name}", 0.0))

        decisions = sum(total(name) for name in ("good", "repaired", "again", "defaulted"))
        row = {"policy": str(policy), "seat": str(seat)}
        row |= {name.replace("_", " "): f"{total(name):,.0f}" for name in ("calls", "tokens_read", "tokens_written")}
        row["cost"] = f"{total('cost'):,.2f} US$" if total("priced") else "no price"
        row["time"] = _duration(total("seconds"))
        row["decisions"] = f"{decisions:,.0f}"
        for name, label in (("repaired", "repaired"), ("again", "asked again"), ("defaulted", "default taken")):
            row[label] = f"{100 * total(name) / decisions:.1f}%" if decisions else "–"
        said.append(row)
    return said


def _split(losses: Sequence[Loss]) -> list[tuple[str, str, list[tuple[str, str, str, str]]]]:
    """Return (policy, place, [(cause, loss, its interval, what is left)]) of a decomposition, as printed."""
    places = dict.fromkeys((each.policy, each.place) for each in losses)
    return [
        (
            policy,
            place,
            [
                (
                    each.cause,
                    _number(each.loss.mean, 2, sign=True),
                    _bracket(each.loss, 2, sign=True),
                    _number(each.left.mean, 2),
                )
                for each in losses
                if (each.policy, each.place) == (policy, place)
            ],
        )
        for policy, place in places
    ]


def _pairs(pairs: Sequence[Joint], spec: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, ...]]]]:
    """Return (level, [(policy, institution, score, alone, under, both, interaction)]) of what is compared, as printed."""
    digits = _digits([pair.score.mean for pair in pairs])
    told: dict[str, list[tuple[str, ...]]] = {}
    for pair in pairs:
        if pair.policy != spec["interaction"] and pair.institution != spec["baseline"]:
            means = (_number(x.mean, digits, True) for x in (pair.alone, pair.under, pair.both))
            beyond = f"{_number(pair.interaction.mean, digits, True)} {_bracket(pair.interaction, digits, True)}"
            row = (pair.policy, pair.institution, _number(pair.score.mean, digits), *means, beyond)
            told.setdefault(", ".join(part for part in (pair.game, pair.uncertainty) if part), []).append(row)
    return list(told.items())


def write_report(run: Path) -> Path:
    """Write ``report.html`` and, beside it, its pictures and tables.

    These are ``headline.png``, ``headline.svg`` and ``summary.csv``, and where there are any ``curves.png``,
    ``decomposition.png`` and ``decomposition.csv``, ``interaction.png`` and ``interaction.csv``, and ``precision.csv``. The
    page needs nothing outside itself: pictures are inside it, and it has no script.

    Parameters
    ----------
    run
        Folder of a finished run, with ``spec.yaml``, ``rows.parquet``, ``meta.json``,
        ``episodes.json``, where a policy learned ``curves.csv``, and where a language model played ``models.csv``.

    Returns
    -------
    pathlib.Path
        The page.

    Raises
    ------
    ValueError
        If rows hold an institution, policy or level of uncertainty that the specification lacks.
    """
    import pandas as pd
    import yaml
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from societas.experiments import pictures

    spec: dict[str, Any] = yaml.safe_load((run / "spec.yaml").read_text(encoding="utf-8"))
    meta: dict[str, Any] = json.loads((run / "meta.json").read_text(encoding="utf-8"))
    episodes: list[dict[str, str]] = json.loads((run / "episodes.json").read_text(encoding="utf-8"))
    found, rows = _summary(run, spec)
    found = _in_order(found, spec)
    found.to_csv(run / "summary.csv", index=False)

    figure = pictures.headline(found, rows, spec, meta)
    drawing = pictures.svg(figure)
    (run / "headline.svg").write_bytes(drawing)
    (run / "headline.png").write_bytes(pictures.png(figure))
    learning = None
    if (run / "curves.csv").exists():
        table = store.by_arm(store.read_plain(run / "curves.csv"))
        if not table.empty:
            figure = pictures.curves(table, spec)
            learning = _data_uri("image/svg+xml", pictures.svg(figure))
            (run / "curves.png").write_bytes(pictures.png(figure))
    losses, waterfall = decompose(rows, spec), None
    if losses:
        figure = pictures.waterfall(losses)
        waterfall = _data_uri("image/svg+xml", pictures.svg(figure))
        (run / "decomposition.png").write_bytes(pictures.png(figure))
        losses_table(losses).to_csv(run / "decomposition.csv", index=False)
    pairs, grid = joint(rows, spec), None
    if pairs:
        figure = pictures.grid(pairs, str(spec["headline"]))
        grid = _data_uri("image/svg+xml", pictures.svg(figure))
        (run / "interaction.png").write_bytes(pictures.png(figure))
        pairs_table(pairs).to_csv(run / "interaction.csv", index=False)
    reached = _reached(found, rows, spec)
    if reached:
        pd.DataFrame([asdict(each) for each in reached]).to_csv(run / "precision.csv", index=False)

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["prose"] = _prose
    page = environment.get_template("report.html.j2").render(
        spec=spec,
        meta=meta,
        answers=answers(found, rows, spec, meta),
        columns=_columns(spec),
        effect_columns=_columns(spec, found),
        compared=found[found["p"].notna()].groupby("measure").size().max(),
        losses=_split(losses),
        waterfall=waterfall,
        pairs=_pairs(pairs, spec),
        grid=grid,
        reached=reached,
        models=_models(run),
        means=_panels(found, spec, effect=False),
        effects=_panels(found, spec, effect=True),
        picture=_data_uri("image/svg+xml", drawing),
        learning=learning,
        episodes=episodes,
        measures=meta.get("measures", {}),
        resamples=f"{RESAMPLES:,}",
        worlds=int(rows["world"].nunique()),
        dots=pictures.DOTS,
        provenance=_provenance(spec, meta),
        bibtex=_bibtex(spec, meta),
    )
    path = run / "report.html"
    path.write_text(page, encoding="utf-8")
    return path
