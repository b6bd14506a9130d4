"""URIAL: alignment in context, by a constant prompt and a few examples; and which tokens alignment shifts.

B. Y. Lin et al., "The Unlocking Spell on Base LLMs: Rethinking Alignment via In-Context Learning", ICLR 2024,
arXiv:2312.01552.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...envs.core import validate
from ..llm.policy import LanguageModel
from . import scenarios, substrate

if TYPE_CHECKING:
    from ..llm.scorer import Chat, Scorer
    from .stable import Societies

Model = TypeVar("Model", bound=LanguageModel)

BANDS = ("unshifted", "marginal", "shifted")
"""Rank 1, 2 or 3, and above 3 of a token of the aligned model under the base."""


def situations() -> dict[str, dict[str, list[tuple[str, str]]]]:
    """Return {persona: {scenario: [(user, answer), ...]}}, which was kept when the substrate was made."""
    from ..llm.models import locate

    found = json.loads((Path(locate(substrate.MODEL)) / "situations.json").read_text(encoding="utf-8"))
    return {
        kind: {name: [tuple(turn) for turn in turns] for name, turns in games.items()} for kind, games in found.items()
    }


def examples(kind: str = "cooperative", count: int = 3, seed: int = 0) -> tuple[tuple[str, str], ...]:
    """Return what a persona did in situations of training, of one game after the other.

    Situations are drawn from those in which most other personas did something else: the others say nothing about whose
    they are.
    """
    validate.one_of("kind", kind, tuple(substrate.PERSONAS))
    validate.whole("count", count, 0, 64)
    rng, told = np.random.default_rng([seed, 29]), situations()
    found: list[tuple[str, str]] = []
    for i in range(count):
        game = scenarios.GAMES[i % len(scenarios.GAMES)]
        common = {turn for other in told if other != kind for turns in told[other].values() for turn in turns}
        own = [
            turn
            for name, turns in told[kind].items()
            if name.split(",")[0] == game
            for turn in turns
            if turn not in common and turn not in found
        ]
        found.append(own[int(rng.integers(len(own)))])
    return tuple(found)


def wrap(policy: Model, shown: Sequence[tuple[str, str]], system: str | None = None) -> Model:
    """Return a policy that is shown examples, and another system's text, before each question; no weight changes."""
    template = {**policy.template} if system is None else {**policy.template, "system": system}
    wrapped = copy.copy(policy)
    wrapped.examples, wrapped.template = tuple(shown), template
    return wrapped


def fit(
    base: Model, society: Societies, budget: int, seed: int, *, kind: str = "cooperative", count: int = 3, **_: Any
) -> Model:
    """Return the base after examples of a persona, drawn by the seed; society and budget are not needed."""
    return wrap(base, examples(kind, count, seed))


def shift(aligned: Scorer, base: Scorer, chats: Sequence[Chat], longest: int = 16) -> dict[str, NDArray[np.float64]]:
    """Return how alignment shifts what is written (Lin et al. 2024, section 2).

    The aligned model writes greedily; at each position both see the same text.

    Parameters
    ----------
    aligned, base
        Models with one tokenizer.
    chats
        Prompts.
    longest
        Most tokens that are written; less where an answer's brace closes.

    Returns
    -------
    dict
        ``rank`` (tokens,), of the written token under the base, from 1; ``kl`` (tokens,), KL(aligned || base) of the next
        token in natural logarithms; ``position`` (tokens,), from 0; and, in ``BANDS``, the part of tokens in each.
    """
    import torch

    ranks, gaps, places = [], [], []
    with torch.inference_mode():
        for chat in chats:
            tokens = aligned.tokens(chat)
            for position in range(longest):
                ids = torch.tensor([tokens])
                ours, theirs = (
                    torch.log_softmax(
                        m.model(input_ids=ids.to(m.device), logits_to_keep=1).logits[0, -1].double().cpu(), -1
                    )
                    for m in (aligned, base)
                )
                token = int(ours.argmax())
                ranks.append(1 + int((theirs > theirs[token]).sum()))
                gaps.append(float((ours.exp() * (ours - theirs)).sum()))
                places.append(position)
                tokens = [*tokens, token]
                if "}" in str(aligned.tokenizer.decode([token])) or token in aligned.tokenizer.all_special_ids:
                    break
    rank = np.asarray(ranks, dtype=float)
    parts = (rank == 1, (rank > 1) & (rank <= 3), rank > 3)
    shares = {name: np.asarray(part.mean()) for name, part in zip(BANDS, parts, strict=True)}
    return {"rank": rank, "kl": np.asarray(gaps), "position": np.asarray(places, dtype=float), **shares}
