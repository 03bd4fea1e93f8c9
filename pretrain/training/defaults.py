"""Every key of a pretraining config with its default.

The defaults are the paper's run where facts.md establishes it (336 GPUs of 24 images, BN over
those 24, synchronous SGD, softmax over the vocabulary); what it does not establish is marked
"ours, not the paper's".
"""

from __future__ import annotations

from typing import Any

from wsl_det.core.keys import Rule, Tree

_TREE: dict[str, Any] = {
    "DATA": {
        # A folder made by tools/build_shards.py; the one key without which nothing runs.
        "SHARDS": "",
        # Share of the posts, by hash of their id, that is never trained on.
        "HELDOUT": 0.02,
        # Verdicts of a duplicate review (tools/find_duplicates.py): images judged copies are not trained on.
        "VERDICTS": "",
        # Share of the other posts that is trained on, by a hash of id and SEED; 0.01 lies inside 0.03.
        "SUBSET": 1.0,
        # Share of the tags trained on that is replaced by others, drawn by how often they occur.
        "LABEL_NOISE": 0.0,
        # natural | sqrt | uniform: max(1, phi(t / f)) for a tag of frequency f, the largest for an image.
        "RESAMPLE": "sqrt",
        # t; 0 is the median frequency of the tags that occur (ours, not the paper's).
        "RESAMPLE_THRESHOLD": 0.0,
        # Shards read side by side; draws are shuffled within them.
        "SHUFFLE_SHARDS": 16,
        "NUM_THREADS": 4,  # decoding threads of each process
        "PREFETCH": 2,  # batches decoded ahead
        "SKIP_BUDGET": 0.01,  # share of undecodable images, from 1,000 on, that stops the run
        "MAX_PIXELS": 1 << 26,  # photos that announce more are skipped undecoded
    },
    "INPUT": {
        "SIZE": 224,
        "CROP_AREA": [0.08, 1.0],
        "CROP_RATIO": [3 / 4, 4 / 3],
        "FLIP": True,
        # Decode large crops at 1/2, 1/4, 1/8: edges move by at most half a pixel of the result.
        "REDUCED_DECODE": False,
        # auto | on | off: decode only the part of a JPEG that the crop needs, to the same pixels, where
        # libjpeg-turbo 3 is installed (pip install ".[fast]").
        "REGION_DECODE": "auto",
        "TEST_RESIZE": 256,  # short side before the centre crop of SIZE
        # RGB on the 0-255 scale; they travel with the weights.
        "PIXEL_MEAN": [123.675, 116.28, 103.53],
        "PIXEL_STD": [58.395, 57.12, 57.375],
    },
    "MODEL": {
        "DEVICE": "cuda",
        "DEPTH": 101,
        "BLOCKS": [],  # four counts; empty: the depth's own
        "GROUPS": 32,
        "WIDTH_PER_GROUP": 8,
        "RES2_CHANNELS": 256,
        "BN_GROUP": 24,  # images that share BN statistics
        "BN_MOMENTUM": 0.1,  # ours, not the paper's
        "ZERO_INIT_LAST": True,  # ours, not the paper's
        # Switches for speed and memory: the same numbers but for the order of float32 sums.
        "CHANNELS_LAST": False,
        "COMPILE": False,  # torch.compile; needs a compiler, and minutes at the start
        "RECOMPUTE": False,  # residual blocks run again in the backward: less memory, a third more time
    },
    "SOLVER": {
        "IMS_PER_BATCH": 8064,  # over all processes
        "TOTAL_IMAGES": 2_000_000_000,  # draws in the whole run; ours, not the paper's
        "BASE_LR": 0.1,  # for REFERENCE_BATCH images; ours, not the paper's, down to WEIGHT_DECAY_BIAS
        "REFERENCE_BATCH": 256,
        "WARMUP_LR": 0.1,
        "WARMUP_UPDATES": 5000,
        "SCHEDULE": "steps",  # steps | cosine
        "NUM_DROPS": 10,
        "DROP_FACTOR": 0.5,
        "COSINE_END": 0.0,
        "MOMENTUM": 0.9,
        "NESTEROV": True,
        "WEIGHT_DECAY": 1e-4,
        "WEIGHT_DECAY_NORM": 1e-4,
        "WEIGHT_DECAY_BIAS": 1e-4,
        "LABEL_SMOOTHING": 0.0,
        # Above 0: the average of the weights, moving by 1 - EMA_DECAY a step, is measured and exported.
        "EMA_DECAY": 0.0,
        "CLIP_NORM": 0.0,  # largest norm of the gradient; 0: not clipped
        "ACCUMULATE": 1,  # pieces that each process cuts its part of a batch into
        "AMP": "none",  # none | bfloat16 | float16
        "FUSED": False,  # the optimiser's step in one pass over the memory
        "CHECKPOINT_PERIOD": 1000,
        "CHECKPOINTS_KEPT": 3,
        "MILESTONE_PERIOD": 0,  # checkpoints after a multiple of this many updates are kept for good
    },
    "TEST": {
        "EVAL_PERIOD": 0,  # updates between measurements of recall; 0: only at the end
        "RECALL_AT": [1, 5, 10],
        "MAX_IMAGES": 50_000,
        "BATCH": 64,
    },
    "LOG_PERIOD": 20,
    "SEED": 0,
    "OUTPUT_DIR": "",
}

_ONE_UP = Rule(1)
_SHARE = Rule(0, 1)
_WIDTH = Rule(1, 4096)
_RULES = {
    "DATA.HELDOUT": _SHARE,
    "DATA.SUBSET": Rule(0, 1, above=True),
    "DATA.LABEL_NOISE": _SHARE,
    "DATA.RESAMPLE": Rule(choices=("natural", "sqrt", "uniform")),
    "DATA.SHUFFLE_SHARDS": _ONE_UP,
    "DATA.NUM_THREADS": Rule(1, 1024),
    "DATA.PREFETCH": Rule(0, 1024),
    "DATA.SKIP_BUDGET": _SHARE,
    "DATA.MAX_PIXELS": _ONE_UP,
    "INPUT.SIZE": Rule(1, 8192),
    "INPUT.CROP_AREA": Rule(0, 1, above=True, length=(2, 2)),
    "INPUT.CROP_RATIO": Rule(above=True, length=(2, 2)),
    "INPUT.REGION_DECODE": Rule(choices=("auto", "on", "off")),
    "INPUT.TEST_RESIZE": Rule(1, 16_384),
    "INPUT.PIXEL_MEAN": Rule(-1e9, length=(3, 3)),
    "INPUT.PIXEL_STD": Rule(above=True, length=(3, 3)),
    "MODEL.BLOCKS": Rule(1, 200, like=[3, 4, 6, 3], length=(0, 4)),
    "MODEL.GROUPS": _WIDTH,
    "MODEL.WIDTH_PER_GROUP": _WIDTH,
    "MODEL.RES2_CHANNELS": Rule(4, 16_384),
    "MODEL.BN_GROUP": Rule(1, 1_000_000),
    "MODEL.BN_MOMENTUM": _SHARE,
    "SOLVER.IMS_PER_BATCH": Rule(1, 10_000_000),
    "SOLVER.TOTAL_IMAGES": Rule(1, 10**15),
    "SOLVER.BASE_LR": Rule(above=True),
    "SOLVER.REFERENCE_BATCH": _ONE_UP,
    "SOLVER.SCHEDULE": Rule(choices=("steps", "cosine")),
    "SOLVER.NUM_DROPS": Rule(0, 10_000),
    "SOLVER.DROP_FACTOR": _SHARE,
    "SOLVER.COSINE_END": _SHARE,
    "SOLVER.MOMENTUM": _SHARE,
    "SOLVER.LABEL_SMOOTHING": _SHARE,
    "SOLVER.EMA_DECAY": _SHARE,
    "SOLVER.ACCUMULATE": _ONE_UP,
    "SOLVER.AMP": Rule(choices=("none", "bfloat16", "float16")),
    "SOLVER.CHECKPOINT_PERIOD": _ONE_UP,
    "SOLVER.CHECKPOINTS_KEPT": _ONE_UP,
    "TEST.RECALL_AT": Rule(1, length=(1, 100)),
    "TEST.BATCH": _ONE_UP,
    "LOG_PERIOD": _ONE_UP,
    "SEED": Rule(-(2**63), 2**63 - 1),
}
TREE = Tree(_TREE, _RULES)

# Keys that change neither the sample stream nor the arithmetic: a resumed run may set them anew.
FREE_ON_RESUME = frozenset(
    {
        "DATA.SHARDS",  # the data set's hash stands for it
        "DATA.VERDICTS",  # and the verdicts' hash for them
        "DATA.NUM_THREADS",
        "DATA.PREFETCH",
        "DATA.SKIP_BUDGET",
        "INPUT.REGION_DECODE",  # the pixels are the same
        "MODEL.DEVICE",
        "SOLVER.CHECKPOINT_PERIOD",
        "SOLVER.CHECKPOINTS_KEPT",
        "SOLVER.MILESTONE_PERIOD",
        "TEST.EVAL_PERIOD",
        "TEST.RECALL_AT",
        "TEST.MAX_IMAGES",
        "TEST.BATCH",
        "LOG_PERIOD",
        "OUTPUT_DIR",
    }
)
