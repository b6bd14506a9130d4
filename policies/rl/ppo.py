"""Proximal policy optimisation: what it is told, how it plays, how it is kept. How it learns is in ``learner``."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ...envs.core import validate
from ...envs.core.arrays import Array, absent, align, constant, namespace
from ...envs.core.chance import categorical
from ...envs.core.policy import Policy, default_acts
from ..gradient import acts_of, heads_of, layout, normal
from . import networks
from .heads import reals

if TYPE_CHECKING:
    from ...envs.core.game import Acts, Game, Seen
    from ...envs.views.spaces import Flat
    from ..gradient import Head

Table = np.ndarray[Any, Any]
CRITICS = ("shared", "independent", "central")
LARGEST = 10.0  # of a standardised observation


class PPO(Policy):
    """Proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347) of all that a role decides.

    An update plays some steps in each of a batch of worlds, reckons advantages by generalised advantage estimation (Schulman
    et al. 2016, arXiv:1506.02438) and climbs the clipped objective a few times over. Whole numbers and choices are drawn
    from weights, real numbers from a normal distribution, brought into their space; what is
    not asked at a stage counts for nothing. Worlds and networks are on one device: on the host, NumPy plays and torch
    learns on the same memory; elsewhere torch does both. Rate and entropy's weight fall to 0 linearly.
    The same seed gives the same curve (on the same device).

    Parameters
    ----------
    path
        Folder that ``save`` wrote: what it has learned. Parameters left at their defaults are then those it was kept with.
    hidden
        Widths of the hidden layers of actor and critic; none makes them linear.
    activation
        Between layers: ``"tanh"`` or ``"relu"``.
    memory
        Width of a GRU below the layers of actor and critic, which then remember within an episode; 0 for none.
    shared
        Whether all seats of the role have one actor, or each its own.
    critic
        ``"shared"``, one critic that sees what a seat sees; ``"independent"``, one for each seat (de Witt et al. 2020,
        arXiv:2011.09533); ``"central"``, one that sees what everybody sees (Yu et al. 2022, arXiv:2103.01955).
    rate
        Learning rate at first (Adam: Kingma and Ba 2015, arXiv:1412.6980).
    gamma
        Discount factor a round.
    trace
        The lambda of advantage estimation, a step; 1 trusts what followed, 0 the critic.
    clip
        Most that the odds of what was done may change, up or down, for the objective to count it.
    steps
        Steps of each world between updates; None takes the most that an episode has.
    epochs, minibatches
        Times that an update goes through what was played, and parts (of the worlds) in which it does.
    entropy
        Weight of the entropy at first.
    spread
        Standard deviation of real acts, in half ranges of their space: one number, from where on it is learned, or two,
        between which it falls. One that is learned may narrow too soon on a ridge or next to a cliff.
    start
        {field: value, or one a component} that real acts start at; the others start in the middle of their space.
    largest
        Norm that the gradients of actor and of critic are cut to, each.
    levels
        Most values of a whole number that are told apart; a larger space is reduced to so many, evenly spaced.
    every
        It learns only in each so-many-th update, for those who set the terms that others learn under.
    sample
        Whether it plays at random, or the mean and the most probable value.
    device
        Where it learns; None takes cuda if there is one.
    threads
        Threads of torch while it learns on the host; with one, the result is the same on every machine with its libraries.
    compiled
        Whether torch compiles the update (on cuda into CUDA graphs): it then starts slowly and needs a C compiler.
    """

    _flat: Flat
    _heads: tuple[Head, ...]
    _asked: tuple[bool, ...]
    _own: dict[str, Table]
    _placed: dict[Any, dict[str, Array]]

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        hidden: Sequence[int] = (64, 64),
        activation: str = "tanh",
        memory: int = 0,
        shared: bool = True,
        critic: str = "shared",
        rate: float = 2e-3,
        gamma: float = 1.0,
        trace: float = 0.95,
        clip: float = 0.2,
        steps: int | None = None,
        epochs: int = 4,
        minibatches: int = 4,
        entropy: float = 0.01,
        spread: float | Sequence[float] = 0.5,
        start: Mapping[str, float | Sequence[float]] | None = None,
        largest: float = 0.5,
        levels: int = 101,
        every: int = 1,
        sample: bool = False,
        device: str | None = None,
        threads: int = 1,
        compiled: bool = False,
    ) -> None:
        self.hidden = tuple(validate.whole("hidden", width, 1, 100_000) for width in hidden)
        self.activation = validate.one_of("activation", activation, networks.ACTIVATIONS)
        self.memory = validate.whole("memory", memory, 0, 100_000)
        self.shared = bool(shared)
        self.critic = validate.one_of("critic", critic, CRITICS)
        self.rate = validate.real("rate", rate, 1e-9, 1.0)
        self.gamma = validate.real("gamma", gamma, 0.0, 1.0)
        self.trace = validate.real("trace", trace, 0.0, 1.0)
        self.clip = validate.real("clip", clip, 1e-6, 10.0)
        self.steps = None if steps is None else validate.whole("steps", steps, 1, 1_000_000)
        self.epochs = validate.whole("epochs", epochs, 1, 1_000)
        self.minibatches = validate.whole("minibatches", minibatches, 1, 1_000_000)
        self.entropy = validate.real("entropy", entropy, 0.0, 100.0)
        wide = (spread,) if isinstance(spread, int | float) else tuple(spread)
        if len(wide) not in (1, 2):
            raise ValueError(f"spread: one number or two, first and last, got {spread!r}")
        self.spread = tuple(validate.real("spread", part, 1e-6, 10.0) for part in wide)
        self.start = dict(start or {})
        self.largest = validate.real("largest", largest, 1e-9, 1e9)
        self.levels = validate.whole("levels", levels, 2, 100_000)
        self.every = validate.whole("every", every, 1, 1_000_000)
        self.sample = bool(sample)
        self.device = device
        self.threads = validate.whole("threads", threads, 1, 4096)
        self.compiled = bool(compiled)
        self.weights: dict[str, Table] = {}
        self.learned: dict[str, Any] = {}
        self.curve: list[float] = []
        self._quick = False
        if path is not None:
            self._read(Path(path))

    @property
    def parameters(self) -> dict[str, Any]:
        """What it was told, by name."""
        return {name: getattr(self, name) for name in PPO.__init__.__kwdefaults__ or {}}

    # ---- acting ---------------------------------------------------------------------------------------------------

    def ready(self) -> None:
        """Nothing is needed that is not there."""

    def bind(self, game: Game, role: str, seats: tuple[int, ...]) -> Self:
        """Lay out observations and acts for a role; refuse one that the weights were not learned for."""
        from ...envs.views.spaces import Flat

        bound = copy.copy(super().bind(game, role, seats))
        bound._flat, bound._heads = Flat(bound.role), heads_of(bound.role, self.levels)
        bound._asked = (*(bool(bound.role.deciding(stage.name)) for stage in game.stages), False)  # -1: it is over
        bound._placed = {}
        bound.draws = len(bound._heads) if self.sample else 0
        if self.weights:
            for part, found in layout(bound._flat, bound._heads).items():
                if found != self.learned[part]:
                    raise ValueError(f"{role} of {game.name} {part} {found}, but learned was {self.learned[part]}")
            mine = [0]
            if not self.shared:
                if missing := [seat for seat in seats if seat not in self.learned["seats"]]:
                    raise ValueError(
                        f"seats: each of {self.learned['seats']} of {role} learned a network of its own, none for seat "
                        f"{missing[0]}; let others play there, or learn with shared=True"
                    )
                mine = [self.learned["seats"].index(seat) for seat in seats]
            actor = {name: v[mine] for name, v in self.weights.items() if name.startswith("actor.")}
            bound._own = actor | {name: self.weights[name] for name in ("middle", "scale")}
        return bound

    def quick(self) -> Self:
        """Return a copy that plays through fast matrix products; then the batch's size may change the last bits."""
        made = copy.copy(self)
        made._quick = True
        return made

    def begin(self, batch: tuple[int, ...], xp: Any, device: Any) -> Any:
        """Return an empty memory, (*batch, seats, width), where there is a GRU."""
        if not self.memory:
            return None
        return xp.zeros((*batch, len(self.seats), self.memory), dtype=xp.float64, device=device)

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Play the mean and the most probable value, or draw; the null act where nothing is asked."""
        if not self.weights:
            raise RuntimeError("PPO: nothing learned yet; call learn(game, role), or give the path of what was kept")
        xp, null = namespace(stage), default_acts(self.role, stage, len(self.seats))
        here = constant(stage, self._asked)[stage]
        if absent(here) and memory is None:
            return null, memory
        w, sight = self._weights(stage), self._flat.flatten(seen)
        nets, shape = w["actor.bias.0"].shape[0], sight.shape[:-1]
        x = xp.clip((xp.astype(sight, xp.float64) - w["middle"]) * w["scale"], -LARGEST, LARGEST)
        x, actor = networks.rows(x, nets), {name[6:]: v for name, v in w.items() if name.startswith("actor.")}
        if memory is not None:
            x = networks.remember(actor, x, networks.rows(memory, nets), self._quick)
            memory = networks.unrows(x, shape, nets)
        outputs = networks.unrows(networks.forward(actor, x, self.activation, self._quick), shape, nets)
        numbers, place = [], {i: k for k, i in enumerate(reals(self._heads))}
        for i, head in enumerate(self._heads):
            part = outputs[..., head.outputs]
            if not head.values:
                wide = xp.exp(w["actor.log_sd"][:, 0, place[i]])  # (nets,), and nets is 1 or as many as seats
                numbers.append(part[..., 0] + wide * normal(u[..., i]) if self.sample else part[..., 0])
            elif self.sample:
                odds = xp.exp(part - xp.max(part, axis=-1, keepdims=True))
                numbers.append(categorical(u[..., i], odds / xp.sum(odds, axis=-1, keepdims=True)))
            else:
                numbers.append(xp.argmax(part, axis=-1))
        decided = acts_of(self.role, self._heads, numbers)
        return {name: xp.where(align(here, v), decided[name], v) for name, v in null.items()}, memory

    def _weights(self, like: Array) -> dict[str, Array]:
        """Return the weights that play needs as arrays of a library on a device, in double precision."""
        place = (namespace(like), like.device)
        if place not in self._placed:
            self._placed[place] = {name: constant(like, np.float64(values)) for name, values in self._own.items()}
        return self._placed[place]

    # ---- learning -------------------------------------------------------------------------------------------------

    def learn(
        self,
        game: Game,
        role: str,
        *,
        episodes: int,
        sessions: int = 1024,
        seed: int = 0,
        others: Mapping[str, Policy] | None = None,
        watch: Callable[[int, int], None] | None = None,
        **options: Any,
    ) -> Self:
        """Learn all seats of a role together, or one player's; return the policy that was learned.

        One that has learned already goes on from what it knows. Its ``curve`` is the mean return of a seat over the
        episodes that ended in each update's steps, under exploration. Several roles at once: ``train``.

        Parameters
        ----------
        game
            The game.
        role
            Role, or player (``fisher_0``), that learns; seats of the role that ``others`` names are left to them.
        episodes
            Longest episodes that every world has time for: the number of updates, unless ``steps`` says otherwise.
        sessions
            Worlds of a batch.
        seed
            Seed of the games' and the learner's chance.
        others
            Policies of the other roles and players.
        watch
            Called as ``watch(episode, episodes)`` after every update.
        options
            Further arguments of ``train``: ``folder``, ``save_every``, ``progress``, ``tensorboard``.
        """
        from .training import train

        options |= {"episodes": episodes, "sessions": sessions, "seed": seed, "others": others, "watch": watch}
        learned: Self = train(game, {role: self}, **options)[role]  # type: ignore[assignment]
        return learned

    # ---- keeping --------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Write the weights as safetensors, and parameters, curve and what was learned, where and with what, as JSON."""
        from safetensors.numpy import save_file

        if not self.weights:
            raise RuntimeError("PPO: nothing learned yet; call learn(game, role) first")
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        save_file({name: np.ascontiguousarray(v) for name, v in self.weights.items()}, target / "policy.safetensors")
        card = {"policy": "ppo", "parameters": self.parameters, "learned": self.learned, "curve": self.curve}
        (target / "card.json").write_text(json.dumps(card, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what ``save`` wrote; the same as ``PPO(path=folder)``."""
        return cls(folder)

    def _read(self, folder: Path) -> None:
        from safetensors.numpy import load_file

        if not (folder / "card.json").is_file():
            raise FileNotFoundError(f"path: no card.json in {folder}; give a folder that save() wrote")
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        if card.get("policy") != "ppo":
            raise ValueError(f"path: {folder / 'card.json'} is of another kind of policy, not of 'ppo'")
        for name, default in PPO().parameters.items():
            if getattr(self, name) == default:
                setattr(self, name, card["parameters"][name])
        self.hidden, self.spread = tuple(self.hidden), tuple(self.spread)
        self.learned, self.curve = card["learned"], card["curve"]
        self.weights = load_file(folder / "policy.safetensors")
