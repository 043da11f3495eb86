"""The status view's report, and when it says that it hears the others."""

import json

import pytest
import ros_examples
from diagnostic_msgs.msg import DiagnosticArray
from std_msgs.msg import String

from gato_ros.common import topics


@pytest.fixture(autouse=True)
def ros_environment():
    with ros_examples.environment():
        yield


def test_the_report_begins_once_robot_and_policy_are_seen(tmp_path):
    """A short episode was over before the status view heard anything of it."""
    file = tmp_path / "report.json"
    overrides = {"report": str(file), "await_policy": True}
    with (
        ros_examples.probe() as probe,
        ros_examples.node_process("status_node", tmp_path / "log.txt", overrides),
    ):
        node = probe.node
        episode = node.create_publisher(String, topics.EPISODE, topics.LATCHED)
        episode.publish(String(data=json.dumps({"num_finished": 3})))
        assert ros_examples.eventually(lambda: episode.get_subscription_count() == 1)
        assert not ros_examples.eventually(file.exists, timeout=0.5)
        node.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, 10)
        assert ros_examples.eventually(file.exists)
        assert json.loads(file.read_text())["episodes"] == {"num_finished": 3}
