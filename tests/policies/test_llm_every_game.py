"""Language models play every registered game through every back end: legal acts, every decision counted, the same acts."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import tiny_llama, tiny_tokenizer
from variants import SMALL

import societas
from societas import Game, make
from societas.envs.core import registry
from societas.policies.llm.policy import LanguageModel
from societas.policies.llm.protocol import Message
from societas.policies.llm.record import Recorded, Replay
from societas.policies.llm.server import Function, Server

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("llguidance")
torch.set_num_threads(1)

from societas.policies.llm.constrained import Constrained  # noqa: E402
from societas.policies.llm.models import locate  # noqa: E402
from societas.policies.llm.scorer import Scorer  # noqa: E402

LENGTHS = {"repetitions": 1, "months": 2, "periods": 2, "steps": 2}
"""Parameters that make an episode short, where a game has them and allows it."""

FEW = SMALL | {
    "Deliberation": {"citizens": 3},
    "Economy": SMALL["Economy"] | {"citizens": 2, "period": 2, "highest": 2, "cuts": (0.0, 9.7)},
    "GridCommons": SMALL["GridCommons"] | {"foragers": 2},
}
"""Parameters that keep players few."""


def short(name: str) -> Game:
    """Return a game of few players whose episodes are as short as it allows."""
    own = {field.name for field in dataclasses.fields(registry.resolve("games", name))}
    few = FEW.get(name, {})
    try:
        return make(name, **(few | {part: length for part, length in LENGTHS.items() if part in own}))
    except ValueError:  # its model needs more rounds
        return make(name, **few)


class Counting(LanguageModel):
    """Counts decisions by itself: seats of worlds that play and decide something."""

    counted = 0

    def act(self, seen: Any, stage: Any, u: Any, memory: Any) -> Any:
        for number in np.asarray(stage).reshape(-1):
            if number >= 0:
                name = self.game.stages[number].name  # type: ignore[attr-defined]
                Counting.counted += sum(bool(self.role.deciding(name, seat)) for seat in self.seats)
        return super().act(seen, stage, u, memory)


def plays(game: Game, model: Any, temperature: float = 0.0) -> tuple[dict[str, Any], Any]:
    """Play one episode with a model in every seat; return the returns and the ledger of all."""
    Counting.counted = 0
    policy = Counting(model, temperature=temperature, levels=5)
    episodes = societas.play(game, {role.name: policy for role in game.roles}, seed=5)  # Worlds checks every act
    ledger = policy.ledger
    if policy.asks:
        assert ledger.decisions == Counting.counted > 0
        assert ledger.questions == ledger.decisions + ledger.asked_again
        assert (
            sum(ledger.rules.values()) >= ledger.repaired and sum(map(sum, ledger.places.values())) == ledger.decisions
        )
    assert (episodes.length >= 1).all()
    return {name: values.tolist() for name, values in episodes.returns.items()}, ledger


class Handler(BaseHTTPRequestHandler):
    """Serves an in-process model by the chat-completions protocol."""

    protocol_version = "HTTP/1.1"
    model: Any
    lock = threading.Lock()

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        conversation = [Message(m["role"], m["content"]) for m in asked["messages"]]
        schema = asked["response_format"]["json_schema"]["schema"]
        with self.lock:
            (answer,) = self.model.answer([conversation], [schema], temperature=asked["temperature"], luck=[0.5])
        usage = {"prompt_tokens": answer.tokens_read, "completion_tokens": answer.tokens_written}
        message = {"role": "assistant", "content": answer.text}
        body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def tiny() -> Scorer:
    return Scorer(tiny_llama(), tiny_tokenizer(), device="cpu")


@pytest.fixture(scope="module")
def address(tiny: Scorer) -> Iterator[str]:
    served = type("Served", (Handler,), {"model": Constrained(tiny)})
    with ThreadingHTTPServer(("127.0.0.1", 0), served) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", societas.list("games"))
def test_every_back_end_plays_every_game(name: str, tiny: Scorer, address: str, tmp_path: Path) -> None:
    game, model = short(name), Constrained(tiny)

    scored, _ = plays(game, Recorded(tiny, tmp_path / "scores"), 1.0)
    replay = Replay(tmp_path / "scores")
    assert plays(game, replay, 1.0)[0] == scored and replay.missed == 0

    answered, ledger = plays(game, Recorded(model, tmp_path / "answers"))
    assert ledger.good == ledger.decisions and ledger.errors == 0
    replay = Replay(tmp_path / "answers")
    assert plays(game, replay)[0] == answered and replay.missed == 0

    def function(conversation: list[Message], schema: dict[str, Any]) -> str:
        return model.answer([conversation], [schema], temperature=0.0, luck=[0.5])[0].text

    for other in (Function(function), Server(address, "tiny", concurrency=2)):
        found, ledger = plays(game, other)
        assert found == answered and ledger.good == ledger.decisions


@pytest.fixture(scope="module")
def smollm2() -> Scorer:
    try:
        return Scorer.load(locate("smollm2"), device="cpu")
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    """Rows that are printed at the end (pytest -s)."""
    rows = [f"{'game':20} {'decisions':>9}  returns alike; seconds by back end; what became of the server's answers"]
    yield rows
    print("\n" + "\n".join(rows))


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize("name", societas.list("games"))
def test_smollm2_plays_every_game(
    name: str, smollm2: Scorer, gguf_server: str, table: list[str], tmp_path: Path
) -> None:
    """The same real model in process, held to schemas, behind a server, recorded and as a function: all of it legal."""
    game, model, seconds = short(name), Constrained(smollm2), dict[str, float]()

    def timed(kind: str, back_end: Any) -> tuple[dict[str, Any], Any]:
        begun = time.perf_counter()
        found = plays(game, back_end)
        seconds[kind] = time.perf_counter() - begun
        return found

    scored, _ = timed("scored", Recorded(smollm2, tmp_path / "scores"))
    replay = Replay(tmp_path / "scores")
    assert timed("replay", replay)[0] == scored and replay.missed == 0
    answered, ledger = timed("held", Recorded(model, tmp_path / "answers"))
    assert ledger.good == ledger.decisions and ledger.errors == 0
    replay = Replay(tmp_path / "answers")
    assert plays(game, replay)[0] == answered and replay.missed == 0

    def function(conversation: list[Message], schema: dict[str, Any]) -> str:
        return model.answer([conversation], [schema], temperature=0.0, luck=[0.5])[0].text

    # one conversation a call instead of all: equal but for rounding, so that near ties may fall otherwise
    asked, ledger = timed("function", Function(function))
    assert ledger.good == ledger.decisions
    _, ledger = timed("server", Server(gguf_server, "smollm2", extra={"max_tokens": 200}, timeout=600))
    assert (
        ledger.errors == 0
    )  # llama.cpp holds real numbers to no range, so an answer may be asked again, or be replaced
    outcomes = {kind: getattr(ledger, kind) for kind in ("good", "repaired", "again", "defaulted")}
    times = " ".join(f"{kind} {spent:.1f}" for kind, spent in seconds.items())
    table.append(f"{name:20} {ledger.decisions:>9}  {asked == answered}; {times}; {outcomes} {dict(ledger.rules)}")
    print(table[-1], flush=True)
