"""`gato inspect --html`: one page in one file, with what the findings say and pictures of them."""

import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from dataset_examples import SPEC, make_episode
from option_effects import Case, check_every_option

from gato_core import cli
from gato_core.data.storage import read_json, write_json
from gato_core.dataset import DatasetWriter
from gato_core.tools.inspect import InspectConfig, inspect

ALONE = {"meta", "img", "rect", "line", "li", "tr", "td", "th"}  # HTML needs no end of them here


class Tags(HTMLParser):
    """Counts tags, and fails where one that was not opened is closed."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.text, self.sources = [], {}, "", []

    def handle_starttag(self, tag, attrs):
        self.seen[tag] = self.seen.get(tag, 0) + 1
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ALONE:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen[tag] = self.seen.get(tag, 0) + 1

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open)
        self.open.pop()

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def odd(tmp_path):
    """Five episodes, one twice, one that jumps, one with a task that looks like a tag."""
    with DatasetWriter(tmp_path / "d", SPEC) as writer:
        for seed in (0, 1, 0, 2, 3):
            episode = make_episode(seed, 400)
            joints = np.cumsum(np.full((400, 2), 2e-3), 0).astype(np.float32)
            joints[200:] += 2.0 * (seed == 3)
            joints[:50] = joints[0] if seed == 2 else joints[:50]
            episode.observation |= {"arm/joints": joints, "gripper": joints[:, :1] * 0}
            episode.action = np.clip(episode.action, -0.06, 0.06) * (joints[:, :1] > 0.004)
            episode.task = "<script>" if seed == 1 else episode.task
            writer.add(episode)
    return tmp_path / "d"


def page_of(root, out, monkeypatch, status) -> Tags:
    monkeypatch.setattr(sys, "argv", ["gato", "inspect", str(root), "--html", str(out)])
    assert cli.main() == status
    text = out.read_text()
    parsed = Tags()
    parsed.feed(text)
    parsed.close()
    assert not parsed.open and "<script" not in text
    return parsed


def test_the_page_shows_frames_numbers_and_what_is_odd(odd, tmp_path, monkeypatch, capsys):
    page = page_of(odd, tmp_path / "page.html", monkeypatch, 0)
    assert page.seen["img"] == 5 * 2 * 2  # episodes, ends, cameras
    assert page.seen["svg"] == len(inspect(odd)["dimensions"]) + 2
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    for words in (
        "Repeated episodes", "episode 2 repeats 0", "arm/joints/j0", "<script>", "Jumps: 2",
        "episodes repeat earlier ones: 2", "stand still for more than 10 timesteps",
    ):  # fmt: skip
        assert words in page.text, words
    jump = re.search(r"4\s*200\s*arm/joints/j[01]\s*0\.4\s*2\.40", page.text)
    assert jump, page.text[-900:]


def test_findings_tell_what_the_page_shows(odd):
    found = inspect(odd)
    assert (found["repeated"], found["jumps"]) == (1, 2)
    assert found["idle_timesteps"] >= 50 and 0 < found["still"] < 0.2
    assert any("episode 4, timestep 200: arm/joints/j" in text for text in found["warnings"])


def test_an_unsound_dataset_has_a_page_too(odd, tmp_path, monkeypatch, capsys):
    gato = read_json(odd / "gato.json")
    gato["spec"]["observation"]["arm/joints"] |= {"low": [-0.01] * 2, "high": [0.01] * 2}
    write_json(odd / "gato.json", gato)
    page = page_of(odd, tmp_path / "page.html", monkeypatch, 1)
    assert "UNSOUND" in page.text and "beyond the Spec's limits" in page.text


def test_every_option_has_an_effect_or_is_refused(odd, tmp_path, monkeypatch, capsys):
    (tmp_path / "other.txt").write_text("text")

    def outcome(options, folder):
        command = ["gato", "inspect", str(options["path"])]
        if "html" in options:
            command += ["--html", str(folder / options["html"])]
        monkeypatch.setattr(sys, "argv", command)
        status, said = cli.main(), capsys.readouterr()
        if status and said.err:
            raise ValueError(said.err)
        return [path.name for path in folder.iterdir()]

    check_every_option(
        InspectConfig,
        outcome,
        tmp_path / "work",
        positional={"path"},
        cases=[
            Case("html", "page.html", {"path": odd}),
            Case("html", "page.html", {"path": tmp_path / "no"}, refused="html: expected a data"),
            Case("html", "page.html", {"path": tmp_path / "other.txt"}, refused="html: expected"),
        ],
    )
