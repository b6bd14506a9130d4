"""Tianshou (0.5) on any game: one policy plays all fishers in turn, on PettingZoo's AEC face (DQN)."""

import numpy as np
import pettingzoo
import torch
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.env import DummyVectorEnv, PettingZooEnv
from tianshou.policy import DQNPolicy, MultiAgentPolicyManager
from tianshou.trainer import offpolicy_trainer
from tianshou.utils.net.common import Net

import societas

GAME = societas.make("Fishery", fishers=2, months=4) | societas.mechanism("Pigou", field="caught", rate=1 / 2)


def make():
    """Return the game in Tianshou's form; all its players must have the same spaces."""
    return PettingZooEnv(pettingzoo.make("aec", "societas/Fishery-v0", game=GAME))


def main(steps=20_000, worlds=8, seed=1):
    """Learn for a number of turns of players; return the trainer's result."""
    np.random.seed(seed)  # noqa: NPY002  (Tianshou explores with it)
    torch.manual_seed(seed)
    env = make()
    high = torch.tensor(np.maximum(env.observation_space.high, 1.0))

    class Scaled(Net):
        def forward(self, seen, state=None, info=None):
            return super().forward(torch.as_tensor(np.asarray(seen)) / high, state)

    net = Scaled(env.observation_space.shape, env.action_space.n, hidden_sizes=[64, 64])
    adam = torch.optim.Adam(net.parameters(), lr=1e-3)
    # What a player earns is known when the last of the round has acted: returns over as many turns as there are players.
    fisher = DQNPolicy(net, adam, 0.97, estimation_step=env.num_agents, target_update_freq=100)
    village = MultiAgentPolicyManager([fisher] * env.num_agents, env)
    train, test = (DummyVectorEnv([make] * worlds) for _ in range(2))
    train.seed(seed)
    test.seed(seed + 1)
    fisher.set_eps(0.2)
    collector = Collector(village, train, VectorReplayBuffer(20_000, worlds), exploration_noise=True)
    epoch = min(steps, 2_000)
    result = offpolicy_trainer(
        village,
        collector,
        Collector(village, test),
        max_epoch=steps // epoch,
        step_per_epoch=epoch,
        step_per_collect=50,
        update_per_step=0.2,
        episode_per_test=worlds,
        batch_size=128,
        reward_metric=lambda paid: paid.mean(axis=-1),
        verbose=False,
        show_progress=False,
    )
    print(f"best mean return of a fisher: {result['best_reward']:.1f}")
    return result


if __name__ == "__main__":
    main()
