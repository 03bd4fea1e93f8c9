"""A demo data set that the package draws itself: posts with hashtags, and COCO scenes, from one seed."""
