"""Well-known models that can be downloaded: ``catalogue.json``.

It has what publishers say of their archives, and what the scripts say that download them: the address, the
language, the size, and the MD5 sum where there is one. A licence is in it where it is known; others must be
looked up at the publisher's. Of several models of a language the one to try first comes first.
"""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from pykaldi_server.errors import ConfigError
from pykaldi_server.languages import best_match, is_language_tag

__all__ = ["CatalogueEntry", "find_entry", "read_catalogue"]

_MB = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """A model that can be downloaded.

    Attributes:
        name: what it is called, here and by its publisher.
        language: tag of its language.
        title: what it is, where the name does not say it.
        url: address of its archive; "" where it is a Python package.
        package: name of that package, for pip.
        size_bytes: exact size of the archive; None where only about how large it is is known.
        size_mb: size in millions of bytes, about; 0 where nothing is known of it.
        md5: checksum of the archive in hexadecimal; "" where none is published.
        licence: SPDX identifier, without a version where the publisher gives none; "" where it is not known
            here.
    """

    name: str
    language: str
    title: str = ""
    url: str = ""
    package: str = ""
    size_bytes: int | None = None
    size_mb: int = 0
    md5: str = ""
    licence: str = ""

    @property
    def file_name(self) -> str:
        """The name of the archive, by which it is found in a mirror."""
        return PurePosixPath(urlsplit(self.url).path).name

    @property
    def about_mb(self) -> int:
        """The size in millions of bytes; 0 where it is not known."""
        return self.size_mb if self.size_bytes is None else round(self.size_bytes / _MB)


@functools.cache
def read_catalogue() -> tuple[CatalogueEntry, ...]:
    """Reads the catalogue of the package."""
    text = Path(__file__).with_name("catalogue.json").read_text(encoding="utf-8")
    content: dict[str, list[dict[str, Any]]] = json.loads(text)
    return tuple(CatalogueEntry(**fields) for fields in content["models"])


def find_entry(name: str, entries: Sequence[CatalogueEntry] | None = None) -> CatalogueEntry:
    """Finds a model that can be downloaded.

    Args:
        name: its name, or a language.
        entries: the catalogue; None for that of the package.

    Raises:
        ConfigError: there is none; the text lists similar names, or the languages.
    """
    entries = read_catalogue() if entries is None else entries
    for entry in entries:
        if entry.name == name:
            return entry
    if is_language_tag(name):
        found = best_match(name, [(entry.language, entry) for entry in entries if entry.url])
        if found is not None:
            return found
        languages = ", ".join(sorted({entry.language for entry in entries}))
        raise ConfigError(f"{name}: the catalogue has no model of this language; it has {languages}")
    similar = [entry.name for entry in entries if name.lower() in entry.name]
    names = f"; similar names: {', '.join(similar)}" if similar else ""
    raise ConfigError(
        f"{name}: the catalogue has no such model{names}; `pykaldi-server model list` lists all"
    )
