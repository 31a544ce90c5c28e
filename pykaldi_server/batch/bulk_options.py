"""Options of bulk runs; of a module without Dask, as the command line needs them before."""

from dataclasses import dataclass

__all__ = ["BulkOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkOptions:
    """How a bulk run deals with failures and with what is done.

    Attributes:
        retries: how often a recording is tried again that failed for a reason that may pass.
        overwrite: recognise also recordings whose transcripts are there.
        retry_failed: recognise also recordings that earlier runs have set aside.
    """

    retries: int = 2
    overwrite: bool = False
    retry_failed: bool = False
