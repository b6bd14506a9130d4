"""SuperSuit on any game: its wrappers, and its vector environment with all players as rows for Stable-Baselines3."""

import pettingzoo
import supersuit

import societas  # noqa: F401  (registers the games)


def rows(game, worlds=2, **parameters):
    """Return a vector environment of all players of all worlds, whatever their roles see and do.

    The rows must have one space: actions are made real numbers (continuous=True), padded, and clipped again to what each
    role can do; observations are padded and marked with whose they are.
    """
    env = pettingzoo.make("parallel", f"societas/{game}-v0", continuous=True, **parameters)
    env = supersuit.pad_action_space_v0(supersuit.clip_actions_v0(env))
    env = supersuit.agent_indicator_v0(supersuit.pad_observations_v0(env), type_only=True)
    env = supersuit.pettingzoo_env_to_vec_env_v1(env)
    return supersuit.concat_vec_envs_v1(env, worlds, base_class="stable_baselines3")


def main(steps=20_000):
    """Train one network to be both principal and agent; return the model."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import VecMonitor

    env = VecMonitor(rows("HiddenAction", worlds=8))
    model = PPO("MlpPolicy", env, n_steps=64, batch_size=256, device="cpu").learn(steps)
    last = model.ep_info_buffer
    print(
        f"{env.num_envs} rows of {env.observation_space.shape}; mean return {sum(e['r'] for e in last) / len(last):.2f}"
    )
    return model


if __name__ == "__main__":
    main()
