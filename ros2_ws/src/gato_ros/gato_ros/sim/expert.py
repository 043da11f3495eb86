"""The scripted expert acting over topics, for demonstrations without a person.

It reads the simulator's own state, so it lives in the simulated robot's process; what it does
leaves and comes back as messages, like a policy's.
"""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from gato_ros.common import conversion, topics
from gato_ros.common.ingest import Gripper
from gato_ros.common.labels import action_message
from gato_sim.domains.rgb_stacking.environment import Environment
from gato_sim.domains.rgb_stacking.expert.expert import ScriptedExpert
from gato_sim.domains.rgb_stacking.tasks import ACTION


class ExpertSource:
    """Publishes the expert's action and commands for the state the simulation is in."""

    def __init__(self, node: Node, env: Environment) -> None:
        self._node, self._env = node, env
        self._expert, self._gripper = ScriptedExpert(env), Gripper()
        create = node.create_publisher
        self._arm = create(Float64MultiArray, topics.ARM_VELOCITY, topics.COMMAND)
        self._finger = create(Float64MultiArray, topics.GRIPPER_VELOCITY, topics.COMMAND)
        self._action = create(JointState, topics.ACTION, topics.COMMAND)

    def reset(self) -> None:
        """A new episode begins."""
        self._expert.reset()

    def close(self) -> None:
        """Leaves no publisher."""
        for publisher in (self._arm, self._finger, self._action):
            self._node.destroy_publisher(publisher)

    def act(self, stamp: Time) -> None:
        """Answers the state with this stamp."""
        simulation = self._env.simulation
        action = self._expert.step({})
        ctrl = simulation.controller.ctrl(action, simulation.joint_angles)
        if not np.isfinite(ctrl).all():
            return
        self._action.publish(action_message(action, ACTION.names, "expert", stamp))
        self._finger.publish(conversion.velocity_message([self._gripper.velocity(ctrl[7])]))
        self._arm.publish(conversion.velocity_message(ctrl[:7]))
