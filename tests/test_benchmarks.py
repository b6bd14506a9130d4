"""The benchmark runs, and finds its hand-written games equal to ours; how fast anything is, is not tested."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "steps.py"
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="the benchmarks are not part of the distribution")


@pytest.fixture(scope="module")
def steps() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_steps", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPT.parent))
        spec.loader.exec_module(module)
    return module


def test_quick_run(
    steps: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(steps, "QUICK", {"batches": (1, 3), "rounds": 2, "seconds": 0.001})
    file = tmp_path / "results.json"
    steps.main(["--quick", "--json", str(file)])
    found = json.loads(file.read_text())
    games = [case.name for case in steps.CASES]
    assert [(row["game"], row["batch"]) for row in found["batches"]] == [(g, b) for g in games for b in (1, 3)]
    assert {"hand", "numpy", "torch"} <= set(found["columns"])
    for row in found["batches"]:
        assert row["time_ratio"] > 0 and all(row["rates"][column] > 0 for column in found["columns"])
    single = {row["game"]: row["speed_ratio"] for row in found["pettingzoo"]}
    assert {"Fishery", "Fishery, modest", "HiddenAction", "MatrixGame", "Pricing"} <= set(single)
    told = capsys.readouterr().out
    assert all(game in told for game in games) and "steps a second" in told
    if importlib.util.find_spec("pygame") is None:
        assert set(single.values()) == {None} and "pygame is not installed" in told
    else:
        assert single["rock-paper-scissors"] == 1.0


def test_another_game_is_noticed(steps: ModuleType) -> None:
    class Generous(steps.FisheryLoop):  # type: ignore[misc, name-defined]
        def share(self, stock, wants):  # type: ignore[no-untyped-def]
            given = wants * 0
            for i in range(wants.shape[1]):  # first come, first served
                given[:, i] = (stock - given.sum(axis=1)).clip(0, wants[:, i])
            return given

    greedy = steps.CASES[0]
    steps.agree(greedy, 512)
    with pytest.raises(AssertionError, match="paid differently"):
        steps.agree(steps.Case(greedy.name, greedy.game, Generous, greedy.mix), 512)


def test_floors_of_training_on_a_device(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    device = importlib.import_module("rl_device")
    found = device.measure("cpu", 128, 1)
    # from what a user sees over two layers of 64 to 101 catches: 2 (64 seen + 64 64 + 64 101) operations
    seen = found["rows"]["rollout"]["operations"] / 2 - 64 * 64 - 64 * 101
    assert seen % 64 == 0 and 0 < seen / 64 < 100
    actor, critic = found["rows"]["rollout"]["operations"], 2 * (seen + 64 * 64 + 64)
    assert found["rows"]["training"]["operations"] == 31 * (actor + critic)
    assert all(0 < row["operations floor"] < 1 and 0 < row["bytes floor"] < 1 for row in found["rows"].values())
    assert 0 < found["outside"] < 1
    device.show(found, device.Console())
    assert "128 worlds on the host" in capsys.readouterr().out
