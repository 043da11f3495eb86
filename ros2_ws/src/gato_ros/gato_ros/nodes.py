"""Entry points of the node processes: `python -m gato_ros.nodes policy_node --ros-args ...`.

Signals come first, the heavy imports after them: an interrupt while torch loads ends quietly.
"""

from __future__ import annotations

import os
import signal
import sys


def policy_node() -> int:
    _end_quietly()
    from gato_ros.common import process
    from gato_ros.policy.node import PolicyNode

    return process.run(PolicyNode, PolicyNode.run)


def sim_node() -> int:
    _end_quietly()
    # a software renderer would spread over the cores that the policy needs
    os.environ.setdefault("LP_NUM_THREADS", "1")
    from gato_ros.common import process
    from gato_ros.sim.node import SimNode

    return process.run(SimNode, SimNode.run)


def status_node() -> int:
    _end_quietly()
    from gato_ros.common import process
    from gato_ros.view.status import StatusNode

    return process.run(StatusNode, StatusNode.run)


def recorder() -> int:
    _end_quietly()
    from gato_ros.common import process
    from gato_ros.recorder.node import RecorderNode

    return process.run(RecorderNode, RecorderNode.run)


def teleop() -> int:
    _end_quietly()
    from gato_ros.common import process
    from gato_ros.teleop.node import TeleopNode

    return process.run(TeleopNode, TeleopNode.run)


def viewer() -> int:
    _end_quietly()
    from gato_ros.common import process
    from gato_ros.view.viewer import ViewerNode

    return process.run(ViewerNode, ViewerNode.run)


def _end_quietly() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))


NODES = {
    function.__name__: function
    for function in (policy_node, sim_node, status_node, recorder, teleop, viewer)
}

if __name__ == "__main__":
    sys.exit(NODES[sys.argv.pop(1)]())
