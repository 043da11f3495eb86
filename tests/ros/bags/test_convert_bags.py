"""Recordings to datasets and back: what the robot said is what a policy learns from."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from bag_examples import ARM, NAMES, demonstration, foreign_recording, sawyer
from foreign_bag import TYPES, picture

from gato_core.dataset import Dataset, DatasetWriter
from gato_core.importers.bags import Bag
from gato_core.importers.pictures import image_to_array
from gato_core.spec import Continuous, Image, Spec
from gato_ros.bags import export
from gato_ros.bags import reader as bag_reader
from gato_ros.bags import topics as bag_topics
from gato_ros.bags.convert import ConvertConfig, convert
from gato_sim.domains.rgb_stacking import seen
from gato_training.run_log import origin

ACTION = ("action=/robot/commands",)


@pytest.fixture
def arm_spec(tmp_path):
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(ARM.to_dict()))
    return path


def from_bag(path, **options) -> Dataset:
    out = path.parent / "dataset"
    convert(ConvertConfig(path, out, **options))
    return Dataset(out)


@pytest.mark.parametrize("spec", [sawyer(), ARM], ids=["sawyer", "arm"])
def test_dataset_to_recordings_and_back_is_bit_for_bit(tmp_path, spec):
    with DatasetWriter(tmp_path / "one", spec) as writer:
        for seed in range(3):
            writer.add(demonstration(spec, seed, 12 + seed))
    convert(ConvertConfig(tmp_path / "one", tmp_path / "bags", to="bag"))
    summary = convert(ConvertConfig(tmp_path / "bags", tmp_path / "two"))
    assert summary["added"] == 3
    again = Dataset(tmp_path / "two")
    assert again.spec == spec
    for seed in range(3):
        expected, got = demonstration(spec, seed, 12 + seed), again.episode(seed)
        for key, value in expected.observation.items():
            assert got.observation[key].dtype == value.dtype
            np.testing.assert_array_equal(got.observation[key], value, err_msg=key)
        np.testing.assert_array_equal(got.action, expected.action)
        np.testing.assert_array_equal(got.reward, expected.reward)
        assert (got.task, got.source) == (expected.task, expected.source)
        assert got.success == expected.success


def test_recordings_say_their_objects_or_count_as_unknown(tmp_path):
    """Datasets of recordings once passed for data without test objects."""
    shown = {"triplets": "mastery", "objects": "r3,s0,b2"}
    for seed, info in enumerate((shown, {})):
        demo = dataclasses.replace(demonstration(sawyer(), seed), info=info)
        export.write(tmp_path / f"bags/{seed}", sawyer(), demo)
    convert(ConvertConfig(tmp_path / "bags", tmp_path / "data"))
    dataset = Dataset(tmp_path / "data")
    infos = [dataset.episode(i).info for i in range(2)]
    assert [{k: info[k] for k in shown if k in info} for info in infos] == [shown, {}]
    (part,) = origin.data([dataset])
    assert part["triplets"] == ["mastery"] and part["episodes_of_unknown_triplets"] == 1
    with pytest.raises(ValueError, match="trained on the test triplets"):
        seen.check_unseen({"data": [part]}, tmp_path)
    with pytest.raises(ValueError, match="data that says which objects it showed"):
        seen.check_unseen({"data": [part | {"triplets": []}]}, tmp_path)


def test_converting_again_adds_only_what_is_new(tmp_path):
    for seed in range(2):
        export.write(tmp_path / f"bags/{seed}", ARM, demonstration(ARM, seed))
    config = ConvertConfig(tmp_path / "bags", tmp_path / "dataset")
    assert convert(config)["added"] == 2
    export.write(tmp_path / "bags/2", ARM, demonstration(ARM, 2))
    assert convert(config)["added"] == 1
    assert convert(config) | {"recordings": []} == {
        "out": str(tmp_path / "dataset"), "added": 0, "already_there": 3, "episodes": 3,
        "recordings": [],
    }  # fmt: skip


@pytest.mark.parametrize("camera", ["Image", "CompressedImage"])
@pytest.mark.parametrize(
    "command", ["std_msgs/msg/Float64MultiArray", "trajectory_msgs/msg/JointTrajectory"]
)
def test_a_foreign_robot_is_aligned_by_its_own_clock(tmp_path, arm_spec, camera, command):
    """Joints at 100 Hz, a lagging camera at 30 Hz, commands at 50 Hz: timesteps at 20 Hz."""
    path = foreign_recording(
        tmp_path / "bag", command=command, camera_type=f"sensor_msgs/msg/{camera}"
    )
    dataset = from_bag(path, spec=arm_spec, topics=ACTION, task="reach", unknown_is_success=True)
    episode = dataset.episode(0)
    time = 0.05 * np.arange(len(episode))
    assert len(episode) == 40
    elbow, shoulder, wrist = (NAMES.index(name) for name in ("elbow", "shoulder", "wrist"))
    np.testing.assert_allclose(episode.observation["arm/angle"][:, wrist], time, atol=1e-6)
    np.testing.assert_allclose(episode.observation["arm/rate"][:, shoulder], 0.05, atol=1e-6)
    # the last command before the next timestep
    np.testing.assert_allclose(episode.action[:, elbow], np.floor((time + 0.049) * 50) / 50)
    frames = np.arange(60) / 30 - 0.01
    for t, image in zip(time, episode.observation["wrist/pixels"]):
        newest = frames[frames <= t + 1e-6].max()
        np.testing.assert_array_equal(image, picture(newest)[:16, :32])
    assert (episode.task, episode.success) == ("reach", True)


def test_skew_is_reported_for_each_stream(tmp_path):
    path = foreign_recording(tmp_path / "bag", camera_lag=0.03)
    with Bag(path) as bag:
        report = bag_reader.plan(bag, ARM, {"action": "/robot/commands"}).report
    frames, times = np.arange(60) / 30 - 0.03, 0.05 * np.arange(report["timesteps"])
    ages = [time - frames[frames <= time + 1e-6].max() for time in times]
    wrist = report["skew"]["wrist"]
    assert wrist["median_ms"] == pytest.approx(1e3 * np.median(ages), abs=0.01)
    assert wrist["p95_ms"] == pytest.approx(1e3 * np.percentile(ages, 95), abs=0.01)
    assert wrist["max_ms"] == pytest.approx(1e3 * max(ages), abs=0.01)
    assert report["skew"]["joint_states"]["max_ms"] == 0


def test_bag_and_live_give_the_same_arrays(tmp_path):
    """The bytes of a recording, read by rclpy as a node gets them, and by the converter."""
    from rclpy.serialization import deserialize_message
    from rosbags.highlevel import AnyReader
    from sensor_msgs.msg import CompressedImage, JointState
    from sensor_msgs.msg import Image as ImageMessage

    from gato_ros.common import ingest
    from gato_sim.arm.controller import Controller

    live_types = {"CompressedImage": CompressedImage, "JointState": JointState}
    live_types["Image"] = ImageMessage
    export.write(tmp_path / "ours", sawyer(), demonstration(sawyer(), 0))
    for kind in ("Image", "CompressedImage"):
        foreign_recording(tmp_path / kind, camera_type=f"sensor_msgs/msg/{kind}", num_seconds=0.6)
    for name, spec in (("ours", sawyer()), ("Image", ARM), ("CompressedImage", ARM)):
        with AnyReader([tmp_path / name]) as reader:
            raw = {}
            for connection, _, data in reader.messages():
                kind = connection.msgtype.split("/")[-1]
                if kind in live_types:
                    message = deserialize_message(data, live_types[kind])
                    raw.setdefault(connection.topic, []).append(message)
        with Bag(tmp_path / name) as bag:
            plan = bag_reader.plan(
                bag, spec, {} if name == "ours" else {"action": "/robot/commands"}
            )
            steps = list(bag_reader.timesteps(plan))
        assert len(steps) == len(plan.used) >= 10
        for index, (offline, _) in zip(plan.used, steps):
            streams = [ingest.JOINT_STREAM, *ingest.camera_names(spec)]
            messages = {s: raw[plan.sources.topics[s]][plan.picks[s][index]] for s in streams}
            live, _ = ingest.observation(
                messages, spec, Controller(), plan.sources.gripper, plan.sources.crops
            )
            assert live.keys() == offline.keys()
            for key, value in live.items():
                assert value.dtype == offline[key].dtype
                np.testing.assert_array_equal(value, offline[key], err_msg=key)


def test_conversion_needs_no_ros():
    """A laptop that prepares data has no ROS, and its rosbag2 files come from elsewhere."""
    ros = "rclpy sensor_msgs std_msgs geometry_msgs builtin_interfaces trajectory_msgs"
    code = f"import sys; sys.modules |= dict.fromkeys({ros.split()}); import gato_ros.bags.convert"
    code += "; import gato_ros.bags.export"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_silent_camera_cuts_the_episode(tmp_path, arm_spec, capsys):
    path = foreign_recording(tmp_path / "bag", num_seconds=3.0, silence=(1.0, 1.6))
    dataset = from_bag(path, spec=arm_spec, topics=ACTION, unknown_is_success=True)
    assert dataset.lengths.tolist() == [23, 28]
    assert dataset.successes.tolist() == [False, True]  # the first one was cut short
    assert "warning: bag: 1 episodes are cut short by silent streams" in capsys.readouterr().err


def test_an_unknown_outcome_is_a_failure_unless_said_otherwise(tmp_path, arm_spec, capsys):
    path = foreign_recording(tmp_path / "bag")
    assert not from_bag(path, spec=arm_spec, topics=ACTION).successes.any()
    assert "does not say whether it succeeded" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("recording", "change", "words"),
    [
        ({}, {"topics": ()}, "action: expected a topic of .*Float64MultiArray"),
        ({}, {"topics": ("action=/robot/wrist/image_raw",)}, "got sensor_msgs/msg/Image"),
        ({}, {"topics": (*ACTION, "wrist=/nowhere")}, "wrist: expected topic /nowhere, got"),
        ({}, {"topics": (*ACTION, "other=/x")}, r"topics: expected roles of .*got \['other'\]"),
        ({}, {"topics": ("action",)}, "expected ROLE=TOPIC, got 'action'"),
        ({"joints": ("elbow", "wrist")}, {}, r"arm/angle: expected \['elbow', 'shoulder"),
        ({"bad_position": float("nan")}, {}, r"at 1700000000.000 s: .*NaN .*\['wrist'\]"),
        ({"bad_position": 90.0}, {}, r"arm/angle/wrist: expected -4 to 4 rad, got 90 to 90"),
        ({"silence": (0.1, 9.0)}, {}, "expected episodes, got none"),
    ],
)  # fmt: skip
def test_a_recording_unlike_the_spec_is_refused(tmp_path, arm_spec, recording, change, words):
    path = foreign_recording(tmp_path / "bag", **recording)
    with pytest.raises(ValueError, match=words):
        from_bag(path, **({"spec": arm_spec, "topics": ACTION} | change))


@pytest.mark.parametrize(
    ("unit", "fields", "expected"),
    [
        ("rad/s", {"position": [5.0, 5.0], "velocity": [0.1, -0.1]}, [0.1, -0.1]),
        ("rad/s", {"position": [5.0, 5.0], "velocity": [0.0, 0.0]}, [0.0, 0.0]),
        ("rad/s", {"velocity": [0.1, -0.1]}, [0.1, -0.1]),
        ("rad/s", {"position": [0.1, -0.1]}, [0.1, -0.1]),  # as our recorder has it
        ("rad/s", {"position": [0.1, -0.1], "velocity": [np.nan, np.nan]}, [0.1, -0.1]),
        ("rad", {"position": [5.0, 4.0], "velocity": [0.1, -0.1]}, [5.0, 4.0]),
        ("N m", {"position": [5.0, 4.0], "effort": [2.0, 3.0]}, [2.0, 3.0]),
        ("1", {"position": [0.5, 0.4], "velocity": [0.1, -0.1]}, [0.5, 0.4]),
        ("rad", {"velocity": [0.1, -0.1]}, "position for each of 2 names, got 0"),
        ("rad/s", {"position": [5.0, 4.0], "velocity": [0.1, np.nan]}, r"NaN .* in \['b'\]"),
    ],
)
def test_the_unit_says_which_field_is_the_command(unit, fields, expected):
    """A command with both fields gave the position, also for a Spec in rad/s."""
    message = TYPES.types["sensor_msgs/msg/JointState"](
        header=None,
        name=["a", "b"],
        **{name: np.array(fields.get(name, [])) for name in ("position", "velocity", "effort")},
    )
    action = Continuous((-9.0, -9.0), (9.0, 9.0), unit, ("a", "b"))
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            bag_topics.action_values(message, action)
    else:
        np.testing.assert_allclose(bag_topics.action_values(message, action), expected)


def test_all_differences_are_listed_at_once(tmp_path):
    export.write(tmp_path / "bag", ARM, demonstration(ARM, 0))
    limits = ((-1.0,) * 2, (1.0,) * 2)
    other = Spec(
        {"arm/angle": Continuous(*limits, "rad", ("elbow", "hip")), "wrist/pixels": Image(16, 32)},
        Continuous(*limits, "rad", ("elbow", "hip")),
        0.1,
    )
    with Bag(tmp_path / "bag") as bag, pytest.raises(ValueError) as refused:
        bag_topics.find(bag, other, {})
    text = str(refused.value)
    for words in ("arm/angle: expected", "action.unit: expected", "control_timestep: expected 0.1"):
        assert words in text, text


def test_another_size_of_camera_is_refused_where_it_would_be_stretched(tmp_path, arm_spec):
    square = dataclasses.replace(ARM, observation=ARM.observation | {"wrist/pixels": Image(32, 32)})
    arm_spec.write_text(json.dumps(square.to_dict()))
    path = foreign_recording(tmp_path / "bag")
    with pytest.raises(ValueError, match="wrist: crop .* of 96x48 pixels: expected at least 32x32"):
        from_bag(path, spec=arm_spec, topics=ACTION)


def test_a_truncated_recording_is_named(tmp_path):
    export.write(tmp_path / "bag", ARM, demonstration(ARM, 0, 200))
    file = tmp_path / "bag/bag.mcap"
    file.write_bytes(file.read_bytes()[:-4000])
    with pytest.raises(ValueError, match="bag: damaged or unfinished"):
        convert(ConvertConfig(tmp_path / "bag", tmp_path / "dataset"))


def test_every_camera_frame_is_decoded_once_and_dropped(tmp_path):
    """Memory holds the messages of one timestep, not of the recording."""
    export.write(tmp_path / "bag", ARM, demonstration(ARM, 0, 50))
    with Bag(tmp_path / "bag") as bag:
        plan = bag_reader.plan(bag, ARM, {})
        seen = [number for topic, number, _ in bag.messages({"wrist/color": plan.picks["wrist"]})]
        assert seen == list(range(50))
        firsts = [image_to_array(m) for _, _, m in bag.messages({"wrist/color": [3]})]
    np.testing.assert_array_equal(
        firsts[0], demonstration(ARM, 0, 50).observation["wrist/pixels"][3]
    )
