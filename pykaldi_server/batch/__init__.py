"""Many recordings at once, on all cores or on a cluster: files found, long ones cut, transcripts written.

    sources --> parts --> pool of processes, each a recognizer --> parts joined --> outputs
    manifest --> bulk --> flight --> workers of Dask, each with such a pool --> outputs --> ledger

Names are imported when they are first used; those of the second line need the extra ``batch``::

    from pathlib import Path
    from pykaldi_server.batch import Bulk, Ledger, Outputs, RecognizerOptions, connected, read_manifest

    if __name__ == "__main__":
        folder = Path("transcripts")
        with connected("local") as client, Ledger(folder) as ledger:
            bulk = Bulk(client, RecognizerOptions(model="en"), Outputs(folder, ("txt",)), ledger)
            for result in bulk.run(read_manifest(Path("recordings.txt"))):
                print(result.entry.source, result.entry.state)
"""

from typing import TYPE_CHECKING

from pykaldi_server.lazy import lazy_names

if TYPE_CHECKING:
    from pykaldi_server.batch.bulk import Bulk, Result
    from pykaldi_server.batch.bulk_options import BulkOptions
    from pykaldi_server.batch.clusters import connected
    from pykaldi_server.batch.ledger import Entry, Ledger, State
    from pykaldi_server.batch.manifest import read_manifest
    from pykaldi_server.batch.outputs import Outputs
    from pykaldi_server.batch.runner import Batch, Outcome
    from pykaldi_server.batch.sources import Recording, find_recordings
    from pykaldi_server.batch.tasks import RecognizerOptions

__all__ = [
    "Batch",
    "Bulk",
    "BulkOptions",
    "Entry",
    "Ledger",
    "Outcome",
    "Outputs",
    "RecognizerOptions",
    "Recording",
    "Result",
    "State",
    "connected",
    "find_recordings",
    "read_manifest",
]

_MODULES = {
    "pykaldi_server.batch.bulk": ("Bulk", "Result"),
    "pykaldi_server.batch.bulk_options": ("BulkOptions",),
    "pykaldi_server.batch.clusters": ("connected",),
    "pykaldi_server.batch.ledger": ("Entry", "Ledger", "State"),
    "pykaldi_server.batch.manifest": ("read_manifest",),
    "pykaldi_server.batch.outputs": ("Outputs",),
    "pykaldi_server.batch.runner": ("Batch", "Outcome"),
    "pykaldi_server.batch.sources": ("Recording", "find_recordings"),
    "pykaldi_server.batch.tasks": ("RecognizerOptions",),
}
__getattr__, __dir__ = lazy_names(__name__, _MODULES)
