"""Builds ``G.carpa`` from an ARPA file (``lmbin/arpa-to-const-arpa.cc``, ``utils/map_arpa_lm.pl``)."""

import gzip
import logging
import os
from collections.abc import Callable
from pathlib import Path

from pykaldi_server.errors import ConfigError, ModelFormatError
from pykaldi_server.kaldi._core import ConstArpaLmBuilder, SymbolTable
from pykaldi_server.whole_files import written_whole

__all__ = ["build_const_arpa"]

logger = logging.getLogger(__name__)

_BLOCK_BYTES = 1 << 20
_GZIP_MARK = b"\x1f\x8b"


def build_const_arpa(
    arpa_path: str | os.PathLike[str],
    out_path: str | os.PathLike[str],
    *,
    bos_symbol: int | str = "<s>",
    eos_symbol: int | str = "</s>",
    unk_symbol: int | str = -1,
    symbols: SymbolTable | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Builds a constant n-gram model from an ARPA file.

    The result is identical to that of ``arpa-to-const-arpa``, byte for byte. The file appears only once it is
    complete.

    Args:
        arpa_path: the ARPA file, compressed with gzip or not. Its words are symbols of ``symbols``, or
            integers.
        out_path: the file to write (``G.carpa``).
        bos_symbol: the word for the beginning of sentences: an integer or, with ``symbols``, a symbol.
        eos_symbol: the word for the end of sentences.
        unk_symbol: the word for unknown words; -1 if there is none.
        symbols: the words of the decoding graph; n-grams with other words are left out.
        progress: called repeatedly with the number of bytes of the ARPA file read so far and its size.

    Returns:
        The number of n-grams left out.

    Raises:
        FileNotFoundError: there is no such ARPA file.
        ModelFormatError: the ARPA file is damaged; the text names the line.
        ConfigError: a word for beginning, end or unknown words is not in ``symbols`` or is invalid.
    """
    arpa_path, out_path = Path(arpa_path), Path(out_path)
    total = arpa_path.stat().st_size
    bos, eos, unk = (_word(word, symbols) for word in (bos_symbol, eos_symbol, unk_symbol))
    builder = ConstArpaLmBuilder(os.fspath(arpa_path), bos, eos, unk, symbols)
    with arpa_path.open("rb") as file:
        compressed = file.peek(len(_GZIP_MARK))[: len(_GZIP_MARK)] == _GZIP_MARK
        text = gzip.GzipFile(fileobj=file) if compressed else file
        try:
            while block := text.read(_BLOCK_BYTES):
                builder.feed(block)
                if progress is not None:
                    progress(file.tell(), total)
        except (EOFError, gzip.BadGzipFile) as error:
            raise ModelFormatError(f"{arpa_path}: expected a complete gzip file, found {error}") from error
    with written_whole(out_path) as temporary:
        builder.write(os.fspath(temporary))
    skipped = int(builder.num_skipped())
    if skipped:
        logger.warning("%s: left out %d n-grams with words that are not in the table", arpa_path, skipped)
    return skipped


def _word(word: int | str, symbols: SymbolTable | None) -> int:
    if isinstance(word, int):
        return word
    if symbols is None:
        raise ConfigError(f"expected an integer for {word}, as the words of the ARPA file are integers")
    key = symbols.find_index(word)
    if key < 0:
        raise ConfigError(f"expected {word} in the table of words, found no such word")
    return int(key)
