"""Every exception this package raises on purpose.

    PykaldiServerError
    ├── ModelFormatError (ValueError)   a model file is damaged or is not what was expected
    ├── ConfigError (ValueError)        an option or a configuration file is wrong
    ├── AudioError (ValueError)         the audio cannot be read or makes no sense
    ├── AdaptationStateError (ValueError)  an adaptation state does not fit the model
    ├── DecoderError (RuntimeError)     a decoder was used in a way that it does not allow
    ├── LatticeError (ValueError)       a lattice is not what an operation needs
    ├── ProtocolError (ValueError)      a peer sent something that the protocol does not know
    ├── DatabaseError (RuntimeError)    a database cannot be used at the moment
    ├── BatchError (RuntimeError)       a batch cannot go on: its cluster is gone or unfit
    └── DownloadError (RuntimeError)    an archive cannot be downloaded, or is not the one that is expected

A file that does not exist is Python's own FileNotFoundError.
"""

import os

__all__ = [
    "AdaptationStateError",
    "AudioError",
    "BatchError",
    "ConfigError",
    "DatabaseError",
    "DecoderError",
    "DownloadError",
    "LatticeError",
    "ModelFormatError",
    "ProtocolError",
    "PykaldiServerError",
    "error_text",
]


class PykaldiServerError(Exception):
    """The base of all errors of this package."""


class ModelFormatError(PykaldiServerError, ValueError):
    """A model file is damaged, or is of another kind than expected.

    The text has the form ``path: at byte 123: expected <X>, found <Y>``.
    """

    @classmethod
    def at(
        cls, path: str | os.PathLike[str], offset: int | None, *, expected: str, found: str
    ) -> "ModelFormatError":
        """Builds the error with the place, the expectation and the finding in its text."""
        place = "" if offset is None else f"at byte {offset}: "
        return cls(f"{os.fspath(path)}: {place}expected {expected}, found {found}")


class ConfigError(PykaldiServerError, ValueError):
    """An option or a configuration file is wrong; the text names the file and the field."""


class AudioError(PykaldiServerError, ValueError):
    """The audio cannot be decoded, or its description makes no sense."""


class AdaptationStateError(PykaldiServerError, ValueError):
    """An adaptation state is damaged or belongs to another model."""


class DecoderError(PykaldiServerError, RuntimeError):
    """A decoder was used in an order, or from several threads, in a way that it does not allow."""


class LatticeError(PykaldiServerError, ValueError):
    """A lattice is not what an operation needs: cyclic, empty, or made with another model."""


class ProtocolError(PykaldiServerError, ValueError):
    """A peer sent a message that the protocol does not know."""


class DatabaseError(PykaldiServerError, RuntimeError):
    """A database cannot be used at the moment: it is down, full, locked or damaged. The text names it."""


class BatchError(PykaldiServerError, RuntimeError):
    """A batch cannot go on: the cluster that recognises is gone, or cannot run its tasks."""


class DownloadError(PykaldiServerError, RuntimeError):
    """An archive cannot be downloaded, or is not the one that is expected; the text names its address."""


def error_text(error: PykaldiServerError | OSError) -> str:
    """The text of an error for people; of an operating-system error the file first, as in all others."""
    if not isinstance(error, OSError):
        return str(error)
    text = error.strerror or str(error)
    return text if error.filename is None else f"{os.fspath(error.filename)}: {text}"
