"""Trains the text vocabulary from free text: `gato vocabulary`.

Byte-pair encoding without normalisation, so that every string survives a round trip: digits stand
alone, spaces are kept, and what has no piece becomes bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import html
import io
import itertools
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import tyro
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from gato_core.text.pieces import END, PADDING, UNKNOWN, sha256

# from their copyright files; a vocabulary holds words and their parts, none of the texts
LICENCES = {
    "debian-reference-en": "GPL-2+",
    "dict-gcide": "GPL-3+",
    "git-doc": "GPL-2",
    "perl-doc": "Artistic or GPL-1+",
    "python3.11-doc": "PSF-2",
}
HELD_OUT = 200  # one line of so many is for measuring
ROBOT_SHARE = 0.04
HTML = re.compile(r"<(script|style).*?</\1>|<[^>]*>", re.DOTALL)
MANUAL = re.compile(r"^[.'].*$|\\f.|\\&", re.MULTILINE)
PERL = re.compile(r"[A-Z]<+|(?<=\w)>+")
MARKUP = {".html": HTML, ".htm": HTML, ".pod": PERL, ".3pm": MANUAL}
MARKUP |= {f".{section}": MANUAL for section in range(1, 9)}
PLAIN = ("", ".txt", ".rst", ".md", ".dict")
LETTERS = re.compile(r"[A-Za-z ]+")

COLOURS = ("red", "green", "blue")
OBJECTS = ("block", "object", "cube", "one")
SENTENCES = (
    "stack the {a} {o} on the {b} {o}",
    "Put the {a} {o} on top of the {b} {o} and ignore the {c} {o}.",
    "Pick up the {a} {o} and place it in the basket, next to the {b} {o}.",
    "The robot arm lifts the {a} {o} above the {b} {o} with its gripper.",
    "The gripper is open and the {a} {o} has fallen beside the {b} {o}.",
    "A camera looks at a robot that is stacking a {a} {o} onto a {b} {o}.",
    "Move the gripper to the left of the {a} {o}, then to the right of the {b} {o}.",
    "Push the {a} {o} away from the {b} {o} towards the {c} {o}.",
    "Question: What colour is the {o} on top? Answer: {a}",
    "Question: Is the {a} {o} on the {b} {o}? Answer: yes",
    "Question: Is the {a} {o} below the {b} {o}? Answer: no",
    "Question: How many objects are in the basket? Answer: three",
    "Human: Which {o} does the robot hold? Gato: It holds the {a} {o}.",
    "The demonstration ends when the {a} {o} stands on the {b} {o} and the fingers let go.",
    "Joint angles, joint velocities and the pose of the wrist control the Sawyer robot.",
)


@dataclass(frozen=True)
class VocabularyConfig:
    """Trains the text vocabulary, a SentencePiece model, from free text.

    example: gato vocabulary --num-pieces 4096 --output outputs/vocabulary/small

    example: gato vocabulary --text /usr/share/doc /usr/share/man/man1 --packages
    """

    text: tuple[Path, ...] = ()
    """Files and folders of text, HTML, manual pages or Perl documentation, also compressed."""
    packages: tuple[str, ...] = tuple(LICENCES)
    """Debian packages to fetch with apt-get and to read beside `text`."""
    megabytes: float = 6.0
    """The most to take from each of them, evenly spread."""
    num_pieces: int = 32000
    output: Path = Path("outputs/vocabulary/english")
    """Written with the suffixes .model and .json."""

    def __post_init__(self) -> None:
        if not (self.text or self.packages):
            raise ValueError("text: expected files or packages to read, got none")
        for name in ("megabytes", "num_pieces"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected > 0, got {getattr(self, name)}")


def main() -> int:
    """The last line is JSON; 1 with a message for sources that cannot be read."""
    try:
        provenance = train(tyro.cli(VocabularyConfig, prog="gato vocabulary"))
    except (ValueError, OSError) as error:
        print(f"gato vocabulary: {error}", file=sys.stderr)
        return 1
    print(json.dumps(provenance))
    return 0


def train(config: VocabularyConfig) -> dict:
    """Trains, measures and writes the model and its provenance, which it returns."""
    with tempfile.TemporaryDirectory() as folder:
        sources = {str(path): path for path in config.text}
        sources |= {name: fetch(name, Path(folder)) for name in config.packages}
        lines = {name: distinct_lines(path, config.megabytes) for name, path in sources.items()}
        versions = {name: _package_version(sources[name]) for name in config.packages}
    every = list(dict.fromkeys(itertools.chain.from_iterable(lines.values())))
    train, held_out = [x for i, x in enumerate(every) if i % HELD_OUT], every[::HELD_OUT]
    model = train_model(train, config.num_pieces)
    described = [
        {"name": name, "version": versions.get(name), "licence": LICENCES.get(name),
         "bytes": _num_bytes(chosen)}
        for name, chosen in lines.items()
    ]  # fmt: skip
    provenance = {
        "sources": described,
        "robot_sentences_share": ROBOT_SHARE,
        "num_pieces": config.num_pieces,
        "sentencepiece": version("sentencepiece"),
        "command": " ".join(["gato vocabulary", *sys.argv[1:]]),
        "text_sha256": hashlib.sha256("\n".join(train).encode()).hexdigest(),
        "model_sha256": hashlib.sha256(model).hexdigest(),
        "pieces_sha256": sha256(SentencePieceProcessor(model_proto=model)),
        **measure(model, held_out),
    }
    config.output.parent.mkdir(parents=True, exist_ok=True)
    config.output.with_suffix(".model").write_bytes(model)
    config.output.with_suffix(".json").write_text(json.dumps(provenance, indent=1) + "\n")
    return provenance


def train_model(lines: list[str], num_pieces: int) -> bytes:
    """The serialized model. The same lines give the same bytes."""
    if not lines:
        raise ValueError("text: expected at least two lines of prose, one to measure on, got fewer")
    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=itertools.chain(lines, robot_lines(ROBOT_SHARE * _num_bytes(lines))),
            model_writer=model,
            model_type="bpe",
            vocab_size=num_pieces,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            byte_fallback=True,
            split_digits=True,
            character_coverage=0.9999,
            user_defined_symbols=["\n"],
            unk_id=UNKNOWN,
            eos_id=END,
            pad_id=PADDING,
            bos_id=-1,
            num_threads=1,
            minloglevel=2,
        )
    except (RuntimeError, OverflowError, TypeError) as error:  # SentencePiece has these alone
        reason = str(error).rsplit("] ", 1)[-1]
        raise ValueError(
            f"num_pieces: expected what this text gives, got {num_pieces}: {reason}"
        ) from error
    return model.getvalue()


def measure(model: bytes, lines: list[str]) -> dict[str, float]:
    """Held-out bytes per token, and the share of lines that come back unchanged."""
    pieces = SentencePieceProcessor(model_proto=model)
    encoded = pieces.encode(lines)
    same = sum(x == y for x, y in zip(lines, pieces.decode(encoded)))
    return {
        "held_out_lines": len(lines),
        "held_out_bytes_per_token": round(_num_bytes(lines) / sum(map(len, encoded)), 3),
        "held_out_round_trips": same / len(lines),
    }


def robot_lines(num_bytes: float) -> Iterator[str]:
    """Instructions, captions and questions of the stacking task, over and over."""
    colours = itertools.permutations(COLOURS)
    choices = itertools.cycle(itertools.product(SENTENCES, colours, OBJECTS))
    total = 0
    while total < num_bytes:
        sentence, (a, b, c), o = next(choices)
        line = sentence.format(a=a, b=b, c=c, o=o)
        total += len(line)
        yield line


def fetch(package: str, folder: Path) -> Path:
    """A Debian package downloaded by apt-get and unpacked; the folder of its files."""
    try:
        subprocess.run(["apt-get", "download", "-q", package], cwd=folder, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        raise ValueError(f"{package}: expected a Debian package, got {error}") from error
    (archive,) = folder.glob(f"{package}_*.deb")
    unpacked = folder / archive.stem
    subprocess.run(["dpkg-deb", "--extract", archive, unpacked], check=True)
    return unpacked


def distinct_lines(path: Path, megabytes: float) -> list[str]:
    """Distinct lines of prose from a file or a folder, as many as wanted, evenly spread."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    lines = list(dict.fromkeys(itertools.chain.from_iterable(map(prose, files))))
    if not lines:
        raise ValueError(f"{path}: expected text, got none")
    stride = max(1, -int(-_num_bytes(lines) // (megabytes * 1e6)))
    return lines[::stride]


def prose(file: Path) -> Iterator[str]:
    """The lines of a file that are mostly letters, without markup; none if it is not text."""
    compressed = file.suffix in (".gz", ".dz")
    suffix = Path(file.stem if compressed else file.name).suffix
    if suffix not in (*PLAIN, *MARKUP) or file.is_symlink():
        return
    data = gzip.decompress(file.read_bytes()) if compressed else file.read_bytes()
    if b"\0" in data:
        return
    text = data.decode("utf-8", "ignore")
    if suffix in MARKUP:
        text = html.unescape(MARKUP[suffix].sub("", text))
    for line in text.splitlines():
        line = " ".join(line.split())
        if len(line) >= 30 and sum(map(len, LETTERS.findall(line))) >= 0.75 * len(line):
            yield line


def _package_version(unpacked: Path) -> str:
    """`name_version_architecture`, with apt's escapes undone."""
    return unpacked.name.split("_")[1].replace("%3a", ":")


def _num_bytes(lines: list[str]) -> int:
    return sum(len(line.encode()) for line in lines)
