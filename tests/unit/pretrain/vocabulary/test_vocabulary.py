from __future__ import annotations

import hashlib
import json
import random

import pytest

from pretrain.posts.records import Columns
from pretrain.vocabulary import build as vocabulary_builder
from pretrain.vocabulary import classes as vocabulary
from pretrain.vocabulary import hashtags, wordnet
from pretrain.vocabulary.build import Selection
from pretrain.vocabulary.classes import Labeller
from wsl_det.errors import ConfigError, DataError


def build(path, kind="wordnet", *, size=None, min_count=1, old=None, morphology=True, **lists):
    rules = hashtags.Rules(morphology, **lists)
    selection = Selection(kind, size, min_count)
    built, _, _ = vocabulary_builder.build([path], Columns(), rules, selection, old=old, workers=1)
    return built


def by_name(vocab):
    return {entry.name: entry for entry in vocab.classes}


@pytest.fixture
def path(tmp_path, world):
    return world.write_posts(tmp_path / "posts.jsonl")


def test_synonyms_merge_and_posts_are_counted_once(path):
    bear = by_name(build(path))["brown_bear"]
    assert bear.synsets == ("n02132136",)
    assert bear.hashtags == ("brownbear", "ursusarctos")
    assert bear.count == 3  # p2 carries both synonyms and counts once; p3's plural counts
    assert set(by_name(build(path))) == {"brown_bear", "Alaska", "goldfish", "crane", "love"}


def test_in1k_takes_tags_with_an_imagenet_synset(path):
    classes = by_name(build(path, "in1k"))
    assert set(classes) == {"brown_bear", "goldfish", "crane"}
    assert len(classes["crane"].synsets) > 1  # polysemous tags keep their whole set
    in1k = set(wordnet.in1k_wnids())
    assert all(in1k & set(entry.synsets) for entry in classes.values())


def test_frequent_size_and_min_count(path):
    assert set(by_name(build(path, "frequent", size=2))) == {"brown_bear", "goldfish"}
    assert set(by_name(build(path, "wordnet", min_count=3))) == {"brown_bear"}
    # Ties at the limit go to the lower offsets, whatever the order of the posts.
    ties = sorted(c.synsets for c in build(path).classes if c.count == 1)
    taken = [c.synsets for c in build(path, "frequent", size=3).classes if c.count == 1]
    assert taken == ties[:1]


def test_min_count_0_takes_classes_without_posts(path):
    everything = build(path, "in1k", min_count=0)
    assert len(everything) == 1284  # distinct sets of synsets that hold one of the 1,000
    assert {entry.count for entry in everything.classes} == {0, 1, 2, 3}


def test_file_format_and_hash(path, tmp_path):
    vocab = build(path)
    vocab.write(tmp_path / "vocab.json")
    value = json.loads((tmp_path / "vocab.json").read_text())
    assert list(value) == ["schema", "kind", "sha256", "classes", "meta"]
    assert [entry["id"] for entry in value["classes"]] == list(range(5))
    text = "".join(
        f"{c['id']}\t{','.join(c['synsets'])}\t{','.join(c['hashtags'])}\n" for c in value["classes"]
    )
    assert value["sha256"] == hashlib.sha256(text.encode("utf-8")).hexdigest() == vocab.sha256
    assert value["meta"]["made_from"][f"posts {path}"]["sha256"]
    assert value["meta"]["counts"]["posts"] == 6
    again = vocabulary.read(tmp_path / "vocab.json")
    assert again.classes == vocab.classes and again.sha256 == vocab.sha256


def test_ids_do_not_depend_on_the_order_of_posts(path, tmp_path, world):
    rows = list(world.captions.items())
    random.Random(3).shuffle(rows)
    other = build(world.write_posts(tmp_path / "shuffled.jsonl", dict(rows)))
    assert other.classes == build(path).classes
    synsets = [entry.synsets for entry in other.classes]
    assert synsets == sorted(synsets)


def test_extend_keeps_ids_and_appends(path, tmp_path, world):
    old = build(path, "in1k")
    grown = world.write_posts(
        tmp_path / "grown.jsonl", {**world.captions, "p7": ("g.jpg", "#tench #brownbear")}
    )
    new = build(grown, "in1k", old=old)
    assert [c.name for c in new.classes] == [*(c.name for c in old.classes), "tench"]
    assert by_name(new)["brown_bear"].count == 4
    assert new.sha256 != old.sha256
    same = build(path, "in1k", old=old)
    assert same.sha256 == old.sha256
    alone = world.write_posts(tmp_path / "other.jsonl", {"q": ("q.jpg", "#tench")})
    assert [c.count for c in build(alone, "in1k", old=old).classes] == [0, 0, 0, 1]


def test_extend_refuses_other_rules(path):
    old = build(path, "in1k")
    with pytest.raises(ConfigError, match="old vocabulary is of kind in1k, not wordnet"):
        build(path, "wordnet", old=old)
    with pytest.raises(ConfigError, match="--no-morphology"):
        build(path, "in1k", old=old, morphology=False)


def test_no_class_is_an_error(tmp_path, world):
    path = world.write_posts(tmp_path / "posts.jsonl", {"a": ("a.jpg", "no tags"), "b": ("b.jpg", "#tbt")})
    with pytest.raises(DataError, match="of 1 hashtags in 2 posts WordNet knows 0"):
        build(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"kind": "big"}, "choose in1k"), ({"size": 0}, "at least 1"), ({"min_count": -1}, "0 or more")],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigError, match=message):
        Selection(**{"kind": "in1k", **options})


def test_labels_follow_the_vocabulary(path):
    vocab = build(path, "in1k")
    bear, fish = by_name(vocab)["brown_bear"].id, by_name(vocab)["goldfish"].id
    label = Labeller(vocab).labels
    assert label(["Brown_Bear", "ursusarctos", "tbt"]) == [bear]
    assert label(["CarassiusAuratus", "brownbears"]) == sorted([bear, fish])
    assert label(["love", "bruin"]) == []
    assert Labeller(build(path, "in1k", morphology=False)).labels(["brownbears"]) == []


def test_inflections_of_several_lemmas_are_a_class_of_their_own(tmp_path, world):
    path = world.write_posts(tmp_path / "posts.jsonl", {"a": ("a.jpg", "#axes"), "b": ("b.jpg", "#ax")})
    vocab = build(path)
    axes = by_name(vocab)["axes"]
    assert axes.hashtags == ("axes",) and axes.count == 1
    assert Labeller(vocab).labels(["Axes"]) == [axes.id]


def test_users_lists(path):
    vocab = build(path, synonyms=(("tbt", "brownbear"),), excluded=frozenset(["love"]))
    assert by_name(vocab)["brown_bear"].hashtags == ("brownbear", "tbt", "ursusarctos")
    assert "love" not in by_name(vocab)
    label = Labeller(vocab).labels
    assert label(["TBT"]) == [by_name(vocab)["brown_bear"].id] and label(["love", "loves"]) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(schema=9), "schema 9"),
        (lambda v: v.pop("classes"), "is no vocabulary"),
        (lambda v: v["classes"][0].update(id=5), "ids must be 0..4"),
        (lambda v: v["classes"][0]["hashtags"].append("x"), "edited by hand"),
        *(
            (lambda v, count=count: v["classes"][0].update(count=count), "is no vocabulary")
            for count in ("many", "3", 3.5, True, -1, 2**63, float("inf"), None)
        ),
        (lambda v: v["classes"][0].update(id=False), "is no vocabulary"),
        (lambda v: v["classes"][0].update(name=None), "is no vocabulary"),
        (lambda v: v["classes"][0].update(hashtags="ab"), "is no vocabulary"),
        (lambda v: v["classes"][0]["hashtags"].append("\ud800"), "is no vocabulary"),
        (lambda v: v.update(classes=3), "is no vocabulary"),
    ],
)
def test_a_broken_vocabulary_is_refused(path, tmp_path, change, message):
    value = build(path).to_dict()
    change(value)
    (tmp_path / "vocab.json").write_text(json.dumps(value))
    with pytest.raises(DataError, match=message):
        vocabulary.read(tmp_path / "vocab.json")


def test_a_hashtag_belongs_to_one_class(path, tmp_path):
    vocab = build(path)
    first, second, *rest = vocab.classes
    twice = vocabulary.VocabularyClass(1, second.name, second.synsets, first.hashtags, 1)
    vocabulary.Vocabulary("wordnet", (first, twice, *rest)).write(tmp_path / "vocab.json")
    with pytest.raises(DataError, match="more than one class"):
        vocabulary.read(tmp_path / "vocab.json")
