"""Where recordings are: paths of files, and URLs of what fsspec can open (``s3://bucket/a.wav``)."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from pykaldi_server.errors import ConfigError, PykaldiServerError

__all__ = ["Location", "absolute", "file_name", "is_url", "location", "opened"]

Location = Path | str
"""The path of a file, or a URL, which is text: a path would lose one of its slashes."""

_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
# The extra of this package that brings what fsspec needs for a scheme.
_EXTRAS = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "http": "http",
    "https": "http",
}


def is_url(text: str) -> bool:
    """Whether a text is a URL, not the path of a file."""
    return _URL.match(text) is not None


def location(text: str) -> Location:
    """Returns what a text of a command line or a manifest names."""
    return text if is_url(text) else Path(text)


def file_name(place: Location) -> str:
    """The last part of a path or URL."""
    return place.name if isinstance(place, Path) else PurePosixPath(unquote(urlsplit(place).path)).name


def absolute(place: Location) -> Location:
    """The same place, named so that processes with other working directories find it."""
    return place.absolute() if isinstance(place, Path) else place


@contextmanager
def opened(place: Location) -> Iterator[BinaryIO]:
    """Opens a file to read bytes from it.

    Raises:
        OSError: it cannot be opened or, while the context lasts, read; the error names it.
        ConfigError: the packages that open such URLs are not installed; the text says which.
    """
    if isinstance(place, Path):
        with open(place, "rb") as file:
            yield file
        return
    try:
        with _fsspec_file(place) as file:
            yield file
    except (PykaldiServerError, OSError):
        raise
    except Exception as error:  # each of fsspec's file systems has a tree of exceptions of its own
        raise OSError(0, _reason(error), place) from error


@contextmanager
def _fsspec_file(url: str) -> Iterator[BinaryIO]:
    scheme = url.partition("://")[0].lower()
    extra = _EXTRAS.get(scheme, "batch")
    try:
        import fsspec

        file = fsspec.open(url, "rb")
    except ImportError as error:
        raise ConfigError(f"{url}: needs another package: pip install 'pykaldi-server[{extra}]'") from error
    except ValueError as error:  # a scheme that it does not know
        raise ConfigError(f"{url}: {error}") from error
    try:
        with file as opened_file:
            yield opened_file
    except OSError as error:
        if error.filename is None:  # which most of its file systems leave out
            raise OSError(error.errno or 0, _reason(error), url) from error
        raise


def _reason(error: BaseException) -> str:
    """One line that says why a URL cannot be read: of an error without a reason, what has led to it."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    message, status = getattr(error, "message", None), getattr(error, "status", None)
    if status is not None and isinstance(message, str):  # an answer to HTTP
        return f"{status} {message}" if message else type(error).__name__
    text = str(error).strip()
    if text and not isinstance(error, FileNotFoundError):  # whose text is a path
        return text.splitlines()[0]
    if error.__cause__ is not None:
        return _reason(error.__cause__)
    return "no such file" if isinstance(error, FileNotFoundError) else type(error).__name__
