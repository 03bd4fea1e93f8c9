"""The compiled scanner must count exactly what the readable path counts, on anything."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pretrain.posts import files as post_files
from pretrain.posts.files import Part
from pretrain.posts.records import Columns
from pretrain.posts.tags import character_kinds
from pretrain.vocabulary import counting, scan
from pretrain.vocabulary.hashtags import Rules
from pretrain.vocabulary.scan_text import is_utf8

PIECES = [
    "#cat", "#Brown_Bear", "#brownbears", "#ursusarctos", "#dog", "#tbt", "#München", "#猫", "#1", "#_", "#é",
    "#a1", "#", " ", ", ", "text ", "😍", "#love😍", "é", "＃dog", "#cafe\u0301", "\u0301", "&", "&#39;", "/",
    "http://x.y/#a",
    "www.a.b#c", "a.b/c#d ", ";", ",", '"', "\\", "\n", "\t", "#हिन्दी", "\u2028", "\u00a0", "#\U00020000",
    "#️⃣", "x", "##dog", "-", "'", "\ud83d",
]  # fmt: skip
TEXT = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)
VALUE = st.one_of(
    TEXT, TEXT, TEXT, st.none(), st.booleans(), st.integers(-5, 10**20), st.floats(allow_nan=True),
    st.lists(st.one_of(TEXT, st.integers(0, 3)), max_size=4), st.just({}), st.just([]), st.just({"id": "x"}),
)  # fmt: skip
KEY = st.sampled_from(["id", "caption", "hashtags", "image", "likes", "", "i\u0064", "Id"])
RECORD = st.lists(st.tuples(KEY, VALUE), max_size=5)
NORMAL = st.fixed_dictionaries(
    {"id": st.sampled_from(["a", "b", 3])}, optional={"caption": TEXT, "hashtags": TEXT}
)
# UTF-16 is refused as a whole, by its first two bytes.
RAW = st.binary(max_size=12).filter(
    lambda raw: b"\n" not in raw and not raw.startswith((b"\xff\xfe", b"\xfe\xff"))
)


def spelled(pairs, plain):
    """JSON of ordered pairs, repeated keys included."""
    texts = (json.dumps({k: v}, ensure_ascii=not plain)[1:-1] for k, v in pairs)
    return "{" + ", ".join(texts) + "}"


@st.composite
def lines(draw):
    plain = draw(st.booleans())
    kind = draw(st.integers(0, 5))
    if kind == 0:
        return draw(RAW)
    pairs = draw(RECORD) if kind < 3 else list(draw(NORMAL).items())
    text = spelled(pairs, plain).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 9)) == 0:
        cut = draw(st.integers(0, len(text)))
        text = text[:cut] + draw(RAW) + text[cut:]
    return draw(st.sampled_from([b"", b" ", b"\t"])) + text + draw(st.sampled_from([b"", b"\r", b" ", b"x"]))


def both(path, columns=None):
    return [
        counting.count_part(Part(str(path)), columns or Columns(), Rules(), fast) for fast in (False, True)
    ]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(lines(), max_size=12), separator=st.sampled_from([None, None, ";", "|", " ", "::"]))
def test_equal_to_the_readable_path(rows, separator, tmp_path):
    path = tmp_path / "posts.jsonl"
    path.write_bytes(b"\n".join(rows))
    slow, fast = both(path, Columns(separator=separator))
    assert fast == slow


def test_most_lines_are_taken(tmp_path):
    texts = [
        "#cat and #dog 😍",
        "Grüße aus #München",
        "#猫 #हिन्दी",
        "line\nbreak #cat",
        "no tags",
        'a "quoted" #cat',
    ]
    rows = [
        {"id": str(i), "image": f"{i}.jpg", "likes": -1.5e3, "ad": False, "caption": t}
        for i, t in enumerate(texts)
    ]
    rows += [
        {"id": 7, "hashtags": "new york;café"},
        {"id": 8, "hashtags": ["Café", "new york", "#"], "caption": "#x"},
    ]
    block = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    scanner = counting._new_scanner(Rules(), Columns())
    scanner.finish()
    assert scanner.feed(block) == (8, [])
    tally = scanner.finish()
    assert (tally.posts, tally.tags, tally.tagged) == (8, 11, 7)


def test_memory_is_emptied_when_it_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr(scan, "_ENTRIES", 64)
    monkeypatch.setattr(scan, "_TAGS", 48)
    monkeypatch.setattr(scan, "_POSTS", 7)
    monkeypatch.setattr(scan, "_SLOW", 3)
    path = tmp_path / "posts.jsonl"
    nouns = ["cat", "dog", "brownbear", "crane", "goldfish", "bears"]
    rows = [
        {
            "id": str(i),
            "caption": f"#{nouns[i % 6]} #noise{i} #{nouns[i % 5]} " + ("http://x/#y" if i % 3 else ""),
        }
        for i in range(500)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    counting._scanners.cache_clear()
    try:
        slow, fast = both(path)
    finally:
        counting._scanners.cache_clear()
    assert fast == slow and slow[0].posts == 500


def test_any_cut_into_parts_gives_the_same(tmp_path, monkeypatch):
    path = tmp_path / "posts.jsonl"
    rows = [
        json.dumps({"id": str(i), "caption": "#cat " * (i % 4) + "é" * (i % 7)}, ensure_ascii=False)
        for i in range(40)
    ]
    rows[7], rows[20], rows[33] = "", "broken", '{"id": "no text"}'
    whole = None
    for end in ("", "\n"):
        path.write_bytes(b"\xef\xbb\xbf" + ("\n".join(rows) + end).encode())
        for size in (10**9, 7, 64, 333):
            monkeypatch.setattr(post_files, "PART_BYTES", size)
            monkeypatch.setattr(post_files, "_BLOCK", 100)
            for compiled in (0, 1 << 60):
                monkeypatch.setattr(counting, "_WORTH_COMPILING", compiled)
                tally, ledger = counting.count_files([str(path)], Columns(), Rules(), 1)
                whole = whole or (tally, ledger)
                assert (tally, ledger) == whole
    assert whole[0].posts == 37
    assert whole[1].first["not JSON"] == (str(path), 21) and whole[1].records[str(path)] == 40


def test_kinds_are_those_of_the_regular_expression():
    kinds = character_kinds()
    assert [kinds[ord(c)] for c in "aÉ猫1_²\u0301 #-😍"] == [1, 1, 1, 2, 2, 2, 3, 0, 0, 0, 0]


@pytest.mark.parametrize("separator", ["::", "é"])
def test_separators_the_kernel_cannot_read_are_left_to_python(separator):
    assert not counting._new_scanner(Rules(), Columns(separator=separator)).usable


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.binary(max_size=8), st.text(max_size=4).map(lambda t: t.encode("utf-8", "surrogatepass")))
)
def test_utf8_is_judged_as_python_judges_it(raw):
    try:
        sound = raw.decode() is not None
    except UnicodeDecodeError:
        sound = False
    assert is_utf8(np.frombuffer(raw, np.uint8)) == sound


def test_processes_do_not_change_the_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(post_files, "PART_BYTES", 300)
    path = tmp_path / "posts.jsonl"
    rows = [{"id": str(i), "caption": ["#cat #dog", "#crane", "#tbt"][i % 3]} for i in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "broken\n")
    one, two = (counting.count_files([str(path)], Columns(), Rules(), workers) for workers in (1, 2))
    assert len(post_files.parts([str(path)])) > 4
    assert one == two and one[0].posts == 40 and one[1].first == {"not JSON": (str(path), 41)}
