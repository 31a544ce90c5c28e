"""Decoding graphs in two parts, HCLr and a language model, that are composed with lookahead.

Kaldi's ``utils/mkgraph_lookahead.sh`` creates them, and Vosk's small models contain them::

    HCLr.fst           transition-ids to words, of OpenFst's type olabel_lookahead
    Gr.fst             words to words, of type ngram (symbols embedded) or const
    disambig_tid.int   input labels of HCLr that are disambiguation symbols

They are composed during the search (`read_lookahead_graph`), or once into a static graph (`compile_graph`)
that opens immediately, takes half the memory of an ordinary one and is shared by all processes.
``csrc/fst/lookahead-composition.h`` explains composition with lookahead.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from pykaldi_server.errors import ModelFormatError
from pykaldi_server.kaldi._core import CompiledGraph, LookaheadFst, StdConstFst
from pykaldi_server.whole_files import leftovers, written_whole

__all__ = [
    "DISAMBIG_NAME",
    "GRAMMAR_NAME",
    "HCL_NAME",
    "DecodingGraph",
    "Progress",
    "compile_graph",
    "compiled_for",
    "compiled_from",
    "graph_fingerprint",
    "graph_stamp",
    "read_disambig_labels",
    "read_lookahead_graph",
]

HCL_NAME = "HCLr.fst"
GRAMMAR_NAME = "Gr.fst"
DISAMBIG_NAME = "disambig_tid.int"

DecodingGraph: TypeAlias = StdConstFst | CompiledGraph | LookaheadFst
"""A graph that a decoder can search."""

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with the current step, how much of it is done, and how much there is (as far as is known)."""

_DIGEST_BYTES = 32
_STAMP_BYTES = 16
# Part of fingerprints: graphs compiled by another version of the composition are compiled again.
_COMPOSITION_VERSION = b"1"


def read_lookahead_graph(folder: str | os.PathLike[str], *, store_bytes: int = 256 << 20) -> LookaheadFst:
    """Reads the parts of a graph, which decoders compose during the search.

    Args:
        folder: directory of the three files; without ``disambig_tid.int``, all input labels are
            transition-ids.
        store_bytes: memory for composed states, shared by all decoders. Beyond it, all states not in use are
            dropped and composed again on demand; results do not depend on it.

    Raises:
        FileNotFoundError: there is no such file.
        ModelFormatError: a file is damaged or of another kind, or the graph cannot be decoded with.
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
        ModelFormatError: the file contains something other than positive 32-bit integers.
    """
    labels = []
    for word in Path(path).read_bytes().split():
        if not word.isdigit() or not 0 < int(word) < 2**31:
            found = repr(word[:20].decode(errors="replace"))
            raise ModelFormatError.at(path, None, expected="input labels", found=found)
        labels.append(int(word))
    return labels


def graph_fingerprint(folder: str | os.PathLike[str]) -> bytes:
    """Returns a digest of the files of a lookahead graph, 32 bytes; takes 0.2 s for 200 MB.

    Raises:
        FileNotFoundError: there is no such file.
    """
    import hashlib  # with OpenSSL, for which ordinary graphs need not wait

    digest = hashlib.blake2b(_COMPOSITION_VERSION, digest_size=_DIGEST_BYTES)
    for path in _parts(folder):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.digest()


def graph_stamp(folder: str | os.PathLike[str]) -> bytes:
    """Returns a digest of the sizes and times of the files of a lookahead graph, 16 bytes.

    Raises:
        FileNotFoundError: there is no such file.
    """
    import hashlib

    digest = hashlib.blake2b(_COMPOSITION_VERSION, digest_size=_STAMP_BYTES)
    for path in _parts(folder):
        status = path.stat()
        digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.digest()


def _parts(folder: str | os.PathLike[str]) -> list[Path]:
    paths = [Path(folder, name) for name in (HCL_NAME, GRAMMAR_NAME, DISAMBIG_NAME)]
    return [path for path in paths if path.name != DISAMBIG_NAME or path.exists()]


def compiled_for(path: str | os.PathLike[str], fingerprint: bytes) -> bool:
    """Returns whether a file is a graph compiled from parts with this fingerprint; reads only its header."""
    try:
        return CompiledGraph.read_fingerprint(os.fspath(path)) == fingerprint
    except (OSError, ModelFormatError):
        return False


def compile_graph(
    folder: str | os.PathLike[str], out: str | os.PathLike[str], progress: Progress | None = None
) -> None:
    """Composes a whole lookahead graph and writes it to a file for `CompiledGraph`.

    A file compiled from the same parts is left unchanged. Otherwise it is replaced atomically once the new
    one is complete. If several processes want the same file, one compiles it and the others wait.

    Args:
        folder: directory of the parts.
        out: the file to write; its directory needs room for three times its size meanwhile.
        progress: called repeatedly; an exception that it raises ends the work.

    Raises:
        FileNotFoundError: a part or the folder of ``out`` is missing.
        ModelFormatError: a part is damaged, or the graph exceeds a limit of the format.
    """
    out = Path(out)
    # The stamp first: parts that are replaced from now on have another one.
    stamp, fingerprint = graph_stamp(folder), graph_fingerprint(folder)
    with _only_one_at_work_in(out.parent):
        if compiled_for(out, fingerprint):
            return
        for leftover in leftovers(out):
            leftover.unlink()
        fst = read_lookahead_graph(folder, store_bytes=0)
        with written_whole(out) as temporary:
            _compile(fst, folder, os.fspath(temporary), (fingerprint, stamp), progress or _ignore)
            CompiledGraph.read(os.fspath(temporary), check=True)
            with temporary.open("rb") as file:
                os.fsync(file)


def _compile(
    fst: LookaheadFst,
    folder: str | os.PathLike[str],
    path: str,
    made_from: tuple[bytes, bytes],
    progress: Progress,
) -> None:
    try:
        fst.compile(path, os.path.dirname(path), *made_from, progress)
    except ModelFormatError as error:
        raise ModelFormatError(f"{os.fspath(folder)}: {error}") from error


def compiled_from(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> bool:
    """Returns whether a file is a graph compiled from the parts in a folder.

    Parts whose sizes and times are known from before are taken to be the same, and are not read. Otherwise
    their contents are compared, and if these are the same, their sizes and times are noted in the file.

    Raises:
        FileNotFoundError: there is no such part.
    """
    stamp = graph_stamp(folder)
    try:
        if CompiledGraph.read_stamp(os.fspath(path)) == stamp:
            return True
    except (OSError, ModelFormatError):
        return False
    if not compiled_for(path, graph_fingerprint(folder)):
        return False
    with suppress(OSError):  # the file need not be writable; the parts are then read each time
        CompiledGraph.write_stamp(os.fspath(path), stamp)
    return True


@contextmanager
def _only_one_at_work_in(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _ignore(_what: str, _done: int, _total: int) -> None:
    """Ignores progress."""
