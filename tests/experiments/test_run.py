"""Specs, runs that go on where they were killed, and the command line, on a small experiment of real parts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from societas.experiments import spec as specs
from societas.experiments import store
from societas.experiments.cli import app
from societas.experiments.run import folder, play_cell, run

SMALL: dict[str, Any] = {
    "learners": {"worlds": 3, "episodes": 30},
    "characters": {"worlds": 4},
}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Covenants, cut down to seconds, without the language model."""
    data = yaml.safe_load(specs.shipped()["covenants"].read_text(encoding="utf-8"))
    del data["policies"]["smollm2"]
    for name, sizes in SMALL.items():
        data["policies"][name]["worlds"] = sizes["worlds"]
    data["policies"]["learners"]["players"]["fisher"]["learning"]["episodes"] = SMALL["learners"]["episodes"]
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return path


def test_a_killed_run_goes_on_and_gives_the_same_table(small: Path, tmp_path: Path) -> None:
    plan = specs.load(small)
    whole = run(plan, tmp_path / "one", workers=2)
    table = (whole / "rows.csv").read_bytes()
    half = folder(plan, tmp_path / "two")
    for cell in plan.cells()[::2]:  # what a killed run leaves behind: some finished cells, and a part of another
        kept = half / "cells" / f"{cell.name}.json"
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes((whole / "cells" / kept.name).read_bytes())
    (half / "cells" / ".torn.json.1.part").write_text("{", encoding="utf-8")
    told: list[tuple[str, float]] = []
    again = run(plan, tmp_path / "two", workers=1, progress=lambda name, share: told.append((name, share)))
    assert again == half
    assert (again / "rows.csv").read_bytes() == table
    assert {name for name, share in told if share == 1.0} == {cell.name for cell in plan.cells()}


def test_institutions_share_their_chance(small: Path) -> None:
    """Talk that nobody acts on changes nothing: the same worlds meet the same draws under both institutions."""
    plan = specs.load(small)
    none, talk = (
        play_cell(plan, specs.Cell("characters", "", "noisy", institution), lambda _: None)["measures"]
        for institution in ("none", "talk")
    )
    assert none["gain"] == talk["gain"]
    assert none["alignment"] == talk["alignment"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"baseline": "nothing"}, r"baseline: one of the institutions .*none.*got 'nothing'"),
        ({"headline": "joy"}, "headline: one of the measures"),
        ({"game": {"Fischery": {}}}, r"did you mean 'Fishery'"),
        ({"game": {"Fishery": {"fishers": 1}}}, "fishers: a whole number from 2 to 64, got 1"),
        ({"game": {"Fishery": {"boats": 1}}}, "no option 'boats'"),
        ({"institutions": {"none": [], "bad": [{"Noise": {"field": "stock", "sd": -1}}]}}, "sd: a number from 0"),
        ({"seed": "soon"}, "seed: "),
        ({"extra": 1}, "extra: "),
    ],
)
def test_a_wrong_spec_is_refused_with_the_place(small: Path, change: dict[str, Any], words: str) -> None:
    data = yaml.safe_load(small.read_text(encoding="utf-8")) | change
    small.write_text(yaml.safe_dump(data), encoding="utf-8")
    with pytest.raises(specs.SpecError, match=words):
        specs.load(small)


def test_a_spec_is_data(tmp_path: Path) -> None:
    evil = tmp_path / "evil.yaml"
    evil.write_text("!!python/object/apply:os.system ['echo no']", encoding="utf-8")
    with pytest.raises(specs.SpecError, match="not YAML"):
        specs.load(evil)
    with pytest.raises(specs.SpecError, match="give a YAML file or one of .*covenants"):
        specs.load("covenant")


def test_changes_and_omissions(small: Path) -> None:
    plan = specs.load(small, {"policies.characters.worlds": 2}, ["learners"])
    assert list(plan.policies) == ["characters"]
    assert plan.policies["characters"].worlds == 2
    assert plan.sha256 != specs.load(small, {}, ["learners"]).sha256
    with pytest.raises(specs.SpecError, match="nothing at 'policies.characters.wolds'"):
        specs.load(small, {"policies.characters.wolds": 2})
    with pytest.raises(specs.SpecError, match="no policy 'gods'"):
        specs.load(small, {}, ["gods"])


def test_the_command_line_runs_and_reports(small: Path, tmp_path: Path) -> None:
    line = CliRunner()
    done = line.invoke(app, ["run", str(small), "--out", str(tmp_path / "runs"), "--without", "learners"])
    assert done.exit_code == 0, done.output
    assert "contract" in done.output
    (target,) = (tmp_path / "runs").iterdir()
    page = (target / "report.html").read_text(encoding="utf-8")
    assert "Covenants with and without a sword" in page
    meta = json.loads((target / "meta.json").read_text(encoding="utf-8"))
    assert meta["seed"] == 2026
    again = line.invoke(app, ["report", str(target)])
    assert again.exit_code == 0
    dry = line.invoke(app, ["run", str(small), "--dry-run"])
    assert "20 cells, about " in dry.output and "learners" in dry.output


def test_the_command_line_lists_describes_and_plays() -> None:
    line = CliRunner()
    listed = line.invoke(app, ["list"]).output
    for name in ("Fishery", "HiddenAction", "Contract", "tabular", "covenants"):
        assert name in listed
    described = line.invoke(app, ["describe", "Fishery", "--set", "fishers=3"]).output
    assert "3 fishers share a lake" in described
    assert "650" in described
    assert "Parameters" in line.invoke(app, ["describe", "Sanction"]).output
    played = line.invoke(app, ["play", "MatrixGame"], input='"betray"\n{"action": "defect"}\n').output
    assert 'one of "cooperate", "defect"' in played
    assert "## Outcome" in played
    watched = line.invoke(app, ["play", "HiddenAction", "--watch", "--others", "equilibrium"]).output
    assert "## Step 2: answer" in watched
    wrong = line.invoke(app, ["describe", "Fishry"])
    assert wrong.exit_code == 2
    assert "did you mean 'Fishery'" in wrong.output


def test_a_missing_model_is_said_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOCIETAS_CACHE", str(tmp_path / "empty"))
    done = CliRunner().invoke(app, ["run", "covenants", "--out", str(tmp_path / "runs")])
    assert done.exit_code == 2
    assert "societas fetch smollm2" in done.output
    assert "--without" in done.output
    assert not (tmp_path / "runs").exists()


def test_models_are_fetched_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOCIETAS_CACHE", str(tmp_path))
    (tmp_path / "substrate").mkdir()
    (tmp_path / "substrate" / "card.json").write_text("{}", encoding="utf-8")
    done = CliRunner().invoke(app, ["fetch", "substrate"])  # it is there already
    assert done.exit_code == 0 and done.stdout.strip() == str(tmp_path / "substrate")
    unknown = CliRunner().invoke(app, ["fetch", "gpt"])
    assert unknown.exit_code == 2
    assert "model: 'smollm2' or 'substrate', got 'gpt'; any folder with a transformers model" in unknown.output


def test_fairness_is_asked_for_on_the_command_line(tmp_path: Path) -> None:
    line, picture = CliRunner(), tmp_path / "fair.svg"
    done = line.invoke(
        app, ["fairness", "random", "--mode", "menu", "--worlds", "6", "--seed", "3", "--picture", str(picture)]
    )
    assert done.exit_code == 0, done.output
    assert str(picture) in done.stdout and picture.read_text(encoding="utf-8").lstrip().startswith("<?xml")
    assert "random, menu: 6 worlds an instance, seed 3" in done.stdout and "generate:" not in done.stdout
    for given, said in (
        (["randon"], "did you mean 'random'"),
        (["random", "--mode", "draw"], "mode: one of 'generate', 'menu', got 'draw'"),
        (["random", "--worlds", "0"], "worlds: a whole number from 1"),
    ):
        wrong = line.invoke(app, ["fairness", *given])
        assert wrong.exit_code == 2 and said in wrong.output, wrong.output


def test_the_table_says_where_each_row_comes_from(small: Path, tmp_path: Path) -> None:
    import duckdb

    plan = specs.load(small)
    one = run(plan, tmp_path / "one", workers=1)
    rows = store.read(one)
    assert list(rows.columns) == list(store.COLUMNS)
    assert rows["code"].str.fullmatch(re.escape(version("societas")) + r"\+[0-9a-f]{8}").all()
    assert set(rows["spec"]) == {plan.sha256} and set(rows["seed"]) == {2026}
    query = f"select avg(value) from '{one / store.TABLE}' where measure = 'gain'"
    ((mean,),) = duckdb.connect().execute(query).fetchall()
    assert mean == pytest.approx(rows.loc[rows["measure"] == "gain", "value"].mean())


def test_two_runs_are_compared_in_the_worlds_that_both_have(small: Path, tmp_path: Path) -> None:
    plan = specs.load(small)
    changes = {"policies.characters.worlds": 6, "uncertainty.noisy": [{"Noise": {"field": "stock", "sd": 40}}]}
    other = specs.load(small, changes, ["learners"])
    one, two = run(plan, tmp_path, workers=1), run(other, tmp_path, workers=1)
    found = store.compare(one, two).set_index(["institution", "uncertainty", "policy", "measure"])
    assert (found["worlds"] == 4).all()  # the fewer
    clear = found.xs("clear", level="uncertainty")
    assert (clear["difference"] == 0).all()  # the same draws, nothing changed
    noisy = found.loc[("none", "noisy", "characters", "gain")]
    first, second = (store.read(run_).query("institution == 'none' and uncertainty == 'noisy'") for run_ in (one, two))
    gains = [
        table.query("policy == 'characters' and measure == 'gain' and world < 4")["value"] for table in (first, second)
    ]
    assert noisy["difference"] == pytest.approx(gains[1].mean() - gains[0].mean())
    said = CliRunner().invoke(app, ["compare", str(one), str(two), "--measure", "gain"])
    assert said.exit_code == 0 and "noisy" in said.output and f"{noisy['difference']:+.4g}"[:4] in said.output
    shown = CliRunner().invoke(app, ["show", str(one)])
    assert shown.exit_code == 0 and f"societas {store.read(one)['code'][0]}" in shown.output
    nothing = CliRunner().invoke(app, ["show", str(tmp_path / "nothing")])
    assert nothing.exit_code == 2 and "no table" in nothing.output


BOMB = "\n".join([
    "a: &a [x, x, x, x, x, x, x, x, x, x]",
    *(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
])  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda text: text.replace("Fishery:", "Fishary:"),
            "no games entry named 'Fishary'; did you mean 'Fishery'",
        ),
        (lambda text: text.replace("baseline:", "basline:"), r"line \d+: basline: Extra inputs"),
        (
            lambda text: text.replace("worlds: 3", "worlds: -3"),
            r"line \d+: policies.learners.worlds: Input should be greater",
        ),
        (lambda text: BOMB, "more than 100,000 values once its anchors"),
        (lambda text: text + "more: !!python/object/apply:os.system ['touch /tmp/owned']\n", "not YAML"),
        (lambda text: "[" * 5000, "not YAML"),
        (lambda text: "- a list", "a mapping with the keys name"),
        (lambda text: "a: " + "x" * 1_000_001, "at most 1,000,000 bytes"),
        (lambda text: text.replace("name: covenants", "name: ../../covenants"), r"line 1: name: String should match"),
    ],
)
def test_a_wrong_spec_is_refused_with_its_line_and_nothing_is_run(
    change: Callable[[str], str], said: str, small: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(change(small.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(specs.SpecError, match=said):
        specs.load(wrong)
    done = CliRunner().invoke(app, ["run", str(wrong), "--out", str(tmp_path / "runs")])
    assert done.exit_code == 2 and not (tmp_path / "runs").exists()


def test_a_spec_extends_another(small: Path, tmp_path: Path) -> None:
    policies = "policies: {characters: {worlds: 3}, others: {worlds: 2, players: {fisher: {policy: random}}}}"
    (tmp_path / "own.yaml").write_text(
        f"extends: {small.name}\nname: own\nmeasures: [welfare, alignment]\n{policies}\n"
    )
    old, new = specs.load(small), specs.load(tmp_path / "own.yaml")
    assert (new.name, new.measures, new.institutions) == ("own", ["welfare", "alignment"], old.institutions)
    assert new.policies["characters"] == old.policies["characters"].model_copy(update={"worlds": 3})
    assert list(new.policies) == [*old.policies, "others"] and new.policies["others"].worlds == 2
    (tmp_path / "three.yaml").write_text("extends: own.yaml\nseed: 5\n")
    assert specs.load(tmp_path / "three.yaml") == new.model_copy(update={"seed": 5})
    (tmp_path / "shipped.yaml").write_text("extends: covenants\nseed: 5\n")
    assert specs.load(tmp_path / "shipped.yaml") == specs.load("covenants").model_copy(update={"seed": 5})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("self.yaml", "more than 8 files that extend one another; does one extend itself?"),
        ("covenant", "extends: no spec 'covenant': a file beside this one or one of .*covenants"),
        ("../other.yaml", "extends: one of .*, or a file beside this one, got '../other.yaml'"),
        ("/etc/passwd", "a file beside this one, got '/etc/passwd'"),
        ("[covenants]", "or a file beside this one, got \\['covenants'\\]"),
    ],
)
def test_what_cannot_be_extended_is_refused(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "self.yaml").write_text(f"extends: {name}\nname: own\n")
    with pytest.raises(specs.SpecError, match=said):
        specs.load(tmp_path / "self.yaml")


@pytest.mark.parametrize("path", ["/etc/calls.jsonl", "../calls.jsonl", "runs/../../calls.jsonl", "~/calls.jsonl"])
def test_a_spec_writes_nowhere_but_below_its_folder(path: str) -> None:
    player = specs.Player(policy="llm", parameters={"model": {"Recorded": {"model": "smollm2", "path": path}}})
    with pytest.raises(ValueError, match="Recorded.path: a path below the folder"):
        specs.build_policy(player, "none")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_bytes(b"\xff\xfe\x00a: b")
    with pytest.raises(specs.SpecError, match="not (text|YAML)"):
        specs.load(wrong)


FINES: dict[str, Any] = {
    "common": [{"Contract": {"terms": {"Quota": {"limit": 10}}}}],
    "factors": {
        "fine": {
            1: [{"Contract": {"terms": {"Quota": {"fine": 1}}}}],
            3: [{"Contract": {"terms": {"Quota": {"fine": 3}}}}],
        },
        "accuracy": {0.5: [{"Contract": {"court": {"Court": {"accuracy": 0.5}}}}], "sure": [{"Talk": {}}]},
    },
}


def crossed(small: Path, **change: Any) -> specs.Spec:
    data = yaml.safe_load(small.read_text(encoding="utf-8"))
    data["institutions"] = {"none": [], "contract": FINES} | change.pop("institutions", {})
    data["policies"].pop("learners", None)
    small.write_text(yaml.safe_dump(data | change, sort_keys=False), encoding="utf-8")
    return specs.load(small)


def test_factors_become_all_their_combinations(small: Path) -> None:
    plan = crossed(small)
    names = [f"contract, fine {fine}, accuracy {right}" for fine in (1, 3) for right in (0.5, "sure")]
    assert list(plan.institutions) == ["none", *names]
    assert plan.institutions[names[0]] == [
        {"Contract": {"terms": {"Quota": {"limit": 10, "fine": 1}}, "court": {"Court": {"accuracy": 0.5}}}}
    ]
    assert plan.institutions[names[3]] == [{"Contract": {"terms": {"Quota": {"limit": 10, "fine": 3}}}}, {"Talk": {}}]
    assert plan.build("clear", names[0]).name != plan.build("clear", names[3]).name


def test_factors_of_levels_and_by_game(small: Path) -> None:
    data = yaml.safe_load(small.read_text(encoding="utf-8"))
    del data["game"], data["policies"]["learners"]
    levels = {"sd": {5: {"lake": [{"Noise": {"field": "stock", "sd": 5}}]}, 9: {"lake": [], "pond": []}}}
    data |= {
        "games": {"lake": {"Fishery": {"fishers": 5}}, "pond": {"Fishery": {"fishers": 5, "months": 3}}},
        "uncertainty": {"seen": {"factors": levels}},
    }
    small.write_text(yaml.safe_dump(data), encoding="utf-8")
    plan = specs.load(small)
    assert plan.uncertainty == {
        "seen, sd 5": {"lake": [{"Noise": {"field": "stock", "sd": 5}}]},
        "seen, sd 9": {"lake": [], "pond": []},
    }
    assert {(cell.game, cell.uncertainty) for cell in plan.cells()} == {
        ("lake", "seen, sd 5"), ("lake", "seen, sd 9"), ("pond", "seen, sd 9")
    }  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"factors": {}}, r"institutions.wrong.factors: \{factor: "),
        ({"factors": {"fine": []}}, r"institutions.wrong.factors.fine: \{level: "),
        ({"factors": {"fine": {1: {"Talk": {}}}}}, "wrong, fine 1|one of the games"),
        ({"factors": {"fine": {1: "Talk"}}}, "wrong, fine 1: a list of mechanisms"),
        ({"factors": {"fine": {1: []}}, "also": []}, "institutions.wrong: beside factors only common, got 'also'"),
        (
            {"factors": {"a": {1: [{"Sanction": {"fine": 1}}]}, "b": {1: [{"Sanction": {"fine": 2}}]}}},
            "Sanction.fine: two factors set it, to 1 and to 2",
        ),
        (
            {"common": [{"Talk": {}}, {"Talk": {}}], "factors": {"a": {1: [{"Talk": {"rounds": 2}}]}}},
            "'Talk' is there 2 times",
        ),
    ],
)
def test_wrong_factors_are_refused(small: Path, entry: dict[str, Any], said: str) -> None:
    with pytest.raises(specs.SpecError, match=said):
        crossed(small, institutions={"wrong": entry})


def test_filters_choose_cells(small: Path, tmp_path: Path) -> None:
    plan = crossed(small, without=[{"institution": "*fine 1*", "uncertainty": ["noisy", "x"]}])
    assert len(plan.cells()) == 5 * 2 - 2
    some = crossed(
        small, without=[], only=[{"institution": ["none", "*fine 3, accuracy 0.5"]}, {"uncertainty": "clear"}]
    )
    assert [cell.name for cell in some.cells() if cell.uncertainty == "noisy"] == [
        "characters--noisy--none", "characters--noisy--contract, fine 3, accuracy 0.5"
    ]  # fmt: skip
    one = crossed(small, without=[], only=[{"institution": ["none", "*fine 3, accuracy 0.5"], "uncertainty": "clear"}])
    done = run(one, tmp_path, workers=1)
    kept = yaml.safe_load((done / "spec.yaml").read_text(encoding="utf-8"))
    assert kept["uncertainty"] == ["clear"] and len(kept["institutions"]) == 2
    assert set(store.read(done)["institution"]) == set(kept["institutions"])
    for change, said in (
        ({"only": [{"institution": "fine 3"}]}, "only.0: names of levels and institutions.*which no cell is"),
        ({"only": [], "without": [{"uncertainty": "*"}]}, "these filters leave no cell"),
        ({"without": [{"instituton": "none"}]}, "without.0"),
    ):
        with pytest.raises(specs.SpecError, match=said):
            crossed(small, **change)


def test_a_cell_is_traced_as_it_was_played(small: Path, tmp_path: Path) -> None:
    plan = specs.load(small, {}, ["learners"])
    one = run(plan, tmp_path, workers=1)
    done = CliRunner().invoke(app, ["trace", str(one), "characters--noisy--contract", "--worlds", "2"])
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in (one / "traces/characters--noisy--contract.jsonl").read_text().splitlines()]
    table = store.read(one).query("uncertainty == 'noisy' and institution == 'contract' and measure == 'welfare'")
    for world in (0, 1):
        fishers = [row for row in rows if row["world"] == world and row["player"].startswith("fisher")]
        welfare = float(table.query(f"world == {world}")["value"].iloc[0])
        assert sum(row["does"].get("harvest", 0) >= 0 for row in fishers) == len(fishers)
        assert sum(row["gets"] for row in fishers) <= welfare + 1e-9  # what a court takes goes to nobody
        assert {"stock", "month"} <= set(fishers[0]["sees"])
    wrong = CliRunner().invoke(app, ["trace", str(one), "nothing"])
    assert wrong.exit_code == 2 and "cell: one of characters--clear--none" in wrong.output.replace("\n", "")
    assert CliRunner().invoke(app, ["trace", str(tmp_path / "no"), "x"]).exit_code == 2
