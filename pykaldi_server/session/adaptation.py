"""Adaptation states as text, the form in which clients keep them."""

import io

from pykaldi_server.kaldi.online2 import OnlineIvectorExtractorAdaptationState
from pykaldi_server.kaldi.util.io import KaldiReader, KaldiWriter

__all__ = ["state_from_text", "state_to_text"]


def state_from_text(text: str) -> OnlineIvectorExtractorAdaptationState:
    """Reads a state in Kaldi's text form.

    Raises:
        ModelFormatError: the text is damaged.
    """
    return OnlineIvectorExtractorAdaptationState.read(KaldiReader(text.encode(), "adaptation state"))


def state_to_text(state: OnlineIvectorExtractorAdaptationState) -> str:
    """Writes a state in Kaldi's text form."""
    file = io.BytesIO()
    state.write(KaldiWriter(file, binary=False))
    return file.getvalue().decode()
