"""What a shell offers after `gato`."""

import shutil
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from gato_core.tools import completion

ARGPARSE = """usage: gato assets [-h] [--wheels WHEELS]

options:
  -h, --help       show this help message and exit
  --wheels WHEELS  folder that already holds --what it takes
"""
TYRO = """usage: gato analyze [-h] {attention,embedding}

╭─ options ───────────╮
│ -h, --help          show this help message and exit │
│ --physics {benchmark,stable}                        │
│                     --physics of the scene          │
│ --actor {None}|PATH                                 │
│ --successes-only, --no-successes-only               │
│                     Train on                        │
╰─────────────────────╯
"""


@pytest.fixture(scope="module")
def scripts():
    """{shell: its script}, of the verbs that are installed, from processes of their own."""
    code = "from gato_core.tools import completion as c; h = c.helps(); s = '\\0'\n"
    code += "print(s.join(shell(h) for shell in (c.bash, c.zsh, c.fish)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return dict(zip(completion.SHELLS, done.stdout.split("\0"), strict=True))


def offered(script: str, *words: str) -> list[str]:
    """What bash's function leaves for the last word."""
    typed = " ".join(f"'{word}'" for word in words)
    ask = f"COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; _gato\n"
    ask += 'printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout.split()


def test_options_are_read_from_either_kind_of_help():
    assert completion.options_in(ARGPARSE) == [
        completion.Option(("--help",), (), True),
        completion.Option(("--wheels",), (), False),
    ]
    assert completion.options_in(TYRO) == [
        completion.Option(("--help",), (), True),
        completion.Option(("--physics",), ("benchmark", "stable"), False),
        completion.Option(("--actor",), (), False),
        completion.Option(("--successes-only", "--no-successes-only"), (), True),
    ]
    assert completion.subcommands_in(TYRO) == ["attention", "embedding"]
    assert completion.subcommands_in(ARGPARSE) == []


def test_bash_completes_verbs_options_and_choices(scripts):
    verbs = {entry.name for entry in entry_points(group="gato.commands")}
    assert set(offered(scripts["bash"], "gato", "")) == verbs | {"--help", "--version"}
    assert offered(scripts["bash"], "gato", "eval") == ["evaluate"]
    assert offered(scripts["bash"], "gato", "collect", "--ph") == ["--physics"]
    assert offered(scripts["bash"], "gato", "collect", "--physics", "") == ["benchmark", "stable"]
    assert offered(scripts["bash"], "gato", "analyze", "att") == ["attention"]
    assert offered(scripts["bash"], "gato", "collect", "--out", "") == []  # files, by default


def test_every_verb_has_its_help_option_in_every_shell(scripts):
    for entry in entry_points(group="gato.commands"):
        if entry.name != "completion":
            assert "--help" in offered(scripts["bash"], "gato", entry.name, "--h")
            line = f'"__fish_seen_subcommand_from {entry.name}" -l help'
            assert line in scripts["fish"]
    assert scripts["bash"] in scripts["zsh"]


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_a_shell_that_is_here_can_read_its_script(shell, scripts):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    subprocess.run([shell, "-n"], input=scripts[shell], text=True, check=True)


@pytest.mark.parametrize("arguments", [[], ["powershell"], ["bash", "zsh"]])
def test_another_shell_is_refused_with_those_that_are_known(arguments, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gato completion", *arguments])
    assert completion.main() == 2
    assert "expected one of bash, zsh, fish, got" in capsys.readouterr().err
