"""Settings are read as they were written, or refused with the line; no file of a few bytes costs more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wsl_det.core import yaml_files
from wsl_det.errors import ConfigError


def read(folder: Path, text: str | bytes, **options: object) -> object:
    path = folder / "f.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return yaml_files.read(path, **options)  # type: ignore[arg-type]


BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "a stands twice, on lines 1 and 3"),
        ("s: {a: 1, a: 1}", "a stands twice"),
        ("s:\n  - {x: {yes: 1, b: 2, yes: 3}}", "yes stands twice"),
        ("x: " + "[" * 50_000, "levels deep"),
        ("x: " + "{a: " * 50_000, "levels deep"),
        ("\n".join(" " * i + "- " for i in range(200)), "levels deep"),
        ("x: " + "9" * 5000, "no int"),
        ("x: 0x" + "f" * 5000, "beyond 64 bits"),
        ("x: -99999999999999999999", "beyond 64 bits"),
        ("%YAML " + "9" * 5000 + ".1\n---\na: 1", "not readable YAML"),
        (BOMB, "values with all aliases"),
        (BOMB.replace("[", "{<<: [").replace("]", "]}"), "not readable YAML"),
        ("a: &a [*a]", "inside what it stands for"),
        ("a: &a {<<: *a}", "inside what it stands for"),
        ("x: 1:30", "in quotes as text"),
        ("x: 0500", "in quotes as text"),
        ("x: 1:30.5", "in quotes as text"),
        ("? [1]\n: 2", "expected text"),
        ("<<: {[1]: 2}", "expected text"),
        ("!!set {a, b}", "means nothing here"),
        ("!!python/object/apply:os.getcwd []", "means nothing here"),
        ("x: !!bool z", "no bool"),
        ("x: !!int ''", "no int"),
        ("x: !!float ''", "no float"),
        ("x: !!binary '='", "means nothing here"),
        ('x: "\\0"', "NUL"),
        ('x: "\\ud800"', "halves of characters"),
        ('x: "\\UFFFFFFFF"', "not readable YAML"),
        ('"\\ud800": 1', "halves of characters"),
        ("a: \x1b[31m", "not readable YAML"),
        (b"\xff\xfea\0", "cannot be read"),
        ("a: 1\n---\nb: 2", "another document"),
        ("a: [1", "not readable YAML"),
        ("#" * (1 << 20), "bytes; expected at most"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        read(tmp_path, text)
    assert "f.yaml" in str(refused.value)
    assert len(str(refused.value)) < 600


def test_texts_stay_as_they_are_written(tmp_path: Path) -> None:
    written = [
        "2026_11_29",
        "1e3",
        "no",
        "on",
        "null",
        "0x1F",
        "0500",
        "1:30",
        "2026-11-29",
        ".nan",
        "12",
        "=",
    ]
    text = "".join(f"- {word}\n" for word in written)
    assert read(tmp_path, text, is_text=lambda place: True) == written
    assert read(tmp_path, "a: [no, 1]\nb: no", is_text=lambda place: place[0] == "a") == {
        "a": ["no", "1"],
        "b": False,
    }
    empty = read(tmp_path, "a:\nb: ~\nc: ''\nd: '~'", is_text=lambda place: True)
    assert empty == {"a": None, "b": None, "c": "", "d": "~"}


def test_plain_values_keys_and_merges(tmp_path: Path) -> None:
    text = "a: &a {x: 1, y: 2.5}\nb: {<<: *a, x: 3}\n1: [yes, ~, 1_000, 0b11]\non: 2026-11-29\n"
    assert read(tmp_path, text) == {
        "a": {"x": 1, "y": 2.5},
        "b": {"x": 3, "y": 2.5},
        "1": [True, None, 1000, 3],
        "on": "2026-11-29",
    }
    assert read(tmp_path, "\ufeffa: 1") == {"a": 1}
    assert read(tmp_path, "# nothing") is None


def test_only_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "ring").symlink_to("ring")
    for path in ("/dev/zero", "/dev/null", tmp_path, tmp_path / "pipe", tmp_path / "ring", "a\0b"):
        with pytest.raises(ConfigError):
            yaml_files.read(path, "study file")
    with pytest.raises(ConfigError, match=r"study file .*none\.yaml does not exist"):
        yaml_files.read(tmp_path / "none.yaml", "study file")
