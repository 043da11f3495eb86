"""Starts node processes with a log each, and ends them all."""

from __future__ import annotations

import ctypes
import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def start(
    name: str,
    params_file: Path,
    overrides: Mapping[str, bool | int | float | str],
    log: Path | None,
    *,
    keep_stdin: bool = False,
) -> subprocess.Popen:
    """Starts `python -m gato_ros.nodes <name>`; its output goes to `log`, or to ours with None.

    keep_stdin: it reads our terminal, for a node that a person speaks to.
    """
    command = [sys.executable, "-m", "gato_ros.nodes", name, "--ros-args"]
    command += ["--params-file", str(params_file)]
    for key, value in overrides.items():
        command += ["-p", f"{key}:={json.dumps(value)}"]
    return begin(command, log, keep_stdin=keep_stdin)


def begin(
    command: Sequence[str], log: Path | None, *, keep_stdin: bool = False
) -> subprocess.Popen:
    """Starts a process whose output goes to `log`, or to ours with None.

    In a session of its own, so that Ctrl-C reaches us alone and we end it in order; should we be
    killed, the kernel sends it SIGTERM.
    """
    output = None if log is None else log.open("wb")
    try:
        return subprocess.Popen(
            command,
            stdin=None if keep_stdin else subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
    finally:
        if output is not None:
            output.close()


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def end(process: subprocess.Popen, timeout: float) -> int:
    """Asks a process to end, insists after `timeout` s, and returns its exit status."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def complaint(log: Path, num_lines: int = 12) -> str:
    """What a log says went wrong: from its last error on, or else its last lines."""
    lines = log.read_text(errors="replace").splitlines()
    errors = [i for i, text in enumerate(lines) if text.startswith("error:") or "[ERROR]" in text]
    first = errors[-1] if errors else max(0, len(lines) - num_lines)
    return "\n".join(lines[first : first + num_lines]) or "it said nothing"
