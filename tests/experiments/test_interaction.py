"""Interactions: equal to hand-computed differences, and in the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from societas.experiments import pictures
from societas.experiments.interaction import joint, table
from societas.experiments.report import write_report
from societas.experiments.run import run
from societas.experiments.spec import Spec, SpecError, load

WORLDS = 6


def _rows(values: dict[tuple[str, str, str], float], rng: np.random.Generator) -> pd.DataFrame:
    """Return rows of which each cell has its mean exactly, and worlds differ by what is common to all cells."""
    luck = rng.normal(size=WORLDS)
    luck -= luck.mean()
    records = [
        {
            "uncertainty": level,
            "institution": institution,
            "policy": policy,
            "world": i,
            "measure": "alignment",
            "value": mean + luck[i],
        }
        for (level, institution, policy), mean in values.items()
        for i in range(WORLDS)
    ]
    return pd.DataFrame.from_records(records)


def _spec(games: list[str], policies: list[str]) -> dict[str, Any]:
    return {
        "games": games,
        "uncertainty": ["low"],
        "institutions": ["none", "court"],
        "baseline": "none",
        "headline": "alignment",
        "interaction": "plain",
        "spec": {"policies": dict.fromkeys(policies)},
    }


def test_an_interaction_is_what_both_do_beyond_the_sum() -> None:
    means = {("none", "plain"): 0.1, ("court", "plain"): 0.5, ("none", "kind"): 0.7, ("court", "kind"): 0.8}
    rows = _rows(
        {("low", i, f"{p}, {game}"): v for (i, p), v in means.items() for game in ("a", "b")}, np.random.default_rng(0)
    )
    pairs = {
        (pair.game, pair.policy, pair.institution): pair for pair in joint(rows, _spec(["a", "b"], ["plain", "kind"]))
    }
    assert len(pairs) == 2 * 2 * 2
    pair = pairs["b", "kind", "court"]
    assert pair.score.mean == pytest.approx(0.8)
    assert pair.alone.mean == pytest.approx(0.6)
    assert pair.under.mean == pytest.approx(0.4)
    assert pair.both.mean == pytest.approx(0.7)
    assert pair.interaction.mean == pytest.approx(-0.3)  # they stand in for one another
    assert pair.interaction.high - pair.interaction.low < 1e-9 < pair.score.high - pair.score.low  # the luck is common
    assert pairs["a", "plain", "none"].interaction.mean == pytest.approx(0.0)
    assert list(table(list(pairs.values()))["observations"]) == [WORLDS] * 8


def test_pairs_without_all_four_corners_are_left_out() -> None:
    rows = _rows(
        {("low", "none", "plain"): 0.0, ("low", "none", "kind"): 1.0, ("low", "court", "kind"): 1.0},
        np.random.default_rng(1),
    )
    assert [(p.policy, p.institution) for p in joint(rows, _spec([], ["plain", "kind"]))] == [
        ("plain", "none"),
        ("kind", "none"),
    ]
    assert joint(rows, {**_spec([], ["plain", "kind"]), "interaction": ""}) == []


def test_the_report_says_whether_policy_and_institution_add_up(tmp_path: Path) -> None:
    given = {
        "name": "both",
        "title": "Both",
        "question": "Both?",
        "design": "Both.",
        "games": {"two": {"Commons": {"users": 2, "months": 2}}, "three": {"Commons": {"users": 3, "months": 2}}},
        "uncertainty": {"clear": []},
        "institutions": {"none": [], "tax": [{"Tax": {"base": "caught"}}]},
        "policies": {
            name: {"worlds": 8, "players": {"everyone": {"policy": policy}}}
            for name, policy in (("chance", "random"), ("theory", "equilibrium"))
        },
        "measures": ["alignment"],
        "baseline": "none",
        "interaction": "chance",
    }
    given["policies"]["theory"]["players"] = {"fisher": {"policy": "constant", "parameters": {"acts": {"harvest": 10}}}}
    target = run(Spec.model_validate(given), tmp_path, workers=1)
    write_report(target)
    found = pd.read_csv(target / "interaction.csv")
    assert len(found) == 2 * 2 * 2
    page = (target / "report.html").read_text(encoding="utf-8")
    assert "Do policy and institution add up?" in page
    assert (target / "interaction.png").stat().st_size > 5_000
    assert json.loads((target / "meta.json").read_text())["measures"]["alignment"]


def test_a_reference_that_is_no_policy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"interaction: a policy, of .*none.*, got 'nobody'"):
        load("agents-or-institutions", {"interaction": "nobody"})


def test_the_grid_holds_every_pair() -> None:
    rows = _rows({("low", i, p): 0.25 for i in ("none", "court") for p in ("plain", "kind")}, np.random.default_rng(2))
    figure = pictures.grid(joint(rows, _spec([], ["plain", "kind"])), "alignment")
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts if text.get_text().startswith("0")] == ["0.25"] * 4
