"""The user's own lists: hashtags that mean nothing here, and hashtags that mean the same as others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pretrain.posts import tags
from pretrain.vocabulary import wordnet
from pretrain.vocabulary.hashtags import Rules, canonical
from wsl_det.errors import DataError


def rules(
    morphology: bool,
    exclude: str | Path | None,
    synonyms: str | Path | None,
    languages: Sequence[str] = (),
) -> Rules:
    """The rules that the command line and the two files give; raises DataError naming file and line.

    ``exclude`` holds one hashtag a line; ``synonyms`` two a line, "hashtag TAB what it means" (a
    comma or = divides, too), of which the second is a noun of WordNet. Empty lines and lines that
    start with "# " are skipped.
    """
    pairs = dict(_pair(line, where) for line, where in _lines(synonyms))
    excluded = frozenset(_hashtag(line, where) for line, where in _lines(exclude))
    both = sorted(excluded & pairs.keys())
    if both:
        raise DataError(f"{both[0]!r} is in {exclude} and in {synonyms}; exclude it or give it a meaning")
    foreign = None
    if languages:
        from pretrain.vocabulary import languages as corpora  # nltk takes a second to load

        foreign = corpora.read(languages)
    return Rules(morphology, tuple(sorted(pairs.items())), excluded, foreign)


def _lines(path: str | Path | None) -> list[tuple[str, str]]:
    if path is None:
        return []
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"list {path} does not exist") from None
    except UnicodeDecodeError:
        raise DataError(f"list {path} is not UTF-8 text; convert it") from None
    numbered = enumerate(text.splitlines(), 1)
    return [
        (line.strip(), f"{path}:{n}") for n, line in numbered if line.strip() and not line.startswith("# ")
    ]


def _pair(line: str, where: str) -> tuple[str, str]:
    for divider in ("\t", "=", ","):
        first, found, second = line.partition(divider)
        if found:
            break
    else:
        raise DataError(f"{where}: {line!r} is not two hashtags divided by a tab, = or a comma")
    name, meaning = _hashtag(first, where), _hashtag(second, where)
    if meaning not in wordnet.load():
        raise DataError(f"{where}: {meaning!r} is no noun of WordNet; give one that {name!r} means")
    return name, meaning


def _hashtag(text: str, where: str) -> str:
    keys = [key for key in map(canonical, tags.in_entry(text)) if key]
    if not keys:
        raise DataError(f"{where}: {text!r} is no hashtag; write letters or digits")
    if len(keys) > 1:
        raise DataError(f"{where}: {text!r} is {len(keys)} hashtags; write one a line")
    return keys[0]
