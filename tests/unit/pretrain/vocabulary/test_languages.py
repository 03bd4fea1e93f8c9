"""Hashtags in other languages: English wins, equal sets of meanings join, the rest stand alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pretrain.posts.records import Columns
from pretrain.vocabulary import audit_page, user_lists, wordnet
from pretrain.vocabulary import build as vocabulary_builder
from pretrain.vocabulary.build import Selection
from pretrain.vocabulary.classes import Labeller
from pretrain.vocabulary.hashtags import Foreign, Resolved, Resolver, Rules, Word
from wsl_det.errors import ConfigError

ROOT = Path(__file__).parents[4]
REAL = ROOT.parent / "shared/data"
BEACH, DOG, BREAD = 9217230, 2084071, 7679356
WORDS = {
    "spiaggia": Word(("ita",), (BEACH,), False),
    "playa": Word(("spa",), (BEACH,), False),
    "chien": Word(("fra",), (DOG, 9886220), False),
    "pain": Word(("fra",), (BREAD,), True),  # English knows it, with another meaning
    "кошка": Word(("rus",), (2121620,), False),
}
FOREIGN = Foreign.pack([("fra", "a" * 64), ("ita", "b" * 64)], WORDS)
CAPTIONS = ("#spiaggia", "#Spiaggia #beach", "#chien #dog", "#pain #playa", "#qqqq #dogs")


@pytest.fixture
def posts(tmp_path):
    path = tmp_path / "posts.jsonl"
    rows = ({"id": str(i), "caption": text} for i, text in enumerate(CAPTIONS))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def build(path, rules, **selection):
    chosen = Selection("wordnet", **selection)
    built, tally, ledger = vocabulary_builder.build([path], Columns(), rules, chosen, workers=1)
    return built, audit_page.Made(built, tally, ledger, chosen, Resolver(wordnet.load(), rules))


def test_english_wins_and_others_take_the_union_of_their_sets():
    resolver = Resolver(wordnet.load(), Rules(foreign=FOREIGN))
    assert resolver.read("Spiaggia") == Resolved("spiaggia", (BEACH,))
    assert resolver.read("chien") == Resolved("chien", (DOG, 9886220))
    assert resolver.read("pain") == Resolver(wordnet.load()).read("pain")
    assert resolver.read("beaches") == Resolved("beach", (BEACH,))
    assert resolver.resolve("qqqq") is None
    assert Resolver(wordnet.load(), Rules(foreign=FOREIGN, excluded=frozenset(["chien"]))).read("chien")[1]


def test_equal_sets_join_and_others_stand_alone(posts):
    built, _ = build(posts, Rules(foreign=FOREIGN))
    by_name = {entry.name: entry for entry in built.classes}
    # All spellings of a meaning are listed, posted or not, as WordNet's are.
    assert by_name["beach"].hashtags == ("beach", "playa", "spiaggia") and by_name["beach"].count == 3
    assert by_name["chien"].hashtags == ("chien",) and "chien" not in by_name["dog"].hashtags
    assert built.meta["languages"] == {"fra": "a" * 64, "ita": "b" * 64}
    # Shards need neither nltk nor the languages: the vocabulary lists what it means.
    labeller = Labeller(built)
    assert labeller.labels(["SPIAGGIA"]) == labeller.labels(["beach"]) == [by_name["beach"].id]
    synonym, _ = build(posts, Rules(foreign=FOREIGN, synonyms=(("chien", "dog"),)))
    assert "chien" in next(c for c in synonym.classes if c.name == "dog").hashtags


@pytest.mark.parametrize("selection", [{}, {"min_count": 0}])
def test_english_hashtags_are_the_same_with_and_without_languages(posts, selection):
    plain, _ = build(posts, Rules(), **selection)
    both, _ = build(posts, Rules(foreign=FOREIGN), **selection)
    foreign = {key for key, word in WORDS.items() if not word.english}
    with_them = {c.synsets: tuple(h for h in c.hashtags if h not in foreign) for c in both.classes}
    assert {synsets: tags for synsets, tags in with_them.items() if tags} == {
        c.synsets: c.hashtags for c in plain.classes
    }


def test_an_extended_vocabulary_keeps_its_languages(posts):
    old, _ = build(posts, Rules(foreign=FOREIGN))
    with pytest.raises(ConfigError, match="another --languages"):
        vocabulary_builder.build([posts], Columns(), Rules(), Selection("wordnet"), old=old, workers=1)


def test_the_page_tells_by_language_what_became_of_them(posts):
    _, made = build(posts, Rules(foreign=FOREIGN))
    rows = {row.language: row for row in audit_page.facts(made)["spoken"]}
    assert rows["ita"].joined == [("spiaggia", 2)] and not rows["ita"].alone
    assert rows["fra"].alone == [("chien", 1)] and rows["fra"].english == [("pain", 1)]
    assert "kept by English" in audit_page.render(made)
    _, plain = build(posts, Rules())
    assert "Other languages" not in audit_page.render(plain)


def test_a_packed_table_is_a_function_of_its_words():
    again = Foreign.pack(FOREIGN.sources, dict(reversed(list(WORDS.items()))))
    assert again == FOREIGN and hash(again) == hash(FOREIGN) and again.words == WORDS
    assert again.synsets("pain") == () and again.synsets("кошка") == (2121620,)


# -- nltk's reader, on a WordNet of five nouns and the real one --

NOUNS = {
    1740: "entity",
    1930: "physical_entity",
    4475: "organism being",
    5787: "benthos",
    5930: "dwarf",
}


def write_corpora(root, tables, version="3.0"):
    """A WordNet database of ``NOUNS`` at their true offsets, and omw-2.0 with ``tables``."""
    net = root / "corpora/wordnet"
    net.mkdir(parents=True)
    for kind in ("adj", "adv", "verb", "noun"):
        for name in (f"index.{kind}", f"data.{kind}", f"{kind}.exc"):
            (net / name).write_text("")
    for name in ("cntlist.rev", "index.sense"):
        (net / name).write_text("")
    (net / "lexnames").write_text("".join(f"{n:02d}\tnoun.{n}\t1\n" for n in range(45)))
    (net / "data.adj").write_text(f"  1 WordNet {version} Copyright 2006 by Princeton University.\n")
    data, index = "", []
    for offset, lemmas in NOUNS.items():
        data += " " * (offset - len(data) - 1) + "\n"
        words = lemmas.split()
        data += f"{offset:08d} 03 n {len(words):02x} " + "".join(f"{w} 0 " for w in words) + "000 | it  \n"
        index += [f"{word} n 1 0 1 0 {offset:08d}  \n" for word in words]
    (net / "data.noun").write_text(data)
    (net / "index.noun").write_text("".join(sorted(index)))
    for language, rows in tables.items():
        folder = root / "corpora/omw-2.0" / language
        folder.mkdir(parents=True)
        lines = [f"# test\t{language}\thttp://x\tMIT\n", *(f"{o:08d}-n\tlemma\t{w}\n" for o, w in rows)]
        (folder / f"wn-data-{language}.tab").write_text("".join(lines), encoding="utf-8")


def ask(root, code):
    """The outcome of ``code`` with nltk's corpora under ``root`` alone."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "NLTK_DATA": str(root), "HOME": str(root)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=env, capture_output=True, text=True, check=False
    )
    return done.stdout, done.stderr


READ = "from pretrain.vocabulary import languages; f = languages.read({!r}); print(f.words, f.sources)"


def test_nltk_reads_them_and_spellings_unite(tmp_path):
    table = [(5787, "bentos"), (4475, "être_vivant"), (4475, "Être-vivant"), (1740, "benthos"), (99, "x")]
    write_corpora(tmp_path, {"fra": table, "arb": [(5930, "قَزَم")]})
    out, err = ask(tmp_path, READ.format(["fra", "arb"]))
    assert err == ""
    words = eval(out.partition("} (")[0] + "}", {"Word": Word})
    assert words["bentos"] == Word(("fra",), (5787,), False)
    assert words["etrevivant"] == Word(("fra",), (4475,), False)
    assert words["benthos"] == Word(("fra",), (1740,), True)
    # As dictionaries write it and as people post it.
    assert words["قزم"] == words["قَزَم"] == Word(("arb",), (5930,), False)
    assert len(out.partition("} (")[2].split("'")[3]) == 64


def test_what_is_missing_is_one_message_with_the_remedy(tmp_path):
    for root in (tmp_path / "none", tmp_path / "english", tmp_path / "linked"):
        root.mkdir()
    write_corpora(tmp_path / "english", {})
    write_corpora(tmp_path / "elsewhere", {"fra": [(5787, "bentos")]})
    (tmp_path / "linked/corpora").symlink_to(tmp_path / "elsewhere/corpora")
    for root in ("none", "english", "linked"):
        _, err = ask(tmp_path / root, READ.format(["fra"]))
        last = err.strip().splitlines()[-1]
        assert "DataError" in last and "nltk.download('wordnet'); nltk.download('omw-2.0')" in last, root
        assert "behind links" in last
    for codes, told in ((["xyz"], "omw-2.0 has fra"), (["eng"], "English is always read")):
        _, err = ask(tmp_path / "elsewhere", READ.format(codes))
        assert told in err.strip().splitlines()[-1]


def test_the_users_own_wordnet_must_equal_the_shipped_one(tmp_path):
    code = "from pretrain.vocabulary import wordnet_table; wordnet_table.same_as_shipped()"
    write_corpora(tmp_path / "small", {})
    assert "differs from WordNet 3.0's nouns" in ask(tmp_path / "small", code)[1]
    write_corpora(tmp_path / "new", {}, version="3.1")
    assert "version 3.1" in ask(tmp_path / "new", code)[1]
    write_corpora(tmp_path / "bad", {})
    noun = tmp_path / "bad/corpora/wordnet/data.noun"
    noun.write_text(noun.read_text().replace("being", "bieng"))
    assert "disagree; unpack WordNet 3.0 again" in ask(tmp_path / "bad", code)[1]


@pytest.mark.data
@pytest.mark.slow
def test_the_real_tables(tmp_path):
    if not (REAL / "omw-2.0-subset.tar.xz").is_file():
        pytest.skip("../shared/data is not here")
    (tmp_path / "corpora").mkdir()
    for name in ("wordnet-3.0.tar.xz", "omw-2.0-subset.tar.xz"):
        subprocess.run(["tar", "xf", REAL / name, "-C", tmp_path / "corpora"], check=True)
    code = (
        "from pretrain.vocabulary import languages, wordnet; f = languages.read(['fra', 'ita', 'por']);"
        "w = f.words; dog = wordnet.load().synsets('dog');"
        "print(w['spiaggia'].synsets == wordnet.load().synsets('beach'),"
        " set(w['chien'].synsets) - set(dog) != set(), w['pain'].english, w['plage'].english)"
    )
    assert ask(tmp_path, code) == ("True True True True\n", "")


def test_lists_of_ones_own_pass_languages_on(monkeypatch):
    from pretrain.vocabulary import languages

    monkeypatch.setattr(languages, "read", lambda codes: FOREIGN)
    assert user_lists.rules(True, None, None, ["fra"]).foreign is FOREIGN
    assert user_lists.rules(True, None, None).foreign is None
