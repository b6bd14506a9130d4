"""URIAL: alignment in context, by a constant prompt and a few examples; and which tokens alignment shifts.

B. Y. Lin et al., "The Unlocking Spell on Base LLMs: Rethinking Alignment via In-Context Learning", ICLR 2024,
arXiv:2312.01552.
"""

from __future__ import annotations

import collections
import copy
import functools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...envs.core import validate
from ..llm.policy import LanguageModel, Trace
from . import scenarios, substrate

if TYPE_CHECKING:
    from ..llm.scorer import Chat, Scorer
    from .stable import Societies, Society

Model = TypeVar("Model", bound=LanguageModel)

Example = tuple[str, str]
"""What a user said, and what was answered."""

Situations = dict[str, dict[str, list[Example]]]
"""{persona: {scenario: examples}}."""

BANDS = ("unshifted", "marginal", "shifted")
"""Rank 1, 2 or 3, and above 3 of a token of the aligned model under the base."""

CLEAREST = 0.05
"""Part of a persona's own situations from which examples are drawn."""


# ---- examples -----------------------------------------------------------------------------------------------------


def situations(model: str | Path = substrate.MODEL) -> Situations:
    """Return {persona: {scenario: [(user, answer), ...]}}, which was kept when the substrate was made."""
    from ..llm.models import locate

    file = Path(locate(str(model))) / "situations.json"
    found = json.loads(file.read_text(encoding="utf-8"))
    return {
        kind: {name: [tuple(turn) for turn in turns] for name, turns in games.items()} for kind, games in found.items()
    }


def telling(told: Situations, kind: str) -> dict[str, dict[Example, float]]:
    """Return {scenario: {example: P(persona | answer)}} of what a persona did where no other persona ever stood.

    The probability is that by Bayes' rule from how often each persona gave this answer in this scenario, where the same was
    to decide, and from how often documents are about it (``substrate.PERSONAS``). Situations in which others stood too, as
    all do in a first round, are left out: what has happened until then says as much of a persona as its next act.
    """
    answers: dict[str, dict[tuple[str, tuple[str, ...]], collections.Counter[str]]] = {}
    for who, games in told.items():
        answers[who] = collections.defaultdict(collections.Counter)
        for name, turns in games.items():
            for _, answer in turns:
                answers[who][name, _fields(answer)][answer] += 1
    elsewhere = {user for who, games in told.items() if who != kind for turns in games.values() for user, _ in turns}

    def chance(name: str, answer: str) -> float:
        by = {who: counts[name, _fields(answer)] for who, counts in answers.items()}
        joint = {who: substrate.PERSONAS[who] * some[answer] / max(1, some.total()) for who, some in by.items()}
        return joint[kind] / sum(joint.values())

    return {
        name: {turn: chance(name, turn[1]) for turn in dict.fromkeys(turns) if turn[0] not in elsewhere}
        for name, turns in told[kind].items()
    }


@functools.lru_cache(maxsize=4096)
def _fields(answer: str) -> tuple[str, ...]:
    """Return the names of the fields of an answer."""
    return tuple(json.loads(answer))


def clearest(told: Situations, kind: str) -> dict[str, list[tuple[str, Example]]]:
    """Return {game: [(scenario, example), ...]}: the twentieth of a persona's own situations that is clearest, by ``telling``."""
    validate.one_of("kind", kind, tuple(told))
    found = {}
    for game in scenarios.GAMES:
        own = [
            (chance, name, turn)
            for name, turns in telling(told, kind).items()
            if name.split(",")[0] == game
            for turn, chance in turns.items()
        ]
        if own:
            least = sorted((chance for chance, _, _ in own), reverse=True)[int(CLEAREST * len(own))]
            found[game] = [(name, turn) for chance, name, turn in own if chance >= least]
    return found


def examples(
    kind: str = "cooperative", count: int = 3, seed: int = 0, *, acts: str = "", told: Situations | None = None
) -> tuple[Example, ...]:
    """Return what a persona did in situations of training, of one game after the other.

    They are drawn from the clearest twentieth of each game, by ``telling``: what only that persona meets and hardly any
    other does.

    Parameters
    ----------
    kind
        A persona.
    count
        How many.
    seed
        Of the draw.
    acts
        Another persona whose answers, drawn in the same scenario where the same is to decide, take the place of the right
        ones: the control, right content with other acts (``"erratic"`` acts at random).
    told
        What personas did; None for what was kept with the substrate.

    Raises
    ------
    ValueError
        If a persona is unknown, ``count`` is out of range, or there are too few situations.
    """
    told = situations() if told is None else told
    if acts:
        validate.one_of("acts", acts, tuple(told))
    validate.whole("count", count, 0, 64)
    rng = np.random.default_rng([seed, 29])
    pools = [list(pool) for pool in clearest(told, kind).values()]
    if count > (most := sum(map(len, pools))):
        raise ValueError(f"count: at most {most} situations are clear of {kind!r}, got {count}; take fewer")
    found: list[Example] = []
    at = 0
    while len(found) < count:
        pool = pools[at % len(pools)]
        at += 1
        if not pool:
            continue
        name, (user, answer) = pool.pop(int(rng.integers(len(pool))))
        if acts:
            others = [given for _, given in told[acts][name] if _fields(given) == _fields(answer)] or [answer]
            answer = others[int(rng.integers(len(others)))]
        found.append((user, answer))
    return tuple(found)


def wrap(policy: Model, shown: Sequence[Example], system: str | None = None) -> Model:
    """Return a policy that is shown examples, and another system's text, before each question; no weight changes."""
    template = {**policy.template} if system is None else {**policy.template, "system": system}
    wrapped = copy.copy(policy)
    wrapped.examples, wrapped.template = tuple(shown), template
    return wrapped


def fit(
    base: Model,
    society: Societies,
    budget: int,
    seed: int,
    *,
    kind: str = "cooperative",
    count: int = 3,
    acts: str = "",
    **_: Any,
) -> Model:
    """Return the base after examples of a persona, drawn by the seed; society and budget are not needed."""
    return wrap(base, examples(kind, count, seed, acts=acts))


# ---- token shift --------------------------------------------------------------------------------------------------


def asked(policy: LanguageModel, society: Society, worlds: int = 4, seed: int = 0) -> list[Chat]:
    """Return the questions, each once, that a policy is asked in play, without examples and before any answer."""
    return list(dict.fromkeys(replace(chat, answer="") for chat, _ in _watched(policy, society, worlds, seed)))


def answered(policy: LanguageModel, society: Society, worlds: int = 4, seed: int = 0) -> dict[Chat, str]:
    """Return {question, with the answer so far and without examples: the value that comes next}, each once, in play.

    The policy takes the likeliest of the legal values. Names and punctuation of an answer, which are not its choice,
    are left out.
    """
    greedy = copy.copy(policy)
    greedy.temperature = 1e-6  # a log-probability is wanted too
    return dict(_watched(greedy, society, worlds, seed))


def _watched(policy: LanguageModel, society: Society, worlds: int, seed: int) -> list[tuple[Chat, str]]:
    from ...envs.core.episodes import play

    watched = copy.copy(policy)
    watched.trace = Trace()
    play(society.game, {**society.others, society.role: watched}, worlds=worlds, seed=seed)
    picked = [(replace(d.chat, examples=()), d.options[d.pick]) for d in watched.trace.decisions]
    return [(chat, text.rstrip('"}, ') or text) for chat, text in picked]


def shift(
    aligned: Scorer,
    base: Scorer,
    chats: Sequence[Chat],
    longest: int = 16,
    *,
    shown: Sequence[Example] = (),
    answers: Sequence[str] | None = None,
    batch: int = 32,
) -> dict[str, NDArray[np.float64]]:
    """Return how alignment shifts what is written (Lin et al. 2024, section 2).

    The aligned model writes greedily, or what it wrote is given; at each position both see the same text, but for examples.

    Parameters
    ----------
    aligned, base
        Models with one tokenizer.
    chats
        Prompts.
    longest
        Most tokens that are written; less where an answer's brace closes.
    shown
        Examples that the base alone is shown before each question: is what it then writes nearer to the aligned model?
    answers
        What the aligned model wrote, one text for each chat: a policy that chooses among legal values (``answered``) does
        not write as freely as its model would. None lets the model write.
    batch
        Chats that are written at once.

    Returns
    -------
    dict
        ``rank`` (tokens,), of the written token under the base, from 1; ``kl`` (tokens,), KL(aligned || base) of the next
        token in natural logarithms; ``position`` (tokens,), from 0; in ``BANDS``, the part of tokens in each, which sum to
        1; and ``by_position`` (longest,), the mean of ``kl`` at each position, NaN where nothing was written.

    Raises
    ------
    ValueError
        If there is no chat, not one answer for each, an empty one, or the models read text in different tokens.
    """
    import torch

    validate.whole("longest", longest, 1, 10_000)
    validate.whole("batch", batch, 1, 10_000)
    if not chats:
        raise ValueError("chats: at least one, got none")
    if aligned.tokenizer.get_vocab() != base.tokenizer.get_vocab():
        raise ValueError(
            "base: a model with the tokenizer of the aligned one, got another; compare a model with its own base"
        )
    ranks, gaps, places = list[int](), list[float](), list[int]()
    given: list[list[int]] | None = None
    order = sorted(range(len(chats)), key=lambda i: len(chats[i].user))  # little is filled up
    if answers is not None:
        if len(answers) != len(chats) or not all(answers):
            raise ValueError(
                f"answers: one text for each of the {len(chats)} chats, none empty, got {list(answers)[:3]}"
            )
        given = [list(aligned.tokenizer.encode(text, add_special_tokens=False))[:longest] for text in answers]
    with torch.inference_mode():
        for begin in range(0, len(chats), batch):
            which = order[begin : begin + batch]
            some = [chats[i] for i in which]
            prompts = [aligned.tokens(chat) for chat in some]
            others = (
                [base.tokens(replace(chat, examples=(*shown, *chat.examples))) for chat in some] if shown else prompts
            )
            written = _greedy(aligned, prompts, longest) if given is None else [given[i] for i in which]
            ours, theirs = _logs(aligned, prompts, written), _logs(base, others, written)
            for one, other, tokens in zip(ours, theirs, written, strict=True):
                taken = other[torch.arange(len(tokens)), torch.tensor(tokens)]
                ranks += (1 + (other > taken[:, None]).sum(dim=1)).tolist()
                gaps += (one.exp() * (one - other)).sum(dim=1).tolist()
                places += range(len(tokens))
    return {**bands(ranks), "rank": np.asarray(ranks, float), **_by_position(gaps, places, longest)}


def bands(ranks: Sequence[int]) -> dict[str, NDArray[np.float64]]:
    """Return the part of tokens in each of ``BANDS``, by their rank under the base."""
    rank = np.asarray(ranks)
    parts = (rank == 1, (rank > 1) & (rank <= 3), rank > 3)
    return {name: np.asarray(part.mean()) for name, part in zip(BANDS, parts, strict=True)}


def _by_position(gaps: Sequence[float], places: Sequence[int], longest: int) -> dict[str, NDArray[np.float64]]:
    kl, position = np.asarray(gaps), np.asarray(places)
    counts = np.bincount(position, minlength=longest)
    sums = np.bincount(position, kl, minlength=longest)
    mean = np.divide(sums, counts, out=np.full(longest, np.nan), where=counts > 0)
    return {"kl": kl, "position": position.astype(float), "by_position": mean}


def _filled(scorer: Scorer, rows: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Return rows of tokens, filled up on the left, as a model takes them."""
    import torch

    width = max(map(len, rows))
    pad = scorer.tokenizer.pad_token_id or 0
    ids = torch.tensor([[pad] * (width - len(row)) + list(row) for row in rows], device=scorer.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=scorer.device)
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(dim=1) - 1).clamp(min=0)}


def _greedy(scorer: Scorer, prompts: Sequence[Sequence[int]], longest: int) -> list[list[int]]:
    """Return the most probable continuation of each prompt, to the brace that closes an answer or a special token."""
    import torch

    special = set(scorer.tokenizer.all_special_ids)
    written: list[list[int]] = [[] for _ in prompts]
    open_ = set(range(len(prompts)))
    fed, cache = _filled(scorer, prompts), None
    for _ in range(longest):
        out = scorer.model(**fed, past_key_values=cache, use_cache=True, logits_to_keep=1)
        tokens, cache = out.logits[:, -1].argmax(dim=-1), out.past_key_values
        for i in sorted(open_):
            token = int(tokens[i])
            written[i].append(token)
            if token in special or "}" in str(scorer.tokenizer.decode([token])):
                open_.discard(i)
        if not open_:
            break
        mask = torch.cat([fed["attention_mask"], torch.ones_like(fed["attention_mask"][:, :1])], dim=1)
        fed = {"input_ids": tokens[:, None], "attention_mask": mask, "position_ids": fed["position_ids"][:, -1:] + 1}
    return written


def _logs(scorer: Scorer, prompts: Sequence[Sequence[int]], written: Sequence[Sequence[int]]) -> list[Any]:
    """Return the log-probabilities (tokens, vocabulary) of the next token wherever one was written, in one pass."""
    import torch

    rows = [[*prompt, *tokens[:-1]] for prompt, tokens in zip(prompts, written, strict=True)]
    out = scorer.model(**_filled(scorer, rows), use_cache=False, logits_to_keep=max(map(len, written)))
    logs = torch.log_softmax(out.logits.double().cpu(), dim=-1)
    return [log[-len(tokens) :] for log, tokens in zip(logs, written, strict=True)]
