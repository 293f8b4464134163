"""What every stored view must fulfil, checked in full by the writer and by ``kdcache verify``."""

import numpy as np
from numpy.typing import NDArray

from kdcache.store.encoding import decode
from kdcache.store.features import decode_features
from kdcache.store.head import Planes
from kdcache.store.manifest import TeacherIdentity
from kdcache.store.rows import demand_rows

__all__ = ["check_planes", "has_targets"]


def has_targets(planes_PN: Planes) -> NDArray[np.bool_]:
    """Return which of the N rows have targets."""
    rows_N: NDArray[np.bool_] = planes_PN[0] != np.iinfo(planes_PN.dtype).max
    return rows_N


def check_planes(planes_PN: Planes, teacher: TeacherIdentity) -> None:
    """Check all that holds for the planes (P, N) of one augmentation seed.

    A reader checks what it decodes; what it leaves out, the planes of rows without targets, is checked here, too.

    Raises:
        CorruptChunkError: naming the first row and what is wrong with it.
    """
    if teacher.features_of is not None:
        decode_features(planes_PN, num_features=teacher.top_k)
    else:
        decode(planes_PN, encoding=teacher.encoding, top_k=teacher.top_k, num_classes=teacher.num_classes)
    bad_PN = planes_PN[:, ~has_targets(planes_PN)]
    is_fill_N = np.ones(planes_PN.shape[1], dtype=bool)
    is_fill_N[~has_targets(planes_PN)] = (bad_PN == np.iinfo(planes_PN.dtype).max).all(axis=0)
    demand_rows(is_fill_N, "a row without targets has a plane that is not the fill")
