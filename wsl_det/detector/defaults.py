"""Every key of Detectron2's ``get_cfg()`` with its default, and our own keys under ``WSL_DET``.

Names and values are facts of Detectron2 (config/defaults.py at 02b5c4e2); tests compare them with
``tests/golden/d2_defaults.json``, recorded from the real ``get_cfg()``, and with the installed
package when there is one. Sequences are lists here; lists and tuples are interchangeable.
"""

from __future__ import annotations

from typing import Any

from wsl_det.core.keys import Tree
from wsl_det.detector import key_rules

_RPN: dict[str, Any] = {
    "HEAD_NAME": "StandardRPNHead",
    "IN_FEATURES": ["res4"],
    "BOUNDARY_THRESH": -1,
    "IOU_THRESHOLDS": [0.3, 0.7],
    "IOU_LABELS": [0, -1, 1],
    "BATCH_SIZE_PER_IMAGE": 256,
    "POSITIVE_FRACTION": 0.5,
    "BBOX_REG_LOSS_TYPE": "smooth_l1",
    "BBOX_REG_LOSS_WEIGHT": 1.0,
    "BBOX_REG_WEIGHTS": [1.0, 1.0, 1.0, 1.0],
    "SMOOTH_L1_BETA": 0.0,
    "LOSS_WEIGHT": 1.0,
    "PRE_NMS_TOPK_TRAIN": 12000,
    "PRE_NMS_TOPK_TEST": 6000,
    "POST_NMS_TOPK_TRAIN": 2000,
    "POST_NMS_TOPK_TEST": 1000,
    "NMS_THRESH": 0.7,
    "CONV_DIMS": [-1],
}

_ROI_HEADS: dict[str, Any] = {
    "NAME": "Res5ROIHeads",
    "NUM_CLASSES": 80,
    "IN_FEATURES": ["res4"],
    "IOU_THRESHOLDS": [0.5],
    "IOU_LABELS": [0, 1],
    "BATCH_SIZE_PER_IMAGE": 512,
    "POSITIVE_FRACTION": 0.25,
    "SCORE_THRESH_TEST": 0.05,
    "NMS_THRESH_TEST": 0.5,
    "PROPOSAL_APPEND_GT": True,
}

_ROI_BOX_HEAD: dict[str, Any] = {
    "NAME": "",
    "BBOX_REG_LOSS_TYPE": "smooth_l1",
    "BBOX_REG_LOSS_WEIGHT": 1.0,
    "BBOX_REG_WEIGHTS": [10.0, 10.0, 5.0, 5.0],
    "SMOOTH_L1_BETA": 0.0,
    "POOLER_RESOLUTION": 14,
    "POOLER_SAMPLING_RATIO": 0,
    "POOLER_TYPE": "ROIAlignV2",
    "NUM_FC": 0,
    "FC_DIM": 1024,
    "NUM_CONV": 0,
    "CONV_DIM": 256,
    "NORM": "",
    "CLS_AGNOSTIC_BBOX_REG": False,
    "TRAIN_ON_PRED_BOXES": False,
    "USE_FED_LOSS": False,
    "USE_SIGMOID_CE": False,
    "FED_LOSS_FREQ_WEIGHT_POWER": 0.5,
    "FED_LOSS_NUM_CLASSES": 50,
}

_ROI_MASK_HEAD: dict[str, Any] = {
    "NAME": "MaskRCNNConvUpsampleHead",
    "POOLER_RESOLUTION": 14,
    "POOLER_SAMPLING_RATIO": 0,
    "NUM_CONV": 0,
    "CONV_DIM": 256,
    "NORM": "",
    "CLS_AGNOSTIC_MASK": False,
    "POOLER_TYPE": "ROIAlignV2",
}

_ROI_KEYPOINT_HEAD: dict[str, Any] = {
    "NAME": "KRCNNConvDeconvUpsampleHead",
    "POOLER_RESOLUTION": 14,
    "POOLER_SAMPLING_RATIO": 0,
    "CONV_DIMS": [512] * 8,
    "NUM_KEYPOINTS": 17,
    "MIN_KEYPOINTS_PER_IMAGE": 1,
    "NORMALIZE_LOSS_BY_VISIBLE_KEYPOINTS": True,
    "LOSS_WEIGHT": 1.0,
    "POOLER_TYPE": "ROIAlignV2",
}

_OTHER_HEADS: dict[str, Any] = {
    "SEM_SEG_HEAD": {
        "NAME": "SemSegFPNHead",
        "IN_FEATURES": ["p2", "p3", "p4", "p5"],
        "IGNORE_VALUE": 255,
        "NUM_CLASSES": 54,
        "CONVS_DIM": 128,
        "COMMON_STRIDE": 4,
        "NORM": "GN",
        "LOSS_WEIGHT": 1.0,
    },
    "PANOPTIC_FPN": {
        "INSTANCE_LOSS_WEIGHT": 1.0,
        "COMBINE": {
            "ENABLED": True,
            "OVERLAP_THRESH": 0.5,
            "STUFF_AREA_LIMIT": 4096,
            "INSTANCES_CONFIDENCE_THRESH": 0.5,
        },
    },
    "RETINANET": {
        "NUM_CLASSES": 80,
        "IN_FEATURES": ["p3", "p4", "p5", "p6", "p7"],
        "NUM_CONVS": 4,
        "IOU_THRESHOLDS": [0.4, 0.5],
        "IOU_LABELS": [0, -1, 1],
        "PRIOR_PROB": 0.01,
        "SCORE_THRESH_TEST": 0.05,
        "TOPK_CANDIDATES_TEST": 1000,
        "NMS_THRESH_TEST": 0.5,
        "BBOX_REG_WEIGHTS": [1.0, 1.0, 1.0, 1.0],
        "FOCAL_LOSS_GAMMA": 2.0,
        "FOCAL_LOSS_ALPHA": 0.25,
        "SMOOTH_L1_LOSS_BETA": 0.1,
        "BBOX_REG_LOSS_TYPE": "smooth_l1",
        "NORM": "",
    },
}

_RESNETS: dict[str, Any] = {
    "DEPTH": 50,
    "OUT_FEATURES": ["res4"],
    "NUM_GROUPS": 1,
    "NORM": "FrozenBN",
    "WIDTH_PER_GROUP": 64,
    "STRIDE_IN_1X1": True,
    "RES5_DILATION": 1,
    "RES2_OUT_CHANNELS": 256,
    "STEM_OUT_CHANNELS": 64,
    "DEFORM_ON_PER_STAGE": [False, False, False, False],
    "DEFORM_MODULATED": False,
    "DEFORM_NUM_GROUPS": 1,
}

_MODEL: dict[str, Any] = {
    "LOAD_PROPOSALS": False,
    "MASK_ON": False,
    "KEYPOINT_ON": False,
    "DEVICE": "cuda",
    "META_ARCHITECTURE": "GeneralizedRCNN",
    "WEIGHTS": "",
    "PIXEL_MEAN": [103.530, 116.280, 123.675],
    "PIXEL_STD": [1.0, 1.0, 1.0],
    "BACKBONE": {"NAME": "build_resnet_backbone", "FREEZE_AT": 2},
    "FPN": {"IN_FEATURES": [], "OUT_CHANNELS": 256, "NORM": "", "FUSE_TYPE": "sum"},
    "PROPOSAL_GENERATOR": {"NAME": "RPN", "MIN_SIZE": 0},
    "ANCHOR_GENERATOR": {
        "NAME": "DefaultAnchorGenerator",
        "SIZES": [[32, 64, 128, 256, 512]],
        "ASPECT_RATIOS": [[0.5, 1.0, 2.0]],
        "ANGLES": [[-90, 0, 90]],
        "OFFSET": 0.0,
    },
    "RPN": _RPN,
    "ROI_HEADS": _ROI_HEADS,
    "ROI_BOX_HEAD": _ROI_BOX_HEAD,
    "ROI_BOX_CASCADE_HEAD": {
        "BBOX_REG_WEIGHTS": [[10.0, 10.0, 5.0, 5.0], [20.0, 20.0, 10.0, 10.0], [30.0, 30.0, 15.0, 15.0]],
        "IOUS": [0.5, 0.6, 0.7],
    },
    "ROI_MASK_HEAD": _ROI_MASK_HEAD,
    "ROI_KEYPOINT_HEAD": _ROI_KEYPOINT_HEAD,
    **_OTHER_HEADS,
    "RESNETS": _RESNETS,
}

_INPUT: dict[str, Any] = {
    "MIN_SIZE_TRAIN": [800],
    "MIN_SIZE_TRAIN_SAMPLING": "choice",
    "MAX_SIZE_TRAIN": 1333,
    "MIN_SIZE_TEST": 800,
    "MAX_SIZE_TEST": 1333,
    "RANDOM_FLIP": "horizontal",
    "CROP": {"ENABLED": False, "TYPE": "relative_range", "SIZE": [0.9, 0.9]},
    "FORMAT": "BGR",
    "MASK_FORMAT": "polygon",
}

_DATASETS: dict[str, Any] = {
    "TRAIN": [],
    "PROPOSAL_FILES_TRAIN": [],
    "PRECOMPUTED_PROPOSAL_TOPK_TRAIN": 2000,
    "TEST": [],
    "PROPOSAL_FILES_TEST": [],
    "PRECOMPUTED_PROPOSAL_TOPK_TEST": 1000,
}

_DATALOADER: dict[str, Any] = {
    "NUM_WORKERS": 4,
    "ASPECT_RATIO_GROUPING": True,
    "SAMPLER_TRAIN": "TrainingSampler",
    "REPEAT_THRESHOLD": 0.0,
    "REPEAT_SQRT": True,
    "FILTER_EMPTY_ANNOTATIONS": True,
}

_SOLVER: dict[str, Any] = {
    "LR_SCHEDULER_NAME": "WarmupMultiStepLR",
    "MAX_ITER": 40000,
    "BASE_LR": 0.001,
    "BASE_LR_END": 0.0,
    "MOMENTUM": 0.9,
    "NESTEROV": False,
    "WEIGHT_DECAY": 0.0001,
    "WEIGHT_DECAY_NORM": 0.0,
    "GAMMA": 0.1,
    "STEPS": [30000],
    "NUM_DECAYS": 3,
    "WARMUP_FACTOR": 0.001,
    "WARMUP_ITERS": 1000,
    "WARMUP_METHOD": "linear",
    "RESCALE_INTERVAL": False,
    "CHECKPOINT_PERIOD": 5000,
    "IMS_PER_BATCH": 16,
    "REFERENCE_WORLD_SIZE": 0,
    "BIAS_LR_FACTOR": 1.0,
    "WEIGHT_DECAY_BIAS": None,
    "CLIP_GRADIENTS": {"ENABLED": False, "CLIP_TYPE": "value", "CLIP_VALUE": 1.0, "NORM_TYPE": 2.0},
    "AMP": {"ENABLED": False},
}

_TEST: dict[str, Any] = {
    "EXPECTED_RESULTS": [],
    "EVAL_PERIOD": 0,
    "KEYPOINT_OKS_SIGMAS": [],
    "DETECTIONS_PER_IMAGE": 100,
    "AUG": {
        "ENABLED": False,
        "MIN_SIZES": [400, 500, 600, 700, 800, 900, 1000, 1100, 1200],
        "MAX_SIZE": 4000,
        "FLIP": True,
    },
    "PRECISE_BN": {"ENABLED": False, "NUM_ITER": 200},
}

DETECTRON2: dict[str, Any] = {
    "VERSION": 2,
    "MODEL": _MODEL,
    "INPUT": _INPUT,
    "DATASETS": _DATASETS,
    "DATALOADER": _DATALOADER,
    "SOLVER": _SOLVER,
    "TEST": _TEST,
    "OUTPUT_DIR": "./output",
    "SEED": -1,
    "CUDNN_BENCHMARK": False,
    "FLOAT32_PRECISION": "",
    "VIS_PERIOD": 0,
    "GLOBAL": {"HACK": 1.0},
}
"""The keys that stock Detectron2 knows too; shipped detection configs hold nothing else."""

OURS: dict[str, Any] = {
    # Iterations between two lines on the terminal; metrics.jsonl always has every iteration.
    "LOG_PERIOD": 20,
    # Checkpoints kept in OUTPUT_DIR beside model_final.pth; older ones are dropped.
    "KEEP_CHECKPOINTS": 3,
    # Fraction of a data set's images that may be missing or unreadable before the run stops;
    # one image is always forgiven, unless it is 0.
    "BAD_IMAGE_BUDGET": 0.01,
    # What SOLVER.AMP.ENABLED computes in: float16 (as Detectron2) or bfloat16.
    "AMP_DTYPE": "float16",
    # How many learning rates were tried to choose SOLVER.BASE_LR; 0 when it was not swept.
    # The gain report lets BASE_LR differ between sides that record sweeps of one size.
    "LR_SWEEP_SIZE": 0,
    # Speed of the embedded engine at inference, each within a stated tolerance of the plain model
    # (embedded/inference.py); with everything off outputs equal Detectron2's.
    "INFERENCE": {
        # Batch norms in the weights of the convolutions before them.
        "FOLD_BN": False,
        "CHANNELS_LAST": False,
        # Of each detection the mask of its class only.
        "CLASS_MASKS": False,
        # float32, or bfloat16 for all but the last layers.
        "PRECISION": "float32",
    },
}
"""Keys of our own, below ``WSL_DET``; they never stand in shipped detection configs."""

TREE = Tree({**DETECTRON2, "WSL_DET": OURS}, key_rules.RULES, key_rules.GONE)
"""What ``core.config.load`` checks a detection config against."""
