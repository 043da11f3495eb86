"""The tests' own rules, as tests/conftest.py states them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import ros_examples

BUSY = """
import time, pytest
{mark}
@pytest.mark.parametrize("number", range({count}))
def test(number):
    begin = time.monotonic()
    time.sleep(0.1)
    with open({log!r}, "a") as file:
        print({mark!r} != "", begin, time.monotonic(), file=file)
"""


def test_a_test_that_is_alone_meets_no_other(tmp_path):
    """Three files in two processes: those of the marked one meet neither of the others."""
    log = tmp_path / "log"
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = alone\n")
    marks = {"test_a": "pytestmark = pytest.mark.alone", "test_b": "", "test_c": ""}
    for name, mark in marks.items():
        text = BUSY.format(mark=mark, count=6, log=str(log))
        (tmp_path / f"{name}.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadfile", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    rows = [line.split() for line in log.read_text().splitlines()]
    assert len(rows) == 18
    spans = [(float(begin), float(end), mark == "True") for mark, begin, end in rows]
    met = [(a[2], b[2]) for a in spans for b in spans if a < b and b[0] < a[1]]
    assert met, "the unmarked ones ran beside each other"
    assert not any(map(any, met))


def test_no_two_test_processes_have_one_ros_domain():
    domains = [ros_examples.DOMAIN, ros_examples.own_domain(), ros_examples.own_domain()]
    assert len(set(domains)) == 3


def test_a_domain_in_which_somebody_is_left_is_nobodys():
    """Nodes outlived a run that was killed, and the next one's tests met them."""
    free = ros_examples.own_domain() + 1
    environment = os.environ | {"ROS_DOMAIN_ID": str(free)}
    with subprocess.Popen(["sleep", "60"], env=environment) as left:
        try:
            assert any("sleep" in command for command in ros_examples.in_domain(free))
            assert ros_examples.own_domain() > free
        finally:
            left.terminate()
