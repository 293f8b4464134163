"""What loader processes need of the machine before they are started."""

import os
import tempfile
from typing import Final

from kdcache.errors import ConfigError

__all__ = ["demand_room_for_sockets"]

_LONGEST_ADDRESS: Final = 107
_NAME_BELOW: Final = len("/pymp-12345678/listener-12345678")


def demand_room_for_sockets(processes: int) -> None:
    """Refuse a temporary folder whose name is too long for the sockets by which processes hand over their batches.

    multiprocessing makes them there, and a loader process that cannot make one says so on stderr and goes on: whoever
    waits for its batch would wait for ever.

    Raises:
        ConfigError: it is too long, and there are to be processes.
    """
    folder = tempfile.gettempdir()
    room = _LONGEST_ADDRESS - _NAME_BELOW
    if processes and len(os.fsencode(folder)) > room:
        raise ConfigError(
            f"the temporary folder {folder} has a name of {len(os.fsencode(folder))} bytes, but loader processes can "
            f"hand over batches only below one of at most {room}; set TMPDIR to a shorter one, or work without them "
            "(--workers 0 in training, --readers 0 in stage one)"
        )
