"""The catalogue of published weights: data in ``catalogue.json``, checked when it is read."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from wsl_det.core import files
from wsl_det.errors import ConfigError, DataError

SCHEMA = 1
PATH = Path(__file__).with_name("catalogue.json")
_Digits = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_Prefix = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{6,64}$")]
_Percent = Annotated[float, msgspec.Meta(gt=0, lt=100)]


class Licence(msgspec.Struct, frozen=True):
    """A licence by name, with the address of its text."""

    name: str
    url: str
    non_commercial: bool


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One published file and what is known about it.

    bytes, hash_prefix and sha256 are None where nobody has published them: then the first download
    is recorded in a lock file, and later ones must equal it. convention names how pixels enter and
    where the stride sits; accuracy is {"dataset", metrics in percent, "source"} or None; note is what
    a person should know before choosing.
    """

    name: str
    family: str
    kind: Literal["trunk", "detector"]
    url: Annotated[str, msgspec.Meta(pattern="^https://")]
    bytes: Annotated[int, msgspec.Meta(ge=1)] | None
    hash_algorithm: Literal["sha256", "md5"] | None
    hash_prefix: _Prefix | None
    sha256: _Digits | None
    arch: Annotated[dict[Literal["depth", "groups", "width_per_group"], int], msgspec.Meta(min_length=3)]
    convention: Literal["torchvision", "fair", "msra", "caffe2"]
    bn: Literal["statistics", "folded"] | None
    accuracy: dict[str, str | _Percent | None] | None
    training_data: Annotated[str, msgspec.Meta(min_length=1)]
    fine_tuned_on_in1k: Literal["yes", "no", "unknown"]
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
        fields = {k: v for k, v in record.items() if k != "hash"}
        fields |= {f"hash_{k}": v for k, v in published.items()}
        entry = msgspec.convert({**fields, "licence": licences[record["licence"]]}, Entry)
    except (KeyError, TypeError, AttributeError, msgspec.ValidationError) as error:
        raise DataError(f"{where}: entry {name!r} is not whole ({type(error).__name__}: {error})") from None
    if entry.hash_prefix and entry.hash_prefix not in entry.file_name:
        raise DataError(f"{where}: {name!r}: {entry.file_name} does not carry the hash prefix")
    told = {type(v) for k, v in (entry.accuracy or {}).items() if k not in ("dataset", "source")}
    if entry.accuracy and not (float in told and entry.accuracy.keys() > {"dataset", "source"}):
        raise DataError(f"{where}: {name!r}: accuracy {entry.accuracy} lacks dataset, source or a percentage")
    return entry
