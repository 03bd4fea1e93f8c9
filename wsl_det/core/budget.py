"""How many photos may be unusable before a run stops: one way to count them, one message."""

from __future__ import annotations

from collections.abc import Iterable

from wsl_det.errors import DataError

# Below this many draws a share of failures means nothing.
_JUDGED_FROM = 1000
_SHOWN = 5


class Budget:
    """Counts photos that cannot be used; more than ``fraction`` of them are a DataError that lists some.

    With ``total``, the number of photos, each counts once, and a fraction above 0 allows ``forgiven`` of them
    at least. Without, every draw counts, however often a photo is drawn, from 1,000 draws on.
    """

    def __init__(self, fraction: float, name: str, total: int | None = None, forgiven: int = 0) -> None:
        self.fraction, self.name, self.total, self.forgiven = fraction, name, total, forgiven
        self.bad: dict[str, str] = {}  # photo: reason; of draws only the first
        self.seen = self.failed = 0

    @property
    def share(self) -> float:
        """Share of the draws so far that failed."""
        return self.failed / max(self.seen, 1)

    @property
    def allowed(self) -> int:
        """How many may be unusable by now."""
        number = self.seen if self.total is None else self.total
        return max(self.forgiven if self.fraction > 0 else 0, int(self.fraction * number))

    def count(self, failures: Iterable[tuple[str, str]], seen: int = 0) -> list[tuple[str, str]]:
        """Add ``seen`` draws and the ``failures`` (photo, reason) among them; the new ones come back."""
        self.seen += seen
        new = []
        for photo, reason in failures:
            self.failed += 1
            if photo not in self.bad and (self.total is not None or len(self.bad) < _SHOWN):
                self.bad[photo] = reason
                new.append((photo, reason))
        early = self.total is None and self.seen < _JUDGED_FROM
        if not early and (self.failed if self.total is None else len(self.bad)) > self.allowed:
            raise self.exceeded()
        return new

    def exceeded(self) -> DataError:
        """The message that ends the run."""
        return DataError(
            f"{self.summary()}\nmore than {self.name} {self.fraction:g} allows ({self.allowed}): repair "
            "them, or raise it"
        )

    def summary(self) -> str:
        """What could not be used, in a few lines; empty when all was fine."""
        if not self.bad:
            return ""
        number, of = (self.failed, self.seen) if self.total is None else (len(self.bad), self.total)
        lines = [f"{photo}: {reason}" for photo, reason in list(self.bad.items())[:_SHOWN]]
        rest = [f"... and {number - _SHOWN} more"] if number > _SHOWN else []
        return "\n  ".join([f"{number} photos of {of} cannot be used:", *lines, *rest])
