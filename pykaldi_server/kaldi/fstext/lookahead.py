"""Decoding graphs in two parts, HCLr and a language model, which are composed with lookahead.

``utils/mkgraph_lookahead.sh`` of Kaldi makes them, and Vosk's small models consist of them::

    HCLr.fst           transition-ids to words, of OpenFst's type olabel_lookahead
    Gr.fst             words to words, of type ngram (symbols embedded) or const
    disambig_tid.int   input labels of HCLr that stand for nothing

They are composed while they are searched (`read_lookahead_graph`), or once into a static graph
(`compile_graph`) that opens at once, takes half the memory of an ordinary one, and is shared by all
processes. What composition with lookahead does is told in ``csrc/fst/lookahead-composition.h``.
"""

import fcntl
import glob
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from pykaldi_server.errors import ModelFormatError
from pykaldi_server.kaldi._core import CompiledGraph, LookaheadFst, StdConstFst

__all__ = [
    "DISAMBIG_NAME",
    "GRAMMAR_NAME",
    "HCL_NAME",
    "DecodingGraph",
    "Progress",
    "compile_graph",
    "compiled_for",
    "graph_fingerprint",
    "read_disambig_labels",
    "read_lookahead_graph",
]

HCL_NAME = "HCLr.fst"
GRAMMAR_NAME = "Gr.fst"
DISAMBIG_NAME = "disambig_tid.int"

DecodingGraph: TypeAlias = StdConstFst | CompiledGraph | LookaheadFst
"""What a decoder can search."""

Progress: TypeAlias = Callable[[str, int, int], None]
"""Is told what is being done, how much of it is done, and how much there is, as far as is known."""

_DIGEST_BYTES = 32
# Part of fingerprints: graphs that other versions of the composition made are made anew.
_COMPOSITION_VERSION = b"1"


def read_lookahead_graph(folder: str | os.PathLike[str], *, store_bytes: int = 256 << 20) -> LookaheadFst:
    """Reads the parts of a graph, for decoders to compose while they search.

    Args:
        folder: has the three files; without ``disambig_tid.int`` all input labels are transition-ids.
        store_bytes: memory for what was composed, shared by all decoders. Beyond it everything but what is
            in use is forgotten, and composed anew when it is needed: results do not depend on it.

    Raises:
        FileNotFoundError: there is no such file.
        ModelFormatError: a file is damaged or of another kind, or nothing can be decoded with the graph.
    """
    hcl, grammar, disambig = (Path(folder, name) for name in (HCL_NAME, GRAMMAR_NAME, DISAMBIG_NAME))
    labels = read_disambig_labels(disambig) if disambig.exists() else []
    fst = LookaheadFst.read(os.fspath(hcl), os.fspath(grammar), labels, store_bytes)
    if fst.reader().start() < 0 or fst.max_input_label() == 0:
        raise ModelFormatError.at(hcl, None, expected="a decoding graph", found="an empty one")
    return fst


def read_disambig_labels(path: str | os.PathLike[str]) -> list[int]:
    """Reads ``disambig_tid.int``: positive integers, separated by white space.

    Raises:
        FileNotFoundError: there is no such file.
        ModelFormatError: something in it is no positive integer that fits into 32 bits.
    """
    labels = []
    for word in Path(path).read_bytes().split():
        if not word.isdigit() or not 0 < int(word) < 2**31:
            found = repr(word[:20].decode(errors="replace"))
            raise ModelFormatError.at(path, None, expected="input labels", found=found)
        labels.append(int(word))
    return labels


def graph_fingerprint(folder: str | os.PathLike[str]) -> bytes:
    """A digest of the contents of a lookahead graph's files, 32 bytes; 0.2 s for 200 MB.

    Raises:
        FileNotFoundError: there is no such file.
    """
    digest = hashlib.blake2b(_COMPOSITION_VERSION, digest_size=_DIGEST_BYTES)
    for path in (Path(folder, name) for name in (HCL_NAME, GRAMMAR_NAME, DISAMBIG_NAME)):
        if path.name == DISAMBIG_NAME and not path.exists():
            continue
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.digest()


def compiled_for(path: str | os.PathLike[str], fingerprint: bytes) -> bool:
    """Whether a file is a compiled graph made of what has this fingerprint; no more of it is read."""
    try:
        return CompiledGraph.read_fingerprint(os.fspath(path)) == fingerprint
    except (OSError, ModelFormatError):
        return False


def compile_graph(
    folder: str | os.PathLike[str], out: str | os.PathLike[str], progress: Progress | None = None
) -> None:
    """Composes a lookahead graph in full and writes it to a file for `CompiledGraph`.

    A file that was made of the same parts stays as it is. Otherwise it is replaced in one step when the new
    one is complete. Of several processes that want the same file, one makes it and the others wait.

    Args:
        folder: has the parts.
        out: the file. Its folder needs room for three times its size while it is made.
        progress: may raise, which ends the work.

    Raises:
        FileNotFoundError: a part or the folder of ``out`` is missing.
        ModelFormatError: a part is damaged, or the graph is larger than the file can be (2 GB).
    """
    out = Path(out)
    fingerprint = graph_fingerprint(folder)
    with _only_one_at_work_in(out.parent):
        if compiled_for(out, fingerprint):
            return
        for leftover in out.parent.glob(f".{glob.escape(out.name)}-*"):
            leftover.unlink()
        fst = read_lookahead_graph(folder, store_bytes=0)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{out.name}-", dir=out.parent)
        try:
            _compile(fst, folder, temporary, fingerprint, progress or _ignore)
            os.fsync(descriptor)
            os.fchmod(descriptor, 0o644)
            os.replace(temporary, out)
        except BaseException:
            os.unlink(temporary)
            raise
        finally:
            os.close(descriptor)


def _compile(
    fst: LookaheadFst,
    folder: str | os.PathLike[str],
    path: str,
    fingerprint: bytes,
    progress: Progress,
) -> None:
    try:
        fst.compile(path, os.path.dirname(path), fingerprint, progress)
    except ModelFormatError as error:
        raise ModelFormatError(f"{os.fspath(folder)}: {error}") from error


@contextmanager
def _only_one_at_work_in(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _ignore(_what: str, _done: int, _total: int) -> None:
    """Progress that nobody wants to know."""
