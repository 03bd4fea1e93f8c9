"""Pretraining: model, loss, solver, plan, the run, the exported backbone."""
