"""PPO in one file, in the manner of CleanRL, on the native vector environment; all players share one network.

The fishers pay 2/3 for each tonne, which goes to the others in equal parts: each then earns a third of what all catch.
"""

import gymnasium
import numpy as np
import torch
from torch import nn

import societas

GAME = societas.make("Fishery", fishers=3, months=6) | societas.mechanism("Pigou", field="caught", rate=2 / 3)


def main(steps=100_000, worlds=32, length=24, gamma=0.99, lam=0.95, clip=0.2, entropy=0.01, epochs=4, seed=1):
    """Learn for a number of steps of players; return the mean return of their episodes, iteration by iteration."""
    torch.manual_seed(seed)
    envs = gymnasium.make_vec(  # index=None: all players act, each a row; without it one, against others="scripted"
        "societas/Fishery-v0", game=GAME, num_envs=3 * worlds, index=None, autoreset_mode="SameStep"
    )
    rows, sees = envs.observation_space.shape
    size = int(envs.single_action_space.n)
    scale = torch.tensor(np.maximum(np.abs(envs.single_observation_space.high), 1.0))

    class Agent(nn.Module):
        def __init__(self):
            super().__init__()
            self.actor = nn.Sequential(
                nn.Linear(sees, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, size)
            )
            self.critic = nn.Sequential(nn.Linear(sees, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))

        def forward(self, seen):
            seen = seen / scale
            return torch.distributions.Categorical(logits=self.actor(seen)), self.critic(seen)[..., 0]

    agent = Agent()
    adam = torch.optim.Adam(agent.parameters(), lr=1e-3, eps=1e-5)
    seen, earned = torch.tensor(envs.reset(seed=seed)[0]), []
    returns, finished = np.zeros(rows), []
    for _ in range(max(1, steps // (rows * length))):
        batch = {name: torch.zeros(length, rows) for name in ("acts", "logs", "values", "paid", "over")}
        batch["seen"] = torch.zeros(length, rows, sees)
        for t in range(length):
            with torch.no_grad():
                policy, value = agent(seen)
                acts = policy.sample()
            following, paid, over, _, _ = envs.step(acts.numpy())
            now = {"seen": seen, "acts": acts, "logs": policy.log_prob(acts), "values": value}
            now |= {"paid": torch.tensor(paid), "over": torch.tensor(over)}
            for name, values in now.items():
                batch[name][t] = values
            seen, returns = torch.tensor(following), returns + paid
            finished += returns[over].tolist()
            returns[over] = 0.0
        with torch.no_grad():
            after, gain, advantage = agent(seen)[1], torch.zeros(rows), torch.zeros(length, rows)
            for t in reversed(range(length)):
                alive = 1.0 - batch["over"][t]
                gain = batch["paid"][t] + gamma * alive * after - batch["values"][t] + gamma * lam * alive * gain
                advantage[t], after = gain, batch["values"][t]
        flat = {name: values.flatten(0, 1) for name, values in batch.items()}
        target, gains = (advantage + batch["values"]).flatten(), advantage.flatten()
        for part in torch.cat([torch.randperm(rows * length) for _ in range(epochs)]).split(rows * length // 4):
            policy, value = agent(flat["seen"][part])
            ratio = (policy.log_prob(flat["acts"][part]) - flat["logs"][part]).exp()
            gain = (gains[part] - gains[part].mean()) / (gains[part].std() + 1e-8)
            objective = torch.minimum(gain * ratio, gain * ratio.clamp(1 - clip, 1 + clip)).mean()
            loss = -objective + 0.5 * ((value - target[part]) ** 2).mean() - entropy * policy.entropy().mean()
            adam.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
            adam.step()
        earned.append(float(np.mean(finished[-300:])))
    print(f"return of a fisher: {earned[0]:.1f} at first, {earned[-1]:.1f} at last")
    return earned


if __name__ == "__main__":
    main()
