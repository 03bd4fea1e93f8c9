from __future__ import annotations

from pretrain.posts import seen


def test_every_string_is_new_once(monkeypatch):
    monkeypatch.setattr(seen, "_RECENT", 8)  # so that most lie in sorted parts
    found = seen.Seen()
    names = [f"post {i % 700}" for i in range(2000)]
    assert [found.add(name) for name in names] == [i < 700 for i in range(2000)]
    assert len(found._sorted) < 12
