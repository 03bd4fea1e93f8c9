"""The catalogue of published weights: data in ``catalogue.json``, checked when it is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from wsl_det.core import files
from wsl_det.errors import ConfigError, DataError

SCHEMA = 1
PATH = Path(__file__).with_name("catalogue.json")
_DIGITS = {"sha256": 64, "md5": 32}
_CHOICES = {
    "kind": ("trunk", "detector"),
    "convention": ("torchvision", "fair", "msra", "caffe2"),
    "bn": ("statistics", "folded", None),
    "fine_tuned_on_in1k": ("yes", "no", "unknown"),
}


@dataclass(frozen=True)
class Licence:
    """A licence by name, with the address of its text."""

    name: str
    url: str
    non_commercial: bool


@dataclass(frozen=True)
class Entry:
    """One published file and what is known about it.

    bytes, hash_prefix and sha256 are None where nobody has published them: then the first download
    is recorded in a lock file, and later ones must equal it. convention names how pixels enter and
    where the stride sits; accuracy is {"dataset", metrics in percent, "source"} or None; note is what
    a person should know before choosing.
    """

    name: str
    family: str
    kind: str
    url: str
    bytes: int | None
    hash_algorithm: str | None
    hash_prefix: str | None
    sha256: str | None
    arch: dict[str, int]
    convention: str
    bn: str | None
    accuracy: dict[str, Any] | None
    training_data: str
    fine_tuned_on_in1k: str
    licence: Licence
    note: str | None = None

    @property
    def file_name(self) -> str:
        """The name under which the file is published and kept."""
        return self.url.rsplit("/", 1)[-1]

    @property
    def arch_name(self) -> str:
        """Such as ``resnext101_32x8d``."""
        a = self.arch
        if a["groups"] == 1:
            return f"resnet{a['depth']}"
        return f"resnext{a['depth']}_{a['groups']}x{a['width_per_group']}d"


@cache
def entries() -> dict[str, Entry]:
    """Every entry of the shipped catalogue by name, in its order."""
    return parse(files.read_json(PATH, "catalogue"), str(PATH))


def find(name: str) -> Entry:
    """The entry called ``name``; ConfigError with the nearest names otherwise."""
    known = entries()
    if name not in known:
        near = get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ConfigError(f"the zoo has no {name!r}{hint} See: wsl-det download_model --list")
    return known[name]


def by_file_name(file_name: str) -> Entry | None:
    """The entry that is published under this file name, or None."""
    return next((e for e in entries().values() if e.file_name == file_name), None)


def published_as(file_name: str, sha256: str) -> Entry | None:
    """The entry whose file has this name and whose published digits this hash has, or None."""
    entry = by_file_name(file_name)
    digits = entry and (entry.sha256 or (entry.hash_prefix if entry.hash_algorithm == "sha256" else None))
    return entry if digits and sha256.startswith(digits) else None


def next_step(entry: Entry, path: Path) -> str:
    """The command that makes a downloaded file usable."""
    if entry.kind == "detector":
        return f"evaluate it with: wsl-det train_net --eval-only --config-file ... MODEL.WEIGHTS {path}"
    output = path.with_name(f"{entry.name}.pth")
    return f"make a backbone of it with: wsl-det export_backbone {path} {output}"


def parse(value: Any, where: str) -> dict[str, Entry]:
    """The entries in a catalogue's JSON value; DataError names the entry and the field that is wrong."""
    if not isinstance(value, Mapping) or value.get("schema") != SCHEMA:
        raise DataError(f"{where} is not a catalogue of schema {SCHEMA}")
    licences = {
        name: Licence(name, fields["url"], fields["non_commercial"])
        for name, fields in value["licences"].items()
    }
    found: dict[str, Entry] = {}
    for record in value["models"]:
        entry = _entry(record, licences, where)
        if entry.name in found:
            raise DataError(f"{where}: {entry.name!r} stands there twice")
        found[entry.name] = entry
    return found


def _entry(record: Mapping[str, Any], licences: Mapping[str, Licence], where: str) -> Entry:
    name = record.get("name", "?")
    try:
        published = record["hash"] or {"algorithm": None, "prefix": None}
        fields = {k: v for k, v in record.items() if k not in ("hash", "licence")}
        entry = Entry(
            **fields,
            hash_algorithm=published["algorithm"],
            hash_prefix=published["prefix"],
            licence=licences[record["licence"]],
        )
    except (KeyError, TypeError) as error:
        raise DataError(f"{where}: entry {name!r} is not whole ({type(error).__name__}: {error})") from None
    for problem in _problems(entry):
        raise DataError(f"{where}: entry {name!r}: {problem}")
    return entry


def _problems(entry: Entry) -> list[str]:
    wrong = [
        f"{field} is {getattr(entry, field)!r}, expected one of {choices}"
        for field, choices in _CHOICES.items()
        if getattr(entry, field) not in choices
    ]
    if not entry.url.startswith("https://"):
        wrong.append(f"url {entry.url} is not https")
    if entry.bytes is not None and entry.bytes < 1:
        wrong.append(f"bytes is {entry.bytes}")
    if entry.hash_prefix is not None and not _is_prefix(entry.hash_prefix, entry.hash_algorithm):
        wrong.append(f"hash prefix {entry.hash_prefix!r} is no {entry.hash_algorithm} prefix")
    if entry.hash_prefix and entry.hash_prefix not in entry.file_name:
        wrong.append(f"the file name {entry.file_name} does not carry the hash prefix {entry.hash_prefix}")
    if entry.sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", entry.sha256):
        wrong.append(f"sha256 {entry.sha256!r} is not 64 hex digits")
    if set(entry.arch) != {"depth", "groups", "width_per_group"}:
        wrong.append(f"arch {entry.arch}")
    if not entry.training_data or not isinstance(entry.note, str | None):
        wrong.append(f"training_data {entry.training_data!r} or note {entry.note!r} is no text")
    if entry.accuracy is not None and not _is_accuracy(entry.accuracy):
        wrong.append(f"accuracy {entry.accuracy} lacks dataset, source or a percentage")
    return wrong


def _is_accuracy(value: Mapping[str, Any]) -> bool:
    percent = [v for k, v in value.items() if k not in ("dataset", "source") and v is not None]
    named = value.get("dataset") and value.get("source")
    return bool(named and percent) and all(isinstance(v, int | float) and 0 < v < 100 for v in percent)


def _is_prefix(prefix: str, algorithm: str | None) -> bool:
    longest = _DIGITS.get(algorithm or "", 0)
    return bool(re.fullmatch(r"[0-9a-f]{6,}", prefix)) and len(prefix) <= longest
