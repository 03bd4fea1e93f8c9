"""Hashtags in other languages: lemmas of the Open Multilingual Wordnet, read through nltk."""

from __future__ import annotations

import hashlib
import warnings
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pretrain.vocabulary import wordnet, wordnet_table
from pretrain.vocabulary.hashtags import Foreign, Word, canonical
from wsl_det.errors import ConfigError

if TYPE_CHECKING:
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

ENGLISH = "eng"
# Vowel signs and the stretched line: dictionaries write them, people who post do not.
_ARABIC_SIGNS = {code: None for code in (0x640, *range(0x64B, 0x653), 0x670)}


def read(languages: Sequence[str]) -> Foreign:
    """The nouns of ``languages`` (ISO 639-3 codes such as fra) in the user's nltk corpora.

    A spelling takes the union of its synsets in all of them; English wins where WordNet or its
    morphology knows the spelling. Raises ConfigError for a language that is not there or is English,
    DataError when a corpus is missing.
    """
    asked = sorted(set(languages))
    if ENGLISH in asked:
        raise ConfigError(f"--languages {ENGLISH}: English is always read; name the other languages")
    corpus = wordnet_table.open_corpus(languages=True)
    with warnings.catch_warnings():
        # Thousands of them, about verbs and adjectives of which nothing is read here.
        warnings.simplefilter("ignore")
        there = sorted(set(corpus.langs()) - {ENGLISH})
        absent = [language for language in asked if language not in there]
        if absent:
            raise ConfigError(
                f"--languages {' '.join(absent)}: nltk's corpus omw-2.0 has {', '.join(there) or 'none'}"
            )
        meanings, speakers = _nouns(corpus, asked)
        sources = [(language, _sha256(corpus, language)) for language in asked]
    english = wordnet.load()
    words = {
        key: Word(
            tuple(sorted(speakers[key])),
            tuple(sorted(synsets)),
            key in english or bool(english.base_forms(key)),
        )
        for key, synsets in meanings.items()
    }
    return Foreign.pack(sources, words)


def _nouns(
    corpus: WordNetCorpusReader, languages: Sequence[str]
) -> tuple[dict[str, set[int]], dict[str, set[str]]]:
    """Canonical spelling -> synsets, and -> languages."""
    meanings: defaultdict[str, set[int]] = defaultdict(set)
    speakers: defaultdict[str, set[str]] = defaultdict(set)
    for synset in corpus.all_synsets("n"):
        for language in languages:
            for lemma in synset.lemma_names(language):
                for key in {canonical(lemma), canonical(lemma.translate(_ARABIC_SIGNS))} - {""}:
                    meanings[key].add(synset.offset())
                    speakers[key].add(language)
    return meanings, speakers


def _sha256(corpus: WordNetCorpusReader, language: str) -> str:
    import nltk

    place = f"corpora/omw-2.0/{corpus.provenances[language]}/wn-data-{language}.tab"
    with nltk.data.find(place).open() as file:
        return hashlib.sha256(file.read()).hexdigest()
