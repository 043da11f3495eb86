"""Injected latency and losses, the true poses and the expert of the simulated robot."""

import json

import numpy as np
import pytest
import ros_examples
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import SetBool

import gato_sim
from gato_ros.common import conversion, topics
from gato_ros.sim.faults import Faults
from gato_ros.sim.sensors import camera_info
from gato_sim.domains.rgb_stacking.tasks import view_image

TASK, SEED = "rgb_test_triplet3", 7
LEFT, RIGHT = ros_examples.CAMERAS
LATENCY = 0.1  # s


def test_losses_follow_from_the_seed_and_topic_alone():
    alone, beside = Faults(0, 0.3, seed=1), Faults(0, 0.3, seed=1)
    expected = [alone.is_lost("camera") for _ in range(200)]
    got = []
    for number in range(200):
        got.append(beside.is_lost("camera"))
        if number % 3:
            beside.is_lost("joint_states")
    assert got == expected
    assert expected != [Faults(0, 0.3, seed=2).is_lost("camera") for _ in range(200)]
    assert 30 < sum(expected) < 90 and alone.num_dropped == {"camera": sum(expected)}
    assert not any(Faults(0, 0.0, seed=1).is_lost("camera") for _ in range(200))


def test_delayed_images_keep_their_stamps_and_never_cross_episodes():
    faults = Faults(2, 0.0, seed=0)
    images = [np.full((2, 2, 3), number, np.uint8) for number in range(5)]
    shown = [faults.delayed("camera", image, stamp) for stamp, image in enumerate(images)]
    assert shown[:2] == [None, None]
    assert [(image[0, 0, 0], stamp) for image, stamp in shown[2:]] == [(0, 0), (1, 1), (2, 2)]
    faults.restart()
    assert faults.delayed("camera", images[0], 9) is None


def test_a_point_has_one_direction_in_the_whole_picture_and_in_a_part():
    whole, part = (camera_info(view_image(view, 96), "c") for view in ("whole", "basket"))
    scale = part.k[0] / whole.k[0]  # the part is drawn larger
    row, column = 20.0, 30.0
    direction = (column - whole.k[2]) / whole.k[0], (row - whole.k[5]) / whole.k[4]
    # the part begins at the picture's upper left corner; pixels are squares around their index
    column, row = (column + 0.5) * scale - 0.5, (row + 0.5) * scale - 0.5
    np.testing.assert_allclose(
        ((column - part.k[2]) / part.k[0], (row - part.k[5]) / part.k[4]), direction
    )


@pytest.fixture(scope="module")
def robot(tmp_path_factory):
    """A probe beside a simulated robot with slow cameras, true poses and losses."""
    log = tmp_path_factory.mktemp("log") / "sim_node.txt"
    overrides = {"task": TASK, "seed": SEED, "physics": "stable", "ground_truth": True}
    overrides |= {"camera_latency": LATENCY, "drop_probability": 0.2}
    with (
        ros_examples.environment(),
        ros_examples.node_process("sim_node", log, overrides),
        ros_examples.probe() as probe,
    ):
        probe.joints = probe.listen(JointState, topics.JOINT_STATES)
        probe.images = probe.listen(Image, topics.image(LEFT))
        probe.red = probe.listen(PoseStamped, f"{topics.GROUND_TRUTH}/red")
        probe.episodes = probe.listen(String, topics.EPISODE, topics.LATCHED)
        probe.wait(lambda: len(probe.images) > 5 and len(probe.joints) > 5, "states")
        yield probe


def test_true_poses_are_those_of_the_environment(robot):
    env = gato_sim.load(TASK, seed=SEED, physics="stable")
    env.reset()
    position = robot.red[0].pose.position
    expected = env.simulation.object_poses()["red"][:3]
    np.testing.assert_array_equal((position.x, position.y, position.z), expected)


def test_cameras_are_late_by_the_latency_and_messages_are_missing(robot):
    seen = len(robot.joints)
    robot.wait(lambda: len(robot.joints) > seen + 40, "two more seconds")
    joints = [conversion.nanoseconds(m.header.stamp) for m in robot.joints]
    images = [conversion.nanoseconds(m.header.stamp) for m in robot.images]
    assert (np.diff(joints) > 75_000_000).any() and (np.diff(images) > 75_000_000).any()
    newest = conversion.nanoseconds(robot.red[-1].header.stamp)
    assert LATENCY * 1e9 <= newest - images[-1] < 1e9


def test_the_expert_acts_when_asked_and_labels_each_state(robot):
    actions = robot.listen(JointState, topics.ACTION)
    commands = robot.listen(Float64MultiArray, topics.ARM_VELOCITY)
    client = robot.node.create_client(SetBool, "sim_node/expert")
    assert client.wait_for_service(timeout_sec=ros_examples.TIMEOUT)
    assert not actions, "nothing moves before it is asked for"
    for wanted in (True, False):
        future = client.call_async(SetBool.Request(data=wanted))
        assert ros_examples.eventually(future.done) and future.result().success
        if wanted:
            robot.wait(lambda: len(actions) > 20 and len(commands) > 20, "the expert's actions")
    topic = topics.ARM_VELOCITY
    assert ros_examples.eventually(lambda: not robot.node.count_publishers(topic)), "no rival stays"
    assert {message.header.frame_id for message in actions} == {"expert"}
    assert actions[0].name[0] == "x_velocity" and any(np.abs(commands[-1].data) > 0)
    robot.wait(lambda: json.loads(robot.episodes[-1].data)["step"] > 5, "a moving robot")
