"""The map over files on a real Dask cluster of this machine, whose workers may die."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dask_world import local  # noqa: F401 (a fixture)

from pretrain.posts import files as post_files
from pretrain.posts.records import Columns
from pretrain.vocabulary import counting
from pretrain.vocabulary.hashtags import Rules
from pretrain.workers import cluster, mapping
from wsl_det import errors
from wsl_det.errors import ConfigError, DataError

distributed = pytest.importorskip("distributed")
ROOT = Path(__file__).parents[4]


def write(path, num_posts):
    nouns = ["cat", "dog", "brownbear", "crane", "goldfish", "bears", "nonsensical"]
    rows = [
        {"id": str(i), "caption": f"#{nouns[i % 7]} #noise{i % 50} #{nouns[i % 5]}"} for i in range(num_posts)
    ]
    rows.insert(7, {"id": "no text"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.slow
def test_a_worker_that_dies_half_way_changes_nothing(local, tmp_path, monkeypatch):  # noqa: F811
    # Relative names: the workers run in another folder.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(post_files, "PART_BYTES", 20_000)
    write(Path("posts.jsonl"), 20_000)
    assert len(post_files.parts(["posts.jsonl"])) > 40
    here = counting.count_files(["posts.jsonl"], Columns(), Rules(), 1)

    def kill(items, total, what):
        for number, item in enumerate(items):
            if number == total // 2:
                local.workers[0].kill()
                local.workers[0].wait()
            yield item

    monkeypatch.setattr(counting.log, "progress", kill)
    there = counting.count_files(["posts.jsonl"], Columns(), Rules(), scheduler=local.address)
    assert there == here and here[0].posts == 20_000 and here[1].first
    with distributed.Client(local.address, set_as_default=False) as client:
        assert len(client.nthreads()) == 1


@pytest.mark.slow
def test_the_tool_writes_the_same_bytes(local, tmp_path, monkeypatch, tool):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        write(Path(f"posts-{number}.jsonl"), 100 + number)
    words = ["--posts", "posts-*.jsonl", "--kind", "wordnet", "--output", "vocab.json"]
    written = []
    for who in (["--workers", "1"], ["--workers=2"], ["--scheduler", local.address]):
        monkeypatch.setattr(sys, "argv", ["build_vocab.py", *words, *who])
        assert tool("build_vocab")([*words, *who]) == 0
        written.append([Path(name).read_bytes() for name in ("vocab.json", "vocab.html")])
    assert written[0] == written[1] == written[2]


@pytest.mark.slow
def test_what_goes_wrong_on_a_worker_is_said_here(local, tmp_path, monkeypatch, tool, capsys):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    Path("posts.jsonl.gz").write_bytes(b"\x1f\x8b broken")
    words = [
        "--posts",
        "posts.jsonl.gz",
        "--kind",
        "in1k",
        "--output",
        "v.json",
        "--scheduler",
        local.address,
    ]
    assert errors.run(tool("build_vocab"), words) == 2
    assert "posts.jsonl.gz is damaged or truncated" in capsys.readouterr().err
    monkeypatch.setattr(cluster, "__version__", "0.0")
    with pytest.raises(ConfigError, match="runs wsl_det"):
        list(mapping.in_order(abs, [1], 1, local.address))


@pytest.mark.slow
def test_a_cluster_that_is_lost_is_an_error(local, monkeypatch):  # noqa: F811
    monkeypatch.setattr(cluster, "_SECONDS", 3)
    with pytest.raises(DataError, match="was lost"):
        for number, _ in enumerate(
            mapping.in_order(time.sleep, itertools.repeat(0.05, 200), 1, local.address)
        ):
            if number == 5:
                for process in (local.scheduler, *local.workers):
                    process.kill()
                    process.wait()


def test_no_cluster_is_an_error_with_the_remedy(monkeypatch):
    monkeypatch.setattr(cluster, "_SECONDS", 1)
    with pytest.raises(ConfigError, match="no Dask scheduler answers there"):
        list(mapping.in_order(abs, [1], 1, "tcp://127.0.0.1:9"))
    with pytest.raises(ConfigError, match="no Dask scheduler answers there"):
        list(mapping.in_order(abs, [1], 1, "nonsense://x"))
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match="pip install dask distributed"):
        list(mapping.in_order(abs, [1], 1, "tcp://127.0.0.1:9"))


def test_processes_that_die_are_an_error():
    with pytest.raises(DataError, match="a worker process died"):
        list(mapping.in_order(os._exit, [1, 1], 2))


@pytest.mark.parametrize("items", ["0.1, 60", "0, 60"])
def test_a_ctrl_c_is_told_once(items):
    """Also by the worker that still starts while the other is ready."""
    script = "from pretrain.workers import mapping; import time, sys; from wsl_det import errors\n"
    script += f"def main(_): [print(flush=True) for _ in mapping.in_order(time.sleep, [{items}], 2)]\n"
    script += "if __name__ == '__main__': sys.exit(errors.run(main))"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, start_new_session=True, **pipes) as job:
        job.stdout.readline()
        os.killpg(job.pid, signal.SIGINT)
        assert job.communicate(timeout=60)[1] == "interrupted; what was finished is kept\n"
    assert job.returncode == 130


def test_workers_and_scheduler_exclude_each_other(tool, capsys):
    words = [
        "--posts",
        "p",
        "--kind",
        "in1k",
        "--output",
        "v.json",
        "--workers",
        "2",
        "--scheduler",
        "tcp://x:1",
    ]
    with pytest.raises(SystemExit) as stopped:
        tool("build_vocab")(words)
    assert stopped.value.code == 2 and "not allowed with" in capsys.readouterr().err
