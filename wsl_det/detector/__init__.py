"""Fine-tuning and inference of Mask R-CNN; the engine behind it is chosen in ``engine``."""
