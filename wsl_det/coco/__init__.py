"""One strict reader of COCO and LVIS annotation files, for training, evaluation, duplicates and studies."""
