"""Which model serves a client that asks for a language."""

from collections.abc import Iterable

from pykaldi_server.errors import ProtocolError
from pykaldi_server.languages import best_match
from pykaldi_server.protocols.worker import WorkerInfo

__all__ = ["model_for_language"]


def model_for_language(language: str, models: Iterable[WorkerInfo], default: str | None) -> str | None:
    """Chooses the model for a language.

    Args:
        language: what the client asks for.
        models: those that there are.
        default: name of the model that a client gets which names none; it is preferred.

    Returns:
        The name of a model of the very language, or else of one that differs in the region only (``en`` and
        ``en-GB``); None, which is the default, where no model says its language.

    Raises:
        ProtocolError: models say their languages, and none is this one.
    """
    known = sorted((each for each in models if each.language), key=lambda each: each.model != default)
    if not known:
        return None
    found = best_match(language, [(each.language, each.model) for each in known])
    if found is not None:
        return found
    languages = ", ".join(sorted({each.language for each in known}))
    raise ProtocolError(f"there is no model for language {language!r}; those that there are: {languages}")
