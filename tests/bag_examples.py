"""Episodes and recordings of a small robot, for the tests of conversion."""

from pathlib import Path

import numpy as np
from core_examples import values

from gato_core.episode import Episode
from gato_core.spec import Continuous, Image, Spec
from gato_sim.arm.controller import Controller
from gato_sim.domains.rgb_stacking.tasks import PINCH_KEY, downward, robot_spec

REST = np.array([0.0, -0.52, -0.53, 1.22, 0.41, 1.08, 0.0])  # rad, the gripper over the basket
NAMES = ("elbow", "shoulder", "wrist")
LIMITS = ((-4.0,) * 3, (4.0,) * 3)
ARM = Spec(  # joint velocities: no kinematics needed
    {
        "arm/angle": Continuous(*LIMITS, "rad", NAMES),
        "arm/rate": Continuous(*LIMITS, "rad/s", NAMES),
        "wrist/pixels": Image(16, 32),
    },
    Continuous(*LIMITS, "rad/s", NAMES),
    0.05,
)


def demonstration(spec: Spec, seed: int, num_timesteps: int = 20) -> Episode:
    """Random values, but such as a robot can have: the pinch pose is that of the angles."""
    rng = np.random.default_rng(seed)
    observation = {k: values(m, rng, num_timesteps) for k, m in spec.observation.items()}
    if "gripper/joints/angle" in observation:
        observation["gripper/joints/angle"] = observation["gripper/joints/angle"].round()
    if PINCH_KEY in observation:
        controller = Controller()
        angles = REST + 0.1 * observation["sawyer/joints/angle"]
        observation["sawyer/joints/angle"] = angles.astype(np.float32)
        angles = observation["sawyer/joints/angle"].astype(np.float64)
        poses = [downward(controller.pinch_pose(one)) for one in angles]
        observation[PINCH_KEY] = np.array(poses, np.float32)
    success = seed % 2 == 0
    reward = np.zeros(num_timesteps, np.float32)
    reward[-1] = success
    action = values(spec.action, rng, num_timesteps)
    return Episode(observation, action, reward, f"task {seed}", "keyboard", seed, success)


def sawyer() -> Spec:
    return robot_spec(image_size=32)


def foreign_recording(
    folder: Path,
    *,
    num_seconds: float = 2.0,
    command: str = "std_msgs/msg/Float64MultiArray",
    camera_type: str = "sensor_msgs/msg/Image",
    camera_lag: float = 0.01,
    silence: tuple[float, float] = (9e9, 9e9),
    joints: tuple[str, ...] = NAMES[::-1],
    bad_position: float = 0.0,
    namespace: str = "/robot",
    **options,
) -> Path:
    """What `ros2 bag record` makes of a robot that knows nothing of us.

    Joints at 100 Hz, a camera of 48x96 pixels at 30 Hz whose frames are 10 ms old, commands at
    50 Hz, without stamps if of the default type; the camera is silent from silence[0] to [1] s.
    """
    from foreign_bag import Writer

    writer = Writer(folder, namespace, command, camera_type, **options)
    events = [("joint", i / 100) for i in range(round(100 * num_seconds))]
    events += [("camera", i / 30) for i in range(round(30 * num_seconds))]
    events += [("command", i / 50) for i in range(round(50 * num_seconds))]
    for kind, time in sorted(events, key=lambda event: event[1]):
        if kind == "joint":
            writer.joints(time, joints, [bad_position or time, *[0.1] * (len(joints) - 1)])
        elif kind == "command":
            writer.command(time, NAMES, [time, 0.0, -time])
        elif not silence[0] <= time < silence[1]:
            writer.picture(time, time - camera_lag)
    writer.close()
    return folder
