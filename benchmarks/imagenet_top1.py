"""Top-1 accuracy of torchvision-named ResNe(X)t weights on a folder of class folders (wnids).

    python benchmarks/imagenet_top1.py WEIGHTS.pth PHOTOS            # resize 256, centre crop 224
    python benchmarks/imagenet_top1.py WEIGHTS.pth PHOTOS --whole    # the whole photo at its stored size

The model is torchvision's or timm's, not ours. Class i is the i-th folder name in sorted order.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from wsl_det.backbone import reference, sources
from wsl_det.core import checkpoint, log


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--whole", action="store_true", help="no resize and no crop; photos go one by one")
    args = parser.parse_args()
    args.batch = 1 if args.whole else args.batch
    classes = sorted(p.name for p in args.photos.iterdir() if p.is_dir())
    photos = [(path, i) for i, name in enumerate(classes) for path in sorted((args.photos / name).iterdir())]
    source = sources.read(args.weights, expect="any")
    model, maker = reference.build(source.arch, source.originals, stride_in_1x1=False)
    head = checkpoint.load_weights(args.weights)
    right = 0
    batches = [photos[i : i + args.batch] for i in range(0, len(photos), args.batch)]
    for batch in log.progress(batches, len(batches), "batches"):
        images = torch.stack([read(path, args.whole) for path, _ in batch])
        with torch.no_grad():
            pooled = reference.features(model, images)["res5"].mean((2, 3))
            chosen = torch.nn.functional.linear(pooled, head["fc.weight"], head["fc.bias"]).argmax(1)
        right += int((chosen == torch.tensor([label for _, label in batch])).sum())
    print(f"{maker}: top-1 {100 * right / len(photos):.1f}% ({right} of {len(photos)} photos)")
    return 0


def read(path: Path, whole: bool) -> torch.Tensor:
    from PIL import Image
    from torchvision.transforms import functional as F

    image = Image.open(path).convert("RGB")
    if not whole:
        image = F.center_crop(F.resize(image, 256), 224)
    return F.normalize(F.to_tensor(image), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


if __name__ == "__main__":
    sys.exit(main())
