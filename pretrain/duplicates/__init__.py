"""Which test images were seen in training: descriptors, exact search, calibration, a page to review."""
