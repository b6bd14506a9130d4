"""Language models aligned by a method, as a policy by name: fitted once in the training scenarios, and kept."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ...envs.core import validate
from ...envs.core.policy import Policy
from ..llm.policy import LanguageModel
from ..llm.train import adapters
from . import (
    aligner,
    breed,
    controllable,
    evolve,
    forget,
    merge,
    modulo,
    prompts,
    retriever,
    scenarios,
    stable,
    substrate,
    urial,
)

if TYPE_CHECKING:
    from ...envs.core.arrays import Array
    from ...envs.core.game import Acts, Game, Seen

TRAINING: dict[str, Any] = {"rate": 2e-3, "group": 8, "credit": "welfare", "norm": 0.5}
"""How weights are changed, whatever the method; answers are rated by the welfare that followed."""


def _unchanged(base: LanguageModel, *_: Any, **__: Any) -> LanguageModel:
    return base


def _reinforced(
    base: LanguageModel, society: stable.Societies, budget: int, seed: int, *, sessions: int = 16, mixed: bool = False
) -> LanguageModel:
    """Fine-tune by group-relative policy gradients (``Training``) on the same play: what all methods compete with."""
    learner = stable.prepare(base, society, sessions, seed)
    learner.training = dataclasses.replace(base.training, method="grpo", shuffled=mixed)
    learner.begin()  # with what its own training asks for: KL
    curve = []
    for update in range(budget):
        learner.move()
        curve.append(learner.reinforce(1.0 - update / budget))
    return stable.finish(base, learner, society, sessions, seed, curve, method="reinforced")


METHODS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "none": (_unchanged, {}),
    "stable": (stable.fit, {}),
    "supervised": (stable.fit, {"ratio": 0.0}),
    "shuffled": (stable.fit, {"mixed": True}),
    "forgetful": (forget.forgetful, {"generations": 3, "what": "largest", "keep": 0.1}),
    "retriever": (retriever.fit, {"passes": 1, "rounds": 6, "batch": 64}),
    "reinforced": (_reinforced, {}),
    "evolved": (breed.fit, {}),
    "aligner": (aligner.fit, {}),
    "controllable": (controllable.fit, {"episodes": 2, "controls": ("others",), "share": 0.0}),
    "urial": (urial.fit, {}),
    "modulo": (modulo.fit, {}),
    "merge": (merge.fit, {}),
    "drpo": (prompts.fit, {}),
}
"""Methods by name: a function ``fit(base, society, budget, seed, sessions=..., **options)`` and the options that define it.

``supervised`` imitates the best of what was sampled on a prompt, ``shuffled`` is Stable Alignment with permuted ratings: the
controls of the others.
"""

FREE = ("none", "urial", "modulo", "drpo")
"""Methods that change no weights."""


def _weights(folder: Path, base: LanguageModel) -> LanguageModel:
    base.adapter = folder
    base.curve = adapters.card(folder)["curve"]
    return base


LOADERS: dict[str, Callable[..., Policy]] = {
    "aligner": aligner.load,
    "controllable": controllable.load,
    "drpo": prompts.load,
}
"""How what was kept plays again, ``load(folder, base, **options)``, where it is more than the base with other weights.

Options that it takes are those of play: a fit is the same whatever they are.
"""


def base(model: str | Mapping[str, Any] = substrate.MODEL, **training: Any) -> LanguageModel:
    """Return a model as it is before alignment, asked in the words in which the substrate was taught."""
    return LanguageModel(model, levels=substrate.LEVELS, template=substrate.TEMPLATE, training={**TRAINING, **training})


def societies() -> list[stable.Society]:
    """Return the societies of the training scenarios, in which all players are the model that is aligned."""
    return [
        stable.Society(scenarios.scenario(*where), scenarios.ROLES[where[0]]) for where in substrate.schools().values()
    ]


class Aligned(Policy):
    """A language model that was aligned by a method in the training scenarios, whatever game it then plays.

    ``learn`` fits it, with the seed as its own, and keeps what was fitted in the user's cache; where the same was asked
    for before, it is read from there. The game that ``learn`` is given is not learned in: what is measured there is held
    out.

    Parameters
    ----------
    method
        A name in ``METHODS``.
    model
        What is aligned, as ``LanguageModel`` takes it; ``"substrate"`` is made once with ``societas fetch substrate``.
    options
        Of the method.
    training
        Of ``Training``, besides ``TRAINING``.
    seed
        Of a method that changes no weights and so needs no ``learn``.
    """

    def __init__(
        self,
        method: str = "stable",
        *,
        model: str | Mapping[str, Any] = substrate.MODEL,
        options: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.seed = validate.whole("seed", seed, 0, 2**62)
        self.method = validate.one_of("method", method, tuple(METHODS))
        self.model, self.options, self.training = model, dict(options or {}), dict(training or {})
        own = inspect.signature(METHODS[method][0]).parameters.values()
        known = sorted({p.name for p in own if p.kind is p.KEYWORD_ONLY} - {"sessions"})
        for name in self.options:
            if name not in known:
                raise ValueError(f"options: {method} has no option {name!r}; it takes: {', '.join(known) or 'none'}")

    def ready(self) -> None:
        """Say how to get the model, or a package that the method needs, where it is absent."""
        from ..llm.models import locate

        if self.method == "evolved":
            evolve.needed()

        if isinstance(self.model, str):
            locate(self.model)

    def bind(self, game: Game, role: str, seats: tuple[int, ...]) -> Any:
        """Seat the model, if nothing has to be learned."""
        if self.method not in FREE:
            raise RuntimeError(
                f"Aligned: {self.method!r} is not fitted yet; call learn(game, role, episodes=budget), or give it learning "
                "in a spec"
            )
        return self.learn(game, role, episodes=1, seed=self.seed).bind(game, role, seats)

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Refuse: what acts is what ``learn`` and ``bind`` return."""
        raise RuntimeError("Aligned: bind it to seats first")

    def learn(
        self,
        game: Game,
        role: str,
        *,
        episodes: int,
        sessions: int = 16,
        seed: int = 0,
        others: Mapping[str, Policy] | None = None,
        watch: Callable[[int, int], None] | None = None,
    ) -> Policy:
        """Return the aligned model, fitted with a budget of ``episodes`` updates on ``sessions`` worlds each."""
        method, defining = METHODS[self.method]
        options = {**defining, **self.options}
        start = base(self.model, **self.training)
        start.curve = []
        if self.method in FREE and self.method not in LOADERS:
            free: Any = method(start, societies(), episodes, seed, **options)
            if not hasattr(free, "curve"):
                free.curve = []
            return cast(Policy, free)
        folder = self._folder(episodes, sessions, seed)
        if not (folder / "card.json").is_file():
            fitted = method(start, societies(), episodes, seed, sessions=sessions, **options)
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".aligned-") as scratch:
                save = prompts.save if self.method == "drpo" else type(fitted).save
                save(fitted, Path(scratch) / "fit")
                try:
                    os.replace(Path(scratch) / "fit", folder)
                except OSError:
                    if not (folder / "card.json").is_file():  # another process was first otherwise
                        raise
        load, of_play = self._loader()
        return load(folder, start, **{name: value for name, value in self.options.items() if name in of_play})

    def _loader(self) -> tuple[Callable[..., Policy], set[str]]:
        """Return what loads a fit, and which options are its own."""
        load = LOADERS.get(self.method, _weights)
        return load, {p.name for p in inspect.signature(load).parameters.values() if p.kind is p.KEYWORD_ONLY}

    def _folder(self, budget: int, sessions: int, seed: int) -> Path:
        """Return where a fit is kept: its name is the hash of all that decides it."""
        from ..llm.models import cache_folder, locate

        model: Any = self.model
        if isinstance(model, str) and (card := Path(locate(model)) / "card.json").is_file():
            model = hashlib.sha256(card.read_bytes()).hexdigest()
        _, of_play = self._loader()
        asked = {
            "method": self.method,
            "options": {
                name: value
                for name, value in {**METHODS[self.method][1], **self.options}.items()
                if name not in of_play
            },
            "training": {**TRAINING, **self.training},
            "model": model,
            "budget": budget,
            "sessions": sessions,
            "seed": seed,
        }
        text = json.dumps(asked, sort_keys=True)
        return cache_folder() / "aligned" / f"{self.method}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
