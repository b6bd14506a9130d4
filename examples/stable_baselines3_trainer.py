"""Stable-Baselines3 on any game: one player learns among others, or all players of a role learn with one network."""

import societas
from societas.envs.views.sb3 import SB3VecEnv
from societas.policies.sb3 import StableBaselines

GAME = societas.make("Fishery", fishers=3, months=6)
CHARGED = GAME | societas.mechanism("Pigou", field="caught", rate=2 / 3)  # what is paid goes to the others


def learn_alone(steps):
    """Train the first fisher among scripted ones."""
    return StableBaselines.train(GAME, "fisher", steps=steps, others="scripted", n_steps=64, seed=1)


def learn_together(game, steps, worlds=16):
    """Train one network that plays all fishers: with index=None each of them is a row of the batch."""
    from stable_baselines3 import PPO

    villages = SB3VecEnv(game, worlds, index=None, seed=1)
    model = PPO("MlpPolicy", villages, n_steps=32, batch_size=256, learning_rate=1e-3, seed=1, device="cpu")
    return StableBaselines(model.learn(steps))


def learn_in_a_box(steps):
    """Train with SAC, which knows only actions that are real numbers: continuous=True, and they are rounded."""
    from stable_baselines3 import SAC

    env = SB3VecEnv(GAME, worlds=4, others="scripted", continuous=True, seed=1)
    return SAC("MlpPolicy", env, learning_starts=64, seed=1, device="cpu").learn(steps)


def main(steps=200_000):
    """Train in all ways; print and return the alignment of the villages: 0 is the equilibrium, 1 the first best."""
    learn_in_a_box(min(steps, 1_000))
    villages = {
        "one learner among scripted fishers": (
            GAME,
            {"fisher_0": learn_alone(steps // 4), "fisher": societas.policy("scripted")},
        ),
        "one network for all": (GAME, {"fisher": learn_together(GAME, steps)}),
        "one network for all, under a charge": (CHARGED, {"fisher": learn_together(CHARGED, steps)}),
    }
    found = {
        name: float(societas.play(game, players, worlds=100, seed=2).alignment.mean())
        for name, (game, players) in villages.items()
    }
    for name, alignment in found.items():
        print(f"{name}: alignment {alignment:.2f}")
    return found


if __name__ == "__main__":
    main()
