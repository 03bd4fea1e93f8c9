"""What changed between two detectors, by how much, and how sure; starts without torch."""
