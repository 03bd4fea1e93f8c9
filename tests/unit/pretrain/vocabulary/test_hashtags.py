from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.posts import tags as posted
from pretrain.vocabulary import hashtags, wordnet


@pytest.fixture(scope="module")
def net():
    return wordnet.load()


@pytest.mark.parametrize(
    ("caption", "tags"),
    [
        ("a walk with my #Brown_Bear!", ["Brown_Bear"]),
        ("#cat#dog #cat", ["cat", "dog", "cat"]),
        ("no tags here", []),
        ("", []),
        ("#", []),
        ("# cat", []),
        ("#1 #2024 #4ever", ["4ever"]),
        ("#café #Straße", ["café", "Straße"]),
        ("#cafe\u0301", ["cafe\u0301"]),
        ("#हिन्दी #ภาษาไทย", ["हिन्दी", "ภาษาไทย"]),
        ("＃猫 #猫の日、#犬", ["猫", "猫の日", "犬"]),
        ("https://example.com/page#section #cat", ["cat"]),
        ("www.example.com/#top example.org/a#b #cat", ["cat"]),
        ("https://t.co/x#y、#猫", ["猫"]),
        ("&#39;quoted&#39; #cat", ["cat"]),
        ("keycap #️⃣ and #️⃣cat #dog", ["dog"]),
        ("(#cat) #dog. #bird's #fish-tank", ["cat", "dog", "bird", "fish"]),
        ("#_ #__ #a_", ["a_"]),
        ("#کتاب\u200cها #ශ්\u200dරී", ["کتاب\u200cها", "ශ්\u200dරී"]),
        ("#col·lecció #ガラス・コップ #·x #1·a", ["col·lecció", "ガラス・コップ", "1·a"]),
        ("cats&＃dogs &#x27;", ["dogs"]),
    ],
)
def test_captions_are_parsed_as_platforms_do(caption, tags):
    assert posted.in_caption(caption) == tags


@pytest.mark.parametrize(
    ("text", "separator", "tags"),
    [
        ("water;dresden;germany", None, ["water", "dresden", "germany"]),
        ("New York;skyline", None, ["New York", "skyline"]),
        ("cat, dog ,,", None, ["cat", "dog"]),
        ("#cat #dog", None, ["cat", "dog"]),
        ("cat|dog house", "|", ["cat", "dog house"]),
        ("", None, []),
        ("#zebra#lion", None, ["zebra", "lion"]),
        ("#dog #cat, #lion", None, ["dog", "cat", "lion"]),
        ("dog，cat、lion；zebra|owl", None, ["dog", "cat", "lion", "zebra", "owl"]),
        ("a, b;c", ";", ["a, b", "c"]),
    ],
)
def test_lists_are_split(text, separator, tags):
    assert posted.in_list(text, separator) == tags


@pytest.mark.parametrize(
    ("tag", "canonical"),
    [
        ("BrownBear", "brownbear"),
        ("brown_bear", "brownbear"),
        ("Brown Bear's", "brownbears"),
        ("CAFÉ", "cafe"),
        ("cafe\u0301", "cafe"),
        ("Straße", "strasse"),
        ("ｂｒｏｗｎｂｅａｒ", "brownbear"),
        ("İstanbul", "istanbul"),
        ("ışık", "isik"),
        ("smørrebrød", "smorrebrod"),
        ("हिन्दी", "हिन्दी"),
        ("ガラス", "ガラス"),
        ("ｶﾞﾗｽ", "ガラス"),
        ("___", ""),
        ("col·lecció", "colleccio"),
        ("کتاب\u200cها", "کتابها"),
        ("ශ්\u200dරී", "ශ්රී"),
        ("か\u309b", "が"),
        ("\ud800cat", "cat"),
    ],
)
def test_canonical_spelling(tag, canonical):
    assert hashtags.canonical(tag) == canonical


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=20))
def test_canonical_spelling_is_a_fixed_point(tag):
    once = hashtags.canonical(tag)
    assert hashtags.canonical(once) == once
    assert hashtags.canonical(unicodedata.normalize("NFD", tag)) == once
    assert "_" not in once and " " not in once


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", ["a.", "a-", "#1", "é#1·", "a.b/", "www.", "&#", "#\u200d"])
def test_no_caption_takes_more_than_linear_time(piece):
    posted.in_caption(piece * 100_000)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_caption_parses(caption):
    for tag in posted.in_caption(caption):
        assert tag in caption and "#" not in tag and any(map(str.isalpha, tag))


def test_two_hashtags_merge_when_their_sets_are_equal(net):
    resolve = hashtags.Resolver(net).resolve
    assert resolve("Brown_Bear").synsets == resolve("#UrsusArctos").synsets == (2132136,)
    # bruin is a brown bear, too, but may also mean the bear of the tale: its set differs
    assert 2132136 in resolve("bruin").synsets
    assert resolve("bruin").synsets != resolve("brownbear").synsets


def test_the_lemma_goes_before_its_reading_as_an_inflection(net):
    resolve = hashtags.Resolver(net).resolve
    assert resolve("glasses").hashtag == "glasses"  # spectacles, not several glasses
    assert resolve("brownbears") == hashtags.Resolved("brownbear", (2132136,))
    both = set(net.synsets("ax")) | set(net.synsets("axis"))
    assert resolve("axes") == hashtags.Resolved("axes", tuple(sorted(both)))
    assert resolve("tbt") is None and resolve("___") is None


def test_without_morphology(net):
    resolve = hashtags.Resolver(net, hashtags.Rules(morphology=False)).resolve
    assert resolve("brownbears") is None and resolve("brownbear") is not None


def test_exclusions_and_synonyms(net):
    rules = hashtags.Rules(
        synonyms=(("teddyslivingcousin", "brownbear"),), excluded=frozenset(["crane", "loves"])
    )
    resolver = hashtags.Resolver(net, rules)
    assert resolver.resolve("TeddysLivingCousin") == hashtags.Resolved("teddyslivingcousin", (2132136,))
    assert resolver.resolve("Crane") is None
    assert resolver.resolve("cranes") is None  # only crane inflects to it
    assert resolver.resolve("love") is not None and resolver.resolve("loves") is None
