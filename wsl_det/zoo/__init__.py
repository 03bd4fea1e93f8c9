"""The published checkpoints: catalogue, verified download, loading."""
