from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile

import pytest

from pretrain.posts import files as post_files
from pretrain.posts import opening
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
    # Quotes that are no csv are characters like others.
    assert [post.id for post in found] == ["a", "f", "g"] and found[1].hashtags == ("cat",)
    assert dict(ledger.skipped) == {
        "fewer fields than columns": 1,
        "more fields than columns": 1,
        "not UTF-8": 1,
        'no "id"': 1,
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


@pytest.mark.parametrize(
    ("name", "head"),
    [("p.jsonl", ""), ("p.csv", ""), ("p.csv", "id,caption\n"), ("p.tsv", "id\tcaption\n1\t#dog\n")],
)
def test_lines_that_never_end_are_no_posts(tmp_path, monkeypatch, name, head):
    monkeypatch.setattr(opening, "LONGEST_LINE", 1000)
    monkeypatch.setattr(post_files, "_BLOCK", 100)
    (tmp_path / name).write_text(head + "\0" * 5000)
    with pytest.raises(DataError, match=r"line of over .* is it JSON lines, or a table"):
        read(tmp_path / name)


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
    # A byte order mark within a file is what appending two exports leaves.
    assert [post.id for post in found] == ["0", "3"] and found[1].hashtags == ("café",)
    assert ledger.skipped == {"not UTF-8": 2}


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


STRAY = [
    "1{t}a.jpg{t}#dog",
    '2{t}b.jpg{t}"Best day ever #beach',
    "3{t}c.jpg{t}my #pizza",
    "4{t}d.jpg{t}#cat",
    "5{t}e.jpg{t}{closing}",
    "6{t}f.jpg{t}#zebra",
]


@pytest.mark.parametrize(("name", "t"), [("p.csv", ","), ("p.tsv", "\t")])
@pytest.mark.parametrize(
    "closing",
    ['"', '#lion"', '"quoted" #lion', 'a 24" screen', '"#lion', "never", '""', '"a" and "b', 'say ""hi""'],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_stray_quote_swallows_no_rows(tmp_path, name, t, closing, end):
    lines = ["id{t}image{t}caption", *STRAY]
    (tmp_path / name).write_bytes(end.join(lines).format(t=t, closing=closing).encode())
    found, ledger = read(tmp_path / name)
    assert [post.id for post in found] == list("123456") and not ledger.skipped
    assert [post.hashtags for post in found[:4]] == [("dog",), ("beach",), ("pizza",), ("cat",)]
    assert [post.image for post in found] == [f"{letter}.jpg" for letter in "abcdef"]


def test_stray_quotes_in_other_columns_and_a_caption_with_the_delimiter(tmp_path):
    (tmp_path / "p.csv").write_text(
        'caption,id\n"Hello,\n#dog, yes",1\n"#cat,2\nmy #pizza,3\n#lion,4"\n#zebra,5\n'
    )
    found, ledger = read(tmp_path / "p.csv")
    assert [(post.id, post.hashtags) for post in found] == [
        ("1", ("dog",)), ("2", ("cat",)), ("3", ("pizza",)), ('4"', ("lion",)), ("5", ("zebra",)),
    ]  # fmt: skip
    (tmp_path / "q.csv").write_text('id,caption\n1,"so, #dog\n2,#cat\n3,"\n')
    found, ledger = read(tmp_path / "q.csv")
    # The row that holds a delimiter beside its stray quote is counted, the others are read.
    assert [post.id for post in found] == ["2", "3"] and ledger.skipped == {"more fields than columns": 1}


def test_line_ends_in_quoted_fields_stay(tmp_path):
    rows = [
        {"id": str(n), "caption": text}
        for n, text in enumerate(
            ["Hello\nmy #dog, #cat", "a, b\nc, d\n#lion", "one\ntwo, three\nfour", 'she said "hi"\n#zebra']
        )
    ]
    (tmp_path / "p.csv").write_bytes(table(",", rows))
    (tmp_path / "p.tsv").write_bytes(table("\t", rows))
    for name in ("p.csv", "p.tsv"):
        found, ledger = read(tmp_path / name)
        assert [post.id for post in found] == list("0123") and not ledger.skipped
        assert [post.hashtags for post in found] == [("dog", "cat"), ("lion",), (), ("zebra",)]


@pytest.mark.parametrize("name", ["p.csv", "p.parquet"])
def test_a_column_that_stands_twice(tmp_path, name):
    if name == "p.csv":
        (tmp_path / name).write_text("id,caption,id\n1,#cat,2\n")
    else:
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        column = pyarrow.array(["a"])
        parquet.write_table(pyarrow.Table.from_arrays([column] * 3, ["id", "caption", "id"]), tmp_path / name)
    with pytest.raises(DataError, match='column "id" stands twice'):
        read(tmp_path / name)


def test_xz_and_bzip2(tmp_path):
    for ending, module in ((".xz", lzma), (".bz2", bz2)):
        path = tmp_path / f"p.jsonl{ending}"
        path.write_bytes(module.compress(JSONL[:40]) + module.compress(JSONL[40:]))
        assert read(path)[0] == POSTS
        for wrong in (module.compress(JSONL)[:-9], b"no such file", path.read_bytes()[:30]):
            path.write_bytes(wrong)
            with pytest.raises(DataError, match="damaged or truncated"):
                read(path)


def test_a_zstandard_window_of_two_gigabytes(tmp_path):
    zstandard = pytest.importorskip("zstandard")
    made = zstandard.ZstdCompressionParameters.from_level(3, window_log=31, enable_ldm=True)
    pack = zstandard.ZstdCompressor(compression_params=made).compressobj()
    (tmp_path / "p.jsonl.zst").write_bytes(pack.compress(JSONL) + pack.flush())
    assert read(tmp_path / "p.jsonl.zst")[0] == POSTS
    words = zstandard.ZstdCompressionDict(b"a caption of #cats and #dogs " * 9)
    (tmp_path / "d.jsonl.zst").write_bytes(zstandard.ZstdCompressor(dict_data=words).compress(JSONL))
    with pytest.raises(DataError, match=r"damaged|dictionary"):
        read(tmp_path / "d.jsonl.zst")


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"


def tar():
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as file:
        file.addfile(tarfile.TarInfo("p.jsonl"))
    return packed.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (json.dumps(ROWS).encode(), "is one JSON array; expected one object per line: jq"),
        (b"\xef\xbb\xbf" + json.dumps(ROWS, indent=1).encode(), "is one JSON array"),
        (json.dumps(ROWS[0], indent=1).encode(), "is JSON over many lines"),
        (gzip.compress(JSONL), "is gzip; let its name end in .gz"),
        (bz2.compress(JSONL), "is bzip2"),
        (lzma.compress(JSONL), "is xz"),
        (b"\x28\xb5\x2f\xfd....", "is zstandard"),
        (b"PK\x03\x04....", "is an archive"),
        (b"PAR1....", "is parquet"),
        (tar(), "is a tar"),
        (b"<!DOCTYPE html>\n<html>\n", "is an HTML page: download"),
        (POINTER, "is a git-lfs pointer: run git lfs pull"),
        (JSONL.decode().encode("utf-16-le"), "is UTF-16"),
    ],
)
def test_other_files_are_named(tmp_path, data, said):
    for name in ("p.jsonl", "p.jsonl.gz"):
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
        with pytest.raises(DataError, match=said):
            read(tmp_path / name)


@pytest.mark.parametrize(
    "name", ["p.csv", "p.parquet", "p.jsonl.gz", "p.jsonl.bz2", "p.jsonl.xz", "p.jsonl.zst"]
)
def test_pointers_are_named_by_every_reader(tmp_path, name):
    (tmp_path / name).write_bytes(POINTER)
    with pytest.raises(DataError, match="is a git-lfs pointer: run git lfs pull"):
        read(tmp_path / name)


def test_a_cut_archive_is_not_to_be_unpacked(tmp_path):
    (tmp_path / "p.jsonl.gz").write_bytes(gzip.compress(JSONL)[:-9])
    with pytest.raises(DataError, match=r"damaged or truncated .*; copy or export it again"):
        read(tmp_path / "p.jsonl.gz")


def test_names_that_cannot_be_written_are_refused_at_once(tmp_path):
    for name in (b"p\xff.jsonl", b"p\x1b[31m.jsonl"):
        path = os.fsdecode(os.fsencode(tmp_path) + b"/" + name)
        with open(path, "wb") as file:
            file.write(JSONL)
        with pytest.raises(DataError, match=r"p\\\\?(udcff|x1b).*rename it"):
            post_files.expand([path])


def test_parquet_values_that_are_no_text(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    def written(tags, caption=None):
        columns = {"id": arrow.array([str(n) for n in range(len(tags))]), "hashtags": tags}
        if caption is not None:
            columns["caption"] = arrow.array([caption] * len(tags))
        parquet.write_table(arrow.table(columns), tmp_path / "p.parquet")
        found, ledger = read(tmp_path / "p.parquet")
        return [post.hashtags for post in found], dict(ledger.skipped)

    objects = arrow.array([[{"text": "dog"}]])
    assert written(objects, "#cat") == ([("cat",)], {})
    said = '"hashtags" holds {}, not text, and there is no "caption"'
    others = arrow.array([[{"text": "dog"}], [{"text": "cat"}]])
    with pytest.raises(DataError, match=r"2 skipped: .*holds objects"):
        written(others)
    mixed = arrow.array([[1, 2], None, []], arrow.list_(arrow.int64()))
    assert written(mixed) == ([()], {said.format("numbers"): 1, 'neither "caption" nor "hashtags"': 1})
    with pytest.raises(DataError, match="holds lists"):
        written(arrow.array([[("dog", 1)]], arrow.map_(arrow.string(), arrow.int64())))
    binary = arrow.array([b"#dog", b"#caf\xe9", b"#cat"]).view(arrow.string())
    assert written(binary) == ([("dog",), ("cat",)], {"not UTF-8": 1})
