"""HDF5 files of robomimic's form that others wrote: read right, or refused in one line."""

import json

import h5py
import numpy as np
import pytest

from gato_core.dataset import Dataset
from gato_core.importers.robomimic import DemonstrationFile, draft_spec
from gato_core.spec import Continuous, Spec
from gato_core.tools.inspect import inspect
from gato_ros.bags.convert import ConvertConfig, convert

POSITION = Continuous((-9.0,) * 3, (9.0,) * 3, "m", ("x", "y", "z"))
SPEC = Spec({"eef_pos": POSITION}, Continuous((-9.0,) * 2, (9.0,) * 2, "1", ("a", "b")), 0.05)


def demos(path, *, env_args=None, success=(None,) * 3, rewards=None, change=None, length=10):
    """Demonstrations of numbers that tell their own place."""
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        if env_args is not None:
            data.attrs["env_args"] = (
                env_args if type(env_args) is not dict else json.dumps(env_args)
            )
        for i, flag in enumerate(success):
            demo = data.create_group(f"demo_{i}")
            if flag is not None:
                demo.attrs["success"] = flag
            demo["obs/eef_pos"] = np.full((length, 3), i / 10) + np.arange(length)[:, None] / 99
            demo["actions"] = np.full((length, 2), i / 10)
            if rewards is not None:
                demo["rewards"] = np.full(length, rewards[i], float)
        if change is not None:
            change(data)
    return path


def converted(path, **options) -> Dataset:
    spec = path.parent / "spec.json"
    spec.write_text(json.dumps(SPEC.to_dict()))
    out = path.parent / f"{path.stem}-out"
    convert(ConvertConfig(path, out, spec=spec, **options))
    return Dataset(out)


@pytest.mark.parametrize(
    "flags",
    [
        (True, False, True),
        (np.True_, np.False_, np.True_),
        (1, 0, 1),
        ("true", "False", b"True"),
        (1.0, 0.0, 1.0),
        (np.array([True]), np.array([False]), np.array([1])),
    ],
)
def test_success_is_the_attribute_of_each_demonstration(tmp_path, flags):
    """It was left unread: the failures of a file without rewards were taught as successes."""
    dataset = converted(demos(tmp_path / "d.hdf5", success=flags, rewards=(0.5, 0.5, 0.0)))
    assert dataset.successes.tolist() == [True, False, True]


def test_success_may_be_an_array_and_its_absence_is_told(tmp_path, capsys):
    def change(data):
        data["demo_0/success"] = np.arange(10) == 9
        data["demo_1/success"] = np.zeros(10, bool)

    path = demos(tmp_path / "d.hdf5", change=change)
    assert converted(path).successes.tolist() == [True, False, False]
    assert "success: 1 of 3 episodes say nothing: counted as failures" in capsys.readouterr().err


def test_a_demonstration_without_rewards_among_sparse_ones_is_unknown(tmp_path, capsys):
    path = demos(tmp_path / "d.hdf5", rewards=(1, 0, 1), change=lambda d: d.pop("demo_2/rewards"))
    assert converted(path, unknown_is_success=True).successes.tolist() == [True, False, True]
    assert "1 of 3 episodes say nothing: counted as successes" in capsys.readouterr().err


def test_failures_by_their_attribute_are_failures_all_of_them(tmp_path):
    path = demos(tmp_path / "d.hdf5", success=(False,) * 3)
    assert not converted(path, unknown_is_success=True).successes.any()


@pytest.mark.parametrize(
    ("rewards", "expected", "words"),
    [
        (None, [True] * 3, "success: nobody says: demonstrations"),
        ((1, 0, 1), [True, False, True], ""),
        ((0, 0, 0), [False] * 3, "got rewards from 0 to 0: counted as failures"),
        ((0.2, 0.9, 0.4), [False] * 3, "got rewards from 0.2 to 0.9: counted as failures"),
        ((-1, -1, 0), [False] * 3, "got rewards from -1 to 0: counted as failures"),
        (
            (1, 0, np.nan),
            None,
            "rewards: expected 10 finite values, as many as actions, got 10, 10 not",
        ),
    ],
)
def test_only_sparse_rewards_tell_success(tmp_path, capsys, rewards, expected, words):
    path = demos(tmp_path / "d.hdf5", rewards=rewards)
    if expected is None:
        with pytest.raises(ValueError, match=words):
            converted(path)
        return
    assert converted(path).successes.tolist() == expected
    said = capsys.readouterr().err
    assert words in said and ("success" in said) == bool(words)
    if "failures" in words:
        again = demos(tmp_path / "again.hdf5", rewards=rewards)
        assert converted(again, unknown_is_success=True).successes.all()


@pytest.mark.parametrize(
    ("env_args", "rate"),
    [
        (None, None), ("", None), ("null", None), ("{}", None), (b"{}", None),
        ({"env_kwargs": None}, None), ({"env_kwargs": {"control_freq": None}}, None),
        ({"env_name": None, "env_kwargs": {"control_freq": 20}}, 20),
        ({"sim_args": {"dt": 0.01, "decimation": 5}}, 20),
    ],
)  # fmt: skip
def test_a_file_that_tells_no_rate_takes_the_specs(tmp_path, env_args, rate):
    path = demos(tmp_path / "d.hdf5", env_args=env_args)
    assert converted(path).num_episodes == 3
    assert DemonstrationFile(path).rate == rate
    assert inspect(path)["sound"] and inspect(path)["episodes"] == 3


def nested(data):
    data.move("demo_1", "lift/demo_1")


def strings(data):
    del data["demo_1/actions"]
    data["demo_1/actions"] = [b"left"] * 10


def broken_link(data):
    del data["demo_1/actions"]
    data["demo_1/actions"] = h5py.SoftLink("/nowhere")


def shorter(data):
    del data["demo_1/obs/eef_pos"]
    data["demo_1/obs/eef_pos"] = np.zeros((9, 3))


def one_number(data):
    del data["demo_1/actions"]
    data["demo_1/actions"] = 3.0


def group(data):
    del data["demo_1/actions"]
    data.create_group("demo_1/actions/left")


def not_there(data):
    del data["demo_1/obs/eef_pos"]


def all_empty(data):
    for i in range(3):
        del data[f"demo_{i}/actions"]
        data[f"demo_{i}/actions"] = np.zeros((0, 2))


def no_group(data):
    del data["demo_1"]
    data["demo_1"] = np.zeros(3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"env_args": "{'env_name': 'Lift'}"}, "env_args: expected JSON, got"),
        ({"env_args": "[1]"}, "env_args: expected an object"),
        ({"env_args": np.arange(3)}, "env_args: expected JSON"),
        ({"env_args": {"env_kwargs": [20]}}, "env_args: expected objects env_kwargs"),
        ({"env_args": {"env_kwargs": {"control_freq": "fast"}}}, "control_freq: expected a number"),
        ({"env_args": {"env_kwargs": {"control_freq": -20}}}, "control_freq: expected a number"),
        ({"env_args": {"sim_args": {"dt": 0, "decimation": 1}}}, "decimation: expected a number"),
        ({"success": ("perhaps", True, True)}, "success: expected true or false, got"),
        ({"success": (2, True, True)}, "success: expected true or false, got"),
        ({"change": strings}, "demo_1/actions: expected numbers, got"),
        ({"change": broken_link}, "demo_1/actions: expected numbers, got nothing"),
        ({"change": shorter}, "obs/eef_pos: expected 10 timesteps, as many as actions, got 9"),
        ({"change": one_number}, "demo_1/actions: expected a row for each timestep"),
        ({"change": group}, "demo_1/actions: expected numbers, got a group"),
        ({"change": no_group}, "demo_1/actions: expected numbers, got nothing"),
        ({"change": all_empty}, "expected demonstrations, got 3 empty ones"),
    ],
)
def test_what_no_file_should_hold_is_refused_by_name(tmp_path, changes, words):
    path = demos(tmp_path / "d.hdf5", **changes)
    with pytest.raises(ValueError, match=words):
        converted(path)
    assert words in " ".join(inspect(path)["problems"])


def test_a_demonstration_without_what_the_spec_wants_is_refused(tmp_path):
    path = demos(tmp_path / "d.hdf5", change=not_there)
    with pytest.raises(ValueError, match=r"demo_1: unlike the Spec:\n  eef_pos: expected one of"):
        converted(path)


def test_nan_in_an_action_is_seen_before_conversion(tmp_path):
    def change(data):
        data["demo_1/actions"][3, 1] = np.nan

    path = demos(tmp_path / "d.hdf5", change=change)
    assert "action: 1: NaN or infinite in 1 of 30" in " ".join(inspect(path)["problems"])
    with pytest.raises(ValueError, match=r"demo_1.*action: expected finite.*timestep 3 \(b\)"):
        converted(path)


def test_what_is_left_out_is_told(tmp_path, capsys):
    """Empty demonstrations ended in a traceback; groups of another name went unsaid."""

    def change(data):
        nested(data)
        del data["demo_2/actions"]
        data["demo_2/actions"] = np.zeros((0, 2))

    path = demos(tmp_path / "d.hdf5", change=change)
    assert converted(path).num_episodes == 1
    said = capsys.readouterr().err
    assert "left out, as no demo_<i>: lift" in said
    assert "left out, as without actions: demo_2" in said


def test_demonstrations_deeper_in_the_file_are_named(tmp_path):
    def change(data):
        for i in range(3):
            data.move(f"demo_{i}", f"lift/demo_{i}")

    path = demos(tmp_path / "d.hdf5", change=change)
    with pytest.raises(ValueError, match="expected groups data/demo_<i>, got .*data/lift/demo_0"):
        DemonstrationFile(path)


def test_observations_in_groups_and_actions_of_one_number(tmp_path):
    def change(data):
        for i in range(3):
            data[f"demo_{i}/obs/arm/angle"] = np.full(10, float(i))
            data[f"demo_{i}/obs/depth"] = np.zeros((10, 4, 4, 1))
        data["demo_0/obs/note"] = np.zeros((10, 1))

    path = demos(tmp_path / "d.hdf5", change=change)
    with DemonstrationFile(path) as file:
        spec, warnings = draft_spec(file, 16)
    assert list(spec.observation) == ["arm/angle", "eef_pos"]
    assert warnings == [
        "depth: neither picture nor vector: float64 (4, 4, 1): left out",
        "note: not in every demonstration: left out",
    ]
    text = json.dumps(spec.to_dict()).replace('"?"', '"rad"')
    (tmp_path / "arm.json").write_text(text)
    convert(ConvertConfig(path, tmp_path / "out", spec=tmp_path / "arm.json"))
    assert Dataset(tmp_path / "out").episode(2).observation["arm/angle"][0] == [2]


def test_a_given_task_stands_before_the_name_of_a_class(tmp_path):
    path = demos(tmp_path / "d.hdf5", env_args={"env_name": "Lift"})
    assert converted(path, task="lift the cube").episode(0).task == "lift the cube"
    assert converted(demos(tmp_path / "e.hdf5", env_args={"env_name": "Lift"})).episode(0).task == (
        "Lift"
    )
