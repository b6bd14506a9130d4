"""Language models that are asked and answer: a server that speaks the chat-completions protocol, and a user's function."""

from __future__ import annotations

import contextlib
import datetime as dt
import email.utils
import http.client
import json
import math
import os
import random
import re
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from ...envs.core import validate
from .protocol import Answer, Message

FORMS = ("json_schema", "json_object", "none")
"""How an answer is held to its schema, the strictest first: a server that refuses one is asked for the next."""

LARGEST = 2**24
"""Most bytes of a reply that are read."""

SLOWEST = 60.0
"""Most seconds between two tries, unless the server asks for more."""

OWN = ("messages", "model", "n", "response_format", "stream")
"""Parts of a request that are not to be set by ``extra``."""

Form = Literal["json_schema", "json_object", "none"]


class _Failed(Exception):
    """A request without an answer: why, its status (0 if none came), whether to try again, and after how many seconds."""

    def __init__(self, reason: str, status: int = 0, *, again: bool = False, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.status, self.again, self.wait = status, again, wait


class Server:
    """Asks a model behind an OpenAI-compatible server: vLLM, llama.cpp, TGI, Ollama or a hosted one.

    Conversations of a call are asked at the same time, at most ``concurrency`` at once, and answered in their order.
    Busy and broken servers (429, 408, 5xx), late answers and lost connections are tried again, after a time that doubles
    and is drawn from the conversation's luck; ``Retry-After`` is honoured. What fails in the end stands in
    ``Answer.error``. A server that refuses structured output with status 400 or 422 is asked in the next looser form,
    and the form that it took is remembered.

    The key is read from the environment for each request; it is never kept, printed or recorded. Redirects are not
    followed, so it goes to no other place. Proxies are taken from the environment, except for this machine's own servers.

    Parameters
    ----------
    url
        Where the server is: ``"http://localhost:8000"`` (``/v1`` is added where there is no path) or
        ``"https://example.org/api/v1"``.
    model
        The model's name, as the server knows it.
    key
        Name of the environment variable that holds the key, for example ``"OPENAI_API_KEY"``; None if none is needed.
    prices
        US dollars for a million tokens read and a million written; None if not known.
    concurrency
        Most requests at once.
    timeout
        Seconds that one request may take.
    retries
        Tries after the first.
    rate
        Most requests a minute; None for no limit. At most as many as fall on one second go at once.
    structured
        How answers are held to their schema at first: ``"json_schema"`` (strictly), ``"json_object"`` (any JSON) or
        ``"none"``.
    deadline
        Seconds that one conversation may take in all, with every try and wait between.
    backoff
        Seconds before the second try; half of it is left to chance.
    headers
        More headers of each request. A value that begins with ``$`` names an environment variable that holds it.
    extra
        More parts of each request, for example ``{"max_tokens": 200}``; None as a value leaves a part out, for servers
        that refuse ``temperature`` or ``seed``.

    Examples
    --------
    >>> server = Server("http://localhost:8000", "Qwen/Qwen3-0.6B", extra={"max_tokens": 100})
    >>> server
    Server('http://localhost:8000/v1', 'Qwen/Qwen3-0.6B')
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key: str | None = None,
        prices: Sequence[float] | None = None,
        concurrency: int = 8,
        timeout: float = 60.0,
        retries: int = 4,
        rate: float | None = None,
        structured: Form = "json_schema",
        deadline: float = 600.0,
        backoff: float = 0.5,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self.url, self._query = _address(url)
        self.model = _name(model)
        self.key = None if key is None else _variable_name(key)
        self.prices: tuple[float, float] | None = None
        if prices is not None:
            if not isinstance(prices, list | tuple) or len(prices) != 2:
                raise ValueError(f"prices: dollars for a million tokens (read, written), got {prices!r}")
            self.prices = (validate.real("prices[0]", prices[0], 0.0), validate.real("prices[1]", prices[1], 0.0))
        self.concurrency = validate.whole("concurrency", concurrency, 1, 1024)
        self.timeout = validate.real("timeout", timeout, 0.001, 86_400)
        self.retries = validate.whole("retries", retries, 0, 100)
        self.rate = None if rate is None else validate.real("rate", rate, 0.001, 1e6)
        self.structured = validate.one_of("structured", structured, FORMS)
        self.deadline = validate.real("deadline", deadline, 0.001, 1e6)
        self.backoff = validate.real("backoff", backoff, 0.0, SLOWEST)
        self._headers = _texts(headers)
        self.extra = _parts(extra)
        self._form = FORMS.index(self.structured)
        self._begin()

    def _begin(self) -> None:
        """Make what cannot be copied to another process."""
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(self.concurrency)
        self._free = 0.0
        host = urllib.parse.urlsplit(self.url).hostname or ""
        own = host in ("localhost", "::1") or host.startswith("127.")
        self._opener = urllib.request.build_opener(_Stay(), *([urllib.request.ProxyHandler({})] if own else []))

    def __getstate__(self) -> dict[str, Any]:
        """A copy keeps its own limits."""
        return {k: v for k, v in vars(self).items() if k not in ("_lock", "_slots", "_free", "_opener")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()

    def __repr__(self) -> str:
        key = "" if self.key is None else f", key={self.key!r}"
        return f"Server({self.url!r}, {self.model!r}{key})"

    @property
    def settings(self) -> dict[str, Any]:
        """What decides answers besides the question; where the server stands does not."""
        return {"model": self.model, "structured": self.structured, "extra": self.extra}

    def ready(self) -> None:
        """Raise an error that says what to do, if the server is away, refuses the key or does not know the model."""
        listed: list[str] | None = None
        try:
            reply = self._ask("/models", None, self.timeout)
            entries = reply.get("data") if isinstance(reply, dict) else None
            found = [entry.get("id") for entry in entries or [] if isinstance(entry, dict)]
            listed = [str(name) for name in found if name]
            if any(name == self.model or name.startswith(f"{self.model}:") for name in listed):
                return
        except _Failed as failure:
            self._away(failure)
        probe = {"model": self.model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
        try:  # it may go by more names than are listed, or list none
            self._ask("/chat/completions", probe, self.timeout)
        except _Failed as failure:
            self._away(failure)
            if failure.status == 429 or (failure.status in (400, 422) and not listed):
                return  # it is there, and more is not known
            if listed:
                more = f" and {len(listed) - 20} more" if len(listed) > 20 else ""
                names = ", ".join(map(repr, listed[:20])) + more
                raise ValueError(f"model: {self.url} has no {self.model!r}; it has: {names}") from None
            hint = "" if self.url.endswith("/v1") else "; the address often ends in /v1"
            raise ConnectionError(f"url: {self.url}/chat/completions does not answer: {failure}{hint}") from None

    def _away(self, failure: _Failed) -> None:
        """Raise what no other question to the server would mend."""
        if failure.status in (401, 403) or isinstance(failure, _NoKey):
            raise PermissionError(f"key: {failure}") from None
        if not failure.status:
            raise ConnectionError(
                f"url: no model server at {self.url} ({failure}); start it (for example: vllm serve {self.model}) or "
                "mend the address"
            ) from None

    def answer(
        self,
        conversations: Sequence[Sequence[Message]],
        schemas: Sequence[dict[str, Any]],
        *,
        temperature: float,
        luck: Sequence[float],
    ) -> list[Answer]:
        """Answer every conversation, each with JSON of its schema; an empty schema asks for plain text.

        ``luck`` is one uniform number a conversation, the source of its seed. What went wrong stands in ``Answer.error``.
        """
        if not len(conversations) == len(schemas) == len(luck):
            raise ValueError(
                f"answer: one schema and one number of luck a conversation, got {len(conversations)} conversations, "
                f"{len(schemas)} schemas and {len(luck)} numbers"
            )
        if not conversations:
            return []
        stop = threading.Event()

        def ask(job: tuple[Sequence[Message], dict[str, Any], float]) -> Answer:
            try:
                with self._slots:
                    return self._answer(*job, temperature, stop)
            except Exception as error:
                return Answer("", self._clean(f"{type(error).__name__}: {error}"))

        pool = ThreadPoolExecutor(min(self.concurrency, len(conversations)), thread_name_prefix="societas-server")
        try:
            return list(pool.map(ask, zip(conversations, schemas, luck, strict=True)))
        finally:  # also where the user interrupts
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def _answer(
        self,
        conversation: Sequence[Message],
        schema: dict[str, Any],
        luck: float,
        temperature: float,
        stop: threading.Event,
    ) -> Answer:
        """Ask until there is an answer, or no try or time is left."""
        draw = random.Random(repr(float(luck)))
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": role, "content": content} for role, content in conversation],
            "temperature": float(temperature),
            "seed": min(int(float(luck) * 2**31), 2**31 - 1),
        }
        body = {name: part for name, part in (body | self.extra).items() if part is not None}
        form, attempts, failures, refusal = self._form, 0, 0, ""
        begun = time.monotonic()

        def failed(reason: str) -> Answer:
            return Answer("", self._clean(reason), seconds=time.monotonic() - begun, attempts=attempts)

        while True:
            turn = self._turn()
            if attempts and time.monotonic() - begun + turn >= self.deadline:
                return failed(f"no answer within the {self.deadline:g} seconds of the deadline")
            if stop.wait(turn):
                return failed("interrupted")
            if not attempts:
                begun = time.monotonic()
            left = max(0.001, self.deadline - (time.monotonic() - begun))
            attempts += 1
            try:
                reply = self._ask("/chat/completions", body | _format(form, schema), min(self.timeout, left))
                text, read, written = _content(reply)
            except _Failed as failure:
                if failure.status in (400, 422):
                    if schema and form < len(FORMS) - 1:
                        refusal = refusal or str(failure)
                        form += 1
                        continue
                    return failed(refusal or str(failure))
                if not failure.again or failures == self.retries:
                    return failed(str(failure))
                wait = min(self.backoff * 2.0**failures, SLOWEST) * (1 - draw.random() / 2) + failure.wait
                if time.monotonic() - begun + wait >= self.deadline:
                    return failed(
                        f"{failure}; another try would end after the {self.deadline:g} seconds of the deadline"
                    )
                failures += 1
                if stop.wait(wait):
                    return failed("interrupted")
                continue
            with self._lock:
                self._form = max(self._form, form)
            cost = None
            if self.prices is not None and read is not None and written is not None:
                cost = (self.prices[0] * read + self.prices[1] * written) / 1e6
            return Answer(text, "", read or 0, written or 0, time.monotonic() - begun, cost, attempts)

    def _turn(self) -> float:
        """Take the next turn that the rate allows; return the seconds until then."""
        if self.rate is None:
            return 0.0
        apart = 60.0 / self.rate
        with self._lock:
            now = time.monotonic()
            self._free = max(self._free, now - max(0.0, 1.0 - apart)) + apart
            return max(0.0, self._free - apart - now)

    def _secrets(self) -> dict[str, str]:
        """Return the headers, with what stands in the environment."""
        found = {}
        for name, value in self._headers.items():
            found[name] = _variable(value[1:]) if value.startswith("$") else value
        if self.key is not None:
            found["Authorization"] = f"Bearer {_variable(self.key)}"
        return found

    def _clean(self, text: str) -> str:
        """Strike out secrets, where a server or an error repeats them."""
        names = [value[1:] for value in self._headers.values() if value.startswith("$")]
        hidden = [os.environ.get(name, "").strip() for name in ([self.key] if self.key else []) + names]
        for secret in [*hidden, *(value for value in self._headers.values() if not value.startswith("$")), self._query]:
            if len(secret) >= 4:
                text = text.replace(secret, "[hidden]")
        return text

    def _ask(self, path: str, body: dict[str, Any] | None, seconds: float) -> Any:
        """Send one request and return its JSON; a body is posted."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Accept": "application/json", "Content-Type": "application/json", "User-Agent": "societas"}
        request = urllib.request.Request(f"{self.url}{path}{self._query}", data, headers | self._secrets())
        end = time.monotonic() + seconds
        try:
            with self._opener.open(request, timeout=seconds) as reply:
                content = _read(reply, end)
        except urllib.error.HTTPError as error:
            raise self._refused(error, end) from None
        except (TimeoutError, _Late):
            raise _Failed(f"no answer within {seconds:.3g} seconds", again=True) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            if isinstance(reason, TimeoutError):
                raise _Failed(f"no connection within {seconds:.3g} seconds", again=True) from None
            why = self._clean(str(reason) or type(reason).__name__)
            lasting = isinstance(reason, ssl.SSLCertVerificationError)
            raise _Failed(f"connection failed: {why}", again=not lasting) from None
        try:
            return json.loads(content)
        except ValueError:
            raise _Failed(f"the answer is not JSON: {_short(content)!r}", 200, again=True) from None

    def _refused(self, error: urllib.error.HTTPError, end: float) -> _Failed:
        """Return what a status other than 200 means."""
        content = b""
        with contextlib.suppress(OSError, http.client.HTTPException, _Late), error:
            content = _read(error, end)
        status, said = error.code, _said(content)
        if status in (401, 403):  # what a server says here often repeats the key
            held = f"the key in ${self.key}" if self.key else "a request without key; give key='NAME_OF_VARIABLE'"
            return _Failed(f"status {status}: the server refuses {held}", status)
        if 300 <= status < 400:
            place = self._clean(str(error.headers.get("Location", "elsewhere")))
            return _Failed(f"status {status}: the server sends us on to {place}; give that address as url", status)
        busy = status in (408, 429) or status >= 500
        again = busy and "insufficient_quota" not in said
        wait = _seconds(error.headers.get("Retry-After")) if again else 0.0
        return _Failed(self._clean(f"status {status}: {said or error.reason}"), status, again=again, wait=wait)


class Function:
    """A user's own function as a model that answers.

    Parameters
    ----------
    function
        Called as ``function(conversation, schema)`` with a list of ``Message`` (role, content) and the JSON schema of the
        answer, one conversation after the other; returns the answer's text. What it raises stands in ``Answer.error``.
    """

    def __init__(self, function: Callable[[list[Message], dict[str, Any]], str]) -> None:
        if not callable(function):
            raise TypeError(f"function: called as function(conversation, schema), got {function!r}")
        self.function = function

    def __repr__(self) -> str:
        return f"Function({self.settings['function']})"

    @property
    def settings(self) -> dict[str, Any]:
        """The name of the function."""
        name = getattr(self.function, "__qualname__", type(self.function).__qualname__)
        return {"function": f"{getattr(self.function, '__module__', '')}.{name}"}

    def answer(
        self,
        conversations: Sequence[Sequence[Message]],
        schemas: Sequence[dict[str, Any]],
        *,
        temperature: float,
        luck: Sequence[float],
    ) -> list[Answer]:
        """Answer every conversation; temperature and luck are left to the function's own ways."""
        answers = []
        for conversation, schema, _ in zip(conversations, schemas, luck, strict=True):
            begun = time.monotonic()
            try:
                text: Any = self.function([Message(*message) for message in conversation], schema)
                error = "" if isinstance(text, str) else f"the function returned no text but {type(text).__name__}"
            except Exception as raised:
                text, error = "", f"{type(raised).__name__}: {raised}"
            answers.append(Answer("" if error else text, error, seconds=time.monotonic() - begun))
        return answers


class _NoKey(_Failed):
    """A variable of the environment that is not set."""


class _Late(Exception):
    """An answer that comes drop by drop, past its time."""


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows nobody: a key would go with the request."""

    def redirect_request(self, *_: Any) -> None:
        """Return no new request: the status becomes an error."""


def _name(model: Any) -> str:
    if not isinstance(model, str) or not model:
        raise ValueError(f"model: the name of a model as the server knows it, got {model!r}")
    return model


def _variable_name(key: Any) -> str:
    """Return the name of a variable; what was given instead may be a key and is not shown."""
    if not isinstance(key, str) or not re.fullmatch(r"[A-Z_][A-Z0-9_]*", key):
        raise ValueError(
            "key: the name of an environment variable in capital letters, for example 'OPENAI_API_KEY', not the key itself"
        )
    return key


def _address(url: Any) -> tuple[str, str]:
    """Return the address up to where the paths of the protocol begin, and the query with its question mark."""
    parts = urllib.parse.urlsplit(url) if isinstance(url, str) else None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"url: an address that begins with http:// or https://, got {str(url).split('?')[0]!r}")
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "url: an address without user or password; put a key in the environment and give key='ITS_NAME'"
        )
    path = parts.path.rstrip("/").removesuffix("/chat/completions") or "/v1"
    return f"{parts.scheme}://{parts.netloc}{path}", f"?{parts.query}" if parts.query else ""


def _texts(headers: Any) -> dict[str, str]:
    """Return checked headers; their values may be secret and are not shown."""
    if headers is None:
        return {}
    if not isinstance(headers, Mapping):
        raise ValueError(f"headers: a mapping of names to texts, got {type(headers).__name__}")
    for name, value in headers.items():
        fine = isinstance(name, str) and re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name)
        if not fine or not isinstance(value, str) or not re.fullmatch(r"[\t\x20-\x7e]*", value):
            raise ValueError(f"headers: names to texts of one line, got something else under {name!r}")
    return dict(headers)


def _parts(extra: Any) -> dict[str, Any]:
    """Return checked parts of a request."""
    if extra is None:
        return {}
    if not isinstance(extra, Mapping) or not all(isinstance(name, str) for name in extra):
        raise ValueError(f"extra: a mapping of names to JSON values, got {extra!r}")
    for name in OWN:
        if name in extra:
            raise ValueError(
                f"extra: {name!r} is not to be set here; these are set by the server object: {', '.join(OWN)}"
            )
    try:
        json.dumps(dict(extra), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"extra: names to JSON values ({error}), got {extra!r}") from None
    return dict(extra)


def _format(form: int, schema: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a request that holds the answer to its schema."""
    if not schema or FORMS[form] == "none":
        return {}
    if FORMS[form] == "json_object":
        return {"response_format": {"type": "json_object"}}
    named = {"name": "answer", "schema": schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def _content(reply: Any) -> tuple[str, int | None, int | None]:
    """Return the text of a reply and the tokens read and written, None where it does not say."""
    try:
        choice = reply["choices"][0]
        message = choice["message"]
        text = message.get("content")
        if isinstance(text, list):
            text = "".join(part["text"] for part in text if part.get("type", "text") == "text")
        refusal, finish = message.get("refusal"), choice.get("finish_reason")
    except (AttributeError, IndexError, KeyError, TypeError):
        said = _said(json.dumps(reply).encode())
        raise _Failed(f"the answer has no choices[0].message: {said!r}", 200, again=True) from None
    if not isinstance(text, str) or not text:
        if refusal:
            raise _Failed(f"the model refuses: {_short(str(refusal).encode())}", 200)
        if finish == "length":
            raise _Failed("no text: all tokens were used before the answer began; raise max_tokens in extra", 200)
        raise _Failed(f"no text (finish_reason {finish!r})", 200, again=True)
    usage = reply.get("usage")
    counts = [usage.get(name) if isinstance(usage, dict) else None for name in ("prompt_tokens", "completion_tokens")]
    read, written = (count if isinstance(count, int) and count >= 0 else None for count in counts)
    return text, read, written


def _read(reply: Any, end: float) -> bytes:
    """Read a body piece by piece, until its end or the time is over."""
    pieces, size = [], 0
    while piece := reply.read1(65536):
        pieces.append(piece)
        size += len(piece)
        if size > LARGEST:
            raise _Failed(f"the answer is longer than {LARGEST} bytes")
        if time.monotonic() > end:
            raise _Late
    if getattr(reply, "length", None):
        raise http.client.IncompleteRead(b"", reply.length)
    return b"".join(pieces)


def _said(content: bytes) -> str:
    """Return what a server says of an error: its message, or the beginning of what came."""
    with contextlib.suppress(ValueError):
        found: Any = json.loads(content)
        if isinstance(found, dict):
            found = found.get("error") or found.get("detail") or found.get("message") or found
        if isinstance(found, dict) and found.get("message"):
            code = found.get("code")
            text = f"{found['message']}{f' ({code})' if isinstance(code, str) else ''}"
            return _short(text.encode(errors="replace"))
        return _short((found if isinstance(found, str) else json.dumps(found)).encode(errors="replace"))
    return _short(content)


def _short(content: bytes) -> str:
    """Return the beginning of a text on one line."""
    text = " ".join(content[:2000].decode(errors="replace").split())
    return text if len(text) <= 300 else text[:297] + "..."


def _seconds(after: str | None) -> float:
    """Return the seconds of a Retry-After header: a number or a date; 0 where there is none."""
    if after is None:
        return 0.0
    try:
        number = float(after)
    except ValueError:
        try:
            moment = email.utils.parsedate_to_datetime(after)
        except ValueError:
            return 0.0
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=dt.UTC)
        number = (moment - dt.datetime.now(dt.UTC)).total_seconds()
    return max(0.0, number) if math.isfinite(number) else 0.0


def _variable(name: str) -> str:
    """Return a secret that stands in the environment."""
    value = os.environ.get(name, "").strip()
    if not value:
        raise _NoKey(f"environment variable {name} is not set; set it to the key of the server")
    if not re.fullmatch(r"[\x21-\x7e]+( [\x21-\x7e]+)*", value):
        raise _NoKey(f"environment variable {name} holds signs that no key has (it must be plain ASCII on one line)")
    return value
