"""RLlib on any game: ParallelPettingZooEnv, one policy a role (PPO, RLlib's new stack).

RLlib pins its own version of Gymnasium: install ``ray[rllib]`` and societas in an environment of their own.
"""

import pettingzoo

import societas


def make(config):
    """Return the game of a configuration in RLlib's form; workers of Ray call this, each for itself."""
    from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv

    name, parameters = config["game"], {key: value for key, value in config.items() if key != "game"}
    return ParallelPettingZooEnv(pettingzoo.make("parallel", f"societas/{name}-v0", **parameters))


def role_of(player, *args, **kwargs):
    """Return the policy that plays a player: players of a role share one."""
    return player.rsplit("_", 1)[0]


def configure(game="HiddenAction", **parameters):
    """Return RLlib's configuration of PPO for a game: a policy for each role, with the role's own spaces."""
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.tune.registry import register_env

    register_env("societas", make)
    roles = societas.make(game, **parameters).roles
    config = PPOConfig().environment("societas", env_config={"game": game, **parameters})
    config = config.multi_agent(
        policies={role.name for role in roles},
        policy_mapping_fn=role_of,
        policies_to_train=[role.name for role in roles if role.acts],  # some decide nothing
    )
    config = config.training(train_batch_size_per_learner=1_000, minibatch_size=250, num_epochs=5)
    return config.env_runners(num_env_runners=0)


def main(steps=20_000):
    """Train for a number of steps; print and return the mean return of an episode, all players together."""
    algorithm, result = configure().build_algo(), {}
    for _ in range(max(1, steps // 1_000)):
        result = algorithm.train()
    algorithm.stop()
    earned = result["env_runners"]["episode_return_mean"]
    print(f"mean return of an episode, all players together: {earned:.2f}")
    return earned


if __name__ == "__main__":
    main()
