"""What holds for all tests."""

import os

from hypothesis import settings

# Tests run side by side; threads of several would wait for each other's cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes is no property of the code on a machine that others use, too.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
