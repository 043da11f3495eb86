"""From a demonstration to a dataset: `gato stack --record`, then `gato convert`."""

import json

import numpy as np
import pytest
import ros_examples
import yaml

import gato_sim
from gato_core.dataset import Dataset
from gato_ros.bags.convert import ConvertConfig, convert
from gato_ros.common import paths
from gato_sim.domains.rgb_stacking import seen
from gato_sim.domains.rgb_stacking.expert.expert import ScriptedExpert
from gato_sim.domains.rgb_stacking.tasks import policy_observation, robot_spec
from gato_training.run_log import origin

NUM_STEPS, NUM_EPISODES = 30, 2


def demonstrations() -> list[tuple[dict, np.ndarray]]:
    """Observations and actions of the expert in the bare environment."""
    cameras, spec = ros_examples.CAMERAS, robot_spec()
    env = gato_sim.load("rgb_test_triplet5", seed=0, physics="stable", cameras=cameras)
    expert, episodes = ScriptedExpert(env), []
    for _ in range(NUM_EPISODES):
        timestep = env.reset()
        expert.reset()
        observations, actions = [], []
        for _ in range(NUM_STEPS):
            observations.append(policy_observation(timestep.observation, spec))
            actions.append(expert.step({}))
            timestep = env.step(actions[-1])
        stacked = {key: np.stack([each[key] for each in observations]) for key in spec.observation}
        episodes.append((stacked, np.stack(actions)))
    env.close()
    return episodes


def test_recorded_and_converted_the_experts_episodes_are_those_of_the_bare_environment(tmp_path):
    """Nothing is lost or shifted in time on the way through topics and the bag.

    The gripper's command goes through rad/s and back, which costs the last bit.
    """
    params = yaml.safe_load(paths.find("config/stack.yaml").read_text())
    params["/**/sim_node"]["ros__parameters"] |= {
        "episode_steps": NUM_STEPS,
        "physics": "stable",
        "real_time_factor": 0.0,
    }
    params["/**/viewer"]["ros__parameters"]["port"] = 0
    file = tmp_path / "stack.yaml"
    file.write_text(yaml.safe_dump(params))
    recordings = tmp_path / "recordings"
    arguments = ["--policy", "expert", "--record", recordings, "--viewer", "--no-video"]
    arguments += ["--episodes", NUM_EPISODES, "--params-file", file, "--out", tmp_path / "out"]
    with ros_examples.environment():
        result = ros_examples.run_stack([str(argument) for argument in arguments], timeout=300)
        assert result.returncode == 0, result.stdout + result.stderr
        assert ros_examples.living_nodes() == []
    assert "viewer: http://127.0.0.1:" in result.stdout
    summary = json.loads(result.stdout.splitlines()[-1])
    assert summary["num_recordings"] == summary["num_episodes"] == NUM_EPISODES
    convert(ConvertConfig(recordings, tmp_path / "dataset"))
    dataset = Dataset(tmp_path / "dataset")
    trained_on = {"data": origin.data([dataset])}
    with pytest.raises(ValueError, match="trained on the test triplets"):
        seen.check_unseen(trained_on, tmp_path)
    assert len(dataset.rows) == NUM_EPISODES
    for index, (observation, action) in enumerate(demonstrations()):
        episode = dataset.episode(index)
        assert episode.source == "expert" and not episode.success
        shown = {key: episode.info[key] for key in ("triplets", "objects")}
        assert shown == {"triplets": "rgb_test_triplet5", "objects": "r2,g6,s0"}
        np.testing.assert_allclose(episode.action, action, atol=1e-7)
        for key, expected in observation.items():
            got = episode.observation[key]
            if expected.dtype == np.uint8:
                assert (got != expected).mean() < 1e-4, key
            else:
                np.testing.assert_allclose(got, expected, atol=1e-5, err_msg=key)
