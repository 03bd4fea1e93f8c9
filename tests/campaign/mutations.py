"""Damaged and hostile variants of a good file: of its bytes, and of its values where it is JSON or YAML."""

from __future__ import annotations

import copy
import json
import random
import zlib
from collections.abc import Callable, Iterator
from typing import Any

_EDGE = 300
_INTEGERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)


class Raw(str):
    """Text of a value as it shall stand in the file."""


class Pairs(list[tuple[str, Any]]):
    """An object whose keys may stand twice."""


_NAMES = (
    *("", " ", "..", "../../etc/passwd", "/etc/passwd", "/dev/zero", "\0", "\x1b[31m", "a\nb", "NaN", "0"),
    *(
        '"><script>alert(1)</script>',
        "\u202eabc",
        "é",
        "\U0001f600",
        "a" * 300,
        "x" * 70_000,
        "http://x/y.jpg",
    ),
)
_NUMBERS = (
    *("0", "1", "-1", "2", "0.5", "-0.0", "1.5", "1e308", "-1e308", "1e999", "1e-320", "NaN", "-Infinity"),
    *(
        str(2**31),
        str(2**53 + 1),
        str(2**63),
        str(-(2**63) - 1),
        str(2**64),
        "9" * 400,
        "9" * 5000,
        "0.1e-9999",
    ),
)
_VALUES = [
    *map(Raw, _NUMBERS),
    *_NAMES,
    *(None, True, False, [], {}, [[]], [None], ["a"], [1, 2, 3, 4], [[1, 2, 3, 4]], {"a": 1}, {"": {}}),
    *map(Raw, ('"\\ud800"', '"\\u0000"', "[1e308, 1e308, 1e308, 1e308]", "[" * 200 + "]" * 200)),
    *map(Raw, ("[" * 100_000 + "]" * 100_000, '{"a":' * 20_000 + "1" + "}" * 20_000, "[" * 3000)),
]
_YAML_VALUES = [
    *map(Raw, (".nan", ".inf", "2026_11_29", "0o17", "017", "1:30", "~", "no", "2001-01-01", "=", "<<")),
    *map(Raw, ("!!python/object/apply:os.getcwd []", "&a [*a]", "*nobody", "!!binary aGk=", "!!set {a}")),
    *map(Raw, ("!!float x", "!!int ''", "!!timestamp x", "&a {b: &c [1, *nobody]}", "0x1F", "1_0", "+.INF")),
]


def of_bytes(data: bytes, rng: random.Random) -> bytes:
    """``data`` with one to three faults of the kinds that copying, cutting and malice make."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice(_BYTES)(data, rng)
    return data


def _place(data: bytes, rng: random.Random) -> int:
    """Any byte; often near the ends, where headers and tables stand."""
    n = max(1, len(data))
    return rng.choice((rng.randrange(n), rng.randrange(min(n, _EDGE)), n - 1 - rng.randrange(min(n, _EDGE))))


def _put(data: bytes, at: int, new: bytes, instead: int) -> bytes:
    return data[:at] + new + data[at + instead :]


def _flip(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 4, 16)) if changed else 0):
        changed[_place(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _integer(data: bytes, rng: random.Random) -> bytes:
    size = rng.choice((1, 2, 4, 8))
    number = rng.choice(_INTEGERS) & (1 << 8 * size) - 1
    return _put(data, _place(data, rng), number.to_bytes(size, rng.choice(("little", "big"))), size)


def _digits(data: bytes, rng: random.Random) -> bytes:
    """Another number where one stands in text, or near it."""
    at = next((i for i in range(_place(data, rng), len(data)) if data[i : i + 1].isdigit()), None)
    return data if at is None else _put(data, at, rng.choice(_NUMBERS).encode(), rng.choice((0, 1, 2)))


def _cut(data: bytes, rng: random.Random) -> bytes:
    return rng.choice((data[: _place(data, rng)], data[_place(data, rng) :], data[:-1], b""))


def _shift(data: bytes, rng: random.Random) -> bytes:
    """A piece left out, repeated, set to zero, or moved."""
    start, length = _place(data, rng), rng.choice((1, 2, 16, 200, len(data) // 3))
    piece, rest = data[start : start + length], data[:start] + data[start + length :]
    moved = _put(rest, _place(rest, rng), piece, 0)
    return rng.choice(
        (rest, moved, _put(data, start, piece, 0), _put(data, start, bytes(len(piece)), length))
    )


def _insert(data: bytes, rng: random.Random) -> bytes:
    strange = (
        rng.randbytes(rng.choice((1, 4, 64))),
        b"\xef\xbb\xbf",
        b"\0",
        b"\xff\xfe",
        b'"',
        b"\n",
        b"\r",
        b",",
    )
    return _put(data, rng.choice((0, _place(data, rng), len(data))), rng.choice((*strange, data)), 0)


_BYTES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _flip,
    _integer,
    _digits,
    _cut,
    _shift,
    _insert,
)


def of_json(data: bytes, rng: random.Random) -> bytes:
    """The JSON text ``data`` with one to three values changed, left out, doubled or named otherwise."""
    return _of_tree(json.loads(data), rng, _VALUES)


def of_yaml(data: bytes, rng: random.Random) -> bytes:
    """As ``of_json`` for YAML, which JSON is a form of, with what only YAML can say."""
    import yaml

    return _of_tree(yaml.safe_load(data), rng, _VALUES + _YAML_VALUES)


def of_json_lines(data: bytes, rng: random.Random) -> bytes:
    """As ``of_json`` for one of the lines."""
    lines = data.splitlines()
    at = rng.randrange(len(lines))
    lines[at] = of_json(lines[at], rng)
    return b"\n".join(lines)


def _of_tree(tree: Any, rng: random.Random, values: list[Any]) -> bytes:
    top = [copy.deepcopy(tree)]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        inside, key = rng.choice(list(_slots(top)))
        _change(inside, key, rng, values)
    return _text(top[0]).encode("utf-8", "surrogatepass")


def _slots(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place below ``value`` that holds one, as (list or object, key)."""
    for key in range(len(value)) if isinstance(value, list) else list(value):
        yield value, key
        if isinstance(value[key], dict) or type(value[key]) is list:
            yield from _slots(value[key])


def _change(inside: Any, key: Any, rng: random.Random, values: list[Any]) -> None:
    how = rng.random()
    if how < 0.6:
        inside[key] = rng.choice(values)
    elif how < 0.75:
        del inside[key]
        if not inside and isinstance(inside, list):
            inside.append(rng.choice(values))
    elif how < 0.85 and isinstance(inside[key], dict):
        twice = rng.choice(list(inside[key] or {"a": 1}))
        inside[key] = Pairs([*inside[key].items(), (twice, rng.choice(values))])
    elif isinstance(inside, dict):
        inside[rng.choice(_NAMES)] = inside.pop(key)
    else:
        inside.insert(rng.randrange(len(inside) + 1), copy.deepcopy(inside[key]))


def _text(value: Any) -> str:
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict | Pairs):
        pairs = value.items() if isinstance(value, dict) else value
        return "{" + ", ".join(f"{json.dumps(str(k))}: {_text(v)}" for k, v in pairs) + "}"
    return (
        "[" + ", ".join(map(_text, value)) + "]"
        if isinstance(value, list)
        else json.dumps(value, default=str)
    )


def of_png(data: bytes, rng: random.Random) -> bytes:
    """A PNG with a changed chunk whose checksum is right all the same."""
    at, chunks = 8, []
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    place = rng.randrange(len(chunks))
    chunks[place] = (
        rng.choice((chunks[place][0], b"IDAT", b"PLTE", b"tRNS")),
        of_bytes(chunks[place][1], rng),
    )
    packed = (len(d).to_bytes(4, "big") + k + d + zlib.crc32(k + d).to_bytes(4, "big") for k, d in chunks)
    return data[:8] + b"".join(packed)


def of_tar(data: bytes, rng: random.Random) -> bytes:
    """A tar with a changed header whose checksum is right all the same."""
    heads = [at for at in range(0, len(data) - 511, 512) if data[at + 257 : at + 262] == b"ustar"]
    at = rng.choice(heads)
    head = bytearray(data[at : at + 512])
    field, size = rng.choice(
        ((0, 100), (100, 8), (124, 12), (136, 12), (156, 1), (157, 100), (257, 8), (345, 155))
    )
    new = rng.choice(
        (rng.randbytes(size), b"7" * size, b"-1", b"\x80" + b"\xff" * size, b"\0", rng.choice(b"123567LKxgS"))
    )
    new = bytes((new,)) if isinstance(new, int) else new
    head[field : field + min(size, len(new))] = new[:size]
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return _put(data, at, bytes(head), 512)


def of_safetensors(data: bytes, rng: random.Random) -> bytes:
    """A safetensors file with a changed header of the right length."""
    end = 8 + int.from_bytes(data[:8], "little")
    head = rng.choice((of_json, of_json, of_bytes))(data[8:end], rng)
    return len(head).to_bytes(8, "little") + head + data[end:]


def of_zip(data: bytes, rng: random.Random) -> bytes:
    """A zip of stored records, as torch's, with one of them changed, left out, or named otherwise."""
    import io
    import zipfile

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice([*records, *[n for n in records if n.endswith("data.pkl")] * len(records)])
    record = records.pop(name)
    if rng.random() < 0.9:
        records[name if rng.random() < 0.9 else f"x{rng.choice(_NAMES)}"[:9999]] = of_bytes(record, rng)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, record in records.items():
            archive.writestr(name, record)
    return packed.getvalue()
