"""The `gato` command: finds each verb among the entry points and imports only the one asked for."""

from __future__ import annotations

import os
import sys
from importlib.metadata import entry_points, version

SUMMARY = {
    "ablations": "train networks that differ in one choice and draw what each choice is worth",
    "analyze": "draw what a policy attends to and how it tells tasks apart",
    "ask": "answer a question about a picture",
    "assets": "fetch the robot, basket and object models (once per machine)",
    "average": "average the weights of checkpoints that grew from the same ones",
    "baseline": "train a small CNN by behaviour cloning or CRR, to compare with",
    "bench": "measure which control rates the presets meet on this machine",
    "caption": "say what a picture shows",
    "chat": "reply to what is typed, perhaps about a picture",
    "collect": "record demonstrations of the scripted expert in simulation",
    "completion": "print the completion of verbs and options for bash, zsh or fish",
    "convert": "bring recordings and datasets of others into a dataset, and back",
    "dataset": "merge, split, trim, relabel and otherwise edit datasets",
    "evaluate": "measure success rates with intervals, videos and a report",
    "export": "write a checkpoint's control step as ONNX",
    "few-shot": "fine-tune on few and more demonstrations and draw the success curve",
    "inspect": "say what is in a dataset, recording or checkpoint and whether it is sound",
    "stack": "run robot, policy and status view over ROS 2, without ros2cli",
    "train": "train or fine-tune a policy on demonstrations",
    "vocabulary": "train the text vocabulary from free text",
}


def main() -> int:
    """Runs `gato VERB ...`. Returns the verb's exit status; 2 for an unknown verb."""
    try:
        status = _run()
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def told(error: BaseException) -> str:
    """An error as one line for people: KeyError's own text is a key in quotes."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if isinstance(error, KeyError) and " " not in text:
        return f"expected {text}, got nothing of that name"
    return text or type(error).__name__


def _run() -> int:
    verbs = {entry.name: entry for entry in entry_points(group="gato.commands")}
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        _print_help(sorted(verbs))
        return 0 if len(sys.argv) > 1 else 2
    verb = sys.argv[1]
    if verb == "--version":
        print(f"gato {version('gato_core')}")
        return 0
    if verb not in verbs:
        _print_unknown(verb, sorted(verbs))
        return 2
    try:
        run = verbs[verb].load()
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0].startswith("gato_"):
            raise
        print(
            f"gato {verb}: {error.name} is not installed; `make install` adds it", file=sys.stderr
        )
        return 1
    except (ImportError, AttributeError, OSError, RuntimeError) as error:
        if "MUJOCO_GL" not in os.environ:
            raise
        # MuJoCo loads its OpenGL when it is imported
        print(
            f"gato {verb}: MUJOCO_GL={os.environ['MUJOCO_GL']} cannot be loaded ({error}): unset "
            "it to have egl or osmesa chosen",
            file=sys.stderr,
        )
        return 1
    sys.argv = [f"gato {verb}", *sys.argv[2:]]
    return run() or 0


def _print_unknown(verb: str, verbs: list[str]) -> None:
    import difflib  # only where a verb is wrong

    near = difflib.get_close_matches(verb, verbs, n=1)
    meant = f"; did you mean {near[0]}?" if near else ""
    print(f"gato: expected one of {verbs}, got {verb!r}{meant}", file=sys.stderr)


def _print_help(verbs: list[str]) -> None:
    print("usage: gato VERB [options]      gato VERB --help explains one\n")
    for verb in verbs:
        print(f"  {verb:<12}{SUMMARY.get(verb, '')}")
    print("\nexample: gato evaluate --checkpoint checkpoints/control --episodes 10")


if __name__ == "__main__":
    sys.exit(main())
