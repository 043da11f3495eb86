"""How well a small network learns to say what it sees, and how fast it says it.

    python bench/words.py                            # 3,000 drawn scenes, 2 minutes of one core
    python bench/words.py --preset 79m --updates 0   # speed alone

A scene is two coloured blocks or balls, one on the other or beside it: a caption, a question and an
answer each. Others are captioned and asked about afterwards; only the very words count as right.
Speed is one more token after 100 and after 900, from the cache and with all read anew, in turn.
The last line is JSON.
"""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import PIL.Image
import PIL.ImageDraw
import torch
import tyro
from torch.nn import functional as F

from gato_core.model import Gato, plain, preset, to_tensors, with_text
from gato_core.text import documents
from gato_core.text.generate import Reading, stream
from gato_core.text.sources import Documents
from gato_core.tokenizer import NO_POSITION, Tokens
from gato_core.tools.bench import hardware
from gato_training.data.documents import DocumentBatches

COLOURS = {"red": "#d22828", "green": "#28b43c", "blue": "#3246dc", "yellow": "#e6d228"}
SHAPES = ("block", "ball")
ASKED = "Which object is on top?"
SIDE, SIZE, GAP = 64, 16, 20  # pixels: of a picture, of an object, between neighbours


@dataclass(frozen=True)
class Options:
    """What to learn and to measure."""

    preset: str = "debug"
    num_scenes: int = 3000
    num_asked: int = 200
    """Other scenes, which are captioned and asked about."""
    updates: int = 1500
    batch_size: int = 32
    learning_rate: float = 3e-3
    seed: int = 0
    threads: int = 1


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    model = Gato(with_text(preset(options.preset)))
    result = {
        "preset": options.preset,
        "parameters": sum(p.numel() for p in model.parameters()),
        "hardware": hardware("cpu", options.threads),
    }
    if options.updates:
        with tempfile.TemporaryDirectory() as folder:
            seen, others = (Path(folder) / f"{name}.tar" for name in ("seen", "others"))
            draw(seen, options.num_scenes, options.seed)
            draw(others, options.num_asked, options.seed + 1)
            result |= learn(model, Documents(seen), options)
            result |= ask(model.eval(), Documents(others))
    result |= speed(model.eval())
    print(json.dumps(result))


def draw(file: Path, num_scenes: int, seed: int) -> None:
    """A shard with a caption and a question for every scene."""
    rng = np.random.default_rng(seed)
    with tarfile.open(file, "w") as archive:
        for i in range(num_scenes):
            picture, caption, answer = scene(rng)
            png = io.BytesIO()
            picture.save(png, "PNG")
            asked = json.dumps({"question": ASKED, "answer": answer}).encode()
            for name, data in (
                (f"{i}a.png", png.getvalue()), (f"{i}a.txt", caption.encode()),
                (f"{i}b.png", png.getvalue()), (f"{i}b.json", asked),
            ):  # fmt: skip
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))


def scene(rng: np.random.Generator) -> tuple[PIL.Image.Image, str, str]:
    """A picture, what it shows, and which object is on top."""
    grey = tuple(int(x) for x in rng.integers(150, 230, 3))
    picture = PIL.Image.new("RGB", (SIDE, SIDE), grey)
    colours = rng.choice(list(COLOURS), 2, replace=False)
    one, other = (f"{colour} {rng.choice(SHAPES)}" for colour in colours)
    x, y = int(rng.integers(8, SIDE - 24)), int(rng.integers(26, 44))
    _draw(picture, other, x, y)
    if rng.random() < 0.5:
        _draw(picture, one, x + int(rng.integers(-3, 4)), y - SIZE)
        return picture, f"a {one} on a {other}", f"the {one}"
    beside = x + GAP if x < SIDE / 2 - 8 else x - GAP
    _draw(picture, one, beside, y)
    left, right = (one, other) if beside < x else (other, one)
    return picture, f"a {left} left of a {right}", "none"


def _draw(picture: PIL.Image.Image, named: str, x: int, y: int) -> None:
    colour, shape = named.split()
    canvas = PIL.ImageDraw.Draw(picture)
    form = canvas.rectangle if shape == "block" else canvas.ellipse
    form((x, y, x + SIZE - 1, y + SIZE - 1), fill=COLOURS[colour])


def learn(model: Gato, seen: Documents, options: Options) -> dict:
    """AdamW with a cosine to a tenth, and no more."""
    numbers = range(len(seen))
    source = DocumentBatches(
        seen, numbers, model.config.vocabulary, 128, options.batch_size, options.seed
    )
    optimizer = torch.optim.AdamW(
        model.parameters(), options.learning_rate, betas=(0.9, 0.95), weight_decay=0.1
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda k: min(1, (k + 1) / 50) * (0.55 + 0.45 * np.cos(np.pi * k / options.updates)),
    )
    model.train()
    start, loss = time.process_time(), torch.zeros(())
    for k in range(options.updates):
        tokens = to_tensors(source.batch(k).tokens)
        loss = F.cross_entropy(model(tokens), tokens.id[tokens.target])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if k % 100 == 0:
            print(f"update {k}: loss {loss.item():.3f}", flush=True)
    seconds = time.process_time() - start
    return {"updates": options.updates, "loss": loss.item(), "cpu_seconds": round(seconds, 1)}


def ask(model: Gato, others: Documents) -> dict:
    """How many captions and answers are right, of as many."""
    right = {"captions_right": 0, "answers_right": 0}
    for document in others:
        *given, expected = document.parts
        said = "".join(stream(model, documents.Document(tuple(given)), max_tokens=24))
        kind = "captions_right" if len(given) == 1 else "answers_right"
        right[kind] += said == str(expected).strip()
    return right | {"asked": len(others) // 2}


@torch.inference_mode()
def speed(model: Gato) -> dict:
    """Milliseconds of CPU time for one more token."""
    found = {}
    for length in (100, 900):
        cached, anew = [], []
        text, one = (_words(model, count) for count in (length, 1))
        reading = Reading(model, 1024)
        reading.extend(text)
        for _ in range(8):
            cached.append(_milliseconds(model, reading, one))
            anew.append(_milliseconds(model, Reading(model, 1024), text))
        found[f"token_ms_after_{length}"] = round(median(cached), 2)
        found[f"anew_ms_after_{length}"] = round(median(anew), 1)
    return found


def _words(model: Gato, count: int) -> Tokens[torch.Tensor]:
    id_BL = torch.randint(4, model.config.vocabulary.num_text, (1, count))
    return plain(id_BL, torch.full_like(id_BL, NO_POSITION))


def _milliseconds(model: Gato, reading: Reading, tokens: Tokens[torch.Tensor]) -> float:
    start = time.process_time()
    model.logits(reading.extend(tokens), (0, model.config.vocabulary.num_text))
    return 1e3 * (time.process_time() - start)


if __name__ == "__main__":
    main()
