"""Makes modules that many rooms' tests share (browser, chromium, train_runs) importable from all of them."""
