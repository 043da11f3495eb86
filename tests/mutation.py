"""Changes functions a little, one place at a time, and asks whether their tests notice.

    python tests/mutation.py             all of FUNCTIONS; the last line is JSON
    python tests/mutation.py vocab split   those whose names have one of these in them

A process that has imported the module forks for each change, puts the changed code into the
function and runs the tests that are named for it: a second or so each. What survives is a hole in
the tests, or changes nothing that anybody could see: those are named in SAME, and why.
"""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType

import pytest

TESTS = Path(__file__).parent
HEAVY = ("torch", "pyarrow.parquet", "mujoco", "rclpy")  # what tests would import in each fork
TIMEOUT = 120.0  # s; a change that makes tests hang is noticed, too
FUNCTIONS = {
    "gato_core.vocab:mu_law": ["core/test_vocab.py"],
    "gato_core.vocab:bin_index": ["core/test_vocab.py"],
    "gato_core.tokenizer:_encode": ["core/test_tokenizer.py"],
    "gato_core.tokenizer:Tokenizer.decode_action": ["core/test_tokenizer.py"],
    "gato_core.data.statistics:_merge": ["core/data/test_dataset.py"],
    "gato_training.loss:masked_loss": [
        "training/test_train.py::test_narrow_smoothing_is_cross_entropy",
        "training/test_train.py::test_words_are_never_taken_for_actions",
    ],
    "gato_training.sequences:split": ["training/test_sequences.py"],
    "gato_sim.results.statistics:wilson": ["sim/results/test_statistics.py"],
    "gato_sim.domains.rgb_stacking.reward:success": ["sim/rgb_stacking/test_reward.py"],
    "gato_sim.domains.rgb_stacking.reward:stages": ["sim/rgb_stacking/test_reward.py"],
    "gato_ros.safety.freshness:stale_streams": ["ros/safety/test_freshness.py"],
}
SAME = {  # by function and change
    **{
        f"gato_ros.safety.freshness:stale_streams {line}: 1000000000.0 -> 1000000001.0": (
            "a billionth of an age"
        )
        for line in (16, 17, 18)
    },
    "gato_sim.results.statistics:wilson 5: 0.5 + confidence / 2 -> 0.5 - confidence / 2": (
        "of the quantile only the square counts"
    ),
    "gato_sim.domains.rgb_stacking.reward:stages 10: distance < REACH_DISTANCE -> distance <= "
    "REACH_DISTANCE": "no distance is the limit to the last digit",
    "gato_core.vocab:bin_index 2: 1.0 -> 2.0": "the last bin is the most in any case",
    "gato_training.sequences:split 13: _place(start) < held_out -> _place(start) <= held_out": (
        "no start's place is the share to the last digit"
    ),
    "gato_core.data.statistics:_merge 3: 1 -> 2": "numpy takes any negative length for the unknown",
}
SWAPS: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div, ast.Mod: ast.Mult, ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}
NAMES |= {"minimum": "maximum", "maximum": "minimum", "floor": "ceil", "ceil": "floor"}


def mutants(function: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """(what changed, the changed function) for each place where something can."""
    nodes = list(ast.walk(function))
    told = set()  # messages and docstrings may say anything
    for node in nodes:
        if isinstance(node, ast.JoinedStr | ast.arguments):
            told |= set(ast.walk(node))
    for place, node in enumerate(nodes):
        if node in told:
            continue
        for variant in range(len(list(_changes(copy.deepcopy(node))))):
            changed = copy.deepcopy(function)
            mine = list(ast.walk(changed))[place]
            before = ast.unparse(mine)
            change = list(_changes(mine))[variant]
            change()
            after = ast.unparse(mine)
            yield f"{mine.lineno - function.lineno}: {before} -> {after}", changed


def _changes(node: ast.AST) -> Iterator:
    """Functions that change a node in place, each in another way."""
    if isinstance(node, ast.Compare):
        for i, op in enumerate(node.ops):
            if type(op) in SWAPS:
                yield lambda i=i, op=op: node.ops.__setitem__(i, SWAPS[type(op)]())
    elif isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign) and type(node.op) in SWAPS:
        yield lambda: setattr(node, "op", SWAPS[type(node.op)]())
    elif isinstance(node, ast.UnaryOp):  # twice is not at all
        yield lambda: setattr(node, "operand", ast.UnaryOp(node.op, node.operand))
    elif isinstance(node, ast.If | ast.IfExp):
        yield lambda: setattr(node, "test", ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield lambda: setattr(node, "value", not node.value)
        elif isinstance(node.value, int | float):
            yield lambda: setattr(node, "value", node.value + 1)
    elif isinstance(node, ast.Name | ast.Attribute):
        field = "id" if isinstance(node, ast.Name) else "attr"
        if (name := getattr(node, field)) in NAMES:
            yield lambda: setattr(node, field, NAMES[name])


def survivors(name: str, tests: list[str]) -> tuple[int, list[str]]:
    """How many changes of a function were tried, and those that its tests do not notice."""
    module_name, _, path = name.partition(":")
    module = importlib.import_module(module_name)
    function: FunctionType = module
    for part in path.split("."):
        function = inspect.unwrap(getattr(function, part))
    tree = ast.parse(inspect.getsource(module))
    line = function.__code__.co_firstlineno
    (node,) = (
        each
        for each in ast.walk(tree)
        if isinstance(each, ast.FunctionDef) and _first_line(each) == line
    )
    assert _notices(function, function.__code__, tests) is False, f"{name}: its tests fail as it is"
    tried, found = 0, []
    for said, changed in mutants(node):
        code = _code(tree, node, changed, function)
        tried += 1
        if not _notices(function, code, tests):
            found.append(said)
    return tried, found


def _first_line(node: ast.FunctionDef) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def _code(tree: ast.Module, node: ast.AST, changed: ast.AST, function: FunctionType) -> CodeType:
    """The changed function's code, compiled within its module."""
    fields = dict(vars(node))
    vars(node).update(vars(changed))
    try:
        code = compile(ast.fix_missing_locations(tree), function.__code__.co_filename, "exec")
    finally:
        vars(node).update(fields)
    waiting = [code]
    while waiting:
        one = waiting.pop()
        same_place = one.co_firstlineno == function.__code__.co_firstlineno
        if one.co_name == function.__name__ and same_place:
            return one
        waiting += [const for const in one.co_consts if isinstance(const, CodeType)]
    raise AssertionError(function)


def _notices(function: FunctionType, code: CodeType, tests: list[str]) -> bool:
    """Whether the tests fail with this code in the function, in a process of their own."""
    child = os.fork()
    if child == 0:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(null, number)
        function.__code__ = code
        paths = [str(TESTS / test) for test in tests]
        status = pytest.main([*paths, "-x", "-q", "-p", "no:cacheprovider", "-m", "not long"])
        os._exit(min(int(status), 1))
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status != 0
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def main(*wanted: str) -> dict[str, dict]:
    """{function: tried, survived}, without what SAME names."""
    for module in HEAVY:
        importlib.import_module(module)
    results = {}
    for name, tests in FUNCTIONS.items():
        if not wanted or any(part in name for part in wanted):
            tried, found = survivors(name, tests)
            left = [change for change in found if f"{name} {change}" not in SAME]
            results[name] = {"tried": tried, "same": len(found) - len(left), "survived": left}
            print(name, results[name], flush=True)
    return results


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    os.chdir(TESTS.parent)
    print(json.dumps(main(*sys.argv[1:])))
