"""Compiled graphs in the user's cache: one file for each content, whichever folders have it.

``FINGERPRINT.graph`` is compiled from parts with that fingerprint. To find it without reading the parts,
``KEY.parts`` has the fingerprint of those of a folder; the key is made of the folder's place and the sizes
and times of its files. Files that nothing has used for long go, and so do those used least recently when
there are too many bytes, and what killed processes have left.
"""

import fcntl
import logging
import os
import time
from contextlib import suppress
from pathlib import Path

from pykaldi_server.errors import ConfigError
from pykaldi_server.kaldi.fstext import compiled_for, graph_fingerprint, graph_stamp
from pykaldi_server.whole_files import written_whole

__all__ = ["cached_path", "find_cached", "prune_cache"]

logger = logging.getLogger(__name__)

_MOST_BYTES = 10 << 30
_LONGEST_UNUSED_S = 90 * 24 * 3600
_DIGEST_BYTES = 16
_SUFFIX = ".graph"
_INDEX_SUFFIX = ".parts"


def cached_path(folder: Path) -> Path:
    """The file for the graph of a folder, in the user's cache, ``$XDG_CACHE_HOME/pykaldi-server``.

    Raises:
        FileNotFoundError: the folder has no lookahead graph.
        ConfigError: there is neither XDG_CACHE_HOME nor a home directory.
    """
    cache = _cache_folder()
    return cache / f"{_fingerprint(folder, cache).hex()}{_SUFFIX}"


def find_cached(folder: Path) -> Path | None:
    """The compiled graph of a folder in the cache, which is noted as used; None if there is none.

    Raises:
        FileNotFoundError, ConfigError: as for `cached_path`.
    """
    if not any(_cache_folder().glob(f"*{_SUFFIX}")):
        return None  # without the parts being read
    path = cached_path(folder)
    if not path.exists() or not compiled_for(path, bytes.fromhex(path.stem)):
        return None
    with suppress(OSError):  # a cache that cannot be written to is used all the same
        os.utime(path)
    return path


def prune_cache(most_bytes: int = _MOST_BYTES, longest_unused_s: float = _LONGEST_UNUSED_S) -> None:
    """Deletes what is not needed any more, unless a graph is being compiled into the cache.

    Args:
        most_bytes: size of all graphs together; those that were used least recently go first.
        longest_unused_s: a file that nothing has used for longer goes in any case.

    Raises:
        ConfigError: as for `cached_path`.
    """
    folder = _cache_folder()
    if not folder.is_dir():
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as `compile_graph` does
        for leftover in folder.glob(".*-*"):
            leftover.unlink(missing_ok=True)
        _prune(folder, most_bytes, longest_unused_s)
    except BlockingIOError:
        return
    except OSError as error:
        logger.info("%s: not all that is old was deleted: %s", folder, error)
    finally:
        os.close(descriptor)


def _prune(folder: Path, most_bytes: int, longest_unused_s: float) -> None:
    oldest_s = time.time() - longest_unused_s
    files = [(path.stat(), path) for suffix in (_SUFFIX, _INDEX_SUFFIX) for path in folder.glob(f"*{suffix}")]
    left_bytes = most_bytes
    for status, path in sorted(files, key=lambda each: each[0].st_mtime, reverse=True):
        left_bytes -= status.st_size
        if left_bytes < 0 or status.st_mtime < oldest_s:
            logger.info("%s: deleted from the cache, as it was used least recently", path)
            path.unlink(missing_ok=True)


def _cache_folder() -> Path:
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:
        raise ConfigError(f"XDG_CACHE_HOME: expected a directory, found none, and {error}") from None
    return cache / "pykaldi-server"


def _fingerprint(folder: Path, cache: Path) -> bytes:
    """The fingerprint of a folder's parts, which are read only if they are not those of before."""
    import hashlib  # with OpenSSL, for which nobody need wait who has no compiled graphs

    key = hashlib.blake2b(os.fsencode(folder.resolve()), digest_size=_DIGEST_BYTES, key=graph_stamp(folder))
    index = cache / f"{key.hexdigest()}{_INDEX_SUFFIX}"
    with suppress(OSError, ValueError):
        fingerprint = bytes.fromhex(index.read_text(encoding="ascii"))
        os.utime(index)
        return fingerprint
    fingerprint = graph_fingerprint(folder)
    with suppress(OSError):  # without it, the parts are read each time
        cache.mkdir(parents=True, exist_ok=True)
        with written_whole(index) as file:
            file.write_text(fingerprint.hex(), encoding="ascii")
    return fingerprint
