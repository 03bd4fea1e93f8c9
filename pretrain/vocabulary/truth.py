"""The true classes of posts, where somebody knows them: jsonl with ``id`` and ``synsets`` or ``wnid``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pretrain.posts import files as post_files
from pretrain.posts.records import is_name
from pretrain.vocabulary import wordnet
from wsl_det.errors import DataError

WNID = re.compile("n[0-9]{8}")
_EXPECTED = 'objects with "id" and "wnid" ("n02132136") or a list "synsets"'
_NAMED = 'objects with "id" and "wnid", "label" or "synsets"'


def read(path: str | Path, *, named: bool = False) -> dict[str, tuple[str, ...]]:
    """Post id -> its synsets (WordNet 3.0 noun offsets such as n02132136), each once; none for an empty list.

    ``named`` takes any text for a class, and ``label`` for its column too. Raises DataError naming the
    line that is none, and for a post with two truths.
    """
    expected = _NAMED if named else _EXPECTED
    if not Path(path).is_file():
        raise DataError(f"truth {path} is no file; expected jsonl: {expected}")
    truth: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(post_files.lines(post_files.Part(str(path))), 1):
        record = post_files.record_of_line(line)
        if record == "":
            continue
        name, found = _entry(record, named)
        if not is_name(name) or found is None:
            raise DataError(f"{path}:{number} is no truth; expected {expected}")
        for synset in () if named else found:
            if int(synset[1:]) not in wordnet.load().synset_lemmas:
                raise DataError(f"{path}:{number}: {synset} is no noun synset of WordNet 3.0")
        if truth.setdefault(str(name), found) != found:
            raise DataError(f"{path}:{number}: id {name} stands twice, with another class; keep one")
    return truth


def _entry(record: Any, named: bool) -> tuple[Any, tuple[str, ...] | None]:
    if not isinstance(record, dict):
        return None, None
    one = record.get("wnid") or (record.get("label") if named else None)
    listed = record.get("synsets", [one])
    sound = isinstance(listed, list) and all(
        isinstance(s, str) and (named or WNID.fullmatch(s)) for s in listed
    )
    return record.get("id"), tuple(sorted(set(listed))) if sound else None
