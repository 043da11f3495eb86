"""The status view's report, and when it says that it hears the others."""

import json
import time

import pytest
import ros_examples
from diagnostic_msgs.msg import DiagnosticArray
from std_msgs.msg import String

from gato_ros.common import topics
from gato_ros.view.status import line


@pytest.fixture(autouse=True)
def ros_environment():
    with ros_examples.environment():
        yield


def test_the_report_begins_once_robot_and_policy_are_seen(tmp_path):
    """A short episode was over before the status view heard anything of it."""
    file = tmp_path / "report.json"
    overrides = {"report": str(file), "await_policy": True}
    said = {"episode": 4, "num_episodes": 0, "step": 1, "num_steps": 400, "num_success_end": 2}
    said |= {"num_finished": 3}
    with (
        ros_examples.probe() as probe,
        ros_examples.node_process("status_node", tmp_path / "log.txt", overrides),
    ):
        node = probe.node
        episode = node.create_publisher(String, topics.EPISODE, topics.LATCHED)
        episode.publish(String(data=json.dumps(said)))
        assert ros_examples.eventually(lambda: episode.get_subscription_count() == 1)
        assert not ros_examples.eventually(file.exists, timeout=0.5)
        node.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, 10)
        assert ros_examples.eventually(file.exists)
        assert json.loads(file.read_text())["episodes"] == said


def test_a_report_that_cannot_be_shown_is_refused_and_the_last_one_stays(tmp_path):
    """Bad JSON ended the thread of all callbacks; what could not be shown ended the process."""
    file = tmp_path / "report.json"
    said = {"episode": 1, "num_episodes": 0, "step": 1, "num_steps": 4, "num_success_end": 0}
    said |= {"num_finished": 0}
    with (
        ros_examples.probe() as probe,
        ros_examples.node_process("status_node", tmp_path / "log.txt", {"report": str(file)}),
    ):
        node = probe.node
        episode = node.create_publisher(String, topics.EPISODE, topics.LATCHED)
        episode.publish(String(data=json.dumps(said)))
        assert ros_examples.eventually(file.exists)
        for wrong in ("{", "[]", "[" * 5000, json.dumps(said | {"step": "\ud800"}), "{}x"):
            episode.publish(String(data=wrong))
            time.sleep(0.05)
    assert json.loads(file.read_text())["episodes"] == said
    log = (tmp_path / "log.txt").read_text()
    assert "episode: refused: expected JSON, got '{'" in log and "Traceback" not in log


def test_a_policy_that_was_deactivated_is_shown_without_a_rate():
    policy = {"state": "inactive", "rate_hz": 8.7, "level": 1, "message": "holding: a camera"}
    assert line(policy, {}) == "policy inactive"
