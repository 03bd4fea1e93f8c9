"""Checked photos in WebDataset tars, written or adopted, with an index for random access."""
