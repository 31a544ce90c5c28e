"""What the handlers of one master share."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pykaldi_server.master.options import MasterOptions
from pykaldi_server.master.pool import WorkerPool

if TYPE_CHECKING:
    from pykaldi_server.master.live_socket import LiveSocket
    from pykaldi_server.master.worker_socket import WorkerSocket


@dataclass
class Hub:
    """State of a master. It lives as long as the master and is touched by its event loop only.

    Attributes:
        options: settings.
        pool: connected workers.
        sockets: every open WebSocket, to be closed at shutdown.
    """

    options: MasterOptions
    pool: "WorkerPool[WorkerSocket]" = field(default_factory=WorkerPool)
    sockets: "set[LiveSocket]" = field(default_factory=set)
