"""Aligners: small models that rewrite what any policy is about to do, and inspectors that say when they have to.

L. Ngweta et al., "Aligners: Decoupling LLMs and Alignment", Findings of EMNLP 2024 (arXiv:2403.04224). An aligner is trained
once, on questions, drafts and corrected answers; it then stands behind any policy, whose weights it neither needs nor
changes. J. Ji et al., "Aligner: Efficient Alignment by Learning to Correct", NeurIPS 2024 (arXiv:2402.02416), have the same
rewriter without an inspector (``gate="open"``). Here answers are rated by the welfare that followed them.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ...envs.core import validate
from ...envs.core.arrays import Array, constant, to_numpy
from ...envs.core.fields import Text
from ...envs.core.policy import Policy, default_acts
from ..llm.policy import Decision, LanguageModel, Trace
from ..llm.train.learning import _versions
from ..llm.train.training import returns
from .stable import Societies, prepare

if TYPE_CHECKING:
    from ...envs.core.game import Acts, Game, Seen
    from ..llm.scorer import Chat, Scorer

Place = tuple[tuple[int, ...], int]
"""A world and a seat."""

VERDICTS = ('"good"}', '"bad"}')
"""What an inspector can say."""

GATES = ("inspector", "open")
"""What decides whether an aligner is called: its inspector, or nothing."""


WARMUP = 20
"""Steps in which the size of steps grows, before it falls."""


class Lesson(NamedTuple):
    """A prompt, what can be said, what is right, and how much it counts."""

    chat: Chat
    options: tuple[str, ...]
    pick: int
    weight: float = 1.0


class Sample(NamedTuple):
    """An answer to a question: its text, the choices it is made of, and its rating."""

    text: str
    decisions: tuple[Decision, ...]
    rating: float


Samples = dict[tuple[str, str], list[Sample]]
"""{(system, user): answers that were sampled on it}."""


def told(user: str, draft: str) -> str:
    """Return a question with the draft that is to be judged or corrected."""
    return f"{user}; draft {draft}"


# ---- the data -----------------------------------------------------------------------------------------------------


class _Forks:
    """Chance that all worlds of a group share but for one step, which is drawn: there each goes a way of its own.

    At that step the players of a world have the same numbers, so that they answer alike.
    """

    def __init__(self, seed: int, group: int) -> None:
        self.rng, self.group = np.random.default_rng([seed, 31]), group

    def start(self, worlds: int, horizon: int) -> NDArray[np.int64]:
        """Draw the step of every group anew; return that of each world."""
        self.step, count = 0, worlds // self.group
        self.at: NDArray[np.int64] = self.rng.integers(horizon, size=count).repeat(self.group)
        return self.at

    def random(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return the uniform numbers (worlds, seats, draws) of the next step."""
        shared = self.rng.random((shape[0] // self.group, *shape[1:])).repeat(self.group, axis=0)
        own, here = self.rng.random((shape[0], 1, *shape[2:])), self.at == self.step
        self.step += 1
        return np.where(here[:, None, None], own, shared)

    def permutation(self, count: int) -> NDArray[np.int64]:
        """Return an order."""
        return self.rng.permutation(count)


def collect(
    base: LanguageModel, society: Societies, plays: int, seed: int, *, sessions: int = 16
) -> tuple[Samples, list[float]]:
    """Return what a model answered to the same questions, each answer rated by what followed it.

    The worlds of a group are one world until a step that is drawn: there all players answer anew in each of them, so that a
    player's answers are answers to one question. The players of a world do so by the same chance, and what comes after has
    the same chance in all worlds: an answer is rated by what follows if all give it, or one like it. A rating is the return
    from that step on, as ``base.training.credit`` counts it, less the mean of the group.

    Parameters
    ----------
    base, society, seed, sessions
        As in ``fit``.
    plays
        Episodes of all worlds.

    Returns
    -------
    tuple
        The samples, and the mean return of a seat in each play.
    """
    learner = prepare(base, society, sessions, seed)
    group = learner.training.group
    forks = _Forks(seed, group)
    learner.rng = forks  # type: ignore[assignment]
    samples: Samples = {}
    curve = []
    for _ in range(plays):
        learner.move()
        at = forks.start(sessions, learner.game.horizon)
        played = learner.play()
        curve.append(float(played.paid.sum(axis=0).mean()))
        values = returns(played.paid, learner.training.discount, False)
        answers: dict[tuple[int, int], list[Decision]] = {}
        for step, decision in played.decisions:
            (world,), seat = decision.place
            if at[world] == step:
                answers.setdefault((world, seat), []).append(decision)
        for (world, seat), decisions in answers.items():
            first = world // group * group
            rating = values[at[world], world, seat] - values[at[world], first : first + group, seat].mean()
            chat = decisions[0].chat
            sample = Sample(_text(decisions[-1]), tuple(decisions), float(rating))
            samples.setdefault((chat.system, chat.user), []).append(sample)
    return samples, curve


def _text(last: Decision) -> str:
    """Return an answer as it stands after its last choice."""
    return last.chat.answer + last.options[last.pick]


def mixed_up(samples: Samples, seed: int) -> Samples:
    """Return the samples with their ratings permuted among all of them: the control, from which nothing can be learned."""
    ratings = [sample.rating for some in samples.values() for sample in some]
    drawn = iter(np.random.default_rng([seed, 41]).permutation(ratings).tolist())
    return {question: [sample._replace(rating=next(drawn)) for sample in some] for question, some in samples.items()}


def ranked(samples: Sequence[Sample]) -> list[Sample]:
    """Return the distinct answers to one question, the best first, with their ratings in the mean.

    A mean of n ratings counts n / (n + 1) of itself, as if one of 0, an answer of average worth, were among them: who was
    tried once has less to show for a high rating. Equals stand in the order of their texts.
    """
    by_text: dict[str, list[Sample]] = {}
    for sample in samples:
        by_text.setdefault(sample.text, []).append(sample)
    means = (some[0]._replace(rating=sum(s.rating for s in some) / (len(some) + 1)) for some in by_text.values())
    return sorted(means, key=lambda sample: (-sample.rating, sample.text))


def corrections(samples: Samples) -> list[list[Lesson]]:
    """Return what a rewriter learns by each question: to correct a draft to the answers that were rated better.

    A pair counts as much as the ratings are apart, of the best and the worst answer 1; the best is corrected to itself.
    """
    from ..llm.scorer import Chat

    found = []
    for (system, user), each in _told_apart(samples):
        best, worst = each[0].rating, each[-1].rating
        pairs = [(a, b, (b.rating - a.rating) / (best - worst)) for a in each for b in each if b.rating > a.rating]
        pairs.append((each[0], each[0], 1.0))
        found.append(
            [
                Lesson(Chat(system, told(user, draft.text), d.chat.answer), d.options, d.pick, weight)
                for draft, better, weight in pairs
                for d in better.decisions
            ]
        )
    return found


def verdicts(samples: Samples) -> list[list[Lesson]]:
    """Return what an inspector learns by each question: an answer is good if it was rated above the mean, else bad."""
    return [
        [Lesson(_inspected(system, user, s.text), VERDICTS, int(s.rating <= 0.0)) for s in each]
        for (system, user), each in _told_apart(samples)
    ]


def _told_apart(samples: Samples) -> list[tuple[tuple[str, str], list[Sample]]]:
    """Return ranked answers to questions on which some answer was rated better than another."""
    found = [(question, ranked(some)) for question, some in samples.items()]
    return [(question, each) for question, each in found if each[0].rating > each[-1].rating]


def _inspected(system: str, user: str, draft: str) -> Chat:
    from ..llm.scorer import Chat

    return Chat(system, told(user, draft), '{"verdict": ')


def _teach(
    scorer: Scorer, lessons: Sequence[Sequence[Lesson]], passes: int, batch: int, rate: float, seed: int
) -> list[float]:
    """Fit a model to lessons by cross-entropy among what can be said, ``batch`` questions a step; return the loss of each pass."""
    import torch

    rng = np.random.default_rng([seed, 37])
    weights = [weight for weight in scorer.model.parameters() if weight.requires_grad]
    adam = torch.optim.AdamW(weights, weight_decay=0.0)
    steps, losses, done = passes * -(-len(lessons) // batch), [], 0
    whole = sum(one.weight for some in lessons for one in some)
    for _ in range(passes):
        order, total = rng.permutation(len(lessons)), 0.0
        for begin in range(0, len(lessons), batch):
            jobs: dict[tuple[Chat, tuple[str, ...]], list[Lesson]] = {}  # equal prompts are read once
            for one in (one for i in order[begin : begin + batch] for one in lessons[i]):
                jobs.setdefault((one.chat, one.options), []).append(one)
            keys, given = list(jobs), sum(one.weight for some in jobs.values() for one in some)
            adam.zero_grad(set_to_none=True)
            for indices, scores in scorer.differentiable([key[0] for key in keys], [key[1] for key in keys]):
                loss = torch.zeros(())
                for i, score in zip(indices, scores, strict=True):
                    logs = torch.log_softmax(score, dim=-1)
                    loss = loss - sum(one.weight * logs[one.pick] for one in jobs[keys[i]])
                (loss / given).backward()  # type: ignore[no-untyped-call]
                total += float(loss.detach())
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            for part in adam.param_groups:
                part["lr"] = rate * min(1.0, (done + 1) / WARMUP) * (1.0 - done / steps)
            adam.step()
            done += 1
        losses.append(total / whole)
    scorer.forget()
    return losses


# ---- the aligner --------------------------------------------------------------------------------------------------


class _Rewriter(LanguageModel):
    """A language model that is shown drafts of what it is to answer."""

    drafts: Mapping[Place, str] = {}

    def _user(self, place: Place, own: dict[str, Any], number: int, state: Any) -> str:
        user = super()._user(place, own, number, state)
        return told(user, self.drafts[place]) if place in self.drafts else user


@dataclass(frozen=True)
class Aligner:
    """A rewriter and its inspector, trained once; ``wrap`` puts them behind any policy.

    Parameters
    ----------
    rewriter
        The language model that corrects drafts; it chooses among legal acts alone. At temperature 0 it takes the likeliest.
    inspector
        The model that says whether a draft is good.
    threshold
        Probability of "good" below which a draft is rewritten.
    learned
        How both were made: losses of each pass, counts of lessons, returns of the play (``curve``).
    """

    rewriter: LanguageModel
    inspector: Scorer
    threshold: float = 0.5
    learned: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        validate.probability("threshold", self.threshold)

    def wrap(self, policy: Policy, **options: Any) -> Corrected:
        """Return a policy that does what another does, corrected; ``options`` are those of ``Corrected``."""
        return Corrected(policy, [self], **options)

    def noisy(self, temperature: float) -> Aligner:
        """Return the aligner with a rewriter that draws its corrections at a temperature: the higher, the more at random."""
        rewriter = copy.copy(self.rewriter)
        rewriter.temperature = validate.real("temperature", temperature, 0.0)
        return replace(self, rewriter=rewriter)

    def scores(self, chats: Sequence[Chat]) -> NDArray[np.float64]:
        """Return the inspector's probability (chats,) that a draft is good."""
        logs = np.reshape(self.inspector.score(chats, [VERDICTS] * len(chats)), (len(chats), 2))
        return np.asarray(1.0 / (1.0 + np.exp(logs[:, 1] - logs[:, 0])))

    def save(self, folder: str | Path) -> None:
        """Write the weights of both as safetensors, and ``card.json``."""
        from ..llm.scorer import quiet

        path = Path(folder)
        models: dict[str, Any] = {"rewriter": self.rewriter.scorer, "inspector": self.inspector}
        for name, scorer in models.items():
            (path / name).mkdir(parents=True, exist_ok=True)
            with quiet():
                scorer.model.save_pretrained(path / name)
                scorer.tokenizer.save_pretrained(path / name)
        card = {**self.learned, "threshold": self.threshold, "temperature": self.rewriter.temperature}
        (path / "card.json").write_text(json.dumps(card, indent=1, default=str), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path, base: LanguageModel) -> Self:
        """Return what ``save`` wrote; the words in which questions are put are those of ``base``."""
        from ..llm.scorer import Scorer

        path = Path(folder)
        if not (path / "card.json").is_file():
            raise FileNotFoundError(f"folder: no card.json in {path}; give a folder that save() wrote")
        card = json.loads((path / "card.json").read_text(encoding="utf-8"))
        rewriter, inspector = (Scorer.load(path / name, device=base.device) for name in ("rewriter", "inspector"))
        threshold, temperature = card.pop("threshold"), card.pop("temperature")
        return cls(_rewriter(base, rewriter, temperature), inspector, threshold, card)


def load(folder: Path, base: LanguageModel) -> Corrected:
    """Return a base behind the aligner that was kept in a folder."""
    return Aligner.load(folder, base).wrap(base)


def _rewriter(base: LanguageModel, scorer: Scorer, temperature: float = 0.0) -> LanguageModel:
    """Return the rewriter that asks a model in the words of a base."""
    options = {name: getattr(base, name) for name in ("levels", "template", "examples", "persona", "values")}
    return _Rewriter(scorer, temperature=temperature, device=base.device, **options)


def fit(
    base: LanguageModel,
    society: Societies,
    budget: int,
    seed: int,
    *,
    sessions: int = 16,
    passes: int = 3,
    batch: int = 16,
    rate: float = 2e-3,
    threshold: float = 0.5,
    mixed: bool = False,
) -> Aligner:
    """Train an aligner: what a model answers in societies gives it drafts and corrections.

    Parameters
    ----------
    base
        From whose weights rewriter and inspector start, and which is asked; its ``training`` gives group, credit and
        discount. It stays as it is.
    society
        Where questions are found.
    budget
        Plays of an episode, each in one society with as many questions as it has groups of worlds and players.
    seed
        Of all chance.
    sessions, passes, batch, rate, threshold, mixed
        Of ``collect`` and ``train``.

    Returns
    -------
    Aligner
        With a ``learned`` of ``curve``, the mean return of a seat in each play, besides what ``train`` says.

    Raises
    ------
    ValueError
        If in the play no answer was rated better than another, or a parameter is out of range.
    """
    validate.whole("budget", budget, 1, 1_000_000_000)
    samples, curve = collect(base, society, budget, seed, sessions=sessions)
    options = {"passes": passes, "batch": batch, "rate": rate, "threshold": threshold, "mixed": mixed}
    found = train(base, samples, seed, **options)  # type: ignore[arg-type]
    return replace(found, learned={**found.learned, "curve": curve})


def train(
    base: LanguageModel,
    samples: Samples,
    seed: int,
    *,
    passes: int = 3,
    batch: int = 16,
    rate: float = 2e-3,
    threshold: float = 0.5,
    mixed: bool = False,
) -> Aligner:
    """Train an aligner on what was collected.

    Parameters
    ----------
    base
        From whose weights rewriter and inspector start.
    samples
        Of ``collect``.
    seed
        Of all chance.
    passes, batch, rate
        Passes of the rewriter over all lessons, questions a step, and the largest step, after ``WARMUP`` and before sizes fall
        to 0. The inspector, who learns less from each answer, takes twice the passes.
    threshold
        Of ``Aligner``.
    mixed
        Whether ratings are permuted among samples: the control.

    Returns
    -------
    Aligner
        With a ``learned`` of ``rewriter`` and ``inspector``, the losses of each pass, and the count of ``questions``.
    """
    from ..llm.train.adapters import start

    validate.whole("passes", passes, 1, 1_000_000)
    validate.whole("batch", batch, 1, 1_000_000)
    validate.real("rate", rate, 0.0, 1.0)
    samples = mixed_up(samples, seed) if mixed else samples
    lessons = {"rewriter": corrections(samples), "inspector": verdicts(samples)}
    if not lessons["rewriter"]:
        raise ValueError("samples: no answer was rated better than another to the same question; give a larger budget")
    taught: dict[str, Any] = {
        "method": "aligner",
        "seed": seed,
        "questions": len(lessons["rewriter"]),
        "versions": _versions(),
    }
    models = {name: start(base.model, seed, base.device) for name in lessons}
    for name, times in (("rewriter", passes), ("inspector", 2 * passes)):
        taught[name] = _teach(models[name], lessons[name], times, batch, rate, seed)
    return Aligner(_rewriter(base, models["rewriter"]), models["inspector"], threshold, taught)


# ---- behind a policy ----------------------------------------------------------------------------------------------


@dataclass
class Counts:
    """What aligners did: acts they ``saw``, drafts that inspectors ``judged``, rewriters' ``calls``, acts ``changed``."""

    saw: int = 0
    judged: int = 0
    calls: int = 0
    changed: int = 0

    @property
    def rate(self) -> float:
        """Calls of a rewriter for each act."""
        return self.calls / self.saw if self.saw else 0.0


class Corrected(Policy):
    """A policy whose acts pass by aligners before they are played.

    What it is about to do is put in words, an inspector judges it, and what fails is rewritten among the legal options; what
    passes stays bit for bit, and so do free texts. Of several aligners those come first whose inspectors think least of the
    draft; what one leaves behind is the draft of the next.

    Parameters
    ----------
    policy
        Any policy.
    aligners
        Those that stand behind it, at least one.
    gate
        ``"inspector"``; ``"open"``: every act is rewritten; or a probability with which it is, at random: the control of a
        gate that lets as many pass.
    """

    def __init__(self, policy: Policy, aligners: Sequence[Aligner], *, gate: str | float = "inspector") -> None:
        if not aligners:
            raise ValueError("aligners: at least one, got none")
        if isinstance(gate, str):
            validate.one_of("gate", gate, GATES)
        else:
            validate.probability("gate", gate)
        self.policy, self.aligners, self.gate, self.counts = policy, tuple(aligners), gate, Counts()

    @property
    def curve(self) -> list[float]:
        """Mean return of a seat in each play from which the first aligner learned."""
        return list(self.aligners[0].learned.get("curve", []))

    def ready(self) -> None:
        """Say what the policy lacks."""
        self.policy.ready()

    def bind(self, game: Game, role: str, seats: tuple[int, ...]) -> Self:
        """Bind the policy, and let aligners read the rules."""
        bound = super().bind(game, role, seats)
        bound.policy = self.policy.bind(game, role, seats)
        bound.game = game  # type: ignore[attr-defined]  # for its stages alone
        bound.scribes = [one.rewriter.bind(game, role, seats) for one in self.aligners]  # type: ignore[attr-defined]
        bound.draws = bound.policy.draws + len(self.aligners) + max(s.draws for s in bound.scribes)  # type: ignore[attr-defined]
        return bound

    def begin(self, batch: tuple[int, ...], xp: Any, device: Any) -> Any:
        """Return the policy's memory."""
        return self.policy.begin(batch, xp, device)

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Decide as the policy does, and correct it."""
        acts, memory = self.policy.act(seen, stage, u[..., : self.policy.draws], memory)
        like = default_acts(self.role, stage, len(self.seats))
        host = {name: np.array(to_numpy(acts.get(name, values))) for name, values in like.items()}
        sight = {name: to_numpy(values) for name, values in seen.items()}
        luck, stages = to_numpy(u)[..., self.policy.draws :], to_numpy(stage)
        changed = False
        for number in sorted(set(stages.reshape(-1).tolist()) - {-1}):
            name = self.game.stages[number].name  # type: ignore[attr-defined]
            seats = [i for i, seat in enumerate(self.seats) if self.role.deciding(name, seat)]
            places = [(w, seat) for w in np.ndindex(*stages.shape) if stages[w] == number for seat in seats]
            if places:
                changed |= self._correct(places, sight, number, luck, host)
        if not changed:
            return acts, memory
        return {name: constant(like[name], values) for name, values in host.items()}, memory

    def _correct(
        self,
        places: list[Place],
        sight: dict[str, NDArray[Any]],
        number: int,
        luck: NDArray[np.float64],
        host: dict[str, NDArray[Any]],
    ) -> bool:
        """Let every aligner have its turn at each place; say whether an act was changed."""
        self.counts.saw += len(places)
        before = {name: values.copy() for name, values in host.items()}
        given = (sight, number, luck, host)
        order = [dict.fromkeys(places, 0)]
        if len(self.aligners) > 1:
            marks = [self._marks(i, self._drafts(i, places, *given)) for i in range(len(self.aligners))]
            ranks = {at: np.argsort([some.get(at, 1.0) for some in marks], kind="stable") for at in places}
            order = [{at: int(ranks[at][turn]) for at in places} for turn in range(len(marks))]
        for whose in order:
            for i in range(len(self.aligners)):
                self._align(i, [at for at in places if whose[at] == i], *given)
        moved = sum(any(np.any(host[n][(*w, seat)] != before[n][(*w, seat)]) for n in host) for w, seat in places)
        self.counts.changed += moved
        return moved > 0

    def _align(
        self,
        i: int,
        places: list[Place],
        sight: dict[str, NDArray[Any]],
        number: int,
        luck: NDArray[np.float64],
        host: dict[str, NDArray[Any]],
    ) -> None:
        """Let one aligner rewrite what does not pass its gate."""
        drafts = self._drafts(i, places, sight, number, luck, host)
        if self.gate == "inspector":
            chosen = [at for at, mark in self._marks(i, drafts).items() if mark < self.aligners[i].threshold]
        else:
            bound = 1.0 if self.gate == "open" else float(self.gate)
            chosen = [at for at in drafts if luck[(*at[0], at[1], i)] < bound]
        if not chosen:
            return
        scribe = copy.copy(self.scribes[i])  # type: ignore[attr-defined]
        scribe.drafts = {at: drafts[at][2] for at in chosen}
        texts = {f.name: host[f.name].copy() for f in self.role.acts if isinstance(f.space, Text)}
        scribe._decide(chosen, sight, number, luck[..., len(self.aligners) :], host, None)
        for name, values in texts.items():
            host[name][...] = values
        self.counts.calls += len(chosen)

    def _drafts(
        self,
        i: int,
        places: list[Place],
        sight: dict[str, NDArray[Any]],
        number: int,
        luck: NDArray[np.float64],
        host: dict[str, NDArray[Any]],
    ) -> dict[Place, tuple[str, str, str]]:
        """Return (system, question, draft) of acts as an aligner reads them; of those that are free texts alone none."""
        scribe = copy.copy(self.scribes[i])  # type: ignore[attr-defined]
        scribe.trace = Trace()
        scribe.trace.forced = host
        ignored = {name: values.copy() for name, values in host.items()}
        scribe._decide(places, sight, number, luck[..., len(self.aligners) :], ignored, None)
        return {d.place: (d.chat.system, d.chat.user, _text(d)) for d in scribe.trace.decisions}

    def _marks(self, i: int, drafts: Mapping[Place, tuple[str, str, str]]) -> dict[Place, float]:
        """Return what an inspector thinks of drafts."""
        self.counts.judged += len(drafts)
        return dict(
            zip(drafts, self.aligners[i].scores([_inspected(*draft) for draft in drafts.values()]), strict=True)
        )
