"""The shipped checkpoints' published figures are those of the results that lie beside them."""

import re
from pathlib import Path

import pytest

from gato_core import checkpoint
from gato_core.data.storage import read_json
from gato_sim.domains.rgb_stacking import seen, suites
from gato_sim.results.summary import read_folder, summarize

ROOT = Path(__file__).parents[2]
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


def rows(summary: dict, temperature: float) -> list[str]:
    """The lines of a table as the card and the README have it."""
    if len(summary["tasks"]) == 1:  # how the temperature was chosen
        end, ever = (summary["all"][m]["successes"] for m in ("success_end", "success_ever"))
        return [f"{temperature:g} | {end} | {ever} |"]
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


def temperature_of(folder: Path) -> float:
    """The checkpoint's own, unless the folder's name ends in another: -t0.5."""
    given = re.search(r"-t([\d.]+)$", folder.name)
    return float(given[1]) if given else checkpoint.load(folder.parents[1]).embodiment().temperature


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_published_figures_follow_from_the_results_of_these_weights(folder):
    path = folder.parents[1]
    settings, results = read_json(folder / "settings.json"), read_folder(folder)
    assert settings["weights_sha256"] == read_json(path / "config.json")["weights_sha256"]
    assert settings["max_steps"] == 400
    assert settings["temperature"] == temperature_of(folder)
    trials = suites.trials(settings["suite"], max(result["index"] for result in results) + 1)
    known = {(trial.task, trial.index, trial.seed, trial.objects) for trial in trials}
    assert {(r["task"], r["index"], r["seed"], r["objects"]) for r in results} == known
    summary = summarize(results)
    card, readme = ((p / "README.md").read_text().replace("**", "") for p in (path, ROOT))
    lines = rows(summary, settings["temperature"])
    for line in lines:
        assert line in card, f"the card lacks: {line}"
    if name_of(folder) in PUBLISHED:
        for line in lines if PUBLISHED[name_of(folder)] else [sentence(summary)]:
            assert line in " ".join(readme.split("\n")), f"README.md lacks: {line}"


def test_the_temperature_is_the_one_that_succeeded_most_on_selection():
    tried = [path for path in FOLDERS if name_of(path).startswith("control/selection-benchmark")]
    successes = {
        temperature_of(path): sum(result["success_end"] for result in read_folder(path))
        for path in tried
    }
    assert len(successes) == 3
    assert (
        max(successes, key=successes.get)
        == checkpoint.load(tried[0].parents[1]).embodiment().temperature
    )


def test_what_the_readme_publishes_has_results():
    assert PUBLISHED.keys() <= {name_of(folder) for folder in FOLDERS}


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_a_policy_that_saw_the_test_objects_publishes_no_generalization(folder):
    path = folder.parents[1]
    provenance = read_json(path / "config.json")["provenance"]
    if "generalization" in folder.name or "selection" in folder.name:
        seen.check_unseen(provenance, path)
        assert {name for part in provenance["data"] for name in part["triplets"]} == {"train"}
    else:
        assert folder.name.startswith("skill-mastery"), folder
        with pytest.raises(ValueError, match="trained on the test triplets"):
            seen.check_unseen(provenance, path)
