"""COCO average precision, equal to pycocotools, from match tables; starts without torch."""
