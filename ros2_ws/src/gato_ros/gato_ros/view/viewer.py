"""The browser view: cameras, joints, latency, state and episode.

A process of its own with best-effort subscriptions: it costs the control loop nothing.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from functools import partial

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Float64MultiArray, String

from gato_core.importers import pictures
from gato_ros.common import camera_parameters, diagnostics, reports, topics
from gato_ros.common.guard import Guarded
from gato_ros.common.parameters import declare, refuse_unknown
from gato_ros.common.reading import MAX_JOINTS
from gato_ros.common.stopping import Stop
from gato_ros.view import server as viewer_server
from gato_sim.arm.sawyer import JOINT_HIGH, JOINT_LOW, JOINT_NAMES, JOINT_VELOCITY_LIMITS

LIMITS = {name: limits for name, *limits in zip(JOINT_NAMES, JOINT_LOW, JOINT_HIGH)}
NEWEST = 200  # answers kept: 10 s at 20 Hz
RATE_WINDOW = 2.0  # s


@dataclass(frozen=True)
class ViewerParameters:
    """What config/stack.yaml may set; `declare_all` describes each."""

    cameras: tuple[str, ...]
    image_type: str
    host: str
    port: int
    rate: float


def declare_all(node: Node) -> ViewerParameters:
    """Declares all parameters on a node and reads them. Raises ValueError for a wrong choice."""
    param = partial(declare, node)
    parameters = ViewerParameters(
        cameras=camera_parameters.cameras(param, "cameras to show"),
        image_type=camera_parameters.image_type(param),
        host=param("host", "127.0.0.1", "address to serve at; 0.0.0.0: all"),
        port=param("port", 8097, "to serve at; 0: any that is free", low=0, high=65535),
        rate=param("rate", 10.0, "events a second", low=0.1, high=60.0),
    )
    refuse_unknown(node)
    return parameters


class ViewerNode(Guarded, Node):
    """Topics and parameters are tabulated in docs/recording.md."""

    def __init__(self) -> None:
        super().__init__("viewer")
        self.parameters = declare_all(self)
        self.keep_clock()
        self._board = viewer_server.Board()
        self._arrivals: dict[str, deque[float]] = {}
        self._joints: dict = {}
        self._policy: dict = {}
        self._recorder: dict = {}
        self._episode: dict = {}
        self._command: list[float] = []
        self._action: dict = {}
        self._answers: deque[float] = deque(maxlen=NEWEST)
        self._unanswered: float | None = None
        self._subscribe()

    def _subscribe(self) -> None:
        newest, listen = topics.NEWEST_SAMPLE, self.create_subscription
        message_type, suffix = {"raw": (Image, ""), "compressed": (CompressedImage, "/compressed")}[
            self.parameters.image_type
        ]
        for camera in self.parameters.cameras:
            topic = topics.image(camera) + suffix
            listen(message_type, topic, partial(self._on_image, camera), newest)
        listen(JointState, topics.JOINT_STATES, self._on_joints, newest)
        listen(JointState, topics.ACTION, self._on_action, newest)
        listen(Float64MultiArray, topics.ARM_VELOCITY, self._on_command, newest)
        listen(DiagnosticArray, topics.DIAGNOSTICS, self._on_diagnostics, 10)
        listen(String, topics.EPISODE, partial(self._on_text, "_episode"), topics.LATCHED)
        listen(String, topics.RECORDER, partial(self._on_text, "_recorder"), topics.LATCHED)

    # Callbacks, in the background thread.

    def _arrived(self, stream: str) -> None:
        self._arrivals.setdefault(stream, deque(maxlen=NEWEST)).append(time.monotonic())

    def _on_image(self, camera: str, message: Image | CompressedImage) -> None:
        self._arrived(camera)
        try:
            self._board.put_frame(camera, pictures.image_to_array(message))
        except ValueError as error:
            self.get_logger().warning(f"{camera}: {error}", throttle_duration_sec=5.0)

    def _on_joints(self, message: JointState) -> None:
        self._arrived(topics.JOINT_STATES)
        self._unanswered = time.monotonic()
        velocities = message.velocity or [0.0] * len(message.name)
        if len(message.name) > MAX_JOINTS:
            raise ValueError(f"expected at most {MAX_JOINTS} names, got {len(message.name)}")
        known = self._joints if len(self._joints) < MAX_JOINTS else {}
        self._joints = known | {  # parts of a robot may publish theirs apart
            name: {"position": position, "velocity": velocity, "limits": LIMITS.get(name)}
            for name, position, velocity in zip(message.name, message.position, velocities)
        }
        self._board.note()

    def _on_action(self, message: JointState) -> None:
        values = dict(zip(message.name, message.position))
        self._action = {"source": message.header.frame_id, "values": values}

    def _on_command(self, message: Float64MultiArray) -> None:
        self._arrived("commands")
        self._command = list(message.data)
        if self._unanswered is not None:
            self._answers.append((time.monotonic() - self._unanswered) * 1e3)
            self._unanswered = None

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self._policy = diagnostics.values_of(message, "policy_node") or self._policy
        self._board.note()

    def _on_text(self, attribute: str, message: String) -> None:
        setattr(self, attribute, reports.read(message.data))
        self._board.note()

    # What visitors are told, in the server's threads.

    def state(self) -> dict:
        """All but the frames, JSON-ready; rates in Hz, ages in s, answers in ms as seen here."""
        now = time.monotonic()
        return {
            "time": time.time(),
            "streams": {
                name: _rate(list(seen), now) for name, seen in dict(self._arrivals).items()
            },
            "joints": self._joints,
            "velocity_limits": dict(zip(JOINT_NAMES, JOINT_VELOCITY_LIMITS)),
            "command": self._command,
            "action": self._action,
            "answers_ms": [round(ms, 2) for ms in list(self._answers)],
            "policy": self._policy,
            "episode": {k: v for k, v in self._episode.items() if k != "results"},
            "recorder": self._recorder,
        }

    def run(self, stop: Stop) -> None:
        """Serves until `stop`. Raises ValueError when the port is taken."""
        parameters = self.parameters
        try:
            server = viewer_server.serve(
                self._board, self.state, parameters.host, parameters.port, parameters.rate
            )
        except OSError as error:
            raise ValueError(
                f"port: expected a free one, got {parameters.port}: {error}"
            ) from error
        with server:
            print(f"viewer: http://{parameters.host}:{server.server_port}", flush=True)
            while not stop.wait(0.2):
                pass
            self._board.close()
            server.shutdown()


def _rate(seen: list[float], now: float) -> dict[str, float]:
    """Arrivals (monotonic s) as {"rate_hz", "age_s"}."""
    recent = [moment for moment in seen if now - moment < RATE_WINDOW]
    spans = recent[-1] - recent[0] if len(recent) > 1 else 0.0
    rate = (len(recent) - 1) / spans if spans else 0.0
    return {"rate_hz": round(rate, 1), "age_s": round(now - seen[-1], 2)}
