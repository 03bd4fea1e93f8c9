"""Real Detectron2 behind the engine interface; the only place that imports it."""
