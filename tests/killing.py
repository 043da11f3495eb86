"""Programs that die in the middle of what they do, as by SIGKILL or a power cut."""

import os
import sys
from collections.abc import Callable


def killed_at(number: int, work: Callable[[], object]) -> bool:
    """Runs `work` in a process that dies just before its `number`-th call of the system.

    Whether it died. What counts are the calls that Python announces: files opened, folders made,
    renamed and removed. Nothing is cleaned up.
    """
    child = os.fork()
    if child == 0:
        left = [number]

        def count(event: str, arguments: tuple) -> None:
            if event in ("open", "ctypes.dlsym") or event.startswith(("os.", "shutil.")):
                left[0] -= 1
                if left[0] < 0:
                    os._exit(9)

        sys.addaudithook(count)
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
