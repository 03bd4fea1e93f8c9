"""Makes the modules that several rooms' tests share (browser, train_runs) importable from all of them."""
