"""Languages as BCP 47 tags, such as ``en`` and ``en-GB``, and which of several is the one that is wanted."""

import re
from collections.abc import Iterable
from typing import TypeVar

__all__ = ["best_match", "is_language_tag", "language_of_name", "normal_tag"]

T = TypeVar("T")

# What Vosk's models call languages, where that is not their code in ISO 639.
_VOSK_CODES = {"cn": "zh", "gr": "el", "kz": "kk", "tl": "fil", "ua": "uk", "vn": "vi"}
_TAG = re.compile(r"[a-z]{2,3}([-_][a-z0-9]{2,8})*", re.IGNORECASE)
_VOSK_NAME = re.compile(r"vosk-model-(?:small-)?([a-z]{2,3})(?:-(us|gb|in|tn|gr|ph))?(?:-|$)")


def is_language_tag(text: str) -> bool:
    """Whether a text has the form of a language tag; there need not be such a language."""
    return _TAG.fullmatch(text) is not None


def normal_tag(tag: str) -> str:
    """Returns a tag in lower case and with hyphens; codes of Vosk's become those of ISO 639."""
    primary, hyphen, rest = tag.strip().lower().replace("_", "-").partition("-")
    return f"{_VOSK_CODES.get(primary, primary)}{hyphen}{rest}"


def best_match(language: str, tagged: Iterable[tuple[str, T]]) -> T | None:
    """Chooses what a language is wanted for.

    Args:
        language: the tag that is wanted.
        tagged: candidates with their tags, the preferred ones first.

    Returns:
        The first candidate of the very language, or else the first one that differs in the region only
        (``en`` and ``en-GB``); None where there is none.
    """
    wanted = normal_tag(language)
    candidates = [(normal_tag(tag), candidate) for tag, candidate in tagged if tag]
    for tag, candidate in candidates:
        if tag == wanted:
            return candidate
    for tag, candidate in candidates:
        if tag.partition("-")[0] == wanted.partition("-")[0]:
            return candidate
    return None


def language_of_name(name: str) -> str:
    """Returns the language that the name of one of Vosk's models contains; "" for other names."""
    found = _VOSK_NAME.match(name.lower().replace("_", "-"))
    if found is None or found[1] == "spk":  # the model that tells speakers apart
        return ""
    code = normal_tag(found[1])
    return f"{code}-{found[2].upper()}" if found[2] and code not in ("el", "fil") else code
