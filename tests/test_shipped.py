"""The shipped checkpoints' published figures are those of the results that lie beside them."""

from pathlib import Path

import pytest

from gato_core.storage import read_json
from gato_sim import suites
from gato_sim.summary import read_folder, summarize

ROOT = Path(__file__).parents[1]
FOLDERS = sorted(path.parent for path in ROOT.glob("checkpoints/*/results/*/settings.json"))
PUBLISHED = {  # whose table the README has, and those of which it has the last cell
    "control/skill-generalization-benchmark": True,
    "control/skill-generalization-stable": False,
    "mastery/skill-mastery-benchmark": False,
}
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


def sentence(summary: dict) -> str:
    """Success at the end of all episodes, as the README's text has it."""
    end = summary["all"]["success_end"]
    low, high = (round(100 * bound) for bound in end["wilson"])
    rate = round(100 * end["rate"])
    return f"{rate} % ({end['successes']} of {end['episodes']:,}, {low}-{high})"


def name_of(folder: Path) -> str:
    return f"{folder.parents[1].name}/{folder.name}"


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_published_figures_follow_from_the_results_of_these_weights(folder):
    path = folder.parents[1]
    settings, results = read_json(folder / "settings.json"), read_folder(folder)
    assert settings["weights_sha256"] == read_json(path / "config.json")["weights_sha256"]
    drawn = folder.name.endswith("-drawn")
    assert (settings["max_steps"], settings["temperature"]) == (400, 1.0 if drawn else 0.0)
    trials = suites.trials(settings["suite"], max(result["index"] for result in results) + 1)
    known = {(trial.task, trial.index, trial.seed, trial.objects) for trial in trials}
    assert {(r["task"], r["index"], r["seed"], r["objects"]) for r in results} == known
    summary = summarize(results)
    card, readme = ((p / "README.md").read_text().replace("**", "") for p in (path, ROOT))
    for line in rows(summary):
        assert line in card, f"the card lacks: {line}"
    if name_of(folder) in PUBLISHED:
        for line in rows(summary) if PUBLISHED[name_of(folder)] else [sentence(summary)]:
            assert line in " ".join(readme.split("\n")), f"README.md lacks: {line}"


def test_what_the_readme_publishes_has_results():
    assert PUBLISHED.keys() <= {name_of(folder) for folder in FOLDERS}


def test_a_policy_that_saw_the_test_objects_publishes_no_generalization():
    for folder in FOLDERS:
        data = read_json(folder.parents[1] / "config.json")["provenance"]["data"]
        seen = {triplets for part in data for triplets in part["triplets"]}
        assert seen, folder
        if "generalization" in folder.name or "selection" in folder.name:
            assert seen == {"train"}, folder
