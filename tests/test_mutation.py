"""Tests of core functions notice every small change to them; see mutation.py."""

import ast
import json
import subprocess
import sys

import mutation
import pytest


def test_each_place_is_changed_once_and_messages_are_left_alone():
    text = "def f(x, y=1):\n  if x < 2:\n    raise ValueError(f'{x + 1}')\n  return not min(x, y)"
    error = "\n    raise ValueError(f'{x + 1}')"
    changes = [said for said, _ in mutation.mutants(ast.parse(text).body[0])]
    assert sorted(changes) == [
        "1: 2 -> 3",
        f"1: if x < 2:{error} -> if not x < 2:{error}",
        "1: x < 2 -> x <= 2",
        "3: min -> max",
        "3: not min(x, y) -> not not min(x, y)",
    ]


@pytest.mark.long
def test_a_change_is_noticed_by_the_tests_of_its_function_and_not_by_others():
    name, vocabulary = "gato_core.vocab:bin_centre", ["core/test_vocab.py"]
    assert mutation.survivors(name, vocabulary)[1] == []
    tried, survived = mutation.survivors(name, ["test_packages.py"])
    assert tried == len(survived) > 3


@pytest.mark.long
def test_no_change_of_these_functions_goes_unnoticed():
    done = subprocess.run([sys.executable, mutation.__file__], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    assert len(results) >= 10 and all(result["tried"] > 3 for result in results.values())
    assert {
        name: result["survived"] for name, result in results.items() if result["survived"]
    } == {}
