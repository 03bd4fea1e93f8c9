# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     name: python3
# ---

# %% [markdown]
# # From posts to a backbone, in a training loop of one's own
#
# Posts with hashtags become a vocabulary and shards by two commands. The rest is plain PyTorch: a data set,
# a model, a loop. The trained weights become a backbone that carries its own pixels, for the next loop or
# for a detector.

# %%
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision.models.resnet import Bottleneck, ResNet

import pretrain
import pretrain.vocabulary
import wsl_det
from wsl_det.cli import main as wsl_det_command  # as `wsl-det NAME ...` in a shell

# %% [markdown]
# ## Posts
#
# One JSON line a post: an id, a photo, a caption. Here 96 photos are drawn, of three things.

# %%
rng = np.random.default_rng(0)
THINGS = {"daisy": "gold", "sailboat": "royalblue", "umbrella": "firebrick"}
Path("posts").mkdir(exist_ok=True)
with open("posts/posts.jsonl", "w", encoding="utf-8") as lines:
    for number in range(96):
        name = list(THINGS)[number % 3]
        photo = Image.new("RGB", (96, 96), (200, 210, 200))
        x, y = rng.uniform(5, 45, 2)
        ImageDraw.Draw(photo).ellipse((x, y, x + 45, y + 45), fill=THINGS[name])
        photo.save(f"posts/{number}.jpg")
        post = {"id": f"post{number}", "image": f"{number}.jpg", "caption": f"look at this #{name} #nofilter"}
        lines.write(json.dumps(post) + "\n")

# %% [markdown]
# ## Hashtags to classes, photos to shards

# %%
made_from = ["--posts", "posts/posts.jsonl", "--workers", "1"]
shutil.rmtree(
    "shards", ignore_errors=True
)  # of a run before: a folder that holds something is not written into
wsl_det_command(
    ["build_vocab", *made_from, "--kind", "wordnet", "--min-count", "2", "--output", "vocab.json"]
)
wsl_det_command(
    ["build_shards", *made_from, "--images", "posts", "--vocab", "vocab.json", "--output", "shards"]
)

# %%
vocabulary = pretrain.vocabulary.read("vocab.json")
for entry in vocabulary.classes:
    print(entry.id, entry.name, entry.synsets, entry.hashtags, entry.count)

# %% [markdown]
# ## A data set
#
# A stream is an endless order of draws, a function of seed and place alone; `policy="sqrt"` repeats photos
# of rare classes. The data set on it holds random crops (3, size, size) uint8 RGB and targets (classes,)
# float32, 1/k on each of k tags. The order is shuffled already.

# %%
shards = pretrain.open_shards("shards")
stream = shards.stream(policy="sqrt", seed=0, heldout=0.1)
data = stream.dataset(size=64, epochs=4)
batches = DataLoader(data, batch_size=16, num_workers=0, drop_last=True)
print(f"{len(shards)} photos, {stream.num_images} of them trained on, {len(data)} draws")

# %% [markdown]
# ## A loop

# %%
torch.manual_seed(0)
MEAN = torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1)
STD = torch.tensor([58.395, 57.12, 57.375]).view(1, 3, 1, 1)
model = ResNet(Bottleneck, [1, 1, 1, 1], num_classes=len(vocabulary), groups=2, width_per_group=8)
optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-4)
losses = []
for photos, targets in batches:
    loss = F.cross_entropy(model((photos - MEAN) / STD), targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
first, last, guessing = losses[0], np.mean(losses[-5:]), np.log(len(vocabulary))
print(f"loss {first:.2f} at first, {last:.2f} at last; guessing is {guessing:.2f}")

# %% [markdown]
# ## The backbone
#
# `export_backbone` reads weights under torchvision's names (timm's, Detectron2's, ... too), proves that its
# features are the model's, and writes the certificate beside the file. It says which pixels the weights
# expect: from weights that were trained as long as these, nobody could tell.

# %%
torch.save(model.state_dict(), "trained.pth")
wsl_det_command(["export_backbone", "trained.pth", "backbone.pth", "--convention", "torchvision"])

# %%
backbone = wsl_det.load_backbone(
    "backbone.pth", freeze_at=2
)  # stem and res2 do not train, batch norm is fixed
photos, targets = next(iter(batches))
features = backbone(photos)  # photos as they are: 0 to 255, RGB
print({name: tuple(value.shape) for name, value in features.items()})

# %% [markdown]
# What a detector or one's own head sees is what was trained:

# %%
model.eval()
whole = nn.Sequential(*list(model.children())[:-2])
with torch.no_grad():
    assert torch.allclose(features["res5"], whole((photos - MEAN) / STD), atol=1e-4)

# %% [markdown]
# ## A loop on top of it

# %%
head = nn.Linear(backbone.channels["res5"], len(vocabulary))
learned = [p for p in [*backbone.parameters(), *head.parameters()] if p.requires_grad]
optimizer = torch.optim.SGD(learned, lr=0.01, momentum=0.9)
for photos, targets in batches:
    loss = F.cross_entropy(head(backbone(photos)["res5"].mean((2, 3))), targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"loss {loss.item():.2f}")

# %% [markdown]
# For Mask R-CNN: `wsl-det train_net --config-file mask_rcnn_ig.yaml MODEL.WEIGHTS backbone.pth ...`.
