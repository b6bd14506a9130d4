"""Claims: files are checked before anything runs, expectations mean what they say, and pages show failures plainly."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from societas.envs.core.statistics import Interval
from societas.experiments.claims import claim as claims
from societas.experiments.claims import page as pages
from societas.experiments.claims.claim import Check, Expected, checked, load, shipped
from societas.experiments.cli import app
from societas.experiments.spec import SpecError

GOOD: dict[str, Any] = {
    "title": "Two and two",
    "says": "The dilemma is one.",
    "source": "by hand",
    "checks": [{"game": {"MatrixGame": {}}, "levels": {"first_best": 6}}],
}


def nothing(share: float) -> None:
    """Watch without looking."""


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "claim.yaml"
    path.write_text(yaml.safe_dump(GOOD | changes), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", list(shipped()))
def test_shipped_claims_are_sound(name: str) -> None:
    """Games, mechanisms, policies, measures and studies that they name are there; levels are as theory has them."""
    found = load(name)
    assert found.says.endswith(".") and found.source
    for check in found.checks:
        levels = Check.model_validate(check.model_dump() | {"measures": {}, "minus": {}}) if check.levels else None
        for row in checked(levels, nothing) if levels else []:
            assert row.holds, row


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"checks": []}, "checks"),
        ({"tier": "slow"}, "tier"),
        ({"author": "me"}, "author: Extra inputs"),
        ({"checks": [{"game": {"MatrixGame": {}}, "levels": {"best": 6}}]}, "levels: of .*first_best.*, got 'best'"),
        ({"checks": [{"game": {"MatrixGame": {}}, "measures": {"gian": 6}}]}, "measures: of .*, got 'gian'"),
        ({"checks": [{"game": {"MatrixGame": {}}}]}, "levels, theory, measures: at least one"),
        ({"checks": [{"game": {"Chess": {}}, "levels": {"first_best": 6}}]}, "no games entry named 'Chess'"),
        ({"checks": [{"study": {"alchemy": {}}, "rows": {"gold": 1}}]}, "study: one of "),
        ({"checks": [{"study": {"axelrod": {}}}]}, "study: with rows"),
        (
            {"checks": [{"game": {"MatrixGame": {}}, "levels": {"first_best": {"exactly": 1, "above": 2}}}]},
            "exactly one of",
        ),
        ({"checks": [{"game": {"MatrixGame": {}}, "levels": {"first_best": {"between": [2, 1]}}}]}, "between"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=f"(?s)claim.yaml.*{said}"):
        load(written(tmp_path, **change))


def test_a_claim_that_is_not_there_is_named() -> None:
    with pytest.raises(SpecError, match="no claim 'contracting/nothing'"):
        load("contracting/nothing")


@pytest.mark.parametrize(
    ("expected", "found", "holds"),
    [
        (Expected(exactly=0.5), Interval(0.5 + 9e-7, 0, 1, 9), True),
        (Expected(exactly=0.5), Interval(0.5 + 2e-6, 0, 1, 9), False),
        (Expected(exactly=1e6), Interval(1e6 + 0.5, 0, 1, 9), True),  # relative above 1
        (Expected(between=(1, 2)), Interval(1.99, 0, 3, 9), True),
        (Expected(between=(1, 2)), Interval(2.01, 0, 3, 9), False),
        (Expected(above=0), Interval(1, 0.1, 2, 9), True),
        (Expected(above=0), Interval(1, -0.1, 2, 9), False),
        (Expected(below=0), Interval(-1, -2, -0.1, 9), True),
        (Expected(below=0), Interval(-1, -2, 0.1, 9), False),
        (Expected(above=0), Interval(1, math.nan, math.nan, 1), True),
    ],
)
def test_expectations(expected: Expected, found: Interval, holds: bool) -> None:
    assert expected.holds(found) is holds


def test_a_difference_is_taken_in_the_same_worlds() -> None:
    """Who catches nothing and who does what is random differ in each world by what the latter earns."""
    fishers = {"fisher": {"policy": "random"}}
    setting = {"game": {"Fishery": {}}, "policies": fishers, "worlds": 50}
    plain = Check.model_validate({**setting, "measures": {"equality": {"above": 0}}})
    same = Check.model_validate({**setting, "measures": {"equality": 0}, "minus": {"seed": 0}})
    other = Check.model_validate({**setting, "measures": {"equality": {"above": -100}}, "minus": {"seed": 1}})
    assert checked(plain, nothing)[0].holds
    row = checked(same, nothing)[0]
    assert row.found == 0.0 and row.n == 50 and row.holds
    assert checked(other, nothing)[0].low < checked(other, nothing)[0].high


def test_failures_are_shown_as_plainly_as_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One claim holds, one fails, and one cannot be checked."""
    (tmp_path / "norms").mkdir()
    for name, check in {
        "right": GOOD["checks"][0],
        "wrong": {"game": {"MatrixGame": {}}, "levels": {"first_best": 7}},
        "broken": {"study": {"axelrod": {"metanorms": False, "populations": -1}}, "rows": {"established": 1}},
    }.items():
        path = tmp_path / "norms" / f"{name}.yaml"
        path.write_text(yaml.safe_dump(GOOD | {"title": name, "checks": [check]}), encoding="utf-8")
    monkeypatch.setattr(claims, "SHIPPED", tmp_path)
    monkeypatch.setattr(pages, "work", done_here)
    target, verdicts = pages.check_claims(pages.chosen(), tmp_path / "runs", workers=1)
    assert {v.name: v.word for v in verdicts} == {
        "norms/right": "holds",
        "norms/wrong": "fails",
        "norms/broken": "error",
    }
    shown = (target / "claims.html").read_text(encoding="utf-8")
    assert "2 of which do not hold" in shown and shown.count('class="fails"') >= 1 and 'class="error"' in shown
    with (target / "claims.csv").open(encoding="utf-8") as file:
        rows = {row["claim"]: row["verdict"] for row in csv.DictReader(file)}
    assert rows == {"norms/right": "holds", "norms/wrong": "fails", "norms/broken": "error"}
    assert "1 of 3 claims hold; not: norms/broken, norms/wrong" in pages.markdown(verdicts)


def done_here(jobs: Any, folder: Path, **_: Any) -> None:
    """Do jobs in this process, which knows the claims that the test put in place of those shipped."""
    import json

    from societas.experiments.work import JobsFailed, do

    folder.mkdir(parents=True)
    errors = {}
    for job in jobs:
        try:
            (folder / f"{job.name}.json").write_text(json.dumps(do(job, nothing)), encoding="utf-8")
        except ValueError as error:
            errors[job.name] = f"ValueError: {error}"
    if errors:
        raise JobsFailed(errors)


def test_the_command_checks_and_writes_its_page(tmp_path: Path) -> None:
    command = [
        "claims",
        "contracting/hold-up",
        "--out",
        str(tmp_path),
        "--workers",
        "1",
        "--page",
        str(tmp_path / "a.md"),
    ]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0 and "1 of 1 claims hold" in done.output
    assert "### Ownership protects investment" in (tmp_path / "a.md").read_text(encoding="utf-8")
    unknown = CliRunner().invoke(app, ["claims", "magic", "--out", str(tmp_path)])
    assert unknown.exit_code == 2 and "no claim begins with magic" in unknown.output
