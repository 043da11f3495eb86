"""Shell completion of the `gato` command: verbs, their options and the options' choices.

Made from what each verb's --help says, so that it holds for any parser and stays a file without
Python in it: the shell answers at once.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from dataclasses import dataclass
from importlib.metadata import entry_points

SHELLS = ("bash", "zsh", "fish")
HELP = """usage: gato completion {bash,zsh,fish}

Prints the completion of verbs and options for a shell; making it takes some seconds, once.

example: gato completion bash > ~/.local/share/bash-completion/completions/gato
example: gato completion zsh > ~/.gato.zsh      and in ~/.zshrc: source ~/.gato.zsh
example: gato completion fish > ~/.config/fish/completions/gato.fish"""


@dataclass(frozen=True)
class Option:
    """names: `--held-out`, or both of a pair; choices: empty for a number, a path or any word."""

    names: tuple[str, ...]
    choices: tuple[str, ...]
    is_flag: bool


def options_in(text: str) -> list[Option]:
    """The options that a help text describes, and its subcommands as choices of no name."""
    found = []
    for line in text.splitlines():
        head = re.match(r"(?:│ |  )((?:-\w, )?--[^ ].*)", line)
        if not head:
            continue
        words = re.split(r"  | │|│", head[1])[0]  # the description begins after two spaces
        names = tuple(re.findall(r"(?:^|[ ,])(--[a-z][\w.-]*)", words))
        listed = re.search(r"\{([^}]*)\}", words)
        choices = tuple(listed[1].split(",")) if listed else ()
        value = re.sub(r"(?:-\w|--[a-z][\w.-]*)|[, |]", "", words)
        found.append(Option(names, () if choices == ("None",) else choices, not value))
    return found


def subcommands_in(text: str) -> list[str]:
    """What stands in braces in the first line of a help text: `usage: gato analyze {a,b}`."""
    listed = re.search(r"\{([a-z,-]+)\}", text.splitlines()[0])
    return listed[1].split(",") if listed else []


def help_of(run) -> str:
    """What a verb's main prints for --help, not wrapped."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        run()
    return output.getvalue()


def helps() -> dict[str, str]:
    """The help of every verb; empty for those whose packages are not installed."""
    os.environ["COLUMNS"] = "1000"
    found = {"completion": HELP}
    for entry in sorted(entry_points(group="gato.commands")):
        if entry.name not in found:
            sys.argv = [f"gato {entry.name}", "--help"]
            try:
                found[entry.name] = help_of(entry.load())
            except ModuleNotFoundError:  # an extra's
                found[entry.name] = ""
    return dict(sorted(found.items()))


def bash(helps: dict[str, str]) -> str:
    """A function that looks at the verb and at the word before; files where nothing is known."""
    verbs = "\n".join(_bash_verb(verb, text) for verb, text in helps.items())
    return f"""# completion of `gato` for bash
_gato() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" words=""
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="{" ".join(helps)} --help --version"
    else case "${{COMP_WORDS[1]}}" in
{verbs}
    esac; fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _gato gato"""


def _bash_verb(verb: str, text: str) -> str:
    """What may follow each option that takes a value, and else all that the verb knows."""
    options = options_in(text)
    known = [*subcommands_in(text), *(name for option in options for name in option.names)]
    valued = [option for option in options if not option.is_flag]
    cases = [f'{"|".join(o.names)}) words="{" ".join(o.choices)}" ;;' for o in valued if o.choices]
    if free := [name for option in valued if not option.choices for name in option.names]:
        cases.append(f"{'|'.join(free)}) ;;")
    cases.append(f'*) words="{" ".join(known)}" ;;')
    indent = "\n" + " " * 8
    return f'    {verb}) case "$before" in{indent}{indent.join(cases)}{indent}esac ;;'


def zsh(helps: dict[str, str]) -> str:
    """zsh runs bash's function."""
    return f"autoload -Uz compinit bashcompinit && compinit && bashcompinit\n{bash(helps)}"


def fish(helps: dict[str, str]) -> str:
    """One line a verb, one an option."""
    lines = ["# completion of `gato` for fish", "complete -c gato -n __fish_use_subcommand -f"]
    for verb, text in helps.items():
        lines.append(f"complete -c gato -n __fish_use_subcommand -f -a {verb}")
        seen = f'complete -c gato -n "__fish_seen_subcommand_from {verb}"'
        if subcommands := subcommands_in(text):
            lines.append(f'{seen} -f -a "{" ".join(subcommands)}"')
        for option in options_in(text):
            value = "" if option.is_flag else " -r"
            if option.choices:
                value = f' -x -a "{" ".join(option.choices)}"'
            lines += [f"{seen} -l {name[2:]}{value}" for name in option.names]
    return "\n".join(lines)


def main() -> int:
    """Prints the script. Returns 2 for an unknown shell."""
    arguments = sys.argv[1:]
    if arguments in (["-h"], ["--help"]):
        print(HELP)
        return 0
    if len(arguments) != 1 or arguments[0] not in SHELLS:
        got = " ".join(arguments) or "nothing"
        print(f"gato completion: expected one of {', '.join(SHELLS)}, got {got}", file=sys.stderr)
        return 2
    print({"bash": bash, "zsh": zsh, "fish": fish}[arguments[0]](helps()))
    return 0
