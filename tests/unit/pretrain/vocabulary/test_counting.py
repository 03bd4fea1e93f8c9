"""Counting in columns must count exactly what a loop over the posts counts, on anything."""

from __future__ import annotations

import json
import random
from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pretrain.posts import files as post_files
from pretrain.posts.files import Part
from pretrain.posts.records import Columns, Ledger
from pretrain.posts.tags import character_kinds
from pretrain.vocabulary import counting, wordnet
from pretrain.vocabulary.counting import Tally
from pretrain.vocabulary.hashtags import Resolved, Resolver, Rules

PIECES = [
    "#cat", "#Brown_Bear", "#brownbears", "#ursusarctos", "#dog", "#tbt", "#München", "#猫", "#1", "#_", "#é",
    "#a1", "#", " ", ", ", "text ", "😍", "#love😍", "é", "＃dog", "#cafe\u0301", "\u0301", "&", "&#39;", "/",
    "http://x.y/#a",
    "www.a.b#c", "a.b/c#d ", ";", ",", '"', "\\", "\n", "\t", "#हिन्दी", "\u2028", "\u00a0", "#\U00020000",
    "#️⃣", "x", "##dog", "-", "'", "\ud83d", "&#", "&＃", "，", "|", "；", "\u200d", "\u200c", "·", "・", "%23",
    "%20", "%e7%8c%ab", "%ff", "#1a", "#1·a", "0.1/", "\x85", "\x0b",
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


def one_by_one(path, columns, rules):
    """What is meant by counting, as a loop over the posts."""
    ledger, tally, resolver = Ledger(), Tally(), Resolver(wordnet.load(), rules)
    for post in post_files.read_part(Part(str(path)), columns, ledger):
        meanings = [resolver.read(tag) for tag in post.hashtags]
        known = [meaning for meaning in meanings if isinstance(meaning, Resolved)]
        others = [meaning for meaning in meanings if not isinstance(meaning, Resolved)]
        tally.posts += 1
        tally.tags += len(post.hashtags)
        tally.known_tags += len(known)
        tally.tagged += bool(post.hashtags)
        tally.meant += bool(known)
        tally.hashtags.update(known)
        tally.classes.update({meaning.synsets for meaning in known})
        tally.excluded.update(meaning.hashtag for meaning in others if meaning.excluded)
        tally.unknown.update(Counter(meaning.hashtag for meaning in others if not meaning.excluded))
    return tally, ledger


RULES = Rules(excluded=frozenset(["dog"]), synonyms=(("tbt", "brownbear"),))


def must_equal(path, columns=Columns()):  # noqa: B008 - frozen
    counted = counting.count_part(Part(str(path)), columns, RULES)
    assert counted == one_by_one(path, columns, RULES)
    return counted


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(lines(), max_size=25),
    separator=st.sampled_from([None, None, ";", "|", " ", "::"]),
    caption=st.sampled_from(["caption", "caption", "hashtags"]),
)
def test_equal_to_a_loop_over_the_posts(rows, separator, caption, tmp_path):
    path = tmp_path / "posts.jsonl"
    path.write_bytes(b"\n".join([b"", *rows]))  # the start of a file may be refused as a whole
    must_equal(path, Columns(caption=caption, separator=separator))


def test_equal_on_lines_that_were_spoiled(tmp_path):
    """Sound lines, each with a byte or two changed, lost or doubled."""
    chance = random.Random(1)
    sound = [
        b'{"id": "a1", "image": "a.jpg", "caption": "#cat and #caf\xc3\xa9, \\u00e9 #dog", "likes": 12.5e3}',
        b'{"id": 17, "hashtags": ["#brown_bear", "New York", null], "caption": null, "x": {"a": [1, "b"]}}',
        b'{"hashtags": "cat;dog|crane", "id": "\\ud83d\\ude00", "caption": "#tbt", "ad": false}',
    ]
    rows = []
    for _ in range(6000):
        line = bytearray(chance.choice(sound))
        for _ in range(chance.randint(0, 2)):
            place, spoil = chance.randrange(len(line)), chance.randrange(4)
            piece = [b"", bytes([chance.randrange(256)]), line[place : place + 1] * 2, chance.choice(SPOILS)][
                spoil
            ]
            line[place : place + 1] = piece
        rows.append(bytes(line))
    path = tmp_path / "posts.jsonl"
    path.write_bytes(b"\n" + b"\n".join(rows))
    tally, ledger = must_equal(path)
    assert tally.posts > 2000 and sum(ledger.skipped.values()) > 1000


SPOILS = [
    b'"', b"}", b"\\", b"\\ud800", b"\xed\xa0\x80", b"NaN", b"9" * 5000, b"[" * 2000, b"\0", b"\r",
    b"\xef\xbb\xbf", b'"id": "b", ', b"null", b"1e999", b"-", b"0",
]  # fmt: skip


def test_memory_is_emptied_when_it_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr(counting, "_REMEMBERED", 40)
    monkeypatch.setattr(post_files, "_BLOCK", 500)
    monkeypatch.setattr(counting, "_POSTS", 7)
    nouns = ["cat", "dog", "brownbear", "crane", "goldfish", "bears"]
    captions = [
        f"#{nouns[i % 6]} #noise{i} #{nouns[i % 5]} " + ("http://x/#y" if i % 3 else "") for i in range(500)
    ]
    rows = [json.dumps({"id": str(i), "caption": caption}) for i, caption in enumerate(captions)]
    (tmp_path / "posts.jsonl").write_text("\n".join(rows))
    (tmp_path / "posts.csv").write_text(
        "id,caption\n" + "".join(f"{i},{c}\n" for i, c in enumerate(captions))
    )
    for name in ("posts.jsonl", "posts.csv"):
        tally, _ = must_equal(tmp_path / name)
        assert tally.posts == 500 and tally.unknown.error == 0 and len(tally.unknown.counts) == 500


def test_one_odd_line_does_not_slow_the_others():
    plain = b'{"id": 7, "caption": "#cat", "hashtags": ["a", "b"], "x": [{"y": 1}]}'
    odd = [
        b"",
        b'{"id": ""}',
        b'{"id": 1.0}',
        b'{"id": "a", "hashtags": [1]}',
        b'{"id": "a", "x": "\\ud800"}',
    ]
    rows = counting._plain_rows(b"\n".join([plain, *odd, plain]) + b"\n", Columns())
    assert [row and row.hashtags for row in rows] == [["a", "b"], *[None] * len(odd), ["a", "b"]]
    # As many objects as lines, but not one a line.
    for joined in (
        plain + plain + b"\n",
        b'{"id":\n7}\n' + plain + plain,
        b'{"x":\n{}}\n' + plain * 2,
        b"\n" + plain * 2,
    ):
        rows = counting._plain_rows(joined, Columns())
        assert rows == [None] * len(rows)


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
            tally, ledger = counting.count_files([str(path)], Columns(), Rules(), 1)
            whole = whole or (tally, ledger)
            assert (tally, ledger) == whole
    assert whole[0].posts == 37
    assert whole[1].first["not JSON"] == (str(path), 21) and whole[1].records[str(path)] == 40


def test_kinds_of_characters():
    kinds = character_kinds()
    assert [kinds[ord(c)] for c in "aÉ猫1_²\u0301·\u200d #-😍"] == [1, 1, 1, 2, 2, 2, 3, 4, 4, 0, 0, 0, 0]


def test_processes_do_not_change_the_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(post_files, "PART_BYTES", 300)
    path = tmp_path / "posts.jsonl"
    rows = [{"id": str(i), "caption": ["#cat #dog", "#crane", "#tbt"][i % 3]} for i in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "broken\n")
    one, two = (counting.count_files([str(path)], Columns(), Rules(), workers) for workers in (1, 2))
    assert len(post_files.parts([str(path)])) > 4
    assert one == two and one[0].posts == 40 and one[1].first == {"not JSON": (str(path), 41)}
