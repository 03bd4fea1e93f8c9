"""``zoo://NAME`` on a command line: the file it stands for, downloaded and, for a trunk, exported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsl_det.backbone import artifact, export, sources, timm_models, timm_source
from wsl_det.core import files, log
from wsl_det.errors import CheckpointError, ConfigError, DataError
from wsl_det.zoo import catalogue, published, trunks
from wsl_det.zoo.catalogue import Entry
from wsl_det.zoo.store import Store, asker

SCHEME = "zoo://"
DEST = "weights"


def file(text: str, *, dest: str | Path = DEST) -> str:
    """``text``, unless it is ``zoo://NAME``: then the published file's path under ``dest``."""
    if not text.startswith(SCHEME):
        return text
    return str(Store(dest).get(catalogue.find(text.removeprefix(SCHEME)), ask=asker()))


def weights(text: str, *, dest: str | Path = DEST) -> str:
    """``text``, unless it is ``zoo://NAME``, ``timm:NAME`` or ``hf-hub:ORG/NAME``: then a MODEL.WEIGHTS.

    A detector is the published file itself; a trunk becomes the artifact ``dest/NAME.pth``, exported
    with its certificate unless that was done before from the same file.
    """
    if text.startswith((published.SCHEME, published.HUB)):
        exported = Path(dest) / f"{text.replace(':', '-').replace('/', '~')}.pth"  # another for each
        with Store(dest).alone(exported.name):
            if not exported.is_file():
                found, about = source(text)
                export.export(found, exported, about)
        return str(exported)
    if not text.startswith(SCHEME):
        return text
    entry = catalogue.find(text.removeprefix(SCHEME))
    fetched = Path(file(text, dest=dest))
    if entry.kind == "detector":
        return str(fetched)
    exported = Path(dest) / f"{entry.name}.pth"
    store = Store(dest)
    if _is_of(exported, store.sha256(fetched)):
        return str(exported)  # of a cache that cannot be written, too
    # The processes of one launch come here together.
    with store.alone(exported.name):
        if not _is_of(exported, store.sha256(fetched)):
            log.get("zoo").info("exporting %s to %s", fetched, exported)
            found, about = source(str(fetched))
            export.export(found, exported, about)
    return str(exported)


def source(
    text: str, *, untrained: bool = False, seed: int = 0, **options: Any
) -> tuple[sources.Source | timm_source.TimmSource, export.Facts]:
    """The trunk of a file, a run's folder, ``zoo://NAME``, ``timm:NAME`` or ``hf-hub:ORG/NAME``.

    Beside it what the catalogue knows of it. ``options`` are those of ``sources.read``; for a file of the
    catalogue, what they leave open is filled in from its entry. timm's names are kept for what is no plain
    ResNe(X)t, and where ``expect`` is ``timm:NAME``. ``untrained``: timm's initial weights of ``seed``.
    """
    if found := _of_timm(text, options, untrained=untrained, seed=seed):
        own = not text.startswith((published.SCHEME, published.HUB))
        _check_timm(options, found.arch.model, own=own)
        return found, export.Facts() if own or untrained else trunks.facts(found)
    path, options = described(text, **options)
    told = export.Facts()
    if entry := known(path):
        told = export.Facts(
            licence=entry.licence.name,
            licence_url=entry.licence.url,
            training_data=entry.training_data,
            fine_tuned_on_in1k=entry.fine_tuned_on_in1k,
        )
    return sources.read(path, **options), told


def _of_timm(
    text: str, options: dict[str, Any], *, untrained: bool, seed: int
) -> timm_source.TimmSource | None:
    """The trunk where it is to have timm's own names, else None."""
    name, hub = text.removeprefix(published.SCHEME), text.startswith(published.HUB)
    of_timm = text.startswith(published.SCHEME)
    if untrained:
        if not of_timm:
            raise ConfigError(f"--untrained draws a model of timm's: give timm:NAME, not {text}")
        return timm_source.untrained(timm_source.named(text), seed)
    asked = str(options.get("expect") or "")
    if not (hub or of_timm or asked.startswith(published.SCHEME)):
        return None
    if hub:
        repository, pins = text.removeprefix(published.HUB), Store(DEST)
        plain = not published.why_not_plain(published.hub_settings(repository, pins)[0])
        as_ours = plain and not asked.startswith(published.SCHEME)
        return None if as_ours else published.from_hub(repository, pins)
    if of_timm:
        timm_models.check_name(name)
        plain = not published.why_not_plain(name.partition(".")[0])
        if plain and not asked.startswith(published.SCHEME):
            return None
        return published.trunk(name, Store(DEST))
    path = sources.find(Path(file(text)))
    return timm_source.read(timm_source.named(asked), path, sources.load(path), prefix=options.get("prefix"))


def _check_timm(options: Mapping[str, Any], name: str, *, own: bool) -> None:
    """Refuse what would be passed over: a trunk of timm's has timm's pixels, layout and name."""
    given = [key for key in ("convention", "bn_folded", "wrapper", "prefix") if options.get(key)]
    if given := [f"--{key.replace('_', '-')}" for key in given if not (own and key == "prefix")]:
        raise ConfigError(f"{', '.join(given)}: timm's {name} is read as timm has it; leave it out")
    asked = str(options.get("expect") or "any").removeprefix(published.SCHEME)
    if asked not in ("any", name, name.partition(".")[0]):
        raise ConfigError(f"--arch {options['expect']} is asked for, this is timm's {name}")


def described(text: str, **options: Any) -> tuple[str, dict[str, Any]]:
    """The path that ``text`` stands for, and ``options`` of ``sources.read`` with what is known of it."""
    if text.startswith(published.SCHEME):
        return published.described(text.removeprefix(published.SCHEME), Store(DEST), options)
    if text.startswith(published.HUB):
        return published.hub_described(text.removeprefix(published.HUB), Store(DEST), options)
    path = file(text)
    entry = known(path)
    if entry is not None:
        options["expect"] = options.get("expect") or entry.arch_name
        options["convention"] = options.get("convention") or entry.convention
        options["bn_folded"] = options.get("bn_folded") or entry.bn == "folded"
    return path, options


def known(path: str | Path) -> Entry | None:
    """The entry that a file on the disk is, by its published digits or by the lock file beside it."""
    path = Path(path)
    if not path.is_file():
        return None
    store = Store(path.parent)
    sha256 = store.sha256(path)
    name = store.knows(path, sha256)
    if name is not None and name in catalogue.entries():
        return catalogue.find(name)
    return catalogue.published_as(path.name, sha256)


def _is_of(exported: Path, published: str) -> bool:
    """Whether ``exported`` is whole, proved, and made of the file with the hash ``published``."""
    if not exported.is_file():
        return False
    try:
        certified = files.read_json(artifact.certificate_path(exported), "certificate")
        artifact.read(exported)
        return bool(certified["source"]["sha256"] == published)
    except (CheckpointError, DataError, KeyError, TypeError):
        return False
