from __future__ import annotations

import gzip
import io
import json

import pytest

from pretrain.posts import files as post_files
from pretrain.posts.records import Columns, Ledger, Post
from wsl_det.errors import DataError

POSTS = [
    Post("a", "a.jpg", ("Cat", "dog")),
    Post("b", None, ("new_york",)),
    Post("c", "x/c.jpg", ()),
]
ROWS = [
    {"id": "a", "image": "a.jpg", "caption": "a #Cat,\nand a #dog"},
    {"id": "b", "image": "", "caption": '"quoted" #new_york'},
    {"id": "c", "image": "x/c.jpg", "caption": ""},
]
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def table(delimiter, rows=ROWS):
    import csv

    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def read(path, columns=None):
    ledger = Ledger()
    return list(post_files.read([str(path)], columns or Columns(), ledger)), ledger


def zst(data):
    zstandard = pytest.importorskip("zstandard")
    compress = zstandard.ZstdCompressor().compress
    return compress(data[:40]) + compress(data[40:])  # two frames, as `cat` makes them


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("p.jsonl", lambda: JSONL),
        ("p.ndjson", lambda: JSONL.rstrip(b"\n")),
        ("p.csv", lambda: table(",")),
        ("p.tsv", lambda: b"\xef\xbb\xbf" + table("\t")),
        ("p.jsonl.gz", lambda: gzip.compress(JSONL[:30]) + gzip.compress(JSONL[30:])),
        ("p.csv.gz", lambda: gzip.compress(table(","))),
        ("p.jsonl.zst", lambda: zst(JSONL)),
        ("p.tsv.zst", lambda: zst(table("\t"))),
    ],
)
def test_every_format_gives_the_same_posts(tmp_path, name, make):
    (tmp_path / name).write_bytes(make())
    found, ledger = read(tmp_path / name)
    assert found == POSTS
    assert ledger.read == 3 and not ledger.skipped


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "p.parquet", row_group_size=2)
    assert read(tmp_path / "p.parquet")[0] == POSTS
    rows = [{"pk": 7, "tags": ["Cat", "#dog"], "other": 1.0}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "lists.parquet")
    assert read(tmp_path / "lists.parquet", Columns(id="pk", hashtags="tags"))[0] == [
        Post("7", None, ("Cat", "dog"))
    ]
    with pytest.raises(DataError, match=r"has columns 'pk', 'tags', 'other'; expected \"id\".*--id-column"):
        read(tmp_path / "lists.parquet")
    (tmp_path / "broken.parquet").write_bytes((tmp_path / "p.parquet").read_bytes()[:-20])
    with pytest.raises(DataError, match="no whole parquet file"):
        read(tmp_path / "broken.parquet")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    (tmp_path / "p.parquet").touch()
    with pytest.raises(DataError, match="pip install pyarrow"):
        read(tmp_path / "p.parquet")


@pytest.mark.parametrize("compress", [gzip.compress, zst], ids=["gz", "zst"])
@pytest.mark.parametrize("keep", [0.5, 0.9])
def test_truncated_and_damaged_streams(tmp_path, compress, keep):
    noise = "".join(json.dumps({"id": str(i * 7919 % 1000), "caption": "#cat"}) + "\n" for i in range(1000))
    packed = compress(noise.encode())
    path = tmp_path / f"p.jsonl.{'gz' if compress is gzip.compress else 'zst'}"
    path.write_bytes(packed[: int(len(packed) * keep)])
    with pytest.raises(DataError, match="damaged or truncated"):
        read(path)
    path.write_bytes(b"hello, this is no compressed file")
    with pytest.raises(DataError, match="damaged or truncated"):
        read(path)


def test_bad_rows_of_a_table_are_counted(tmp_path):
    path = tmp_path / "p.csv"
    path.write_bytes(
        b"id,image,caption\n"
        b"a,a.jpg,#cat\n"
        b"b,b.jpg\n"
        b"c,c.jpg,#dog,extra\n"
        b"d,d.jpg,#caf\xe9\n"
        b",e.jpg,#cat\n"
        b'f,f.jpg,"#cat"x\n'
        b"g,g.jpg,#dog\n"
    )
    found, ledger = read(path)
    assert [post.id for post in found] == ["a", "g"]
    assert dict(ledger.skipped) == {
        "fewer fields than columns": 1,
        "more fields than columns": 1,
        "not UTF-8": 1,
        'no "id"': 1,
        "not a row (',' expected after '\"')": 1,
    }


def test_tables_without_the_columns(tmp_path):
    (tmp_path / "p.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="has columns 'a', 'b'; expected \"id\""):
        read(tmp_path / "p.csv")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(DataError, match="nothing is in there"):
        read(tmp_path / "empty.csv")


def test_globs_are_sorted_and_nothing_counts_twice(tmp_path):
    for name in ("p-2.jsonl", "p-1.jsonl", "q.jsonl", "odd[1].jsonl"):
        (tmp_path / name).write_bytes(JSONL)
    base = str(tmp_path)
    assert post_files.expand([f"{base}/q.jsonl", f"{base}/p-*.jsonl"]) == [
        f"{base}/q.jsonl", f"{base}/p-1.jsonl", f"{base}/p-2.jsonl",
    ]  # fmt: skip
    assert post_files.expand([f"{base}/odd[1].jsonl"]) == [f"{base}/odd[1].jsonl"]
    with pytest.raises(DataError, match="no posts file matches"):
        post_files.expand([f"{base}/r-*.jsonl"])
    with pytest.raises(DataError, match="named twice"):
        post_files.expand([f"{base}/p-*.jsonl", f"{base}/p-1.jsonl"])


def test_lines_that_never_end_are_no_posts(tmp_path, monkeypatch):
    monkeypatch.setattr(post_files, "_LONGEST_LINE", 1000)
    monkeypatch.setattr(post_files, "_BLOCK", 100)
    (tmp_path / "p.jsonl").write_bytes(b"\0" * 5000)
    with pytest.raises(DataError, match="is it JSON lines"):
        read(tmp_path / "p.jsonl")


@pytest.mark.parametrize("name", ["p.jsonl", "p.csv", "p.tsv.gz", "p.jsonl.zst"])
def test_utf16_is_refused_in_every_format(tmp_path, name):
    pytest.importorskip("zstandard")
    delimiter = "\t" if "tsv" in name else ","
    data = JSONL if "jsonl" in name else table(delimiter)
    data = data.decode().encode("utf-16")
    packed = gzip.compress(data) if name.endswith("gz") else zst(data) if name.endswith("zst") else data
    (tmp_path / name).write_bytes(packed)
    with pytest.raises(DataError, match="UTF-16; convert it to UTF-8"):
        read(tmp_path / name)


def test_mixed_encodings_lose_only_the_lines_that_are_not_utf8(tmp_path):
    rows = [json.dumps({"id": str(n), "caption": "#café"}, ensure_ascii=False) + "\n" for n in range(4)]
    codings = ("utf-8", "latin-1", "cp1252", "utf-8-sig")
    (tmp_path / "p.jsonl").write_bytes(b"".join(map(str.encode, rows, codings)))
    found, ledger = read(tmp_path / "p.jsonl")
    assert [post.id for post in found] == ["0"] and found[0].hashtags == ("café",)
    # A byte order mark within a file is what appending two exports leaves.
    assert ledger.skipped == {"not UTF-8": 2, "not JSON": 1}


def test_a_parquet_file_damaged_within(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [{"id": str(i), "caption": f"#cat #noise{i * 7919}"} for i in range(3000)]
    path = tmp_path / "p.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    data = bytearray(path.read_bytes())
    data[8:2000] = b"\xff" * 1992
    path.write_bytes(data)
    with pytest.raises(DataError, match="no whole parquet file"):
        read(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="no whole parquet file"):
        read(path)
