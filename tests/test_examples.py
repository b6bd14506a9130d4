"""The worked examples and the pages run as they stand, print what the pages say they print, and stay short."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

if not (ROOT / "examples").is_dir():
    pytest.skip("an unpacked sdist holds no examples and no pages", allow_module_level=True)


def run(path: Path, cwd: Path) -> str:
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, cwd=cwd, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def blocks(text: str) -> tuple[str, list[str]]:
    """Return the Python of a page, its blocks in order, and what it says they print."""
    found = re.findall(r"^```(python|text)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    code = "\n".join(body for kind, body in found if kind == "python")
    return code, [body.strip() for kind, body in found if kind == "text"]


@pytest.mark.parametrize("name", ["game", "model"])
def test_an_example_is_short_and_prints_what_its_page_says(name: str, tmp_path: Path) -> None:
    path = ROOT / "examples" / f"own_{name}.py"
    assert len(path.read_text(encoding="utf-8").splitlines()) < 60
    told = run(path, tmp_path)
    page = (ROOT / "docs" / f"your-own-{name}.md").read_text(encoding="utf-8")
    assert f'\n--8<-- "examples/own_{name}.py"\n' in page  # the page holds the file itself
    printed = blocks(page)[1]
    assert printed[0] in told


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/algorithmic-pricing.md",
        "docs/asking-what-is-the-norm.md",
        "docs/better-mechanisms.md",
        "docs/contracting.md",
        "docs/experiments.md",
        "docs/faces.md",
        "docs/fairness.md",
        "docs/mechanisms.md",
        "docs/norms.md",
        "docs/other-trainers.md",
        "docs/societies.md",
        "docs/training.md",
        "docs/your-own-model.md",
    ],
)
def test_a_page_runs_and_prints_what_it_says(page: str, tmp_path: Path) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    code, printed = blocks(text)
    if page == "docs/your-own-model.md":
        printed = printed[1:]  # the first is the example's, checked above
    path = tmp_path / "page.py"
    path.write_text(code, encoding="utf-8")
    told = run(path, tmp_path)
    for words in printed if code else ():
        assert words in told


def test_the_tour_of_the_readme_is_short() -> None:
    code, _ = blocks((ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(code.splitlines()) <= 12


def test_the_tables_of_the_readme_name_everything_registered() -> None:
    import societas

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for kind in ("games", "mechanisms", "policies"):
        table = readme.split(f"\n| {kind} |")[1].split("\n\n")[0]
        assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == societas.list(kind)


def test_the_page_of_mechanisms_names_everything_registered() -> None:
    import societas

    page = (ROOT / "docs" / "mechanisms.md").read_text(encoding="utf-8")
    table = page.split("\n## All mechanisms\n")[1].split("\n## ")[0]
    assert sorted(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == societas.list("mechanisms")
