"""Recordings whose clock goes back, stands still or jumps, and those of several publishers."""

import json
import tracemalloc

import foreign_bag
import numpy as np
import pytest
from bag_examples import ARM, LIMITS, NAMES
from mcap.reader import make_reader
from mcap.writer import Writer as McapWriter

from gato_core.dataset import Dataset
from gato_core.spec import Continuous, Spec
from gato_core.tools.inspect import inspect
from gato_ros.bags.convert import ConvertConfig, convert

ARRAY, IMAGE = "std_msgs/msg/Float64MultiArray", "sensor_msgs/msg/Image"
JOINT_STATE = "sensor_msgs/msg/JointState"
YEAR = 365 * 86_400.0
ARM_AND_HAND = Spec(
    {
        "arm/angle": Continuous(*LIMITS, "rad", NAMES),
        "hand/opening": Continuous((-9.0,), (9.0,), "m", ("finger",)),
        "wrist/pixels": ARM.observation["wrist/pixels"],
    },
    ARM.action,
    ARM.control_timestep,
)


def writer_at(folder) -> foreign_bag.Writer:
    return foreign_bag.Writer(folder, "", ARRAY, IMAGE)


def write(folder, *, stamped=lambda time: time, seconds=4.0, start=foreign_bag.START, more=None):
    """Joints at 50 Hz, whose first tells the true time as the command does, and a camera at 25 Hz.

    stamped: what the robot's clock shows at a time. more: called with the writer after the joints
    of each time.
    """
    writer = writer_at(folder)
    writer.start = start
    for i in range(round(50 * seconds)):
        time = i / 50
        writer.joints(time, NAMES, [time, 0.0, 0.0], stamped(time))
        if more:
            more(writer, time, stamped(time))
        if i % 2 == 0:
            writer.picture(time, stamped(time))
        writer.command(time, NAMES, [time, 0.0, 0.0])
    writer.close()
    return folder


def converted(path, spec=ARM, **options) -> Dataset:
    file = path.parent / "spec.json"
    file.write_text(json.dumps(spec.to_dict()))
    options = {"topics": ("action=/commands",), "unknown_is_success": True} | options
    out = path.parent / "dataset"
    convert(ConvertConfig(path, out, spec=file, **options))
    return Dataset(out)


def check_never_mixed(dataset, border):
    """True times, which joints and commands tell, belong together and go on in small steps."""
    for i in range(dataset.num_episodes):
        episode = dataset.episode(i)
        times = episode.observation["arm/angle"][:, 0]
        np.testing.assert_allclose(episode.action[:, 0], times, atol=0.07)
        assert (np.diff(times) >= 0).all() and np.diff(times).max() < 0.11
        assert (times < border).all() or (times >= border).all()


@pytest.mark.parametrize(
    ("back", "successes"),
    [
        (2.0, [True, True]),  # as when a simulator begins anew
        (1.0, [False, True]),  # as when the clock is set, in the middle of what is done
        (0.3, [False, True]),
        (3.0, [False, True]),  # to before this recording began
    ],
)
def test_an_episode_ends_where_time_goes_back(tmp_path, capsys, back, successes):
    """Two runs were interleaved step by step."""
    path = write(tmp_path / "bag", stamped=lambda time: time if time < 2 else time - back)
    dataset = converted(path)
    assert dataset.successes.tolist() == successes
    assert dataset.lengths.min() >= 35
    check_never_mixed(dataset, 2.0)
    assert "time goes back 1 times" in capsys.readouterr().err
    found = inspect(path)
    assert found["sound"] and any("time goes back 1 times" in line for line in found["warnings"])


def test_an_episode_ends_where_the_recorders_clock_too_is_set_back(tmp_path):
    """One computer, whose clock is set back by 1 s: only the order in the file tells the runs."""
    path = write(tmp_path / "bag")
    (file,) = path.glob("*.mcap")
    with file.open("rb") as old, (tmp_path / "set_back.mcap").open("wb") as new:
        copy = McapWriter(new, chunk_size=2000)
        copy.start("ros2")
        channels = {}
        for schema, channel, message in make_reader(old).iter_messages():
            if channel.topic not in channels:
                kind = copy.register_schema(schema.name, schema.encoding, schema.data)
                channels[channel.topic] = copy.register_channel(channel.topic, "cdr", kind)
            elapsed = message.log_time - foreign_bag.START - foreign_bag.OFFSET
            data, log_time = bytearray(message.data), message.log_time
            if elapsed >= 2 * 10**9:
                log_time -= 10**9
                if schema.name != ARRAY:
                    seconds = int.from_bytes(data[4:8], "little") - 1
                    data[4:8] = seconds.to_bytes(4, "little")
            copy.add_message(channels[channel.topic], log_time, bytes(data), log_time)
        copy.finish()
    dataset = converted(tmp_path / "set_back.mcap")
    assert dataset.successes.tolist() == [False, True]
    assert dataset.lengths.min() >= 35
    check_never_mixed(dataset, 2.0)


def test_a_clock_may_begin_at_zero(tmp_path):
    """Simulated time: stamp 0 was taken for none."""
    path = write(tmp_path / "bag", start=0)
    dataset = converted(path)
    assert dataset.lengths.tolist() == [80]
    assert inspect(path)["problems"] == []


def test_a_clock_that_stands_at_zero_first_is_no_second_publisher(tmp_path):
    path = write(tmp_path / "bag", start=0, stamped=lambda time: max(0.0, time - 1))
    assert converted(path).lengths.tolist() == [60]
    words = "/joint_states: 50 of 200 messages bear the stamp of the one before"
    assert any(line.startswith(words) for line in inspect(path)["warnings"])


@pytest.mark.parametrize("stream", ["joints", "all", "all from then on"])
def test_a_stamp_a_year_ahead_costs_no_memory(tmp_path, stream):
    def stamped(time):
        is_wrong = time == 2.0 or (time > 2.0 and stream == "all from then on")
        return time + YEAR if is_wrong and stream != "joints" else time

    def more(writer, time, stamp):
        if stream == "joints" and time == 2.0:
            writer.joints(time, NAMES, [time, 0.0, 0.0], time + YEAR)

    path = write(tmp_path / "bag", stamped=stamped, more=more)
    tracemalloc.start()
    dataset = converted(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6
    check_never_mixed(dataset, 2.0 if stream == "all from then on" else 9.0)
    assert dataset.num_timesteps >= 70


def test_a_camera_on_another_clock_is_named(tmp_path, capsys):
    writer = writer_at(tmp_path / "bag")
    for i in range(100):
        writer.joints(i / 50, NAMES, [i / 50, 0.0, 0.0])
        writer.picture(i / 50, i / 50 + 1.0)
        writer.command(i / 50, NAMES, [0.0, 0.0, 0.0])
    writer.close()
    converted(tmp_path / "bag")
    assert "wrist: stamps are 1.00 s ahead of the joint states'" in capsys.readouterr().err
    assert any("1.00 s ahead" in line for line in inspect(tmp_path / "bag")["warnings"])


@pytest.mark.parametrize("later", [0.0, 0.0005, 0.01])
@pytest.mark.parametrize("every", [1, 5])
@pytest.mark.parametrize("names", [NAMES, NAMES[::-1]], ids=["same names", "another order"])
def test_two_publishers_of_the_same_joints_are_refused(tmp_path, later, every, names):
    """joint_state_publisher beside the driver says that all is 0: so the robot stood still."""

    def more(writer, time, stamp):
        if round(50 * time) % every == 0:
            writer.joints(time, names, [0.0, 0.0, 0.0], stamp + later)

    path = write(tmp_path / "bag", more=more)
    with pytest.raises(ValueError, match=r"joint_states: expected one publisher of .*got two"):
        converted(path)
    (problem,) = inspect(path)["problems"]
    assert "expected one publisher of ['elbow', 'shoulder', 'wrist'], got two" in problem


def test_joint_states_without_stamps_are_named(tmp_path):
    path = write(tmp_path / "bag", start=0, stamped=lambda time: 0.0)
    with pytest.raises(ValueError, match="joint_states: expected a stamp in each header, got 0"):
        converted(path)
    assert inspect(path)["problems"] == ["/joint_states: 200 of 200 messages bear no stamp"]


def test_a_picture_that_cannot_be_read_is_found_by_inspect_and_refused(tmp_path):
    def more(writer, time, stamp):
        if time == 2.0:
            message = writer.image(stamp + 0.05)
            message.encoding = "yuv422"
            writer.write_message("wrist/image_raw", time, message)

    path = write(tmp_path / "bag", more=more)
    with pytest.raises(ValueError, match=r"at 1700000002.050 s: wrist: image encoding: .*yuv422"):
        converted(path)
    (problem,) = inspect(path)["problems"]
    assert "/wrist/image_raw: 1 pictures cannot be read, the first: image encoding" in problem


def test_a_publisher_that_repeats_the_other_is_none(tmp_path):
    """A relay sends each message again, some with other joints beside them."""

    def more(writer, time, stamp):
        writer.joints(time, (*NAMES, "wheel"), [time, 0.0, 0.0, 3.0], stamp)

    path = write(tmp_path / "bag", more=more)
    dataset = converted(path)
    check_never_mixed(dataset, 9.0)
    assert dataset.lengths.tolist() == [80]


@pytest.mark.parametrize("topic", ["joint_states", "hand/joint_states"])
@pytest.mark.parametrize("every", [1, 5])
def test_joint_states_of_arm_and_hand_are_merged_by_name(tmp_path, topic, every):
    """The newest of each that is not newer than the timestep."""
    path, said = tmp_path / "bag", []
    writer = writer_at(path)
    if topic != "joint_states":
        writer.add_topic(topic, JOINT_STATE)
    for i in range(200):
        time = i / 50
        writer.joints(time, NAMES, [time, 0.0, 0.0])
        if i % every == 0:
            said.append(time + 0.007)
            writer.joints(time + 0.007, ("finger",), [time], topic=topic)
        writer.picture(time, time)
        writer.command(time, NAMES, [0.0, 0.0, 0.0])
    writer.close()
    dataset = converted(path, ARM_AND_HAND)
    assert dataset.lengths.tolist() == [80]
    episode = dataset.episode(0)
    arm, hand = episode.observation["arm/angle"][:, 0], episode.observation["hand/opening"][:, 0]
    times = 0.007 + 0.05 * np.arange(len(episode))
    np.testing.assert_allclose(arm, np.floor(times * 50 + 1e-6) / 50, atol=1e-6)
    newest = [max(one for one in said if one <= time + 1e-9) - 0.007 for time in times]
    np.testing.assert_allclose(hand, newest, atol=1e-6)
    assert inspect(path)["problems"] == []


def test_a_hand_that_falls_silent_cuts_the_episode(tmp_path):
    def more(writer, time, stamp):
        if not 1.0 <= time < 2.0:
            writer.joints(time, ("finger",), [time], stamp)

    dataset = converted(write(tmp_path / "bag", more=more), ARM_AND_HAND)
    assert dataset.successes.tolist() == [False, True]
    assert 40 < dataset.num_timesteps < 65


def test_a_joint_that_no_part_publishes_is_named(tmp_path):
    path = write(tmp_path / "bag", more=lambda w, time, stamp: w.joints(time, ("thumb",), [0.0]))
    with pytest.raises(ValueError, match=r"hand/opening: expected \['finger'\], got \['elbow', "):
        converted(path, ARM_AND_HAND)


def test_a_joint_of_two_topics_is_chosen_by_the_user(tmp_path):
    writer = writer_at(tmp_path / "bag")
    writer.add_topic("other/joint_states", JOINT_STATE)
    for i in range(100):
        for topic, value in (("joint_states", 1.0), ("other/joint_states", 2.0)):
            writer.joints(i / 50, NAMES, [value] * 3, topic=topic)
        writer.picture(i / 50, i / 50)
        writer.command(i / 50, NAMES, [0.0, 0.0, 0.0])
    writer.close()
    words = r"elbow: expected in one topic, got .*other/joint_states.* --topics joint_states=TOPIC"
    with pytest.raises(ValueError, match=words):
        converted(tmp_path / "bag")
    topics = ("action=/commands", "joint_states=/other/joint_states")
    dataset = converted(tmp_path / "bag", topics=topics)
    assert (dataset.episode(0).observation["arm/angle"] == 2).all()


def test_recordings_of_one_name_are_told_apart_by_what_they_hold(tmp_path):
    """The second of two folders with a bag of the same name added nothing, and nothing was said."""
    for folder, seconds in (("monday", 2.0), ("tuesday", 3.0)):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "bag", seconds=seconds)
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(ARM.to_dict()))
    for folder, added in (("monday", 1), ("tuesday", 1), ("monday", 0)):
        options = {"spec": file, "topics": ("action=/commands",), "unknown_is_success": True}
        config = ConvertConfig(tmp_path / folder / "bag", tmp_path / "dataset", **options)
        assert convert(config)["added"] == added
    (tmp_path / "monday/bag").rename(tmp_path / "monday/renamed")
    config = ConvertConfig(tmp_path / "monday/renamed", tmp_path / "dataset", **options)
    assert convert(config)["added"] == 0
