"""The arrows between the rooms, read from the syntax trees: gato_core knows nobody, and so on."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {
    "gato_core": "gato_core",
    "gato_sim": "sim",
    "gato_training": "training",
    "gato_ros": "ros2_ws/src/gato_ros/gato_ros",
}
ALLOWED = {
    "gato_core": set(),
    "gato_sim": {"gato_core"},
    "gato_training": {"gato_core"},
    "gato_ros": {"gato_core", "gato_sim"},
}


def _imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module)
    return {name.split(".")[0] for name in names}


def _modules(room: str) -> list[Path]:
    modules = sorted((ROOT / FOLDERS[room]).rglob("*.py"))
    assert modules, f"{room}: no module found in {FOLDERS[room]}"
    return modules


@pytest.mark.parametrize("room", FOLDERS)
def test_rooms_import_only_along_the_arrows(room):
    for path in _modules(room):
        foreign = _imported(path) & (FOLDERS.keys() | {"sim", "training"}) - {room}
        assert foreign <= ALLOWED[room], f"{path.relative_to(ROOT)} imports {sorted(foreign)}"


# Wings that still need each other; nothing may be added.
CIRCLES_LEFT = {
    "gato_core": [{"tools", "deploy"}],
    "gato_ros": [{"robot", "policy"}],
}


def _places(room: str) -> dict[str, str]:
    """{module: its wing, or its own name if it stands in view}"""
    root, places = ROOT / FOLDERS[room], {}
    for path in _modules(room):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join((room, *parts)).removesuffix(".__init__")
        places[name] = parts[0]
    return places


def _edges(room: str, *, inside_functions: bool) -> dict[str, set[str]]:
    """{module: modules of the same room that it imports}"""
    known, edges = _places(room), {}
    for path, name in zip(_modules(room), known, strict=True):
        tree = ast.parse(path.read_text(), str(path))
        nodes = ast.walk(tree) if inside_functions else tree.body
        found = edges.setdefault(name, set())
        for node in nodes:
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
        edges[name] = (found & known.keys()) - {name, room}
    return edges


def _circles(edges: dict[str, set[str]]) -> list[set[str]]:
    """Groups that reach each other, of two or more."""
    reached = {}
    for start in edges:
        waiting, seen = list(edges[start]), set()
        while waiting:
            if (place := waiting.pop()) not in seen:
                seen.add(place)
                waiting += edges.get(place, ())
        reached[start] = seen
    groups = [{b for b in reached[a] if a in reached.get(b, ())} for a in reached]
    return [group for i, group in enumerate(groups) if group and group not in groups[:i]]


def test_circles_are_found():
    edges = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"a", "e"}}
    assert _circles(edges) == [{"b", "c"}, {"e"}]


@pytest.mark.parametrize("room", FOLDERS)
def test_no_modules_import_each_other(room):
    edges = _edges(room, inside_functions=False)
    assert sum(map(len, edges.values())) > 10
    assert _circles(edges) == []


@pytest.mark.parametrize("room", FOLDERS)
def test_no_wings_need_each_other(room):
    """In functions neither: of two wings one can be read without the other."""
    places = _places(room)
    wings = {path.name for path in (ROOT / FOLDERS[room]).iterdir() if path.is_dir()}
    between: dict[str, set[str]] = {}
    for module, imported in _edges(room, inside_functions=True).items():
        if places[module] in wings:
            here = between.setdefault(places[module], set())
            here |= ({places[other] for other in imported} & wings) - {places[module]}
    assert sum(map(len, between.values())) > 0
    for circle in _circles(between):
        assert any(circle <= known for known in CIRCLES_LEFT.get(room, ())), circle


def test_an_arm_knows_no_domain_and_results_and_workers_know_neither():
    """Real robots use the arms; every domain uses results and workers."""
    places, edges = _places("gato_sim"), _edges("gato_sim", inside_functions=True)
    allowed = {"arm": set(), "run": set(), "results": set(), "domains": {"arm", "run", "suites"}}
    wings = {wing: set() for wing in allowed}
    for module, imported in edges.items():
        if places[module] in allowed:
            wings[places[module]] |= {places[other] for other in imported} - {places[module]}
    assert wings["domains"], wings
    for wing, others in wings.items():
        assert others <= allowed[wing], f"{wing} imports {sorted(others - allowed[wing])}"


def test_only_ros_and_launch_import_ros():
    """The simulator, the training and the agent run where no ROS is installed."""
    for room in ("gato_core", "gato_sim", "gato_training"):
        for path in _modules(room):
            ros = {n for n in _imported(path) if n in ("rclpy", "launch", "launch_ros")}
            assert not ros, f"{path.relative_to(ROOT)} imports {sorted(ros)}"


def test_dataset_and_tokens_need_no_torch():
    """A robot that only records must not need torch; neither must the simulator."""
    core = ROOT / "gato_core"
    light = [core / f"{name}.py" for name in ("spec", "episode", "vocab", "tokenizer", "dataset")]
    light += [path for wing in ("data", "importers") for path in (core / wing).glob("*.py")]
    assert len(light) > 15
    for path in light:
        assert "torch" not in _imported(path), path.name


def test_launch_files_import_only_launch():
    allowed = {"launch", "launch_ros", "lifecycle_msgs", "os", "pathlib", "__future__"}
    allowed |= {"ament_index_python"}
    files = list((ROOT / "launch").glob("*.py"))
    assert files
    for path in files:
        assert _imported(path) <= allowed, f"{path.name} imports {_imported(path) - allowed}"


def test_nothing_unpickles():
    """Loading a file or a message never runs code in it."""
    for room in FOLDERS:
        for path in _modules(room):
            assert not _imported(path) & {"pickle", "cloudpickle", "dill"}, path
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                    raise AssertionError(f"{path.relative_to(ROOT)}:{node.lineno} torch.load")
                if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                    assert ast.unparse(node.value) == "False", f"{path}:{node.lineno}"
