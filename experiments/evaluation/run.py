"""Run the suite: case by case, each kept as soon as it is finished, so that a run that was stopped goes on."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...envs.core import validate
from ...envs.core.episodes import Episodes, play
from ...envs.core.policy import Policy
from ...envs.core.worlds import Cast
from ..held_out import _named
from ..provenance import code_version, machine
from ..work import write_atomically
from .players import REFERENCES, Candidate, Once, Remembered, candidate, stranger
from .suite import AGAIN, Case, Suite, load

if TYPE_CHECKING:
    from ...envs.core.game import Game

COSTS = ("calls", "questions", "tokens_read", "tokens_written", "seconds", "cost")
"""What a language model's part in a case took, summed over its worlds; ``cost`` is in US dollars, of answers with a price."""

SHIFT = 0.5
"""Added to the luck of a question that is put again."""

Progress = Callable[[int, int, str, float], None]
"""Called as ``progress(done, all, name, left)`` after each case; ``left`` are the seconds that the others will take."""


class Evaluation(NamedTuple):
    """A finished run: its folder, its page, and what was found (``metrics.Score``)."""

    folder: Path
    page: Path
    scores: list[Any]

    def __str__(self) -> str:
        from .page import told

        return told(self.folder)


def cast_of(
    suite: Suite, case: Case, one: Candidate, game: Game
) -> tuple[dict[str, Policy], tuple[str, ...], Policy | None]:
    """Return who plays a case, {player: policy}; the players whom the candidate plays; and its policy."""
    policy = one.player(suite, case)
    if case.kind == "society":
        mine, others = game.players, None
    else:
        others = stranger(suite.strangers_of(case.scenario)[case.stranger], case.stranger)
        alone = case.kind in ("newcomer", "probe")
        mine = tuple(player for player in game.players if (player == case.seat) == alone)
    own = policy
    if case.kind == "probe" and policy is not None:
        own = Once(policy, SHIFT if case.wording == AGAIN else 0.0)
    seated = {player: own if player in mine else others for player in game.players}
    return {player: found for player, found in seated.items() if found is not None}, mine, policy


def play_case(suite: Suite, case: Case, one: Candidate, worlds: int, seed: int) -> dict[str, Any]:
    """Play one case and return what is kept of it.

    Returns
    -------
    dict
        ``alignment``, ``welfare``, ``own`` (return a head of the candidate's players) and ``seat`` (return of the case's
        seat), each a list with a number a world; ``span``, welfare between baseline and first best, and ``players``;
        ``legality`` {outcome: numbers a world}; ``cost``; of a probe ``acts``, the numbers decided first, each as a share
        of its range, [world][number], ``toward`` the sign of each, and ``odds``, the probabilities of the first of them;
        or ``refused``, the reason why a policy does not play the game.
    """
    game = suite.game(case)
    seated, mine, policy = cast_of(suite, case, one, game)
    if not one.reads:
        try:
            Cast(game, seated)
        except (KeyError, TypeError, ValueError) as error:  # that is how policies refuse a game
            return {"refused": str(error.args[0])}
    spent = dict(one.model.spent) if isinstance(one.model, Remembered) else {}
    begun = time.perf_counter()
    episodes = play(game, seated, worlds=worlds, seed=seed, keep=True)
    marks = game.benchmarks()
    players = list(game.players)
    returns = np.concatenate([episodes.returns[role.name] for role in game.roles], axis=-1)
    own = [players.index(player) for player in mine]
    found: dict[str, Any] = {
        "alignment": episodes.alignment.tolist(),
        "welfare": episodes.welfare.tolist(),
        "own": returns[:, own].mean(axis=-1).tolist(),
        "returns": {player: returns[:, i].tolist() for i, player in enumerate(players)},
        "span": marks.first_best.value - (marks.baseline or marks.equilibrium).value,
        "players": len(players),
        "wall": time.perf_counter() - begun,
        "told": episodes.tell(steps=12) if case.kind == "society" else "",
    }
    if case.kind == "probe":
        toward = suite.scenarios[case.scenario].toward
        found |= first_acts(episodes, case.seat, toward)
    if one.reads:
        assert policy is not None
        ledger = policy.ledger  # type: ignore[attr-defined]
        if isinstance(one.model, Remembered):
            found["cost"] = {key: value - spent[key] for key, value in one.model.spent.items()}
            if case.kind == "probe" and one.model.first is not None:
                found["odds"] = [_softmax(score, one.temperature) for score in one.model.first]
        else:
            found["cost"] = {key: getattr(ledger, key) for key in (*COSTS, "priced", "errors", "asked_again")}
            found["legality"] = {key[4:]: values.tolist() for key, values in ledger.measures(worlds).items()}
            found["rules"] = dict(ledger.rules)
    return found


def first_acts(episodes: Episodes, seat: str, toward: Mapping[str, int]) -> dict[str, Any]:
    """Return what a seat decided first, [world][number] as shares of the range, and the sign of each number."""
    game, (name, _, place) = episodes.game, seat.rpartition("_")
    role, index = game.role(name), int(place)
    for moment in episodes.moments:
        fields = role.deciding(game.stages[int(moment.stage[0])].name, index)
        if fields:
            columns, signs = [], []
            for field in fields:
                low, high = field.space.low, field.space.high
                values = np.asarray(moment.acts[name][field.name])[:, index].reshape(len(moment.stage), -1)
                columns.append((values - low) / (high - low))
                signs += [toward.get(field.name, 0)] * values.shape[1]
            return {"acts": np.concatenate(columns, axis=-1).tolist(), "toward": signs}
    raise RuntimeError(f"{seat} decides nothing in {game.name}")


def _softmax(score: np.ndarray[Any, Any], temperature: float) -> list[float]:
    """Return the probabilities with which a decision is made."""
    if temperature == 0.0:
        return [float(i == score.argmax()) for i in range(len(score))]
    weights = np.exp((score - score.max()) / temperature)
    return [round(float(w), 9) for w in weights / weights.sum()]


def _work(suite: Suite, case: Case, one: Candidate) -> float:
    """Return how much a case is to do, about in decisions of a model; what needs no model is nearly free."""
    if not one.reads:
        return 0.02
    game = suite.game(case)
    if case.kind in ("probe", "newcomer"):
        return 1.0 if case.kind == "probe" else 1.0 * game.rounds
    return float(len(game.players) * game.rounds) / (2.0 if case.kind == "stranger" else 1.0)


def evaluate(
    model: Any,
    out: str | Path = "runs",
    *,
    quick: bool = False,
    name: str = "",
    key: str | None = None,
    prices: Sequence[float] | None = None,
    extra: Mapping[str, Any] | None = None,
    temperature: float = 1.0,
    device: str | None = None,
    worlds: int | None = None,
    seed: int = 0,
    scenarios: Sequence[str] = (),
    suite: Suite | None = None,
    progress: Progress | None = None,
    command: str = "",
) -> Evaluation:
    """Evaluate a model on the suite, with the references beside it in the same worlds, and write the report.

    Parameters
    ----------
    model, name, key, prices, extra, temperature, device
        As for ``players.candidate``.
    out
        Folder that holds runs; the run's own folder within it is the same for the same model, suite and settings.
    quick
        The quick form: fewer and shorter games, fewer worlds.
    worlds, seed
        Worlds a case (at least 2, an even number gives the fairest exploitability); None takes the suite's.
    scenarios
        Only these games of the suite; empty for all.
    suite
        Another suite than the one that is shipped.
    progress
        Told of each finished case.
    command
        The command line, for the record.

    Returns
    -------
    Evaluation
        The folder holds ``scores.csv`` and ``results.json`` (each metric with its interval), ``rows.csv`` (each world),
        ``report.html`` (opens offline) and ``cases/``.

    Raises
    ------
    ValueError, FileNotFoundError, ConnectionError
        If there is no such model or game; nothing has run then.
    """
    whole = load() if suite is None else suite
    plan = whole.form(quick)
    if scenarios:
        for wanted in scenarios:
            if wanted not in whole.scenarios:
                raise ValueError(f"scenarios: of {', '.join(whole.scenarios)}, got {wanted!r}")
            if wanted not in plan.scenarios:
                raise ValueError(
                    f"scenarios: {wanted!r} is in the full form only; leave quick out, or take of: {', '.join(plan.scenarios)}"
                )
        plan = plan.model_copy(
            update={"scenarios": {key: plan.scenarios[key] for key in plan.scenarios if key in scenarios}}
        )
    count = validate.whole(
        "worlds", plan.worlds["quick" if quick else "full"] if worlds is None else worlds, 2, 100_000
    )
    validate.whole("seed", seed, 0, 2**63 - 1)
    one = candidate(model, name=name, key=key, prices=prices, extra=extra, temperature=temperature, device=device)
    check = getattr(one.model.model if isinstance(one.model, Remembered) else one.model, "ready", None)
    if one.reads and callable(check):
        check()
    if one.policy is not None:
        one.policy.ready()
    if one.name in REFERENCES and one.identity != REFERENCES[one.name]:
        raise ValueError(f"name: {one.name!r} is a reference of the suite; choose another name")
    players = [one, *(_reference(text, given) for text, given in REFERENCES.items() if text != one.name)]
    settings = {"suite": plan.sha256, "model": one.identity, "worlds": count, "seed": seed}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    slug = re.sub(r"[^a-z0-9]+", "-", one.name.lower()).strip("-")[:40] or "model"
    folder = Path(out) / f"eval-{slug}-{digest[:8]}"
    (folder / "cases").mkdir(parents=True, exist_ok=True)
    started = datetime.now(UTC)
    jobs = [(who, case) for who in players for case in plan.cases(reads=who.reads)]
    jobs.sort(key=lambda job: job[0].reads)  # what is free comes first
    results = _play_all(plan, jobs, folder / "cases", count, seed, progress)
    meta = {
        "model": one.name,
        "suite": whole.version,
        "form": "quick" if quick else "full",
        "suite_sha256": plan.sha256,
        "worlds": count,
        "seed": seed,
        "temperature": one.temperature if one.reads else None,
        "kind": "asked" if one.asks else "scored" if one.reads else "policy",
        "players": [who.name for who in players],
        "command": command,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(sum(found.get("wall", 0.0) for found in results.values()), 1),
        "version": code_version(),
        **machine(),
    }
    from . import metrics, page

    scores = metrics.scores(plan, results, [who.name for who in players], count)
    metrics.write(folder, plan, results, scores, meta)
    return Evaluation(folder, page.write(folder), scores)


def _reference(name: str, text: str) -> Candidate:
    return Candidate(name, policy=_named(text) if text else None)


Results = dict[tuple[str, Case], dict[str, Any]]
"""{(player's name, case): what ``play_case`` returned}."""


def _play_all(
    suite: Suite,
    jobs: list[tuple[Candidate, Case]],
    folder: Path,
    worlds: int,
    seed: int,
    progress: Progress | None,
) -> Results:
    """Play what is not there yet; return everything."""
    results: Results = {}
    sizes = [_work(suite, case, one) for one, case in jobs]
    rest, done, taken = sum(sizes), 0.0, 0.0
    for number, ((one, case), size) in enumerate(zip(jobs, sizes, strict=True), 1):
        path = folder / f"{re.sub(r'[^A-Za-z0-9.=-]+', '_', one.name)}--{case.name}.json"
        if path.is_file():
            results[one.name, case] = json.loads(path.read_text(encoding="utf-8"))
        else:
            begun = time.monotonic()
            found = play_case(suite, case, one, worlds, seed)
            write_atomically(path, json.dumps(found))
            results[one.name, case] = found
            done, taken = done + size, taken + time.monotonic() - begun
        rest -= size
        if progress is not None:
            progress(number, len(jobs), f"{one.name}: {case.name}", taken / done * rest if done else 0.0)
    return results
