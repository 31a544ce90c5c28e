"""One stream of audio to text: a heavy immutable `Model` and cheap `Session` objects.

Names are imported when they are first used; `pykaldi_server` has them too, and is where programs of users
take them from.
"""

from typing import TYPE_CHECKING

from pykaldi_server.lazy import lazy_names

if TYPE_CHECKING:
    from pykaldi_server.models.library import packaged_model
    from pykaldi_server.session.events import (
        AdaptationState,
        AlignedPhone,
        AlignedWord,
        Event,
        Final,
        Hypothesis,
        Partial,
    )
    from pykaldi_server.session.model import Model
    from pykaldi_server.session.options import SessionOptions
    from pykaldi_server.session.request_options import EndpointRule, RequestOptions
    from pykaldi_server.session.session import Session

__all__ = [
    "AdaptationState",
    "AlignedPhone",
    "AlignedWord",
    "EndpointRule",
    "Event",
    "Final",
    "Hypothesis",
    "Model",
    "Partial",
    "RequestOptions",
    "Session",
    "SessionOptions",
    "packaged_model",
]

_MODULES = {
    "pykaldi_server.session.events": (
        "AdaptationState",
        "AlignedPhone",
        "AlignedWord",
        "Event",
        "Final",
        "Hypothesis",
        "Partial",
    ),
    "pykaldi_server.models.library": ("packaged_model",),
    "pykaldi_server.session.model": ("Model",),
    "pykaldi_server.session.options": ("SessionOptions",),
    "pykaldi_server.session.request_options": ("EndpointRule", "RequestOptions"),
    "pykaldi_server.session.session": ("Session",),
}
__getattr__, __dir__ = lazy_names(__name__, _MODULES)
