"""Training: all who learn play some steps in the same worlds and learn from them; what is kept, shown and stopped."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...envs.core import validate
from ...envs.core.arrays import Array, absent, to_numpy, tree_map
from ...envs.core.mechanism import Institution
from ...envs.core.policy import Policy
from ...envs.core.worlds import Cast, Worlds
from ..gradient import layout
from .group import Group
from .learner import Learner
from .pool import Pool
from .ppo import PPO

if TYPE_CHECKING:
    from ...envs.core.game import Acts, Game


class Stopped(KeyboardInterrupt):
    """Learning was stopped by Ctrl-C after a whole update; ``policies`` are what had been learned by then."""

    def __init__(self, message: str, policies: dict[str, PPO]) -> None:
        super().__init__(message)
        self.policies = policies


def train(
    game: Game,
    learners: Mapping[str, PPO],
    *,
    episodes: int,
    sessions: int = 1024,
    seed: int = 0,
    others: Mapping[str, Policy] | None = None,
    watch: Callable[[int, int], None] | None = None,
    folder: str | Path | None = None,
    save_every: float = 60.0,
    progress: bool = False,
    tensorboard: str | Path | None = None,
) -> dict[str, PPO]:
    """Let any roles and players learn at once, in the same worlds; return what each learned.

    In the processes that ``torchrun`` starts, each plays its share of the worlds and gradients are summed: all return what one
    process would have learned, but for rounding. The first alone writes and shows.

    Parameters
    ----------
    game
        The game.
    learners
        {role or player: how it learns}. A role's policy learns all its seats that neither another learner nor ``others``
        names. Their ``device``, ``steps`` and ``threads`` must agree.
    episodes, sessions, seed, others
        As for ``PPO.learn``.
    watch
        Called as ``watch(update, updates)`` after every update.
    folder
        Where learning is kept: the same call goes on from there, to the same curve, bit for bit, as if it had not stopped.
        What was learned is in a folder of it for each learner, ready for ``PPO(path=...)``. Who plays the others is
        compared by kind only.
    save_every
        Seconds between savings to ``folder``.
    progress
        Whether to show how far it is, with the time left.
    tensorboard
        Folder for a curve that TensorBoard shows; needs the package tensorboard.

    Raises
    ------
    Stopped
        On Ctrl-C, after the update under way; all is kept in ``folder``. A second Ctrl-C stops at once.
    ValueError
        If the learners do not agree, or ``folder`` is of another training.
    """
    validate.whole("episodes", episodes, 1, 1_000_000_000)
    validate.whole("sessions", sessions, 1, 1_000_000_000)
    if not learners:
        raise ValueError(f"learners: at least one role or player of {game.name}, got none")
    for name in ("device", "steps", "threads"):
        told = {getattr(policy, name) for policy in learners.values()}
        if len(told) > 1:
            raise ValueError(f"{name}: the same for all who learn together, got {', '.join(map(str, told))}")
    first = next(iter(learners.values()))
    with _threads(first.threads):
        training = _Training(game, learners, episodes, sessions, seed, others or {})
        keeper = None if folder is None else _Keeper(Path(folder), training, save_every)
        with _Shown(progress, tensorboard, training) as shown, _interruptible() as interrupted:
            while training.done < training.updates:
                training.update()
                shown.show()
                if watch is not None:
                    watch(training.done, training.updates)
                over = training.done == training.updates
                stop, save = training.group.any(bool(interrupted), keeper is not None and keeper.due)
                if keeper is not None and (over or stop or save):
                    keeper.save()
                if stop and not over:
                    where = (
                        "; give a folder to keep it" if folder is None else f"; all is kept in {folder}: call it again"
                    )
                    raise Stopped(
                        f"stopped after {training.done} of {training.updates} updates{where}", training.policies()
                    )
    return training.policies()


class _Training:
    """Worlds, all who learn in them, and how far they are."""

    def __init__(
        self,
        game: Game,
        learners: Mapping[str, PPO],
        episodes: int,
        sessions: int,
        seed: int,
        others: Mapping[str, Policy],
    ) -> None:
        import torch

        self.torch, self.game, self.done = torch, game, 0
        first = next(iter(learners.values()))
        self.group = group = Group(sessions, first.device)
        backend = "numpy" if torch.device(group.device).type == "cpu" else "torch"  # NumPy is quicker on the host
        count = group.end - group.begin
        self.worlds = Worlds(game, count, seed=seed, backend=backend, device=group.device, check=False)
        if group.begin:  # the first episode of others than the first worlds
            self.worlds.world, self.worlds.episode = self.worlds.world + group.begin, self.worlds.episode - 1
            self.worlds.restart(self.worlds.world >= 0)
        self.steps = first.steps or game.horizon
        self.updates = max(1, math.ceil(episodes * game.horizon / self.steps))
        seats = _seats(game, learners, others)
        self.learners = [
            Learner(name, policy, seats[name], self.worlds, group, self.steps, seed)
            for name, policy in learners.items()
        ]
        learning = tuple(learner.role.player(seat) for learner in self.learners for seat in learner.seats)
        self.cast = Cast(game, {name: _quick(policy) for name, policy in others.items()}, except_=learning)
        self.cast.begin(self.worlds)
        shape, like = (self.steps, count), self.learners[0]
        self.stage, self.ended = torch.zeros(shape, dtype=torch.int64, device=like.device), like._zeros(*shape)
        self.rounds = like._zeros(*shape) if any(p.gamma < 1.0 for p in learners.values()) else None
        self.opens = like._zeros(self.steps + 1, count)  # 1 where an episode begins at a step
        self.opens[-1] = 1.0
        self.told = {
            **_origin(game),
            "episodes": episodes,
            "sessions": sessions,
            "seed": seed,
            "others": {name: type(policy).__name__ for name, policy in others.items()},
            "learners": {name: policy.parameters for name, policy in learners.items()},
        }

    def update(self) -> None:
        """Play some steps in every world, and let everyone learn from them."""
        torch = self.torch
        left = 1.0 - self.done / self.updates
        with torch.no_grad():
            self._play(left)
        for learner in self.learners:
            policy = learner.policy
            discount = 1.0 - self.ended
            if self.rounds is not None:
                discount = discount * policy.gamma**self.rounds
            learner.later = learner.judged
            if (self.done + 1) % policy.every == 0:
                learner.learn(self.stage, discount, self.opens, left, self.done)
            elif policy.memory:
                with torch.no_grad():
                    learner.reckon(discount, self.opens)
            learner.judged = learner.later
            total, count = self.group.sum(learner.ended).tolist()
            if not count:  # no episode has ended
                total, count = float(self.group.sum(learner.running.sum())), self.group.worlds * len(learner.seats)
                total, count = (learner.curve[-1], 1) if learner.curve else (total, count)
            learner.curve.append(total / count)
        self.done += 1

    def _play(self, left: float) -> None:
        worlds, cast, learners = self.worlds, self.cast, self.learners
        tensor = learners[0]._tensor
        self.opens[0] = self.opens[-1].clone()
        for learner in learners:
            learner.begin(left)
        for step in range(self.steps):
            seen, stage = worlds.view(), worlds.stage
            given: dict[str, Acts] = {}
            self.stage[step] = tensor(stage)
            for learner in learners:
                learner.observe(step, seen)
                learner.decide(step, stage, self.opens[step], given)
            before = worlds.state
            outcome = worlds.step(cast.act(worlds, seen, given))
            done = tensor(outcome.done)
            self.ended[step] = done
            self.opens[step + 1] = done
            if self.rounds is not None:
                self.rounds[step] = tensor(self.game.round(outcome.state) - self.game.round(before))
            for learner in learners:
                learner.collect(step, outcome.rewards, done)
            if worlds.xp is np and outcome.done.all():
                worlds.reset()
                cast.begin(worlds)
            elif not absent(outcome.done):
                worlds.restart(outcome.done)
                cast.begin(worlds, outcome.done)
        seen = worlds.view()
        for learner in learners:
            learner.observe(self.steps, seen)

    def policies(self) -> dict[str, PPO]:
        """Return what has been learned, ready to play."""
        learned = {}
        for learner in self.learners:
            told = self.told["learners"][learner.name]
            policy = PPO(**told)
            policy.weights, policy.curve = learner.weights(), list(learner.curve)
            place = {"role": learner.role.name, "seats": list(learner.seats)}
            origin = {key: value for key, value in self.told.items() if key != "learners"}
            made = {name: version(name) for name in ("societas", "torch", "numpy")}
            policy.learned = {
                **origin,
                **place,
                **layout(learner.flat, learner.heads),
                "updates": [self.done, self.updates],
                "versions": made,
            }
            learned[learner.name] = policy
        return learned

    def tensors(self) -> dict[str, Any]:
        """Return all that the next update depends on."""
        kept = {f"{learner.name}.{name}": v for learner in self.learners for name, v in learner.tensors().items()}
        whole = self.group.whole
        kept |= {"opens": whole(self.opens[-1]), "episode": whole(self._host(self.worlds.episode))}
        for name, tree in (("state", self.worlds.state), ("memory", tuple(self._memories()))):
            leaves: list[Array] = []
            tree_map(leaves.append, tree)
            kept |= {f"{name}.{i}": whole(self._host(leaf)) for i, leaf in enumerate(leaves)}
        return {name: v.detach().cpu().clone().contiguous() for name, v in kept.items()}

    def _memories(self) -> list[Any]:
        return [memory for memory in self.cast.memory if memory is not None]

    def _host(self, leaf: Any) -> Any:
        if not hasattr(leaf, "dtype"):
            raise TypeError(
                f"folder: someone who plays the others remembers {type(leaf).__name__}, which is no array and cannot be "
                "kept; learn without a folder"
            )
        return self.torch.from_numpy(np.array(to_numpy(leaf)))

    def restore(self, kept: Mapping[str, Any], told: dict[str, Any]) -> None:
        """Take up what ``tensors`` returned, and the curves and counts."""
        for learner in self.learners:
            prefix = f"{learner.name}."
            learner.restore({name[len(prefix) :]: v for name, v in kept.items() if name.startswith(prefix)})
            learner.curve, learner.updates = told["curves"][learner.name], told["steps"][learner.name]
        self.done = told["done"]
        worlds, own = self.worlds, self.group.own
        self.opens[-1] = own(kept["opens"]).to(self.opens.device)
        worlds.episode = worlds.array(own(kept["episode"]).numpy())
        worlds.restart(worlds.world < 0)  # nowhere: the keys of the episodes are mixed anew

        def fill(name: str, tree: Any) -> Any:
            numbers = iter(range(len(kept)))
            return tree_map(lambda _: worlds.array(own(kept[f"{name}.{next(numbers)}"]).numpy()), tree)

        worlds.state = fill("state", worlds.state)
        memories = iter(fill("memory", tuple(self._memories())))
        self.cast.memory = [memory if memory is None else next(memories) for memory in self.cast.memory]


def _seats(game: Game, learners: Mapping[str, PPO], others: Mapping[str, Policy]) -> dict[str, tuple[int, ...]]:
    """Return the seats that each learner has."""
    found: dict[str, tuple[int, ...]] = {}
    for name in learners:
        role = next((role for role in game.roles if name == role.name or name in role.players), None)
        if role is None:
            known = ", ".join([*(role.name for role in game.roles), *game.players])
            raise KeyError(f"learners: {game.name} has no role or player {name!r}; it has: {known}")
        if name != role.name:
            found[name] = (role.players.index(name),)
            continue
        taken = {*learners, *others} - {name}
        found[name] = tuple(i for i, player in enumerate(role.players) if player not in taken)
        if not found[name]:
            raise ValueError(f"learners: no seat is left for {name!r}, all its players are named; leave it out")
    return found


def _quick(policy: Policy) -> Policy:
    """Return a policy that plays as fast as it can."""
    return policy.quick() if isinstance(policy, PPO | Pool) else policy


def _origin(game: Game) -> dict[str, Any]:
    """Describe a game and the mechanisms it is under, innermost first."""
    layers: list[str] = []
    base = game
    while isinstance(base, Institution):
        layers.insert(0, repr(base.mechanism))
        base = base.base
    return {"game": game.name, "base": repr(base), "mechanisms": layers}


class _Keeper:
    """Keeps a training in a folder, and takes up one that is there."""

    def __init__(self, folder: Path, training: _Training, seconds: float) -> None:
        self.folder, self.training = folder, training
        self.seconds = validate.real("save_every", seconds, 0.0)
        self.file, self.last = folder / "training.safetensors", time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        told = json.loads(json.dumps(training.told))
        if self.file.is_file():
            from safetensors import safe_open
            from safetensors.torch import load_file

            with safe_open(self.file, framework="pt") as file:
                card = json.loads(file.metadata()["training"])
            for name, value in told.items():
                if card["told"][name] != value:
                    raise ValueError(
                        f"folder: {folder} is of another training: {name} was {card['told'][name]}, now {value}; give "
                        "another folder"
                    )
            training.restore(load_file(self.file), card)
        else:
            training.tensors()  # says at once if something cannot be kept

    @property
    def due(self) -> bool:
        """Whether it is time to save, by the clock of the first process."""
        return self.training.group.rank == 0 and time.monotonic() - self.last >= self.seconds

    def save(self) -> None:
        """Write all, whole or not at all; all processes tell the first, which writes, and wait for it."""
        from safetensors.torch import save_file

        training, self.last = self.training, time.monotonic()
        tensors = training.tensors()
        if training.group.rank == 0:
            card = {
                "told": training.told,
                "done": training.done,
                "curves": {learner.name: learner.curve for learner in training.learners},
                "steps": {learner.name: learner.updates for learner in training.learners},
            }
            part = self.file.with_suffix(".part")
            save_file(tensors, part, metadata={"training": json.dumps(card)})
            os.replace(part, self.file)
            for name, policy in training.policies().items():
                policy.save(self.folder / name)
        training.group.any(True)


class _Shown:
    """Shows how far a training is, on the terminal and in TensorBoard."""

    def __init__(self, progress: bool, tensorboard: str | Path | None, training: _Training) -> None:
        self.training, self.bar, self.writer = training, None, None
        if training.group.rank:
            return
        if progress:
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left"))
            self.bar = Progress(*columns, TimeRemainingColumn())
            self.task = self.bar.add_task("learning", total=training.updates, completed=training.done)
        if tensorboard is not None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise ImportError("tensorboard: needs the package tensorboard: pip install tensorboard") from error
            self.writer = SummaryWriter(str(tensorboard))

    def __enter__(self) -> _Shown:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()
        if self.writer is not None:
            self.writer.close()

    def show(self) -> None:
        """Show the update that has ended."""
        training = self.training
        if self.bar is not None:
            returns = ", ".join(f"{learner.name} {learner.curve[-1]:.4g}" for learner in training.learners)
            self.bar.update(self.task, completed=training.done, description=f"mean return: {returns}")
        if self.writer is not None:
            for learner in training.learners:
                self.writer.add_scalar(f"return/{learner.name}", learner.curve[-1], training.done)
            self.writer.flush()  # so that TensorBoard shows it now


@contextlib.contextmanager
def _interruptible() -> Iterator[list[int]]:
    """Note the first Ctrl-C in a list instead of raising; the second raises."""
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: Any) -> None:
        noted.append(number)
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let torch use so many threads for a while."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
