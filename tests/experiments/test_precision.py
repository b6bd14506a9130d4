"""Stopping by precision: what it promises is covered, what it compares stays paired, and what is said beforehand is true."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from typer.testing import CliRunner

from societas.experiments import spec as specs
from societas.experiments import store
from societas.experiments.cli import app
from societas.experiments.estimate import estimate, makespan
from societas.experiments.plan import pilot, plan
from societas.experiments.precision import LEAST, half_width, reached
from societas.experiments.run import run
from societas.experiments.statistics import findable, interval, power

Draw = Callable[[np.random.Generator, int], NDArray[Any]]
DRAWS: dict[str, tuple[Draw, float, float]] = {  # how, true mean, half width
    "normal": (lambda g, n: g.normal(0.4, 0.3, n), 0.4, 0.05),
    "uniform": (lambda g, n: g.random(n), 0.5, 0.05),
    "rare": (lambda g, n: (g.random(n) < 0.05) * 1.0, 0.05, 0.03),
    "exponential": (lambda g, n: g.exponential(0.3, n), 0.3, 0.04),
    "skewed and bounded": (lambda g, n: g.beta(0.5, 1.5, n), 0.25, 0.03),
    "two kinds": (lambda g, n: np.where(g.random(n) < 0.1, 0, g.beta(8, 2, n)), 0.72, 0.04),
}


def coverage(name: str, tries: int) -> float:
    draw, truth, wanted = DRAWS[name]
    generator, hits = np.random.default_rng(3), 0
    for _ in range(tries):
        values, n = draw(generator, 4096), LEAST
        while not reached(values[:n], wanted, resamples=300) and n < 4096:
            n = min(2 * n, 4096)
        found = interval(values[:n], resamples=500)
        hits += found.low <= truth <= found.high
    return hits / tries


def test_the_final_interval_covers_though_it_chose_when_to_stop() -> None:
    assert 0.92 <= coverage("normal", 400) <= 0.98  # a standard error is 0.011


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWS)
def test_the_final_interval_covers_between_93_and_97_percent(name: str) -> None:
    assert 0.93 <= coverage(name, 2000) <= 0.97


def test_alike_worlds_do_not_end_a_run() -> None:
    """Were the term of Chow and Robbins left out, thirty worlds without the rare event would."""
    assert half_width(np.zeros(30)) > 0.05
    assert not reached(np.zeros(LEAST), 0.02)
    assert reached(np.zeros(200), 0.02)
    assert not reached(np.ones(LEAST - 1), 10.0) and reached(np.ones(LEAST), 10.0)
    assert half_width([1.0]) == np.inf
    assert half_width([*range(40), float("nan")]) == half_width(range(40))


SPEC: dict[str, Any] = {
    "name": "small",
    "title": "Small",
    "question": "Does it stop?",
    "design": "A task with contingencies.",
    "game": {"IncompleteContract": {"repetitions": 8}},
    "uncertainty": {"known": []},
    "institutions": {"nothing": [], "care": [{"game": {"remedy": "care"}}]},
    "policies": {
        "equilibrium": {
            "worlds": 40,
            "players": {"principal": {"policy": "equilibrium"}, "agent": {"policy": "equilibrium"}},
        }
    },
    "measures": ["alignment"],
    "baseline": "nothing",
}


def load(tmp_path: Path, **change: Any) -> specs.Spec:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SPEC | change, sort_keys=False), encoding="utf-8")
    return specs.load(path)


def test_a_cell_plays_until_it_is_precise_and_worlds_stay_the_same(tmp_path: Path) -> None:
    asked = load(tmp_path, precision={"half_width": 0.06, "most": 300})
    rows = store.read(run(asked, tmp_path / "runs", workers=1))
    scores = rows[rows["measure"] == "alignment"]
    sizes = scores.groupby("institution").size().to_dict()
    for name, cell in scores.groupby("institution"):
        assert sizes[name] in (40, 80, 160, 300)
        assert reached(cell["value"], 0.06) or sizes[name] == 300
        assert sizes[name] == 40 or not reached(cell["value"].iloc[: sizes[name] // 2], 0.06) or sizes[name] == 300
    assert sizes["nothing"] < sizes["care"]  # each takes what it needs
    fixed = load(tmp_path, policies={"equilibrium": SPEC["policies"]["equilibrium"] | {"worlds": sizes["care"]}})
    known = store.read(run(fixed, tmp_path / "runs", workers=1))
    key = ["institution", "measure", "world"]
    both = rows.merge(known, on=key)
    assert len(both) == len(rows) and (both["value_x"] == both["value_y"]).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"precision": {"half_width": 0}}, "precision.half_width: Input should be greater than 0"),
        ({"precision": {"half_width": 0.1, "most": 5}}, "precision.most: Input should be greater than or equal to 30"),
        ({"precision": {"half_width": 0.1, "measure": "joy"}}, "precision.measure: of .*alignment.*got 'joy'"),
        ({"precision": {"half_width": 0.1, "most": 35}}, "policies.equilibrium.worlds: from 30 to .*35.*got 40"),
        ({"margin": -1}, "margin: Input should be greater than 0"),
        ({"decomposition": ["known", "nothing"]}, "decomposition: levels, of known, or institutions"),
        ({"decomposition": ["known"]}, "decomposition: two names or more"),
    ],
)
def test_what_cannot_be_asked_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(specs.SpecError, match=said):
        load(tmp_path, **change)


def test_arms_that_learn_have_the_worlds_they_say() -> None:
    asked = specs.load("incentives", {}).model_copy(update={"precision": specs.Precision(half_width=0.1)})
    assert asked.sequential("theory") and not asked.sequential("learners")


# --- beforehand ----------------------------------------------------------------------------------


def test_the_estimate_is_within_a_factor_of_two(tmp_path: Path) -> None:
    """Of what a shipped spec then takes; a busy machine may be busier in one of the two, so the best of three counts."""
    asked = specs.load("dilemma", {"policies.learners.players.player.learning.episodes": 2500})
    asked = asked.model_copy(update={"uncertainty": {"1.25": asked.uncertainty["1.25"]}})
    ratios = []
    for attempt in range(3):
        said = sum(each.total for each in estimate(asked))
        done = run(asked, tmp_path / str(attempt), workers=1)
        took = json.loads((done / "meta.json").read_text(encoding="utf-8"))["seconds"]
        ratios.append(said / took)
        if 0.5 <= ratios[-1] <= 2:
            break
    assert 0.5 <= ratios[-1] <= 2, ratios


def test_an_estimate_does_not_run_what_it_estimates(tmp_path: Path) -> None:
    long = {"policies.learners.players.fisher.learning.episodes": 10**7}
    asked = specs.load("covenants", long, ["smollm2", "characters"])
    asked = asked.model_copy(update={"uncertainty": {"clear": []}, "institutions": {"none": []}})
    begun = time.monotonic()
    (found,) = estimate(asked)
    assert time.monotonic() - begun < 30 < 1000 < found.total


def test_the_estimate_knows_what_precision_takes(tmp_path: Path) -> None:
    asked = load(tmp_path, precision={"half_width": 0.06, "most": 4096})
    (found,) = estimate(asked)
    rows = store.read(run(asked, tmp_path, workers=1))
    taken = rows[rows["measure"] == "alignment"].groupby("institution", sort=False).size()
    assert all(0.5 <= said / took <= 2 for said, took in zip(found.worlds, taken, strict=True))


def test_the_longest_job_begins_first() -> None:
    assert makespan([1, 1, 4], 2) == 4 and makespan([3, 3, 2, 2, 2], 2) == 7 and makespan([1, 2], 1) == 3


def test_what_can_be_found_is_found_with_the_stated_power() -> None:
    for sd, worlds in ((0.3, 20), (2.0, 400)):
        assert power(findable(sd, worlds), sd, worlds) == pytest.approx(0.8, abs=0.003)


def test_a_plan_comes_from_a_pilot_run_or_from_the_run_itself(tmp_path: Path) -> None:
    asked = load(tmp_path, policies={"equilibrium": SPEC["policies"]["equilibrium"] | {"worlds": 150}})
    (guessed,) = plan(asked, 0.05, tmp_path, workers=1)
    assert (guessed.institution, guessed.pilot, guessed.worlds) == ("care", 64, 150)
    assert guessed.power == power(0.05, guessed.sd, 150)
    assert power(0.05, guessed.sd, guessed.needed) >= 0.8 > power(0.05, guessed.sd, guessed.needed - 1)
    run(asked, tmp_path, workers=1)
    (known,) = plan(asked, 0.05, tmp_path)
    assert known.pilot == 150 and known.sd == pytest.approx(guessed.sd, rel=0.5)
    said = CliRunner().invoke(app, ["run", str(tmp_path / "small.yaml"), "--plan", "0.05", "--out", str(tmp_path)])
    assert said.exit_code == 0 and f"{known.needed:,}" in said.output
    assert CliRunner().invoke(app, ["run", "gap", "--plan", "0"]).exit_code == 2


def test_a_pilot_learns_as_the_spec_does() -> None:
    asked = specs.load("incentives")
    small = pilot(asked).policies["learners"]
    assert small.players["agent"].learning == asked.policies["learners"].players["agent"].learning
    assert pilot(asked).policies["theory"].worlds == 64
