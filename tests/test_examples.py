"""The worked pages run as they stand, and stay short; so does the tour of the README."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(source: str) -> str:
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("own_game", ["member_3: keep 20 coins; gets 44", "- given: 0.75"]),
        ("own_model", ["harvest 10 tonnes", "- survival: 3"]),
    ],
)
def test_an_example_runs_and_is_short(name: str, words: list[str]) -> None:
    path = ROOT / "examples" / f"{name}.py"
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60
    told = run(text)
    for word in words:
        assert word in told
    page = (ROOT / "docs" / f"{name.replace('own_', 'your-own-')}.md").read_text(encoding="utf-8")
    assert f"examples/{name}.py" in page


def test_the_tour_of_the_readme_runs() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    code, printed = re.search(r"```python\n(.*?)```.*?```text\n(.*?)```", readme, re.DOTALL).groups()  # type: ignore[union-attr]
    assert run(code).split() == printed.split()
