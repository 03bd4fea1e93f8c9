"""Every key of Detectron2's ``get_cfg()`` with its default and rule, and our own keys under ``WSL_DET``.

Names and values are facts of Detectron2 (config/defaults.py at 02b5c4e2); tests compare them with
``tests/golden/d2_defaults.json``, recorded from the real ``get_cfg()``, and with the installed
package when there is one. Sequences are lists; a tuple is a default and within what values have to
lie (of other keys the default tells: ``core.keys``).
"""

from __future__ import annotations

from wsl_det.core.keys import Rule, Tree

_ONE_UP = Rule(1)
_POSITIVE = Rule(above=True)
_SHARE = Rule(0, 1)
# More than any detector has, and few enough that a slip of the hand is told at once.
_CHANNELS = Rule(1, 16_384)
_GROUPS = Rule(1, 4096)
_LAYERS = Rule(0, 64)
_POOLED = Rule(1, 256)
_PIXELS = Rule(1, 100_000)
_CODER = Rule(above=True, length=(4, 4))
_NAMES = Rule(like=[""])

TREE = Tree.declared(
    {
        "VERSION": 2,
        "MODEL": {
            "LOAD_PROPOSALS": False,
            "MASK_ON": False,
            "KEYPOINT_ON": False,
            "DEVICE": "cuda",
            "META_ARCHITECTURE": "GeneralizedRCNN",
            "WEIGHTS": "",
            "PIXEL_MEAN": ([103.530, 116.280, 123.675], Rule(-1e9, length=(3, 3))),
            "PIXEL_STD": ([1.0, 1.0, 1.0], Rule(above=True, length=(3, 3))),
            "BACKBONE": {"NAME": "build_resnet_backbone", "FREEZE_AT": 2},
            "FPN": {
                "IN_FEATURES": ([], _NAMES),
                "OUT_CHANNELS": (256, _CHANNELS),
                "NORM": "",
                "FUSE_TYPE": ("sum", Rule(choices=("sum", "avg"))),
            },
            "PROPOSAL_GENERATOR": {"NAME": "RPN", "MIN_SIZE": 0},
            "ANCHOR_GENERATOR": {
                "NAME": "DefaultAnchorGenerator",
                "SIZES": ([[32, 64, 128, 256, 512]], Rule(above=True, like=[[32.0, 64.0]], length=(1, 100))),
                "ASPECT_RATIOS": ([[0.5, 1.0, 2.0]], Rule(above=True, length=(1, 100))),
                "ANGLES": ([[-90, 0, 90]], Rule(-1e9, like=[[-90.0, 0.0]])),
                "OFFSET": (0.0, _SHARE),
            },
            "RPN": {
                "HEAD_NAME": "StandardRPNHead",
                "IN_FEATURES": (["res4"], Rule(length=(1, 100))),
                "BOUNDARY_THRESH": (-1, Rule(-1)),
                "IOU_THRESHOLDS": [0.3, 0.7],
                "IOU_LABELS": ([0, -1, 1], Rule(-1, 1)),
                "BATCH_SIZE_PER_IMAGE": (256, _ONE_UP),
                "POSITIVE_FRACTION": (0.5, _SHARE),
                "BBOX_REG_LOSS_TYPE": "smooth_l1",
                "BBOX_REG_LOSS_WEIGHT": 1.0,
                "BBOX_REG_WEIGHTS": ([1.0, 1.0, 1.0, 1.0], _CODER),
                "SMOOTH_L1_BETA": 0.0,
                "LOSS_WEIGHT": 1.0,
                "PRE_NMS_TOPK_TRAIN": (12000, _ONE_UP),
                "PRE_NMS_TOPK_TEST": (6000, _ONE_UP),
                "POST_NMS_TOPK_TRAIN": (2000, _ONE_UP),
                "POST_NMS_TOPK_TEST": (1000, _ONE_UP),
                "NMS_THRESH": (0.7, _SHARE),
                "CONV_DIMS": ([-1], Rule(-1, 16_384, length=(1, 64))),
            },
            "ROI_HEADS": {
                "NAME": "Res5ROIHeads",
                "NUM_CLASSES": (80, Rule(1, 100_000)),
                "IN_FEATURES": (["res4"], Rule(length=(1, 100))),
                "IOU_THRESHOLDS": [0.5],
                "IOU_LABELS": ([0, 1], Rule(-1, 1)),
                "BATCH_SIZE_PER_IMAGE": (512, _ONE_UP),
                "POSITIVE_FRACTION": (0.25, _SHARE),
                "SCORE_THRESH_TEST": (0.05, _SHARE),
                "NMS_THRESH_TEST": (0.5, _SHARE),
                "PROPOSAL_APPEND_GT": True,
            },
            "ROI_BOX_HEAD": {
                "NAME": "",
                "BBOX_REG_LOSS_TYPE": "smooth_l1",
                "BBOX_REG_LOSS_WEIGHT": 1.0,
                "BBOX_REG_WEIGHTS": ([10.0, 10.0, 5.0, 5.0], _CODER),
                "SMOOTH_L1_BETA": 0.0,
                "POOLER_RESOLUTION": (14, _POOLED),
                "POOLER_SAMPLING_RATIO": (0, _LAYERS),
                "POOLER_TYPE": "ROIAlignV2",
                "NUM_FC": (0, _LAYERS),
                "FC_DIM": (1024, _CHANNELS),
                "NUM_CONV": (0, _LAYERS),
                "CONV_DIM": (256, _CHANNELS),
                "NORM": "",
                "CLS_AGNOSTIC_BBOX_REG": False,
                "TRAIN_ON_PRED_BOXES": False,
                "USE_FED_LOSS": False,
                "USE_SIGMOID_CE": False,
                "FED_LOSS_FREQ_WEIGHT_POWER": 0.5,
                "FED_LOSS_NUM_CLASSES": 50,
            },
            "ROI_BOX_CASCADE_HEAD": {
                "BBOX_REG_WEIGHTS": [
                    [10.0, 10.0, 5.0, 5.0],
                    [20.0, 20.0, 10.0, 10.0],
                    [30.0, 30.0, 15.0, 15.0],
                ],
                "IOUS": [0.5, 0.6, 0.7],
            },
            "ROI_MASK_HEAD": {
                "NAME": "MaskRCNNConvUpsampleHead",
                "POOLER_RESOLUTION": (14, _POOLED),
                "POOLER_SAMPLING_RATIO": (0, _LAYERS),
                "NUM_CONV": (0, _LAYERS),
                "CONV_DIM": (256, _CHANNELS),
                "NORM": "",
                "CLS_AGNOSTIC_MASK": False,
                "POOLER_TYPE": "ROIAlignV2",
            },
            "ROI_KEYPOINT_HEAD": {
                "NAME": "KRCNNConvDeconvUpsampleHead",
                "POOLER_RESOLUTION": 14,
                "POOLER_SAMPLING_RATIO": 0,
                "CONV_DIMS": [512] * 8,
                "NUM_KEYPOINTS": 17,
                "MIN_KEYPOINTS_PER_IMAGE": 1,
                "NORMALIZE_LOSS_BY_VISIBLE_KEYPOINTS": True,
                "LOSS_WEIGHT": 1.0,
                "POOLER_TYPE": "ROIAlignV2",
            },
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
                "IOU_LABELS": ([0, -1, 1], Rule(-1, 1)),
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
            "RESNETS": {
                "DEPTH": 50,
                "OUT_FEATURES": ["res4"],
                "NUM_GROUPS": (1, _GROUPS),
                "NORM": "FrozenBN",
                "WIDTH_PER_GROUP": (64, _GROUPS),
                "STRIDE_IN_1X1": True,
                "RES5_DILATION": (1, Rule(1, 2)),
                "RES2_OUT_CHANNELS": (256, _CHANNELS),
                "STEM_OUT_CHANNELS": (64, _CHANNELS),
                "DEFORM_ON_PER_STAGE": ([False, False, False, False], Rule(length=(4, 4))),
                "DEFORM_MODULATED": False,
                "DEFORM_NUM_GROUPS": 1,
            },
            # Ours, of timm_*.yaml; d2.register.add_config gives them to stock Detectron2.
            "TIMM": {
                # A model of timm's with its tag.
                "NAME": "",
                # Some of res2 to res5 (strides 4 to 32); empty: all that the model has.
                "OUT_FEATURES": ([], _NAMES),
                # timm's groups of layers that do not learn, the stem first.
                "FREEZE_AT": 0,
                # auto: frozen where the weights' batch norms are trained or folded.
                "FREEZE_NORM": ("auto", Rule(choices=("auto", "True", "False"))),
                "DROP_PATH": (0.0, _SHARE),
                "CHECKPOINTING": False,
            },
        },
        "INPUT": {
            "MIN_SIZE_TRAIN": ([800], Rule(0, 100_000, length=(1, 1000))),
            "MIN_SIZE_TRAIN_SAMPLING": ("choice", Rule(choices=("choice", "range"))),
            "MAX_SIZE_TRAIN": (1333, _PIXELS),
            "MIN_SIZE_TEST": (800, Rule(0, 100_000)),
            "MAX_SIZE_TEST": (1333, _PIXELS),
            "RANDOM_FLIP": ("horizontal", Rule(choices=("horizontal", "vertical", "none"))),
            "CROP": {
                "ENABLED": False,
                "TYPE": (
                    "relative_range",
                    Rule(choices=("relative", "relative_range", "absolute", "absolute_range")),
                ),
                "SIZE": ([0.9, 0.9], Rule(above=True, length=(2, 2))),
            },
            "FORMAT": ("BGR", Rule(choices=("BGR", "RGB"))),
            "MASK_FORMAT": ("polygon", Rule(choices=("polygon", "bitmask"))),
        },
        "DATASETS": {
            "TRAIN": ([], _NAMES),
            "PROPOSAL_FILES_TRAIN": ([], _NAMES),
            "PRECOMPUTED_PROPOSAL_TOPK_TRAIN": 2000,
            "TEST": ([], _NAMES),
            "PROPOSAL_FILES_TEST": ([], _NAMES),
            "PRECOMPUTED_PROPOSAL_TOPK_TEST": 1000,
        },
        "DATALOADER": {
            "NUM_WORKERS": (4, Rule(0, 1024)),
            "ASPECT_RATIO_GROUPING": True,
            "SAMPLER_TRAIN": (
                "TrainingSampler",
                Rule(choices=("TrainingSampler", "RepeatFactorTrainingSampler")),
            ),
            "REPEAT_THRESHOLD": 0.0,
            "REPEAT_SQRT": True,
            "FILTER_EMPTY_ANNOTATIONS": True,
        },
        "SOLVER": {
            "LR_SCHEDULER_NAME": (
                "WarmupMultiStepLR",
                Rule(choices=("WarmupMultiStepLR", "WarmupCosineLR", "WarmupStepWithFixedGammaLR")),
            ),
            "MAX_ITER": (40000, _ONE_UP),
            "BASE_LR": (0.001, _POSITIVE),
            "BASE_LR_END": 0.0,
            "MOMENTUM": (0.9, _SHARE),
            "NESTEROV": False,
            "WEIGHT_DECAY": 0.0001,
            "WEIGHT_DECAY_NORM": (0.0, Rule(like=0.0, none=True)),
            "GAMMA": (0.1, _POSITIVE),
            "STEPS": ([30000], _ONE_UP),
            "NUM_DECAYS": (3, Rule(1, 10_000)),
            "WARMUP_FACTOR": 0.001,
            "WARMUP_ITERS": 1000,
            "WARMUP_METHOD": ("linear", Rule(choices=("linear", "constant"))),
            "RESCALE_INTERVAL": False,
            "CHECKPOINT_PERIOD": (5000, _ONE_UP),
            "IMS_PER_BATCH": (16, Rule(1, 1_000_000)),
            "REFERENCE_WORLD_SIZE": 0,
            "BIAS_LR_FACTOR": 1.0,
            "WEIGHT_DECAY_BIAS": (None, Rule(like=0.0, none=True)),
            "CLIP_GRADIENTS": {
                "ENABLED": False,
                "CLIP_TYPE": ("value", Rule(choices=("value", "norm"))),
                "CLIP_VALUE": (1.0, _POSITIVE),
                "NORM_TYPE": (2.0, Rule(above=True, infinite=True)),
            },
            "AMP": {"ENABLED": False},
            # Ours: Detectron2's trainer knows SGD alone; see d2.register.build_optimizer.
            "OPTIMIZER": ("SGD", Rule(choices=("SGD", "ADAMW"))),
            # timm's: the rate of a layer of the trunk is so many times that of the layer behind it.
            "LAYER_DECAY": (1.0, Rule(0, 1, above=True)),
        },
        "TEST": {
            "EXPECTED_RESULTS": ([], Rule(like=[["bbox", "AP", 38.5, 0.2]])),
            "EVAL_PERIOD": 0,
            "KEYPOINT_OKS_SIGMAS": ([], Rule(like=[0.1])),
            "DETECTIONS_PER_IMAGE": (100, Rule(-1)),
            "AUG": {
                "ENABLED": False,
                "MIN_SIZES": [400, 500, 600, 700, 800, 900, 1000, 1100, 1200],
                "MAX_SIZE": 4000,
                "FLIP": True,
            },
            "PRECISE_BN": {"ENABLED": False, "NUM_ITER": 200},
        },
        "OUTPUT_DIR": ("./output", Rule(length=(1, 4000))),
        "SEED": (-1, Rule(-(2**63), 2**63 - 1)),
        "CUDNN_BENCHMARK": False,
        "FLOAT32_PRECISION": ("", Rule(choices=("", "highest", "high", "medium"))),
        "VIS_PERIOD": 0,
        "GLOBAL": {"HACK": (1.0, Rule(-1e9))},
        # Keys of our own; they never stand in shipped detection configs, which stock Detectron2 reads too.
        "WSL_DET": {
            # Iterations between two lines on the terminal; metrics.jsonl always has every iteration.
            "LOG_PERIOD": (20, _ONE_UP),
            # Checkpoints kept in OUTPUT_DIR beside model_final.pth; older ones are dropped.
            "KEEP_CHECKPOINTS": (3, _ONE_UP),
            # Fraction of a data set's images that may be missing or unreadable before the run stops;
            # one image is always forgiven, unless it is 0.
            "BAD_IMAGE_BUDGET": (0.01, _SHARE),
            # What SOLVER.AMP.ENABLED computes in: float16 (as Detectron2) or bfloat16.
            "AMP_DTYPE": ("float16", Rule(choices=("float16", "bfloat16"))),
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
                "PRECISION": ("float32", Rule(choices=("float32", "bfloat16"))),
            },
        },
    },
    gone={"WSL_DET.INFERENCE.WINOGRAD": "detections are the same to 5e-5 of the features without it"},
)
"""What ``core.config.load`` checks a detection config against."""

NOT_DETECTRON2S = ("MODEL.TIMM.", "SOLVER.OPTIMIZER", "SOLVER.LAYER_DECAY", "WSL_DET.")
"""Keys that stock Detectron2 lacks; ``d2.register.add_config`` gives it all but the last."""
