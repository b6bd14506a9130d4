"""Who is evaluated, who it meets, and what stands beside it."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ...envs.core import registry
from ...envs.core.arrays import Array, full
from ...envs.core.policy import Policy, default_acts
from ...policies.llm.policy import LanguageModel
from ..held_out import _named

if TYPE_CHECKING:
    from ...envs.core.game import Acts, Game, Seen
    from ...policies.llm.scorer import Chat
    from .suite import Case, Suite

REFERENCES = {"random": "random", "equilibrium": "equilibrium", "null act": ""}
"""Who is computed beside the model in the same worlds, {name: policy}; the null act is nobody's policy."""


class Highest(Policy):
    """Decides every number at the top of its range, and the last of every list of options."""

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Take the highest value of each field; a field without one gets the null act."""
        acts = default_acts(self.role, stage, len(self.seats))
        for field in self.role.acts:
            if np.isfinite(field.space.high) and field.name != "consent":
                shape = (*stage.shape, len(self.seats), *field.shape)
                acts[field.name] = full(stage, shape, field.space.high, integer=field.discrete)
        return acts, memory


class Once(Policy):
    """Lets a policy decide the first time that its role decides something; afterwards it plays the null act.

    Parameters
    ----------
    policy
        Who decides.
    shift
        Added to the policy's uniform numbers, modulo 1: other luck in the same world.
    """

    def __init__(self, policy: Policy, shift: float = 0.0) -> None:
        self.policy = policy
        self.shift = shift

    def bind(self, game: Game, role: str, seats: tuple[int, ...]) -> Self:
        """Bind the policy, and note at which stages the seats decide something."""
        bound = copy.copy(super().bind(game, role, seats))
        bound.policy = self.policy.bind(game, role, seats)
        bound.draws = bound.policy.draws
        deciding = [any(bound.role.deciding(stage.name, seat) for seat in seats) for stage in game.stages]
        bound.deciding = deciding  # type: ignore[attr-defined]
        return bound

    def begin(self, batch: tuple[int, ...], xp: Any, device: Any) -> Any:
        """Return the policy's memory, and that nothing has been decided."""
        return {"inner": self.policy.begin(batch, xp, device), "asked": xp.zeros(batch, dtype=bool, device=device)}

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Ask the policy in worlds where it has not been asked."""
        deciding = np.array(self.deciding)[np.maximum(stage, 0)] & (stage >= 0)  # type: ignore[attr-defined]
        due = np.where(deciding & ~memory["asked"], stage, -1)
        if (due < 0).all():
            return default_acts(self.role, stage, len(self.seats)), memory
        acts, inner = self.policy.act(seen, due, (u + self.shift) % 1.0, memory["inner"])
        return acts, {"inner": inner, "asked": memory["asked"] | deciding}


class Remembered:
    """A model that scores, each question put to it once: equal questions have equal answers.

    It counts questions, tokens and seconds of those that were put, and keeps the scores that were asked for last.

    Parameters
    ----------
    model
        Has ``score(chats, options)``, and may have ``tokens(chat)``.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.known: dict[tuple[Chat, tuple[str, ...]], np.ndarray[Any, Any]] = {}
        self.first: list[np.ndarray[Any, Any]] | None = None
        self.spent = {"calls": 0, "questions": 0, "tokens_read": 0, "seconds": 0.0}

    def score(self, chats: Sequence[Chat], options: Sequence[Sequence[str]]) -> list[np.ndarray[Any, Any]]:
        """Return the log-probability of each option as the continuation of its chat."""
        jobs = [(chat, tuple(some)) for chat, some in zip(chats, options, strict=True)]
        new = list(dict.fromkeys(job for job in jobs if job not in self.known))
        if new:
            begun = time.perf_counter()
            found = self.model.score([chat for chat, _ in new], [list(some) for _, some in new])
            self.known.update(zip(new, found, strict=True))
            self.spent["seconds"] += time.perf_counter() - begun
            self.spent["calls"] += 1
            self.spent["questions"] += len(new)
            if hasattr(self.model, "tokens"):
                self.spent["tokens_read"] += sum(len(self.model.tokens(chat)) for chat, _ in new)
        scores = [self.known[job].copy() for job in jobs]
        if self.first is None:
            self.first = scores
        return scores


class Candidate:
    """Whoever is evaluated, as the suite asks for it.

    Parameters
    ----------
    name
        As reports name it.
    policy
        A policy that is the same in every case; None is the null act.
    model
        For a language model: what scores or answers.
    temperature
        Of a language model's decisions.
    identity
        What decides its conduct, for the name of the run's folder.
    """

    def __init__(
        self,
        name: str,
        *,
        policy: Policy | None = None,
        model: Any = None,
        temperature: float = 1.0,
        identity: str = "",
    ) -> None:
        self.name = name
        self.policy = policy
        self.temperature = temperature
        self.identity = identity or name
        self.reads = model is not None
        self.asks = hasattr(model, "answer") and not hasattr(model, "score")
        self.model = Remembered(model) if self.reads and not self.asks else model

    def player(self, suite: Suite, case: Case) -> Policy | None:
        """Return the policy that plays a case; None for the null act."""
        if not self.reads:
            return self.policy
        if isinstance(self.model, Remembered):
            self.model.first = None
        return LanguageModel(
            self.model,
            temperature=self.temperature,
            levels=suite.levels,
            values="" if case.values == "none" else case.values,
            template=suite.template(case),
        )


def stranger(part: Mapping[str, Any], name: str) -> Policy | None:
    """Return one of the suite's strangers."""
    if not part:
        return Highest() if name == "highest" else None
    ((kind, options),) = part.items()
    policy: Policy = registry.create("policies", kind, **(options or {}))
    return policy


def candidate(
    model: str | Path | Policy | Any,
    *,
    name: str = "",
    key: str | None = None,
    prices: Sequence[float] | None = None,
    extra: Mapping[str, Any] | None = None,
    temperature: float = 1.0,
    device: str | None = None,
) -> Candidate:
    """Return who is meant by MODEL.

    Parameters
    ----------
    model
        ``"smollm2"``, a folder with a transformers model, a hub id, the address of a server (``http...``), a registered
        policy (``"random"``, ``"scripted:character=fair"``), or an object: a policy, or what scores or answers.
    name, key, prices, extra
        For a server: the model's name there, the environment variable that holds the key, US dollars for a million tokens
        (read, written), and more parts of each request, as for ``Server``.
    temperature
        0 takes a model's most probable act; 1 samples from its own probabilities.
    device
        Where a local model runs; None chooses.

    Raises
    ------
    ValueError, FileNotFoundError
        If a server's model is not named, or there is no such model; the message says what to do.
    """
    if isinstance(model, Policy):
        if isinstance(model, LanguageModel):
            raise ValueError(
                "model: a LanguageModel is bound to one prompt; give what it asks (policy.scorer), so that the suite can "
                "vary the words"
            )
        return Candidate(name or type(model).__name__.lower(), policy=model, identity=f"{name}{vars(model)}")
    if not isinstance(model, str | Path):
        if not (hasattr(model, "score") or hasattr(model, "answer")):
            raise TypeError(
                f"model: an object with score or answer, a policy, or a text that names one, got {type(model).__name__}"
            )
        settings = json.dumps(getattr(model, "settings", {}), sort_keys=True, default=str)
        shown = name or type(model).__name__
        return Candidate(shown, model=model, temperature=temperature, identity=f"{shown} {settings} {temperature}")
    text = str(model)
    if text.startswith(("http://", "https://")):
        from ...policies.llm.server import Server

        if not name:
            raise ValueError("name: a server needs the model's name there, for example --name Qwen/Qwen3-0.6B")
        server = Server(text, name, key=key, prices=prices, extra=extra)
        return candidate(server, name=name, temperature=temperature)
    if text.partition(":")[0] in registry.entries("policies") and not Path(text).is_dir():
        policy = _named(text)
        if isinstance(policy, LanguageModel):
            raise ValueError(f"model: give the model itself instead of {text!r}, for example 'smollm2' or a folder")
        return Candidate(name or text, policy=policy, identity=text)
    from ...policies.llm.models import locate
    from ...policies.llm.policy import load_scorer

    place = locate(text)
    identity = f"{text} {weights(Path(place))} {temperature}"

    class Later:
        """Loads the model when it is first asked, or made ready."""

        def ready(self) -> None:
            try:
                _ = self.scorer
            except OSError as error:
                raise FileNotFoundError(
                    f"model: {text!r} is no registered policy, and no model that can be loaded: {str(error).splitlines()[0]}"
                ) from error

        @property
        def scorer(self) -> Any:
            return load_scorer(text, device)

        def score(self, chats: Sequence[Chat], options: Sequence[Sequence[str]]) -> list[np.ndarray[Any, Any]]:
            found: list[np.ndarray[Any, Any]] = self.scorer.score(chats, options)
            return found

        def write(self, chats: Sequence[Chat], limit: int, *, temperature: float, luck: Sequence[float]) -> list[str]:
            texts: list[str] = self.scorer.write(chats, limit, temperature=temperature, luck=luck)
            return texts

        def tokens(self, chat: Chat) -> list[int]:
            found: list[int] = self.scorer.tokens(chat)
            return found

    shown = name or (Path(text).name if Path(text).is_dir() else text)
    return Candidate(shown, model=Later(), temperature=temperature, identity=identity)


def weights(folder: Path) -> str:
    """Return a hash of a folder's configuration and of name, size and time of its weights; empty where it is no folder."""
    if not folder.is_dir():
        return ""
    parts = [(folder / "config.json").read_bytes() if (folder / "config.json").is_file() else b""]
    for path in sorted(folder.glob("*.safetensors")):
        stat = path.stat()
        parts.append(f"{path.name} {stat.st_size} {stat.st_mtime_ns}".encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
