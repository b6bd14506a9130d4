"""The distributions hold the whole package, and importing it is cheap."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "societas"
FOLDERS = ("envs", "policies", "mechanisms", "experiments")
HEAVY = ("torch", "transformers", "mesa", "stable_baselines3", "numpy", "gymnasium", "pettingzoo", "importlib.metadata")
# Top-level modules of extras: a module of ours that needs one may refuse to be imported without it.
OPTIONAL = ("inspect_ai", "jax", "jaxlib", "llguidance", "numba", "peft", "ray")


def source_files() -> set[str]:
    """Every file of the package in the source tree, as 'societas/...', links followed."""
    found: set[str] = set()
    for top in (PACKAGE, *(PACKAGE / folder for folder in FOLDERS)):
        # rglob does not descend into links, so the folders are walked from their own tops.
        for path in top.rglob("*"):
            inside = path.relative_to(PACKAGE)
            ours = not any(part == "__pycache__" or part.startswith(".") for part in inside.parts)
            if ours and path.is_file() and path.suffix not in {".pyc", ".pyo"}:
                found.add(f"societas/{inside.as_posix()}")
    return found


def modules(files: set[str]) -> list[str]:
    """Dotted names of the modules among `files`, scripts left out."""
    names = {
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in files
        if name.endswith(".py") and not name.endswith("/__main__.py")
    }
    return sorted(names)


def build(source: Path, out: Path, *what: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", *what, "--outdir", str(out), str(source)],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def run_outside(code: str, cwd: Path, *args: str) -> str:
    """Run `code` in a fresh isolated interpreter, away from the repository."""
    run = subprocess.run([sys.executable, "-I", "-c", code, *args], capture_output=True, text=True, cwd=cwd)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def wheel_files(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if name.startswith("societas/")}


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with an sdist and a wheel, both built from the source tree."""
    out = tmp_path_factory.mktemp("dist")
    build(ROOT, out, "--sdist", "--wheel")
    return out


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that holds the wheel's contents."""
    out = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(out)
    return out


def test_links_are_relative() -> None:
    if not any((PACKAGE / folder).is_symlink() for folder in FOLDERS):
        pytest.skip("an unpacked sdist holds folders in place of the links")
    for folder in FOLDERS:
        link = PACKAGE / folder
        assert link.is_symlink()
        assert link.readlink() == Path("..", "..", folder)
        assert link.resolve() == ROOT / folder


def test_every_folder_of_modules_is_a_package() -> None:
    files = source_files()
    folders = {name.rpartition("/")[0] for name in files if name.endswith(".py")}
    assert not {folder for folder in folders if f"{folder}/__init__.py" not in files}


def test_wheel_holds_every_file(wheel: Path) -> None:
    expected = source_files()
    assert {f"societas/{folder}/__init__.py" for folder in FOLDERS} <= expected
    assert "societas/py.typed" in expected
    assert wheel_files(wheel) == expected


def test_wheel_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (scripts,) = (name for name in names if name.endswith(".dist-info/entry_points.txt"))
        assert "societas = societas.experiments.cli:main" in archive.read(scripts).decode()
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"societas"}


def test_sdist_builds_the_same_wheel(dist: Path, wheel: Path, tmp_path: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        assert not [member.name for member in archive if member.issym() or member.islnk()]
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    assert {path.name for path in source.iterdir()} >= {"LICENSE", "README.md", "pyproject.toml", "tests"}
    build(source, tmp_path / "out", "--wheel")
    (again,) = (tmp_path / "out").glob("*.whl")
    assert wheel_files(again) == wheel_files(wheel)


def test_every_module_imports_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    code = """
import importlib, sys
from pathlib import Path
where, optional, *names = sys.argv[1:]
sys.path.insert(0, where)
for name in names:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in optional.split(","):
            continue
        raise
    assert Path(module.__file__).is_relative_to(where), module.__file__
bare = {"envs", "policies", "mechanisms", "experiments"} & set(sys.modules)
assert not bare, f"imported outside societas: {bare}"
print(len(names))
"""
    names = modules(source_files())
    assert "societas.experiments" in names
    out = run_outside(code, tmp_path, str(installed), ",".join(OPTIONAL), *names)
    assert out.split()[-1] == str(len(names))


def test_import_is_cheap(installed: Path, tmp_path: Path) -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import societas; print(*sys.modules)"
    loaded = set(run_outside(code, tmp_path, str(installed)).split())
    assert "societas" in loaded
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.parametrize(
    "first",
    [
        "societas",
        "gymnasium, pettingzoo",
        "importlib.util; [importlib.util.find_spec(n) for n in ('gymnasium', 'pettingzoo')]",
    ],
)
def test_games_are_registered_whichever_is_imported_first(installed: Path, tmp_path: Path, first: str) -> None:
    code = f"""
import sys; sys.path.insert(0, sys.argv[1])
import {first}
import societas
societas.register("games", "Mine", "nowhere:Mine")
import gymnasium, pettingzoo
assert gymnasium.make("societas/Commons-v0").unwrapped.spec.id == "societas/Commons-v0"
assert pettingzoo.make("aec", "societas/Commons-v0").possible_agents
for registry in (gymnasium.registry, pettingzoo.parallel_registry, pettingzoo.aec_registry):
    assert {{f"societas/{{name}}-v0" for name in societas.list()}} == {{n for n in registry if n.startswith("societas/")}}
    assert "societas/Mine-v0" in registry
assert not [finder for finder in sys.meta_path if type(finder).__module__.startswith("societas")]
"""
    run_outside(code, tmp_path, str(installed))


def test_a_module_registered_with_on_import_keeps_its_loader(installed: Path, tmp_path: Path) -> None:
    code = """
import sys; sys.path.insert(0, sys.argv[1])
import societas, gymnasium, inspect, importlib, pkgutil
assert "Root" in inspect.getsource(gymnasium)
assert importlib.reload(gymnasium) is gymnasium and pkgutil.get_data("gymnasium", "__init__.py")
"""
    run_outside(code, tmp_path, str(installed))


def test_names_are_found_where_they_are_asked_for(installed: Path, tmp_path: Path) -> None:
    code = """
import sys; sys.path.insert(0, sys.argv[1])
import societas
assert set(societas.__all__) <= set(dir(societas))
from societas import *
assert Game is societas.Game and "numpy" in sys.modules
try:
    societas.Gmae
except AttributeError as error:
    assert "Gmae" in str(error)
else:
    raise AssertionError
"""
    run_outside(code, tmp_path, str(installed))
