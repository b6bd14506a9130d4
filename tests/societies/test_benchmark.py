"""The benchmark of societies runs; how fast anything is, is not tested."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "society.py"


@pytest.mark.skipif(not SCRIPT.exists(), reason="the benchmarks are not part of the distribution")
def test_quick_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("benchmark_society", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    monkeypatch.delitem(sys.modules, "steps", raising=False)
    spec.loader.exec_module(module)
    monkeypatch.delitem(sys.modules, "steps", raising=False)
    monkeypatch.setattr(module, "QUICK", {"agents": (60,), "rounds": 2, "steps": 1})
    file = tmp_path / "results.json"
    module.main(["--quick", "--json", str(file)])
    rows = json.loads(file.read_text())["rows"]
    assert [row["model"] for row in rows] == list(module.CONTESTANTS)
    assert rows[0]["time_ratio"] == 1.0 and all(row["rate"] > 0 and row["time_ratio"] > 0 for row in rows)
    told = capsys.readouterr().out
    assert "Steps of a society" in told and "dilemma along ties" in told
