from __future__ import annotations

import json

import pytest

from pretrain.posts import files as post_files
from pretrain.posts import records as posts
from pretrain.posts.records import Columns, Ledger
from wsl_det.errors import DataError


def read(path, columns=None):
    ledger = Ledger()
    return list(post_files.read([str(path)], columns or Columns(), ledger)), ledger


def write(tmp_path, *lines, name="posts.jsonl"):
    path = tmp_path / name
    path.write_bytes(b"\n".join(x if isinstance(x, bytes) else json.dumps(x).encode() for x in lines))
    return path


def test_captions_and_lists(tmp_path):
    path = write(
        tmp_path,
        {"id": "a", "image": "x/a.jpg", "caption": "hi #Cat #dog"},
        {"id": 7, "hashtags": "New York;skyline"},
        {"id": "c", "hashtags": ["#cat", "", None, "Big Dog"], "caption": "#ignored"},
        {"id": "d", "caption": ""},
    )
    found, ledger = read(path)
    assert [post.hashtags for post in found] == [
        ("Cat", "dog"),
        ("New York", "skyline"),
        ("cat", "Big Dog"),
        (),
    ]
    assert [post.id for post in found] == ["a", "7", "c", "d"]
    assert [post.image for post in found] == ["x/a.jpg", None, None, None]
    assert ledger.read == 4 and not ledger.skipped


def test_malformed_records_are_counted_with_their_first_place(tmp_path):
    path = write(
        tmp_path,
        {"id": "good", "caption": "#cat"},
        b'{"id": "trunca',
        b"\xff\xfe not utf-8",
        [1, 2],
        {"caption": "#no id"},
        {"id": "", "caption": "#no id"},
        {"id": True, "caption": "#no id"},
        {"id": "\ud800", "caption": "#no id"},
        {"id": "x"},
        {"id": "y", "caption": None, "hashtags": {}},
        b"",
        b"[" * 100_000,
    )
    found, ledger = read(path)
    assert [post.id for post in found] == ["good"]
    assert ledger.skipped == {
        "not JSON": 2,
        "not UTF-8": 1,
        "not an object with columns": 1,
        'no "id"': 4,
        'neither "caption" nor "hashtags"': 2,
    }
    assert ledger.first["not JSON"] == (str(path), 2)
    assert ledger.summary()[0] == f'4 skipped: no "id" (first: {path}:5)'


def test_byte_order_mark_is_no_part_of_the_post(tmp_path):
    found, _ = read(write(tmp_path, b"\xef\xbb\xbf" + b'{"id": "a", "caption": "#cat"}'))
    assert found[0].hashtags == ("cat",)


def test_missing_and_empty_files(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.jsonl does not exist"):
        post_files.expand([tmp_path / "nothing.jsonl"])
    with pytest.raises(DataError, match="is a folder; name its files"):
        post_files.expand([tmp_path])
    empty = write(tmp_path, b"", name="empty.jsonl")
    with pytest.raises(DataError, match=r"no posts in .*empty\.jsonl: nothing is in there"):
        read(empty)
    filled = write(tmp_path, {"id": "a", "caption": ""})
    assert len(list(post_files.read([str(empty), str(filled)], Columns(), Ledger()))) == 1


def test_a_file_of_something_else_is_an_error_that_says_what_was_met(tmp_path):
    path = write(tmp_path, {"key": "a", "text": "#cat"}, b"hello")
    with pytest.raises(
        DataError, match=r'1 skipped: no "id".*1 skipped: not JSON.*expected records with "id"'
    ):
        read(path)


def test_utf16_is_refused_with_the_remedy(tmp_path):
    path = tmp_path / "posts.jsonl"
    path.write_text('{"id": "a", "caption": "#cat"}\n', encoding="utf-16")
    with pytest.raises(DataError, match="UTF-16; convert it to UTF-8"):
        read(path)


def test_columns_can_have_other_names(tmp_path):
    path = write(tmp_path, {"pk": "a", "file": "a.jpg", "tags": "cat|dog house"})
    found, _ = read(path, Columns(id="pk", image="file", hashtags="tags", separator="|"))
    assert found == [posts.Post("a", "a.jpg", ("cat", "dog house"))]


def test_entries_that_are_no_text_count_with_a_reason_or_leave_it_to_the_caption(tmp_path):
    path = write(
        tmp_path,
        {"id": "a", "hashtags": [{"text": "dog", "indices": [0, 4]}], "caption": "#dog"},
        {"id": "b", "hashtags": [{"text": "dog"}]},
        {"id": "c", "hashtags": ["dog", 3]},
        {"id": "d", "hashtags": [["dog", 1]]},
        {"id": "e", "hashtags": [True]},
        {"id": "f", "hashtags": {"dog": 1}},
        {"id": "g", "hashtags": ["cat", None, ""]},
        {"id": "h", "hashtags": 2024, "caption": "#cat"},
    )
    found, ledger = read(path)
    assert [(post.id, post.hashtags) for post in found] == [("a", ("dog",)), ("g", ("cat",)), ("h", ("cat",))]
    kinds = ("holds objects", "holds numbers", "holds lists", "holds true or false", "is objects")
    said = '"hashtags" {}, not text, and there is no "caption"'
    assert ledger.skipped == dict.fromkeys(map(said.format, kinds), 1)
    assert ledger.first[said.format("holds objects")] == (str(path), 2)


def test_glued_and_encoded_entries(tmp_path):
    path = write(
        tmp_path,
        {
            "id": "a",
            "hashtags": ["#zebra#lion", "dog，cat", "猫、犬", "a；b", "x|y", "New York", "＃猫＃犬", "#"],
        },
        {"id": "b", "hashtags": "New%20York,%E7%8C%AB,100%,50%ad,%23dog,Washington%2C DC"},
        {"id": "c", "hashtags": "dog\ud83d cat"},
    )
    found, _ = read(path)
    assert [post.hashtags for post in found] == [
        ("zebra", "lion", "dog", "cat", "猫", "犬", "a", "b", "x", "y", "New York", "猫", "犬"),
        ("New York", "猫", "100%", "50%ad", "dog", "Washington, DC"),
        ("dog", "cat"),
    ]


def test_numbers_and_nesting_beyond_their_type(tmp_path):
    path = write(
        tmp_path,
        b'{"id": "a", "caption": "#cat", "likes": ' + b"9" * 5000 + b"}",
        b'{"id": ' + b"9" * 5000 + b', "caption": "#cat"}',
        b'{"id": ' + b"9" * 40 + b', "caption": "#cat", "x": 1e999}',
        b'{"id": "b", "caption": "#cat", "x": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        {"id": "c", "image": "\ud800.jpg", "caption": "#cat"},
    )
    found, ledger = read(path)
    assert [(post.id, post.image) for post in found] == [("a", None), ("9" * 40, None), ("c", None)]
    assert ledger.skipped == {'no "id"': 1, "not JSON": 1}
