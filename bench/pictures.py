"""Draws the pictures of docs/evaluation.md anew.

    python bench/pictures.py [--recorded FOLDER ...] [--out docs/images]

cameras.png: both front cameras for three triplets, light and faithful; beside them the original's
own images of the same states, from the folders that tests/compat/compare.py --keep has filled.
randomised.png: several draws of each profile of domain randomisation.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np

import gato_sim
from gato_sim.domains.rgb_stacking import objects, randomise
from gato_sim.domains.rgb_stacking.scene.render import RenderTwin

CAMERAS = ("basket_front_left", "basket_front_right")
TASKS = ("rgb_test_triplet1", "rgb_test_triplet3", "rgb_test_triplet5")
SIZE = 128  # pixels, the original's
STATE = 1  # of those that a recording has images of: the gripper at the red object
NUM_DRAWS = 6
_MARGIN, _HEADER = 4, 18  # pixels


def sheet(rows: list[list[np.ndarray]], titles: list[str]) -> np.ndarray:
    """Images of one size in rows, under the titles of their columns."""
    height, width, _ = rows[0][0].shape
    columns = max(map(len, rows))
    page = np.full(
        (_HEADER + len(rows) * (height + _MARGIN), columns * (width + _MARGIN), 3), 255, np.uint8
    )
    for column, title in enumerate(titles):
        place = (column * (width + _MARGIN) + 2, 12)
        cv2.putText(page, title, place, cv2.FONT_HERSHEY_SIMPLEX, 0.35, (0, 0, 0), 1, cv2.LINE_AA)
    for r, row in enumerate(rows):
        for c, image in enumerate(row):
            y, x = _HEADER + r * (height + _MARGIN), c * (width + _MARGIN)
            page[y : y + height, x : x + width] = image
    return page


def state_of(task: str, recording: dict | None) -> np.ndarray:
    """qpos of the recorded state, else of the start of an episode."""
    if recording is not None:
        return recording["image/qpos"][STATE]
    env = gato_sim.load(task, seed=0, physics="stable")
    env.reset()
    return env.simulation.data.qpos.copy()


def cameras_sheet(recordings: dict[str, dict]) -> tuple[np.ndarray, dict]:
    """The page, and the mean difference (of 255) of each style from the original's images."""
    styles = ("light", "faithful")
    rows, errors = [], {style: [] for style in styles}
    for task in TASKS:
        recording, row = recordings.get(task), []
        qpos = state_of(task, recording)
        twins = {style: RenderTwin(objects.TEST_TRIPLETS[task], style=style) for style in styles}
        for camera in CAMERAS:
            images = [twins[style].render(qpos, camera, SIZE, SIZE) for style in styles]
            if recording is not None:
                images.append(recording[f"image/{camera}"][STATE])
                for style, image in zip(styles, images):
                    errors[style].append(np.abs(image.astype(int) - images[2]).mean())
            row += images
        rows.append(row)
        for twin in twins.values():
            twin.close()
    names = [*styles, "original"] if recordings else [*styles]
    titles = [f"{name}, {camera.split('_')[-1]}" for camera in CAMERAS for name in names]
    errors = {style: round(float(np.mean(e)), 3) for style, e in errors.items() if e}
    return sheet(rows, titles), errors


def randomised_sheet() -> np.ndarray:
    """The same start of an episode in several draws of each profile."""
    rows = []
    for profile in randomise.PROFILES:
        env = gato_sim.load(TASKS[0], seed=0, physics="stable")
        env.reset()
        qpos = env.simulation.data.qpos.copy()
        twin = RenderTwin(env.triplet)
        row = []
        for seed in range(NUM_DRAWS if profile != "none" else 1):
            twin.vary(randomise.draw(profile, seed))
            row.append(twin.render(qpos, CAMERAS[0], SIZE, SIZE))
        rows.append(row)
        twin.close()
    return sheet(rows, [", ".join(randomise.PROFILES) + " (rows)"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recorded", type=Path, nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    arguments = parser.parse_args()
    recordings = {}
    for folder in arguments.recorded:
        recording = dict(np.load(folder / "trajectory.npz"))
        recordings[str(recording["task"])] = recording
    if recordings and (missing := sorted(set(TASKS) - recordings.keys())):
        parser.error(f"--recorded: expected {', '.join(TASKS)}, missing {', '.join(missing)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    page, errors = cameras_sheet(recordings)
    for name, image in (("cameras.png", page), ("randomised.png", randomised_sheet())):
        cv2.imwrite(str(arguments.out / name), image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
        print(arguments.out / name)
    print(json.dumps({"mean_difference_from_original": errors}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
