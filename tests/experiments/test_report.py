"""A report must hold what was measured, nothing from outside, and no markup from its texts."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from rich.console import Console

from societas.experiments import pictures, store
from societas.experiments.decomposition import decompose
from societas.experiments.report import answers, print_tables, write_report
from societas.experiments.statistics import lookup, summary

INSTITUTIONS = ["none", "talk", "agreement", "contract", "sanction"]
LEVELS = ["clear", "noisy"]
POLICIES = ["learners", "scripted", "smollm2"]
MEASURES = ["survival", "gain", "efficiency", "equality", "overuse", "alignment"]
ORDER = ["alignment", *MEASURES[:-1]]  # the headline comes first in the tables
EFFECT = {"none": 0.0, "talk": 0.04, "agreement": 0.25, "contract": 0.62, "sanction": 0.6}
HOSTILE = "<script>alert('x')</script> & <img src=x onerror=y>"

SPEC: dict[str, Any] = {
    "name": "commons_words",
    "title": "A commons that words cannot describe",
    "question": "When the stock is seen only through noise, does a promise still hold, or does it take a *sanction*?",
    "design": "Eight players share a stock that regrows.\n- Each round everyone takes `h` units.\n"
    "- The stock is read with noise.\n\nEvery institution is tried in the same worlds.",
    "game": "commons",
    "measures": MEASURES,
    "headline": "alignment",
    "baseline": "none",
    "institutions": INSTITUTIONS,
    "uncertainty": LEVELS,
    "policies": POLICIES,
}
ABOUT = {
    "survival": (
        "Share of episodes in which the stock outlives the horizon.",
        "mean(1{S_T > 0})",
        "",
        "higher",
    ),
    "gain": ("Payoff of all players together in an episode.", "sum_t sum_i u_it", "utils", "higher"),
    "efficiency": ("Payoff as a share of the best reachable.", "W / W*", "", "higher"),
    "equality": ("One minus the Gini coefficient of payoffs.", "1 - G", "", "higher"),
    "overuse": ("Harvest beyond the efficient one, per round.", "mean_t(max(0, H_t - H*))", "units", "lower"),
    "alignment": (
        "Share of the gap between equilibrium and first best that was closed.",
        "(W - W_eq) / (W* - W_eq)",
        "",
        "higher",
    ),
}


def rows(worlds: int = 24) -> pd.DataFrame:
    """Worlds that differ much from each other, and institutions that differ less."""
    generator = np.random.default_rng(11)
    records = []
    for policy in POLICIES:
        skill = {"learners": 1.0, "scripted": 0.85, "smollm2": 0.25}[policy]
        for level in LEVELS:
            luck = generator.normal(0, 0.16, worlds)
            for institution in INSTITUTIONS:
                fade = 0.45 if level == "noisy" and institution == "contract" else 1.0
                noise = generator.normal(0, 0.05 + 0.1 * (policy == "smollm2"), worlds)
                score = np.minimum(1.0, 0.05 + skill * fade * EFFECT[institution] + luck + noise)
                columns = {
                    "survival": (score > 0.2).astype(float),
                    "gain": 180 + 140 * score,
                    "efficiency": 0.55 + 0.45 * score,
                    "equality": 0.95 - 0.1 * np.abs(noise),
                    "overuse": np.maximum(0, 2.1 - 2 * score),
                    "alignment": score,
                }
                records += [
                    (institution, level, policy, world, measure, float(values[world]))
                    for measure, values in columns.items()
                    for world in range(worlds)
                ]
    return pd.DataFrame(records, columns=["institution", "uncertainty", "policy", "world", "measure", "value"])


def learning() -> pd.DataFrame:
    generator = np.random.default_rng(12)
    episode = np.arange(0, 4000, 20)
    parts = [
        pd.DataFrame(
            {
                "institution": institution,
                "uncertainty": level,
                "policy": "learners",
                "episode": episode,
                "value": 20
                + 20 * EFFECT[institution] * (1 - np.exp(-episode / (700 if level == "clear" else 1500)))
                + generator.normal(0, 1.2, episode.size),
            }
        )
        for level in LEVELS
        for institution in INSTITUTIONS
    ]
    return pd.concat(parts, ignore_index=True)


def write_run(folder: Path, table: pd.DataFrame, curves: bool = True) -> Path:
    """A folder such as the runner leaves."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spec.yaml").write_text(yaml.safe_dump(SPEC, sort_keys=False), encoding="utf-8")
    whole = table.assign(game="", spec="3f" * 32, seed=0, code="0.1.0+abcdef01", device="cpu")
    store.write(folder, list(whole[list(store.COLUMNS)].itertuples(index=False, name=None)))
    meta = {
        "started": "2030-01-02T03:04:05+00:00",
        "seconds": 412.7,
        "version": "0.1.0",
        "python": "3.11.9",
        "platform": "Linux x86_64",
        "numpy": "2.2.0",
        "torch": "2.6.0",
        "seed": 0,
        "command": "societas run commons_words",
        "spec_sha256": "3f" * 32,
        "measures": {
            name: {
                "means": means,
                "formula": formula,
                "unit": unit,
                "better": better,
                "source": "Ostrom (1990)",
            }
            for name, (means, formula, unit, better) in ABOUT.items()
        },
    }
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    episodes = [
        {
            "institution": institution,
            "uncertainty": level,
            "policy": policy,
            "text": f"Round 1. The stock reads 40. Player 1 takes 5: {HOSTILE}\nRound 2. It reads 37.",
        }
        for policy in POLICIES
        for institution in INSTITUTIONS
        for level in LEVELS
    ]
    (folder / "episodes.json").write_text(json.dumps(episodes), encoding="utf-8")
    if curves:
        learning().assign(game="").to_csv(folder / "curves.csv", index=False)
    return folder


class Page(HTMLParser):
    """Loads, tags, and tables of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.tables: list[dict[str, Any]] = []
        self._into: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.loads += [given[name] or "" for name in ("src", "href", "srcset", "action", "data") if name in given]
        assert not any(name.startswith("on") for name in given)
        if tag == "table":
            self.tables.append({"caption": "", "head": [], "rows": []})
        elif tag == "tr" and self.tables:
            self.tables[-1]["rows"].append([])
        elif tag in ("td", "th"):
            self.tables[-1]["rows"][-1].append("")
            self._into = "cell"
        elif tag == "caption":
            self._into = "caption"
        elif tag == "data":
            self.tables[-1]["rows"][-1][-1] = f"{given['value']}|"

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "caption"):
            self._into = None

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._into == "caption":
            self.tables[-1]["caption"] += data
        elif self._into == "cell":
            self.tables[-1]["rows"][-1][-1] += data


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("run"), rows())
    assert write_report(folder) == folder / "report.html"
    return folder


@pytest.fixture(scope="module")
def page(run: Path) -> Page:
    parsed = Page()
    parsed.feed((run / "report.html").read_text(encoding="utf-8"))
    return parsed


def test_page_is_self_contained(run: Path, page: Page) -> None:
    assert page.loads
    assert all(load.startswith("data:image/svg+xml;base64,") for load in page.loads)
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(page.tags)
    source = (run / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"url\(|@import", source)
    assert "http://" not in source and "https://" not in source


def test_text_is_escaped(run: Path, page: Page) -> None:
    source = (run / "report.html").read_text(encoding="utf-8")
    assert "<script" not in source and "<img src=x" not in source
    assert page.tags.count("img") == 2
    assert HOSTILE in page.text
    assert "<em>sanction</em>" in source and "regrows.</p>\n<ul><li>Each" in source
    assert "<li>The stock is read with noise.</li></ul>" in source


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    table = rows(4).replace({"institution": {"talk": "<script>t</script>"}})
    folder = write_run(tmp_path, table, curves=False)
    spec = SPEC | {"title": HOSTILE, "question": HOSTILE, "design": HOSTILE, "name": HOSTILE}
    spec["institutions"] = ["none", "<script>t</script>", "agreement", "contract", "sanction"]
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    source = write_report(folder).read_text(encoding="utf-8")
    assert "<script" not in source and "<img src=x" not in source


def test_page_has_every_part(page: Page) -> None:
    for name in (*INSTITUTIONS, *LEVELS, *POLICIES, *MEASURES):
        assert name in page.text
    for part in ("In short", "Results", "Learning", "Sample episodes", "Measures", "Provenance", "Methods"):
        assert part in page.text
    assert "(W - W_eq) / (W* - W_eq)" in page.text and "societas run commons_words" in page.text
    assert "@misc{societas-commons-words," in page.text and "year   = {2030}" in page.text
    assert page.tags.count("details") == len(INSTITUTIONS) * len(LEVELS) * len(POLICIES)


def test_numbers_are_those_of_the_summary(run: Path, page: Page) -> None:
    found = pd.read_csv(run / "summary.csv")
    index = ["policy", "uncertainty", "institution", "measure"]
    pd.testing.assert_frame_equal(
        found[[*index, "mean", "low", "high"]].sort_values(index, ignore_index=True),
        summary(rows())[[*index, "mean", "low", "high"]].sort_values(index, ignore_index=True),
    )
    truths = lookup(found)
    half = len(POLICIES) * len(LEVELS)
    assert len(page.tables) == 2 * half
    for place, table in enumerate(page.tables):
        effect = place >= half
        caption = re.match(r"(\w+), (\w+) \(24 worlds\)", table["caption"].strip())
        assert caption
        head = [re.sub(r"\s*[↑↓]", "", name) for name in table["rows"][0]]
        assert head == ["institution", *ORDER]
        assert [row[0] for row in table["rows"][1:]] == INSTITUTIONS[int(effect) :]
        for name, *cells in table["rows"][1:]:
            for measure, cell in zip(ORDER, cells, strict=True):
                exact, shown = cell.split("|")
                truth = truths[caption[1], caption[2], name, measure][effect]
                assert float(exact) == pytest.approx(truth.mean, rel=1e-6, abs=1e-9)
                shown, _, significance = shown.partition("p ")
                assert bool(significance) == (effect > 0)
                numbers = [float(n.replace("−", "-")) for n in re.findall(r"[−+]?[\d.]+", shown)]
                assert numbers == pytest.approx(list(truth[:3]), abs=0.501 if measure == "gain" else 0.00501)


def test_answers_say_what_the_data_say(run: Path) -> None:
    table = store.by_arm(store.read(run))
    meta = json.loads((run / "meta.json").read_text(encoding="utf-8"))
    found = answers(summary(table), table, SPEC, meta)
    assert [(a.policy, a.uncertainty) for a in found] == [(p, u) for p in POLICIES for u in LEVELS]
    noisy = next(a.text for a in found if (a.policy, a.uncertainty) == ("learners", "noisy"))
    assert noisy.startswith("“sanction” has the highest alignment, 0.6")
    assert "above “none” in the same worlds [+0." in noisy and "excludes zero" in noisy
    assert "contract" not in noisy
    clear = next(a.text for a in found if (a.policy, a.uncertainty) == ("scripted", "clear"))
    assert clear.endswith(("do not tell it from “contract”.", "do not tell it from “sanction”."))


def test_answers_where_nothing_helps() -> None:
    table = rows(12)
    table = table[(table["policy"] == "learners") & (table["measure"] == "overuse")].copy()
    table["value"] = table["world"] + (table["institution"] == "none") * -1.0
    spec = SPEC | {"headline": "overuse", "measures": ["overuse"]}
    meta = {"measures": {"overuse": {"better": "lower"}}}
    texts = [a.text for a in answers(summary(table), table, spec, meta)]
    assert len(texts) == 2
    assert all(t.startswith("“none” has the lowest overuse") and "no institution did better" in t for t in texts)

    table["value"] = np.random.default_rng(5).normal(size=len(table))
    table.loc[table["institution"] == "talk", "value"] -= 0.01
    assert any("that interval includes zero" in a.text for a in answers(summary(table), table, spec, meta))


def test_files_beside_the_page(run: Path) -> None:
    assert (run / "headline.png").read_bytes().startswith(b"\x89PNG")
    drawing = (run / "headline.svg").read_text(encoding="utf-8")
    assert "<svg" in drawing and "<image" not in drawing
    before = (run / "report.html").read_bytes()
    write_report(run)
    assert (run / "report.html").read_bytes() == before


def test_missing_cells_and_single_worlds(tmp_path: Path) -> None:
    table = rows(1)
    table = table[~((table["policy"] == "smollm2") & (table["uncertainty"] == "noisy"))]
    table = table[~((table["institution"] == "talk") & (table["measure"] == "gain"))]
    folder = write_run(tmp_path, table, curves=False)
    (folder / "episodes.json").write_text("[]", encoding="utf-8")
    source = write_report(folder).read_text(encoding="utf-8")
    assert "[–]" in source and "one world gives no interval" in source
    assert "Sample episodes" not in source and "<h2>Learning" not in source
    assert not re.search(r"\bnan\b", re.sub(r"base64,[^\"]*", "", source))


def test_rows_must_fit_the_specification(tmp_path: Path) -> None:
    table = rows(3)
    extra = table[table["measure"] == "gain"].assign(measure="rounds")
    folder = write_run(tmp_path, pd.concat([table, extra]), curves=False)
    write_report(folder)
    assert "rounds" in set(pd.read_csv(folder / "summary.csv")["measure"])
    write_run(tmp_path, table.replace({"institution": {"talk": "chatter"}}), curves=False)
    with pytest.raises(ValueError, match="names no institution"):
        write_report(folder)


def test_stray_worlds_are_counted_in_the_picture() -> None:
    table = rows()
    hit = (table["measure"] == "alignment") & (table["world"] == 0) & (table["institution"] == "talk")
    table.loc[hit & (table["policy"] == "smollm2"), "value"] = -40.0
    figure = pictures.headline(summary(table), table, SPEC, {})
    assert any("2 of 720 dots lie beyond" in text.get_text() for text in figure.texts)


def test_many_institutions_and_levels_can_be_drawn() -> None:
    names = [f"institution {i}" for i in range(10)]
    levels = ["clear", "noisy", "dark"]
    generator = np.random.default_rng(0)
    table = pd.DataFrame(
        [
            (name, level, "scripted", world, "gain", generator.normal())
            for name in names
            for level in levels
            for world in range(5)
        ],
        columns=["institution", "uncertainty", "policy", "world", "measure", "value"],
    )
    spec = SPEC | {"institutions": names, "uncertainty": levels, "headline": "gain", "baseline": names[0]}
    figure = pictures.headline(summary(table, names[0]), table, spec, {})
    assert len(figure.axes) == 1
    assert pictures.png(figure).startswith(b"\x89PNG")


def test_tables_for_the_terminal(run: Path) -> None:
    console = Console(file=io.StringIO(), width=100, color_system=None)
    print_tables(run, console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    for name in (*INSTITUTIONS, *LEVELS, *POLICIES, *MEASURES):
        assert name in text
    found = summary(rows())
    mean, difference = lookup(found)["learners", "clear", "sanction", "alignment"]
    assert f"{mean.mean:.2f} [{mean.low:.2f}, {mean.high:.2f}]" in text
    assert f"{difference.mean:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}] *" in text
    starred = len(re.findall(r"\] \*", text))
    assert starred == int((found[found["measure"] == "alignment"]["p_holm"] < 0.05).sum())


def changed(folder: Path, change: dict[str, Any], table: pd.DataFrame) -> str:
    """The page of a run whose specification says more, every second line of its source one text."""
    write_run(folder, table, curves=False)
    (folder / "spec.yaml").write_text(yaml.safe_dump(SPEC | change, sort_keys=False), encoding="utf-8")
    return write_report(folder).read_text(encoding="utf-8")


def test_a_margin_says_what_is_equivalent_and_what_is_not(tmp_path: Path) -> None:
    table = rows()
    near = (table["institution"] == "talk") & (table["measure"] == "alignment")
    worlds = table[(table["institution"] == "none") & (table["measure"] == "alignment")]
    same = worlds.set_index(["uncertainty", "policy", "world"])["value"]
    where = table.loc[near, ["uncertainty", "policy", "world"]].itertuples(index=False, name=None)
    table.loc[near, "value"] = [same[key] + 0.01 * (-1) ** key[2] for key in where]
    source = changed(tmp_path, {"margin": 0.05}, table)
    found = store.read_plain(tmp_path / "summary.csv")
    small = found[found["equivalent"]]
    assert set(small["institution"]) == {"talk"} and set(small["measure"]) == {"alignment"}
    assert source.count(">within ±0.05<") == len(small) == len(POLICIES) * len(LEVELS)
    assert "Shown to differ from “none” by less than 0.05: “talk”." in source
    assert "Schuirmann" in source
    plain = changed(tmp_path / "none", {}, table)
    assert "within ±" not in plain and "Schuirmann" not in plain


def test_effects_are_on_alignment_and_in_the_game_s_own_unit(tmp_path: Path) -> None:
    table = rows(6)
    welfare = table[table["measure"] == "alignment"].assign(measure="welfare")
    page = Page()
    page.feed(
        changed(
            tmp_path,
            {"headline": "gain", "measures": ["gain"]},
            pd.concat([table, welfare.assign(value=welfare["value"] * 650)]),
        )
    )
    half = len(page.tables) // 2
    heads = [[re.sub(r"\s*[↑↓]", "", name) for name in each["rows"][0]] for each in page.tables]
    assert all(head == ["institution", "gain"] for head in heads[:half])
    assert all(head == ["institution", "gain", "alignment", "welfare"] for head in heads[half:])


def test_a_decomposition_adds_up_to_the_gap_and_is_drawn(tmp_path: Path) -> None:
    table = rows()
    source = changed(tmp_path, {"decomposition": LEVELS}, table)
    assert "Where the gap comes from" in source
    assert (tmp_path / "decomposition.png").read_bytes().startswith(b"\x89PNG")
    kept = store.read_plain(tmp_path / "decomposition.csv")
    scores = table[(table["measure"] == "alignment") & (table["uncertainty"] == "noisy")]
    means = scores.groupby(["policy", "institution"])["value"].mean().to_dict()
    for (policy, place), part in kept.groupby(["policy", "place"]):
        assert list(part["cause"]) == LEVELS
        assert part["loss"].sum() == pytest.approx(1 - means[policy, place])
    assert len(kept) == len(POLICIES) * len(INSTITUTIONS) * len(LEVELS)
    across = decompose(table, SPEC | {"decomposition": ["sanction", "none"]})  # institutions, at each level
    assert {each.place for each in across} == set(LEVELS)
    assert decompose(table[table["uncertainty"] == "clear"], SPEC | {"decomposition": LEVELS}) == []


def test_the_report_says_where_precision_was_reached(tmp_path: Path) -> None:
    asked = {
        "precision": {"measure": "alignment", "half_width": 0.08, "most": 64},
        "sequential": ["scripted", "smollm2"],
    }
    source = changed(tmp_path, asked, rows(40))
    found = store.read_plain(tmp_path / "precision.csv")
    assert set(found["policy"]) == {"scripted", "smollm2"} and set(found["worlds"]) == {40}
    widths = found["half_width"].astype(float)
    assert ((widths <= 0.0801) >= found["reached"]).all() and 0 < found["reached"].sum() < len(found)
    assert f"{found['reached'].sum()} of {len(found)} cells are as precise as asked" in source
    assert "Chow and Robbins 1965" in source


def test_what_language_models_took(tmp_path: Path) -> None:
    counters = {"calls": 12, "tokens_read": 30_000, "tokens_written": 400, "cost": 1.5, "priced": 12, "seconds": 90}
    decisions = {"good": 80, "repaired": 15, "again": 0, "defaulted": 5}
    records = [
        ("", institution, "clear", "smollm2", "fisher", 0, f"llm_{name}", value, "")
        for institution in ("none", "talk")
        for name, value in (counters | decisions).items()
    ]
    names = ["game", "institution", "uncertainty", "policy", "seat", "replica", "counter", "value", "unit"]
    pd.DataFrame.from_records(records, columns=names).to_csv(write_run(tmp_path, rows(4)) / "models.csv", index=False)
    page = Page()
    page.feed(write_report(tmp_path).read_text(encoding="utf-8"))
    (table,) = (each for each in page.tables if "Language models" in each["caption"])
    row = dict(zip(*table["rows"], strict=True))
    assert row["calls"] == "24" and row["tokens read"] == "60,000" and row["cost"] == "3.00 US$"
    assert (row["decisions"], row["repaired"], row["default taken"]) == ("200", "15.0%", "5.0%")
