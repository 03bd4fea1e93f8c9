"""Hashtags of the demo: synonyms that WordNet merges, words it does not, and honest noise."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pretrain.posts import tags
from pretrain.vocabulary import hashtags, wordnet
from wsl_det.demo import captions
from wsl_det.demo.catalogue import DETECTED, KINDS


@pytest.fixture(scope="module")
def lots() -> list[tuple[list, captions.Caption]]:
    rng = np.random.default_rng(0)
    shown = [[KINDS[k] for k in rng.integers(0, len(KINDS), rng.integers(1, 4))] for _ in range(3000)]
    return [(kinds, captions.write(rng, kinds)) for kinds in shown]


@pytest.fixture(scope="module")
def meaning():
    resolver = hashtags.Resolver(wordnet.load())

    def synsets(word: str) -> set[str]:
        found = resolver.resolve(hashtags.canonical(word))
        return set() if found is None else {wordnet.wnid(offset) for offset in found.synsets}

    return synsets


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_synonyms_mean_the_class_alone_and_ambiguous_words_more(kind, meaning):
    assert kind.synonyms or kind.ambiguous
    assert all(meaning(word) == {kind.synset} for word in kind.synonyms)
    assert all(kind.synset in meaning(word) and len(meaning(word)) > 1 for word in kind.ambiguous)
    assert all(meaning(word) and kind.synset not in meaning(word) for word in kind.broader)


def test_enough_classes_have_synonyms_that_merge():
    assert len(DETECTED) >= 10
    assert sum(len(kind.synonyms) > 1 for kind in DETECTED) >= 7


def test_every_spelling_of_a_synonym_is_understood(meaning):
    rng = np.random.default_rng(1)
    for kind in KINDS:
        spellings = {captions._spelling(rng, word) for word in kind.synonyms for _ in range(60)}
        assert len(spellings) >= 4 * len(kind.synonyms)
        assert {tag for tag in spellings if meaning(tag) != {kind.synset}} == set()


def test_tags_can_be_read_back_and_name_what_is_shown(lots, meaning):
    named = total = 0
    for kinds, caption in lots:
        found = set().union(*(meaning(tag) for tag in tags.in_caption(caption.text)), set())
        for kind in {k.name: k for k in kinds}.values():
            if kind.name not in caption.missing:
                total += 1
                named += kind.synset in found
    # A heap of tags without spaces keeps them apart by their # signs, so nothing is lost.
    assert named == total > 3000


def test_the_noise_is_as_announced(lots):
    wrong = sum(c.wrong is not None for _, c in lots) / len(lots)
    silent = sum("#" not in c.text for _, c in lots) / len(lots)
    missing = sum(len(c.missing) for _, c in lots) / sum(len({k.name for k in kinds}) for kinds, _ in lots)
    assert 0.05 < wrong < 0.10
    assert 0.01 < silent < 0.08
    assert 0.09 < missing < 0.18
    styles = " ".join(c.text for _, c in lots)
    for spelling in ("#BrownBear", "#ursus_arctos", "#ladybirds", "#SAILBOAT", "#instagood", "❤️"):
        assert spelling.lower() in styles.lower()
    assert re.search(r"#\w+#\w+", styles)
