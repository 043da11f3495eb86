"""Real-time scheduling of the policy node, granted and refused, in a process of its own."""

import concurrent.futures
import contextlib
import ctypes
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import ros_examples
from diagnostic_msgs.msg import DiagnosticArray
from ros_examples import ACTIVATE, CONFIGURE, DEACTIVATE, FakeSensors

from gato_ros.common import diagnostics, paths, realtime, topics
from gato_ros.common.realtime import Realtime
from gato_ros.stack import children

PRIORITY = 12
ASKED = {"realtime.priority": PRIORITY, "realtime.lock_memory": True}
PR_CAPBSET_DROP, CAP_SYS_NICE, CAP_IPC_LOCK = 24, 23, 14

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has it")


def is_allowed() -> bool:
    """Whether the kernel lets this process have real-time scheduling and lock its memory."""
    with contextlib.ExitStack() as end:
        return not realtime.begin(Realtime(1, lock_memory=True), end)[1]


def give_up_rights() -> None:
    """From the next exec on, even root may neither have real-time scheduling nor lock memory."""
    libc = ctypes.CDLL(None)
    for capability in (CAP_SYS_NICE, CAP_IPC_LOCK):
        libc.prctl(PR_CAPBSET_DROP, capability)
    for limit in (resource.RLIMIT_RTPRIO, resource.RLIMIT_MEMLOCK):
        resource.setrlimit(limit, (0, 0))


def schedulers(pid: int) -> set[tuple[int, int]]:
    """(policy, priority) of every thread of a process."""
    threads = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
    assert len(threads) > 5
    return {(os.sched_getscheduler(one), os.sched_getparam(one).sched_priority) for one in threads}


def locked_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmLck:")[1].split()[0])


@contextlib.contextmanager
def policy(tmp_path, overrides, before=None):
    """(process, probe, reports, log) of a configured policy node; `before` runs in its process."""
    log, checkpoint = tmp_path / "log.txt", ros_examples.save_checkpoint(tmp_path / "debug")
    command = [sys.executable, "-m", "gato_ros.nodes", "policy_node", "--ros-args"]
    command += ["--params-file", str(paths.find("config/stack.yaml"))]
    for key, value in (ros_examples.LOOSE | {"checkpoint": str(checkpoint)} | overrides).items():
        command += ["-p", f"{key}:={json.dumps(value)}"]
    with ros_examples.environment(), ros_examples.probe() as probe:
        reports = probe.listen(DiagnosticArray, topics.DIAGNOSTICS)
        with log.open("wb") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file, preexec_fn=before)
        try:
            assert probe.transition(CONFIGURE)
            with FakeSensors(probe):
                yield process, probe, reports, log
        finally:
            assert children.end(process, ros_examples.TIMEOUT) == 0, log.read_text()


def values(reports: list) -> dict:
    return diagnostics.values_of(reports[-1], "policy_node")


def test_every_thread_is_real_time_while_active_and_none_otherwise(tmp_path):
    if not is_allowed():
        pytest.skip("the kernel refuses it to this user")
    normal, fifo = {(os.SCHED_OTHER, 0)}, {(os.SCHED_FIFO, PRIORITY)}
    cpu = max(os.sched_getaffinity(0))
    with policy(tmp_path, ASKED | {"realtime.cpus": [cpu]}) as (process, probe, reports, _):
        assert schedulers(process.pid) == normal and locked_kb(process.pid) == 0
        assert probe.transition(ACTIVATE)
        probe.wait(lambda: reports and values(reports)["state"] == "moving", "motion")
        assert schedulers(process.pid) == fifo and locked_kb(process.pid) > 10_000
        assert os.sched_getaffinity(process.pid) == {cpu}
        assert probe.transition(DEACTIVATE)
        assert schedulers(process.pid) == normal and locked_kb(process.pid) == 0
        assert os.sched_getaffinity(process.pid) == os.sched_getaffinity(0)
    granted = [f"CPUs {cpu}", "memory locked", f"priority {PRIORITY}"]
    assert values(reports)["realtime"] == {"granted": granted, "refused": []}


def test_a_node_that_is_refused_says_how_to_allow_it_and_goes_on(tmp_path):
    with policy(tmp_path, ASKED, before=give_up_rights) as (process, probe, reports, log):
        assert probe.transition(ACTIVATE)
        probe.wait(lambda: reports and values(reports)["state"] == "moving", "motion")
        assert schedulers(process.pid) == {(os.SCHED_OTHER, 0)} and locked_kb(process.pid) == 0
        report = values(reports)
    memory, priority = report["realtime"]["refused"]
    assert report["realtime"]["granted"] == [] and report["level"] == diagnostics.WARN[0]
    assert "memlock unlimited" in memory and "rtprio 99" in priority
    assert log.read_text().count(priority) == 1


def test_threads_that_begin_later_inherit_it_until_it_is_given_back():
    if not is_allowed():
        pytest.skip("the kernel refuses it to this user")

    def scheduler() -> int:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            return pool.submit(os.sched_getscheduler, 0).result()

    with contextlib.ExitStack() as end:
        realtime.begin(Realtime(priority=1), end)
        assert scheduler() == os.SCHED_FIFO
    assert scheduler() == os.SCHED_OTHER


def test_nothing_changes_unless_asked_for():
    with contextlib.ExitStack() as end:
        assert realtime.begin(Realtime(), end) == ([], [])
        assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_other_systems_are_told_that_linux_alone_has_it(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with contextlib.ExitStack() as end:
        granted, refused = realtime.begin(Realtime(50, True, (0,)), end)
    assert granted == [] and len(refused) == 3
    assert all("expected Linux, which alone has it, got darwin" in line for line in refused)


def test_what_no_system_has_is_refused_with_what_was_expected():
    for priority in (-1, 99):
        with pytest.raises(ValueError, match=f"priority: expected 0 to 98, got {priority}"):
            Realtime(priority)
    with pytest.raises(ValueError, match=r"realtime.cpus: expected some of \[0.*got \[4096\]"):
        Realtime(cpus=(4096,))
