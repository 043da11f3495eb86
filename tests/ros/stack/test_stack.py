"""`gato stack` whole: real processes, real messages, one short episode."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import ros_examples
import yaml
from std_msgs.msg import Float64MultiArray

import gato_sim
from gato_core.policy import load
from gato_ros.common import paths, topics
from gato_sim.domains.rgb_stacking.tasks import policy_observation

NUM_STEPS = 30


@pytest.fixture(scope="module", autouse=True)
def ros_environment():
    with ros_examples.environment():
        yield


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return ros_examples.save_checkpoint(tmp_path_factory.mktemp("stack") / "debug")


def params_file(folder: Path, policy_overrides: dict | None = None, **sim_overrides) -> Path:
    """config/stack.yaml with short episodes."""
    params = yaml.safe_load(paths.find("config/stack.yaml").read_text())
    sim = params["/**/sim_node"]["ros__parameters"]
    sim |= {"episode_steps": NUM_STEPS, "physics": "stable", **sim_overrides}
    params["/**/policy_node"]["ros__parameters"] |= policy_overrides or {}
    file = folder / "stack.yaml"
    file.write_text(yaml.safe_dump(params))
    return file


def test_one_episode_leaves_report_and_video_and_no_process(tmp_path, checkpoint):
    out = tmp_path / "out"
    arguments = ["--episodes", "1", "--checkpoint", checkpoint, "--out", out]
    arguments += ["--params-file", params_file(tmp_path)]
    result = ros_examples.run_stack([str(argument) for argument in arguments])
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["num_episodes"] == 1
    report = json.loads((out / "report.json").read_text())
    assert report["episodes"]["results"][0]["step"] == NUM_STEPS
    assert report["policy"]["num_ticks"] > NUM_STEPS // 2
    assert report["policy"]["latency_ms"].keys() >= {"receive", "tokenize", "network", "total"}
    num_frames, _ = imageio_ffmpeg.count_frames_and_secs(str(out / "video.mp4"))
    assert num_frames == NUM_STEPS // 2
    assert ros_examples.living_nodes() == []


def test_actions_over_ros_equal_those_in_one_process(tmp_path, checkpoint):
    """In lock-step every command, and so the whole episode, is that of the bare environment."""
    policy = load(checkpoint)
    cameras = ros_examples.CAMERAS
    env = gato_sim.load("rgb_test_triplet5", seed=0, physics="stable", cameras=cameras)
    timestep = env.reset()
    expected = []
    for _ in range(NUM_STEPS):
        action = policy.step(policy_observation(timestep.observation, policy.spec))
        angles = env.simulation.joint_angles
        expected.append(env.simulation.controller.ctrl(action, angles)[:7])
        timestep = env.step(action)
    env.close()
    file = params_file(tmp_path, real_time_factor=0.0)
    arguments = ["--episodes", "1", "--checkpoint", checkpoint, "--out", tmp_path, "--no-video"]
    arguments += ["--params-file", file]
    with ros_examples.probe() as probe:
        commands = probe.listen(Float64MultiArray, topics.ARM_VELOCITY, 2 * NUM_STEPS)
        result = ros_examples.run_stack([str(argument) for argument in arguments])
    assert result.returncode == 0, result.stdout + result.stderr
    got = np.array([message.data for message in commands])[:NUM_STEPS]
    np.testing.assert_array_equal(got, expected)


def test_clock_driven_trajectories_control_the_robot_too(tmp_path, checkpoint):
    policy = {"trigger": "clock", "command": "trajectory"}
    file = params_file(tmp_path, policy, real_time_factor=0.0)
    arguments = ["--episodes", "1", "--checkpoint", checkpoint, "--out", tmp_path, "--no-video"]
    arguments += ["--params-file", file]
    result = ros_examples.run_stack([str(argument) for argument in arguments])
    assert result.returncode == 0, result.stdout + result.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["episodes"]["robot"]["num_answered_in_step"] >= NUM_STEPS - 2
    assert report["policy"]["num_ticks"] >= NUM_STEPS - 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_or_killed_it_leaves_no_node(number, tmp_path, checkpoint):
    command = [sys.executable, "-m", "gato_ros.stack.stack", "--checkpoint", str(checkpoint)]
    command += ["--out", str(tmp_path / "out"), "--params-file", str(params_file(tmp_path))]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ
    )
    for text in process.stdout:
        if text.startswith("[3/3]"):
            break
    time.sleep(1.0)
    process.send_signal(number)
    output = process.communicate(timeout=ros_examples.TIMEOUT)[0]
    assert "Traceback" not in output
    if number == signal.SIGINT:
        assert process.returncode == 0, output
        assert (tmp_path / "out" / "report.json").exists()
    assert ros_examples.eventually(lambda: ros_examples.living_nodes() == [])


def test_what_the_user_got_wrong_is_said_and_nothing_is_left(tmp_path, checkpoint):
    broken = tmp_path / "broken.yaml"
    broken.write_text("[")
    for arguments, words in (
        (["--params-file", str(broken)], "broken.yaml"),
        (["--task", "rgb_test_triplet9", "--checkpoint", str(checkpoint)], "task: expected one of"),
        (["--checkpoint", str(tmp_path / "nowhere")], "nowhere: expected a file or folder"),
        (["--params-file", str(tmp_path / "none.yaml")], "none.yaml: expected a file or folder"),
    ):
        result = ros_examples.run_stack([*arguments, "--out", str(tmp_path / "out")])
        assert result.returncode == 1, result.stdout
        assert words in result.stderr and "Traceback" not in result.stderr
    assert ros_examples.living_nodes() == []
