"""Collection past one machine: the same dataset, whatever happens to the workers."""

import os
import signal
from pathlib import Path

import pytest

from gato_core.dataset import Dataset
from gato_sim.collect import CollectConfig, collect
from gato_sim.run import cluster

SHORT = dict(cameras=(), perturb="none", keep="all", max_steps=12, episodes=4)

pytest.importorskip("ray", reason="Ray is an extra of its own: pip install -e .[cluster]")


@pytest.fixture(scope="module")
def address():
    """Of a cluster of two nodes with a processor each, all on this machine."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        # what a remote worker runs, it imports by name
        paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        nodes.add_node(num_cpus=1)
        yield nodes.address
        nodes.shutdown()


def die_once(marker: str) -> str:
    """Kills its own process the first time it is asked."""
    path = Path(marker)
    if path.suffix == ".dies" and not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return path.name


def fail_on_three(x: int) -> int:
    if x == 3:
        raise ValueError(f"x: expected anything but {x}")
    return x


def test_job_of_a_killed_worker_is_redone_once(address, tmp_path):
    jobs = [str(tmp_path / name) for name in ("a", "b.dies", "c", "d")]
    results = [name for _, name in cluster.run(die_once, jobs, address=address)]
    assert sorted(results) == ["a", "b.dies", "c", "d"]


def test_exception_reaches_the_caller(address):
    with pytest.raises(RuntimeError, match="x: expected anything but 3"):
        list(cluster.run(fail_on_three, range(5), address=address))


def test_cluster_collects_what_one_process_collects(address, tmp_path):
    collect(CollectConfig(out=tmp_path / "one", workers=0, **SHORT))
    collect(CollectConfig(out=tmp_path / "many", cluster=address, **SHORT))
    one, many = Dataset(tmp_path / "one"), Dataset(tmp_path / "many")
    assert one.num_episodes == many.num_episodes == 4
    for i in range(4):
        assert one.episode(i).info == many.episode(i).info
        assert (one.episode(i).action == many.episode(i).action).all()
