"""What is known about a synset beyond its lemmas: its topic, and the broader synsets above it."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources

from pretrain.vocabulary import wordnet

MAGIC = "wsl_det wordnet 3.0 noun relations 1"
TABLE = "wordnet_relations.txt.gz"
COCO = "coco_synsets.txt"


class Relations:
    """Topics (WordNet's lexicographer files: animal, artifact, food) and hypernyms, by offset."""

    def __init__(self, topics: Mapping[int, str], broader: Mapping[int, tuple[int, ...]]) -> None:
        self._topics = topics
        self._broader = broader
        self._above: dict[int, frozenset[int]] = {}

    @classmethod
    def parse(cls, text: str, offsets: Iterable[int]) -> Relations:
        """Read the table: MAGIC; topics; per synset, by offset, "topic row-of-a-hypernym..." (relative)."""
        head, _, body = text.partition("\n")
        if head != MAGIC:
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
def load() -> Relations:
    """The shipped table, read once a process."""
    packed = resources.files("pretrain.vocabulary").joinpath("data", TABLE).read_bytes()
    return Relations.parse(gzip.decompress(packed).decode("ascii"), wordnet.load().synset_lemmas)


@cache
def coco_categories() -> dict[str, tuple[int, ...]]:
    """The 80 categories of COCO, in its order, and the synsets they name; WordNet 3.0 has no stop sign."""
    text = resources.files("pretrain.vocabulary").joinpath("data", COCO).read_text(encoding="ascii")
    rows = (line.partition("\t") for line in text.splitlines())
    return {name: tuple(int(wnid[1:]) for wnid in wnids.split()) for name, _, wnids in rows}
