"""Full fine-tuning: a learning rate chosen on a part of train, then a run on all of train, then val."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pretrain.transfer import backbone, features, folders, results, scores, tuning
from pretrain.transfer.backbone import Network, trainable
from pretrain.transfer.folders import Folders, Split
from pretrain.transfer.results import Request, Setting
from pretrain.transfer.tuning import Recipe, Tuning
from pretrain.workers.outputs import Outputs
from wsl_det.core import checkpoint, dist, files, log, provenance, seed
from wsl_det.errors import CheckpointError, ConfigError

RATES = (0.003, 0.01, 0.03, 0.1)
SEARCH_SHARE = 0.25
"""Length of a search run over that of the whole run."""


@dataclass(frozen=True)
class Searched:
    """How the learning rate came about; ``tried`` are (rate, top-1 on the part that was kept back)."""

    rate: float
    tried: tuple[tuple[float, float], ...]
    border: str | None
    fitted_on: int
    checked_on: int


def measure(setting: Setting) -> dict[str, Any] | None:
    """The result of fine-tuning; None on the other processes."""
    request = setting.request
    data = folders.open_folders(request.data)
    trainable(setting.source)
    recipe = _recipe(request, len(data.train))
    resume = dist.resumed(bool(request.finetune.get("resume")))
    home = Path(request.finetune.get("run") or request.output.with_suffix(""))
    with checkpoint.RunFolder(home, keep=2).claim(resume) as folder:
        log.setup(folder.path, dist.rank())
        searched = search(setting, data, recipe, home / "search", resume=resume)
        recipe = replace(recipe, rate=searched.rate)
        network = _run(setting, data, recipe, folder, searched, resume=resume)
        rows = answer(setting, network, data.val, "val")
    if rows is None:
        return None
    results.check_readable(rows, data.val, "val", request.skip_budget)
    more = {"finetune": {**vars(recipe), "run": str(home), "search": asdict(searched)}}
    return results.result(
        setting,
        answers=scores.Answers(data.val.labels, scores.best(rows.vectors, rows.usable)),
        classes=data.classes,
        val=data.val,
        rows=rows,
        more=more,
        made_from={"train_listing": f"sha256:{data.train.listing()}"},
    )


def _recipe(request: Request, photos: int) -> Recipe:
    asked = request.finetune
    epochs = asked.get("epochs")
    if epochs is not None and epochs <= 0:
        raise ConfigError(f"--epochs is {epochs}; expected a number above 0")
    images = round(epochs * photos) if epochs is not None else tuning.images_to_see(photos)
    batch, group = int(asked.get("batch", 256)), int(asked.get("bn_group", 32))
    if batch < 1 or group < 2 or batch % group:
        raise ConfigError(f"--batch {batch} is not whole BN groups of --bn-group {group} (2 or more photos)")
    if images < batch:
        raise ConfigError(f"{images} draws are less than one --batch of {batch}; raise --epochs")
    return Recipe(
        rate=0.0,
        images=images,
        batch=batch,
        bn_group=group,
        amp=request.amp,
        seed=request.seed,
        threads=request.threads,
        skip_budget=request.skip_budget,
    )


def search(setting: Setting, data: Folders, recipe: Recipe, home: Path, *, resume: bool) -> Searched:
    """The rate whose short run on a part of train does best on the rest of train; val is not asked."""
    request = setting.request
    rates = tuple(sorted(set(request.finetune.get("rates") or RATES)))
    if min(rates) <= 0:
        raise ConfigError(f"--rates {' '.join(map(str, rates))}: expected numbers above 0")
    if len(rates) == 1:
        return Searched(rates[0], (), None, len(data.train), 0)
    rng = seed.numpy_generator("transfer split", request.seed)
    fit_rows, check_rows = folders.stratified(data.train.labels, request.check_share, rng)
    fit, check = data.train.take(fit_rows), data.train.take(check_rows)
    short = replace(recipe, images=max(recipe.batch, round(SEARCH_SHARE * recipe.images)))
    tried = []
    for rate in rates:
        tried.append((rate, _try(setting, fit, check, replace(short, rate=rate), home, resume=resume)))
        log.get("transfer").info("rate %g: %.2f%% of %d photos kept back", *tried[-1], len(check))
    best = max(tried, key=lambda one: (one[1], -one[0]))[0]
    border = {rates[0]: "lowest", rates[-1]: "highest"}.get(best)
    if border:
        log.get("transfer").warning("the best rate, %g, is the %s of --rates: try more", best, border)
    return Searched(best, tuple(tried), border, len(fit), len(check))


def _try(setting: Setting, fit: Split, check: Split, recipe: Recipe, home: Path, *, resume: bool) -> float:
    with checkpoint.RunFolder(home / f"rate_{recipe.rate:g}", keep=1).claim(resume) as folder:
        classes = int(fit.labels.max()) + 1
        work = Tuning(setting.source, fit, classes, recipe=recipe, view=setting.view, device=setting.device)
        done = folder.path / "result.json"
        known = files.read_json(done, "result") if resume and done.is_file() else {}
        same = known.get("stream") == work.fingerprint["stream"]
        if (told := dist.broadcast_object(float(known["top1"]) if same else None)) is not None:
            return told
        work.train(folder, resume=resume)
        rows = answer(setting, work.bare, check, "search")
        top1 = 0.0
        if rows is not None:
            right = scores.best(rows.vectors, rows.usable)[:, 0] == check.labels
            top1 = 100 * float(np.mean(right))
            files.write_json(done, {"rate": recipe.rate, "top1": top1, **work.fingerprint})
        return dist.broadcast_object(top1)


def _run(
    setting: Setting,
    data: Folders,
    recipe: Recipe,
    folder: checkpoint.RunFolder,
    searched: Searched,
    *,
    resume: bool,
) -> Network:
    """The network trained on all of train; a finished run's is read back."""
    final = folder.path / "model_final.pth"
    work = Tuning(
        setting.source,
        data.train,
        len(data.classes),
        recipe=recipe,
        view=setting.view,
        device=setting.device,
    )
    if resume and dist.broadcast_object(final.is_file()):
        about = checkpoint.load_weights(final).get("wsl_det")
        if not isinstance(about, dict) or about.get("stream") != work.fingerprint["stream"]:
            raise CheckpointError(
                f"{final} is of a run with other data or settings; use those, or another --run"
            )
        tuning.load_final(work.bare, final)
        return work.bare
    if dist.is_main():
        head = provenance.header("fine-tuning", 1, {"backbone": f"sha256:{setting.source.sha256}"})
        told = {"recipe": vars(recipe), "search": asdict(searched), "classes": list(data.classes)}
        files.write_json(folder.path / "finetune.json", {**head, **told})
    stream = work.fingerprint["stream"]
    work.train(folder, resume=resume)
    if dist.is_main():
        past = backbone.pretraining(setting.source)
        more = {"stream": stream, **({"pretraining": past} if past else {})}
        name = data.root.resolve().name
        folder.save_final(tuning.payload(work, setting.view, classes=data.classes, data=name, more=more))
        log.get("transfer").info("wrote %s; wsl-det export_backbone makes a backbone of it", final)
    dist.barrier()
    return work.bare


def answer(setting: Setting, network: Network, split: Split, what: str) -> Outputs | None:
    """What a trained network says of a split's photos, by all processes; on rank 0 alone it is returned.

    Nothing is kept: the next weights would give other scores.
    """
    network.eval()
    with features.cache_folder(None) as folder:
        features.outputs(
            network, split, setting.view, folder, threads=setting.request.threads, what=f"scores ({what})"
        )
        return features.load(split, folder) if dist.is_main() else None
