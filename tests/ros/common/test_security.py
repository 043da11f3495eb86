"""What the stack never does with what others send: run it, or listen to other machines."""

import ast
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import ros_examples

from gato_ros.common import transport

ROOT = Path(__file__).parents[3]
ROOMS = ("gato_core", "sim", "training", "ros2_ws/src", "bench")
UNSAFE_MODULES = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNSAFE_CALLS = {"torch.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "eval", "exec"}
NETWORK = (*transport.CHOSEN, "RMW_IMPLEMENTATION")


def test_nothing_is_ever_unpickled():
    """What runs code from a file or a message: pickle in its guises, and YAML's full loader."""
    files = [file for folder in ROOMS for file in (ROOT / folder).rglob("*.py")]
    assert len(files) > 100
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {getattr(node, "module", "") or ""} | {one.name for one in node.names}
                assert not {name.split(".")[0] for name in names} & UNSAFE_MODULES, file
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in UNSAFE_CALLS, f"{file}:{node.lineno}"
                keywords = {one.arg: ast.unparse(one.value) for one in node.keywords}
                assert keywords.get("allow_pickle", "False") == "False", f"{file}:{node.lineno}"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/net")
def test_a_node_started_alone_has_no_socket_but_on_the_loopback(tmp_path, monkeypatch):
    for name in NETWORK:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ROS_DOMAIN_ID", str(ros_examples.DOMAIN))
    with ros_examples.node_process("status_node", tmp_path / "log.txt", {}) as process:
        assert ros_examples.eventually(lambda: udp_addresses(process) != set())
        # discovery's multicast group is joined on the loopback alone
        assert udp_addresses(process) <= {"127.0.0.1", "239.255.0.1"}


def udp_addresses(process: subprocess.Popen) -> set[str]:
    """Addresses that a process's UDP sockets are bound to."""
    folder = Path(f"/proc/{process.pid}")
    inodes = set()
    for link in (folder / "fd").iterdir():
        try:
            inodes.add(str(link.readlink()).removeprefix("socket:[").removesuffix("]"))
        except OSError:
            continue  # closed meanwhile
    rows = [row.split() for row in (folder / "net/udp").read_text().splitlines()[1:]]
    hexes = [row[1].split(":")[0] for row in rows if row[9] in inodes]
    return {socket.inet_ntoa(bytes.fromhex(one)[::-1]) for one in hexes}


def test_the_environment_may_open_the_network():
    for chosen in (
        {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"},
        {"FASTDDS_DEFAULT_PROFILES_FILE": "mine.xml"},
        {"ROS_STATIC_PEERS": "10.0.0.2"},
    ):
        assert transport.of_node(chosen) == {}
    opened = transport.of_stack({}, open_network=True)
    assert transport.of_node(opened) == {}
    other_dds = transport.of_node({"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"})
    assert other_dds == {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
