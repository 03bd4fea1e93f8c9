from __future__ import annotations

import contextlib
import email.utils
import hashlib
import importlib.util
import io
import json
import os
import signal
import ssl
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace

from wsl_det import errors
from wsl_det.errors import ConfigError, DownloadError, WslError
from wsl_det.zoo import catalogue, fetch, published
from wsl_det.zoo.catalogue import Entry, Licence
from wsl_det.zoo.store import LOCK, Store

ROOT = Path(__file__).parents[3]
FREE = Licence("free", "https://example.org/free", non_commercial=False)
PAID = Licence("nc", "https://example.org/nc", non_commercial=True)


def entry_for(server, **changes) -> Entry:
    sha256 = hashlib.sha256(server.content).hexdigest()
    entry = Entry(
        name="model",
        family="test",
        kind="trunk",
        url=f"{server.url}/models/model-{sha256[:8]}.pth",
        bytes=len(server.content),
        hash_algorithm="sha256",
        hash_prefix=sha256[:8],
        sha256=None,
        arch={"depth": 50, "groups": 1, "width_per_group": 64},
        convention="torchvision",
        bn="statistics",
        accuracy=None,
        training_data="nothing",
        fine_tuned_on_in1k="no",
        licence=FREE,
    )
    return replace(entry, **changes)


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def store(tmp_path, waits, monkeypatch) -> Store:
    for name in ("WSL_DET_MIRROR", "WSL_DET_OFFLINE", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return Store(
        tmp_path / "weights", fetch.Patience(attempts=3, first_wait=1.0, timeout=0.5, sleep=waits.append)
    )


def names(store: Store) -> set[str]:
    """The files a user sees in the folder."""
    return {p.name for p in store.dest.iterdir() if not p.name.startswith(".")}


def test_a_file_arrives_whole_and_is_recorded(server, store, waits):
    entry = entry_for(server)
    path = store.get(entry)
    assert path.read_bytes() == server.content
    assert names(store) == {entry.file_name, LOCK}
    recorded = json.loads((store.dest / LOCK).read_text())["files"][entry.file_name]
    assert recorded["sha256"] == hashlib.sha256(server.content).hexdigest()
    assert (recorded["name"], recorded["bytes"], waits) == ("model", len(server.content), [])
    assert not list(store.dest.glob(".*.part*"))


def test_a_second_use_asks_nothing_and_reads_nothing(server, store, monkeypatch):
    entry = entry_for(server)
    path = store.get(entry)
    monkeypatch.setattr("wsl_det.core.files.sha256", lambda p: pytest.fail("hashed again"))
    assert store.get(entry) == path
    assert len(server.requests) == 1


def test_a_cut_transfer_goes_on_where_it_stopped(server, store, waits):
    server.habits = ["cut", "cut"]
    assert store.get(entry_for(server)).read_bytes() == server.content
    assert [r for _, r in server.requests] == [None, "bytes=100000-", "bytes=200000-"]
    assert waits == [1.0, 1.0]  # progress starts the count again


def test_a_stalled_transfer_is_cut_and_continued(server, store, waits):
    server.habits = ["stall"]
    assert store.get(entry_for(server)).read_bytes() == server.content
    assert [r for _, r in server.requests] == [None, "bytes=100000-"]


def test_without_progress_the_waits_double_and_end(server, store, waits):
    server.habits = ["cut", "cut_at_once", "503", "cut_at_once", "500"]
    with pytest.raises(DownloadError, match=r"gave up after 3 attempts .* 100000 bytes are kept"):
        store.get(entry_for(server))
    assert waits == [1.0, 2.0]
    assert names(store) == set()
    assert store.get(entry_for(server)).read_bytes() == server.content  # the same command again


def test_nobody_listens(server, store, waits):
    gone = entry_for(server, url="http://127.0.0.1:1/model-12345678.pth")
    with pytest.raises(DownloadError, match=r"refused.*nothing arrived: look at the network"):
        store.get(gone)
    assert waits == [1.0, 2.0]


@pytest.mark.parametrize("habit", ["503", "429"])
def test_servers_that_are_busy_are_asked_again(server, store, waits, habit):
    server.habits = [habit]
    assert store.get(entry_for(server)).read_bytes() == server.content
    assert waits == [1.0]


@pytest.mark.parametrize("habit", ["404", "403", "410"])
def test_files_that_are_not_there_are_not_asked_for_again(server, store, waits, habit):
    server.habits = [habit]
    with pytest.raises(DownloadError, match=f"HTTP {habit}"):
        store.get(entry_for(server))
    assert (waits, names(store), len(server.requests)) == ([], set(), 1)


def test_a_server_without_ranges_is_asked_for_the_whole(server, store):
    server.habits = ["cut", "no_ranges"]
    assert store.get(entry_for(server)).read_bytes() == server.content


def test_a_server_that_does_not_tell_the_length(server, store):
    server.habits = ["no_length"]
    assert store.get(entry_for(server, bytes=None)).read_bytes() == server.content


def test_a_file_replaced_on_the_server_is_not_stitched_together(server, store):
    server.habits = ["cut", "other_version"]
    assert store.get(entry_for(server)).read_bytes() == server.content
    assert [r for _, r in server.requests] == [None, "bytes=100000-"]  # If-Range brought the whole


def test_wrong_content_never_gets_the_name(server, store):
    entry = entry_for(server)
    server.content = server.content[:-1] + b"?"
    with pytest.raises(DownloadError, match="published is"):
        store.get(entry)
    assert (names(store), list(store.dest.glob(".*.part*"))) == (set(), [])


def test_wrong_length_is_seen_before_the_transfer(server, store):
    with pytest.raises(DownloadError, match="the catalogue says 7"):
        store.get(entry_for(server, bytes=7))
    assert names(store) == set()


def test_md5_digits_are_checked_too(server, store):
    digits = hashlib.md5(server.content).hexdigest()[:6]
    good = entry_for(
        server, hash_algorithm="md5", hash_prefix=digits, url=f"{server.url}/model_final_{digits}.pkl"
    )
    assert store.get(good).is_file()
    with pytest.raises(DownloadError, match="md5"):
        store.get(replace(good, hash_prefix="abcdef", url=f"{server.url}/model_final_abcdef.pkl"))


def test_a_bad_half_of_an_earlier_attempt_is_fetched_again(server, store):
    entry = entry_for(server)
    store.dest.mkdir()
    part = store.dest / f".{entry.file_name}.part"
    part.write_bytes(b"x" * 1000)
    part.with_name(part.name + ".json").write_text(json.dumps({"url": entry.url, "validator": '"1"'}))
    assert store.get(entry).read_bytes() == server.content
    assert [r for _, r in server.requests] == ["bytes=1000-", None]


def test_a_partial_file_of_another_address_is_not_continued(server, store):
    entry = entry_for(server)
    store.dest.mkdir()
    (store.dest / f".{entry.file_name}.part").write_bytes(b"x" * 1000)
    assert store.get(entry).read_bytes() == server.content
    assert server.requests[0][1] is None


@pytest.mark.parametrize("extra", [0, 10])
def test_416_means_done_or_start_over(server, store, extra):
    entry = entry_for(server)
    store.dest.mkdir()
    part = store.dest / f".{entry.file_name}.part"
    part.write_bytes(server.content + b"x" * extra)
    part.with_name(part.name + ".json").write_text(json.dumps({"url": entry.url, "validator": None}))
    assert store.get(entry).read_bytes() == server.content
    assert len(server.requests) == (1 if extra == 0 else 2)


def test_redirects_are_followed_on_this_machine_only(server, store):
    entry = entry_for(server)
    server.habits = [f"redirect {server.url}/elsewhere"]
    assert store.get(entry).is_file()
    assert [p for p, _ in server.requests] == [f"/models/{entry.file_name}", "/elsewhere"]
    server.habits = ["redirect http://example.org/model.pth"]
    with pytest.raises(DownloadError, match="not https"):
        store.get(replace(entry, url=f"{server.url}/again-{entry.hash_prefix}.pth"))
    server.habits = ["redirect file:///etc/passwd"]
    with pytest.raises(DownloadError, match=r"not https|HTTP 302"):
        store.get(replace(entry, url=f"{server.url}/third-{entry.hash_prefix}.pth"))


def test_a_redirect_loop_ends(server, store):
    server.habits = [f"redirect {server.url}/a"] * 30
    with pytest.raises(DownloadError, match="HTTP 302"):
        store.get(entry_for(server))


def test_https_never_becomes_http():
    handler = fetch.NoDowngrade()
    request = urllib.request.Request("https://example.org/a")
    with pytest.raises(DownloadError, match="redirects to http://127"):
        handler.redirect_request(request, None, 302, "Found", {}, "http://127.0.0.1/a")
    assert handler.redirect_request(request, None, 302, "Found", {}, "https://example.org/b") is not None


@pytest.mark.parametrize("url", ["http://example.org/a", "ftp://example.org/a", "file:///etc/passwd", "a"])
def test_other_schemes_are_refused(tmp_path, url):
    with pytest.raises(DownloadError, match="not https"):
        fetch.download(url, tmp_path / "part")


def test_a_mirror_keeps_hosts_as_folders(server, store, monkeypatch):
    monkeypatch.setenv("WSL_DET_MIRROR", f"{server.url}/mirror/")
    entry = entry_for(server)
    entry = replace(entry, url=f"https://download.pytorch.org/models/{entry.file_name}")
    store.get(entry)
    assert server.requests[0][0] == f"/mirror/download.pytorch.org/models/{entry.file_name}"


def test_offline_means_no_request_but_files_that_are_there_work(server, store, monkeypatch):
    monkeypatch.setenv("WSL_DET_OFFLINE", "1")
    entry = entry_for(server)
    with pytest.raises(DownloadError, match=f"put it at .*{entry.file_name}"):
        store.get(entry)
    (store.dest / entry.file_name).write_bytes(server.content)  # brought by hand
    assert store.get(entry).is_file()
    assert entry.file_name in json.loads((store.dest / LOCK).read_text())["files"]
    assert server.requests == []


@pytest.fixture
def unhashed(server, monkeypatch) -> Entry:
    """An entry of which nobody has published a digit, with a small trunk behind it."""
    from timm.models import resnet

    blocks = {"cardinality": 2, "base_width": 32, "channels": (8, 16, 32, 64), "num_classes": 2}
    state = resnet.ResNet(resnet.Bottleneck, (1, 1, 1, 1), **blocks).state_dict()
    torch.save(state, buffer := io.BytesIO())
    server.content = buffer.getvalue()
    monkeypatch.setattr(Entry, "arch_name", "any")  # no name of the catalogue's is so small
    return entry_for(server, hash_algorithm=None, hash_prefix=None, bytes=None)


PAGE = b"<!DOCTYPE html><html><head><title>Sign in to WiFi</title></head></html>"


@pytest.mark.parametrize(
    ("came", "told"),
    [
        (lambda whole: PAGE, f"what came is an HTML page of {len(PAGE)} bytes, not weights"),
        (lambda whole: b"version https://git-lfs.github.com/spec/v1\nsize 9\n", "git-lfs pull|git lfs pull"),
        (lambda whole: whole[: len(whole) // 2], "truncated archive"),
        (lambda whole: b"x" * len(whole), "is not the weights of model"),
        (lambda whole: b"", "is empty"),
    ],
)
@pytest.mark.parametrize("habit", ["good", "no_length"])
def test_a_first_download_must_be_weights(server, store, unhashed, came, told, habit):
    whole, server.content, server.habits = server.content, came(server.content), [habit] * 2
    with pytest.raises(DownloadError, match=told):
        store.get(unhashed)
    assert not list(store.dest.iterdir()) or {p.suffix for p in store.dest.iterdir()} == {".lock"}
    (store.dest / unhashed.file_name).write_bytes(server.content)  # brought by hand: the same
    with pytest.raises(DownloadError, match=told):
        store.get(unhashed)
    (store.dest / unhashed.file_name).unlink()
    server.content, server.habits = whole, [habit]
    assert store.get(unhashed).read_bytes() == whole


def test_a_first_download_is_near_its_architectures_size_and_of_it(server, store, unhashed, monkeypatch):
    monkeypatch.setattr(Entry, "arch_name", "resnet50")
    with pytest.raises(DownloadError, match="model should have about 102440608"):
        store.get(unhashed)
    monkeypatch.setattr("wsl_det.zoo.listing.TRUNKS", {})
    with pytest.raises(DownloadError, match="promises another architecture"):
        store.get(unhashed)


@pytest.mark.parametrize("locked", [True, False])
def test_a_cache_that_cannot_be_written_is_used(server, store, unhashed, monkeypatch, locked):
    path = store.get(unhashed)
    os.utime(path, ns=(1, 1))  # copied: the recorded time is another's
    if not locked:
        (store.dest / LOCK).unlink()
    for lock in store.dest.glob(".*"):
        lock.unlink()
    kept = sorted(store.dest.iterdir())
    monkeypatch.setattr(Store, "_writable", lambda self: False)  # rights do not hold back root
    monkeypatch.setattr("filelock.FileLock.acquire", lambda *a, **k: pytest.fail("a lock was taken"))
    # As a mount that is read-only refuses to.
    monkeypatch.setattr(os, "replace", lambda *a: pytest.fail("a file was renamed"))
    assert store.get(unhashed) == path
    assert hashlib.sha256(server.content).hexdigest() in store.proof(unhashed, path)
    assert sorted(store.dest.iterdir()) == kept
    with pytest.raises(ConfigError, match="cannot be written and holds no"):
        store.get(replace(unhashed, url=f"{server.url}/other.pth"))


@pytest.mark.parametrize(("asked", "waited"), [("7", 7.0), ("0", 1.0), ("soon", 1.0), ("-5", 1.0)])
def test_a_server_is_left_alone_as_long_as_it_asks(server, store, waits, asked, waited):
    server.habits = [f"429 after {asked}"]
    store.get(entry_for(server))
    assert waits == [waited]


def test_a_servers_date_is_kept_and_a_day_is_too_long(server, store, waits):
    server.habits = [f"503 after {email.utils.formatdate(time.time() + 100, usegmt=True)}"]
    store.get(entry_for(server))
    assert 90 < waits[0] <= 100
    server.habits = ["429 after 86400"]
    with pytest.raises(DownloadError, match="asks to wait 1440 minutes"):
        store.get(entry_for(server, url=f"{server.url}/other-{entry_for(server).hash_prefix}.pth"))


def test_timms_names_are_judged_before_anything_is_fetched(store, monkeypatch):
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *a, **k: pytest.fail("asked"))
    for name, told in {
        "convnext_tiny.fb_in1k": "convnext",
        "resnetaa50.a1h_in1k": "AvgPool2d",
        "resnetblur50.bt_in1k": "BlurPool2d",
        "resnet50_gn.a1h_in1k": "GroupNorm",
        "resnet50d.a1_in1k": "AvgPool2d|other layers",
        "resnet50": "has no tag",
        "resnet50.never": "publishes no",
    }.items():
        with pytest.raises(ConfigError, match=told):
            published.described(name, store, {})


def test_timms_first_download_is_pinned(server, store, tmp_path, monkeypatch):
    asked, snapshot = [], tmp_path / "models--timm--resnet18.tv_in1k/snapshots/abc"
    snapshot.mkdir(parents=True)
    path = snapshot / "model.safetensors"
    path.write_bytes(b"first")

    def fetch_it(repository, name, *, revision, local_files_only):
        asked.append((repository, revision, local_files_only))
        return str(path)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch_it)
    found, options = published.described("resnet18.tv_in1k", store, {})
    assert (found, options["expect"], options["convention"].pixel_std[0]) == (str(path), "resnet18", 58.395)
    monkeypatch.setenv("WSL_DET_OFFLINE", "1")
    published.described("resnet18.tv_in1k", store, {"convention": "msra"})
    assert asked == [("timm/resnet18.tv_in1k", None, False), ("timm/resnet18.tv_in1k", "abc", True)]
    path.write_bytes(b"other")
    with pytest.raises(DownloadError, match="the file changed"):
        published.described("resnet18.tv_in1k", store, {})


def test_a_file_that_changed_in_the_cache_is_found_out(server, store, unhashed):
    entry = replace(unhashed, bytes=len(server.content))
    path = store.get(entry)
    os.utime(path, ns=(1, 1))
    assert store.get(entry) == path  # touched only: hashed again, equal
    path.write_bytes(server.content[:-1] + b"?")
    os.utime(path, ns=(2, 2))
    with pytest.raises(DownloadError, match="the file changed"):
        store.get(entry)
    path.write_bytes(server.content[:-1])
    with pytest.raises(DownloadError, match="truncated archive"):
        store.get(entry)
    path.write_bytes(server.content + b"?")
    with pytest.raises(DownloadError, match="delete it"):
        store.get(entry)


def test_a_later_download_must_equal_the_first(server, store, unhashed):
    entry = unhashed
    store.get(entry).unlink()
    server.content = server.content[:-1] + b"?"
    with pytest.raises(DownloadError, match="first download"):
        store.get(entry)
    assert names(store) == {LOCK}


def test_a_licence_is_asked_for_once(server, store):
    entry = entry_for(server, licence=PAID)
    with pytest.raises(ConfigError, match=r"example\.org/nc.*--accept-license"):
        store.get(entry)
    with pytest.raises(ConfigError):
        store.get(entry, ask=lambda licence: False)
    assert server.requests == []
    asked = []
    store.get(entry, ask=lambda licence: asked.append(licence.name) or True)
    store.get(entry)
    assert asked == ["nc"]
    assert store.get(replace(entry, licence=FREE)).is_file()


def test_verify_says_what_is_proved(server, store):
    entry = entry_for(server)
    path = store.get(entry)
    assert "8 published digits of its sha256 and the hash of the first download" in store.verify(path, entry)
    path.write_bytes(b"?" * len(server.content))
    with pytest.raises(DownloadError, match="damaged"):
        store.verify(path, entry)
    (store.dest / "stranger.pth").touch()
    with pytest.raises(ConfigError, match="no catalogue"):
        store.verify(store.dest / "stranger.pth", None)


def test_a_disk_without_room_is_said_before_the_transfer(server, store, monkeypatch, waits):
    usage = type("usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(DownloadError, match="0 MiB left, 0 MiB are needed; make room"):
        store.get(entry_for(server))
    assert (waits, names(store)) == ([], set())


def test_a_disk_that_fills_up_is_no_bad_network(server, store, waits):
    entry = entry_for(server)
    store.dest.mkdir()
    (store.dest / f".{entry.file_name}.part").symlink_to("/dev/full")
    with pytest.raises(DownloadError, match=r"cannot be written \(No space left on device\)"):
        store.get(entry)
    assert (waits, names(store), len(server.requests)) == ([], set(), 1)


def test_an_untrusted_certificate_is_not_asked_again(server, store, waits, monkeypatch):
    def refuse(*_):
        raise urllib.error.URLError(ssl.SSLCertVerificationError(1, "self-signed certificate"))

    monkeypatch.setattr(fetch, "open_url", refuse)
    with pytest.raises(DownloadError, match=r"not trusted.*SSL_CERT_FILE"):
        store.get(entry_for(server))
    assert waits == []


def test_a_file_in_the_folders_place_is_named(server, store):
    store.dest.write_text("a file")
    with pytest.raises(ConfigError, match="is a file; downloads need a folder"):
        store.get(entry_for(server))


def test_a_folder_in_the_files_place_is_named(server, store):
    entry = entry_for(server)
    (store.dest / entry.file_name).mkdir(parents=True)
    with pytest.raises(DownloadError, match="is a folder"):
        store.get(entry)
    assert server.requests == []


@pytest.mark.parametrize(
    "text",
    ["[]", '{"files": 3}', '{"files": {"a": {}}}', '{"files": {"a": {"name": 1}}}', '{"licences": []}', "{"],
)
def test_a_damaged_lock_file_is_no_traceback(server, store, text):
    store.dest.mkdir()
    (store.dest / LOCK).write_text(text)
    with pytest.raises(WslError, match=LOCK):
        store.get(entry_for(server))
    assert (store.dest / LOCK).read_text() == text


def test_a_continued_download_says_so(server, store, caplog, monkeypatch):
    monkeypatch.setattr(fetch.log.get(), "propagate", True)
    server.habits = ["cut"]
    with caplog.at_level("INFO"):
        store.get(entry_for(server))
    told = [r.getMessage() for r in caplog.records]
    assert any("the connection ended at 100000 of 307200 bytes; next attempt in 1 s" in t for t in told)
    assert any("going on after 0.1 of 0.3 MiB" in t for t in told)


def test_the_tool_downloads_asks_once_and_verifies(server, tmp_path, capsys, monkeypatch):
    path = ROOT / "tools" / "download_model.py"
    spec = importlib.util.spec_from_file_location("download_model", path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    entry = entry_for(server, licence=PAID)
    monkeypatch.setattr(catalogue, "entries", lambda: {"model": entry})

    def run(*words: str) -> tuple[int, str]:
        code = errors.run(tool.main, [*words])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    dest = ("--dest", str(tmp_path / "w"))
    terminal = type("Terminal", (io.StringIO,), {"isatty": lambda self: True})
    monkeypatch.setattr("sys.stdin", terminal("no\n"))
    code, text = run("model", *dest)
    assert code == 2 and "for non-commercial use only" in text and server.requests == []
    monkeypatch.setattr("sys.stdin", terminal("yes\n"))
    code, text = run("zoo://model", *dest)
    assert code == 0 and 'Type "yes" to accept' in text
    assert hashlib.sha256(server.content).hexdigest() in text and "8 published digits" in text
    monkeypatch.setattr("sys.stdin", terminal(""))
    code, text = run("model", *dest)
    assert code == 0 and "Type" not in text and len(server.requests) == 1
    code, text = run("--verify", str(tmp_path / "w" / entry.file_name))
    assert code == 0 and "equals the 8 published digits" in text
    monkeypatch.setattr("sys.stdin", io.StringIO())
    code, text = run("model", "--dest", str(tmp_path / "other"), "--accept-license")
    assert code == 0 and len(server.requests) == 2


SCRIPT = """
import sys
sys.path[:0] = [{root!r}, {here!r}]
from test_zoo_download import entry_for
from wsl_det.zoo import fetch
from wsl_det.zoo.store import Store
from conftest import CONTENT

class Server:
    content = CONTENT
    url = sys.argv[1]

print(Store(sys.argv[2], fetch.Patience(first_wait=0.01)).get(entry_for(Server)))
"""


def process(server, store) -> subprocess.Popen[str]:
    script = textwrap.dedent(SCRIPT).format(root=str(ROOT), here=str(Path(__file__).parent))
    return subprocess.Popen(
        [sys.executable, "-c", script, server.url, str(store.dest)], stdout=subprocess.PIPE, text=True
    )


def test_two_processes_share_one_download(server, store):
    server.habits = ["stall"]  # the second comes while the first is busy
    first = process(server, store)
    assert server.stalled.wait(60)
    second = process(server, store)
    server.release.set()
    found = {first.communicate(timeout=60)[0], second.communicate(timeout=60)[0]}
    assert found == {f"{store.dest / entry_for(server).file_name}\n"}
    assert [r for _, r in server.requests] == [None, "bytes=100000-"]


def test_a_killed_download_is_continued_by_the_next_process(server, store):
    server.habits = ["stall"]
    first = process(server, store)
    assert server.stalled.wait(60)
    part = store.dest / f".{entry_for(server).file_name}.part"
    for _ in range(1000):
        if part.is_file() and part.stat().st_size:
            break
        with contextlib.suppress(subprocess.TimeoutExpired):
            first.wait(0.02)
    os.kill(first.pid, signal.SIGKILL)
    first.wait(60)
    kept = part.stat().st_size
    assert 0 < kept <= 100_000
    assert store.get(entry_for(server)).read_bytes() == server.content
    assert server.requests[-1][1] == f"bytes={kept}-"
