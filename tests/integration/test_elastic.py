"""torchrun's elastic launch: a worker that dies or a host that is cut off changes no weight."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import test_pretrain as runs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
# The fixtures that make shards and a tiny config; pytest finds them by name.
shards, config, pretrain = runs.shards, runs.config, runs.pretrain

HERE = Path(__file__).parent
PATIENCE_S = 300
ADDRESSES = ("10.213.71.1", "10.213.71.2")
WORKER = """
import os, sys, time
sys.path[:0] = [{here!r}, os.path.dirname({here!r}), {root!r}]
import test_pretrain as runs
from pretrain.training import train
from wsl_det import errors

marker, seconds = sys.argv.pop(1), float(sys.argv.pop(1))
if os.environ["RANK"] == "1" and marker and not os.path.exists(marker):
    open(marker, "w").close()
    runs.at_update(7)
plain = train.Run.losses
def slowly(self, batch, iteration):
    time.sleep(seconds)
    return plain(self, batch, iteration)
train.Run.losses = slowly
sys.exit(errors.run(runs._main()))
"""


@pytest.fixture(scope="module")
def whole(pretrain: runs.Pretrain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing disturbed, in two processes."""
    output = tmp_path_factory.mktemp("elastic") / "whole"
    assert pretrain(output, "--num-gpus", 2) == 0
    return output


class Launch:
    """torchrun on one (pretended) host of a job, its output in ``log``."""

    def __init__(self, folder: Path, pretrain: runs.Pretrain) -> None:
        self.folder, self.pretrain, self.output = folder, pretrain, folder / "run"
        (folder / "worker.py").write_text(WORKER.format(here=str(HERE), root=str(runs.ROOT)))

    def __call__(
        self, *options: str, marker: str = "", seconds: float = 0.0, inside: tuple[str, ...] = (), **env: str
    ) -> subprocess.Popen[bytes]:
        words = [*inside, sys.executable, "-m", "torch.distributed.run", *options, "--max-restarts", "3"]
        words += [str(self.folder / "worker.py"), marker, str(seconds), *self.pretrain.argv(self.output)]
        with open(self.folder / "log", "ab") as log:
            # With the store that torchrun shares by default, workers that are started again may read the
            # addresses of those that died, and a later host is told none (seen with torch 2.14).
            fresh = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "OMP_NUM_THREADS": "1"}
            plain = {**os.environ, **fresh, "PYTHONPATH": str(runs.ROOT), **env}
            return subprocess.Popen(words, stdout=log, stderr=log, env=plain, start_new_session=True)

    def said(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-4000:]


@pytest.fixture
def launch(tmp_path: Path, pretrain: runs.Pretrain) -> Launch:
    return Launch(tmp_path, pretrain)


def test_a_worker_killed_in_a_step_costs_what_followed_its_checkpoint(launch: Launch, whole: Path) -> None:
    marker = launch.folder / "died"
    job = launch("--standalone", "--nproc-per-node", "2", marker=str(marker))
    assert job.wait(PATIENCE_S) == 0, launch.said()
    assert marker.exists()
    assert "continuing" in launch.said() and "at iteration 6" in launch.said()
    runs.assert_same_run(launch.output, whole)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def hosts() -> Iterator[Callable[[int], tuple[str, ...]]]:
    """Two network namespaces joined by a cable; gives the words that run a command inside one of them."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    names = [f"wsl{os.getpid()}{side}" for side in "ab"]
    try:
        try:
            for name in names:
                _ip("netns", "add", name)
            ends = ["type", "veth", "peer", "name", "eth0", "netns", names[1]]
            _ip("link", "add", "eth0", "netns", names[0], *ends)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
        for name, address in zip(names, ADDRESSES, strict=True):
            _ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            _ip("-n", name, "link", "set", "lo", "up")
        yield lambda host: ("ip", "netns", "exec", names[host])
    finally:
        for name in names:
            _end_all_in(name)
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _end_all_in(name: str) -> None:
    found = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
    for pid in found.stdout.split():
        subprocess.run(["kill", "-9", pid], capture_output=True, check=False)


def _wait_for(path: Path, job: subprocess.Popen[bytes], launch: Launch) -> None:
    end = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert job.poll() is None and time.monotonic() < end, launch.said()
        time.sleep(0.2)


def test_a_host_cut_off_and_brought_back(
    hosts: Callable[[int], tuple[str, ...]], launch: Launch, whole: Path
) -> None:
    """Two hosts over gloo; the second loses its cable and its power, and is started again."""

    def start(host: int) -> subprocess.Popen[bytes]:
        # The store lives on the first host; a silent host is given up after 3 beats of 2 s.
        options = ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-id", "cut"]
        options += ["--rdzv-endpoint", f"{ADDRESSES[0]}:29519", "--local-addr", ADDRESSES[host]]
        options += ["--rdzv-conf", f"is_host={int(host == 0)},keep_alive_interval=2,keep_alive_max_attempt=3"]
        return launch(*options, seconds=0.7, inside=hosts(host), GLOO_SOCKET_IFNAME="eth0")

    first, second = start(0), start(1)
    _wait_for(launch.output / "model_0000005.pth", first, launch)
    name = hosts(1)[-1]
    _ip("-n", name, "link", "set", "eth0", "down")
    _end_all_in(name)
    assert second.wait(60) != 0
    time.sleep(8)
    assert first.poll() is None, launch.said()
    assert not (launch.output / "model_final.pth").exists()
    _ip("-n", name, "link", "set", "eth0", "up")
    second = start(1)
    assert second.wait(PATIENCE_S) == 0, launch.said()
    assert first.wait(60) == 0, launch.said()
    runs.assert_same_run(launch.output, whole)
