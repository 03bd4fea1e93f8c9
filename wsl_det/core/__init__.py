"""The floor: files, config, provenance, processes, logs, seeds, schedules, checkpoints, the training loop."""
