"""The registry: names lead to classes, wrong names to suggestions, and other packages can add theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import societas
from societas.envs.core import registry
from societas.envs.norms.fishery import Fishery


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the registry as it was."""
    monkeypatch.setattr(registry, "_entries", {kind: dict(found) for kind, found in registry._entries.items()})
    monkeypatch.setattr(registry, "_discovered", set(registry._discovered))


@pytest.mark.parametrize("kind", ["games", "mechanisms", "policies", "parts"])
def test_every_entry_leads_to_a_class(kind: str) -> None:
    assert registry.entries(kind)
    for name in registry.entries(kind):
        assert isinstance(registry.resolve(kind, name), type), name


def test_made_by_name() -> None:
    assert societas.make("Fishery", fishers=3) == Fishery(fishers=3)
    assert societas.mechanism("Sanction", cost=2.0).name == "Sanction"
    assert societas.list() == sorted(societas.list())


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: societas.make("Fishary"),
            KeyError,
            "no games entry named 'Fishary'; did you mean 'Fishery'?.*There are: ",
        ),
        (lambda: societas.make("Chess"), KeyError, "no games entry named 'Chess'.*There are: Allocation, "),
        (lambda: societas.policy("randon"), KeyError, "did you mean 'random'?"),
        (
            lambda: societas.make("Fishery", fishermen=3),
            TypeError,
            "Fishery: no option 'fishermen'; it takes: fishers, capa",
        ),
        (lambda: societas.mechanism("Noise"), TypeError, "missing.*field"),
        (lambda: societas.make("Fishery", fishers=1), ValueError, "fishers: a whole number from 2 to 64, got 1"),
        (lambda: societas.list("gmaes"), ValueError, "kind: one of games, mechanisms, policies, parts, got 'gmaes'"),
    ],
)
def test_errors_say_what_there_is(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()


class Pond(Fishery):
    """A game of somebody else's."""


def test_register(clean: None) -> None:
    societas.register("games", "Pond", Pond)
    assert "Pond" in societas.list() and type(societas.make("Pond", fishers=4)) is Pond
    with pytest.raises(ValueError, match="games: the name 'Pond' is taken by .*Pond; choose another"):
        societas.register("games", "Pond", Pond)
    registry.register("policies", "lazy", "societas.policies.random:Random")
    assert type(societas.policy("lazy")).__name__ == "Random"


def test_other_packages_register_through_entry_points(
    clean: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "lagoons-1.0.dist-info"  # as pip leaves it
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: lagoons\nVersion: 1.0\n")
    mine = "Lagoon = societas.envs.norms.fishery:Fishery\nFishery = elsewhere:Impostor\n"
    (package / "entry_points.txt").write_text(f"[societas.games]\n{mine}")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry._discovered.clear()
    assert societas.make("Lagoon", fishers=3) == Fishery(fishers=3)
    assert type(societas.make("Fishery")) is Fishery  # a name of the library's own cannot be taken over
    assert "Lagoon" not in societas.list("policies")


def test_the_version_is_read_when_it_is_asked_for() -> None:
    assert societas.__version__.count(".") >= 1 and "__version__" not in vars(societas)
    with pytest.raises(AttributeError, match="module 'societas' has no attribute 'versoin'"):
        _ = societas.versoin
