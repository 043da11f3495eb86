"""A folder is the old or the new one, wherever a program that replaces it is killed."""

from pathlib import Path

import pytest
from killing import killed_at

from gato_core.data import atomic
from gato_core.data.atomic import replacing_folder


def write(path: Path, text: str) -> None:
    with replacing_folder(path) as folder:
        (folder / "one").write_text(text)
        (folder / "deep").mkdir()
        (folder / "deep/two").write_text(text)


def read(path: Path) -> set[str]:
    return {(path / name).read_text() for name in ("one", "deep/two")}


def test_a_kill_between_any_two_calls_leaves_the_old_or_the_new(tmp_path):
    """The old folder was once moved away first: a kill or an error then left nothing there."""
    path, found = tmp_path / "folder", []
    for number in range(200):
        write(path, "old")
        was_killed = killed_at(number, lambda: write(path, "new"))
        (text,) = read(path)
        found.append(text)
        if not was_killed:
            break
    assert found[0] == "old" and found[-1] == "new" and len(found) > 15
    assert found == sorted(found, reverse=True)  # from some call on it is the new one


def test_an_error_leaves_the_old_one_and_nothing_beside_it(tmp_path, monkeypatch):
    write(tmp_path / "folder", "old")
    with pytest.raises(OSError, match="full"), replacing_folder(tmp_path / "folder"):
        raise OSError("full")
    monkeypatch.setattr(atomic, "_exchange", lambda *_: False)  # as on a file system that cannot
    rename = Path.rename

    def broken(self, target):
        if target == tmp_path / "folder" and not self.name.endswith(".old"):
            raise OSError("the second rename")
        return rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", broken)
        with pytest.raises(OSError, match="the second rename"):
            write(tmp_path / "folder", "new")
    assert read(tmp_path / "folder") == {"old"}
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    write(tmp_path / "folder", "new")
    assert read(tmp_path / "folder") == {"new"}
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
