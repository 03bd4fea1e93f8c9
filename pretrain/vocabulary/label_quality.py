"""Precision and recall of labels on posts whose subject is known."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pretrain.posts import files as post_files
from pretrain.posts.records import Columns, Ledger, Post, is_name
from pretrain.vocabulary import wordnet, wordnet_relations
from pretrain.vocabulary.classes import Vocabulary
from pretrain.vocabulary.labels import Labeller
from wsl_det.errors import DataError


@dataclass
class Quality:
    """Labels against the truth, one synset a post.

    A label is right when its class has the synset, right or broader when the class has the synset or
    one above it (dog, of a poodle).
    """

    posts: int = 0
    labelled: int = 0  # posts with a label
    found: int = 0  # posts with a right label
    labels: int = 0
    right: int = 0
    broader: int = 0  # labels that are right or broader
    posts_of: Counter[str] = field(default_factory=Counter)  # synset -> posts
    found_of: Counter[str] = field(default_factory=Counter)

    @property
    def precision(self) -> float:
        """The share of labels that are right; 0 without labels."""
        return self.right / self.labels if self.labels else 0.0

    @property
    def precision_broader(self) -> float:
        """The share of labels that are right or broader; 0 without labels."""
        return self.broader / self.labels if self.labels else 0.0

    @property
    def recall(self) -> float:
        """The share of posts with a right label."""
        return self.found / self.posts

    def summary(self) -> list[str]:
        """Lines to print."""
        return [
            f"{self.posts:>14,} posts with a truth, {self.labelled:,} of them with a label",
            f"{self.precision:>14.2%} precision: {self.right:,} of {self.labels:,} labels are right "
            f"({self.precision_broader:.2%} right or broader)",
            f"{self.recall:>14.2%} recall: {self.found:,} posts have a right label",
        ]


def measure_files(
    paths: list[str], columns: Columns, truth_path: str | Path, vocabulary: Vocabulary
) -> Quality:
    """The quality of the labels that ``vocabulary`` gives to the posts in ``paths``.

    ``truth_path`` is jsonl with "id" and "wnid". Raises DataError when no post has a truth.
    """
    truth = read_truth(truth_path)
    quality = measure(post_files.read(paths, columns, Ledger()), truth, vocabulary)
    if not quality.posts:
        raise DataError(f"no post's id is in {truth_path}; is it the truth of other posts?")
    return quality


def read_truth(path: str | Path) -> dict[str, str]:
    """Post id -> wnid; raises DataError naming the line that is none."""
    if not Path(path).is_file():
        raise DataError(f"truth {path} is no file; expected jsonl with id and wnid")
    truth: dict[str, str] = {}
    for number, line in enumerate(post_files.lines(post_files.Part(str(path))), 1):
        record = post_files.record_of_line(line)
        if record == "":
            continue
        name, wnid = (record.get("id"), record.get("wnid")) if isinstance(record, dict) else (None, None)
        if not is_name(name) or not isinstance(wnid, str) or not re.fullmatch("n[0-9]{8}", wnid):
            raise DataError(f'{path}:{number} is no truth; expected {{"id": "...", "wnid": "n02132136"}}')
        if int(wnid[1:]) not in wordnet.load().synset_lemmas:
            raise DataError(f"{path}:{number}: {wnid} is no noun synset of WordNet 3.0")
        if truth.setdefault(str(name), wnid) != wnid:
            raise DataError(f"{path}:{number}: id {name} stands twice, with another wnid; keep one")
    return truth


def measure(posts: Iterable[Post], truth: Mapping[str, str], vocabulary: Vocabulary) -> Quality:
    """The quality of the labels of those ``posts`` that have a truth."""
    labeller, relations = Labeller(vocabulary), wordnet_relations.load()
    quality = Quality()
    for post in posts:
        wnid = truth.get(post.id)
        if wnid is None:
            continue
        above = set(map(wordnet.wnid, relations.at_or_above(int(wnid[1:]))))
        meanings = [vocabulary.classes[label].synsets for label in labeller.labels(post.hashtags)]
        right = sum(wnid in synsets for synsets in meanings)
        quality.posts += 1
        quality.labelled += bool(meanings)
        quality.found += bool(right)
        quality.labels += len(meanings)
        quality.right += right
        quality.broader += sum(not above.isdisjoint(synsets) for synsets in meanings)
        quality.posts_of[wnid] += 1
        quality.found_of[wnid] += bool(right)
    return quality
