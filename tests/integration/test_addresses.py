"""A pretraining whose shards and folder lie at addresses is that of a disk."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import stores_world
import test_pretrain as runs

from pretrain.training import train
from wsl_det.core import addresses, files, leases, run_store, stores
from wsl_det.errors import ConfigError, DataError

shards, config, pretrain, undisturbed = runs.shards, runs.config, runs.pretrain, runs.undisturbed


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(addresses.CACHE, str(tmp_path / "cache"))
    monkeypatch.setattr(leases, "_SETTLED", 0.01)


def _store(shards: Path, name: str) -> str:
    """A store with the shards."""
    addresses.put(shards, f"memory://{name}/shards")
    return f"memory://{name}"


def _fetched(address: str, to: Path) -> Path:
    for name in stores.listed(address):
        files.write_bytes(
            to / name, stores.read(f"{address}/{name}", 0, stores.info(f"{address}/{name}").size)
        )
    return to


def test_a_run_at_an_address_is_that_of_a_disk(
    shards: Path, pretrain: runs.Pretrain, undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    store = _store(shards, tmp_path.name)
    far: dict[str, Any] = {"DATA.SHARDS": f"{store}/shards", "OUTPUT_DIR": f"{store}/run"}
    # Stopped on the way, and gone on with by a machine that has nothing of it.
    real = train.Run.losses

    def stopping(self: Any, batch: Any, iteration: int) -> Any:
        if iteration == 7:
            raise KeyboardInterrupt
        return real(self, batch, iteration)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.Run, "losses", stopping)
        assert pretrain(Path("x"), **far) == 130
    assert "model_0000005.pth" in stores.listed(f"{store}/run")
    assert ".run.lock" not in stores.listed(f"{store}/run")
    shutil.rmtree(addresses.cache())
    assert pretrain(Path("x"), **far) == 2  # not without --resume
    assert "already holds a run at iteration 5" in capsys.readouterr().err
    assert pretrain(Path("x"), "--resume", **far) == 0
    found = _fetched(f"{store}/run", tmp_path / "fetched")
    runs.assert_same_run(found, undisturbed)
    text = (found / "config.yaml").read_text()
    assert f"{store}/run" in text and "by_address" not in text
    assert pretrain(Path("x"), "--resume", **far) == 0  # finished: nothing is left to do


def test_a_run_at_an_address_is_alone(
    shards: Path, pretrain: runs.Pretrain, tmp_path: Path, capsys: Any
) -> None:
    store = _store(shards, tmp_path.name)
    far: dict[str, Any] = {"DATA.SHARDS": f"{store}/shards", "OUTPUT_DIR": f"{store}/run", **runs.SHORT}
    holder = {"token": "x", "process": 1, "host": "elsewhere", "until": 1e12}
    assert stores.create(f"{store}/run/.run.lock", json.dumps(holder).encode())
    assert pretrain(Path("x"), **far) == 2
    assert "process 1 on elsewhere" in capsys.readouterr().err
    # One that expired, and one of a process of this machine that is gone.
    for stale in ({**holder, "until": 1}, {**holder, "process": 2**22 + 1, "pids": leases._pids()}):
        stores.remove(f"{store}/run/.run.lock")
        assert stores.create(f"{store}/run/.run.lock", json.dumps(stale).encode())
        with leases.alone(f"{store}/run/.run.lock", "it", "wait") as check:
            check()
        assert not stores.exists(f"{store}/run/.run.lock")


def test_a_lock_that_was_taken_over_is_told_of_at_once(tmp_path: Path) -> None:
    lock = f"memory://{tmp_path.name}/lock"
    with leases.alone(lock, "it", "wait") as check:
        check()
        (tmp_path / "other").write_text(json.dumps({"token": "other", "until": 1e12}))
        stores.put(tmp_path / "other", lock)
        with pytest.raises(ConfigError, match="taken over"):
            check()
    assert stores.exists(lock)  # the other's stays


def test_a_lock_that_says_nothing_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_UNREADABLE", 0.1)
    lock = f"memory://{tmp_path.name}/lock"
    assert stores.create(lock, b"")
    with pytest.raises(ConfigError, match="remove it if there is none"), leases.alone(lock, "it", "wait"):
        pass


def test_processes_of_another_container_are_not_taken_for_dead() -> None:
    holder = {"process": 2**22 + 1, "host": socket.gethostname(), "pids": "another", "until": 1e12}
    assert not leases._abandoned(holder)
    assert leases._abandoned({**holder, "pids": leases._pids()})


@pytest.mark.parametrize("arrives", [0, 1])
def test_a_run_that_could_not_be_put_is_kept_and_put_later(
    arrives: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, put, count = f"memory://{tmp_path.name}/run", stores.put, []
    run = run_store.RunStore(tmp_path / "run", address)
    (tmp_path / "run").mkdir()
    run.pull()
    names = {"model_final.pth", "metrics.json", "last_checkpoint"}
    for name in names:
        (run.path / name).write_text(name)

    def full(path: Path, to: str) -> stores.Info:
        count.append(to)
        if len(count) > arrives:
            raise DataError("no permission")
        return put(path, to)

    monkeypatch.setattr(stores, "put", full)
    with pytest.raises(DataError, match="--resume, which puts it"):
        run.finish()
    monkeypatch.setattr(stores, "put", put)
    run.pull()
    assert {path.name for path in run._files()} == names
    run.put()
    assert set(stores.listed(address)) == names
    # What another machine did since, or a store that was emptied, counts for more than the scratch folder.
    stores.remove(f"{address}/metrics.json")
    run.pull()
    assert {path.name for path in run._files()} == names - {"metrics.json"}


@pytest.mark.skipif(not stores_world.NGINX, reason="nginx is not installed")
def test_nothing_is_written_over_https(
    shards: Path, pretrain: runs.Pretrain, tmp_path: Path, capsys: Any
) -> None:
    with stores_world.nginx(tmp_path, tmp_path / "nginx") as port:
        url = f"http://me:geheim@127.0.0.1:{port}/run"
        assert pretrain(Path("x"), **{"OUTPUT_DIR": url, **runs.SHORT}) == 2
    told = capsys.readouterr().err
    assert "nothing is written over http" in told and "geheim" not in told
