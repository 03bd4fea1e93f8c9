"""Our Mask R-CNN with Detectron2's parameter names and numerics, for machines without Detectron2."""
