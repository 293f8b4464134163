"""What holds for all tests."""

from hypothesis import settings

# How long an example takes is no property of the code on a machine that others use, too.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
