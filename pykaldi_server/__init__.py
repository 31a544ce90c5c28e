"""Live speech-to-text with Kaldi models: a server, a command line and a library.

The library's names are imported when they are first used, so importing the package costs nothing::

    from pykaldi_server import Model, transcribe

    model = Model.load("models/english")
    for event in transcribe(model, "speech.ogg"):
        print(event)
"""

from typing import TYPE_CHECKING

from pykaldi_server.lazy import lazy_names
from pykaldi_server.version import __version__

if TYPE_CHECKING:
    from pykaldi_server.audio import AudioDecoder
    from pykaldi_server.errors import (
        AdaptationStateError,
        AudioError,
        ConfigError,
        DecoderError,
        LatticeError,
        ModelFormatError,
        ProtocolError,
        PykaldiServerError,
    )
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
    from pykaldi_server.session.text_processor import TextProcessor
    from pykaldi_server.session.transcribe import transcribe

__all__ = [
    "AdaptationState",
    "AdaptationStateError",
    "AlignedPhone",
    "AlignedWord",
    "AudioDecoder",
    "AudioError",
    "ConfigError",
    "DecoderError",
    "EndpointRule",
    "Event",
    "Final",
    "Hypothesis",
    "LatticeError",
    "Model",
    "ModelFormatError",
    "Partial",
    "ProtocolError",
    "PykaldiServerError",
    "RequestOptions",
    "Session",
    "SessionOptions",
    "TextProcessor",
    "__version__",
    "transcribe",
]

_MODULES = {
    "pykaldi_server.audio": ("AudioDecoder",),
    "pykaldi_server.errors": (
        "AdaptationStateError",
        "AudioError",
        "ConfigError",
        "DecoderError",
        "LatticeError",
        "ModelFormatError",
        "ProtocolError",
        "PykaldiServerError",
    ),
    "pykaldi_server.session.events": (
        "AdaptationState",
        "AlignedPhone",
        "AlignedWord",
        "Event",
        "Final",
        "Hypothesis",
        "Partial",
    ),
    "pykaldi_server.session.model": ("Model",),
    "pykaldi_server.session.options": ("SessionOptions",),
    "pykaldi_server.session.request_options": ("EndpointRule", "RequestOptions"),
    "pykaldi_server.session.session": ("Session",),
    "pykaldi_server.session.text_processor": ("TextProcessor",),
    "pykaldi_server.session.transcribe": ("transcribe",),
}
__getattr__, __dir__ = lazy_names(__name__, _MODULES)
