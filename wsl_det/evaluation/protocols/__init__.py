"""How detections are scored: COCO's way and LVIS's, one file each; ``choose`` finds it by the file."""
