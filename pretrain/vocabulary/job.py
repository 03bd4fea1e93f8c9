"""The job behind tools/build_vocab.py: posts to vocab.json and the page that audits it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pretrain.posts import files as post_files
from pretrain.posts.records import Columns, Ledger
from pretrain.vocabulary import audit, audit_page, wordnet, wordnet_table
from pretrain.vocabulary import build as vocabulary_builder
from pretrain.vocabulary import truth as truths
from pretrain.vocabulary.build import Selection
from pretrain.vocabulary.classes import Vocabulary
from pretrain.vocabulary.hashtags import Resolver, Rules
from wsl_det.core import files
from wsl_det.errors import ConfigError, DataError


@dataclass(frozen=True)
class Job:
    """What to make of which posts; ``audit`` None: no page; ``truth``: jsonl of ids and wnids, or None.

    ``own_wordnet``: the user's WordNet in nltk is compared with the shipped one and named in the meta.
    """

    posts: Sequence[str | Path]
    columns: Columns
    rules: Rules
    selection: Selection
    output: str | Path
    audit: str | Path | None = None
    truth: str | Path | None = None
    own_wordnet: bool = False


def page_beside(output: str | Path, audit: str | Path | None = None) -> Path:
    """Where the page goes; raises ConfigError when it would replace the vocabulary."""
    page = Path(output).with_suffix(".html") if audit is None else Path(audit)
    if page == Path(output):
        raise ConfigError(f"--output {output} and its page have one name; give --audit FILE or --no-audit")
    return page


def run(
    job: Job, *, old: Vocabulary | None = None, workers: int | None = None, scheduler: str | None = None
) -> list[str]:
    """Count, choose, check and write; returns lines to print. Raises what its steps raise."""
    truth = None if job.truth is None else truths.read(job.truth)  # before hours of counting
    own = wordnet_table.same_as_shipped() if job.own_wordnet else None
    built, tally, ledger = vocabulary_builder.build(
        job.posts, job.columns, job.rules, job.selection, old=old, workers=workers, scheduler=scheduler
    )
    if own is not None:
        built = replace(built, meta={**built.meta, "wordnet": {"source": "nltk", "sha256": own}})
    quality = None
    if truth is not None:
        posts = post_files.read(post_files.expand(job.posts), job.columns, Ledger())
        quality = audit.measure(posts, truth, built)
        if not quality.posts:
            raise DataError(f"no post's id is in {job.truth}; is it the truth of other posts?")
    built.write(job.output)
    lines = [*ledger.summary(), vocabulary_builder.describe(built, tally, job.output)]
    if job.audit is not None:
        resolver = Resolver(wordnet.load(), job.rules)
        made = audit_page.Made(built, tally, ledger, job.selection, resolver, quality)
        files.write_text(job.audit, audit_page.render(made))
        lines.append(f"wrote {job.audit}: what was merged, what is ambiguous, what was discarded")
    return lines + (quality.summary() if quality else [])
