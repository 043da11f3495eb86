"""Messages with something wrong in them, on every topic that any node listens to, over DDS.

No node dies, none is deaf afterwards, and no command leaves that is out of limits. GATO_MUTATIONS
says how many on each topic; docs/ros.md says what came of 10,000.
"""

import contextlib
import json
import os
import random
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import ros_examples
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from mutations import mutated
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.serialization import deserialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, Joy
from std_msgs.msg import Bool, Float64MultiArray, String
from trajectory_msgs.msg import JointTrajectory

from gato_ros.common import conversion, diagnostics, paths, topics
from gato_ros.stack import children
from gato_sim.arm.sawyer import JOINT_VELOCITY_LIMITS

NUM = int(os.environ.get("GATO_MUTATIONS", 150))
CAMERA = "basket_front_left"
ANSWER = 1.0 if NUM > 1000 else 10.0  # s; the machine may be busy with other tests


def image() -> Image:
    return conversion.image_message(64, 64, CAMERA)


def joy() -> Joy:
    return Joy(axes=[0.0, 1.0, 0.0, 0.0, 0.0], buttons=[0, 0, 0, 0, 1])


def report() -> String:
    words = {"step": 1, "num_steps": 2, "episode": 1, "num_episodes": 0, "num_success_end": 0}
    return String(data=json.dumps(words | {"num_finished": 0, "task": "a", "success_end": True}))


def recorder() -> String:
    return String(data=json.dumps({"state": "recording", "seconds": 1.0}))


def diagnosis() -> DiagnosticArray:
    values = {"latency_ms": {}, "num_missed": 0, "num_late": 0, "rate_hz": 1.0, "num_ticks": 2}
    stamp = conversion.time_message(1)
    return diagnostics.status_message("policy_node", diagnostics.OK, "moving", values, stamp)


def info() -> CameraInfo:
    return conversion.camera_info_message(64, 64, 35.0, CAMERA)


def trajectory() -> JointTrajectory:
    joints = ros_examples.joint_state().name[:7]
    return conversion.trajectory_message(joints, np.zeros(7), np.full(7, 0.1), 0.05)


def velocities(num: int):
    return lambda: conversion.velocity_message(np.full(num, 0.1))


CLOCKED = {"/clock": lambda: Clock(clock=Time(sec=5))}
STATES = {topics.JOINT_STATES: ros_examples.joint_state}
COMMANDS = {
    topics.ARM_VELOCITY: velocities(7),
    topics.ARM_TRAJECTORY: trajectory,
    topics.GRIPPER_VELOCITY: velocities(1),
}
REPORTS = {topics.RECORDER: recorder, topics.EPISODE: report}
IMAGES = {topics.image(CAMERA): image}
LISTENS = {
    "policy_node": CLOCKED | IMAGES | STATES | {topics.EPISODE_START: Time, topics.STOP: Bool},
    "sim_node": COMMANDS,
    "status_node": REPORTS | {topics.DIAGNOSTICS: diagnosis},
    "recorder": STATES | IMAGES | COMMANDS | {topics.EPISODE: report} | {
        topics.camera_info(CAMERA): info, topics.ACTION: ros_examples.joint_state,
        topics.EPISODE_START: Time, topics.DIAGNOSTICS: diagnosis},
    "teleop": STATES | REPORTS | {topics.EPISODE_START: Time, topics.JOY: joy, topics.STOP: Bool},
    "viewer": STATES | IMAGES | REPORTS | {topics.ARM_VELOCITY: velocities(7),
        topics.ACTION: ros_examples.joint_state, topics.DIAGNOSTICS: diagnosis},
}  # fmt: skip
GENTLE = {"safety.soft_start": 0.05, "safety.max_jump": 100.0}
OVERRIDES = {
    "policy_node": GENTLE
    | {
        "use_sim_time": True,
        "max_stamp_age": 0.0,
        "max_age": 5.0,
        # sound sensors and spoiled ones come from two publishers
        "safety.sole_sensors": False,
    },
    "sim_node": {"physics": "stable"},
    "teleop": {"device": "joystick"},
    "viewer": {"port": 0},
}


@contextlib.contextmanager
def deep_node(name: str, folder: Path, overrides: dict):
    """The node in a process of its own; yields it, and checks that it ended well."""
    command = [sys.executable, str(Path(__file__).parents[1] / "ros_deep.py")]
    command += [str(folder / "counts.json"), name, "--ros-args"]
    command += ["--params-file", str(paths.find("config/stack.yaml"))]
    for key, value in overrides.items():
        command += ["-p", f"{key}:={json.dumps(value)}"]
    log = folder / "log.txt"
    process = children.begin(command, log)
    try:
        yield process, log
    finally:
        status = children.end(process, ros_examples.TIMEOUT)
    assert status == 0, log.read_text()[-3000:]
    assert "Traceback" not in log.read_text(), log.read_text()[-3000:]


def is_readable(message, message_type: type) -> bool:
    """Whether it is a message, and not bytes that are none."""
    try:
        return not isinstance(message, bytes) or bool(deserialize_message(message, message_type))
    except RuntimeError:
        return False


def answers(client, timeout: float) -> bool:
    """Whether a node's service answers in time."""
    future = client.call_async(GetParameters.Request(names=["use_sim_time"]))
    return ros_examples.eventually(future.done, timeout)


@pytest.mark.parametrize("name", LISTENS)
def test_mutated_messages_leave_every_node_alive(name, tmp_path):
    rng, num_readable = random.Random(0), Counter()
    overrides = dict(OVERRIDES.get(name, {}))
    if name == "policy_node":
        overrides["checkpoint"] = str(ros_examples.save_checkpoint(tmp_path / "debug"))
    if name == "recorder":
        overrides["folder"] = str(tmp_path / "recordings")
    if name == "status_node":
        overrides["report"] = str(tmp_path / "report.json")
    with ros_examples.environment(), ros_examples.probe() as probe:
        node = probe.node
        commands = probe.listen(Float64MultiArray, topics.ARM_VELOCITY, 1000)
        with deep_node(name, tmp_path, overrides) as (process, log):
            alive = node.create_client(GetParameters, f"{name}/get_parameters")
            assert alive.wait_for_service(ros_examples.TIMEOUT), log.read_text()
            if name == "policy_node":
                assert probe.transition(ros_examples.CONFIGURE), log.read_text()
                assert probe.transition(ros_examples.ACTIVATE)
            for topic, example in LISTENS[name].items():
                publisher = node.create_publisher(type(example()), topic, 20_000)
                wanted = 1 + (topic == topics.ARM_VELOCITY)  # the probe listens to that one, too
                assert ros_examples.eventually(
                    lambda p=publisher, n=wanted: p.get_subscription_count() == n
                )
                for i in range(NUM):
                    message = mutated(example(), rng)
                    num_readable[topic] += is_readable(message, type(example()))
                    publisher.publish(message)
                    if name == "policy_node" and i % 5 == 0:
                        show(probe, i)
                    if i % 50 == 49:  # no faster than they are read
                        time.sleep(0.05)
                assert publisher.wait_for_all_acked(), topic
                # the first answer comes once all were read: 3,000 dimensions of an array take 7 ms
                in_time = answers(alive, 5 * ros_examples.TIMEOUT) and answers(alive, ANSWER)
                assert in_time, (topic, log.read_text()[-3000:])
                assert process.poll() is None, log.read_text()[-3000:]
                node.destroy_publisher(publisher)
            wrong = node.create_client(SetParameters, f"{name}/set_parameters")
            future = wrong.call_async(unknown_type())
            assert ros_examples.eventually(future.done, ANSWER), "an unknown type of parameter"
        taken = json.loads((tmp_path / "counts.json").read_text())
        for topic, num in num_readable.items():
            assert taken[topic] >= num > NUM / 2, (topic, taken, num_readable)
    sent = np.array([list(m.data) for m in commands if len(m.data) == 7])
    if name in ("policy_node", "teleop") and len(sent):
        assert np.isfinite(sent).all()
        assert (np.abs(sent) <= np.array(JOINT_VELOCITY_LIMITS) + 1e-9).all()


def unknown_type() -> SetParameters.Request:
    from rcl_interfaces.msg import Parameter, ParameterValue

    value = ParameterValue(type=99)
    return SetParameters.Request(parameters=[Parameter(name="use_sim_time", value=value)])


def show(probe, i: int) -> None:
    """A sound set of sensors in between, so that the policy acts on what else arrives."""
    stamp = conversion.time_message(6_000_000_000 + i * 50_000_000)
    for camera in ros_examples.CAMERAS:
        message = conversion.image_message(64, 64, camera)
        message.header.stamp = stamp
        probe.publish(message, topics.image(camera))
    probe.publish(ros_examples.joint_state(stamp), topics.JOINT_STATES)
    probe.publish(Clock(clock=stamp), topics.CLOCK)
