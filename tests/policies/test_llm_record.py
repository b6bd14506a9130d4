from __future__ import annotations

import importlib.util
import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import tiny_llama, tiny_tokenizer

import societas
from societas.policies.llm.policy import Writes
from societas.policies.llm.protocol import Answer, Answers, Message
from societas.policies.llm.record import Recorded, Replay
from societas.policies.llm.scorer import Chat, Scorer
from societas.policies.llm.server import Function, Server


def neighbour(name: str) -> Any:
    """Load another file of tests from this folder, for its helpers."""
    spec = importlib.util.spec_from_file_location(f"_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


served = neighbour("test_llm_server")
speaker, KEY, SCHEMA = served.speaker, served.KEY, served.SCHEMA


class Diary:
    """Answers with what was asked and how many answers it has given; writes and scores by arithmetic."""

    def __init__(self, kind: Any = np.float64) -> None:
        self.count, self.kind = 0, kind

    def answer(
        self,
        conversations: Sequence[Sequence[Message]],
        schemas: Sequence[dict[str, Any]],
        *,
        temperature: float,
        luck: Sequence[float],
    ) -> list[Answer]:
        found = []
        for conversation in conversations:
            self.count += 1
            text = f"{conversation[-1].content} {self.count}"
            found.append(Answer(text, tokens_read=len(text), tokens_written=3, seconds=0.1 + 0.2, cost=1 / 3))
        return found

    def score(self, chats: Sequence[Chat], options: Sequence[Sequence[str]]) -> list[np.ndarray[Any, Any]]:
        scores = []
        for chat, texts in zip(chats, options, strict=True):
            place = sum(map(ord, str(chat))) % 97
            logits = np.array([((sum(map(ord, text)) * 31 + place) % 11) / 3 for text in texts], dtype=self.kind)
            scores.append(logits - np.log(np.exp(logits).sum()))
        return scores

    def write(self, chats: Sequence[Chat], limit: int, *, temperature: float, luck: Sequence[float]) -> list[str]:
        return [f'"hé\u2028" {number:.3f}\ud800'[:limit] for number in luck]


def ask(model: Any, *texts: str, temperature: float = 1.0, luck: float = 0.5, schema: Any = SCHEMA) -> list[Answer]:
    conversations = [[Message("system", "Rules of the lake. " * 5), Message("user", text)] for text in texts]
    count = len(texts)
    found = model.answer(conversations, [schema] * count, temperature=temperature, luck=[luck] * count)
    assert all(type(answer) is Answer for answer in found)
    return list(found)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "calls.jsonl"


def same(one: societas.Episodes, other: societas.Episodes) -> bool:
    """Whether two episodes are the same, to the last bit and word."""
    arrays = [
        np.array_equal(a, b)
        for mine, yours in ((one.returns, other.returns), (one.measures, other.measures))
        for a, b in zip(mine.values(), yours.values(), strict=True)
    ]
    return all(arrays) and np.array_equal(one.welfare, other.welfare) and one.tell() == other.tell()


def play(
    model: Any, *, seed: int = 3, worlds: int = 1, talk: bool = True, months: int = 2, **settings: Any
) -> societas.Episodes:
    game = societas.make("Fishery", fishers=2, months=months)
    if talk:
        game = game | societas.mechanism("Talk", text=8)
    players = {"fisher": societas.policy("llm", model=model, levels=5, **settings)}
    return societas.play(game, players, worlds=worlds, seed=seed, keep=True)


def test_a_call_is_one_line(path: Path) -> None:
    (answer,) = ask(Recorded(Diary(), path), "hello")
    (line,) = lines(path)
    assert list(line) == ["hash", "request", "answer"] and len(line["hash"]) == 64
    assert line["request"] == {
        "kind": "answer",
        "model": {"class": "Diary", "name": "Diary"},
        "conversation": [
            {"role": "system", "content": "Rules of the lake. " * 5},
            {"role": "user", "content": "hello"},
        ],
        "schema": SCHEMA,
        "temperature": 1.0,
        "luck": 0.5,
    }
    assert line["answer"] == answer._asdict()


def test_everything_that_decides_a_call_is_in_its_hash(path: Path) -> None:
    model = Recorded(Diary(), path)
    turned = {**SCHEMA, "properties": {"b": {}, "a": {}}}
    straight = {**SCHEMA, "properties": {"a": {}, "b": {}}}
    ask(model, "x")
    ask(model, "y")
    ask(model, "x", temperature=0.5)
    ask(model, "x", luck=0.25)
    ask(model, "x", schema=straight)
    ask(model, "x", schema=turned)  # in another order a model writes another answer
    ask(Recorded(Diary(), path, name="other"), "x")
    ask(Recorded(Server("http://localhost:1", "m", retries=0), path), "x")
    ask(Recorded(Server("http://localhost:1", "m", retries=0, extra={"top_p": 0.5}), path), "x")
    assert len({line["hash"] for line in lines(path)}) == 9
    ask(model, "x")
    ask(Recorded(Server("http://localhost:2", "m", retries=0), path), "x")  # the same model elsewhere
    assert len(lines(path)) == 11 and len({line["hash"] for line in lines(path)}) == 9


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_a_run_is_replayed_to_the_last_bit(path: Path, temperature: float, kind: Any) -> None:
    first = play(Recorded(Diary(kind), path), temperature=temperature)
    assert same(first, play(Diary(kind), temperature=temperature))
    replay = Replay(path)
    assert same(first, play(replay, temperature=temperature))
    replay.rewind()
    assert same(first, play(replay, temperature=temperature))


def test_a_transformers_model_is_replayed_to_the_last_bit(path: Path) -> None:
    pytest.importorskip("torch").set_num_threads(1)
    pytest.importorskip("transformers")
    scorer = Scorer(tiny_llama(), tiny_tokenizer(), device="cpu")
    first = play(Recorded(scorer, path), months=1)
    assert same(first, play(Replay(path), months=1))
    assert {line["request"]["kind"] for line in lines(path)} == {"score", "write"}


def test_a_named_model_is_loaded_when_it_is_asked(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch").set_num_threads(1)
    pytest.importorskip("transformers")
    tiny_llama().save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    model = Recorded(tmp_path / "model", path)
    model.ready()
    assert same(play(model, talk=False), play(Replay(path), talk=False))
    with pytest.raises(FileNotFoundError, match="no folder"):
        Recorded(str(tmp_path / "none"), path).ready()


def test_a_model_that_answers_is_replayed_with_its_errors_and_costs(path: Path, speaker: Any) -> None:
    """What the server says depends on the number of questions before, so it would not say it again."""

    class Fisher(served.Handler):  # type: ignore[misc, name-defined]
        def say(self, text: Any, finish: str = "stop", **more: Any) -> None:
            super().say(json.dumps({"harvest": len(self.server.bodies) * 7 % 30}), finish, **more)

    speaker.RequestHandlerClass = Fisher
    speaker.script = [lambda handler: handler.say("x"), served.status(404), served.says("I would rather not.")]
    server = Server(speaker.url, "mini", prices=(1, 2), concurrency=2, retries=0)

    def run(model: Any) -> tuple[societas.Episodes, dict[str, Any]]:
        mind = societas.policy("llm", model=model)
        game = societas.make("Fishery", fishers=3, months=3)
        episodes = societas.play(game, {"fisher": mind}, worlds=2, seed=1, keep=True)
        return episodes, vars(mind.ledger)

    first, spent = run(Recorded(server, path))
    count = len(speaker.bodies)
    replay = Replay(path)
    second, again = run(replay)
    assert same(first, second) and again == spent and replay.missed == 0
    assert len(speaker.bodies) == count > 18  # asked again after what was no answer; never by the replay
    assert spent["errors"] == 1 and spent["cost"] > 0
    third, _ = run(Recorded(server, path, resume=True))
    assert same(first, third) and len(speaker.bodies) == count == len(lines(path))


def test_answers_come_back_as_they_were(path: Path) -> None:
    first = ask(Recorded(Diary(), path), "a", "b")
    assert ask(Replay(path), "a", "b") == first
    assert first[0].cost == 1 / 3 and first[0].seconds == 0.1 + 0.2


def test_repeated_calls_keep_their_order(path: Path) -> None:
    model = Recorded(Diary(), path)
    first = ask(model, "a", "b", "a") + ask(model, "a")
    assert [answer.text for answer in first] == ["a 1", "b 2", "a 3", "a 4"]
    replay = Replay(path)
    assert ask(replay, "b", "a") == [first[1], first[0]]
    assert ask(replay, "a") + ask(replay, "a") == first[2:]
    (more,) = ask(replay, "a")
    assert "recorded 3 times and is made once more" in more.error and more.text == ""
    assert replay.missed == 1
    replay.rewind()
    assert ask(replay, "a") == first[:1] and replay.missed == 0


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16])
def test_scores_come_back_in_their_own_precision(path: Path, kind: Any) -> None:
    chats, options = [Chat("s", "u", '{"a": '), Chat("s", "v", '{"a": ')], ["1}", "2}", "3}"]
    first = Recorded(Diary(kind), path).score(chats, [options] * 2)
    for one, other in zip(first, Replay(path).score(chats, [options] * 2), strict=True):
        assert one.dtype == other.dtype == kind
        np.testing.assert_array_equal(one, other)


def test_scores_that_are_not_finite_survive(path: Path) -> None:
    class Sure:
        def score(self, chats: Any, options: Any) -> list[np.ndarray[Any, Any]]:
            return [np.array([0.0, -np.inf, np.nan]) for _ in chats]

    chat, options = Chat("s", "u", '{"a": '), ["1}", "2}", "3}"]
    Recorded(Sure(), path).score([chat], [options])
    assert "Infinity" not in path.read_text() and "NaN" not in path.read_text()
    np.testing.assert_array_equal(Replay(path).score([chat], [options])[0], [0.0, -np.inf, np.nan])


def test_a_recording_has_the_methods_of_its_model(path: Path) -> None:
    class Scores:
        score = Diary.score
        kind = np.float64

    only = Recorded(Scores(), path)
    assert not isinstance(only, Answers) and not isinstance(only, Writes)
    only.score([Chat("s", "u")], [["1}"]])
    assert not isinstance(Replay(path), Answers) and not isinstance(Replay(path), Writes)
    with pytest.raises(TypeError, match="cannot write"):
        play(only)
    with pytest.raises(TypeError, match="cannot write"):
        play(Replay(path))
    everything = Recorded(Diary(), path)
    assert isinstance(everything, Answers) and isinstance(everything, Writes)
    asked = Recorded(Function(lambda conversation, schema: "x"), path)
    assert isinstance(asked, Answers) and not hasattr(asked, "score")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"temperature": 0.0}, "line 2, differs in temperature: recorded 1.0, now 0.0"),
        ({"luck": 0.75}, "line 2, differs in luck: recorded 0.5, now 0.75"),
        (
            {"schema": {**SCHEMA, "required": []}},
            'line 2, differs in schema.required[0]: recorded "harvest", now null',
        ),
    ],
)
def test_a_missing_call_is_told_by_the_nearest(path: Path, changed: dict[str, Any], said: str) -> None:
    ask(Recorded(Diary(), path), "Stock 70.", "Stock 80.", "Another.")
    (answer,) = ask(Replay(path), "Stock 80.", **changed)
    assert answer.text == "" and answer.attempts == 0 and said in answer.error


def test_the_first_differing_character_is_told(path: Path) -> None:
    ask(Recorded(Diary(), path), "Another.", "The stock is 70 tonnes.")
    (answer,) = ask(Replay(path), "The stock is 75 tonnes.")
    where = "line 2, differs in conversation[1].content from character 14"
    assert f'{where}: recorded "The stock is 70 tonnes.", now "The stock is 75 tonnes."' in answer.error


def test_a_missing_score_is_a_key_error(path: Path) -> None:
    play(Recorded(Diary(), path))
    with pytest.raises(KeyError, match="not in the recording; the nearest, in line .* differs in"):
        play(Replay(path), seed=4)
    with pytest.raises(KeyError, match="differs in temperature|differs in chat"):
        play(Replay(path), temperature=0.5)


def test_many_missing_calls_are_told_in_short(path: Path) -> None:
    ask(Recorded(Diary(), path), "a")
    replay = Replay(path)
    errors = [ask(replay, f"missing {i}")[0].error for i in range(8)]
    assert all("not in the recording" in error for error in errors)
    assert "nearest" in errors[4] and "nearest" not in errors[5]


def test_models_share_a_file_by_name(path: Path) -> None:
    one = ask(Recorded(Diary(), path, name="one"), "same", "mine")
    two = ask(Recorded(Function(lambda conversation, schema: "yours"), path, name="two"), "same")
    assert ask(Replay(path, model="one"), "same") == one[:1]
    assert ask(Replay(path, model="two"), "same") == two
    assert ask(Replay(path), "mine") == one[1:]
    assert "more than one model was asked this; give model=, one of 'one', 'two'" in ask(Replay(path), "same")[0].error
    with pytest.raises(ValueError, match="has no 'three'; it has: 'one', 'two'"):
        Replay(path, model="three")


@pytest.mark.parametrize("cut", [1, 2, 40, 300])
def test_a_torn_last_line_is_passed_over_and_written_anew(path: Path, cut: int) -> None:
    first = ask(Recorded(Diary(), path), "a", "b", "c")
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    replay = Replay(path)
    assert ask(replay, "a", "b") == first[:2]
    assert "not in the recording" in ask(replay, "c")[0].error
    assert ask(Recorded(Diary(), path, resume=True), "c")[0].text == "c 1"
    assert len(lines(path)) == 3 and path.read_bytes().startswith(whole[: whole.rindex(b"\n", 0, -1) + 1])
    assert [answer.text for answer in ask(Replay(path), "a", "b", "c")] == ["a 1", "b 2", "c 1"]


def test_a_file_that_is_one_torn_line_begins_anew(path: Path) -> None:
    ask(Recorded(Diary(), path), "a" * 200_000)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match="holds no call"):
        Replay(path)
    ask(Recorded(Diary(), path), "b")
    assert len(lines(path)) == 1


PLAY = """
for seed in range(1000):
    play(Recorded(Diary(), path), seed=seed)
    print(seed, flush=True)
"""
MANY = """
model = Recorded(Diary(), path, name=name)
for i in range(50):
    ask(model, f"{name} {i} " + "x" * 5000, "short")
"""


def start(script: str, *args: str) -> subprocess.Popen[bytes]:
    """Run some lines in another process, with what this file has."""
    head = "import sys, pathlib\nfrom test_llm_record import *\npath, name = pathlib.Path(sys.argv[1]), sys.argv[2]\n"
    own = Path(__file__).parent
    here = os.pathsep.join([str(own), str(own.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", head + script, *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": here})


def test_a_run_that_was_killed_goes_on_where_it_was(path: Path) -> None:
    with start(PLAY, str(path), "") as process:
        assert process.stdout is not None
        for episode in range(5):  # more than are played again: their equal calls stand in for the lost line
            assert process.stdout.readline() == b"%d\n" % episode
        process.kill()
    path.write_bytes(path.read_bytes()[:-7])  # as if it had been writing
    before = len(lines_whole(path))
    model = Recorded(Diary(), path, resume=True)
    assert same(play(model, seed=0), play(Diary(), seed=0))
    assert len(lines_whole(path)) == before and path.read_bytes()[-1:] != b"\n"  # nothing was asked
    play(model, seed=5000)
    assert len(lines(path)) > before
    replay = Replay(path)
    for seed in (0, 1, 5000):
        assert same(play(replay, seed=seed), play(Diary(), seed=seed))


def lines_whole(path: Path) -> list[bytes]:
    return [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def test_resuming_asks_for_the_rest_alone(path: Path) -> None:
    first = ask(Recorded(Diary(), path), "a", "b", "a")
    model = Recorded(Diary(), path, resume=True)
    again = ask(model, "b", "a", "c", "a", "a")
    assert again[:2] + again[3:4] == [first[1], first[0], first[2]]
    assert [answer.text for answer in again[2:]] == ["c 1", "a 3", "a 2"]
    assert len(lines(path)) == 5
    assert ask(Recorded(Diary(), path, resume=True), "a", "a", "a", "c", "b") == [
        first[0],
        first[2],
        again[4],
        again[2],
        first[1],
    ]
    assert len(lines(path)) == 5
    ask(Recorded(Diary(), path), "a")  # without resuming, everything is asked and added
    assert len(lines(path)) == 6


def test_processes_may_share_a_file(path: Path) -> None:
    others = [start(MANY, str(path), name) for name in ("one", "two")]
    for process in others:
        process.communicate(timeout=60)
    assert [process.returncode for process in others] == [0, 0]
    assert len(lines(path)) == 200
    for name in ("one", "two"):
        assert ask(Replay(path, model=name), f"{name} 49 " + "x" * 5000)[0].text.endswith(" 99")


def test_a_writer_waits_while_another_is_at_the_file(path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    model = Recorded(Diary(), path)
    ask(model, "a")
    thread = threading.Thread(target=ask, args=(model, "b"))
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive() and len(lines(path)) == 1
    thread.join()
    assert len(lines(path)) == 2


def test_threads_may_share_a_recording(path: Path) -> None:
    model = Recorded(Diary(), path)
    threads = [threading.Thread(target=ask, args=(model, *(f"{i} {k}" for k in range(20)))) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines(path)) == 80 and len({line["hash"] for line in lines(path)}) == 80


def test_recordings_can_be_sent_to_another_process(path: Path) -> None:
    model = pickle.loads(pickle.dumps(Recorded(Diary(), path)))
    first = ask(model, "a", "b")
    assert ask(pickle.loads(pickle.dumps(Replay(path))), "a", "b") == first


def test_a_line_that_was_changed_is_refused(path: Path) -> None:
    ask(Recorded(Diary(), path), "first", "second")
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"temperature":1.0', b'"temperature":2.0', 1))
    with pytest.raises(ValueError, match="line 1: the request was changed"):
        Replay(path)
    path.write_bytes(whole.replace(b'"luck"', b'luck"', 1))
    with pytest.raises(ValueError, match="line 1: not a line of a recording"):
        Replay(path)
    path.write_bytes(b"7\n" + whole)
    with pytest.raises(ValueError, match="line 1: not a line of a recording"):
        Replay(path)


def test_files_that_are_no_recording_are_left_alone(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no recording"):
        Replay(path)
    path.parent.mkdir()
    path.write_text("my notes, without end of line")
    with pytest.raises(ValueError, match="not a recording of calls; give another file"):
        Recorded(Diary(), path)
    assert path.read_text() == "my notes, without end of line"


def test_a_recording_that_cannot_be_written_ends_the_run(path: Path) -> None:
    path.parent.write_text("a file where the folder should be")
    with pytest.raises(RuntimeError, match="the recording .* cannot be written"):
        ask(Recorded(Diary(), path), "a")


def test_what_can_do_nothing_is_no_model(path: Path) -> None:
    with pytest.raises(TypeError, match="model: an object with a method answer or score"):
        Recorded(7, path)


def test_a_model_that_loses_an_answer_is_found_out(path: Path) -> None:
    class Loses(Diary):
        def answer(self, *args: Any, **named: Any) -> list[Answer]:
            return super().answer(*args, **named)[1:]

    with pytest.raises(ValueError, match="one result for each of 2 calls, got 1"):
        ask(Recorded(Loses(), path), "a", "b")
    assert not path.exists()


def test_a_server_is_recorded_without_its_key(speaker: Any, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    server = Server(
        f"{speaker.url}/v1/chat/completions",
        "mini",
        key="MY_KEY",
        headers={"api-key": "$MY_KEY", "x-own": KEY[::-1]},
        retries=0,
        concurrency=1,
        prices=(1, 2),
    )
    model = Recorded(server, path)
    model.ready()
    speaker.script = [served.status(500, f"{KEY} or {KEY[::-1]} is wrong")]
    first = ask(model, "fails", "fine")
    assert "is wrong" in first[0].error and first[1].text == "fine"
    written = path.read_text()
    for secret in (KEY, KEY[::-1]):
        assert secret not in written and secret not in repr(model)
    assert str(speaker.server_port) not in written
    assert ask(Replay(path), "fails", "fine") == first
