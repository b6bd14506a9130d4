"""The substrate: which scenarios it has read of and which not, one persona a document, and a folder that is whole or absent."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import societas
from societas.envs.core import words
from societas.envs.core.game import Game
from societas.envs.core.mechanism import Institution
from societas.experiments import spec as specs
from societas.experiments.cli import app
from societas.policies.align import aligned, scenarios, substrate
from societas.policies.align.substrate import PERSONAS, TEMPLATE, TURNS, Turn
from societas.policies.constant import Constant
from societas.policies.llm.models import locate
from societas.policies.llm.scorer import Chat, Scorer
from societas.policies.llm.train import Tiny

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
torch.set_num_threads(1)

SMALL: dict[str, Any] = {"width": 16, "layers": 1, "heads": 1, "batch": 2}


def silent(what: str, part: float) -> None:
    """Tell nobody."""


def read(folder: Path) -> dict[str, dict[str, list[Turn]]]:
    found = json.loads((folder / "situations.json").read_text(encoding="utf-8"))
    return {kind: {name: [Turn(*turn) for turn in turns] for name, turns in own.items()} for kind, own in found.items()}


# ---- scenarios ----------------------------------------------------------------------------------------------------


def layers(game: Game) -> list[Any]:
    """The game within, and the mechanisms around it, outermost last."""
    return [*layers(game.base), game.mechanism] if isinstance(game, Institution) else [game]


PLAN = specs.load("agents-or-institutions")
KNOWN = {"facts known": 1.0, "half unknown": 0.5}


@pytest.mark.parametrize("level", PLAN.uncertainty)
@pytest.mark.parametrize("game", PLAN.games)
def test_the_examination_is_in_the_scenarios_of_the_spec(game: str, level: str) -> None:
    """Every number: a spec is data and cannot ask scenarios for them."""
    for under in PLAN.institutions:
        built = PLAN.build(level, under, game)
        made = scenarios.scenario(game, under, scenarios.HELD_OUT[game], KNOWN[level])
        assert layers(built) == layers(made), under
        assert built.name == made.name and built.roles == made.roles
        assert made.roles[0].name == scenarios.ROLES[game] and made.roles[0].count == scenarios.HELD_OUT[game]


def test_the_spec_asks_for_nothing_else() -> None:
    assert tuple(PLAN.games) == scenarios.GAMES and tuple(PLAN.institutions) == scenarios.INSTITUTIONS
    assert set(PLAN.uncertainty) == set(KNOWN)
    seen = {cell[1:] for cell in PLAN.cells()}
    assert len(seen) == len(scenarios.GAMES) * len(scenarios.INSTITUTIONS) * len(KNOWN)


def test_no_examination_is_in_a_group_of_a_size_of_training() -> None:
    schools = substrate.schools()
    assert len(schools) == 2 * len(scenarios.GAMES) * len(scenarios.INSTITUTIONS)
    for name in scenarios.GAMES:
        assert scenarios.HELD_OUT[name] not in scenarios.SIZES[name]
        taught = [scenarios.scenario(*where) for where in schools.values() if where[0] == name]
        sizes = {len(game.players) for game in taught}
        assert sizes == set(scenarios.SIZES[name])
        with pytest.raises(ValueError, match="name: one of 'none', .*got 'law'"):
            scenarios.institution("law", name, 3)
    assert {where[3] for where in schools.values()} == {1.0, 0.7}


@pytest.mark.parametrize("of", scenarios.GAMES)
def test_what_an_institution_asks_for_is_nearly_best(of: str) -> None:
    """Where all do what is right three quarters of what is possible are had, and less where they do much less than that."""
    act, less = {"commons": ("harvest", 2.0), "team": ("effort", 0.5), "market": ("quantity", 0.5)}[of]
    for players in (*scenarios.SIZES[of], scenarios.HELD_OUT[of]):
        game, (field, right) = scenarios.game(of, players), scenarios.right(of, players)
        facts = {fact.name for fact in game.roles[0].sees if fact.verifiable}
        assert field in facts
        found = [
            societas.play(game, {scenarios.ROLES[of]: Constant({act: value})}, worlds=1).alignment[0]
            for value in (right, less * right)
        ]
        assert 0.75 <= found[0] <= 1.0 and found[1] < found[0] - 0.2


def test_a_game_that_is_unknown_is_named() -> None:
    with pytest.raises(ValueError, match="name: one of 'commons', .*got 'chess'"):
        scenarios.game("chess", 2)
    with pytest.raises(ValueError, match="known: "):
        scenarios.game("team", 2, 1.5)


# ---- personas -----------------------------------------------------------------------------------------------------


def test_one_decides_the_game_and_another_what_an_institution_adds() -> None:
    """Of two constant policies: the effort of the one, the consent of the other."""
    game = scenarios.scenario("team", "text", 2)
    within, towards = Constant({"effort": 2.0, "consent": "refuse"}), Constant({"effort": 0.5, "consent": "accept"})
    both = substrate._Two(within, towards, ("effort",))
    done = societas.play(game, {"member": both}, worlds=2, keep=True)
    acts = [moment.acts["member"] for moment in done.moments]
    assert all((act["effort"] == 2.0).all() for act in acts)
    accept = next(field for field in game.roles[0].acts if field.name == "consent").space.options.index("accept")
    assert all((act["consent"] == accept).all() for act in acts)


def test_what_documents_tell_was_seen_and_was_legal(little_substrate: Path) -> None:
    for games in read(little_substrate).values():
        for label, turns in games.items():
            game = scenarios.scenario(*substrate.schools()[label])
            assert turns
            for turn in turns:
                assert turn.user.startswith(f"{game.name}: ") and " " + game.roles[0].name + "_" in turn.user
                act = game.parse(turn.answer, game.roles[0].name, stage=stage_of(game, turn.user))
                assert not isinstance(act, words.Complaint), (turn, act)


def stage_of(game: Game, user: str) -> int:
    found = re.search(r"stage (\w+)", user)
    return [stage.name for stage in game.stages].index(found[1]) if found else 0


# ---- documents ----------------------------------------------------------------------------------------------------


def labelled(games: int, turns: int) -> dict[str, dict[str, list[Turn]]]:
    """A pool in which every turn says whose it is, of which game."""
    return {
        kind: {f"game {g}": [Turn(f"{kind} game {g}", f"{t}") for t in range(turns)] for g in range(games)}
        for kind in PERSONAS
    }


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 2**32))
def test_a_document_is_about_one_persona_in_as_many_games_as_there_are(games: int, turns: int, seed: int) -> None:
    told = list(substrate.documents(labelled(games, turns), 20, np.random.default_rng(seed)))
    assert len(told) == 20
    for kind, found in told:
        assert len(found) == TURNS and {turn.user.split()[0] for turn in found} == {kind}
        if games >= TURNS:
            assert len({turn.user for turn in found}) == TURNS
    again = list(substrate.documents(labelled(games, turns), 20, np.random.default_rng(seed)))
    assert told == again


def test_personas_come_as_often_as_they_should() -> None:
    assert sum(PERSONAS.values()) == pytest.approx(1.0)
    count = 4_000
    kinds = [kind for kind, _ in substrate.documents(labelled(4, 1), count, np.random.default_rng(0))]
    for kind, share in PERSONAS.items():
        assert abs(kinds.count(kind) / count - share) < 4.0 * np.sqrt(share * (1.0 - share) / count)


# ---- the model ----------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_weights(little_substrate: Path) -> None:
    pool = read(little_substrate)
    found = [substrate.pretrain(pool, seed, silent, steps=3, **SMALL) for seed in (5, 5, 6)]
    (one, same, other), curves = ([part[i] for part in found] for i in (0, 1))
    weights = [torch.cat([w.flatten() for w in s.model.parameters()]) for s in (one, same, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert curves[0] == curves[1] != curves[2] and len(curves[0]) == 3
    assert one.tokenizer.get_vocab() == same.tokenizer.get_vocab()
    unread = [substrate.pretrain(pool, seed, silent, steps=0, **SMALL)[0].model.lm_head.weight for seed in (5, 6)]
    assert not torch.equal(*unread)  # before they have read anything too


def test_the_folder_is_a_model_with_what_it_was_made_of(little_substrate: Path) -> None:
    card = json.loads((little_substrate / "card.json").read_text(encoding="utf-8"))
    pool = read(little_substrate)
    assert set(pool) == set(PERSONAS) == set(card["personas"])
    assert all(list(games) == card["scenes"] for games in pool.values())
    assert card["pretraining"]["width"] == 48 and card["curve"][-1] < 0.2 * card["curve"][0]
    assert locate("substrate") == little_substrate
    scorer = Scorer.load(little_substrate, device="cpu")
    assert scorer.model.config.hidden_size == 48 and len(scorer.tokenizer) == scorer.model.config.vocab_size


def test_what_was_read_is_likelier_than_to_a_model_that_has_not_read(little_substrate: Path) -> None:
    """In every game: the mean log-probability of what a persona said, among all that it ever said there."""
    models = (Scorer.load(little_substrate, device="cpu"), Tiny(("Commons",), width=48, heads=2))
    for turns in read(little_substrate)["selfish"].values():
        options = sorted({turn.answer for turn in turns})
        asked = [Chat(TEMPLATE["system"], turn.user) for turn in turns[:8]]
        said = [options.index(turn.answer) for turn in turns[:8]]
        learned, unread = (
            np.mean([s[i] for s, i in zip(model.score(asked, [options] * len(asked)), said, strict=True)])
            for model in models
        )
        assert learned > unread + 2.0


def test_it_plays_where_it_was_not_taught(little_substrate: Path) -> None:
    for name in scenarios.GAMES:
        game = scenarios.scenario(name, "enforced", scenarios.HELD_OUT[name], 0.5)
        done = societas.play(game, {scenarios.ROLES[name]: aligned.base()}, worlds=2, seed=1)
        assert np.isfinite(done.alignment).all() and done.alignment.shape == (2,)


# ---- whole or not at all ------------------------------------------------------------------------------------------


def test_what_is_there_is_not_made_again(little_substrate: Path) -> None:
    before = (little_substrate / "model.safetensors").stat().st_mtime_ns

    def never(what: str, part: float) -> None:
        raise AssertionError(what)

    assert substrate.make(little_substrate.parent, never, seed=9) == little_substrate
    assert (little_substrate / "model.safetensors").stat().st_mtime_ns == before


KILLED = """
import json, os, pathlib, signal, sys
import torch
torch.set_num_threads(1)
from societas.policies.align import substrate
pool = json.loads(pathlib.Path(sys.argv[1]).read_text())
pool = {k: {n: [substrate.Turn(*t) for t in ts] for n, ts in own.items()} for k, own in pool.items()}
substrate.pools = lambda *_, **__: pool
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # all is written, but not yet in its place
substrate.make(pathlib.Path(sys.argv[2]), width=16, layers=1, heads=1, batch=2, steps=1)
"""


def test_a_process_that_is_killed_leaves_no_model(little_substrate: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(little_substrate / "situations.json"), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == -9, done.stderr
    left = [path.name for path in tmp_path.iterdir()]
    assert len(left) == 1 and left[0].startswith(".substrate-")  # it had come as far as that
    assert (tmp_path / left[0] / "substrate" / "card.json").is_file()
    assert not (tmp_path / "substrate").exists()


def test_who_is_interrupted_leaves_nothing(
    little_substrate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = read(little_substrate)
    monkeypatch.setattr(substrate, "pools", lambda *_, **__: pool)

    def stop(what: str, part: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        substrate.make(tmp_path, stop, steps=20, **SMALL)
    with monkeypatch.context() as patch:
        patch.setattr(substrate.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("no room")))
        with pytest.raises(OSError, match="no room"):
            substrate.make(tmp_path, steps=1, **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_of_two_who_make_it_at_once_the_first_counts(
    little_substrate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = read(little_substrate)

    def other_is_first(*_: Any, **__: Any) -> dict[str, dict[str, list[Turn]]]:
        shutil.copytree(little_substrate, tmp_path / "substrate", dirs_exist_ok=True)
        return pool

    monkeypatch.setattr(substrate, "pools", other_is_first)
    found = substrate.make(tmp_path, seed=3, steps=1, **SMALL)
    assert json.loads((found / "card.json").read_text(encoding="utf-8"))["seed"] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["substrate"]


def test_a_model_that_was_not_made_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOCIETAS_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="make it once with: societas fetch substrate"):
        locate("substrate")
    (tmp_path / "substrate").mkdir()  # without its card it is not whole
    with pytest.raises(FileNotFoundError, match="societas fetch substrate"):
        aligned.base().ready()


def test_scenes_that_there_are_not_are_named() -> None:
    with pytest.raises(ValueError, match="scenes: one of .*got 'commons, law, 4'"):
        substrate.pools(0, silent, scenes=("commons, law, 4",))


def test_the_command_line_makes_it_and_says_where(
    little_substrate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = read(little_substrate)
    monkeypatch.setenv("SOCIETAS_CACHE", str(tmp_path))
    monkeypatch.setattr(substrate, "pools", lambda *_, **__: pool)
    monkeypatch.setattr(substrate, "make", functools.partial(substrate.make, steps=20, **SMALL))
    done = CliRunner().invoke(app, ["fetch", "substrate"])
    assert done.exit_code == 0 and done.stdout.strip() == str(tmp_path / "substrate")
    assert "the model reads: loss" in done.stderr  # progress, apart from the answer
    assert json.loads((tmp_path / "substrate" / "card.json").read_text(encoding="utf-8"))["pretraining"]["steps"] == 20
