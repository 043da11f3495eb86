"""Parameters of the policy node."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from rclpy.node import Node
from rclpy.parameter import Parameter

from gato_core.spec import check_crop
from gato_ros.common import camera_parameters, ingest, paths
from gato_ros.common.ingest import Crop, Gripper
from gato_ros.common.parameters import declare, hold_after, refuse_unknown, warn_idle
from gato_ros.common.realtime import Realtime
from gato_ros.robot.commands import Forms
from gato_ros.robot.robot import ARM_NAME, Robot
from gato_ros.safety.freshness import Limits
from gato_ros.safety.limits import SafetyLimits
from gato_sim.arm import arm as arms
from gato_sim.arm.sawyer import JOINT_NAMES, WORKSPACE_HIGH, WORKSPACE_LOW

# without a default: None unless given
NUMBERS, INTEGERS = Parameter.Type.DOUBLE_ARRAY, Parameter.Type.INTEGER_ARRAY
NO_CROP = [0.0, 0.0, 0.0, 0.0]
CHECKPOINTS_OWN = -1.0  # temperature


@dataclass(frozen=True)
class ArmParameters:
    """Where the arm's kinematics and limits come from."""

    name: str
    description: str
    joints: tuple[str, ...]
    pinch_frame: str
    wrist_frame: str
    base_frame: str
    velocity_limits: tuple[float, ...]
    rest_angles: tuple[float, ...]
    workspace_low: tuple[float, ...]
    workspace_high: tuple[float, ...]

    def load(self) -> arms.Arm:
        """The Sawyer, or the arm of the description. Raises FileNotFoundError or ValueError."""
        if not self.description:
            return self._sawyer()
        return arms.from_file(
            paths.find(self.description),
            self.joints,
            self.pinch_frame,
            self.wrist_frame,
            velocity_limits=self.velocity_limits,
            rest_angles=self.rest_angles,
            workspace_low=self.workspace_low,
            workspace_high=self.workspace_high,
        )

    def _sawyer(self) -> arms.Arm:
        """The Sawyer within the limits that are given; of another arm it refuses the frames."""
        sawyer = arms.sawyer()
        given = {"arm.joints": self.joints, "arm.pinch_frame": self.pinch_frame,
                 "arm.wrist_frame": self.wrist_frame}  # fmt: skip
        usual = {"arm.joints": JOINT_NAMES, "arm.pinch_frame": "pinch", "arm.wrist_frame": ""}
        for name, value in given.items():
            if value != usual[name]:
                raise ValueError(
                    f"parameter {name}: expected {usual[name]!r}, the Sawyer's, as "
                    f"arm.description is empty, got {value!r}"
                )
        return dataclasses.replace(
            sawyer,
            velocity_limits=_each("velocity_limits", self.velocity_limits, sawyer.velocity_limits),
            rest_angles=_each("rest_angles", self.rest_angles, sawyer.rest_angles),
            workspace_low=np.array(self.workspace_low),
            workspace_high=np.array(self.workspace_high),
        )


def _each(name: str, given: tuple[float, ...], usual: np.ndarray) -> np.ndarray:
    """A number for each joint, the usual ones if none are given. Raises ValueError."""
    values = np.array(given or usual, np.float64)
    is_low = name == "velocity_limits" and (values <= 0).any()
    if values.shape != usual.shape or not np.isfinite(values).all() or is_low:
        raise ValueError(
            f"parameter arm.{name}: expected {len(usual)} numbers"
            f"{' above 0' if name == 'velocity_limits' else ''}, got {values.tolist()}"
        )
    return values


@dataclass(frozen=True)
class PolicyParameters:
    """What config/stack.yaml may set; `declare_all` describes each."""

    checkpoint: str
    embodiment: str
    instruction: str
    temperature: float
    seed: int
    num_threads: int
    cameras: tuple[str, ...]
    image_size: int
    view: str
    image_type: str
    control_rate: float
    trigger: str
    release_after: float
    command: str
    gripper_command: str
    gripper: Gripper
    arm: ArmParameters
    safety: SafetyLimits
    hold_after: float
    max_frozen: float
    min_contrast: float
    sole_commander: bool
    sole_sensors: bool
    settle: float
    limits: dict[str, Limits]
    crops: dict[str, Crop]
    status_rate: float
    realtime: Realtime

    def forms(self) -> Forms:
        """How the robot takes commands."""
        return Forms(
            self.command,
            self.gripper_command,
            self.arm.joints,
            self.gripper,
            1 / self.control_rate,
            self.arm.base_frame,
            self.settle,
        )

    def refuse_abrupt(self) -> None:
        """Raises ValueError unless motion begins and changes gently, as a real robot's must."""
        lacking = {
            "safety.soft_start": (self.safety.soft_start, "2.0 s"),
            "safety.max_jump": (self.safety.max_jump, "0.3 rad/s"),
        }
        lines = [
            f"{name}: expected more than 0 on a real robot (use_sim_time is false), got 0; "
            f"{usual} is a beginning"
            for name, (value, usual) in lacking.items()
            if not value
        ]
        if lines:
            raise ValueError("\n  ".join(lines))

    def robot(self) -> Robot:
        """What the robot declares to be. Raises FileNotFoundError or ValueError for its arm."""
        return Robot(
            self.arm.load(),
            self.gripper,
            self.cameras,
            self.image_size,
            self.view,
            1 / self.control_rate,
            self.arm.name,
            self.crops,
        )


def declare_all(node: Node) -> PolicyParameters:
    """Declares all parameters on a node and reads them.

    Raises ValueError for a wrong choice, and for a given parameter that does not exist.
    """
    param = partial(declare, node)
    cameras = camera_parameters.cameras(param, "the robot's cameras, one stream each")
    commands = _commands(param)
    parameters = PolicyParameters(
        **_policy(param),
        cameras=cameras,
        **camera_parameters.pictures(param),
        image_type=camera_parameters.image_type(param),
        **commands,
        gripper=_gripper(param),
        arm=_arm(param),
        safety=_safety(param),
        limits=_limits(param, (ingest.JOINT_STREAM, *cameras)),
        crops=_crops(param, cameras),
        **_hold(param, commands["control_rate"]),
        max_frozen=param(
            "safety.max_frozen",
            0.0,
            "s of commanded motion in which no stream may stay the same; 0 = any",
            low=0.0,
            high=60.0,
        ),
        min_contrast=param(
            "safety.min_contrast",
            0.0,
            "standard deviation of an image's pixels below which it shows nothing; 0 = any",
            low=0.0,
            high=127.0,
        ),
        sole_commander=param(
            "safety.sole_commander", True, "hold while another node has a publisher of commands"
        ),
        sole_sensors=param(
            "safety.sole_sensors", True, "hold while a stream has more than one publisher"
        ),
        status_rate=param("status_rate", 1.0, "diagnostics a second", low=1.0, high=50.0),
        realtime=_realtime(param),
    )
    refuse_unknown(node)
    warn_idle(node, dict(_idle(parameters)))
    return parameters


def _idle(parameters: PolicyParameters) -> Iterator[tuple[str, str]]:
    """Names of parameters that the others leave without effect, and why."""
    if parameters.temperature == 0:
        yield "seed", "at temperature 0 nothing is drawn"
    if parameters.command != "twist":
        yield "arm.base_frame", "only twists have a frame"
    if parameters.gripper_command != "position":
        yield "gripper.settle", "a gripper that takes velocities turns at once"
    if parameters.crops.keys() >= set(parameters.cameras):
        for name in ("image_size", "view"):
            yield name, "every camera has a crop, whose size is the checkpoint's"


def _policy(param: partial) -> dict:
    return {
        "checkpoint": param("checkpoint", "", "folder of the trained policy"),
        "embodiment": param("embodiment", "", "of the checkpoint; empty: the one that fits"),
        "instruction": param(
            "instruction", "", "what is to be done, in words, until topic `instruction` says else"
        ),
        "temperature": param(
            "temperature",
            CHECKPOINTS_OWN,
            "of sampling; 0 takes the likeliest action, -1 the checkpoint's own temperature",
            low=CHECKPOINTS_OWN,
            high=10.0,
        ),
        "seed": param("seed", 0, "of sampling", low=0, high=2**31 - 1),
        "num_threads": param("num_threads", 1, "of the network's kernels", low=1, high=256),
    }


def _commands(param: partial) -> dict:
    rate = param("control_rate", 20.0, "commands a second", low=0.1, high=1000.0)
    return {
        "control_rate": rate,
        "release_after": _release_after(param, rate),
        "trigger": param(
            "trigger",
            "state",
            "what starts a tick: a new set of messages, a new joint state, or clock deadlines",
            choices=("state", "joints", "clock"),
        ),
        "command": param(
            "command",
            "velocity",
            "of the arm: joint velocities, a joint trajectory, or a twist for MoveIt Servo",
            choices=("velocity", "trajectory", "twist"),
        ),
        "gripper_command": param(
            "gripper_command",
            "velocity",
            "of the gripper's joint",
            choices=("velocity", "position"),
        ),
    }


def _release_after(param: partial, rate: float) -> float:
    delay = param(
        "release_after",
        0.0,
        "s after a tick is due before which no command leaves, for even intervals; 0 = at once",
        low=0.0,
        high=10.0,
    )
    if delay >= 1 / rate:
        raise ValueError(
            f"parameter release_after: expected less than a control timestep, {1 / rate:g} s, "
            f"got {delay:g}"
        )
    return delay


def _hold(param: partial, rate: float) -> dict:
    settle = param(
        "gripper.settle",
        0.2,
        "s of asking until a gripper under position control turns round",
        low=0.0,
        high=10.0,
    )
    return {"hold_after": hold_after(param, rate), "settle": settle}


def _gripper(param: partial) -> Gripper:
    usual = Gripper()
    return Gripper(
        joint=param("gripper.joint", usual.joint, "its name in joint_states"),
        open=param("gripper.open", usual.open, "its position when open, rad or m"),
        closed=param("gripper.closed", usual.closed, "its position when closed, rad or m"),
    )


def _arm(param: partial) -> ArmParameters:
    return ArmParameters(
        name=param("arm.name", ARM_NAME, "what the checkpoint's keys of the arm begin with"),
        description=param("arm.description", "", "URDF or MJCF file; empty: the Sawyer"),
        joints=tuple(param("arm.joints", [*JOINT_NAMES], "in the order of the commands")),
        pinch_frame=param("arm.pinch_frame", "pinch", "link or site between the finger tips"),
        wrist_frame=param("arm.wrist_frame", "", "what moves as commanded; empty: the pinch"),
        base_frame=param("arm.base_frame", "base", "frame_id of twists"),
        velocity_limits=tuple(
            param("arm.velocity_limits", NUMBERS, "rad/s; by default the URDF's") or ()
        ),
        rest_angles=tuple(
            param("arm.rest_angles", NUMBERS, "rad; by default the middle of each range") or ()
        ),
        workspace_low=_corner(param, "arm.workspace_low", WORKSPACE_LOW),
        workspace_high=_corner(param, "arm.workspace_high", WORKSPACE_HIGH),
    )


def _corner(param: partial, name: str, default: tuple[float, ...]) -> tuple[float, ...]:
    corner = tuple(param(name, [*default], "m, of the box for the pinch point"))
    if len(corner) != 3:
        raise ValueError(f"parameter {name}: expected x, y, z in m, got {corner}")
    return corner


def _safety(param: partial) -> SafetyLimits:
    usual = SafetyLimits()
    return SafetyLimits(
        max_jump=param(
            "safety.max_jump",
            usual.max_jump,
            "rad/s a joint's velocity may change by from command to command; 0 = any",
            low=0.0,
            high=100.0,
        ),
        position_margin=param(
            "safety.position_margin",
            usual.position_margin,
            "rad to keep from joint limits",
            low=0.0,
            high=1.0,
        ),
        workspace_margin=param(
            "safety.workspace_margin",
            usual.workspace_margin,
            "m that the pinch point may leave the workspace by",
            low=0.0,
            high=1.0,
        ),
        soft_start=param(
            "safety.soft_start", usual.soft_start, "s until full speed", low=0.0, high=60.0
        ),
    )


def _realtime(param: partial) -> Realtime:
    return Realtime(
        priority=param(
            "realtime.priority", 0, "of SCHED_FIFO while active; 0 = normal", low=0, high=98
        ),
        lock_memory=param("realtime.lock_memory", False, "keep it from being swapped out"),
        cpus=tuple(param("realtime.cpus", INTEGERS, "to run on while active; else any") or ()),
    )


def _limits(param: partial, streams: tuple[str, ...]) -> dict[str, Limits]:
    """Limits of age by stream: the common ones, or the stream's own."""
    arrival = param("max_age", 0.15, "s since a stream's last message", low=0.01, high=60.0)
    stamp = param("max_stamp_age", 0.15, "s since its stamp; 0 = any", low=0.0, high=60.0)
    wall = param("max_silence", 2.0, "max_age by the wall clock", low=0.01, high=60.0)
    number = Parameter.Type.DOUBLE
    limits = {}
    for stream in streams:
        own_age = param(f"{stream}.max_age", number, f"of {stream}", low=0.01, high=60.0)
        own_stamp = param(f"{stream}.max_stamp_age", number, f"of {stream}", low=0.0, high=60.0)
        limits[stream] = Limits(
            arrival if own_age is None else own_age, stamp if own_stamp is None else own_stamp, wall
        )
    return limits


def _crops(param: partial, cameras: tuple[str, ...]) -> dict[str, Crop]:
    crops = {}
    for camera in cameras:
        description = "left, top, width, height of what to look at, as fractions; zeros: all of it"
        crop = tuple(param(f"{camera}.crop", NO_CROP, description))
        if any(crop):
            check_crop(crop)
            crops[camera] = crop
    return crops
