# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     name: python3
# ---

# %% [markdown]
# # Compare two detectors
#
# Two result lists on the same test images go in; how much the second gains, how sure that is, and whether
# it names or places things better comes out. Here both detectors are simulated, so that the right answer is
# known: the second confuses classes less often, and draws no box any better.

# %%
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from wsl_det import evaluation, gain

rng = np.random.default_rng(0)
CLASSES = ("cat", "dog", "bird")
COLOURS = ("tomato", "steelblue", "goldenrod")

# %% [markdown]
# ## A test set in COCO's format
#
# Eighty images with three objects each. Yours is an `instances_val.json`.

# %%
images, annotations = [], []
photos = Path("photos")
photos.mkdir(exist_ok=True)
for image_id in range(1, 81):
    picture = Image.new("RGB", (160, 120), "white")
    images.append({"id": image_id, "file_name": f"{image_id}.png", "width": 160, "height": 120})
    for _ in range(3):
        x, y, w, h = (float(v) for v in rng.uniform([0, 0, 24, 24], [100, 60, 56, 56]))
        category = int(rng.integers(3))
        ImageDraw.Draw(picture).rectangle((x, y, x + w, y + h), fill=COLOURS[category])
        annotations.append({"id": len(annotations) + 1, "image_id": image_id, "category_id": category + 1,
                            "bbox": [x, y, w, h], "area": w * h, "iscrowd": 0})  # fmt: skip
    picture.save(photos / f"{image_id}.png")
categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, 1)]
Path("gt.json").write_text(
    json.dumps({"images": images, "annotations": annotations, "categories": categories})
)


# %% [markdown]
# ## Two detectors
#
# Rows of a COCO results list: `image_id`, `category_id`, `bbox` as x, y, width, height in pixels, `score`.


# %%
def detect(confused: float) -> list[dict]:
    """Every object, its box off by a few pixels, its class wrong in a share ``confused`` of them."""
    noise = np.random.default_rng(1)  # the same boxes and scores for both detectors
    rows = []
    for found in annotations:
        box = np.array(found["bbox"]) + noise.normal(0, 2, 4)
        wrong, score = noise.random() < confused, noise.uniform(0.3, 1)
        category = found["category_id"] % 3 + 1 if wrong else found["category_id"]
        rows.append({"image_id": found["image_id"], "category_id": category,
                     "bbox": box.tolist(), "score": float(score)})  # fmt: skip
    return rows


baseline, candidate = detect(confused=0.4), detect(confused=0.15)

# %% [markdown]
# ## One detector: the numbers of COCO
#
# Percent, unrounded; undefined is `None`, never -1.

# %%
result = evaluation.evaluate("gt.json", baseline)
print({name: result["bbox"][name] for name in ("AP", "AP50", "AP75", "APs")})

# %% [markdown]
# ## Two detectors: the gain
#
# The last line of a cell shows the table and, below it, the page with all figures. A list of runs on a side
# are training seeds.

# %%
card = gain.compare(
    "gt.json", baseline, candidate, names=("40% confused", "15% confused"), images=photos,
    bootstrap=200, attribution_bootstrap=50,
)  # fmt: skip
card  # noqa: B018

# %%
print(card)

# %% [markdown]
# Any number of the page stands in `card.content`, which is `gain.json`. The interval of the gain excludes
# 0, and the gain is one of classification: so it was made.

# %%
bbox = card.content["bbox"]
low, high = bbox["metrics"]["AP"]["interval"]
causes = {name: found["gain"] for name, found in bbox["attribution"].items()}
print(f"AP {bbox['metrics']['AP']['gain']:+.1f}, 95% interval {low:+.1f} to {high:+.1f}")
print({name: round(value, 1) for name, value in causes.items()})
assert low > 0
assert max(causes, key=lambda name: causes[name]) == "classification"

# %% [markdown]
# `wsl_det.gain.report.write(card, "report")` writes the files of the command line: `gain.json`, `gain.html`
# and the figures.
