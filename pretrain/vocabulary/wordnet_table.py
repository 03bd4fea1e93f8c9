"""Writes the WordNet tables that the package ships, from nltk's corpus reader; runs once, by hand."""

from __future__ import annotations

import gzip
import hashlib
import re
import string
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretrain.vocabulary import wordnet
from wsl_det.core import files
from wsl_det.errors import DataError

if TYPE_CHECKING:
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

_VERSION = "3.0"
_DIGITS = string.digits + string.ascii_lowercase


def write(folder: str | Path) -> dict[str, int]:
    """Write tables, IN-1k list and licence into ``folder``; returns what was counted.

    Reads nltk's "wordnet" corpus from $NLTK_DATA (must be WordNet 3.0) and timm's list of the
    1,000 ImageNet synsets. Raises DataError when the corpus is absent or of another version.
    """
    corpus = open_corpus()
    table, counts = encode(corpus)
    wnids = in1k_wnids()
    folder = Path(folder)
    # mtime=0 and no name: the same corpus gives the same bytes.
    files.write_bytes(folder / wordnet.TABLE, gzip.compress(table.encode("ascii"), 9, mtime=0))
    packed = gzip.compress(encode_relations(corpus).encode("ascii"), 9, mtime=0)
    files.write_bytes(folder / wordnet.RELATIONS, packed)
    packed = gzip.compress(encode_senses(corpus).encode("ascii"), 9, mtime=0)
    files.write_bytes(folder / wordnet.SENSES, packed)
    files.write_text(folder / wordnet.IN1K, "".join(f"{wnid}\n" for wnid in wnids))
    files.write_text(folder / wordnet.LICENCE, licence(corpus))
    return {**counts, "in1k": len(wnids), "bytes": (folder / wordnet.TABLE).stat().st_size}


def open_corpus(languages: bool = False) -> WordNetCorpusReader:
    """nltk's reader of its "wordnet" corpus, checked to be 3.0; with ``languages``, of omw-2.0 too."""
    from nltk.corpus import wordnet as corpus

    try:
        version = corpus.get_version()
        if languages and not corpus.omw_langs:
            corpus.add_omw()
    except (LookupError, OSError) as error:
        told = "a link leads out of its folders" if isinstance(error, PermissionError) else "it is not there"
        needed = ["wordnet", "omw-2.0"] if languages else ["wordnet"]
        fetch = "; ".join(f"nltk.download('{name}')" for name in needed)
        raise DataError(
            f"nltk cannot open its corpora {' and '.join(needed)} ({told}). In Python: import nltk; {fetch}. "
            "Or unpack them into $NLTK_DATA/corpora as copies: nltk refuses corpora behind links that leave "
            "its folders"
        ) from None
    if version != _VERSION:
        # ImageNet's wnids are offsets of 3.0; those of other versions name other concepts.
        raise DataError(f"nltk's wordnet corpus is version {version}; ImageNet's wnids need {_VERSION}")
    return corpus


def same_as_shipped() -> str:
    """Check that the user's own WordNet in nltk is the one shipped here; its SHA-256 as a table.

    Raises DataError when it is absent, of another version, or differs in any lemma, synset or exception.
    """
    corpus = open_corpus()
    try:
        table, _ = encode(corpus)
    except (LookupError, ValueError, AttributeError, OSError) as error:
        raise DataError(
            f"nltk's wordnet corpus is damaged ({type(error).__name__}: {error}); unpack it again"
        ) from None
    if wordnet.WordNet.parse(table) != wordnet.load():
        raise DataError(
            "nltk's wordnet corpus says version 3.0 but differs from WordNet 3.0's nouns as shipped here; "
            "unpack WordNet 3.0 again, or leave --wordnet nltk out"
        )
    return hashlib.sha256(table.encode("ascii")).hexdigest()


def encode(corpus: WordNetCorpusReader) -> tuple[str, dict[str, int]]:
    """The table as text (format: see ``wordnet.WordNet.parse``) and its counts."""
    synsets = sorted((synset.offset(), synset.lemma_names()) for synset in corpus.all_synsets("n"))
    lemmas = {lemma.lower() for _, names in synsets for lemma in names}
    if lemmas != set(corpus.all_lemma_names("n")):
        raise DataError("the corpus' index.noun and data.noun disagree; unpack WordNet 3.0 again")
    rows, previous = [], 0
    for offset, names in synsets:
        rows.append(f"{offset - previous} {' '.join(names)}")
        previous = offset
    exceptions = [line.strip() for line in corpus.open("noun.exc") if line.strip()]
    counts = {"synsets": len(synsets), "lemmas": len(lemmas), "exceptions": len(exceptions)}
    return "\n".join([f"{wordnet.MAGIC}", *rows, "", *exceptions, ""]), counts


def encode_relations(corpus: WordNetCorpusReader) -> str:
    """The table of topics and broader synsets (format: see ``wordnet.Relations.parse``)."""
    synsets = sorted(corpus.all_synsets("n"), key=lambda synset: synset.offset())
    place = {synset.offset(): number for number, synset in enumerate(synsets)}
    topics = sorted({synset.lexname().removeprefix("noun.") for synset in synsets})
    rows = []
    for number, synset in enumerate(synsets):
        broader = [place[s.offset()] - number for s in [*synset.hypernyms(), *synset.instance_hypernyms()]]
        topic = topics.index(synset.lexname().removeprefix("noun."))
        rows.append(" ".join(map(str, [topic, *sorted(broader)])))
    return "\n".join([wordnet.RELATIONS_MAGIC, " ".join(topics), *rows, ""])


def encode_senses(corpus: WordNetCorpusReader) -> str:
    """The table of the order of senses (format: see ``wordnet.load_senses``)."""
    rows = [wordnet.SENSES_MAGIC]
    for lemma, offsets in wordnet.senses_of_lemmas().items():
        if len(offsets) > 1:
            # nltk looks a word up by its base forms, too.
            senses = [s.offset() for s in corpus.synsets(lemma, "n") if s.offset() in offsets]
            rows.append("".join(_DIGITS[offsets.index(offset)] for offset in senses))
    return "\n".join([*rows, ""])


def in1k_wnids() -> list[str]:
    """The 1,000 synsets of ImageNet-1k in class order, from timm's tables."""
    from timm.data import ImageNetInfo

    wnids: list[Any] = ImageNetInfo().label_names()
    if len(wnids) != 1000 or not all(re.fullmatch(r"n\d{8}", str(wnid)) for wnid in wnids):
        raise DataError("timm's list of ImageNet-1k synsets is not 1,000 wnids; use another timm version")
    return [str(wnid) for wnid in wnids]


def licence(corpus: WordNetCorpusReader) -> str:
    """WordNet's licence, as it opens the data files of the original distribution."""
    lines = []
    for line in corpus.open("data.noun"):
        numbered = re.match(r"  \d+ (.*)", line)
        if not numbered:
            break
        lines.append(numbered[1].rstrip())
    return "\n".join(lines).strip() + "\n"
