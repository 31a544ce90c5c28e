"""Users' corrections of what was recognised: one JSON object a line, appended, never rewritten."""

import asyncio
import errno
import fcntl
import json
import logging
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from pykaldi_server.errors import ConfigError
from pykaldi_server.master.access.access import Part
from pykaldi_server.master.endpoints.upload import CorsHandler
from pykaldi_server.master.hub import Hub
from pykaldi_server.protocols.gstreamer import RequestInfo

__all__ = ["Reference", "ReferenceHandler", "append_reference", "check_writable"]

logger = logging.getLogger(__name__)

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class Reference:
    """What a user says was really said.

    Attributes:
        content_id: the content id of the request that this corrects.
        user_id: who says it.
        content: the right text.
        time: when it came, local time.
    """

    content_id: str
    user_id: str
    content: str
    time: str = field(default_factory=lambda: datetime.now().strftime("%Y-%m-%dT%H:%M:%S"))


def append_reference(path: Path, reference: Reference) -> None:
    """Appends a line: a whole one or, if the disk is full, none. Several masters may share the file.

    Raises:
        OSError: it cannot be written; the file is as it was.
    """
    line = (json.dumps(asdict(reference), ensure_ascii=False) + "\n").encode()
    with path.open("ab", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = os.fstat(file.fileno()).st_size
        try:
            written = file.write(line)
            while written < len(line):  # the last room on a disk that is full
                written += file.write(line[written:])
        except OSError:
            with suppress(OSError):  # of a device
                file.truncate(size)
            raise


def check_writable(path: Path) -> None:
    """Finds out at start whether corrections can be stored.

    Raises:
        ConfigError: they cannot.
    """
    if path.is_dir():
        raise ConfigError(f"references: expected a file, found the directory {path}")
    place = path if path.exists() else path.absolute().parent
    if not place.exists():
        raise ConfigError(f"references: {path} cannot be written: there is no directory {place}")
    if not os.access(place, os.W_OK):
        raise ConfigError(f"references: {path} cannot be written: permission denied")


class ReferenceHandler(CorsHandler):
    """Serves `POST /client/dynamic/reference`."""

    PART = Part.CORRECTIONS

    def initialize(self, hub: Hub) -> None:
        """Tornado's constructor for handlers."""
        self._path = hub.options.references

    async def post(self) -> None:
        """Stores the body as the reference text of the content that the headers name."""
        info = RequestInfo.from_http(self.request.headers, "")
        if "Content-Id" not in self.request.headers:
            self.set_status(400)
            self.finish("No Content-Id specified")
            return
        try:
            text = self.request.body.decode()
        except UnicodeDecodeError:
            self.set_status(400)
            self.finish("The reference is not UTF-8 text")
            return
        reference = Reference(info.content_id, info.user_id, text)
        try:
            await asyncio.to_thread(append_reference, self._path, reference)
        except OSError as error:
            logger.error("%s: the reference for content %s is lost: %s", self._path, info.content_id, error)
            self.set_status(507 if error.errno in NO_ROOM else 500)
            self.finish("The reference cannot be stored")
            return
        logger.info("reference for content %s by user %s", info.content_id, info.user_id)
