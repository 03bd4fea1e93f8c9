"""The floor: files, config, provenance, processes, logs, seeds, schedules, checkpoints and the one training loop."""
