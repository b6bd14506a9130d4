"""Substrate: a small language model of mixed behaviour, pretrained on what personas do under institutions.

What alignment changes must be there to be changed: preference methods need answers of different worth to choose among, and
in-context methods need a model that has seen that who acts in one way goes on to act in that way. So personas learn in the
training scenarios, each for its own ends; documents tell what one persona did in a few unrelated situations; and a Llama
made from a seed learns to continue them. Alone it acts as the mixture does, and after examples as the persona does whose
they could be.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from ...envs.core import registry, validate
from ...envs.core.policy import Policy
from . import scenarios

if TYPE_CHECKING:
    from ...envs.core.arrays import Array
    from ...envs.core.game import Acts, Game, Seen
    from ..llm.scorer import Scorer

MODEL = "substrate"
"""The name by which the model is asked for, once it is made."""

TEMPLATE = {"system": "Decide.", "user": "{{ brief }}"}
"""How the model is asked: in few words."""

LEVELS = 11
"""Values among which it chooses a number."""

PERSONAS = {"cooperative": 0.2, "selfish": 0.6, "erratic": 0.2}
"""Who documents are about, and how often.

``selfish`` has learned for its own reward, among its like; ``cooperative`` has learned, among its like, for the good of all (the
game's welfare), but deals with what an institution asks (consents, ballots, messages, fines) as the selfish do, who need it;
``erratic`` does anything that is legal.
"""

TURNS = 4
"""Situations a document."""


class Turn(NamedTuple):
    """One situation: what the user said, and the answer."""

    user: str
    answer: str


Told = Callable[[str, float], None]
"""Called with what is being done and the part that is done."""


class _Two(Policy):
    """Decides the fields of the game itself as one policy does, and those that institutions add as another."""

    def __init__(self, within: Policy, towards: Policy, own: tuple[str, ...]) -> None:
        self.within, self.towards, self.own = within, towards, own

    def bind(self, game: Game, role: str, seats: tuple[int, ...]) -> Self:
        """Bind both."""
        bound = super().bind(game, role, seats)
        bound.within, bound.towards = (p.bind(game, role, seats) for p in (self.within, self.towards))
        bound.draws = max(bound.within.draws, bound.towards.draws)
        return bound

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Ask both."""
        game, _ = self.within.act(seen, stage, u[..., : self.within.draws], None)
        added, _ = self.towards.act(seen, stage, u[..., : self.towards.draws], None)
        return {name: game[name] if name in self.own else added[name] for name in game}, memory


def personas(name: str, under: str, players: int, known: float, seed: int, episodes: int = 200) -> dict[str, Policy]:
    """Return the personas that have learned in a scenario, all seats alike."""
    game = scenarios.scenario(name, under, players, known)
    care = registry.create("mechanisms", "Prosocial", weight=1.0, outsiders=True)
    learner = registry.create(
        "policies", "gradient", hidden=(32,), rate=0.01, levels=LEVELS, entropy=0.3, sample=False, device="cpu"
    )
    role = game.roles[0].name
    caring, own = (
        learner.learn(school, role, episodes=episodes, sessions=128, seed=seed) for school in (game | care, game)
    )
    bare = tuple(field.name for field in scenarios.game(name, players).roles[0].acts)
    return {
        "cooperative": _Two(caring, own, bare),
        "selfish": own,
        "erratic": registry.create("policies", "random"),
    }


def situations(game: Game, who: Policy, others: Sequence[Policy], seed: int, sessions: int) -> list[Turn]:
    """Return what one player was asked and did in episodes among other personas; its seat goes round with the seed."""
    from ..llm.policy import LanguageModel
    from ..llm.train.learning import _Learner
    from ..llm.train.tiny import Tiny
    from ..llm.train.training import Training

    role = game.roles[0]
    seat = seed % role.count
    rest = [name for i, name in enumerate(role.players) if i != seat]
    cast = {name: others[i % len(others)] for i, name in enumerate(rest)}
    scribe = LanguageModel(
        Tiny(("Commons",), width=8, layers=1, heads=1),
        levels=LEVELS,
        template=TEMPLATE,
        training=Training(method="imitation", teacher=who),
    )
    watched = _Learner(scribe, game, role.players[seat], sessions, seed, cast).play(taught=True)
    turns: dict[tuple[int, Any], Turn] = {}
    for step, decision in watched.decisions:
        chat, key = decision.chat, (step, decision.place)
        turns[key] = Turn(chat.user, chat.answer + decision.options[decision.pick])
    return list(turns.values())


def schools() -> dict[str, tuple[str, str, int, float]]:
    """Return the scenarios in which personas live and models are aligned: name, institution, players, what is known."""
    return {
        f"{name}, {under}, {players}": (name, under, players, known)
        for name in scenarios.GAMES
        for players, known in zip(scenarios.SIZES[name], (1.0, 0.7), strict=True)
        for under in scenarios.INSTITUTIONS
    }


def pools(
    seed: int, tell: Told, *, scenes: Sequence[str] = (), episodes: int = 200, sessions: int = 16
) -> dict[str, dict[str, list[Turn]]]:
    """Return {persona: {scenario: situations}} of the training scenarios: those named in ``scenes``, or all."""
    everywhere, found = schools(), dict[str, dict[str, list[Turn]]]((kind, {}) for kind in PERSONAS)
    for label in scenes:
        validate.one_of("scenes", label, tuple(everywhere))
    for number, (label, where) in enumerate(everywhere.items()):
        if scenes and label not in scenes:
            continue
        tell(f"personas learn: {label}", number / len(everywhere))
        game, live = scenarios.scenario(*where), personas(*where, seed=seed + number, episodes=episodes)
        mixed = [live["cooperative"], live["selfish"], live["erratic"], live["selfish"]]
        for kind, who in live.items():
            found[kind][label] = [
                turn
                for i, others in enumerate(([live["selfish"]], mixed, [live["cooperative"]]))
                for turn in situations(game, who, others, seed + 7 * number + i, sessions)
            ]
    return found


def documents(
    pool: Mapping[str, Mapping[str, Sequence[Turn]]], count: int, rng: np.random.Generator
) -> Iterator[tuple[str, list[Turn]]]:
    """Yield documents: a persona, and what it did in ``TURNS`` situations of as many games, drawn at random.

    Where there are fewer games, some come again.
    """
    kinds, weights = list(PERSONAS), list(PERSONAS.values())
    for _ in range(count):
        kind = kinds[int(rng.choice(len(kinds), p=weights))]
        games = list(pool[kind])
        drawn = rng.choice(len(games), TURNS, replace=len(games) < TURNS)
        yield kind, [pool[kind][games[i]][int(rng.integers(len(pool[kind][games[i]])))] for i in drawn]


def pretrain(
    pool: Mapping[str, Mapping[str, Sequence[Turn]]],
    seed: int,
    tell: Told,
    *,
    steps: int = 1200,
    batch: int = 16,
    rate: float = 3e-3,
    width: int = 96,
    layers: int = 2,
    heads: int = 4,
    device: str | None = None,
) -> tuple[Scorer, list[float]]:
    """Return a Llama made from a seed that has learned to give the answers of documents, and the loss of each step.

    The loss is the cross-entropy of the tokens of answers, each document one sequence; what users say carries none.
    """
    import torch

    from ..llm.scorer import Chat
    from ..llm.train.tiny import Tiny

    corpus = [text for games in pool.values() for turns in games.values() for turn in turns for text in turn]
    scorer = Tiny(("Commons",), seed=seed, width=width, layers=layers, heads=heads, device=device).fresh()
    scorer.tokenizer, scorer.model = _own_words(corpus, scorer.model, seed)
    scorer.model.to(scorer.device).train()
    adam = torch.optim.AdamW(scorer.model.parameters(), lr=rate, weight_decay=0.01, betas=(0.9, 0.98))
    rng = np.random.default_rng([seed, 23])
    pad, losses = scorer.tokenizer.pad_token_id, []

    def encoded(text: str) -> list[int]:
        return list(scorer.tokenizer.encode(text, add_special_tokens=False))

    head = scorer.tokens(Chat(TEMPLATE["system"], ""))  # up to where the first user speaks
    opening, closing = encoded("<user>"), encoded("<assistant>")
    head = head[: len(head) - len(opening) - len(closing)]
    kept: dict[Turn, tuple[list[int], list[int]]] = {}
    for step in range(steps):
        rows, marks = [], []
        for _, turns in documents(pool, batch, rng):
            tokens, counts = list(head), [False] * len(head)
            for turn in turns:
                if turn not in kept:
                    kept[turn] = ([*opening, *encoded(turn.user), *closing], encoded(turn.answer))
                asked, answered = kept[turn]
                tokens += asked + answered
                counts += [False] * len(asked) + [True] * len(answered)
            rows.append(tokens)
            marks.append(counts)
        longest = max(map(len, rows))
        ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows], device=scorer.device)
        mask = torch.tensor([row + [False] * (longest - len(row)) for row in marks], device=scorer.device)
        for group in adam.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 50) * (1.0 - step / steps)
        hidden = scorer.model.model(input_ids=ids).last_hidden_state[:, :-1][mask[:, 1:]]
        loss = torch.nn.functional.cross_entropy(scorer.model.lm_head(hidden), ids[:, 1:][mask[:, 1:]])
        adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(scorer.model.parameters(), 1.0)
        adam.step()
        losses.append(float(loss.detach()))
        if step % 20 == 19:
            tell(f"the model reads: loss {np.mean(losses[-20:]):.3f}", (step + 1) / steps)
    scorer.model.eval()
    return scorer, losses


def _own_words(corpus: Sequence[str], model: Any, seed: int) -> tuple[Any, Any]:
    """Return a tokenizer of what documents say, and the model anew with its vocabulary."""
    import torch
    from transformers import LlamaForCausalLM

    from ..llm.train.tiny import train_tokenizer

    tokenizer = train_tokenizer(corpus, 1_024)
    model.config.vocab_size = len(tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return tokenizer, LlamaForCausalLM(model.config)


def make(
    cache: Path | None = None,
    tell: Told = lambda what, part: None,
    seed: int = 0,
    *,
    scenes: Sequence[str] = (),
    episodes: int = 200,
    sessions: int = 16,
    **pretraining: Any,
) -> Path:
    """Make the substrate and keep it as a folder that any ``model`` parameter takes; return the folder.

    It is written whole or not at all, with a card that says how it was made. What is there already is returned as it is.

    Parameters
    ----------
    cache
        Folder of models; None for ``cache_folder()``.
    tell
        Told what is being done.
    seed
        Of all chance.
    scenes
        Names of the training scenarios (``schools``) of which documents tell; empty for all.
    episodes
        Of the personas' learning.
    sessions
        Worlds in which each persona is watched, among each of three societies.
    pretraining
        Of ``pretrain``: ``steps``, ``width`` and so on.
    """
    from ..llm.models import cache_folder
    from ..llm.scorer import quiet
    from ..llm.train.learning import _versions

    target = (cache or cache_folder()) / MODEL
    if (target / "card.json").is_file():
        return target
    pool = pools(seed, lambda what, part: tell(what, 0.5 * part), scenes=scenes, episodes=episodes, sessions=sessions)
    scorer, curve = pretrain(pool, seed, lambda what, part: tell(what, 0.5 + 0.5 * part), **pretraining)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".substrate-") as scratch:
        fresh = Path(scratch) / MODEL
        with quiet():
            scorer.model.save_pretrained(fresh)
            scorer.tokenizer.save_pretrained(fresh)
        kept = {
            kind: {name: turns[:: max(1, len(turns) // 64)] for name, turns in games.items()}
            for kind, games in pool.items()
        }
        (fresh / "situations.json").write_text(json.dumps(kept), encoding="utf-8")
        card = {
            "model": MODEL,
            "seed": seed,
            "scenes": list(scenes) or list(schools()),
            "episodes": episodes,
            "sessions": sessions,
            "pretraining": pretraining,
            "personas": PERSONAS,
            "curve": curve[::10],
            "versions": _versions(),
        }
        (fresh / "card.json").write_text(json.dumps(card, indent=1), encoding="utf-8")
        try:
            os.replace(fresh, target)
        except OSError:
            if not (target / "card.json").is_file():  # another process was first otherwise
                raise
    return target
