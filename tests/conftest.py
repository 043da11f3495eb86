"""How the tests run.

    make test                             all but the long ones, in three processes
    make test-long                        the long ones, in one process
    pytest tests/core/test_model.py       these, in this process
    make test ARGS="-n 0 -s tests/core"   these, in one process, with what they print

Files go to the processes whole, so that what a module's fixture makes is made once. Two markers:

alone   what a test promises is about time: no other test of the run goes on meanwhile. A file's
        line `pytestmark = pytest.mark.alone`, or one test's decorator
long    a minute or more (soaks, the original benchmark, mutation): left out without `-m long`

A test file's name is its own in all of tests/. What several files need is a module beside this one
(core_examples, ros_examples, ...), imported by its name. A test with ROS nodes puts them into
`ros_examples.environment()`: the loopback, and a domain that no other test process here has.
"""

import fcntl
import os
import signal

import pytest

# Before torch is imported, and for children too: its threads spin while they wait for each other,
# and a file that takes 13 s takes 115 s beside another one.
os.environ["OMP_NUM_THREADS"] = "1"

# Without it rclpy turns a wrong field value into 0 or ignores it.
os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"

# A shell that runs the tests in the background ignores SIGINT, nohup SIGHUP, and children would
# inherit that; they do not inherit handlers.
signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Journeys begin, because they take longest; what must be alone comes last.

    Files of ROS tests, which wait, are spread evenly among the others, which compute: what runs
    beside each other is seldom of one kind.
    """
    files = list(dict.fromkeys(item.path for item in items))
    files.sort(key=lambda path: "journeys" not in path.parts)
    kinds = [[path for path in files if ("ros" in path.parts) == is_ros] for is_ros in (0, 1)]
    place = {path: i / len(kind) for kind in kinds for i, path in enumerate(kind)}
    items.sort(key=lambda item: (is_alone(item), place[item.path]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item):
    """Lets tests that must be alone wait for the other process's, and those for them."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    with open(__file__) as turn:
        fcntl.flock(turn, fcntl.LOCK_EX if is_alone(item) else fcntl.LOCK_SH)
        return (yield)


def is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None
