"""Every key of a pretraining config with its default.

The defaults are the paper's run where docs/paper.md establishes it (336 GPUs of 24 images, BN over
those 24, synchronous SGD, softmax over the vocabulary); what it does not establish is marked
"ours, not the paper's".
"""

from __future__ import annotations

from wsl_det.core.keys import Rule, Tree

_ONE_UP = Rule(1)
_SHARE = Rule(0, 1)
_WIDTH = Rule(1, 4096)

TREE = Tree.declared(
    {
        "DATA": {
            # A folder made by tools/build_shards.py; the one key without which nothing runs.
            "SHARDS": "",
            # hashtags | synsets | shuffled: what is trained on. synsets are true classes (build_shards
            # --truth, --kind folders or cls), shuffled those of other training photos, dealt out by SEED.
            "LABELS": ("hashtags", Rule(choices=("hashtags", "synsets", "shuffled"))),
            # hashtags | synsets: what resampling and noise are computed from, whatever LABELS are.
            "SAMPLE_BY": ("hashtags", Rule(choices=("hashtags", "synsets"))),
            # Share of the posts, by hash of their id, that is never trained on.
            "HELDOUT": (0.02, _SHARE),
            # Verdicts of a duplicate review (tools/find_duplicates.py): images judged copies are left out.
            "VERDICTS": "",
            # Share of the other posts that is trained on, by a hash of id and SEED; 0.01 lies inside 0.03.
            "SUBSET": (1.0, Rule(0, 1, above=True)),
            # Share of the tags trained on that is replaced by others, drawn by how often they occur.
            "LABEL_NOISE": (0.0, _SHARE),
            # natural | sqrt | uniform: max(1, phi(t / f)) for a tag of frequency f, the largest for an image.
            "RESAMPLE": ("sqrt", Rule(choices=("natural", "sqrt", "uniform"))),
            # t; 0 is the median frequency of the tags that occur (ours, not the paper's).
            "RESAMPLE_THRESHOLD": 0.0,
            # Shards read side by side; draws are shuffled within them.
            "SHUFFLE_SHARDS": (16, _ONE_UP),
            "NUM_THREADS": (4, Rule(1, 1024)),  # decoding threads of each process
            "PREFETCH": (2, Rule(0, 1024)),  # batches decoded ahead
            "SKIP_BUDGET": (0.01, _SHARE),  # share of undecodable images, from 1,000 on, that stops the run
            "MAX_PIXELS": (1 << 26, _ONE_UP),  # photos that announce more are skipped undecoded
        },
        "INPUT": {
            "SIZE": (224, Rule(1, 8192)),
            "CROP_AREA": ([0.08, 1.0], Rule(0, 1, above=True, length=(2, 2))),
            "CROP_RATIO": ([3 / 4, 4 / 3], Rule(above=True, length=(2, 2))),
            "FLIP": True,
            # Decode large crops at 1/2, 1/4, 1/8: edges move by at most half a pixel of the result.
            "REDUCED_DECODE": False,
            # auto | on | off: decode only the part of a JPEG that the crop needs, to the same pixels, where
            # libjpeg-turbo 3 is installed (pip install ".[fast]").
            "REGION_DECODE": ("auto", Rule(choices=("auto", "on", "off"))),
            "TEST_RESIZE": (256, Rule(1, 16_384)),  # short side before the centre crop of SIZE
            # RGB on the 0-255 scale; they travel with the weights.
            "PIXEL_MEAN": ([123.675, 116.28, 103.53], Rule(-1e9, length=(3, 3))),
            "PIXEL_STD": ([58.395, 57.12, 57.375], Rule(above=True, length=(3, 3))),
        },
        "MODEL": {
            "DEVICE": "cuda",
            "DEPTH": 101,
            "BLOCKS": (
                [],
                Rule(1, 200, like=[3, 4, 6, 3], length=(0, 4)),
            ),  # four counts; empty: the depth's own
            "GROUPS": (32, _WIDTH),
            "WIDTH_PER_GROUP": (8, _WIDTH),
            "RES2_CHANNELS": (256, Rule(4, 16_384)),
            "BN_GROUP": (24, Rule(1, 1_000_000)),  # images that share BN statistics
            "BN_MOMENTUM": (0.1, _SHARE),  # ours, not the paper's
            "ZERO_INIT_LAST": True,  # ours, not the paper's
            # Switches for speed and memory: the same numbers but for the order of float32 sums.
            "CHANNELS_LAST": False,
            "COMPILE": False,  # torch.compile; needs a compiler, and minutes at the start
            "RECOMPUTE": False,  # residual blocks run again in the backward: less memory, a third more time
        },
        "SOLVER": {
            "IMS_PER_BATCH": (8064, Rule(1, 10_000_000)),  # over all processes
            "TOTAL_IMAGES": (2_000_000_000, Rule(1, 10**15)),  # draws in the whole run; ours, not the paper's
            "BASE_LR": (
                0.1,
                Rule(above=True),
            ),  # for REFERENCE_BATCH images; ours, not the paper's, down to WEIGHT_DECAY_BIAS
            "REFERENCE_BATCH": (256, _ONE_UP),
            "WARMUP_LR": 0.1,
            "WARMUP_UPDATES": 5000,
            "SCHEDULE": ("steps", Rule(choices=("steps", "cosine", "constant"))),
            "NUM_DROPS": (10, Rule(0, 10_000)),
            "DROP_FACTOR": (0.5, _SHARE),
            "COSINE_END": (0.0, _SHARE),
            # Shares of TOTAL_IMAGES after which a checkpoint is kept for good.
            "KEEP_AT": ([], Rule(0, 1, above=True, like=[0.1], length=(0, 100))),
            # A branch of a constant run: it starts from a checkpoint of it (RUN/model_XXXXXXX.pth), and the
            # rate falls to 0 over a further COOL_SHARE of the checkpoint's images.
            "COOL_FROM": "",
            "COOL_SHARE": (0.1, Rule(0, 10, above=True)),
            "MOMENTUM": (0.9, _SHARE),
            "NESTEROV": True,
            "WEIGHT_DECAY": 1e-4,
            "WEIGHT_DECAY_NORM": 1e-4,
            "WEIGHT_DECAY_BIAS": 1e-4,
            "LABEL_SMOOTHING": (0.0, _SHARE),
            # Above 0: the average of the weights, moving by 1 - EMA_DECAY a step, is measured and exported.
            "EMA_DECAY": (0.0, _SHARE),
            "CLIP_NORM": 0.0,  # largest norm of the gradient; 0: not clipped
            "ACCUMULATE": (1, _ONE_UP),  # pieces that each process cuts its part of a batch into
            "AMP": ("none", Rule(choices=("none", "bfloat16", "float16"))),  # none | bfloat16 | float16
            "FUSED": False,  # the optimiser's step in one pass over the memory
            "CHECKPOINT_PERIOD": (1000, _ONE_UP),
            "CHECKPOINTS_KEPT": (3, _ONE_UP),
            "MILESTONE_PERIOD": 0,  # checkpoints after a multiple of this many updates are kept for good
        },
        "TEST": {
            "EVAL_PERIOD": 0,  # updates between measurements of recall; 0: only at the end
            "RECALL_AT": ([1, 5, 10], Rule(1, length=(1, 100))),
            "MAX_IMAGES": 50_000,
            "BATCH": (64, _ONE_UP),
        },
        "LOG_PERIOD": (20, _ONE_UP),
        "SEED": (0, Rule(-(2**63), 2**63 - 1)),
        "OUTPUT_DIR": "",
    }
)

# Keys that came later: no part of a run's identity at their defaults, so that older runs can be resumed.
LATER = frozenset({"DATA.LABELS", "DATA.SAMPLE_BY", "SOLVER.COOL_SHARE"})

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
        "SOLVER.KEEP_AT",
        "SOLVER.COOL_FROM",  # its place in the run stands for it
        "TEST.EVAL_PERIOD",
        "TEST.RECALL_AT",
        "TEST.MAX_IMAGES",
        "TEST.BATCH",
        "LOG_PERIOD",
        "OUTPUT_DIR",
    }
)
