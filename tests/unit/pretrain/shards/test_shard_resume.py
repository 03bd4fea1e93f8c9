"""Building shards goes on where it was killed, and ends as if it had not been."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from pretrain.posts import records as posts
from pretrain.shards import build as shard_builder
from pretrain.shards import index
from pretrain.shards import write as shards
from pretrain.shards.build import Options
from pretrain.vocabulary import build as vocabulary_builder
from pretrain.vocabulary import hashtags
from pretrain.workers import mapping
from wsl_det.errors import DataError

NUMBER = 40


@pytest.fixture
def made(tmp_path, world):
    """40 posts of 4 KB each and a vocabulary; five posts a shard."""
    (tmp_path / "images").mkdir()
    for i in range(NUMBER):
        (tmp_path / f"images/{i}.jpg").write_bytes(world.jpeg(i, (60, 40)))
    (tmp_path / "images/7.jpg").write_bytes(b"broken")
    for i in range(10, 15):
        (tmp_path / f"images/{i}.jpg").write_bytes(b"the third shard has no image")
    captions = {f"p{i}": (f"{i}.jpg", "#goldfish" if i % 3 else "#crane") for i in range(NUMBER)}
    path = world.write_posts(tmp_path / "posts.jsonl", captions)
    select = vocabulary_builder.Selection("in1k")
    vocab, _, _ = vocabulary_builder.build([path], posts.Columns(), hashtags.Rules(), select, workers=1)
    vocab.write(tmp_path / "vocab.json")
    return tmp_path


@pytest.fixture(autouse=True)
def five_a_shard(monkeypatch):
    monkeypatch.setattr(shards, "MAX_IMAGES", 5)


def build(made, output="out", **options):
    return shard_builder.build(
        [made / "posts.jsonl"],
        posts.Columns(),
        image_source=made / "images",
        vocab_path=made / "vocab.json",
        output=made / output,
        options=Options(**{"workers": 1, **options}),
    )[0]


def content(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def killed(made, plant, *arguments):
    """Build in a process that ``plant`` kills; its exit code."""
    process = multiprocessing.get_context("fork").Process(
        target=_build_planted, args=(made, plant, arguments)
    )
    process.start()
    process.join()
    return process.exitcode


def _build_planted(made, plant, arguments):
    plant(*arguments)
    build(made)
    os._exit(0)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def in_shard(number):
    """Die with half of a shard written."""
    member = shards._member
    files = []

    def write(file, name, data):
        if file not in files:
            files.append(file)
        if len(files) > number and file.tell() > 2000:
            die()
        return member(file, name, data)

    shards._member = write


def before_record(number):
    """Die between a shard and the record that says it is finished."""
    from pretrain.shards import records as shard_records

    calls = []
    write_json = shard_records.files.write_json

    def write(path, *args, **kwargs):
        calls.append(path)
        if len(calls) > number:
            die()
        write_json(path, *args, **kwargs)

    shard_records.files = SimpleNamespace(write_json=write)


def while_naming(number):
    """Die after some shards got their names."""
    move = shard_builder._move

    def named(folder, output, role, shard, count):
        if count == number:
            die()
        return move(folder, output, role, shard, count)

    shard_builder._move = named


def at_the_end():
    """Die with everything written and the folder still under its scratch name."""
    shard_builder.dataset_json.describe = lambda *_: die()


@pytest.mark.parametrize(
    ("plant", "arguments", "finished"),
    [
        (in_shard, (0,), 0),
        (in_shard, (5,), 6),  # one more has no image, and so no tar to die in
        (before_record, (4,), 4),
        (while_naming, (3,), 5),
        (at_the_end, (), 8),
    ],
)
def test_killed_anywhere_it_goes_on_and_ends_the_same(made, monkeypatch, plant, arguments, finished):
    build(made, "undisturbed")
    assert killed(made, plant, *arguments) == -signal.SIGKILL
    assert not (made / "out").exists()
    # What the killed run finished is not made again.
    calls = []
    write = shards.write_shard
    monkeypatch.setattr(
        shard_builder.finished_shard.__module__ + ".write_shard",
        lambda *args: calls.append(args) or write(*args),
    )
    build(made)
    assert len(calls) == NUMBER // 5 - finished
    assert content(made / "out") == content(made / "undisturbed")
    assert len(index.open_index(made / "out")) == NUMBER - 6
    assert sorted(p.name for p in made.iterdir()) == [
        "images",
        "out",
        "posts.jsonl",
        "undisturbed",
        "vocab.json",
    ]


@pytest.mark.slow
def test_killed_at_random_moments_with_two_workers(made):
    build(made, "undisturbed")
    context = multiprocessing.get_context("fork")
    for moment in range(6):
        process = context.Process(target=build, args=(made,), kwargs={"workers": 2})
        process.start()
        process.join(0.5 + 0.4 * moment)
        process.kill()
        process.join()
        time.sleep(0.2)
        if (made / "out").exists():
            break
    else:
        build(made, workers=2)
    assert content(made / "out") == content(made / "undisturbed")


def test_workers_end_when_their_job_is_killed(tmp_path):
    """They would wait for work for ever: each of them holds the pipe that it reads from."""
    process = multiprocessing.get_context("fork").Process(target=_map_sleepily, args=(tmp_path,))
    process.start()
    deadline = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = [int(path.name) for path in tmp_path.iterdir()]
    assert len(workers) == 2
    process.kill()
    process.join()
    while any(map(_alive, workers)):
        assert time.monotonic() < deadline, "workers outlive their job"
        time.sleep(0.05)


def _map_sleepily(folder):
    list(mapping.in_order(_note_and_sleep, [folder] * 1000, 2))


def _note_and_sleep(folder):
    (folder / str(os.getpid())).touch()
    time.sleep(0.2)


def _alive(pid):
    try:
        # Nobody may be there to collect it.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("change", ["tar", "record", "posts"])
def test_a_finished_shard_is_made_again_when_it_does_not_fit_any_more(made, world, change):
    assert killed(made, in_shard, 4) == -signal.SIGKILL
    partial = made / ".out.partial"
    if change == "tar":
        tar = partial / "train-000001.tar"
        tar.write_bytes(tar.read_bytes()[:-10])
    elif change == "record":
        (partial / "work/000000.json").write_text("{")
    else:
        captions = {f"p{i}": (f"{i}.jpg", "#goldfish") for i in range(17, NUMBER)}
        world.write_posts(made / "posts.jsonl", captions)
    build(made)
    build(made, "undisturbed")
    assert content(made / "out") == content(made / "undisturbed")


def test_a_full_disk_keeps_what_is_finished_and_says_so(made, monkeypatch):
    build(made, "undisturbed")
    member, room = shards._member, [30]

    def write(file, name, data):
        room[0] -= 1
        if room[0] < 0:
            raise OSError(28, "No space left on device")
        return member(file, name, data)

    monkeypatch.setattr(shards, "_member", write)
    with pytest.raises(
        DataError, match=r"is full.*4 finished shards are kept in .*\.out\.partial.*same command"
    ):
        build(made)
    assert not (made / "out").exists()
    assert not list((made / ".out.partial/work").glob("*.part"))
    monkeypatch.setattr(shards, "_member", member)
    build(made)
    assert content(made / "out") == content(made / "undisturbed")


def test_a_full_disk_in_a_worker_process(made, monkeypatch):
    monkeypatch.setattr(shard_builder, "finished_shard", _full)
    with pytest.raises(DataError, match="is full"):
        build(made, workers=2)
    assert not (made / "out").exists() and not (made / ".out.partial").exists()


def _full(*args, **kwargs):
    raise OSError(28, "No space left on device")


def test_bad_posts_after_good_shards_leave_them_for_the_next_run(made, capsys):
    text = (made / "posts.jsonl").read_bytes()
    (made / "posts.jsonl").write_bytes(text + b'{"id": "' + b"x" * (65 << 20))
    with pytest.raises(DataError, match="line of over"):
        build(made)
    assert (made / ".out.partial/work/000000.json").exists() and not (made / "out").exists()
    (made / "posts.jsonl").write_bytes(text)
    build(made)
    assert not (made / ".out.partial").exists()


def test_two_at_once_are_refused(made):
    from pretrain.shards.records import partial_folder

    with partial_folder(made / "out"), pytest.raises(DataError, match="another process is at work on"):
        build(made)


def test_the_record_of_a_shard_is_plain_json(made):
    assert killed(made, in_shard, 2) == -signal.SIGKILL
    value = json.loads((made / ".out.partial/work/000001.json").read_text())
    assert value["keys"] == ["p5", "p6", "p8", "p9"] and value["rejected"] == [
        ["p7", "7.jpg", "not an image"]
    ]
