"""A stand-in for the API of the Hugging Face hub on loopback: dataset repositories, commits and large files.

It speaks real HTTP with the real client, keeps everything in memory, and offers no Xet. Large files lie behind another
port, as on the hub, which takes no tokens.
"""

import contextlib
from collections.abc import Iterator

from tests.support.hub_handlers import ApiHandler, FilesHandler
from tests.support.hub_state import READER, WRITER, Hub, Repository, StoredFile
from tests.support.servers import QuietServer, serving

__all__ = ["READER", "WRITER", "Hub", "Repository", "StoredFile", "hub_server"]


@contextlib.contextmanager
def hub_server() -> Iterator[Hub]:
    """Run an empty hub."""
    hub = Hub()
    api, files = (
        QuietServer(("127.0.0.1", 0), type("Handler", (kind,), {"hub": hub}))
        for kind in (ApiHandler, FilesHandler)
    )
    with serving(api) as hub.endpoint, serving(files) as hub.files_endpoint:
        yield hub
