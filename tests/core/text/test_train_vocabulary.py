"""`gato vocabulary`: every option has an effect or is refused, and texts that are too small too."""

import pytest
from option_effects import Case, check_every_option

from gato_core.text.train_vocabulary import VocabularyConfig, train

WORDS = "a robot arm lifts the red block above the blue one and lets it go".split()


def prose(path, seed: int):
    """Sixty lines of words in other orders."""
    lines = [" ".join(WORDS[(i * seed + j) % len(WORDS)] for j in range(12)) for i in range(60)]
    path.write_text("\n".join(dict.fromkeys(lines)))
    return path


def test_every_option_has_an_effect_or_is_refused(tmp_path):
    one, two = prose(tmp_path / "one.txt", 4), prose(tmp_path / "two.txt", 7)
    usual = {"text": (one,), "packages": (), "num_pieces": 300}

    def outcome(options, folder):
        given = {"output": folder / "english", **options}
        if not given["output"].is_absolute():
            given["output"] = folder / given["output"]
        provenance = train(VocabularyConfig(**given))
        names = sorted(path.name for path in folder.iterdir())
        return names, provenance["text_sha256"], provenance["num_pieces"]

    output = usual["text"][0].relative_to(tmp_path).with_suffix("")
    check_every_option(
        VocabularyConfig,
        outcome,
        tmp_path / "work",
        cases=[
            Case("text", (two,), usual),
            Case("text", (tmp_path / "none",), usual, refused="none: expected text, got none"),
            Case("text", (), usual, refused="text: expected files or packages"),
            Case("packages", ("no-such-package-here",), usual, refused="expected a Debian package"),
            Case("megabytes", 0.0003, usual),
            Case("megabytes", float("nan"), usual, refused="megabytes: expected > 0, got nan"),
            Case("num_pieces", 310, usual),
            Case("num_pieces", 0, usual, refused="num_pieces: expected > 0, got 0"),
            Case("num_pieces", 99_999, usual, refused="num_pieces: expected what this text gives"),
            Case("num_pieces", 9, usual, refused="num_pieces: expected what this text gives"),
            Case("output", output, usual),
        ],
    )


def test_a_single_line_is_too_little(tmp_path):
    """Held out to measure on, it left nothing to train on, and a traceback."""
    (tmp_path / "one.txt").write_text(" ".join(WORDS))
    with pytest.raises(ValueError, match="expected at least two lines"):
        train(VocabularyConfig((tmp_path / "one.txt",), (), output=tmp_path / "out"))
