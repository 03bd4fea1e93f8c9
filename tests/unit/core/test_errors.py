"""What names of foreign files hold is printed escaped: by tools, in messages, in logs, in files."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from wsl_det import errors
from wsl_det.core import files, log

RAW = "a\x1b[31m\x07\r\x9b\u202egpj\udce9 b\té\u65e5"
SHOWN = r"a\x1b[31m\x07\r\x9b\u202egpj\udce9 b" + "\té\u65e5"


@pytest.mark.parametrize("kind", [errors.DataError, FileNotFoundError])
def test_messages_and_output_of_tools_are_escaped(
    kind: type[Exception], capsys: pytest.CaptureFixture
) -> None:
    def main(argv: Sequence[str] | None) -> int:
        print(RAW)
        raise kind(RAW)

    assert errors.run(main) == 2
    found = capsys.readouterr()
    assert found.out == f"{SHOWN}\n"
    assert SHOWN in found.err


def test_long_foreign_texts_are_cut_and_the_remedy_stays(capsys: pytest.CaptureFixture) -> None:
    def main(argv: Sequence[str] | None) -> int:
        raise errors.DataError(f"one line\nclass {'x' * 10**6!r} stands twice; leave one")

    assert errors.run(main) == 2
    found = capsys.readouterr().err
    assert found.startswith("error: one line\nclass 'xxx") and len(found) < 2500
    assert found.endswith("stands twice; leave one\n")


def test_logs_and_progress_are_escaped(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch) -> None:
    monkeypatch.setattr(log, "_PLAIN_SECONDS", 0.0)
    log.setup(tmp_path).warning("left out: %s", RAW)
    list(log.progress([1], 1, RAW))
    shown = capsys.readouterr().err
    assert f"left out: {SHOWN}" in shown and f"{SHOWN}: 1/1" in shown
    assert f"left out: {SHOWN}" in (tmp_path / "log.txt").read_text(encoding="utf-8")
    log.setup()


def test_names_that_are_no_utf8_come_back_from_json(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    files.write_json(tmp_path / "a.json", {"file": name})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"file": name}
