"""A Ray of this machine alone, as a program: it ends when its standard input does.

``ray_engine`` runs it in a session of its own, so that a signal to the process group of a run does not end the
cluster before the run has said where it stands.
"""

import logging
import sys
from typing import Any

__all__ = ["main"]

_OBJECT_STORE_BYTES = 100 * 2**20
"""Views and logits never leave their actor."""


def main(num_cpus: int) -> None:
    """Start a cluster, print its address and wait for the end of standard input."""
    import ray  # noqa: PLC0415 - an extra

    context: Any = ray.init(
        address="local",
        num_cpus=num_cpus,
        include_dashboard=False,
        object_store_memory=_OBJECT_STORE_BYTES,
        logging_level=logging.ERROR,
        log_to_driver=False,
    )
    sys.stdout.write(f"{context.address_info['gcs_address']}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]))
