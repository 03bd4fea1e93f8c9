"""Within what the values of detection keys have to lie; of other keys the default tells (``core.keys``)."""

from __future__ import annotations

from wsl_det.core.keys import Rule

_ONE_UP = Rule(1)
_POSITIVE = Rule(above=True)
_SHARE = Rule(0, 1)
_ANY = Rule(-1e9)
_SEED = Rule(-(2**63), 2**63 - 1)
# More than any detector has, and few enough that a slip of the hand is told at once.
_CHANNELS = Rule(1, 16_384)
_GROUPS = Rule(1, 4096)
_LAYERS = Rule(0, 64)
_POOLED = Rule(1, 256)
_PIXELS = Rule(1, 100_000)
_CODER = Rule(above=True, length=(4, 4))
_NAMES = Rule(like=[""])

_MODEL = {
    "MODEL.PIXEL_MEAN": Rule(-1e9, length=(3, 3)),
    "MODEL.PIXEL_STD": Rule(above=True, length=(3, 3)),
    "MODEL.FPN.IN_FEATURES": _NAMES,
    "MODEL.FPN.OUT_CHANNELS": _CHANNELS,
    "MODEL.FPN.FUSE_TYPE": Rule(choices=("sum", "avg")),
    "MODEL.ANCHOR_GENERATOR.SIZES": Rule(above=True, like=[[32.0, 64.0]], length=(1, 100)),
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": Rule(above=True, length=(1, 100)),
    "MODEL.ANCHOR_GENERATOR.ANGLES": Rule(-1e9, like=[[-90.0, 0.0]]),
    "MODEL.ANCHOR_GENERATOR.OFFSET": _SHARE,
    "MODEL.RPN.IN_FEATURES": Rule(length=(1, 100)),
    "MODEL.RPN.BOUNDARY_THRESH": Rule(-1),
    "MODEL.RPN.IOU_LABELS": Rule(-1, 1),
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": _ONE_UP,
    "MODEL.RPN.POSITIVE_FRACTION": _SHARE,
    "MODEL.RPN.BBOX_REG_WEIGHTS": _CODER,
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": _ONE_UP,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": _ONE_UP,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": _ONE_UP,
    "MODEL.RPN.POST_NMS_TOPK_TEST": _ONE_UP,
    "MODEL.RPN.NMS_THRESH": _SHARE,
    "MODEL.RPN.CONV_DIMS": Rule(-1, 16_384, length=(1, 64)),
    "MODEL.ROI_HEADS.NUM_CLASSES": Rule(1, 100_000),
    "MODEL.ROI_HEADS.IN_FEATURES": Rule(length=(1, 100)),
    "MODEL.ROI_HEADS.IOU_LABELS": Rule(-1, 1),
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": _ONE_UP,
    "MODEL.ROI_HEADS.POSITIVE_FRACTION": _SHARE,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": _SHARE,
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": _SHARE,
    "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": _CODER,
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": _POOLED,
    "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": _LAYERS,
    "MODEL.ROI_BOX_HEAD.NUM_FC": _LAYERS,
    "MODEL.ROI_BOX_HEAD.FC_DIM": _CHANNELS,
    "MODEL.ROI_BOX_HEAD.NUM_CONV": _LAYERS,
    "MODEL.ROI_BOX_HEAD.CONV_DIM": _CHANNELS,
    "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": _POOLED,
    "MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO": _LAYERS,
    "MODEL.ROI_MASK_HEAD.NUM_CONV": _LAYERS,
    "MODEL.ROI_MASK_HEAD.CONV_DIM": _CHANNELS,
    "MODEL.RETINANET.IOU_LABELS": Rule(-1, 1),
    "MODEL.RESNETS.NUM_GROUPS": _GROUPS,
    "MODEL.RESNETS.WIDTH_PER_GROUP": _GROUPS,
    "MODEL.RESNETS.RES5_DILATION": Rule(1, 2),
    "MODEL.RESNETS.RES2_OUT_CHANNELS": _CHANNELS,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": _CHANNELS,
    "MODEL.RESNETS.DEFORM_ON_PER_STAGE": Rule(length=(4, 4)),
}

_DATA = {
    "INPUT.MIN_SIZE_TRAIN": Rule(0, 100_000, length=(1, 1000)),
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": Rule(choices=("choice", "range")),
    "INPUT.MAX_SIZE_TRAIN": _PIXELS,
    "INPUT.MIN_SIZE_TEST": Rule(0, 100_000),
    "INPUT.MAX_SIZE_TEST": _PIXELS,
    "INPUT.RANDOM_FLIP": Rule(choices=("horizontal", "vertical", "none")),
    "INPUT.CROP.TYPE": Rule(choices=("relative", "relative_range", "absolute", "absolute_range")),
    "INPUT.CROP.SIZE": Rule(above=True, length=(2, 2)),
    "INPUT.FORMAT": Rule(choices=("BGR", "RGB")),
    "INPUT.MASK_FORMAT": Rule(choices=("polygon", "bitmask")),
    "DATASETS.TRAIN": _NAMES,
    "DATASETS.TEST": _NAMES,
    "DATASETS.PROPOSAL_FILES_TRAIN": _NAMES,
    "DATASETS.PROPOSAL_FILES_TEST": _NAMES,
    "DATALOADER.NUM_WORKERS": Rule(0, 1024),
    "DATALOADER.SAMPLER_TRAIN": Rule(choices=("TrainingSampler", "RepeatFactorTrainingSampler")),
}

_RUN = {
    "SOLVER.LR_SCHEDULER_NAME": Rule(
        choices=("WarmupMultiStepLR", "WarmupCosineLR", "WarmupStepWithFixedGammaLR")
    ),
    "SOLVER.MAX_ITER": _ONE_UP,
    "SOLVER.BASE_LR": _POSITIVE,
    "SOLVER.MOMENTUM": _SHARE,
    "SOLVER.GAMMA": _POSITIVE,
    "SOLVER.STEPS": _ONE_UP,
    "SOLVER.NUM_DECAYS": Rule(1, 10_000),
    "SOLVER.WARMUP_METHOD": Rule(choices=("linear", "constant")),
    "SOLVER.CHECKPOINT_PERIOD": _ONE_UP,
    "SOLVER.IMS_PER_BATCH": Rule(1, 1_000_000),
    "SOLVER.WEIGHT_DECAY_NORM": Rule(like=0.0, none=True),
    "SOLVER.WEIGHT_DECAY_BIAS": Rule(like=0.0, none=True),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": Rule(choices=("value", "norm")),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": _POSITIVE,
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": Rule(above=True, infinite=True),
    "TEST.EXPECTED_RESULTS": Rule(like=[["bbox", "AP", 38.5, 0.2]]),
    "TEST.KEYPOINT_OKS_SIGMAS": Rule(like=[0.1]),
    "TEST.DETECTIONS_PER_IMAGE": Rule(-1),
    "OUTPUT_DIR": Rule(length=(1, 4000)),
    "SEED": _SEED,
    "FLOAT32_PRECISION": Rule(choices=("", "highest", "high", "medium")),
    "GLOBAL.HACK": _ANY,
}

_OURS = {
    "WSL_DET.LOG_PERIOD": _ONE_UP,
    "WSL_DET.KEEP_CHECKPOINTS": _ONE_UP,
    "WSL_DET.BAD_IMAGE_BUDGET": _SHARE,
    "WSL_DET.AMP_DTYPE": Rule(choices=("float16", "bfloat16")),
    "WSL_DET.INFERENCE.PRECISION": Rule(choices=("float32", "bfloat16")),
}

RULES: dict[str, Rule] = {**_MODEL, **_DATA, **_RUN, **_OURS}

GONE = {"WSL_DET.INFERENCE.WINOGRAD": "detections are the same to 5e-5 of the features without it"}
