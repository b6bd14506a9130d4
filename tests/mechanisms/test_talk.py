"""Talk: what it costs, who hears what, and that it goes through every face, in a vocabulary and in free text."""

from __future__ import annotations

import importlib.util
import itertools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo.test import api_test, parallel_api_test

from societas import Game, Text, Worlds, play, policy
from societas.envs.contracting.hidden_action import HiddenAction
from societas.envs.contracting.relational import Relational
from societas.envs.core.arrays import to_numpy, tree_map
from societas.envs.core.mechanism import Unfit
from societas.envs.norms.fishery import Fishery
from societas.envs.norms.matrix_game import MatrixGame
from societas.envs.views.gymnasium import RoleEnv
from societas.envs.views.pettingzoo import env, parallel_env
from societas.mechanisms.sanction import Sanction
from societas.mechanisms.talk import Talk
from societas.policies.llm.scorer import Chat, Scorer, _inside
from societas.testing import check_mechanism

torch.set_num_threads(1)
SPACE = Text(6)
KINDS = [
    Talk(),
    Talk(text=6),
    Talk(to="one"),
    Talk(text=6, to="one", memory=2, cost=0.5),
    Talk(rounds=2, to="one", memory=3),
    Talk(text=20, rounds=2, cost=1.0),
]
GAMES: list[Game] = [Fishery(months=3), MatrixGame(repetitions=3), HiddenAction()]


def trio(rounds: int = 2) -> MatrixGame:
    """Three players who are paid nothing, whatever they do."""
    table: Any = tuple((((0.0, 0.0), (0.0, 0.0)), ((0.0, 0.0), (0.0, 0.0))) for _ in range(3))
    return MatrixGame(table, ("left", "right"), rounds)


def said(*texts: str) -> np.ndarray[Any, Any]:
    """Messages of players, (1, players, 6)."""
    return np.stack([SPACE.encode(text) for text in texts])[None]


def speak(game: Game, state: Any, **talk: Any) -> Any:
    """Play a talk stage of one world in which nothing else is decided."""
    acts = {
        "player": {"action": np.zeros((1, 3), dtype=int), **{name: np.asarray(values) for name, values in talk.items()}}
    }
    return game.step(state, acts, np.zeros((1, game.draws)))


# ---- arithmetic ---------------------------------------------------------------------------------------------------


def test_words_cost_and_silence_is_free() -> None:
    game = trio() | Talk(text=6, cost=0.5)
    outcome = speak(game, game.start(np.zeros((1, 0))), message=said("hello", "", " "))
    assert outcome.rewards["player"].tolist() == [[-0.5, 0.0, 0.0]] and outcome.welfare.tolist() == [-0.5]
    assert game.measures(outcome.state)["messages"].tolist() == [1.0]
    heard = game.view(outcome.state)["player"]["heard"]
    assert heard.shape == (1, 3, 3, 6)
    for listener in range(3):
        assert [SPACE.decode(row) for row in heard[0, listener]] == ["hello", "", ""]


def test_a_message_to_one_is_heard_by_one() -> None:
    """Player 0 tells player 2 alone, player 1 tells everyone, player 2 talks to herself."""
    game = trio() | Talk(text=6, to="one", cost=1.0)
    to = np.array([[3, 0, 3]])  # everyone, player_0, player_1, player_2
    outcome = speak(game, game.start(np.zeros((1, 0))), message=said("psst", "hi all", "hm"), to=to)
    seen = game.view(outcome.state)["player"]
    heard = [[SPACE.decode(row) for row in seen["heard"][0, listener]] for listener in range(3)]
    assert heard == [["psst", "hi all", ""], ["", "hi all", ""], ["psst", "hi all", "hm"]]
    assert seen["heard_to"][0].tolist() == [[4, 1, 0], [0, 1, 0], [4, 1, 4]]  # 0 nobody, 1 everyone, then the players
    assert outcome.rewards["player"].tolist() == [[-1.0] * 3]
    assert {name: float(value[0]) for name, value in game.measures(outcome.state).items() if "messages" in name} == {
        "messages": 3.0,
        "private_messages": 2.0,
    }
    prompt = game.prompt(outcome.state, "player", 1, world=0)
    assert '- heard: player_0 "", player_1 "hi all", player_2 ""' in prompt
    assert "- heard_to: player_0 nobody, player_1 everyone, player_2 nobody" in prompt


def test_memory_shows_the_last_rounds_of_talk() -> None:
    game = trio() | Talk(text=6, rounds=2, memory=3)
    assert [stage.name for stage in game.stages] == ["talk_1", "talk_2", "act"]
    state = game.start(np.zeros((1, 0)))
    for number in range(2):
        for k in (1, 2):
            texts = said(f"{number}{k}", "", "")
            other = said("no", "no", "no")
            state = speak(game, state, **{f"message_{k}": texts, f"message_{3 - k}": other}).state
        state = speak(game, state, message_1=said("", "", ""), message_2=said("", "", "")).state
    seen = game.view(state)["player"]
    assert [SPACE.decode(seen[name][0, 1, 0]) for name in ("heard", "heard_2", "heard_3")] == ["12", "11", "02"]


def test_only_some_may_speak() -> None:
    game = HiddenAction() | Talk(roles=["agent"], to="one", cost=2.0)
    assert "the agent may say something" in game.about
    assert not game.role("principal").deciding("talk") and len(game.role("agent").deciding("talk")) == 2
    talk = policy("callable", function=lambda seen: {"say": "I take what I can", "to": "principal_0"})
    heard: list[Any] = []

    def offer(seen: dict[str, Any]) -> dict[str, Any]:
        heard.append((seen["stage"], seen["heard"], seen["heard_to"]))
        return {}

    done = play(game, {"agent": talk, "principal": policy("callable", function=offer)})
    assert heard[1] == ("offer", ["I take what I can"], ["principal_0"])
    assert done.measures["private_messages"][0] == 1


def test_a_vocabulary_to_one_costs_and_counts_as_to_all() -> None:
    base = trio()
    for seed in range(3):
        both = [
            play(base | Talk(cost=0.25, to=to), {"player": policy("random")}, worlds=64, seed=seed)
            for to in ("all", "one")
        ]
        for done in both:
            np.testing.assert_allclose(done.welfare, -0.25 * done.measures["messages"])
    assert 0 < both[1].measures["private_messages"].mean() < both[1].measures["messages"].mean()


# ---- secrecy ------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_private_message_changes_nobody_elses_view(data: Any) -> None:
    """Two runs that differ in what one says to one player, or whether she says it: the third sees the same for ever."""
    text, memory = data.draw(st.booleans()), data.draw(st.integers(1, 3))
    game = trio(3) | Talk(text=6 if text else 0, to="one", memory=memory, cost=0.5)
    speaker, hearer, third = data.draw(st.permutations(range(3)))
    when = data.draw(st.integers(0, 2))
    vocabulary = ["", "yes", "no"]
    runs = [game.start(np.zeros((1, 0)))] * 2
    for number in range(3):
        messages = data.draw(st.lists(st.sampled_from(range(3)), min_size=3, max_size=3))
        to = data.draw(st.lists(st.sampled_from(range(4)), min_size=3, max_size=3))
        for run in range(2):
            if number == when:
                to[speaker], messages[speaker] = hearer + 1, data.draw(st.sampled_from(range(3)))
            say = {"message": said(*(vocabulary[m] for m in messages))} if text else {"say": [messages]}
            runs[run] = speak(game, runs[run], to=[to], **say).state
        one, other = (game.view(state)["player"] for state in runs)
        for name in one:
            np.testing.assert_array_equal(one[name][:, third], other[name][:, third], name)
        if number == when:
            assert game.prompt(runs[0], "player", third, world=0) == game.prompt(runs[1], "player", third, world=0)
            if messages[speaker]:
                assert (one["heard_to"] + other["heard_to"])[0, hearer, speaker] >= hearer + 2
        say = {"message": said("", "", "")} if text else {"say": [[0, 0, 0]]}
        runs = [speak(game, state, to=[[0, 0, 0]], **say).state for state in runs]


def test_players_of_other_roles_do_not_hear_either() -> None:
    game = HiddenAction() | Talk(text=6, to="one")
    acts = {
        "principal": {"pay": np.zeros((1, 1, 2))},
        "agent": {name: np.zeros((1, 1), dtype=int) for name in ("accept", "effort")},
    }
    note = {"message": SPACE.encode("note")[None, None]}
    views = []
    for to in (0, 1, 2):  # everyone, principal_0, agent_0: who speaks is the agent
        whole = {
            "principal": {**acts["principal"], "message": note["message"] * 0, "to": np.array([[0]])},
            "agent": {**acts["agent"], **note, "to": np.array([[to]])},
        }
        worlds = Worlds(game, 1)
        seen = game.view(game.step(worlds.state, whole, worlds.numbers()).state)
        views.append([[SPACE.decode(row) for row in seen[role]["heard"][0, 0]] for role in ("principal", "agent")])
    assert views == [[["", "note"], ["", "note"]]] * 2 + [[["", ""], ["", "note"]]]


# ---- examination and faces ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("talk", "game"), list(itertools.product(KINDS, GAMES)))
def test_talk_passes_examination(talk: Talk, game: Game) -> None:
    check_mechanism(talk, game, null=Talk(rounds=0), worlds=16)


def test_talk_under_talk_and_sanctions() -> None:
    check_mechanism(Sanction(), Fishery(months=3) | Talk(text=5, to="one"), worlds=16)
    check_mechanism(Talk(text=5, to="one"), Fishery(months=3) | Sanction(), null=Talk(rounds=0), worlds=16)
    check_mechanism(Talk(text=4, roles=["agent"]), Relational(delta=0.3, repetitions=10), worlds=16)


def test_numpy_and_torch_agree() -> None:
    game = Fishery(months=3) | Talk(text=7, to="one", memory=2, cost=0.5)
    cast = {"fisher": policy("random")}
    ours, theirs = (play(game, cast, worlds=32, seed=4, backend=name, device="cpu") for name in ("numpy", "torch"))
    for name, values in ours.measures.items():
        np.testing.assert_allclose(theirs.measures[name], values)
    np.testing.assert_allclose(theirs.returns["fisher"], ours.returns["fisher"])
    assert (ours.measures["private_messages"] > 0).any()


def test_jax_compiles_talk() -> None:
    jax = pytest.importorskip("jax", reason="JAX is an optional extra")
    jax.config.update("jax_enable_x64", True)
    game = Fishery(months=3) | Talk(text=7, to="one", memory=2, cost=0.5)
    worlds = Worlds(game, 8, seed=1)
    player = policy("random").bind(game, "fisher", tuple(range(5)))
    u = worlds.uniform(5 * player.draws, "talk").reshape((8, 5, player.draws))
    acts = {"fisher": player.act({}, worlds.stage, u, None)[0]}
    expected = game.step(worlds.state, acts, worlds.numbers())
    move = [tree_map(jax.numpy.asarray, part) for part in (worlds.state, acts, worlds.numbers())]
    found = jax.jit(game.step)(*move)
    tree_map(lambda a, b: np.testing.assert_allclose(np.asarray(b), a), expected.state, found.state)
    seen = jax.jit(game.view)(found.state)
    tree_map(lambda a, b: np.testing.assert_array_equal(np.asarray(b), a), game.view(expected.state), seen)
    assert (to_numpy(seen["fisher"]["heard"]) > 0).any()


@pytest.mark.parametrize("talk", [Talk(text=6, to="one"), Talk(to="one", memory=2)])
def test_talk_has_every_face(talk: Talk) -> None:
    for game, role in ((MatrixGame(repetitions=2) | talk, "player"), (HiddenAction() | talk, "principal")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the checkers advise on style
            api_test(env(game), num_cycles=20)
            parallel_api_test(parallel_env(game), num_cycles=20)
            check_env(RoleEnv(game, role=role), skip_render_check=True)


def test_characters_and_tables_meet_texts() -> None:
    done = play(Fishery(months=3) | Talk(text=6), {"fisher": policy("scripted", character="fair")})
    assert done.measures["messages"][0] == 0 and done.measures["survival"][0] == 3
    game = HiddenAction() | Talk(text=6, roles=["agent"])
    policy("tabular", levels=3).learn(game, "principal", episodes=2, sessions=2, others={"agent": policy("random")})
    with pytest.raises(ValueError, match="acts: field 'message' of agent is free text"):
        policy("tabular").learn(game, "agent", episodes=1)
    with pytest.raises(ValueError, match="sees: field 'heard' is free text and cannot be binned; leave it out"):
        policy("tabular", sees={"heard": 3}).learn(game, "principal", episodes=1, sessions=1)


def test_bad_input() -> None:
    for parameter, value in (
        ("rounds", 17),
        ("cost", -1.0),
        ("text", -1),
        ("to", "some"),
        ("memory", 0),
        ("roles", ["a", "a"]),
    ):
        with pytest.raises(ValueError, match=f"^{parameter}: "):
            Talk(**{parameter: value})  # type: ignore[arg-type]
    with pytest.raises(Unfit, match="roles: Fishery has no role boss"):
        Fishery() | Talk(roles=("boss",))
    assert hash(Talk(vocabulary=["a", "b"])) == hash(Talk(vocabulary=("a", "b")))  # type: ignore[arg-type]


# ---- language models ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    """A tiny Llama with random weights whose tokens are characters."""
    from tokenizers.decoders import Fuse

    path = Path(__file__).parents[2] / "examples" / "own_model.py"
    spec = importlib.util.spec_from_file_location("own_model", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("tiny")
    module.tiny_model(folder)
    found = Scorer.load(folder, device="cpu")
    found.tokenizer.backend_tokenizer.decoder = Fuse()
    with torch.no_grad():
        for weights in found.model.parameters():
            weights.mul_(4.0)  # far from uniform, so that mistakes show
    return found


def chats(count: int) -> list[Chat]:
    return [Chat("Share the lake.", f"You are number {i}." + " Go on." * i, '{"message": "') for i in range(count)]


def test_what_is_written_is_what_transformers_generates(scorer: Scorer) -> None:
    """Greedily, each chat alone: chats written together and over a prefix in common do not change a text."""
    some = chats(6)
    found = scorer.write(some, 20)
    for chat, text in zip(some, found, strict=True):
        assert text == _inside(scorer.generate([chat], max_new_tokens=45)[0])[0][:20]
    assert len(set(found)) > 1 and max(map(len, found)) == 20
    nothing_shared = [Chat("", "x"), Chat("a", "y z")]
    assert scorer.write(nothing_shared, 8) == [
        _inside(scorer.generate([c], max_new_tokens=20)[0])[0][:8] for c in nothing_shared
    ]
    assert scorer.write([], 5) == []


def test_texts_follow_the_probabilities_and_the_numbers(scorer: Scorer) -> None:
    """First characters, drawn by inversion, have the probabilities by which the model scores them."""
    chat, signs = chats(1)[0], [chr(code) for code in range(32, 127)]
    p = np.exp(scorer.score([chat], [signs])[0])
    luck = np.random.default_rng(0).random(1500).tolist()
    texts = scorer.write([chat] * 1500, 1, temperature=1.0, luck=luck)
    for sign, chance in zip(signs, p, strict=True):
        if chance > 0.03 and sign not in '"\\':
            share = np.mean([text == sign for text in texts])
            assert abs(share - chance) < 5 * np.sqrt(chance * (1 - chance) / 1500), sign
    again = scorer.write([chat] * 3, 12, temperature=1.0, luck=[0.1, 0.9, 0.1])
    assert again[0] == again[2] == scorer.write([chat], 12, temperature=1.0, luck=[0.1])[0] != again[1]
    with pytest.raises(ValueError, match="luck: a number for each of the 2 chats"):
        scorer.write([chat] * 2, 5, temperature=1.0, luck=[0.5])


@pytest.mark.parametrize(
    ("written", "inside", "over"),
    [
        ("hello", "hello", False),
        ('hello"}', "hello", True),
        ("hello\nworld", "hello", True),
        ('a \\"b\\" c" d', 'a "b" c', True),
        ("a \\n b", "a \n b", False),
        ("half an escape \\", "half an escape ", False),
        ("no \\escape", "no escape", False),
        ('"', "", True),
        ("\\u00e9", "é", False),
    ],
)
def test_where_a_text_ends(written: str, inside: str, over: bool) -> None:
    assert _inside(written) == (inside, over)


def test_two_models_talk(scorer: Scorer) -> None:
    game = MatrixGame.prisoners_dilemma(rounds=2) | Talk(text=12, to="one", memory=2)
    cast = {"player": policy("llm", model=scorer, temperature=1.0)}
    done = play(game, cast, worlds=3, seed=2, keep=True)
    texts = [Text(12).decode(row) for row in done.moments[0].acts["player"]["message"].reshape(-1, 12)]
    assert len(set(texts)) > 3  # each has luck of her own
    again = play(game, cast, worlds=3, seed=2, keep=True)
    assert done.tell(1) == again.tell(1)
    heard = done.moments[1].seen["player"]["heard"]
    own = [Text(12).decode(heard[world, i, i]) for world in range(3) for i in range(2)]
    assert own == texts  # who speaks hears herself


@pytest.mark.model
def test_smollm2_writes_to_the_point() -> None:
    from societas.policies.llm.models import locate

    try:
        folder = locate("smollm2")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    model = Scorer.load(folder, device="cpu")
    asked = Chat("You are friendly.", "What is the capital of France? Answer in one sentence.", '{"message": "')
    assert "Paris" in model.write([asked], 60)[0]
