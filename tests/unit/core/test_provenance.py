"""Headers say what made a file, and nothing that made no difference."""

from __future__ import annotations

import sys

import pytest

from wsl_det.core import provenance


@pytest.mark.parametrize(
    "words",
    [
        ["--posts", "a b.jsonl", "--workers", "3", "--size", "5"],
        ["--workers=3", "--posts", "a b.jsonl", "--size", "5", "--scheduler", "--workers"],
        ["--posts", "a b.jsonl", "--size", "5"],
        ["--resume", "--posts", "a b.jsonl", "--dist-url", "tcp://h:1", "--size", "5"],
    ],
)
def test_options_that_decide_nothing_are_left_out_of_the_command(monkeypatch, words):
    monkeypatch.setattr(sys, "argv", ["/somewhere/build_vocab.py", *words])
    header = provenance.header("vocabulary", 1, {}, ("--workers", "--scheduler"))
    assert header["command"] == "build_vocab.py --posts 'a b.jsonl' --size 5"
