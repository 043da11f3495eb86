"""`gato inspect` says what is in a recording and finds what would spoil a conversion."""

import json
import re
import sys

import foreign_bag
import numpy as np
import pytest
from bag_examples import ARM, demonstration, foreign_recording

from gato_core.tools.inspect import inspect, main
from gato_ros.bags import export

ARRAY, IMAGE = "std_msgs/msg/Float64MultiArray", "sensor_msgs/msg/Image"


def test_a_sound_recording_passes(tmp_path, monkeypatch, capsys):
    export.write(tmp_path / "bag", ARM, demonstration(ARM, 0, 30))
    for path in (tmp_path / "bag", tmp_path / "bag/bag.mcap"):
        monkeypatch.setattr(sys, "argv", ["gato inspect", str(path)])
        assert main() == 0
        found = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (found["kind"], found["problems"], found["warnings"]) == ("recording", [], [])
        assert (found["task"], found["source"], found["success"]) == ("task 0", "keyboard", "true")
        assert found["topics"]["wrist/color"] == {
            "type": "sensor_msgs/msg/Image", "messages": 30, "hz": 20.0, "longest_silence_s": 0.05,
        }  # fmt: skip
        assert any("arm/angle" in line for line in found["spec"])


def test_a_folder_is_as_sound_as_its_worst_recording(tmp_path):
    export.write(tmp_path / "all/one", ARM, demonstration(ARM, 0))
    foreign_recording(tmp_path / "all/two", num_seconds=0.5, bad_position=float("nan"))
    assert inspect(tmp_path / "all")["sound"]  # a joint that is never known is no problem
    writer = foreign_bag.Writer(tmp_path / "all/three", "", ARRAY, IMAGE)
    for i in range(20):
        writer.joints(0.05 * i, ("elbow",), [float("nan") if i == 5 else 0.0])
    writer.close()
    found = inspect(tmp_path / "all")
    assert not found["sound"] and found["number"] == 3
    (problem,) = found["problems"]
    assert "three: /joint_states: elbow: expected finite positions, got 1 NaN" in problem


def test_a_silent_camera_is_warned_about(tmp_path):
    found = inspect(foreign_recording(tmp_path / "bag", silence=(0.5, 1.2)))
    assert found["sound"]
    (warning,) = found["warnings"]
    assert re.search(r"image_raw: silent .* 1 times, at worst 0.73 s at 0.47 s", warning)


def test_a_damaged_recording_is_unsound(tmp_path):
    export.write(tmp_path / "bag", ARM, demonstration(ARM, 0, 60))
    file = tmp_path / "bag/bag.mcap"
    file.write_bytes(file.read_bytes()[:-3000])
    for path in (tmp_path / "bag", file):
        found = inspect(path)
        assert not found["sound"] and "damaged or unfinished" in found["problems"][0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda stamps: np.where(np.arange(20) == 7, 0, foreign_bag.START + stamps),
            "/joint_states: 1 of 20 messages bear no stamp",
        ),
        (
            lambda stamps: stamps[::-1],
            "expected a clock that goes forward, got 18 times back",
        ),
    ],
)
def test_wrong_clocks_are_unsound(tmp_path, change, words):
    stamps = change(np.arange(1, 21) * 50_000_000)
    writer = foreign_bag.Writer(tmp_path / "bag", "", ARRAY, IMAGE)
    for i, stamp in enumerate(stamps.tolist()):
        writer.stamped_joints(0.05 * i, stamp)
    writer.close()
    assert any(words in text for text in inspect(tmp_path / "bag")["problems"])
