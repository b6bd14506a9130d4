"""TorchRL on any game: PettingZooWrapper groups the players by role, and one network learns to play all fishers (PPO)."""

import pettingzoo
import torch
from tensordict.nn import TensorDictModule
from torchrl.envs import ObservationNorm, RewardSum, TransformedEnv
from torchrl.envs.libs.pettingzoo import PettingZooWrapper
from torchrl.modules import MLP, ProbabilisticActor
from torchrl.objectives import ClipPPOLoss, ValueEstimators

import societas

GAME = societas.make("Fishery", fishers=2, months=4) | societas.mechanism("Pigou", field="caught", rate=1 / 2)
ROLE = "fisher"  # the group's tensors are (time, players, ...)


def make(seed=1):
    """Return the game as TorchRL's environment, which also sums the rewards of each player's episode."""
    env = PettingZooWrapper(pettingzoo.make("parallel", "societas/Fishery-v0", game=GAME), seed=seed)
    env = TransformedEnv(env, ObservationNorm(loc=0.0, scale=0.01, in_keys=[(ROLE, "observation")]))
    return env.append_transform(RewardSum(in_keys=[(ROLE, "reward")], reset_keys=["_reset"]))


def main(steps=20_000, batch=600, epochs=8):
    """Learn for a number of environment steps; return the mean return of a fisher in each batch."""
    torch.manual_seed(0)
    env = make()
    sees, acts = env.observation_spec[ROLE, "observation"].shape[-1], env.full_action_spec[ROLE, "action"].space.n
    actor = ProbabilisticActor(
        TensorDictModule(MLP(sees, acts, num_cells=[64, 64]), [(ROLE, "observation")], [(ROLE, "logits")]),
        in_keys={"logits": (ROLE, "logits")},
        out_keys=[(ROLE, "action")],
        spec=env.full_action_spec[ROLE, "action"],
        distribution_class=torch.distributions.Categorical,
        return_log_prob=True,
        log_prob_key=(ROLE, "log_prob"),
    )
    critic = TensorDictModule(MLP(sees, 1, num_cells=[64, 64]), [(ROLE, "observation")], [(ROLE, "state_value")])
    loss = ClipPPOLoss(actor, critic, entropy_coeff=0.01, normalize_advantage=True)
    keys = {"reward": "reward", "action": "action", "value": "state_value", "sample_log_prob": "log_prob"}
    loss.set_keys(**{name: (ROLE, key) for name, key in (keys | {"done": "done", "terminated": "terminated"}).items()})
    loss.make_value_estimator(ValueEstimators.GAE, gamma=0.99, lmbda=0.95)
    adam, earned = torch.optim.Adam(loss.parameters(), lr=3e-3), []
    for _ in range(max(1, steps // batch)):
        with torch.no_grad():
            data = env.rollout(batch, actor, break_when_any_done=False)
            loss.value_estimator(
                data, params=loss.critic_network_params, target_params=loss.target_critic_network_params
            )
        over = data["next", ROLE, "done"]
        earned.append(float(data["next", ROLE, "episode_reward"][over].mean()))
        for _ in range(epochs):
            for some in data[torch.randperm(batch)].split(batch // 4):
                losses = loss(some)
                adam.zero_grad()
                sum(losses[f"loss_{part}"] for part in ("objective", "critic", "entropy")).backward()
                adam.step()
    ended = data["next", ROLE, "info", "measures"][over[:, 0, 0], 0].mean(0).tolist()
    print(f"return of a fisher: {earned[0]:.1f} at first, {earned[-1]:.1f} at last")
    print({measure.name: round(value, 2) for measure, value in zip(GAME.reports, ended, strict=True)})
    return earned


if __name__ == "__main__":
    main()
