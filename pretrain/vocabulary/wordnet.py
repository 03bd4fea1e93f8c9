"""WordNet 3.0 nouns from the tables the package ships: lemmas, offsets, morphology, topics, what is above."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, cached_property
from importlib import resources

MAGIC = "wsl_det wordnet 3.0 nouns 1"
TABLE = "wordnet_nouns.txt.gz"
IN1K = "in1k_wnids.txt"
RELATIONS_MAGIC = "wsl_det wordnet 3.0 noun relations 1"
RELATIONS = "wordnet_relations.txt.gz"
SENSES_MAGIC = "wsl_det_wordnet_3.0_noun_senses_1"
SENSES = "wordnet_senses.txt.gz"
COCO = "coco_synsets.txt"
LICENCE = "WORDNET_LICENSE.txt"

# Endings of nouns and what replaces them, from WordNet's own morphology (morphy(7WN)).
_DETACHMENTS = (
    ("s", ""),
    ("ses", "s"),
    ("xes", "x"),
    ("zes", "z"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("men", "man"),
    ("ies", "y"),
    ("ves", "f"),
)
_SEPARATORS = re.compile(r"[^a-z0-9]+")


class WordNet:
    """Nouns keyed by their lemma without separators and case: "brownbear" for brown_bear.

    Stripping collides (pop_fly, pop-fly): a key stands for every lemma that strips to it and
    carries the union of their synsets. Synsets are offsets as int; ``wnid`` spells them.
    """

    def __init__(self, synset_lemmas: dict[int, tuple[str, ...]], exceptions: dict[str, tuple[str, ...]]):
        self.synset_lemmas: Mapping[int, tuple[str, ...]] = synset_lemmas
        self.exceptions: Mapping[str, tuple[str, ...]] = exceptions
        self._synsets: dict[str, tuple[int, ...]] = _by_key(synset_lemmas)

    @classmethod
    def parse(cls, text: str) -> WordNet:
        """Read the table: MAGIC; per synset "offset-delta lemma..." by offset; empty line; noun.exc."""
        head, _, body = text.partition("\n")
        if head != MAGIC:
            raise ValueError(f"not a WordNet table: {head[:40]!r}")
        nouns, _, irregular = body.partition("\n\n")
        synset_lemmas: dict[int, tuple[str, ...]] = {}
        offset = 0
        for line in nouns.split("\n"):
            delta, *lemmas = line.split(" ")
            offset += int(delta)
            synset_lemmas[offset] = tuple(lemmas)
        exceptions: dict[str, tuple[str, ...]] = {}
        for line in irregular.splitlines():
            inflected, *bases = line.split(" ")
            exceptions[inflected] = tuple(bases)  # of four words repeated in noun.exc the last counts
        return cls(synset_lemmas, exceptions)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WordNet) and (
            (self.synset_lemmas, self.exceptions) == (other.synset_lemmas, other.exceptions)
        )

    __hash__ = object.__hash__

    def __contains__(self, key: str) -> bool:
        return key in self._synsets

    def __iter__(self) -> Iterator[str]:
        """Every stripped lemma."""
        return iter(self._synsets)

    def synsets(self, key: str) -> tuple[int, ...]:
        """Offsets of all noun senses of a stripped lemma, ascending; empty when it is none."""
        return self._synsets.get(key, ())

    def base_forms(self, key: str) -> tuple[str, ...]:
        """Stripped lemmas of which ``key`` is an inflection by WordNet's noun morphology, sorted.

        Irregular forms (noun.exc) go before the endings, as in WordNet; in a lemma of several
        words the last may be irregular (wildgeese). ``key`` itself is not looked up.
        """
        irregular = self._irregular(key)
        if irregular:
            return irregular
        # WordNet strips nothing from words of one or two letters or in -ss (boss, glass).
        if len(key) <= 2 or key.endswith("ss"):
            return ()
        stems = (key[: -len(old)] + new for old, new in _DETACHMENTS if key.endswith(old))
        return tuple(sorted({stem for stem in stems if stem in self._synsets}))

    def name(self, keys: Iterable[str], synsets: Iterable[int]) -> str:
        """The lemma that WordNet lists first in these synsets among those that strip to ``keys``.

        A spelling in small letters is preferred (friend, not Friend for a Quaker). Falls back to
        the first key: an inflection of several lemmas has no spelling of its own.
        """
        wanted = set(keys)
        lemmas = [name for offset in sorted(synsets) for name in self.synset_lemmas.get(offset, ())]
        matching = [lemma for lemma in lemmas if strip(lemma) in wanted]
        if not matching:
            return min(wanted)
        first = strip(matching[0])
        return next((x for x in matching if x.islower() and strip(x) == first), matching[0])

    def _irregular(self, key: str) -> tuple[str, ...]:
        whole = {strip(base) for base in self._exceptions_by_key.get(key, ())} & self._synsets.keys()
        if whole:
            return tuple(sorted(whole))
        found = set()
        for split in range(1, len(key) - 1):
            for base in self._exceptions_by_key.get(key[split:], ()):
                stem = key[:split] + strip(base)
                if stem in self._synsets and self._ends_with_word(stem, base):
                    found.add(stem)
        return tuple(sorted(found))

    def _ends_with_word(self, key: str, word: str) -> bool:
        lemmas = (lemma for offset in self._synsets[key] for lemma in self.synset_lemmas[offset])
        return any(strip(lemma) == key and re.split(r"[_-]", lemma.lower())[-1] == word for lemma in lemmas)

    @cached_property
    def keys_of(self) -> Mapping[tuple[int, ...], tuple[str, ...]]:
        """The stripped lemmas whose synsets are exactly a given set."""
        found: dict[tuple[int, ...], list[str]] = {}
        for key, synsets in self._synsets.items():
            found.setdefault(synsets, []).append(key)
        return {synsets: tuple(keys) for synsets, keys in found.items()}

    @cached_property
    def _exceptions_by_key(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for inflected, bases in self.exceptions.items():
            key = strip(inflected)
            found[key] = (*found.get(key, ()), *bases)
        return found


def strip(lemma: str) -> str:
    """A lemma without case and separators; lemmas are ASCII."""
    return _SEPARATORS.sub("", lemma.lower())


def wnid(offset: int) -> str:
    """n02132136 for 2132136: ImageNet's spelling of a WordNet 3.0 noun offset."""
    return f"n{offset:08d}"


@cache
def load() -> WordNet:
    """The shipped table, read once a process."""
    return WordNet.parse(gzip.decompress(_shipped(TABLE)).decode("ascii"))


@cache
def in1k_wnids() -> tuple[str, ...]:
    """The 1,000 synsets of ImageNet-1k, in class order."""
    return tuple(_shipped(IN1K).decode("ascii").split())


def _shipped(name: str) -> bytes:
    return resources.files("pretrain.vocabulary").joinpath("data", name).read_bytes()


def _by_key(synset_lemmas: dict[int, tuple[str, ...]]) -> dict[str, tuple[int, ...]]:
    # One pass of C code over all lemmas at once: the table is read at the start of every tool.
    lemmas = "\n".join(map("\t".join, synset_lemmas.values())).lower()
    stripped = re.sub(r"[^a-z0-9\t\n]+", "", lemmas)
    found: dict[str, tuple[int, ...]] = {}
    for offset, line in zip(synset_lemmas, stripped.split("\n"), strict=True):
        for key in line.split("\t"):
            known = found.get(key)
            if known is None:
                found[key] = (offset,)
            elif known[-1] != offset:  # two spellings of one key in one synset
                found[key] = (*known, offset)
    return found


class Relations:
    """Topics (WordNet's lexicographer files: animal, artifact, food) and hypernyms, by offset."""

    def __init__(self, topics: Mapping[int, str], broader: Mapping[int, tuple[int, ...]]) -> None:
        self._topics = topics
        self._broader = broader
        self._above: dict[int, frozenset[int]] = {}

    @classmethod
    def parse(cls, text: str, offsets: Iterable[int]) -> Relations:
        """Read: RELATIONS_MAGIC; topics; per synset, by offset, "topic row-of-a-hypernym..." (relative)."""
        head, _, body = text.partition("\n")
        if head != RELATIONS_MAGIC:
            raise ValueError(f"not a table of WordNet relations: {head[:40]!r}")
        names, *rows = body.splitlines()
        words, order = names.split(" "), list(offsets)
        topics, broader = {}, {}
        for number, (offset, row) in enumerate(zip(order, rows, strict=True)):
            topic, *steps = map(int, row.split(" "))
            topics[offset] = words[topic]
            broader[offset] = tuple(order[number + step] for step in steps)
        return cls(topics, broader)

    def topic(self, offset: int) -> str:
        """One word for what kind of thing a synset is; "Tops" are the most general of all."""
        return self._topics[offset]

    def at_or_above(self, offset: int) -> frozenset[int]:
        """The synset and everything that it is a kind, or an instance, of."""
        known = self._above.get(offset)
        if known is None:
            above = [self.at_or_above(parent) for parent in self._broader[offset]]
            known = self._above[offset] = frozenset([offset]).union(*above)
        return known


@cache
def load_relations() -> Relations:
    """The shipped table, read once a process."""
    return Relations.parse(gzip.decompress(_shipped(RELATIONS)).decode("ascii"), load().synset_lemmas)


@cache
def coco_categories() -> dict[str, tuple[int, ...]]:
    """The 80 categories of COCO, in its order, and the synsets they name; WordNet 3.0 has no stop sign.

    The table says why these: "LVIS" is the map that LVIS ships for the same categories (coco_to_synset.json).
    """
    rows = (line.split("\t") for line in _shipped(COCO).decode("ascii").splitlines())
    return {name: tuple(int(wnid[1:]) for wnid in wnids.split()) for name, wnids, _ in rows}


def senses_of_lemmas() -> dict[str, list[int]]:
    """Every lemma in small letters and its synsets, by offset, lemmas in alphabetical order."""
    found: dict[str, list[int]] = {}
    for offset, lemmas in load().synset_lemmas.items():
        for lemma in {lemma.lower() for lemma in lemmas}:
            found.setdefault(lemma, []).append(offset)
    return dict(sorted(found.items()))


@cache
def load_senses() -> dict[str, tuple[int, ...]]:
    """The synsets of every lemma in WordNet's order of senses, read once a process.

    The table: SENSES_MAGIC; for each lemma with several synsets, in order, their places by offset (base 36).
    """
    head, *rows = gzip.decompress(_shipped(SENSES)).decode("ascii").split()
    if head != SENSES_MAGIC:
        raise ValueError(f"not a table of WordNet senses: {head[:40]!r}")
    orders = iter(rows)
    return {
        lemma: tuple(offsets[int(place, 36)] for place in (next(orders) if len(offsets) > 1 else "0"))
        for lemma, offsets in senses_of_lemmas().items()
    }


def named(synset: str) -> int | None:
    """The offset that "dog.n.01" (lemma and number of the sense) or "n02084071" names; None where none is."""
    if re.fullmatch(r"n\d{8}", synset):
        return int(synset[1:]) if int(synset[1:]) in load().synset_lemmas else None
    lemma, _, number = synset.rpartition(".n.")
    senses = load_senses().get(lemma.lower(), ())
    sense = int(number) if re.fullmatch("[0-9]{1,4}", number) else 0
    return senses[sense - 1] if 0 < sense <= len(senses) else None
