"""The shipped checkpoint's published figures are those of the results that lie beside it."""

from pathlib import Path

import pytest

from gato_core.storage import read_json
from gato_sim import suites
from gato_sim.summary import read_folder, summarize

ROOT = Path(__file__).parents[1]
CHECKPOINT = ROOT / "checkpoints/control"
FOLDERS = sorted(path for path in (CHECKPOINT / "results").iterdir() if path.is_dir())
PUBLISHED = "skill-generalization-benchmark"
TITLES = {
    "success_end": "success at the end, %",
    "success_ever": "ever, %",
    "success_strict": "strict, %",
}


def rows(summary: dict) -> list[str]:
    """The lines of a table as the card and the README have it."""
    if len(summary["tasks"]) == 1:  # how it was chosen: counts beside those of its parents
        end, ever = (summary["all"][m]["successes"] for m in ("success_end", "success_ever"))
        return [f"this one | {end} | {ever} |"]
    tables = [*summary["tasks"].values(), summary["all"]]
    lines = []
    for metric, title in TITLES.items():
        cells = [title]
        for rate in (table[metric] for table in tables):
            low, high = (round(100 * bound) for bound in rate["wilson"])
            cells.append(f"{round(100 * rate['rate'])} ({low}-{high})")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_published_figures_follow_from_the_results_of_these_weights(folder):
    settings, results = read_json(folder / "settings.json"), read_folder(folder)
    assert settings["weights_sha256"] == read_json(CHECKPOINT / "config.json")["weights_sha256"]
    assert (settings["max_steps"], settings["temperature"]) == (400, 0.0)
    trials = suites.trials(settings["suite"], max(result["index"] for result in results) + 1)
    known = {(trial.task, trial.index, trial.seed, trial.objects) for trial in trials}
    assert {(r["task"], r["index"], r["seed"], r["objects"]) for r in results} == known
    pages = ["checkpoints/control/README.md"]
    pages += ["README.md"] if folder.name == PUBLISHED else []
    for text in pages:
        page = (ROOT / text).read_text().replace("**", "")
        for line in rows(summarize(results)):
            assert line in page, f"{text} lacks: {line}"


def test_the_published_table_is_skill_generalization_under_benchmark_physics():
    assert PUBLISHED in [folder.name for folder in FOLDERS]
