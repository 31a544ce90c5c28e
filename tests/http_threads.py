"""HTTP servers in a thread of the tests."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer

POLL_S = 0.01


@contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[None]:
    """Lets a server serve in a thread, and closes it at the end."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(POLL_S,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
