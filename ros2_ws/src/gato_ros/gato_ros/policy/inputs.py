"""What arrives at the policy node: the newest message of each stream, and whether it can be."""

from __future__ import annotations

from collections.abc import Collection

from sensor_msgs.msg import CompressedImage, Image, JointState

from gato_ros.common import conversion, ingest
from gato_ros.common.clocks import Clocks
from gato_ros.common.joint_parts import JointParts
from gato_ros.safety.freshness import Latest, Sample
from gato_ros.safety.hold import Hold
from gato_ros.safety.joints import Implausible, JointWatch

Message = JointState | Image | CompressedImage
MAX_AGE = 0.5  # s between parts of a state, as long as nothing is configured


class Inputs:
    """Callbacks put messages here; nothing is computed from them but what may stop the robot."""

    def __init__(self, joints: JointWatch, hold: Hold, clocks: Clocks) -> None:
        self._joints, self._hold, self._clocks = joints, hold, clocks
        self.follow((), joints.names, MAX_AGE)

    def follow(self, streams: Collection[str], joints: Collection[str], max_age: float) -> None:
        """From now on these streams make a set, and a state has these joints.

        Parts of a robot that publish apart are merged, unless one is `max_age` s older.
        """
        self.latest: Latest = Latest(streams)
        self._parts = JointParts(joints, max_age)

    @property
    def num_parts(self) -> int:
        """How many publishers of joint states there may be."""
        return self._parts.num_parts

    def put(self, stream: str, message: Message) -> None:
        """Keeps a message of a camera."""
        self.latest.put(stream, self._sample(message))

    def put_joints(self, message: JointState) -> None:
        """Keeps a state.

        One that the arm cannot have come to is refused, ValueError, and the robot held at once.
        """
        conversion.stamp(message.header.stamp)  # before it is merged with others
        is_of_arm = not self._joints.names.isdisjoint(message.name)
        message = self._parts.merged(message)
        sample = self._sample(message)
        try:
            if is_of_arm:  # the gripper's message brings the arm's angles no news
                self._joints.put(message, sample.stamp, sample.wall)
        except Implausible as error:
            self._hold.hold(str(error))
            raise
        except ValueError:
            pass  # a tick would have to answer it, and explains why it does not
        self.latest.put(ingest.JOINT_STREAM, sample)

    def forget(self) -> None:
        """What is known belongs to another time."""
        self.latest.clear()
        self._joints.restart()

    def _sample(self, message: Message) -> Sample:
        stamp = conversion.stamp(message.header.stamp)
        return Sample(message, stamp, self._clocks.now(), self._clocks.wall())
