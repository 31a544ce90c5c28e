"""One stream of audio to text: a heavy immutable `Model` and cheap `Session` objects."""

from pykaldi_server.session.events import (
    AdaptationState,
    AlignedPhone,
    AlignedWord,
    Event,
    Final,
    Hypothesis,
    Partial,
)
from pykaldi_server.session.loading import packaged_model
from pykaldi_server.session.model import Model
from pykaldi_server.session.options import SessionOptions
from pykaldi_server.session.session import Session
from pykaldi_server.session.transcribe import transcribe_file

__all__ = [
    "AdaptationState",
    "AlignedPhone",
    "AlignedWord",
    "Event",
    "Final",
    "Hypothesis",
    "Model",
    "Partial",
    "Session",
    "SessionOptions",
    "packaged_model",
    "transcribe_file",
]
