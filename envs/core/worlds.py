"""Worlds: a batch of episodes of one game under one seed. Every face and every learner runs on it."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import chance, words
from .arrays import Array, absent, namespace, select
from .arrays import backend as choose_backend
from .game import Acts, Game, Outcome, Seen
from .policy import Policy, default_acts

_STRIDE = chance._signed(0xD1342543DE82EF95)  # odd; spaces the moments of an episode (Steele and Vigna 2021)


class Worlds:
    """A batch of worlds of a game: their state, their place in the stream of random numbers, and the next step.

    World ``i`` of seed ``s`` meets the same chance whatever the size of the batch, whatever institution the game is
    under (the base game's draws are addressed by round and stage, not by call) and whatever the backend.

    Parameters
    ----------
    game
        The game.
    count
        How many worlds.
    seed
        The seed of all of them.
    backend, device
        ``"numpy"`` or ``"torch"``; None chooses the device at run time.
    check
        Whether acts are checked against their fields (ActError); by default where arrays live on the host.
    """

    def __init__(
        self,
        game: Game,
        count: int = 1,
        *,
        seed: int = 0,
        backend: str = "numpy",
        device: str | None = None,
        check: bool | None = None,
    ) -> None:
        if count < 1:
            raise ValueError(f"count: at least 1 world, got {count}")
        self.game = game
        self.count = count
        self.xp, self.device = choose_backend(backend, device)
        self.check = (str(self.device) == "cpu") if check is None else check
        codes = np.array([chance.code(stage.name or "act") for stage in game.stages], dtype=np.int64)
        self._codes, self._host_codes = self.array(codes), codes.tolist()
        self._plain = count == 1 and self.xp is np
        self._single_stage = len(game.stages) == 1
        self.random_start = game.random_start and game.draws > 0
        self.reset(seed)

    def array(self, values: Any) -> Array:
        """Return an array of the worlds' backend, on their device."""
        return self.xp.asarray(values, device=self.device)

    def reset(self, seed: int | None = None) -> None:
        """Start the first episode of a seed, or the next episode of the present one, in every world."""
        if seed is not None:
            self.seed = int(seed)
            self.world = self.array(np.arange(self.count, dtype=np.int64))
            self.episode = self.world * 0
        else:
            self.episode = self.episode + 1
        self._keys: Array | int | None = None
        self.state = self._first()

    @property
    def _key(self) -> Array | int:
        """Keys of the present episodes, mixed when the first number is drawn; a plain number for a single world."""
        if self._keys is None:
            if self._plain:
                self._keys = chance.plain_key(self.seed, int(self.world[0]), int(self.episode[0]))
            else:
                self._keys = chance.key(self.seed, self.world, self.episode)
        return self._keys

    def _first(self) -> Any:
        if not self.random_start:
            return self._same_start
        return self.game.start(self.first_numbers())

    @functools.cached_property
    def _same_start(self) -> Any:
        """The first state of a game whose start leaves nothing to chance: the same in every episode."""
        return self.game.start(self._unread)

    def restart(self, mask: Array) -> None:
        """Start the next episode in the worlds where the (count,) mask holds."""
        self.episode = self.episode + mask * 1
        self._keys = None
        first = self._first()
        self.state = first if absent(~mask) else select(mask, first, self.state)

    def view(self) -> dict[str, Seen]:
        """Return what each role sees now."""
        return self.game.view(self.state)

    @property
    def stage(self) -> Array:
        """Index of the stage that is next, (count,)."""
        return self.game.stage(self.state)

    def _uniform(self, round_: Array | int, stage_code: Array | int, count: int, salt: int = 0) -> Array:
        if not count:
            return self._nothing
        moment = self._keys_of(round_, stage_code)
        if self._plain:
            return chance.plain_uniform(moment, count, salt)
        with np.errstate(over="ignore"):
            return chance.uniform(chance.mix(moment + salt) if salt else moment, count)

    def _keys_of(self, round_: Array | int, stage_code: Array | int) -> Any:
        with np.errstate(over="ignore"):
            return self._key + ((round_ + 2) * (1 << 31) + stage_code) * _STRIDE

    @functools.cached_property
    def _nothing(self) -> Array:
        return self.array(np.zeros((self.count, 0)))

    @functools.cached_property
    def _unread(self) -> Array:
        """What stands for the game's uniform numbers where it reads none: NaN, so that reading them would show."""
        return self.xp.moveaxis(
            self.xp.full((self.game.draws, self.count), math.nan, device=self.device, dtype=self.xp.float64), 0, -1
        )

    @property
    def moment(self) -> tuple[Array | int, Array | int]:
        """Round and stage code that address the random numbers of the next step; plain numbers for a single world."""
        round_ = self.game.round(self.state)
        if self._plain:
            return int(round_[0]), self._host_codes[0 if self._single_stage else int(self.stage[0])]
        return round_, self._codes[0] if self._single_stage else self._codes[self.stage]

    def uniform(self, count: int, purpose: str) -> Array:
        """Return ``count`` uniform numbers a world for a purpose other than the game's own, (count_worlds, count)."""
        return self._uniform(*self.moment, count, salt=chance.code(purpose) + 1)

    def first_numbers(self) -> Array:
        """Return the uniform numbers with which the game starts, (count, draws)."""
        return self._uniform(-1 if self._plain else self.world * 0 - 1, chance.code("start"), self.game.draws)

    def numbers(self) -> Array:
        """Return the uniform numbers of the game's next step, (count, draws)."""
        return self._uniform(*self.moment, self.game.draws)

    def _read(self, reads: tuple[bool, ...]) -> Array:
        """Return the numbers of the next step that are read, (count, draws), NaN for the others."""
        if not any(reads):
            return self._unread
        if self._plain or all(reads):
            return self.numbers()
        moment, parts, begin = self._keys_of(*self.moment), [], 0
        for read, run in itertools.groupby(reads):
            count = len(list(run))
            parts.append(chance.uniform(moment, count, begin) if read else self._unread[:, begin : begin + count])
            begin += count
        return self.xp.concat(parts, axis=-1)

    def step(self, acts: Mapping[str, Acts]) -> Outcome:
        """Advance every world by one stage; the worlds' state becomes the outcome's."""
        if self.check:
            self.examine(acts)
        outcome = self.game.step(self.state, acts, self._read(self.game.reads(self.state, acts)))
        self.state = outcome.state
        return outcome

    def examine(self, acts: Mapping[str, Acts]) -> None:
        """Raise ActError for acts outside their space, KeyError for missing ones."""
        for role in self.game.roles:
            given = acts.get(role.name)
            if given is None:
                raise KeyError(f"acts: no acts for role {role.name!r}; give {{role: {{field: array}}}} for every role")
            for field in role.acts:
                if field.name not in given:
                    raise KeyError(f"acts of {role.name}: field {field.name!r} is missing")
                words.check(field, given[field.name], role.name)


class Cast:
    """Who plays which seats: policies bound to the seats of a game, acting for a batch of worlds.

    Parameters
    ----------
    game
        The game.
    policies
        {role or player: policy}; a player's own entry goes before its role's. Seats without an entry play the null act.
    except_
        Players who are played by somebody else.
    """

    def __init__(self, game: Game, policies: Mapping[str, Policy], except_: tuple[str, ...] = ()) -> None:
        known = {role.name for role in game.roles} | set(game.players)
        for name in policies:
            if name not in known:
                raise KeyError(
                    f"policies: {game.name} has no role or player {name!r}; it has: {', '.join(sorted(known))}"
                )
        self.game = game
        self.parts: list[tuple[str, tuple[int, ...], Policy]] = []
        for role in game.roles:
            groups: dict[int, tuple[Policy, list[int]]] = {}
            for index, player in enumerate(role.players):
                policy = policies.get(player, policies.get(role.name))
                if policy is not None and player not in except_:
                    groups.setdefault(id(policy), (policy, []))[1].append(index)
            for policy, seats in groups.values():
                self.parts.append((role.name, tuple(seats), policy.bind(game, role.name, tuple(seats))))
        self.memory: list[Any] = [None] * len(self.parts)

    def begin(self, worlds: Worlds, mask: Array | None = None) -> None:
        """Start an episode in all worlds, or where a mask holds."""
        for i, (_, _, policy) in enumerate(self.parts):
            fresh = policy.begin((worlds.count,), worlds.xp, worlds.device)
            old = self.memory[i]
            self.memory[i] = fresh if mask is None or old is None else select(mask, fresh, old)

    def act(
        self,
        worlds: Worlds,
        seen: dict[str, Seen],
        given: Mapping[str, Acts] | None = None,
        live: Array | None = None,
    ) -> dict[str, Acts]:
        """Return everyone's acts.

        ``given`` holds those of the players played by somebody else, as whole-role arrays; where the (worlds,) mask
        ``live`` is False the episode is over and policies are told stage -1.
        """
        acts: dict[str, Acts] = {}
        stage = worlds.stage
        if live is not None:
            stage = worlds.xp.where(live, stage, stage * 0 - 1)
        for role in self.game.roles:
            acts[role.name] = dict((given or {}).get(role.name) or default_acts(role, worlds.world, role.count))
        for i, (name, seats, policy) in enumerate(self.parts):
            role = self.game.role(name)
            whole = len(seats) == role.count
            index = list(seats)
            mine = seen[name] if whole else {field: values[:, index] for field, values in seen[name].items()}
            u = worlds.uniform(policy.draws * len(seats), f"{name}:{seats}") if policy.draws else worlds._nothing
            u = u.reshape((worlds.count, len(seats), policy.draws))
            done, self.memory[i] = policy.act(mine, stage, u, self.memory[i])
            for field, values in done.items():
                acts[name][field] = values if whole else _place(acts[name][field], index, values)
        return acts


def _place(array: Array, index: list[int], values: Array) -> Array:
    """Return a copy of (worlds, count, ...) with some seats replaced."""
    columns = [array[:, i] for i in range(array.shape[1])]
    for position, i in enumerate(index):
        columns[i] = values[:, position]
    return namespace(array).stack(columns, axis=1)
