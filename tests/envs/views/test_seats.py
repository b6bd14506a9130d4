"""What a seat is owed whatever the game: a game with stages, early endings and awkward bounds, seen from every face."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import pettingzoo
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch.utils._python_dispatch import TorchDispatchMode

import societas
from societas import Benchmarks, Choice, Field, Game, Integer, Level, Outcome, Policy, Real, Role, Stage, Worlds
from societas.envs.core import registry, spread
from societas.envs.core.arrays import Array, full, to_float, to_int
from societas.envs.views.gymnasium import RoleEnv
from societas.envs.views.pettingzoo import env, parallel_env
from societas.envs.views.spaces import Flat
from societas.envs.views.torch import TorchWorlds
from societas.envs.views.vector import RoleVectorEnv

GIFT = 0.1  # the nearest float32 is larger


class GiftsState(NamedTuple):
    steps: Array
    paid: Array


@dataclass(frozen=True)
class Gifts(Game):
    """A boss gives something to all workers, or quits, which is the end; then the workers work. Three rounds."""

    idle: bool = False

    @property
    def about(self) -> str:
        return "A boss gives something, or quits; then two workers work."

    @property
    def roles(self) -> tuple[Role, ...]:
        sees = (Field("round", Integer(1, 3), "this round's number"),)
        gift = Field("gift", Real(0.0, GIFT), "what each worker is given", stage="give")
        quits = Field("quits", Choice(("stay", "quit")), "whether this is the end", stage="give")
        work = Field("work", Integer(2, 5), "hours of work", stage="work")
        return (Role("boss", 1, sees, (gift, quits)), Role("worker", 2, sees, (work,)))

    @property
    def rounds(self) -> int:
        return 3

    @property
    def stages(self) -> tuple[Stage, ...]:
        stages = (Stage("give", "the boss gives or quits"), Stage("work", "the workers work"))
        return (*stages, Stage("rest", "nobody does anything")) if self.idle else stages

    def start(self, u: Array) -> GiftsState:
        batch = tuple(u.shape[:-1])
        return GiftsState(full(u, batch, 0, integer=True), full(u, (*batch, 2), 0.0))

    def view(self, state: GiftsState) -> dict[str, dict[str, Array]]:
        number = self.round(state)
        number = number + (number < 3)
        return {"boss": {"round": spread(number, 1)}, "worker": {"round": spread(number, 2)}}

    def step(self, state: GiftsState, acts: Mapping[str, dict[str, Array]], u: Array) -> Outcome:
        stage = self.stage(state)
        gift = acts["boss"]["gift"][..., 0] * (stage == 0)
        work = to_float(acts["worker"]["work"]) * (stage == 1)[..., None]
        quits = to_int(acts["boss"]["quits"][..., 0]) * (stage == 0)
        after = GiftsState(state.steps + 1, state.paid + work + gift[..., None])
        done = (after.steps >= 3 * len(self.stages)) | (quits == 1)
        rewards = {"boss": -2.0 * gift[..., None], "worker": work + gift[..., None]}
        return Outcome(after, rewards, done, work[..., 0] + work[..., 1])

    def round(self, state: GiftsState) -> Array:
        return state.steps // len(self.stages)

    def stage(self, state: GiftsState) -> Array:
        return state.steps % len(self.stages)

    def measures(self, state: GiftsState) -> dict[str, Array]:
        return {"paid": state.paid[..., 0]}

    def benchmarks(self) -> Benchmarks:
        return Benchmarks(Level(30.0, "all work"), Level(12.0, "nobody works more than is asked"))


def boss(gift: float, quits: str = "stay") -> dict[str, Policy]:
    giving = societas.policy("callable", function=lambda seen: {"gift": gift, "quits": quits})
    return {"boss": giving, "worker": societas.policy("random")}


@pytest.mark.parametrize("index", [0, 1])
def test_rewards_of_an_episode_sum_to_its_return(index: int) -> None:
    """What a worker is given before it first moves is paid with its first act; the welfare likewise."""
    seat = RoleEnv(Gifts(), "worker", index, others=boss(GIFT))
    for _ in range(2):
        seat.reset()
        total, welfare, over = 0.0, 0.0, False
        while not over:
            _, reward, over, _, info = seat.step(1)
            total, welfare = total + reward, welfare + info["welfare"]
        assert total == pytest.approx(3 * (3 + GIFT))  # action 1 is 3 hours
        assert info["measures"]["paid"] == pytest.approx(total) or index == 1
        assert 3 * (3 + 2) <= welfare <= 3 * (3 + 5)


def test_episodes_that_end_before_the_player_is_asked_are_passed_over() -> None:
    vector = RoleVectorEnv(Gifts(), 64, "worker", autoreset_mode=AutoresetMode.SAME_STEP)
    vector.reset(seed=0)
    assert (vector.seat.worlds.stage == 1).all()  # every world waits for the worker, though half of the bosses quit
    assert len(set(vector.seat.worlds.episode.tolist())) > 2
    with pytest.raises(RuntimeError, match="ended before worker_0 was asked"):
        RoleEnv(Gifts(), "worker", others=boss(0.0, "quit")).reset(seed=0)


def test_world_0_is_the_same_alone_and_in_batches() -> None:
    """Bit for bit, across resets: the single environment, a batch of 1, and batches of 64."""
    faces = [RoleVectorEnv(Gifts(), count, "worker", autoreset_mode="SameStep") for count in (1, 64)]
    single = RoleEnv(Gifts(), "worker")
    seen = [face.reset(seed=5)[0] for face in faces]
    alone = single.reset(seed=5)[0]
    rng = np.random.default_rng(0)
    for _ in range(60):
        for observed in seen:
            np.testing.assert_array_equal(observed[0], alone)
        actions = rng.integers(0, 4, 64)
        results = [face.step(actions[: face.num_envs]) for face in faces]
        alone, reward, over, _, info = single.step(int(actions[0]))
        for _, rewards, terminated, _, infos in results:
            assert (rewards[0], terminated[0]) == (reward, over)
            kept = infos["final_info"] if over else infos
            assert kept["welfare"][0] == info["welfare"]
        seen = [result[0] for result in results]
        if over:
            alone, _ = single.reset()


def _plain(value: Any) -> Any:
    """Return arrays as lists, to compare whatever is nested."""
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return (
        [_plain(part) for part in value] if isinstance(value, np.ndarray) and value.ndim else np.asarray(value).tolist()
    )


SEATS = [(name, role.name) for name in societas.list() for role in societas.make(name).roles if role.acts]


@pytest.mark.parametrize(("name", "role"), SEATS)
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_the_vector_face_says_what_gymnasiums_own_says(name: str, role: str, mode: AutoresetMode) -> None:
    """Observations, rewards, ends and infos with their masks are those of SyncVectorEnv over the single environment."""
    reference = SyncVectorEnv([lambda: RoleEnv(name, role)], autoreset_mode=mode)
    ours = RoleVectorEnv(name, 1, role, autoreset_mode=mode)
    assert _plain(reference.reset(seed=2)) == _plain(ours.reset(seed=2))
    ours.action_space.seed(0)
    for _ in range(30):
        actions = ours.action_space.sample()
        expected, got = reference.step(actions), ours.step(actions)
        assert _plain(expected) == _plain(got)
        assert [part.dtype for part in expected[:4]] == [part.dtype for part in got[:4]]
        over = got[2] | got[3]
        if mode is AutoresetMode.DISABLED and over.any():
            options = {"reset_mask": over}
            assert _plain(reference.reset(options=dict(options))) == _plain(ours.reset(options=options))


def test_gymnasiums_vector_wrappers_run() -> None:
    vector = RoleVectorEnv("Fishery", 3, autoreset_mode=AutoresetMode.SAME_STEP)
    wrapped = gymnasium.wrappers.vector.DictInfoToList(gymnasium.wrappers.vector.RecordEpisodeStatistics(vector))
    wrapped.reset(seed=0)
    *_, infos = wrapped.step(np.full(3, 100))
    assert all(0.0 <= info["final_info"]["measures"]["equality"] <= 1.0 for info in infos)


def test_what_others_see_of_a_returned_array_is_their_own() -> None:
    """Writing into what step returned does not change what the environment does next."""
    vector = RoleVectorEnv("MatrixGame", 2)
    vector.reset(seed=0)
    _, _, over, _, info = vector.step(np.array([0, 1]))
    assert over.all()
    over[:] = False
    info["_measures"][:] = False
    _, reward, again, _, _ = vector.step(np.array([0, 1]))
    assert not again.any() and not reward.any()


def test_bounds_that_float32_cannot_hold() -> None:
    """The upper bound of the Box is a little above the field's; it means the field's bound on every face."""
    game = Gifts()
    high = Flat(game.role("boss")).action_space().high
    assert float(high[0]) > GIFT
    single, vector = RoleEnv(game, "boss"), RoleVectorEnv(game, 2, "boss")
    single.reset(seed=0)
    vector.reset(seed=0)
    assert single.step(high)[1] == -2 * GIFT
    assert vector.step(np.stack([high, high]))[1].tolist() == [-2 * GIFT] * 2
    worlds = TorchWorlds(game, 2, device="cpu")
    worlds.reset(0)
    given = {"boss": torch.tensor([[[1.0, 0.4]], [[-1.0, 0.6]]]), "worker": torch.zeros(2, 2, dtype=torch.int64)}
    _, rewards, done, _ = worlds.step(given)
    assert rewards["boss"][:, 0].tolist() == [-2 * GIFT, 0.0]
    assert done.tolist() == [False, True]  # 0.6 is rounded to quit


@pytest.mark.parametrize("game", [*map(societas.make, societas.list()), Gifts()], ids=lambda game: game.name)
def test_acting_in_turn_is_acting_at_once(game: Game) -> None:
    """Episode after episode the AEC face pays what the Parallel face pays, and shows the same."""
    parallel, turns = parallel_env(game), env(game)
    for episode in range(3):
        seen, infos = parallel.reset(seed=1 if episode == 0 else None)
        turns.reset(seed=1 if episode == 0 else None)
        paid, earned = dict.fromkeys(parallel.agents, 0.0), dict.fromkeys(parallel.agents, 0.0)
        while parallel.agents:
            actions = {player: parallel.action_space(player).sample() for player in parallel.agents}
            movers = [player for player, info in infos.items() if info["moves"]]
            for player in movers:
                assert turns.agent_selection == player
                observation, reward, *_ = turns.last()
                np.testing.assert_array_equal(observation, seen[player])
                earned[player] += reward
                turns.step(actions[player])
            seen, rewards, _, _, infos = parallel.step(actions)
            for player, reward in rewards.items():
                paid[player] += reward
        while turns.agents:
            player = turns.agent_selection
            observation, reward, terminated, truncated, info = turns.last()
            assert terminated and not truncated and info["measures"] == infos[player]["measures"]
            np.testing.assert_array_equal(observation, seen[player])
            earned[player] += reward
            turns.step(None)
        assert earned == pytest.approx(paid)


def test_a_stage_at_which_nobody_moves_has_no_turn() -> None:
    with pytest.raises(ValueError, match="stage 'rest'.*drop it"):
        env(Gifts(idle=True))


class _Trips(TorchDispatchMode):
    """Counts what would wait for the device: reading a number of a tensor, or making one from numbers of the host."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(word in str(function) for word in ("_local_scalar_dense", "nonzero", "lift_fresh", "masked_select")):
            self.found.append(str(function))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("game", [*map(societas.make, societas.list()), Gifts()], ids=lambda game: game.name)
def test_torch_worlds_step_without_a_round_trip(game: Game) -> None:
    worlds = TorchWorlds(game, 4, device="cpu")
    worlds.reset(0)
    actions = {}
    for role in game.roles:
        space = worlds.flats[role.name].action_space()
        samples = np.stack([[space.sample() for _ in range(role.count)] for _ in range(4)])
        actions[role.name] = torch.from_numpy(samples)
    for _ in range(4):
        worlds.step(actions)  # tables are brought to the device once
    with _Trips() as trips:
        for _ in range(game.horizon + 1):
            worlds.step(actions)
    assert trips.found == []


def test_torch_worlds_keep_the_last_observations_and_begin_anew() -> None:
    worlds = TorchWorlds(Gifts(), 3, device="cpu")
    first = worlds.reset(0)
    actions = {"boss": torch.zeros(3, 1, 2), "worker": torch.zeros(3, 2, dtype=torch.int64)}
    for step in range(6):
        assert first["worker"].shape == (3, 2, 1) and first["worker"].dtype == torch.float32
        seen, _, done, info = worlds.step(actions)
        assert done.all() == (step == 5)
        if step < 5:
            torch.testing.assert_close(seen, info["final"])
    torch.testing.assert_close(seen, first)
    assert (info["final"]["worker"] == 3).all() and (info["stage"] == 0).all()


def test_a_game_registered_later_gets_its_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_entries", {kind: dict(found) for kind, found in registry._entries.items()})
    identity = "societas/Gifts-v0"
    try:
        societas.register("games", "Gifts", Gifts)
        assert gymnasium.make(identity, role="worker").unwrapped.game == Gifts()  # type: ignore[attr-defined]
        vector = gymnasium.make_vec(identity, num_envs=2, vectorization_mode="vector_entry_point", role="boss")
        assert isinstance(vector.unwrapped, RoleVectorEnv)
        for kind in ("parallel", "aec"):
            assert pettingzoo.make(kind, identity).unwrapped.game == Gifts()  # type: ignore[attr-defined]
    finally:
        for ids in (gymnasium.registry, pettingzoo.parallel_registry, pettingzoo.aec_registry):
            ids.pop(identity, None)


def test_gymnasiums_time_limit_truncates() -> None:
    seat = gymnasium.make("societas/Pricing-v0", max_episode_steps=2, disable_env_checker=True)
    seat.reset(seed=0)
    assert [seat.step(0)[2:4] for _ in range(2)] == [(False, False), (False, True)]


def test_flat_observations_have_names() -> None:
    for name in societas.list():
        game = societas.make(name)
        seen = Worlds(game, 2).view()
        for role in game.roles:
            flat = Flat(role)
            assert len(set(flat.names)) == flat.flatten(seen[role.name]).shape[-1]
            assert flat.flatten(seen[role.name]) in _all(flat, role.count)


def _all(flat: Flat, count: int) -> gymnasium.spaces.Box:
    low, high = (np.broadcast_to(bound, (2, count, len(flat.names))) for bound in (flat.low, flat.high))
    return gymnasium.spaces.Box(low, high, dtype=np.float32)
