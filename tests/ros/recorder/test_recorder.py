"""The recorder as a process of its own; these tests play robot, actor and operator."""

import dataclasses
import json
import shutil
import signal
import time
from pathlib import Path

import pytest
import ros_examples
import yaml
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rosbags.highlevel import AnyReader
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from gato_core.spec import Spec
from gato_ros.bags.writer import unfinished
from gato_ros.common import conversion, topics
from gato_ros.common.labels import action_message
from gato_sim.domains.rgb_stacking.tasks import ACTION, robot_spec

JOINTS = f"/{topics.JOINT_STATES}"
IMAGES = [f"/{topics.image(camera)}" for camera in ros_examples.CAMERAS]


class Actor(ros_examples.FakeSensors):
    """A robot and someone who answers each of its states."""

    def _publish(self, message, topic):
        super()._publish(message, topic)
        if topic == topics.JOINT_STATES:
            answer = action_message([0.0] * 5, ACTION.names, "tester", message.header.stamp)
            self._robot.publish(answer, topics.ACTION)


@pytest.fixture
def operator(tmp_path):
    """A probe beside a recorder that writes into tmp_path / "recordings"."""
    log = tmp_path / "recorder.txt"
    # the fake sensors reach 16 Hz on a busy machine
    overrides = {"folder": str(tmp_path / "recordings"), "min_free_gb": 0.001, "control_rate": 10.0}
    with (
        ros_examples.environment(),
        ros_examples.node_process("recorder", log, overrides) as process,
        ros_examples.probe() as probe,
    ):
        probe.states = probe.listen(String, "recorder/status", topics.LATCHED)
        probe.wait(lambda: probe.states, "the recorder")
        probe.process, probe.folder = process, tmp_path / "recordings"
        yield probe


def call(operator, name: str, request=None):
    request = request or Trigger.Request()
    service = {Trigger.Request: Trigger, SetBool.Request: SetBool}.get(type(request), SetParameters)
    client = operator.node.create_client(service, f"recorder/{name}")
    assert client.wait_for_service(timeout_sec=ros_examples.TIMEOUT)
    future = client.call_async(request)
    assert ros_examples.eventually(future.done)
    return future.result()


def rates(operator) -> dict:
    return json.loads(operator.states[-1].data)["rates_hz"]


def wait_for_rates(operator) -> None:
    operator.wait(lambda: min(rates(operator).values()) > 9, "all streams at their rate")


def read(folder: Path) -> tuple[dict[str, list], dict]:
    """Messages by topic, and the metadata of a recording."""
    with AnyReader([folder]) as reader:
        messages: dict[str, list] = {}
        for connection, _, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            messages.setdefault(connection.topic, []).append(message)
    described = yaml.safe_load((folder / "metadata.yaml").read_text())
    return messages, described["rosbag2_bagfile_information"]["custom_data"]


def stamps(messages: list) -> list[int]:
    return [conversion.nanoseconds(message.header.stamp) for message in messages]


def test_start_is_refused_with_the_list_of_what_is_missing(operator):
    answer = call(operator, "start")
    assert not answer.success
    for topic in (JOINTS, *IMAGES):
        assert f"{topic}: expected 10 Hz, got 0.0 Hz, never a message" in answer.message
    assert "/action: expected someone who acts, got no publisher" in answer.message
    with Actor(operator) as robot:
        wait_for_rates(operator)

        def rename(message):
            message.name[0] = "shoulder"
            return message

        robot.faults[topics.JOINT_STATES] = rename
        time.sleep(0.5)  # until no sound state is the newest
        assert ros_examples.eventually(lambda: "right_j0" in call(operator, "start").message)
        robot.faults.clear()
    assert not call(operator, "stop").success
    assert not any(operator.folder.iterdir())


def test_a_recording_holds_every_message_and_what_it_needs_to_become_a_dataset(operator):
    task = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value="wave")
    with Actor(operator) as robot:
        wait_for_rates(operator)
        sent: dict[str, list[int]] = {}

        def note(message):
            sent.setdefault(message.header.frame_id, []).append(
                conversion.nanoseconds(message.header.stamp)
            )
            return message

        assert call(operator, "start").success
        for topic in (topics.image(camera) for camera in ros_examples.CAMERAS):
            robot.faults[topic] = note
        assert not call(operator, "start").success, "one at a time"
        request = SetParameters.Request(parameters=[Parameter(name="task", value=task)])
        assert call(operator, "set_parameters", request).results[0].successful
        operator.wait(lambda: all(len(s) >= 60 for s in sent.values()) and sent, "three seconds")
        robot.faults.clear()
        assert call(operator, "success", SetBool.Request(data=True)).success
        time.sleep(0.2)
        answer = call(operator, "stop")
    assert answer.success and "0 lost" in answer.message
    (folder,) = operator.folder.iterdir()
    messages, info = read(folder)
    for camera in ros_examples.CAMERAS:
        recorded = set(stamps(messages[f"/{topics.image(camera)}"]))
        assert recorded >= set(sent[camera])
    assert set(stamps(messages["/action"])) <= set(stamps(messages[JOINTS]))
    spec = dataclasses.replace(robot_spec(), control_timestep=0.1)
    assert Spec.from_dict(json.loads(info["spec"])).differences(spec) == []
    assert json.loads(info["topics"])["basket_front_left"] == IMAGES[0]
    assert (info["task"], info["source"], info["success"]) == ("wave", "tester", "true")
    assert info["num_lost"] == "0"


def test_discarded_it_leaves_nothing_and_the_next_may_begin(operator):
    with Actor(operator):
        wait_for_rates(operator)
        assert call(operator, "start").success
        assert call(operator, "discard").success
        assert not any(operator.folder.iterdir())
        assert call(operator, "start").success


def test_killed_it_leaves_a_recording_that_the_next_recorder_completes(operator, tmp_path):
    with Actor(operator):
        wait_for_rates(operator)
        assert call(operator, "start").success
        (folder,) = operator.folder.iterdir()
        file = folder / f"{folder.name}.mcap"
        # each camera's noise-free images compress well: wait for a few chunks
        assert ros_examples.eventually(lambda: file.stat().st_size > 6000)
        operator.process.send_signal(signal.SIGKILL)
        operator.process.wait()
        assert unfinished(operator.folder) == [folder]
        copy = tmp_path / "copy"
        shutil.copytree(operator.folder, copy)
        log = tmp_path / "second.txt"
        with ros_examples.node_process("recorder", log, {"folder": str(copy)}):
            assert ros_examples.eventually(lambda: unfinished(copy) == [])
    messages, info = read(copy / folder.name)
    assert len(messages[JOINTS]) > 5 and info["repaired"] == "true"
    operator.process.returncode = 0  # the fixture expects a clean end


def test_a_full_disk_is_refused(tmp_path):
    log = tmp_path / "recorder.txt"
    overrides = {"folder": str(tmp_path / "recordings"), "min_free_gb": 1e6}
    with (
        ros_examples.environment(),
        ros_examples.node_process("recorder", log, overrides),
        ros_examples.probe() as probe,
        Actor(probe),
    ):
        answer = call(probe, "start")
    assert not answer.success and "disk: expected 1000000.0 GB free" in answer.message
