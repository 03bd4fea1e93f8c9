"""Makes modules that many rooms' tests share (browser, chromium, train_runs) importable from all of them.

Every test process computes with one thread: two cores are shared by pytest's own children, and losses of half
precision depend on how sums are split among threads.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
