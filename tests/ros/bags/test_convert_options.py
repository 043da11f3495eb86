"""What `gato convert` adds, leaves and says, and that none of its options is dropped."""

import json

import pytest
from bag_examples import ARM, demonstration, foreign_recording
from odd_lerobot import SPEC as LEROBOT_SPEC
from odd_lerobot import odd_lerobot
from option_effects import Case, check_every_option

from gato_core.dataset import Dataset, DatasetWriter
from gato_core.spec import Spec
from gato_ros.bags.convert import ConvertConfig, convert


def spec_file(folder, spec: Spec):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spec.json").write_text(json.dumps(spec.to_dict()))
    return folder / "spec.json"


def test_sources_of_one_name_are_known_by_their_content(tmp_path, capsys):
    """The second `low_dim.hdf5` or `lerobot` folder added nothing, with exit status 0."""
    spec = spec_file(tmp_path, LEROBOT_SPEC)
    one = odd_lerobot(tmp_path / "a/data")
    two = odd_lerobot(tmp_path / "b/data", lengths=(9, 8))
    out = tmp_path / "out"
    assert convert(ConvertConfig(one, out, spec=spec))["added"] == 2
    assert convert(ConvertConfig(two, out, spec=spec))["added"] == 2
    capsys.readouterr()
    copy = odd_lerobot(tmp_path / "c/renamed")
    summary = convert(ConvertConfig(copy, out, spec=spec))
    assert (summary["added"], summary["already_there"], summary["episodes"]) == (0, 2, 4)
    assert "2 episodes are in" in capsys.readouterr().err


def test_equal_episodes_of_one_source_are_all_added_once(tmp_path):
    spec = spec_file(tmp_path, LEROBOT_SPEC)
    import numpy as np
    import pyarrow as pa

    state = pa.array([[1.0, 2.0]] * 20, pa.list_(pa.float32()))
    columns = {"observation.state": state, "action": state}
    source = odd_lerobot(tmp_path / "d", lengths=(10, 10), columns=columns)
    config = ConvertConfig(source, tmp_path / "out", spec=spec)
    assert [convert(config)["added"] for _ in range(2)] == [2, 0]
    assert np.array_equal(Dataset(tmp_path / "out").lengths, [10, 10])


def test_datasets_of_earlier_conversions_are_known_by_content_too(tmp_path):
    """They hold no digest: theirs is made of what they hold."""
    spec = spec_file(tmp_path, LEROBOT_SPEC)
    source = odd_lerobot(tmp_path / "d")
    convert(ConvertConfig(source, tmp_path / "one", spec=spec))
    held = Dataset(tmp_path / "one")
    with DatasetWriter(tmp_path / "two", LEROBOT_SPEC, robot_type="robot") as writer:
        for i in range(2):
            episode = held.episode(i)
            episode.info = {"dataset": "d", "episode": i}
            writer.add(episode)
    assert convert(ConvertConfig(source, tmp_path / "two", spec=spec))["added"] == 0


def test_what_is_said_later_of_an_episode_is_told(tmp_path, capsys):
    """Converted once as failures, recordings stayed that without a word, whatever was said then."""
    foreign_recording(tmp_path / "bag")
    options = {"spec": spec_file(tmp_path, ARM), "topics": ("action=/robot/commands",)}
    config = ConvertConfig(tmp_path / "bag", tmp_path / "out", **options)
    convert(config)
    capsys.readouterr()
    later = {"task": "reach", "unknown_is_success": True}
    convert(ConvertConfig(tmp_path / "bag", tmp_path / "out", **options, **later))
    said = capsys.readouterr().err
    assert "1 of them are there with another success, which stays; `gato dataset relabel" in said
    assert "another task" in said


def test_every_option_has_an_effect_or_is_refused(tmp_path):
    spec, other = spec_file(tmp_path / "s", LEROBOT_SPEC), ARM.to_dict()
    arm = spec_file(tmp_path / "arm", ARM)
    odd = odd_lerobot(tmp_path / "lerobot", rows=[{"tasks": [""]}] * 2)
    foreign_recording(tmp_path / "bag")
    with DatasetWriter(tmp_path / "ours", ARM) as writer:
        writer.add(demonstration(ARM, 0))
    wider = spec_file(tmp_path / "wider", Spec.from_dict(other | {"control_timestep": 0.1}))
    bag = {"source": tmp_path / "bag", "spec": arm, "topics": ("action=/robot/commands",)}
    theirs = {"source": odd, "spec": spec}
    draft, back = {"source": odd, "to": "spec"}, {"source": tmp_path / "ours", "to": "bag"}

    def outcome(options, folder):
        summary = convert(ConvertConfig(out=folder / "out", **options))
        if options.get("to") == "spec":
            return (folder / "out").read_text()
        if options.get("to") == "bag":
            return sorted(path.name for path in (folder / "out").iterdir())
        dataset = Dataset(folder / "out")
        told = [(row["gato/task"], row["gato/success"]) for row in dataset.rows]
        return told, dataset.lengths.tolist(), dataset.info["robot_type"], summary["episodes"]

    check_every_option(
        ConvertConfig,
        outcome,
        tmp_path / "work",
        positional={"source", "out"},
        cases=[
            Case("to", "spec", {"source": odd, "spec": spec}, refused="spec: expected nothing"),
            Case("to", "bag", theirs, refused="--to bag, got a LeRobot folder"),
            Case("to", "bag", {"source": tmp_path / "ours"}, base_refused="--to dataset, got a da"),
            Case("spec", wider, bag),
            Case("spec", tmp_path / "missing.json", theirs, refused="expected a JSON file"),
            Case("spec", spec, draft, refused="spec: expected nothing"),
            Case("spec", spec, back, refused="spec: expected nothing"),
            Case("topics", ("action=/nowhere",), bag, refused="expected topic /nowhere"),
            Case("topics", ("action=/a",), theirs, refused="topics: expected nothing"),
            Case("topics", ("action=/a",), draft, refused="topics: expected nothing"),
            Case("task", "reach", bag),
            Case("task", "reach", theirs),
            Case("task", "reach", draft, refused="task: expected nothing"),
            Case("task", "reach", back, refused="task: expected nothing"),
            Case("unknown_is_success", True, bag),
            Case("unknown_is_success", True, draft, refused="unknown_is_success: expected nothing"),
            Case("robot_type", "arm", bag),
            Case("robot_type", "arm", theirs),
            Case("robot_type", "arm", back, refused="robot_type: expected nothing"),
            Case("image_size", 32, draft),
            Case("image_size", 31, draft, refused="image_size: expected a multiple of 16, got 31"),
            Case("image_size", 0, draft, refused="image_size: expected a multiple of 16, got 0"),
            Case("image_size", 32, theirs, refused="image_size: expected nothing"),
        ],
    )


def test_another_robot_type_than_the_datasets_is_refused(tmp_path):
    spec, source = spec_file(tmp_path, LEROBOT_SPEC), odd_lerobot(tmp_path / "d")
    convert(ConvertConfig(source, tmp_path / "out", spec=spec, robot_type="left_arm"))
    assert convert(ConvertConfig(source, tmp_path / "out", spec=spec))["episodes"] == 2
    with pytest.raises(ValueError, match="robot_type: expected 'left_arm' as .*, got 'right_arm'"):
        convert(ConvertConfig(source, tmp_path / "out", spec=spec, robot_type="right_arm"))


def test_a_draft_replaces_no_file_and_recordings_that_stay_are_told(tmp_path, capsys):
    source = odd_lerobot(tmp_path / "d")
    (tmp_path / "spec.json").write_text("units filled in")
    with pytest.raises(ValueError, match="spec.json: expected a new file"):
        convert(ConvertConfig(source, tmp_path / "spec.json", to="spec"))
    with DatasetWriter(tmp_path / "ours", ARM) as writer:
        writer.add(demonstration(ARM, 0))
    config = ConvertConfig(tmp_path / "ours", tmp_path / "bags", to="bag")
    assert [convert(config)["written"] for _ in range(2)] == [1, 0]
    assert "1 recordings were there already and stay" in capsys.readouterr().err
