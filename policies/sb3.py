"""Policies trained with Stable-Baselines3."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..envs.core.arrays import Array, constant, to_numpy
from ..envs.core.policy import Policy, default_acts

if TYPE_CHECKING:
    from ..envs.core.game import Acts, Game, Seen
    from ..envs.views.spaces import Flat


class StableBaselines(Policy):
    """Plays a model of Stable-Baselines3 (Raffin et al. 2021, JMLR 22(268)), trained here or elsewhere.

    Parameters
    ----------
    model
        A trained model, or the path of one that ``save`` wrote.
    algorithm
        Name of its class in ``stable_baselines3``, for loading.
    deterministic
        Whether it plays its best action or samples (from its own generator, seeded by ``seed``).
    """

    def __init__(self, model: Any, *, algorithm: str = "PPO", deterministic: bool = True, seed: int = 0) -> None:
        self.algorithm = algorithm
        self.deterministic = deterministic
        self.seed = seed
        self.model = _load(Path(model), algorithm) if isinstance(model, str | Path) else model

    @classmethod
    def train(
        cls,
        game: Game,
        role: str,
        *,
        steps: int,
        others: Any = "random",
        worlds: int = 16,
        seed: int = 0,
        algorithm: str = "PPO",
        progress: bool = False,
        **options: Any,
    ) -> StableBaselines:
        """Train one player of a role among others on the native vector environment; return the policy.

        Parameters
        ----------
        game, role
            What to learn.
        steps
            Environment steps.
        others
            Who plays the rest, as for ``RoleEnv``.
        worlds
            Worlds at once.
        seed
            Of the worlds and the learner.
        algorithm
            Class of ``stable_baselines3``.
        progress
            Whether to show a bar with the time left.
        options
            Further arguments of the algorithm.
        """
        import stable_baselines3

        from ..envs.views.sb3 import SB3VecEnv

        env = SB3VecEnv(game, worlds, role=role, others=others, seed=seed)
        options.setdefault("device", "cpu")  # small networks are faster there
        model = getattr(stable_baselines3, algorithm)(options.pop("policy", "MlpPolicy"), env, seed=seed, **options)
        model.learn(steps, progress_bar=progress)
        return cls(model, algorithm=algorithm, seed=seed)

    def save(self, folder: str | Path) -> None:
        """Write the weights as safetensors, and what is needed to build the network as JSON; no pickle."""
        import json

        from safetensors.torch import save_file

        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        weights = {name: tensor.contiguous().clone() for name, tensor in self.model.policy.state_dict().items()}
        save_file(weights, target / "policy.safetensors")
        card = {"algorithm": self.algorithm, "observation": _space(self.model.observation_space)}
        card["action"] = _space(self.model.action_space)
        (target / "card.json").write_text(json.dumps(card, indent=1), encoding="utf-8")

    def bind(self, game: Game, role: str, seats: tuple[int, ...]) -> Self:
        """Check that the role has the spaces the model was trained on."""
        from ..envs.views.spaces import Flat

        bound = copy.copy(super().bind(game, role, seats))
        flat = Flat(bound.role)
        wanted = (flat.observation_space().shape, _space(flat.action_space()))
        found = (self.model.observation_space.shape, _space(self.model.action_space))
        if wanted != found:
            raise ValueError(f"model: {role} of {game.name} has spaces {wanted}, the model was trained on {found}")
        bound._flat = flat  # type: ignore[attr-defined]
        return bound

    def act(self, seen: Seen, stage: Array, u: Array, memory: Any) -> tuple[Acts, Any]:
        """Ask the network for all worlds and seats at once."""
        flat: Flat = self._flat  # type: ignore[attr-defined]
        acts = default_acts(self.role, stage, len(self.seats))
        sight = np.asarray(flat.flatten({name: to_numpy(values) for name, values in seen.items()}))
        batch = sight.reshape(-1, sight.shape[-1])
        actions, _ = self.model.predict(batch, deterministic=self.deterministic)
        if not flat.discrete:
            space = self.model.action_space
            actions = np.clip(actions, space.low, space.high)
        decided = flat.acts(actions.reshape(*sight.shape[:-1], *actions.shape[1:]))
        return {name: constant(acts[name], values) for name, values in decided.items()}, memory


def _space(space: Any) -> dict[str, Any]:
    """Describe a Gymnasium space as plain data."""
    if hasattr(space, "low"):
        return {"low": np.asarray(space.low).tolist(), "high": np.asarray(space.high).tolist()}
    return {"n": int(space.n)} if hasattr(space, "n") else {"nvec": np.asarray(space.nvec).tolist()}


def _build_space(data: dict[str, Any]) -> Any:
    from gymnasium import spaces

    if "low" in data:
        return spaces.Box(np.array(data["low"], dtype=np.float32), np.array(data["high"], dtype=np.float32))
    return spaces.Discrete(data["n"]) if "n" in data else spaces.MultiDiscrete(data["nvec"])


class _Loaded:
    """A network with the spaces it was trained on: what playing needs of a model."""

    def __init__(self, policy: Any, observation_space: Any, action_space: Any) -> None:
        self.policy, self.observation_space, self.action_space = policy, observation_space, action_space

    def predict(self, observation: Any, deterministic: bool = True) -> Any:
        return self.policy.predict(observation, deterministic=deterministic)


def _load(folder: Path, algorithm: str) -> Any:
    import json

    from safetensors.torch import load_file

    if folder.is_file():  # Stable-Baselines3's own archive, of the user's own making
        import stable_baselines3

        return getattr(stable_baselines3, algorithm).load(folder, device="cpu")
    if not (folder / "card.json").is_file():
        raise FileNotFoundError(f"model: no card.json in {folder}; give a folder that save() wrote")
    import stable_baselines3
    from gymnasium import Env

    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    observation, action = _build_space(card["observation"]), _build_space(card["action"])

    class Shape(Env[Any, Any]):
        observation_space, action_space = observation, action

    model = getattr(stable_baselines3, card["algorithm"])("MlpPolicy", Shape(), device="cpu")
    model.policy.load_state_dict(load_file(folder / "policy.safetensors"))
    model.policy.set_training_mode(False)
    return _Loaded(model.policy, observation, action)
