"""Runs with language models: what they took is counted, and a recorded run is played again without the model."""

from __future__ import annotations

import csv
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import tiny_llama, tiny_tokenizer
from typer.testing import CliRunner

from societas.experiments import spec as specs
from societas.experiments.cli import app
from societas.experiments.run import run

SPEC: dict[str, Any] = {
    "name": "short",
    "title": "A short fishery",
    "question": "What does a model catch?",
    "design": "Two fishers, three months.",
    "game": {"Fishery": {"fishers": 2, "months": 3}},
    "uncertainty": {"clear": []},
    "institutions": {"none": [], "talk": [{"Talk": {"vocabulary": ["hello", "less"]}}]},
    "measures": ["alignment", "gain"],
    "baseline": "none",
}


def arm(**parameters: Any) -> dict[str, Any]:
    return {"worlds": 2, "players": {"fisher": {"policy": "llm", "parameters": parameters}}}


def written(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "short.yaml"
    path.write_text(yaml.safe_dump(SPEC | changes, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with a tiny model, as anybody may have one."""
    folder = tmp_path / "model"
    tiny_llama().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def test_a_recorded_run_is_played_again_without_the_model(model: Path, tmp_path: Path) -> None:
    path = written(tmp_path, policies={"tiny": arm(model=str(model), levels=5)})
    done = CliRunner().invoke(app, ["run", str(path), "--out", str(tmp_path / "runs"), "--workers", "1", "--record"])
    assert done.exit_code == 0, done.output
    (first,) = (tmp_path / "runs").iterdir()
    calls = sorted(file.name for file in (first / "calls").iterdir())
    assert calls == ["tiny--clear--none--fisher--0.jsonl", "tiny--clear--talk--fisher--0.jsonl"]
    shutil.rmtree(model)
    plan = specs.load(path)
    again = run(plan, tmp_path / "again", workers=1, replay=first)
    assert (again / "rows.csv").read_bytes() == (first / "rows.csv").read_bytes()
    assert (again / "episodes.json").read_bytes() == (first / "episodes.json").read_bytes()


def test_what_was_not_recorded_is_said(model: Path, tmp_path: Path) -> None:
    plan = specs.load(written(tmp_path, policies={"tiny": arm(model=str(model), levels=5)}))
    first = run(plan, tmp_path / "runs", workers=1)
    with pytest.raises(FileNotFoundError, match="no recorded calls in .*--record"):
        run(plan, tmp_path / "again", workers=1, replay=first)


class Hermit(BaseHTTPRequestHandler):
    """A chat server whose model wants 7 tonnes, and every third time says so in a code fence."""

    def log_message(self, *_: Any) -> None:
        pass

    def reply(self, content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self.reply({"data": [{"id": "hermit"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        fields = body["response_format"]["json_schema"]["schema"]["properties"]
        text = json.dumps({"harvest": 7} if "harvest" in fields else dict.fromkeys(fields, "hello"))
        self.server.count += 1  # type: ignore[attr-defined]
        if self.server.count % 3 == 0:  # type: ignore[attr-defined]
            text = f"```json\n{text}\n```"
        message = {"role": "assistant", "content": text}
        usage = {"prompt_tokens": 100, "completion_tokens": 5}
        self.reply({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage})


@pytest.fixture
def hermit() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hermit)
    server.count = 0  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_server_in_a_spec_is_asked_and_what_it_took_is_counted(hermit: Any, tmp_path: Path) -> None:
    served = {"Server": {"url": f"http://127.0.0.1:{hermit.server_port}", "model": "hermit", "prices": [1.0, 2.0]}}
    measures = [*SPEC["measures"], "llm_good", "llm_repaired", "llm_defaulted"]
    path = written(tmp_path, policies={"hermit": arm(model=served)}, institutions={"none": []}, measures=measures)
    first = run(specs.load(path), tmp_path / "runs", workers=1, record=True)
    with (first / "rows.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    total = {name: sum(float(row["value"]) for row in rows if row["measure"] == name) for name in measures}
    assert total["llm_good"] == 8.0 and total["llm_repaired"] == 4.0 and total["llm_defaulted"] == 0.0
    with (first / "models.csv").open(encoding="utf-8") as file:
        took = {row["counter"]: float(row["value"]) for row in csv.DictReader(file)}
    assert took["llm_questions"] == 12.0 and took["llm_tokens_read"] == 1200.0
    assert took["llm_cost"] == pytest.approx(12 * (100 * 1.0 + 5 * 2.0) / 1e6)
    assert took["llm_rule code fence"] == 4.0
    meta = json.loads((first / "meta.json").read_text(encoding="utf-8"))
    assert meta["measures"]["llm_repaired"]["unit"] == "decisions"
    hermit.shutdown()
    again = run(specs.load(path), tmp_path / "again", workers=1, replay=first)
    assert (again / "rows.csv").read_bytes() == (first / "rows.csv").read_bytes()


def test_a_server_that_is_away_is_said_before_anything_runs(tmp_path: Path) -> None:
    served = {"Server": {"url": "http://127.0.0.1:9", "model": "nobody"}}
    path = written(tmp_path, policies={"nobody": arm(model=served)})
    done = CliRunner().invoke(app, ["run", str(path), "--out", str(tmp_path / "runs"), "--workers", "1"])
    assert done.exit_code == 2 and "no model server at" in done.output
    assert not list((tmp_path / "runs").glob("*/cells/*"))
