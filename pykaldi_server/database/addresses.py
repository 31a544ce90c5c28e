"""Names of databases, as the command line takes them."""

from pathlib import Path
from urllib.parse import urlsplit

import platformdirs

from pykaldi_server.errors import ConfigError

__all__ = ["DEFAULT", "SQLITE", "database_url", "default_file", "relative_to_folder"]

DEFAULT = "default"
"""The name of `default_file`."""

SQLITE = "sqlite"
# SQLAlchemy's own choice for PostgreSQL depends on its version.
_DRIVERS = {
    SQLITE: SQLITE,
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}


def default_file() -> Path:
    """The SQLite file in the user's data folder (``XDG_DATA_HOME``, or ``~/.local/share``)."""
    return platformdirs.user_data_path("pykaldi-server") / "states.db"


def database_url(name: str, option: str = "states") -> str:
    """Returns SQLAlchemy's URL of a database.

    Args:
        name: a URL (``sqlite:///states.db``, ``postgresql://user@host/name``), the path of an SQLite file, or
            ``default``.
        option: which option names it, for errors.

    Raises:
        ConfigError: the database is of another kind, or no file is named.
    """
    if name == DEFAULT:
        return f"{SQLITE}:///{default_file()}"
    if "://" not in name:
        return f"{SQLITE}:///{Path(name).absolute()}"
    scheme, rest = name.split("://", 1)
    if scheme not in _DRIVERS:
        raise ConfigError(
            f"{option}: expected a file, or a URL that begins with sqlite:// or postgresql://, found {scheme}://"
        )
    if scheme == SQLITE and urlsplit(name).path.strip("/") in ("", ":memory:"):
        raise ConfigError(f"{option}: expected the path of a file after sqlite:///, found {name}")
    return f"{_DRIVERS[scheme]}://{rest}"


def relative_to_folder(name: str, folder: Path) -> str:
    """Returns the name of a database with a file's relative path resolved from a folder."""
    if name == DEFAULT:
        return name
    prefix = f"{SQLITE}:///"
    if "://" not in name:
        return str(folder / name)
    if name.startswith(prefix) and not name.removeprefix(prefix).startswith("file:"):
        return f"{prefix}{folder / name.removeprefix(prefix)}"
    return name
