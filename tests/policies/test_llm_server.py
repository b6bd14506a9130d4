from __future__ import annotations

import copy
import datetime as dt
import email.utils
import json
import pickle
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from societas.policies.llm.protocol import Answer, Answers, Message
from societas.policies.llm.server import Function, Server

SCHEMA = {"type": "object", "properties": {"harvest": {"type": "integer"}}, "required": ["harvest"]}
KEY = "sk-very-secret-0123456789"


class Speaker(ThreadingHTTPServer):
    """A chat-completions server on this machine that does as it is told, then answers with the last message."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[Callable[[Handler], None]] = []
        """What happens to the next requests."""
        self.models: Any = ["mini", "maxi"]
        self.known = {"mini", "maxi"}
        self.refused: tuple[str, ...] = ()
        """Types of response_format that get status 400."""
        self.usage: Any = {"prompt_tokens": 1000, "completion_tokens": 10}
        self.wait = 0.0
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.now, self.most = 0, 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: Any) -> None:
        """Be silent about clients that went away."""


class Handler(BaseHTTPRequestHandler):
    server: Speaker

    def log_message(self, *_: Any) -> None:
        pass

    def reply(self, status: int, content: Any, **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        if self.path != "/v1/models" or self.server.models is None:
            return self.reply(404, {"error": {"message": "not here"}})
        if self.server.script:
            return self.server.script.pop(0)(self)
        return self.reply(200, {"object": "list", "data": [{"id": name} for name in self.server.models]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        own = self.server
        with own.lock:
            own.bodies.append(body)
            own.headers.append(dict(self.headers))
            own.times.append(time.monotonic())
            own.now += 1
            own.most = max(own.most, own.now)
            act = own.script.pop(0) if own.script else None
        time.sleep(own.wait)
        with own.lock:  # before the reply is sent: the client may ask again before this thread goes on
            own.now -= 1
        if act is not None:
            act(self)
        elif body.get("response_format", {}).get("type") in own.refused:
            self.reply(400, {"error": {"message": "response_format is not supported"}})
        elif body["model"] not in own.known:
            self.reply(404, {"error": {"message": f"The model `{body['model']}` does not exist."}})
        else:
            self.say(body["messages"][-1]["content"])

    def say(self, text: Any, finish: str = "stop", **more: Any) -> None:
        message = {"role": "assistant", "content": text, **more}
        found = {"choices": [{"index": 0, "message": message, "finish_reason": finish}]}
        self.reply(200, found if self.server.usage is None else {**found, "usage": self.server.usage})


def status(code: int, said: Any = None, **headers: str) -> Callable[[Handler], None]:
    return lambda handler: handler.reply(code, {"error": {"message": said or f"told to say {code}"}}, **headers)


def content(data: Any) -> Callable[[Handler], None]:
    return lambda handler: handler.reply(200, data)


def says(text: Any, finish: str = "stop", **more: Any) -> Callable[[Handler], None]:
    return lambda handler: handler.say(text, finish, **more)


def slow(handler: Handler) -> None:
    time.sleep(1.2)
    handler.say("too late")


def drops(handler: Handler) -> None:
    """Reset the connection."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def halves(handler: Handler) -> None:
    """Promise more than comes."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')


def trickles(handler: Handler) -> None:
    """Send a byte at a time, each within the time of a read."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(40):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


@pytest.fixture
def speaker() -> Iterator[Speaker]:
    server = Speaker()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def asking(speaker: Speaker, **settings: Any) -> Server:
    return Server(speaker.url, "mini", **{"backoff": 0.01, "timeout": 5.0, **settings})


def ask(server: Server, *texts: str, luck: Any = None, schema: Any = SCHEMA, temperature: float = 1.0) -> list[Answer]:
    conversations = [[Message("system", "Rules."), Message("user", text)] for text in texts]
    numbers = [i / len(texts) for i in range(len(texts))] if luck is None else luck
    return server.answer(conversations, [schema] * len(texts), temperature=temperature, luck=numbers)


def test_a_question_is_sent_as_the_protocol_says(speaker: Speaker) -> None:
    server = asking(speaker, extra={"max_tokens": 7}, headers={"X-Team": "fish"})
    assert isinstance(server, Answers)
    (answer,) = ask(server, "hello", luck=[0.25], temperature=0.5)
    assert answer.text == "hello" and not answer.error and answer.attempts == 1 and answer.seconds > 0
    assert speaker.bodies == [
        {
            "model": "mini",
            "messages": [{"role": "system", "content": "Rules."}, {"role": "user", "content": "hello"}],
            "temperature": 0.5,
            "seed": 2**29,
            "max_tokens": 7,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
            },
        }
    ]
    assert speaker.headers[0]["X-Team"] == "fish" and "Authorization" not in speaker.headers[0]


def test_extra_leaves_parts_out_and_overrides(speaker: Speaker) -> None:
    ask(asking(speaker, extra={"seed": None, "temperature": 1}), "x", temperature=0.0)
    assert "seed" not in speaker.bodies[0] and speaker.bodies[0]["temperature"] == 1


def test_no_schema_asks_for_plain_text(speaker: Speaker) -> None:
    assert ask(asking(speaker), "x", schema={})[0].text == "x"
    assert "response_format" not in speaker.bodies[0]


def test_no_conversations_no_answers(speaker: Speaker) -> None:
    assert ask(asking(speaker)) == [] and not speaker.bodies


def test_answers_keep_their_order_and_the_limit_of_requests_at_once(speaker: Speaker) -> None:
    speaker.wait = 0.02
    texts = [f"number {i}" for i in range(40)]
    answers = ask(asking(speaker, concurrency=5), *texts)
    assert [answer.text for answer in answers] == texts
    assert 2 <= speaker.most <= 5


def test_the_limit_holds_for_calls_of_several_threads_together(speaker: Speaker) -> None:
    speaker.wait = 0.02
    server, found = asking(speaker, concurrency=3), []
    threads = [threading.Thread(target=lambda: found.extend(ask(server, *"abcdef"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.text for answer in found) == sorted("abcdef" * 3)
    assert 2 <= speaker.most <= 3


@pytest.mark.parametrize("trouble", [status(500), status(503), status(429), status(408), drops, halves, slow, trickles])
def test_passing_trouble_is_tried_again(speaker: Speaker, trouble: Callable[[Handler], None]) -> None:
    speaker.script = [trouble]
    (answer,) = ask(asking(speaker, timeout=0.5 if trouble in (slow, trickles) else 5.0), "fine")
    assert answer.text == "fine" and not answer.error and answer.attempts == 2


@pytest.mark.parametrize(
    "broken", [b"<html>busy</html>", b'{"choices": [', {"choices": []}, {"error": "x"}, [1], b"\xff"]
)
def test_a_reply_that_is_none_is_tried_again(speaker: Speaker, broken: Any) -> None:
    speaker.script = [content(broken)]
    (answer,) = ask(asking(speaker), "fine")
    assert answer.text == "fine" and answer.attempts == 2


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (status(500, "out of memory"), "status 500: out of memory"),
        (slow, "no answer within 0.5 seconds"),
        (trickles, "no answer within 0.5 seconds"),
        (drops, "connection failed"),
        (halves, "connection failed: IncompleteRead"),
        (content(b"<html>"), "not JSON: '<html>'"),
        (content({"choices": []}), "no choices"),
        (says(""), "no text"),
    ],
)
def test_lasting_trouble_ends_in_an_error(speaker: Speaker, trouble: Callable[[Handler], None], said: str) -> None:
    speaker.script = [trouble] * 2
    bad, *_ = ask(asking(speaker, timeout=0.5, retries=1, concurrency=1), "bad")
    assert bad.text == "" and said in bad.error and bad.attempts == 2
    assert ask(asking(speaker), "good")[0].text == "good"


def test_one_bad_answer_does_not_spoil_the_others(speaker: Speaker) -> None:
    speaker.script = [status(500)] * 3
    answers = ask(asking(speaker, retries=2, concurrency=1), "a", "b", "c")
    assert [answer.text for answer in answers] == ["", "b", "c"]


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (status(404, "no such model"), "status 404: no such model"),
        (status(401, f"Incorrect API key provided: {KEY[:4]}***"), "status 401"),
        (status(429, "You exceeded: insufficient_quota"), "insufficient_quota"),
        (says(None, refusal="I do not fish"), "refuses: I do not fish"),
        (says(None, "length"), "max_tokens"),
    ],
)
def test_what_no_try_would_mend_is_tried_once(speaker: Speaker, trouble: Callable[[Handler], None], said: str) -> None:
    speaker.script = [trouble]
    (answer,) = ask(asking(speaker), "x")
    assert said in answer.error and answer.attempts == 1 and KEY[:4] not in answer.error


def test_retry_after_is_honoured_in_seconds_and_as_a_date(speaker: Speaker) -> None:
    speaker.script = [status(429, Retry_After="0.3")]
    assert ask(asking(speaker), "x")[0].attempts == 2
    assert 0.3 <= speaker.times[1] - speaker.times[0] < 2
    moment = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1000)
    speaker.script = [status(503, Retry_After=email.utils.format_datetime(moment, usegmt=True))]
    (answer,) = ask(asking(speaker, deadline=500), "x")
    assert "500 seconds" in answer.error and answer.attempts == 1 and answer.seconds < 2


@pytest.mark.parametrize("after", ["soon", "nan", "-5", ""])
def test_a_senseless_retry_after_is_no_obstacle(speaker: Speaker, after: str) -> None:
    speaker.script = [status(429, Retry_After=after)]
    assert ask(asking(speaker), "x")[0].attempts == 2


def test_waits_double_and_follow_from_luck(speaker: Speaker, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    wait = threading.Event.wait

    def logged(event: threading.Event, timeout: float | None = None) -> bool:
        if timeout:
            waits.append(timeout)
        return wait(event, timeout)

    monkeypatch.setattr(threading.Event, "wait", logged)
    server = asking(speaker, backoff=0.02, retries=3)
    for luck in (0.1, 0.9):
        speaker.script, waits[:], speaker.times[:] = [status(500)] * 3, [], []
        assert ask(server, "x", luck=[luck])[0].attempts == 4
        draw = random.Random(repr(luck))
        meant = [0.02 * 2**k * (1 - draw.random() / 2) for k in range(3)]
        mine = [one for one in waits if one != 0.01]  # the server's own thread waits too
        assert mine == pytest.approx(meant)
        assert speaker.times[3] - speaker.times[0] >= sum(meant)


def test_the_deadline_ends_slow_tries(speaker: Speaker) -> None:
    speaker.script = [slow] * 10
    (answer,) = ask(asking(speaker, timeout=0.2, deadline=0.5, retries=9), "x")
    assert answer.error and 2 <= answer.attempts <= 4
    assert answer.seconds < 1.2


def test_the_deadline_cuts_a_try_and_the_wait_for_a_turn(speaker: Speaker) -> None:
    speaker.script = [slow]
    (answer,) = ask(asking(speaker, timeout=5.0, deadline=0.3), "x")
    assert "no answer within 0.3 seconds" in answer.error and answer.attempts == 1 and answer.seconds < 1
    speaker.script = [status(500)]
    (answer,) = ask(asking(speaker, rate=1, deadline=0.3), "x")
    assert "0.3 seconds of the deadline" in answer.error and answer.attempts == 1 and answer.seconds < 1


def test_the_rate_holds_requests_apart(speaker: Speaker) -> None:
    assert all(answer.text for answer in ask(asking(speaker, rate=600, concurrency=16), *map(str, range(18))))
    times = sorted(speaker.times)
    assert times[17] - times[0] >= 0.5  # ten at once, then one every tenth of a second


@pytest.mark.parametrize(
    ("refused", "form"), [(("json_schema",), "json_object"), (("json_schema", "json_object"), None)]
)
def test_a_form_that_is_refused_is_not_asked_for_again(
    speaker: Speaker, refused: tuple[str, ...], form: str | None
) -> None:
    speaker.refused = refused
    server = asking(speaker)
    assert ask(server, "one")[0].attempts == 1 + len(refused)
    (second,) = ask(server, "two")
    assert second.text == "two" and second.attempts == 1
    assert speaker.bodies[-1].get("response_format", {}).get("type") == form


def test_the_form_is_kept_when_the_question_is_at_fault(speaker: Speaker) -> None:
    speaker.script = [status(400, f"context is too long, try {i}") for i in range(3)]
    server = asking(speaker)
    (answer,) = ask(server, "long")
    assert answer.error == "status 400: context is too long, try 0" and answer.attempts == 3
    ask(server, "short")
    assert speaker.bodies[-1]["response_format"]["type"] == "json_schema"


@pytest.mark.parametrize("form", ["json_object", "none"])
def test_a_looser_form_can_be_asked_for_from_the_start(speaker: Speaker, form: Any) -> None:
    ask(asking(speaker, structured=form), "x")
    assert speaker.bodies[0].get("response_format", {}).get("type", "none") == form


def test_costs_follow_from_tokens(speaker: Speaker) -> None:
    (answer,) = ask(asking(speaker, prices=[0.5, 2.0]), "x")
    assert (answer.tokens_read, answer.tokens_written) == (1000, 10)
    assert answer.cost == pytest.approx((1000 * 0.5 + 10 * 2.0) / 1e6)
    assert ask(asking(speaker), "x")[0].cost is None


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": "many"}, [1]])
def test_unknown_tokens_cost_nobody_knows_what(speaker: Speaker, usage: Any) -> None:
    speaker.usage = usage
    (answer,) = ask(asking(speaker, prices=(1, 1)), "x")
    assert answer.text == "x" and answer.cost is None and answer.tokens_read == answer.tokens_written == 0


def test_content_in_parts_is_joined(speaker: Speaker) -> None:
    speaker.script = [says([{"type": "text", "text": "a"}, {"type": "reasoning"}, {"type": "text", "text": "b"}])]
    assert ask(asking(speaker), "x")[0].text == "ab"


def test_text_cut_at_the_limit_of_tokens_is_kept(speaker: Speaker) -> None:
    speaker.script = [says('{"harvest": 3} because', "length")]
    assert ask(asking(speaker), "x")[0].text == '{"harvest": 3} because'


def test_the_key_goes_to_the_server_and_nowhere_else(
    speaker: Speaker, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.setenv("OTHER_KEY", KEY[::-1])
    server = asking(speaker, key="MY_KEY", headers={"api-key": "$OTHER_KEY"}, retries=0)
    assert ask(server, "x")[0].text == "x"
    sent = {name.lower(): value for name, value in speaker.headers[0].items()}
    assert sent["authorization"] == f"Bearer {KEY}" and sent["api-key"] == KEY[::-1]
    speaker.script = [status(500, f"Bearer {KEY} and {KEY[::-1]} broke me")]
    (answer,) = ask(server, "x")
    assert "broke me" in answer.error
    shown = repr(server) + str(vars(server)) + str(server.settings) + answer.error + str(capfd.readouterr())
    for secret in (KEY, KEY[::-1]):
        assert secret not in shown
        assert secret.encode() not in pickle.dumps(server)


def test_a_key_that_is_not_set_is_named(speaker: Speaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    server = asking(speaker, key="MY_KEY")
    assert "MY_KEY is not set" in ask(server, "x")[0].error and not speaker.bodies
    with pytest.raises(PermissionError, match="MY_KEY is not set"):
        server.ready()
    monkeypatch.setenv("MY_KEY", "two\nlines")
    assert "MY_KEY" in ask(server, "x")[0].error


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(speaker: Speaker, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    speaker.script = [status(code, Location=f"http://localhost:{speaker.server_port}/v1/models")]
    (answer,) = ask(asking(speaker, key="MY_KEY"), "x")
    assert f"status {code}: the server sends us on to http://localhost" in answer.error and answer.attempts == 1
    assert len(speaker.bodies) == 1


def test_copies_work_in_their_own_right(speaker: Speaker) -> None:
    server = asking(speaker, prices=(1, 1), rate=6000)
    for twin in (copy.copy(server), copy.deepcopy(server), pickle.loads(pickle.dumps(server))):
        assert repr(twin) == repr(server)
        assert ask(twin, "x")[0].cost == pytest.approx(0.00101)


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/", "/v1/chat/completions"])
def test_addresses_are_understood_with_and_without_path(speaker: Speaker, path: str) -> None:
    server = Server(speaker.url + path, "mini")
    assert ask(server, "x")[0].text == "x"
    server.ready()


def test_lists_of_different_lengths_are_refused(speaker: Speaker) -> None:
    with pytest.raises(ValueError, match="2 conversations, 2 schemas and 1 numbers"):
        ask(asking(speaker), "a", "b", luck=[0.5])


def test_even_nonsense_does_not_raise(speaker: Speaker) -> None:
    answers = ask(asking(speaker), "a", "b", luck=[float("nan"), 0.5])
    assert "ValueError" in answers[0].error and answers[1].text == "b"


def test_ready_says_when_nobody_is_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    server = Server(url, "mini", retries=1, backoff=0.01)
    with pytest.raises(ConnectionError, match="no model server at .*start it"):
        server.ready()
    (answer,) = ask(server, "x")
    assert "connection failed" in answer.error and answer.attempts == 2


def test_ready_lists_the_models_there_are(speaker: Speaker) -> None:
    Server(speaker.url, "maxi").ready()
    with pytest.raises(ValueError, match="has no 'midi'; it has: 'mini', 'maxi'"):
        Server(speaker.url, "midi").ready()
    speaker.known.add("alias")
    Server(speaker.url, "alias").ready()  # it answers to a name that it does not list
    assert speaker.bodies[-1]["max_tokens"] == 1
    speaker.models = ["mini:latest"]
    Server(speaker.url, "mini").ready()


def test_ready_does_without_a_list_of_models(speaker: Speaker) -> None:
    speaker.models = None
    Server(speaker.url, "mini").ready()
    with pytest.raises(ConnectionError, match="does not answer: status 404"):
        Server(speaker.url + "/nowhere", "midi").ready()


def test_ready_says_that_the_key_is_refused(speaker: Speaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    speaker.script = [status(401)]
    with pytest.raises(PermissionError, match=r"refuses the key in \$MY_KEY"):
        asking(speaker, key="MY_KEY").ready()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"url": "localhost:8000"}, "url: an address that begins with http"),
        ({"url": 7}, "url"),
        ({"url": f"https://me:{KEY}@example.org"}, "url: an address without user or password"),
        ({"model": ""}, "model"),
        ({"key": KEY}, "key: the name of an environment variable"),
        ({"prices": (1,)}, "prices"),
        ({"prices": (1, -1)}, "prices[1]"),
        ({"concurrency": 0}, "concurrency: a whole number from 1"),
        ({"timeout": 0}, "timeout"),
        ({"retries": -1}, "retries"),
        ({"rate": 0}, "rate"),
        ({"structured": "yaml"}, "structured: one of 'json_schema'"),
        ({"deadline": float("nan")}, "deadline"),
        ({"backoff": -1}, "backoff"),
        ({"headers": {"a b": "c"}}, "headers"),
        ({"headers": {"a": "x\r\nkey: y"}}, "headers"),
        ({"headers": "a"}, "headers"),
        ({"extra": {"stream": True}}, "'stream' is not to be set here"),
        ({"extra": {"a": {1, 2}}}, "extra"),
        ({"extra": [1]}, "extra"),
    ],
)
def test_bad_settings_are_refused_by_name(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=".") as caught:
        Server(**{"url": "http://localhost", "model": "m", **settings})
    assert said in str(caught.value) and KEY not in str(caught.value)


def test_a_function_answers() -> None:
    def fish(conversation: list[Message], schema: dict[str, Any]) -> str:
        return f"{conversation[-1].role}: {conversation[-1].content}, {schema['type']}"

    model = Function(fish)
    assert isinstance(model, Answers) and "fish" in repr(model)
    talks = [[Message("user", "a")], [("user", "b")]]
    answers = model.answer(talks, [SCHEMA] * 2, temperature=0.0, luck=[0.0, 0.5])  # type: ignore[arg-type]
    assert [answer.text for answer in answers] == ["user: a, object", "user: b, object"]
    assert not any(answer.error for answer in answers)


@pytest.mark.parametrize(("result", "said"), [(7, "no text but int"), (ZeroDivisionError("no fish"), "no fish")])
def test_a_function_that_fails_leaves_an_error(result: Any, said: str) -> None:
    def fail(conversation: list[Message], schema: dict[str, Any]) -> Any:
        if isinstance(result, Exception):
            raise result
        return result

    (answer,) = Function(fail).answer([[Message("user", "a")]], [{}], temperature=0.0, luck=[0.0])
    assert answer.text == "" and said in answer.error


def test_a_function_must_be_one() -> None:
    with pytest.raises(TypeError, match="function"):
        Function("fish")  # type: ignore[arg-type]
