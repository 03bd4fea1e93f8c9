"""What is read from stores is what is there, or one message."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import stores_world
from fsspec import AbstractFileSystem

from wsl_det.core import addresses, stores
from wsl_det.errors import ConfigError, DataError, WslError, public

DATA = bytes(range(256)) * 400
Rule = Callable[[str, str, int], str | None]
web = pytest.mark.skipif(not stores_world.NGINX, reason="nginx is not installed")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stores_world.quick(monkeypatch, tmp_path / "cache", 0.3)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    root = tmp_path_factory.mktemp("www")
    (root / "data.bin").write_bytes(DATA)
    with stores_world.nginx(root, tmp_path_factory.mktemp("nginx")) as port:
        yield port


@pytest.fixture
def proxy(server: int) -> Iterator[stores_world.Proxy]:
    with stores_world.Proxy(server) as found:
        yield found


@web
@pytest.mark.parametrize("what", ["503", "429", "cut", "hang", "whole", "empty"])
def test_answers_that_fail_at_first_are_asked_for_again(proxy: stores_world.Proxy, what: str) -> None:
    proxy.rule = lambda path, span, number: what if number < 3 else None
    assert stores.read(f"{proxy.url}/data.bin", 1000, 60000) == DATA[1000:60000]


@web
@pytest.mark.parametrize("what", ["cut", "hang"])
def test_a_read_goes_on_from_where_it_broke(proxy: stores_world.Proxy, what: str) -> None:
    proxy.rule = lambda path, span, number: what if number == 1 else None
    assert stores.read(f"{proxy.url}/data.bin", 1000, 3000) == DATA[1000:3000]
    assert [span for _, span in proxy.asked] == ["bytes=1000-2999", "bytes=2000-2999"]


@web
@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("503", "gave up after 6 attempts"),
        ("empty", "gave up after 6 attempts"),
        ("whole", "must serve ranges"),
        ("403", "no permission"),
        ("404", "does not exist"),
    ],
)
def test_what_fails_in_the_end_is_one_message_without_secrets(
    proxy: stores_world.Proxy, what: str, told: str
) -> None:
    proxy.rule = lambda path, span, number: what
    address = proxy.url.replace("//", "//me:geheim@") + "/data.bin?token=abcdef"
    with pytest.raises(DataError, match=told) as failed:
        stores.read(address, 1000, 3000)
    assert "geheim" not in str(failed.value) and "abcdef" not in str(failed.value)
    assert len(proxy.asked) == (1 if what in ("403", "404") else stores.ATTEMPTS)


@web
def test_a_copy_is_fetched_once_and_again_when_it_changed(proxy: stores_world.Proxy, server: int) -> None:
    path = addresses.local(f"{proxy.url}/data.bin")
    assert path.read_bytes() == DATA
    asked = len(proxy.asked)
    assert addresses.local(f"{proxy.url}/data.bin") == path and len(proxy.asked) == asked
    path.write_bytes(b"damaged")
    assert addresses.local(f"{proxy.url}/data.bin").read_bytes() == DATA


def test_addresses_are_told_from_paths() -> None:
    assert addresses.is_address("s3://b/k") and addresses.is_address(Path("s3://b/k"))
    assert not any(
        addresses.is_address(x) for x in ("zoo://x", "tcp://h:1", "s3:/b", "/a/b", "C:/x", None, 3)
    )
    assert addresses.text(Path("s3://b/k")) == "s3://b/k"
    assert addresses.join("s3://b/index", "../tars/a.tar") == "s3://b/tars/a.tar"
    assert addresses.join("/x", "s3://b/a.tar") == "s3://b/a.tar"


def test_a_copy_bears_its_address_without_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    path = addresses.place("https://me:pw@host/a/../b/x.json?sig=abc")
    assert "pw" not in str(path) and "abc" not in str(path)
    assert public(f"{path} is bad") == "https://host/b/x.json is bad"
    assert addresses.of(addresses.folder("s3://bucket/run")) == "s3://bucket/run"
    assert addresses.of("/home/run") == ""
    assert public("s3://me:p@ss@bucket/x, a@b") == "s3://bucket/x, a@b"


def test_memory_store(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(DATA)
    assert stores.put(tmp_path / "x", "memory://here/x").size == len(DATA)
    assert stores.read("memory://here/x", 5, 9) == DATA[5:9]
    assert stores.matching("memory://here/*") == ["memory://here/x"]
    assert (
        stores.create("memory://here/lock", b"1") is True
        and stores.create("memory://here/lock", b"2") is False
    )
    stores.remove("memory://here/lock")
    before = stores.listed("memory://here")
    stores.put(tmp_path / "x", "memory://here/x")
    assert set(before) == {"x"} and before != stores.listed("memory://here")
    with pytest.raises(DataError, match="does not exist"):
        stores.info("memory://here/y")


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("nostore://b/x", "no store that fsspec knows"),
        ("gs://b/x", "pip install gcsfs"),
    ],
)
def test_a_store_without_its_library(address: str, told: str) -> None:
    if address.startswith("gs"):
        try:
            import gcsfs  # noqa: F401
        except ImportError:
            pass
        else:
            pytest.skip("gcsfs is installed")
    with pytest.raises(ConfigError, match=told):
        stores.info(address)


def test_s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    (tmp_path / "x").write_bytes(DATA)
    monkeypatch.setenv(stores.TIMEOUT, "5")
    with stores_world.s3(monkeypatch.setenv):
        stores._system.cache_clear()
        assert stores.put(tmp_path / "x", "s3://bucket/a/x").tag
        assert stores.read("s3://bucket/a/x", 1000, 3000) == DATA[1000:3000]
        assert stores.create("s3://bucket/l", b"1") is True and stores.create("s3://bucket/l", b"2") is False
        assert stores.listed("s3://bucket/a") == {"x": stores.info("s3://bucket/a/x")}
        assert addresses.local("s3://bucket/a/x").read_bytes() == DATA
        for address in ("s3://nobucket/x", "s3://bucket/y"):
            with pytest.raises(WslError, match="does not exist"):
                stores.read(address, 0, 10)
        with pytest.raises(WslError, match="does not exist"):
            stores.put(tmp_path / "x", "s3://nobucket/x")
    stores._system.cache_clear()


@web
def test_a_folder_is_fetched_with_all_that_is_below_it(tmp_path: Path) -> None:
    for name in ("www/set/a.jpg", "www/set/deep/b.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
        stores.put(tmp_path / name, f"memory://{tmp_path.name}/{name.removeprefix('www/')}")
    with stores_world.nginx(tmp_path / "www", tmp_path / "nginx") as port:
        for address in (f"http://127.0.0.1:{port}/set/", f"memory://{tmp_path.name}/set"):
            found = addresses.local(address)
            assert (found / "a.jpg").read_bytes() == b"www/set/a.jpg" and (found / "deep/b.jpg").is_file()
    stores.remove(f"memory://{tmp_path.name}/set/a.jpg")
    addresses.local(f"memory://{tmp_path.name}/set")
    assert not (found / "a.jpg").exists() and (found / "deep/b.jpg").is_file()
    with pytest.raises(DataError, match="does not exist"):
        addresses.local(f"memory://{tmp_path.name}/none/")


def test_a_copy_of_a_store_that_tells_no_tag_is_never_taken_for_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "info", lambda address: stores.Info(3, ""))
    for text in ("old", "new"):
        monkeypatch.setattr(stores, "read", lambda address, start, stop, text=text: text.encode())
        assert addresses.local("https://host/x.json").read_text() == text


def test_what_changes_while_it_is_read_in_place_is_refused(tmp_path: Path) -> None:
    address = f"memory://{tmp_path.name}/posts.jsonl"
    (tmp_path / "x").write_bytes(DATA)
    stores.put(tmp_path / "x", address)
    with addresses.opened(address, 4096) as file:
        assert file.read() == DATA
    with addresses.opened(address, 4096) as file:
        assert file.read(5000) == DATA[:5000]
        (tmp_path / "x").write_bytes(DATA[::-1])
        stores.put(tmp_path / "x", address)
        with pytest.raises(DataError, match="changed while it was read"):
            file.read()


def test_a_store_that_does_not_say_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(address: str) -> bool:
        raise stores.Refused("no permission")

    (tmp_path / "w.pth").write_bytes(DATA)
    stores.put(tmp_path / "w.pth", f"memory://{tmp_path.name}/w.pth")
    monkeypatch.setattr(stores, "exists", refused)
    assert addresses.with_companion(f"memory://{tmp_path.name}/w.pth").read_bytes() == DATA


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (TypeError("pipe_file() got an unexpected keyword argument 'mode'"), None),
        (ValueError("unsupported mode for this filesystem: 'xb'"), None),
        (OSError(errno.ENOSYS, "If-None-Match"), None),
        (NotImplementedError(), None),
        (FileExistsError(), False),
        (ValueError("Invalid bucket name"), DataError),
        (PermissionError("Access Denied"), DataError),
    ],
)
def test_only_a_store_that_cannot_put_conditionally_has_no_lock(
    error: Exception, told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Store:
        def pipe_file(self, path: str, data: bytes, mode: str) -> None:
            raise error

    monkeypatch.setattr(stores, "_opened", lambda address: (Store(), "b/x"))
    if told is DataError:
        with pytest.raises(DataError):
            stores.create("s3://b/x", b"")
    else:
        assert stores.create("s3://b/x", b"") is told
    monkeypatch.setattr(stores, "_opened", lambda address: (AbstractFileSystem(), "b/x"))
    assert stores.create("sftp://b/x", b"") is None


def test_arguments_are_fetched_and_put(tmp_path: Path) -> None:
    root = f"memory://{tmp_path.name}"
    for name in ("p.json", "p.meta.json"):
        (tmp_path / name).write_text(name)
        stores.put(tmp_path / name, f"{root}/{name}")
    given = {"predictions": [f"{root}/p.json"], "output": Path(f"{root}/out"), "posts": f"{root}/x", "n": 3}
    with addresses.arguments(given, ("output",), ("posts",)) as found:
        read = Path(found["predictions"][0])
        assert read.read_text() == "p.json" and read.with_name("p.meta.json").read_text() == "p.meta.json"
        assert (found["posts"], found["n"]) == (f"{root}/x", 3)
        found["output"].mkdir()
        (found["output"] / "deep").mkdir()
        (found["output"] / "deep" / "gain.json").write_text("{}")
        assert public(f"wrote {found['output']}/gain.json") == f"wrote {root}/out/gain.json"
    assert set(stores.listed(f"{root}/out")) == {"deep/gain.json"}
    with pytest.raises(RuntimeError), addresses.arguments(given, ("output",), ("posts",)) as found:
        Path(found["output"]).write_text("half")
        raise RuntimeError
    assert set(stores.listed(f"{root}/out")) == {"deep/gain.json"}
    with (
        pytest.raises(DataError, match="already holds something"),
        addresses.arguments(given, ("output",), (), ("output",)),
    ):
        pass
    for name in ("b", "run[1]"):
        with addresses.arguments({"output": f"{root}/{name}.pth"}, ("output",), ()) as found:
            Path(found["output"]).write_text("weights")
            Path(found["output"]).with_suffix(".json").write_text("certificate")
        assert stores.exists(f"{root}/{name}.pth") and stores.exists(f"{root}/{name}.json")


def test_arguments_without_an_address_need_no_scratch_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with addresses.arguments({"gt": "gt.json", "output": tmp_path}, ("output",), ()) as found:
        assert found == {"gt": "gt.json", "output": tmp_path}


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PermissionError("Access Denied"), "no permission"),
        (
            PermissionError("The difference between the request time and the current time is too large."),
            "clock",
        ),
        (FileNotFoundError("The specified bucket does not exist"), "bucket does not exist"),
        (OSError(22, "InvalidBucketName"), "look at the address"),
        (NotImplementedError("no rename"), "cannot be read or written"),
    ],
)
def test_what_stores_refuse_is_said_once(
    error: Exception, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    class Refusing:
        protocol = ("s3",)

        def info(self, path: str) -> None:
            calls.append(path)
            raise error

    monkeypatch.setattr(stores, "_opened", lambda address: (Refusing(), "b/x"))
    with pytest.raises(DataError, match=told):
        stores.info("s3://b/x")
    assert len(calls) == 1
