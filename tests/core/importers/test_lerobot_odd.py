"""LeRobot folders that were merged, sorted, trimmed or half filled in: read right, or refused.

Each is read three ways, which agree: converted, read in place, inspected.
"""

import json

import numpy as np
import pyarrow as pa
import pytest
from odd_lerobot import (
    FPS,
    LENGTHS,
    SPEC,
    TOP,
    VECTOR,
    as_ours,
    frames_shown,
    odd_lerobot,
    png,
    write,
)

from gato_core.data.folder import EpisodeFiles
from gato_core.dataset import Dataset
from gato_core.episode import Episode
from gato_core.importers import lerobot
from gato_core.spec import Continuous, Image, Spec
from gato_core.tools.inspect import inspect
from gato_ros.bags.convert import ConvertConfig, convert

SIDE_OF_DRAFT = 64
FRAME = np.concatenate([np.arange(n) for n in LENGTHS])


SWAPPED = [
    {f"videos/{TOP}/from_timestamp": 1.2, f"videos/{TOP}/to_timestamp": 2.4},
    {f"videos/{TOP}/from_timestamp": 0.0, f"videos/{TOP}/to_timestamp": 1.0},
]
ORDERS = (
    [*range(12, 22), *range(12)],
    [*range(22)][::-1],
    [*range(0, 22, 2), *range(1, 22, 2)],
)


def converted(root, spec: Spec = SPEC, **options) -> Dataset:
    path = root.parent / f"{root.name}.json"
    path.write_text(json.dumps(spec.to_dict()).replace('"?"', '"rad"'))
    convert(ConvertConfig(root, root.parent / f"{root.name}-out", spec=path, **options))
    return Dataset(root.parent / f"{root.name}-out")


def both(root, **options) -> list[list[Episode]]:
    """All episodes, converted and read in place; the folder is sound."""
    assert inspect(root)["sound"]
    ways = [converted(root, **options), Dataset(as_ours(root))]
    assert inspect(root)["sound"]
    return [[way.episode(i) for i in range(way.num_episodes)] for way in ways]


def refused(root, words: str) -> None:
    """Converted, read in place and inspected, with the same words."""
    with pytest.raises(ValueError, match=words):
        converted(root)
    assert words in " ".join(inspect(root)["problems"])
    with pytest.raises(ValueError, match=words):
        dataset = Dataset(as_ours(root))
        [dataset.episode(i) for i in range(dataset.num_episodes)]
    assert words in " ".join(inspect(root)["problems"])


@pytest.mark.parametrize("camera", ["image", "video"])
@pytest.mark.parametrize("order", ORDERS, ids=["merged", "backwards", "shuffled"])
def test_rows_in_any_order_are_those_of_their_columns(tmp_path, camera, order):
    """Episode 0 was the first rows of the file, whatever `episode_index` said."""
    for first, second in both(odd_lerobot(tmp_path / "d", keep=order, camera=camera)):
        assert first.observation["state"][:, 0].tolist() == [*range(12)]
        assert second.action[:, 0].tolist() == [i + 0.5 for i in range(12, 22)]
        assert frames_shown(first.observation["top/pixels"]) == [*range(12)]
        assert frames_shown(second.observation["top/pixels"]) == [*range(10)]


def test_episodes_of_meta_in_any_order_are_those_of_their_index(tmp_path):
    root = odd_lerobot(
        tmp_path / "d", lengths=(12, 12), rows=[{"episode_index": 1}, {"episode_index": 0}]
    )
    for first, _ in both(root):
        assert first.observation["state"][0, 0] == 0


@pytest.mark.parametrize("camera", ["image", "video"])
def test_a_trimmed_episode_shows_the_frames_of_its_timestamps(tmp_path, camera):
    """Frames 0 to 6 of the video stood beside the states 5 to 11."""
    rows = [
        {"length": 7, "dataset_from_index": 0, "dataset_to_index": 7},
        {"length": 5, "dataset_from_index": 7, "dataset_to_index": 12},
    ]
    keep = np.flatnonzero(FRAME >= 5).tolist()
    root = odd_lerobot(
        tmp_path / "d", keep=keep, rows=rows, camera=camera, info={"total_frames": 12}
    )
    for first, second in both(root):
        assert frames_shown(first.observation["top/pixels"]) == [*range(5, 12)]
        assert first.observation["state"][:, 0].tolist() == [*range(5, 12)]
        assert frames_shown(second.observation["top/pixels"]) == [*range(5, 10)]
    assert any("2 episodes begin after frame 0" in line for line in inspect(root)["warnings"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"columns": {"timestamp": FRAME / (2 * FPS)}}, "timestamp: expected 0.1 s"),
        ({"columns": {"timestamp": FRAME / FPS * 1.02}}, "timestamp: expected 0.1 s"),
        ({"columns": {"timestamp": np.where(FRAME == 4, np.nan, FRAME / FPS)}}, "timestamp: exp"),
        ({"columns": {"timestamp": np.float32(1.7e9 + FRAME / FPS)}}, "timestamp: expected 0.1 s"),
        ({"columns": {"timestamp": np.zeros(22)}}, "timestamp: expected 0.1 s"),
        ({"columns": {"timestamp": np.where(FRAME > 5, FRAME + 9, FRAME) / FPS}}, "timestamp: exp"),
        ({"columns": {"frame_index": FRAME // 2}}, "frame_index: expected whole numbers"),
        ({"columns": {"frame_index": FRAME * 2}}, "frame_index: expected whole numbers"),
        ({"columns": {"episode_index": np.zeros(22, int)}}, "expected 12, 10 timesteps of episode"),
        ({"keep": [*range(21)]}, "expected 10 timesteps of episodes 1"),
        ({"rows": [{}, {"episode_index": 0}]}, "distinct episode_index"),
        ({"rows": [{}, {"episode_index": 7}]}, "timesteps of episodes 1, 7"),
        ({"columns": {"episode_index": None}}, "expected columns"),
        ({"columns": {"timestamp": None}}, "expected columns"),
        ({"info": {"fps": 0}}, "fps: expected a number above 0, got 0"),
        ({"info": {"fps": "10"}}, "fps: expected a number above 0, got '10'"),
        ({"info": {"features": [1]}}, "features: expected an object"),
        ({"info": {"data_path": "data/{episode}.parquet"}}, "data_path: expected a path"),
        ({"rows": [{"length": 0}, {}]}, "length: expected a whole number from 1 on, got 0"),
        ({"rows": [{"tasks": [3]}, {"tasks": [3]}]}, "tasks: expected a list of texts"),
        ({"features": {"action": {"dtype": "float32"}}}, "action: expected a dtype and a shape"),
        ({"columns": {"action": pa.array([[1.0, 2.0]] * 21 + [[1.0]])}}, "expected numbers of sha"),
        ({"columns": {"action": pa.array([[1.0], [1.0, 2.0, 3.0]] * 11)}}, "expected numbers of "),
        ({"columns": {"action": pa.array(["left"] * 22)}}, "action: expected numbers of shape"),
        ({"columns": {"action": pa.array([[1.0, None]] * 22)}}, "action: expected numbers"),
        ({"columns": {"action": None}}, "expected columns"),
        ({"without": ("data/chunk_index",)}, "data/chunk_index: expected a whole number"),
    ],
)  # fmt: skip
def test_columns_that_contradict_each_other_are_refused(tmp_path, changes, words):
    refused(odd_lerobot(tmp_path / "d", **changes), words)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"without": (f"videos/{TOP}/chunk_index",)}, f"videos/{TOP}/chunk_index: expected"),
        ({"without": (f"videos/{TOP}/from_timestamp",)}, "from_timestamp: expected seconds"),
        ({"info": {"video_path": None}}, "video_path: expected a path"),
        ({"columns": {"timestamp": np.arange(22) / FPS}}, "of the video, got 1.2000 to 2.1000 s"),
        ({"rows": SWAPPED}, "file-000.mp4: expected a frame at 2."),
    ],
)
def test_a_video_without_the_times_of_its_episodes_is_refused(tmp_path, changes, words):
    """With times counted from the dataset's first frame the next episode's pictures were shown."""
    refused(odd_lerobot(tmp_path / "d", camera="video", **changes), words)


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ("fold it", "fold it"),
        ([], "pour"),
        (None, "pour"),
        ([None], "pour"),
        ([""], "pour"),
        (["a", "b"], "a; b"),
    ],
)  # fmt: skip
def test_tasks_are_texts_lists_or_numbers_of_texts(tmp_path, tasks, expected):
    """A text lost all but its first letter, and an empty list ended in a traceback."""
    root = odd_lerobot(tmp_path / "d", rows=[{"tasks": tasks}] * 2)
    texts = pa.table({"task_index": [0], "task": ["pour"]})
    write(root / "meta/tasks.parquet", texts)
    for first, _ in both(root):
        assert first.task == expected


def test_a_given_task_stands_where_the_data_say_none(tmp_path):
    silent = odd_lerobot(tmp_path / "silent", rows=[{"tasks": ["fold"]}, {"tasks": [""]}])
    dataset = converted(silent, task="pour")
    assert [dataset.episode(i).task for i in range(2)] == ["fold", "pour"]
    with pytest.raises(ValueError, match="task: expected none, for .* says it: 'fold'"):
        converted(odd_lerobot(tmp_path / "said"), task="pour")
    assert not (tmp_path / "said-out").exists()


FLAGS = np.zeros(22, bool)
FLAGS[11] = True
SPARSE, SHAPED = FLAGS.astype(np.float32), np.linspace(0, 0.9, 22, dtype=np.float32)
FLAG = {"dtype": "bool", "shape": [1], "names": None}
REWARD = {"dtype": "float32", "shape": [1], "names": None}


@pytest.mark.parametrize(
    ("columns", "expected", "words"),
    [
        ({}, [True, True], "success: nobody says"),
        ({"next.success": FLAGS}, [True, False], ""),
        ({"next.success": FLAGS & False}, [False, False], "flags that are never set"),
        ({"next.reward": SPARSE}, [True, False], ""),
        ({"next.reward": SHAPED}, [False, False], "got rewards from 0 to 0.9"),
        ({"next.reward": 0 * SPARSE}, [False, False], "got rewards from 0 to 0"),
        ({"next.success": FLAGS, "next.reward": SHAPED}, [True, False], ""),
    ],
)
def test_success_is_what_flags_or_sparse_rewards_say(tmp_path, columns, expected, words, capsys):
    """Shaped rewards and flags that nobody filled in were taken for an outcome without a word."""
    described = {n: FLAG if n.endswith("success") else REWARD for n in columns}
    root = odd_lerobot(tmp_path / "d", columns=columns, features=described)
    for way in both(root):
        assert [episode.success for episode in way] == expected
    said = capsys.readouterr().err
    assert words in said and ("success" in said) == bool(words)
    assert words in " ".join(inspect(root)["warnings"])
    if "counted as failures" in said:
        again = odd_lerobot(tmp_path / "again", columns=columns, features=described)
        assert converted(again, unknown_is_success=True).successes.all()


@pytest.mark.parametrize("key", [TOP, "observation.image", "observation.top", "top"])
def test_a_camera_may_have_any_usual_name(tmp_path, key):
    root = odd_lerobot(tmp_path / "d", key=key)
    drafted, _ = lerobot.draft_spec(EpisodeFiles(root), SIDE_OF_DRAFT)
    (camera,) = [k for k, m in drafted.observation.items() if isinstance(m, Image)]
    assert camera == ("image/pixels" if key == "observation.image" else "top/pixels")
    spec = Spec({camera: SPEC.observation["top/pixels"], "state": VECTOR}, VECTOR, 0.1)
    assert frames_shown(converted(root, spec).episode(0).observation[camera]) == [*range(12)]


def test_pictures_may_lie_beside_the_table(tmp_path):
    names = [f"images/{i}.png" for i in range(22)]
    columns = {TOP: pa.array([{"bytes": None, "path": name} for name in names])}
    root = odd_lerobot(tmp_path / "d", columns=columns)
    (root / "images").mkdir()
    for name, frame in zip(names, FRAME.tolist()):
        (root / name).write_bytes(png(4 * frame))
    for first, _ in both(root):
        assert frames_shown(first.observation["top/pixels"]) == [*range(12)]
    (root / names[13]).unlink()
    with pytest.raises(ValueError, match=f"episode 1.*expected a picture .*{names[13]}, got none"):
        Dataset(root).episode(1)


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        ({"bytes": None, "path": None}, "expected bytes, or a path within"),
        ({"bytes": None, "path": "../secret.png"}, "expected bytes, or a path within"),
        ({"bytes": b"", "path": None}, "0 bytes that are no image"),
        ({"bytes": b"text", "path": None}, "4 bytes that are no image"),
        ({"bytes": png(9, np.uint16), "path": None}, "expected a picture of 8 bits"),
    ],
)
def test_what_is_no_picture_is_refused(tmp_path, picture, words):
    refused(odd_lerobot(tmp_path / "d", columns={TOP: pa.array([picture] * 22)}), words)


def vector(names, count=4) -> dict:
    return {"dtype": "float32", "shape": [count], "names": names}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"motors": ["a", "b", "c", "d"]}, ["a", "b", "c", "d"]),
        ({"left": ["a", "b"], "right": ["a", "b"]}, ["left.a", "left.b", "right.a", "right.b"]),
        (["a", "b", "a", "b"], ["a.0", "b.1", "a.2", "b.3"]),
        ({"x": 2, "y": 0, "z": 1, "w": 3}, ["y", "z", "x", "w"]),
        ([["a", "b"], ["c", "d"]], ["a", "b", "c", "d"]),
        ([3, 2, 1, 0], ["3", "2", "1", "0"]),
        (["all"], ["0", "1", "2", "3"]),
        (None, ["0", "1", "2", "3"]),
        ({"axes": None}, ["0", "1", "2", "3"]),
    ],
)
def test_names_of_any_form_are_distinct_and_lead_to_their_columns(tmp_path, names, expected):
    """Two arms with the same joints ended in a traceback, in a draft and in conversion."""
    state = pa.array([[i, 100 + i, 200 + i, 300 + i] for i in range(22)], pa.list_(pa.float32()))
    root = odd_lerobot(
        tmp_path / "d",
        columns={"observation.state": state},
        features={"observation.state": vector(names)},
    )
    drafted, _ = lerobot.draft_spec(EpisodeFiles(root), SIDE_OF_DRAFT)
    assert list(drafted.observation["state"].names) == expected
    backwards = Continuous((-1e4,) * 4, (1e4,) * 4, "rad", tuple(reversed(expected)))
    spec = Spec(SPEC.observation | {"state": backwards}, VECTOR, 0.1)
    got = converted(root, spec).episode(0).observation["state"][3]
    assert got.tolist() == [303, 203, 103, 3]


def test_names_in_a_dictionary_are_compared_when_read_in_place(tmp_path):
    """Only lists were: joints in another order passed."""
    root = odd_lerobot(
        tmp_path / "d", features={"observation.state": vector({"motors": ["b", "a"]}, 2)}
    )
    with pytest.raises(ValueError, match=r"observation.state: expected names .*got \['b', 'a'\]"):
        Dataset(as_ours(root))


def test_nan_matters_only_where_it_is_used(tmp_path):
    state = pa.array([[float(i), np.nan] for i in range(22)])
    root = odd_lerobot(tmp_path / "d", columns={"observation.state": state})
    again = odd_lerobot(tmp_path / "again", columns={"observation.state": state})
    drafted, warnings = lerobot.draft_spec(EpisodeFiles(root), SIDE_OF_DRAFT)
    assert drafted.observation["state"].low[1] < drafted.observation["state"].high[1]
    assert any("observation.state: b: NaN or infinite in 22 of 22" in line for line in warnings)
    one = Continuous((-1e4,), (1e4,), "rad", ("a",))
    without = Spec({"top/pixels": Image(64, 64), "state": one}, VECTOR, 0.1)
    assert converted(root, without).episode(1).observation["state"][0, 0] == 12
    with pytest.raises(ValueError, match=r"state: expected finite values.*\['b'\] at timestep 0"):
        converted(again)


@pytest.mark.parametrize(
    "values",
    [
        [1.7e9, 1.7e9 + 128], [1e20, 1e20], [-3e-12, 3e-12], [0.0, 0.0], [-3e38, 3e38],
        [123456.0, 123456.5],
    ],
)  # fmt: skip
def test_drafted_limits_hold_all_values_however_close_they_are(tmp_path, values):
    """Rounded to four digits, low and high were the same and the draft was refused."""
    state = pa.array([[values[i % 2], 1.0] for i in range(22)], pa.list_(pa.float32()))
    root = odd_lerobot(tmp_path / "d", columns={"observation.state": state})
    limits = lerobot.draft_spec(EpisodeFiles(root), SIDE_OF_DRAFT)[0].observation["state"]
    stored = np.float32(values).astype(float)
    assert limits.low[0] < stored.min() <= stored.max() < limits.high[0]


def test_a_draft_names_all_vectors_and_what_it_leaves_out(tmp_path):
    columns = {
        "observation.wrench": pa.array([[1.0, 2.0, 3.0]] * 22),
        "observation.note": pa.array(["x"] * 22),
    }
    described = {
        "observation.wrench": vector(None, 3),
        "observation.note": {"dtype": "string", "shape": [1], "names": None},
    }
    root = odd_lerobot(tmp_path / "d", columns=columns, features=described)
    spec, warnings = lerobot.draft_spec(EpisodeFiles(root), SIDE_OF_DRAFT)
    assert list(spec.observation) == ["state", "top/pixels", "wrench"]
    assert warnings == ["observation.note: string [1]: left out"]
    assert converted(root, spec).episode(0).observation["wrench"][0].tolist() == [1, 2, 3]


def test_a_feature_that_cannot_be_read_is_left_out_of_a_draft(tmp_path):
    """Named in info.json and not in the data, it kept the rest from being drafted."""
    root = odd_lerobot(tmp_path / "d", features={"observation.effort": vector(None, 3)})
    spec, warnings = lerobot.draft_spec(EpisodeFiles(root), SIDE_OF_DRAFT)
    assert list(spec.observation) == ["state", "top/pixels"]
    assert any(line.startswith("observation.effort: left out: ") for line in warnings)
    assert converted(root).num_episodes == 2


def test_gaps_in_the_numbers_of_episodes_are_told(tmp_path):
    """Deleted by hand: the rest is read, by its numbers."""
    columns = {"episode_index": np.repeat([2, 5], LENGTHS)}
    root = odd_lerobot(
        tmp_path / "d", columns=columns, rows=[{"episode_index": 2}, {"episode_index": 5}]
    )
    for way in both(root):
        assert [len(episode) for episode in way] == [12, 10]
    told = " ".join(inspect(root)["warnings"])
    assert "episode_index: expected numbers without gaps, got 2, 5" in told
