"""The simulated robot as a process of its own; these tests play the policy."""

import json
import threading

import numpy as np
import pytest
import ros_examples
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger

import gato_sim
from gato_ros.common import conversion, ingest, topics
from gato_sim.arm.controller import Controller
from gato_sim.domains.rgb_stacking.tasks import policy_observation, robot_spec

TASK, SEED = "rgb_test_triplet3", 7
LEFT, RIGHT = ros_examples.CAMERAS


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    """A probe beside a running simulated robot."""
    log = tmp_path_factory.mktemp("log") / "sim_node.txt"
    overrides = {"task": TASK, "seed": SEED, "physics": "stable"}
    with (
        ros_examples.environment(),
        ros_examples.node_process("sim_node", log, overrides),
        ros_examples.probe() as probe,
    ):
        probe.joints = probe.listen(JointState, topics.JOINT_STATES)
        probe.clock = probe.listen(Clock, topics.CLOCK)
        probe.episodes = probe.listen(String, topics.EPISODE, topics.LATCHED)
        for camera in (LEFT, RIGHT):
            probe.listen(Image, topics.image(camera))
            probe.listen(CameraInfo, topics.camera_info(camera))
        probe.wait(lambda: probe.joints and len(probe.heard[topics.image(RIGHT)]) > 2, "a state")
        yield probe


def speed(robot) -> float:
    return float(np.abs(robot.joints[-1].velocity[:7]).max())


def test_observation_through_messages_equals_the_environments(policy):
    """The episode waits for its first command, so the first state is that of the reset."""
    spec = robot_spec()
    env = gato_sim.load(TASK, seed=SEED, physics="stable", cameras=ros_examples.CAMERAS)
    expected = policy_observation(env.reset().observation, spec)
    env.close()
    images = {camera: policy.heard[topics.image(camera)][-1] for camera in (LEFT, RIGHT)}
    messages = {"joint_states": policy.joints[-1], **images}
    got, _ = ingest.observation(messages, spec, Controller())
    for key in spec.observation.keys() - {"sawyer/pinch/pose"}:
        np.testing.assert_array_equal(got[key], expected[key], err_msg=key)
    # another model computes it: the arm's kinematics alone
    np.testing.assert_allclose(got["sawyer/pinch/pose"], expected["sawyer/pinch/pose"], atol=1e-6)


def test_stamps_of_a_state_are_one_and_the_clocks(policy):
    stamps = [
        {conversion.nanoseconds(m.header.stamp) for m in heard[-40:]}
        for heard in (
            policy.joints,
            policy.heard[topics.image(LEFT)],
            policy.heard[topics.camera_info(RIGHT)],
        )
    ]
    common = set.intersection(*stamps, {conversion.nanoseconds(m.clock) for m in policy.clock})
    assert len(common) >= 2
    assert all(stamp % 50_000_000 == 0 for stamp in common)


def test_arm_moves_as_commanded_and_the_watchdog_stops_it(policy):
    command = conversion.velocity_message(np.array([0.2, 0, 0, 0, 0, 0, 0]))
    for _ in range(100):
        policy.publish(command, topics.ARM_VELOCITY)
        threading.Event().wait(0.02)
        if speed(policy) > 0.15:
            break
    assert speed(policy) > 0.15
    assert ros_examples.eventually(lambda: speed(policy) < 0.02)
    episode = json.loads(policy.episodes[-1].data)
    assert episode["step"] > 0
    policy.wait(
        lambda: json.loads(policy.episodes[-1].data)["robot"]["num_command_timeouts"] > 0,
        "a report of the timeout",
    )


def test_malformed_command_moves_nothing(policy):
    assert ros_examples.eventually(lambda: speed(policy) < 0.02)
    for bad in ([0.3], [np.nan] * 7):
        policy.publish(conversion.velocity_message(np.array(bad)), topics.ARM_VELOCITY)
    threading.Event().wait(0.5)
    assert speed(policy) < 0.02


def test_reset_begins_a_new_episode(policy):
    before = np.array(policy.joints[-1].position)
    client = policy.node.create_client(Trigger, "sim_node/reset")
    assert client.wait_for_service(timeout_sec=ros_examples.TIMEOUT)
    future = client.call_async(Trigger.Request())
    assert ros_examples.eventually(future.done) and future.result().success
    num_states = len(policy.joints)
    policy.wait(lambda: len(policy.joints) > num_states + 2, "states of the new episode")
    assert np.abs(np.array(policy.joints[-1].position) - before).max() > 0.01
    stamps = [conversion.nanoseconds(m.clock) for m in policy.clock]
    assert stamps == sorted(stamps), "time goes on through a reset"


def test_unknown_task_ends_with_one_clear_line(tmp_path):
    log = tmp_path / "sim_node.txt"
    with ros_examples.environment(), pytest.raises(AssertionError, match="rgb_test_triplet9"):
        overrides = {"task": "rgb_test_triplet9"}
        with ros_examples.node_process("sim_node", log, overrides) as process:
            process.wait(ros_examples.TIMEOUT)
    text = log.read_text()
    assert "error: task: expected one of" in text and "Traceback" not in text
