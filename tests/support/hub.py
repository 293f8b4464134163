"""A stand-in for the API of the Hugging Face hub on loopback: dataset repositories, commits and large files.

It speaks real HTTP with the real client, keeps everything in memory, and offers no Xet. Large files lie behind another
port, as on the hub, which takes no tokens.
"""

import contextlib
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

from tests.support.hub_handlers import ApiHandler, FilesHandler
from tests.support.hub_state import READER, WRITER, Hub, Repository, StoredFile

__all__ = ["READER", "WRITER", "Hub", "Repository", "StoredFile", "hub_server"]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """Say nothing: clients are killed on purpose."""


@contextlib.contextmanager
def hub_server() -> Iterator[Hub]:
    """Run an empty hub."""
    hub = Hub()
    servers = [
        _Server(("127.0.0.1", 0), type("Handler", (kind,), {"hub": hub}))
        for kind in (ApiHandler, FilesHandler)
    ]
    hub.endpoint, hub.files_endpoint = (f"http://127.0.0.1:{server.server_address[1]}" for server in servers)
    for server in servers:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
