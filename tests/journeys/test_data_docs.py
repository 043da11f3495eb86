"""docs/data.md, command by command and line by line of its Python, on a little data."""

import json
import shlex
import sys
from pathlib import Path

import pytest
from bag_examples import demonstration, foreign_recording, sawyer
from foreign_datasets import foreign, robomimic

from gato_core import cli
from gato_core.dataset import Dataset
from gato_core.spec import Spec
from gato_ros.bags import export

TEXT = (Path(__file__).parents[2] / "docs/data.md").read_text()


def blocks(language: str) -> list[str]:
    inside = [block.split("\n", 1) for block in TEXT.split("```")[1::2]]
    return [body for first, body in inside if first == language]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with all that the page begins with."""
    monkeypatch.chdir(tmp_path)
    for seed in range(2):
        export.write(tmp_path / f"recordings/{seed}", sawyer(), demonstration(sawyer(), seed))
    foreign_recording(tmp_path / "other_robot")
    foreign(tmp_path / "their_lerobot")
    robomimic(tmp_path / "lift.hdf5")
    (tmp_path / "arm.json").write_text(blocks("json")[0])
    return tmp_path


def test_every_command_and_line_of_the_page_works(folder, monkeypatch, capfd):
    commands = [shlex.split(line) for block in blocks("") for line in block.strip().splitlines()]
    commands = commands[2:] + commands[:2]  # the first tell how to look at what comes after them
    assert len(commands) == 19 and {command[0] for command in commands} == {"gato"}
    for command in commands:
        monkeypatch.setattr(sys, "argv", command)
        status = cli.main()
        output = capfd.readouterr()
        assert status == 0, (command, output.out, output.err)
        assert isinstance(json.loads(output.out.splitlines()[-1]), dict)
        if command[-2:] == ["--to", "spec"]:
            draft = Path(command[3])
            assert '"?"' in draft.read_text()
            draft.write_text(draft.read_text().replace('"?"', '"rad"'))
    (python,) = blocks("python")
    exec(compile(python, "docs/data.md", "exec"), {})
    assert capfd.readouterr().out.strip() == "(10, 3) (10, 3)"
    lengths = {name: Dataset(folder / "datasets" / name).lengths.tolist() for name in
               ("mine", "arm", "theirs", "lift", "copy")}  # fmt: skip
    assert lengths["mine"] == [20, 20] and lengths["arm"] == lengths["copy"] == [40]
    assert lengths["theirs"] == [20, 13, 9] and len(lengths["lift"]) == 12
    names = ("some", "long", "all")
    edited = {name: Dataset(folder / "datasets" / name).num_episodes for name in names}
    assert edited == {"some": 2, "long": 2, "all": 3}
    assert not (folder / "datasets/brisk").exists()
    assert sorted(path.name for path in (folder / "bags").iterdir()) == [
        "episode_000000",
        "episode_000001",
    ]


def test_the_json_of_the_page_is_a_spec():
    (text,) = blocks("json")
    spec = Spec.from_dict(json.loads(text))
    assert spec.action.unit == "rad/s" and spec.num_observation_tokens == 5
