"""Which things a vocabulary has labels for: the synsets of ImageNet-1k, the categories of COCO."""

from __future__ import annotations

from typing import NamedTuple

from pretrain.vocabulary import wordnet, wordnet_relations
from pretrain.vocabulary.classes import Vocabulary, VocabularyClass


class Covered(NamedTuple):
    """Posted classes for one synset or category.

    ``sure`` mean it, or a kind of it, and nothing else; ``maybe`` have other meanings as well.
    """

    name: str
    wnids: tuple[str, ...]
    sure: tuple[VocabularyClass, ...]
    maybe: tuple[VocabularyClass, ...]

    @property
    def sure_posts(self) -> int:
        """Labels of the classes that mean it and nothing else."""
        return sum(entry.count for entry in self.sure)

    @property
    def maybe_posts(self) -> int:
        """Labels of the classes that may mean it."""
        return sum(entry.count for entry in self.maybe)


def of_in1k(built: Vocabulary) -> list[Covered]:
    """The 1,000 synsets in class order; only the very synset counts, no kinds of it."""
    net = wordnet.load()
    having: dict[str, list[VocabularyClass]] = {wnid: [] for wnid in wordnet.in1k_wnids()}
    for entry in built.classes:
        for wnid in entry.synsets:
            if entry.count and wnid in having:
                having[wnid].append(entry)
    return [
        Covered(
            net.synset_lemmas[int(wnid[1:])][0].replace("_", " "),
            (wnid,),
            tuple(entry for entry in classes if len(entry.synsets) == 1),
            tuple(entry for entry in classes if len(entry.synsets) > 1),
        )
        for wnid, classes in having.items()
    ]


def of_coco(built: Vocabulary) -> list[Covered]:
    """The 80 categories in COCO's order; kinds of a category (poodle: dog) count for it."""
    relations = wordnet_relations.load()
    categories = wordnet_relations.coco_categories()
    sure: dict[str, list[VocabularyClass]] = {name: [] for name in categories}
    maybe: dict[str, list[VocabularyClass]] = {name: [] for name in categories}
    for entry in sorted(built.classes, key=lambda entry: (-entry.count, entry.id)):
        if not entry.count:
            continue
        above = [relations.at_or_above(int(wnid[1:])) for wnid in entry.synsets]
        for name, offsets in categories.items():
            hits = sum(not synsets.isdisjoint(offsets) for synsets in above)
            if hits:
                (sure if hits == len(above) else maybe)[name].append(entry)
    return [
        Covered(name, tuple(map(wordnet.wnid, offsets)), tuple(sure[name]), tuple(maybe[name]))
        for name, offsets in categories.items()
    ]
