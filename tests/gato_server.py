"""`gato` without its imports, for a test that runs it dozens of times.

A process that has imported torch and MuJoCo forks itself for each command. A script named `gato`
hands it arguments, folder, environment, input and output through a socket, and exits as the
command did.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

VERBS = ("average", "collect", "evaluate", "train")  # imported before the first command
CLIENT = """#!{python} -SE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [b"x"], [0, 1, 2])
    server.sendall(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode())
    server.shutdown(socket.SHUT_WR)
    sys.exit(int(server.recv(8)))
"""


@contextlib.contextmanager
def path_with_gato() -> Iterator[str]:
    """A PATH whose `gato` is the script; the server ends with the block."""
    with tempfile.TemporaryDirectory() as folder:  # a socket's name may have 107 characters
        address = f"{folder}/socket"
        script = Path(folder) / "gato"
        script.write_text(CLIENT.format(python=sys.executable, address=address))
        script.chmod(0o755)
        command = [sys.executable, __file__, address]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout.readline() == "ready\n"
            try:
                yield f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
            finally:
                server.terminate()


def serve(address: str) -> None:
    """One command after another, each in a fork of this process."""
    for verb in entry_points(group="gato.commands"):
        if verb.name in VERBS:
            verb.load()
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(address)
        door.listen()
        print("ready", flush=True)
        while True:
            caller, _ = door.accept()
            with caller:
                child = os.fork()
                if child == 0:
                    return run(caller)
                _, status = os.waitpid(child, 0)
                caller.sendall(str(os.waitstatus_to_exitcode(status) & 255).encode())


def run(caller: socket.socket) -> None:
    """The command that the caller hands over, in this process; ends it."""
    from gato_core import cli

    _, files, *_ = socket.recv_fds(caller, 1, 3)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    with caller.makefile("rb") as request:
        arguments, folder, environ = json.load(request)
    os.chdir(folder)
    os.environ.clear()
    os.environ |= environ
    sys.argv = ["gato", *arguments]
    sys.exit(cli.main())


if __name__ == "__main__":
    serve(sys.argv[1])
