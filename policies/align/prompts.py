"""DRPO: a search over prompts of a frozen model, judged in each situation by what matters there.

S. Singla, Z. Wang, T. Liu, A. Ashfaq, Z. Hu and E. P. Xing, "Dynamic Rewarding with Prompt Optimization Enables Tuning-free
Self-Alignment of Language Models", EMNLP 2024, arXiv:2411.08733.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

import numpy as np

from ...envs.core import validate
from ...envs.core.episodes import Episodes, play
from ..llm.answers import Ledger, ask
from ..llm.policy import LanguageModel
from ..llm.protocol import Message
from . import urial
from .stable import Societies, Society

if TYPE_CHECKING:
    from ..llm.protocol import Answers
    from .urial import Example

Model = TypeVar("Model", bound=LanguageModel)

SEARCHES = ("beam", "random")

LONGEST = 300
"""Most characters of a clause that a proposer writes."""


# ---- aspects ------------------------------------------------------------------------------------------------------


def _welfare(found: Episodes, role: str) -> float:
    return float(np.clip(np.nan_to_num(found.alignment), 0.0, 1.0).mean())


def _equality(found: Episodes, role: str) -> float:
    paid = found.returns[role]
    apart, size = np.abs(paid - paid.mean(axis=1, keepdims=True)).mean(axis=1), np.abs(paid).mean(axis=1)
    return float((1.0 - np.divide(apart, size, out=np.zeros_like(size), where=size > 0)).clip(0.0, 1.0).mean())


def _gain(found: Episodes, role: str) -> float:
    best = found.game.benchmarks().first_best.value
    return float(np.clip(found.returns[role].sum(axis=1) / best, 0.0, 1.0).mean())


def _compliance(found: Episodes, role: str) -> float:
    none = np.zeros(len(found.welfare))
    return float((found.measures.get("agreed", none) * (1.0 - found.measures.get("breaches", none))).mean())


def _survival(found: Episodes, role: str) -> float:
    return float((found.length / found.game.horizon).mean())


ASPECTS: dict[str, Callable[[Episodes, str], float]] = {
    "welfare": _welfare,
    "equality": _equality,
    "gain": _gain,
    "compliance": _compliance,
    "survival": _survival,
}
"""What can matter in a situation: the mean over worlds, in [0, 1], of a number that the game gives.

``welfare`` is the alignment score, cut off at 0 and 1; ``equality`` 1 less the mean deviation of players' returns from their mean,
in parts of their size; ``gain`` what players of the role get, in parts of the best welfare; ``compliance`` the part of agreements
made, times the part of acts that keep to them; ``survival`` the part of steps until the episode ends.
"""


def chosen(found: Episodes) -> tuple[str, ...]:
    """Return the aspects that matter in a situation, by its kind.

    Welfare everywhere; compliance where there is a contract; survival where a stock can run out; equality where neither is.
    """
    special = {"compliance": "agreed", "survival": "survival"}
    return ("welfare", *([aspect for aspect, measure in special.items() if measure in found.measures] or ["equality"]))


def mattering(found: Episodes, role: str, aspects: Sequence[str] | None = None) -> dict[str, float]:
    """Return {aspect: what was reached in it, in [0, 1]}: of those that are named, or of those that matter there."""
    return {name: ASPECTS[name](found, role) for name in (chosen(found) if aspects is None else aspects)}


def relevant(policy: LanguageModel, society: Societies, *, worlds: int = 16, seed: int = 0) -> float:
    """Return the mean over societies of a policy's mean in the aspects that matter there: what dynamic rewards reward."""
    everywhere = [society] if isinstance(society, Society) else list(society)
    return float(np.mean([_reward(policy, one, "dynamic", worlds, seed)[0] for one in everywhere]))


def _reward(
    policy: LanguageModel, society: Society, aspects: str | Sequence[str], worlds: int, seed: int
) -> tuple[float, dict[str, float]]:
    """Return the mean of the aspects asked for, and each of them."""
    found = play(society.game, {**society.others, society.role: policy}, worlds=worlds, seed=seed)
    role = next(r.name for r in society.game.roles if society.role in (r.name, *r.players))
    by = mattering(found, role, chosen(found) if isinstance(aspects, str) else aspects)
    return float(np.mean(list(by.values()))), by


# ---- prompts ------------------------------------------------------------------------------------------------------


class Prompt(NamedTuple):
    """What a frozen model is told before each question: clauses of the system's text, and examples."""

    clauses: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()


def wrap(policy: Model, prompt: Prompt) -> Model:
    """Return a policy that is told clauses after its system's text, and shown examples; no weight changes.

    Where the system's text is no template of the policy's own, clauses go before the rules, as its persona does.
    """
    told = " ".join(prompt.clauses)
    if told and "system" in policy.template:
        raw = "{{ " + json.dumps(told, ensure_ascii=False) + " }}"  # data, whatever stands in it
        return urial.wrap(policy, prompt.examples, f"{policy.template['system']} {raw}")
    wrapped = urial.wrap(policy, prompt.examples)
    wrapped.persona = f"{policy.persona} {told}".strip()
    return wrapped


def pool(told: urial.Situations | None = None, each: int = 8) -> list[Example]:
    """Return what personas did that is clearest of each (``urial.clearest``), good examples and bad ones.

    At most ``each`` of every persona in every game, evenly spaced.
    """
    told = urial.situations() if told is None else told
    validate.whole("each", each, 1, 1_000_000)
    found = []
    for kind in told:
        for some in urial.clearest(told, kind).values():
            found += (
                [some[i * len(some) // each][1] for i in range(each)]
                if len(some) > each
                else [turn for _, turn in some]
            )
    return list(dict.fromkeys(found))


def moved(
    prompt: Prompt,
    rng: np.random.Generator,
    examples: Sequence[Example],
    clauses: Sequence[str] = (),
    *,
    most: int = 6,
    write: Callable[[Prompt], str | None] | None = None,
) -> Prompt:
    """Return a prompt one move away: an example or a clause more, fewer, or another in its place.

    Parameters
    ----------
    prompt
        Where to move from.
    rng
        Of the choice among moves and material.
    examples, clauses
        What can be added; nothing is there twice.
    most
        Most examples, and most clauses.
    write
        Writes a new clause in view of a prompt, or returns None; it goes before ``clauses``.
    """
    moves = []
    for part, stock in (("examples", examples), ("clauses", clauses)):
        held = getattr(prompt, part)
        fresh = [one for one in stock if one not in held]
        able = bool(fresh) or (part == "clauses" and write is not None)
        moves += [(part, "add", fresh)] * (able and len(held) < most)
        moves += [(part, "replace", fresh)] * (able and bool(held)) + [(part, "drop", fresh)] * bool(held)
    if not moves:
        return prompt
    part, move, fresh = moves[int(rng.integers(len(moves)))]
    held = list(getattr(prompt, part))
    if move != "add":
        place = int(rng.integers(len(held)))
        del held[place]
    else:
        place = int(rng.integers(len(held) + 1))
    if move != "drop":
        new: Any = write(prompt) if part == "clauses" and write is not None else None
        if new is None and fresh:
            new = fresh[int(rng.integers(len(fresh)))]
        if new is None or new in held:
            return prompt
        held.insert(place, new)
    return prompt._replace(**{part: tuple(held)})


# ---- the search ---------------------------------------------------------------------------------------------------


class _Path(NamedTuple):
    """A prompt, the rewards on the way to it, and what it was rewarded for last."""

    prompt: Prompt
    rewards: tuple[float, ...] = ()
    why: tuple[dict[str, float], ...] = ()

    @property
    def mean(self) -> float:
        return float(np.mean(self.rewards))


def fit(
    base: Model,
    society: Societies,
    budget: int,
    seed: int,
    *,
    beam: int = 2,
    actions: int = 3,
    aspects: str | Sequence[str] = "dynamic",
    search: str = "beam",
    queries: int = 2,
    worlds: int = 4,
    most: int = 6,
    restarts: int = 1,
    examples: Sequence[Example] | None = None,
    clauses: Sequence[str] = (),
    proposer: Answers | None = None,
    **_: Any,
) -> Model:
    """Search for the prompt under which a frozen model does best; return the model so prompted.

    From no clauses and no examples on, each prompt of the beam is moved in ``actions`` ways, and all are played, those of the
    beam as well, in situations drawn anew at each depth; those with the best mean reward on the way to them go on. Last,
    what is left is compared in four times as many situations. Answers are rewarded by the game, by the
    mean of the aspects.

    The paper's language models that choose aspects, judge and rewrite are here a rule (``chosen``), the game (``ASPECTS``) and
    moves (``moved``), with a language model that writes clauses where one is given.

    Parameters
    ----------
    base
        Policy whose weights stay as they are.
    society
        Where; a situation is one of several societies.
    budget
        Depth of the search.
    seed
        Of all chance.
    beam, actions
        Prompts kept, and moves from each; the paper's 2 and 3.
    aspects
        ``"dynamic"``: those that matter in each situation; or names in ``ASPECTS``, the same in all: the static control.
    search
        ``"beam"``, or ``"random"``: the control, in which moves from the beam are replaced by prompts of random size and
        content, with as many plays.
    queries, worlds
        Situations at each depth, none twice before all have come, and worlds that are played in each.
    most
        Most examples, and most clauses.
    restarts
        Searches, one after the other; the best of all is returned.
    examples
        What can be shown; None for ``pool()``.
    clauses
        What can be told. A model that was pretrained on other texts alone can make nothing of them.
    proposer
        A model with ``answer``, which is asked for new clauses in view of the rewards.

    Returns
    -------
    LanguageModel
        With ``curve``, the best reward at each depth, and ``learned``: ``prompt``, ``plays`` (episodes of ``worlds`` worlds that
        the search took), and ``asked``, ``refused``: clauses that the proposer was asked for, and answers that were none.

    Raises
    ------
    ValueError
        If a parameter is out of range, or nothing can be shown or told.
    """
    for name, value in (
        ("budget", budget),
        ("beam", beam),
        ("actions", actions),
        ("queries", queries),
        ("worlds", worlds),
    ):
        validate.whole(name, value, 1, 1_000_000)
    validate.whole("most", most, 1, 1_000)
    validate.whole("restarts", restarts, 1, 1_000)
    validate.one_of("search", search, SEARCHES)
    if isinstance(aspects, str):
        validate.one_of("aspects", aspects, ("dynamic",))
    elif not aspects:
        raise ValueError(f"aspects: 'dynamic', or names among {', '.join(ASPECTS)}, got none")
    for name in () if isinstance(aspects, str) else aspects:
        validate.one_of("aspects", name, tuple(ASPECTS))
    everywhere = [society] if isinstance(society, Society) else list(society)
    if not everywhere:
        raise ValueError("society: at least one, got none")
    shown = pool() if examples is None else list(examples)
    if not shown and not clauses and proposer is None:
        raise ValueError("examples: nothing can be shown or told; give examples, clauses or a proposer")
    writer = None if proposer is None else _Writer(proposer)
    rng, plays, curve = np.random.default_rng([seed, 31]), 0, list[float]()

    def step(paths: Sequence[_Path], count: int) -> list[_Path]:
        """Return paths with one more reward each, the best first, and of equals the earlier."""
        nonlocal plays
        turns = [rng.permutation(len(everywhere)) for _ in range(-(-count // len(everywhere)))]
        where = [everywhere[i] for i in np.concatenate(turns)[:count]]
        lots = [int(lot) for lot in rng.integers(2**31, size=len(where))]
        plays += len(where) * len(paths)
        found = []
        for path in paths:
            policy = wrap(base, path.prompt)
            played = [_reward(policy, one, aspects, worlds, lot) for one, lot in zip(where, lots, strict=True)]
            reward = float(np.mean([mean for mean, _ in played]))
            found.append(_Path(path.prompt, (*path.rewards, reward), tuple(by for _, by in played)))
        return sorted(found, key=lambda path: -path.mean)

    last = []
    for _restart in range(restarts):
        paths = [_Path(Prompt())]
        for _depth in range(budget):
            every = {path.prompt: path for path in reversed(paths)}
            for path in paths:
                for _move in range(actions):
                    source, count = (
                        (path, 1) if search == "beam" else (_Path(Prompt(), path.rewards), 1 + int(rng.integers(most)))
                    )
                    prompt = source.prompt
                    for _again in range(count):
                        write = None if writer is None else writer.about(path)
                        prompt = moved(prompt, rng, shown, clauses, most=most, write=write)
                    every.setdefault(prompt, _Path(prompt, path.rewards))
            paths = step(list(every.values()), queries)[:beam]
            curve.append(max(path.rewards[-1] for path in paths))
        last += paths
    fair = {path.prompt: _Path(path.prompt) for path in last}
    best = step(list(fair.values()), 4 * queries)[0]
    aligned = wrap(base, best.prompt)
    aligned.curve = curve
    aligned.learned = {  # type: ignore[attr-defined]
        "method": "drpo",
        "prompt": best.prompt._asdict(),
        "plays": plays,
        "asked": writer.asked if writer else 0,
        "refused": writer.refused if writer else 0,
    }
    return aligned


def save(policy: LanguageModel, folder: Path) -> None:
    """Write what was found, ``card.json``."""
    folder.mkdir(parents=True)
    told = {"curve": policy.curve, "learned": policy.learned}  # type: ignore[attr-defined]
    (folder / "card.json").write_text(json.dumps(told, indent=1), encoding="utf-8")


def load(folder: Path, base: Model) -> Model:
    """Return the base with the prompt that was found."""
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    clauses, examples = (card["learned"]["prompt"][name] for name in Prompt._fields)
    policy = wrap(base, Prompt(tuple(clauses), tuple((user, answer) for user, answer in examples)))
    policy.curve, policy.learned = card["curve"], card["learned"]  # type: ignore[attr-defined]
    return policy


class _Writer:
    """Asks a language model for clauses."""

    SCHEMA: ClassVar[dict[str, Any]] = {
        "type": "object",
        "properties": {"clause": {"type": "string", "maxLength": LONGEST}},
        "required": ["clause"],
        "additionalProperties": False,
    }

    def __init__(self, model: Answers) -> None:
        self.model, self.ledger, self.asked, self.refused = model, Ledger(), 0, 0

    def about(self, path: _Path) -> Callable[[Prompt], str | None]:
        """Return what writes a clause in view of what a prompt was rewarded for."""
        seen = [f"{name} {value:.2f}" for by in path.why for name, value in by.items()]
        told = "; ".join(seen) or "not played yet"

        def write(prompt: Prompt) -> str | None:
            said = "\n".join(f"- {clause}" for clause in prompt.clauses) or "(none)"
            question = (
                f"Clauses of the instruction so far:\n{said}\nWhat it was rewarded for, from 0 to 1: {told}\n"
                'Write one new clause that mends what is low. Answer with JSON: {"clause": "..."}'
            )
            system = "You improve the instruction of an agent that plays economic games with others."
            chats = [(Message("system", system), Message("user", question))]
            self.asked += 1
            luck = (self.asked * 0.6180339887498949) % 1.0
            answer = ask(self.model, chats, [copy.deepcopy(self.SCHEMA)], 1.0, [luck], self.ledger)[0]
            try:
                clause = json.loads(answer.text)["clause"].strip()
            except (ValueError, KeyError, TypeError, AttributeError):
                clause = ""
            if answer.error or not 0 < len(clause) <= LONGEST:
                self.refused += 1
                return None
            return str(clause)

        return write
