"""Adaptation states as text, the form in which clients keep them.

What a network's features have learned of a speaker are the statistics of i-vectors, the state of the CMVN of
the network's input, or both, one after the other. The latter is as in ``online2-wav-nnet3-latgen-faster``,
which hands both from one utterance to the next. A state may come from as much audio as you like: what a
`SpeakerLearner` has learned is that of a whole recording.
"""

import io
from dataclasses import dataclass

from pykaldi_server.kaldi.feat.cmvn import OnlineCmvnState
from pykaldi_server.kaldi.online2 import OnlineIvectorExtractorAdaptationState
from pykaldi_server.kaldi.util.io import KaldiReader, KaldiWriter

__all__ = ["SpeakerState", "split_state", "state_bytes"]

_IVECTOR_END = "</OnlineIvectorExtractorAdaptationState>"
_CMVN_START = "<OnlineCmvnState>"


@dataclass(frozen=True, slots=True)
class SpeakerState:
    """What is known of a speaker at the start of a stream.

    Attributes:
        ivector: statistics of i-vectors; None for an unknown speaker, or without i-vectors.
        cmvn: state of the CMVN of the network's input; None likewise.
    """

    ivector: OnlineIvectorExtractorAdaptationState | None = None
    cmvn: OnlineCmvnState | None = None

    @classmethod
    def from_text(cls, text: str) -> "SpeakerState":
        """Reads a state in Kaldi's text form.

        Raises:
            ModelFormatError: the text is damaged.
        """
        ivector_text, cmvn_text = split_state(text)
        ivector, cmvn = None, None
        if ivector_text or cmvn_text is None:
            reader = KaldiReader(state_bytes(ivector_text), "adaptation state")
            ivector = OnlineIvectorExtractorAdaptationState.read(reader)
        if cmvn_text is not None:
            cmvn = OnlineCmvnState.read(KaldiReader(state_bytes(cmvn_text), "CMVN state"))
        return cls(ivector, cmvn)

    def text(self) -> str | None:
        """The state in Kaldi's text form; None if nothing is known."""
        known = [each for each in (self.ivector, self.cmvn) if each is not None]
        if not known:
            return None
        file = io.BytesIO()
        for each in known:
            each.write(KaldiWriter(file, binary=False))
        return file.getvalue().decode()


def state_bytes(text: str) -> bytes:
    """The text of a state as bytes; halves of surrogate pairs, which no state has, become question marks."""
    return text.encode(errors="replace")


def split_state(text: str) -> tuple[str, str | None]:
    """Splits the text of a state where the state of the CMVN of the network's input begins.

    Returns:
        All before it, which may be empty, and that state; None if there is none.
    """
    if text.lstrip().startswith(_CMVN_START):
        return "", text
    before, end, rest = text.partition(_IVECTOR_END)
    return (f"{before}{end} ", rest.lstrip()) if rest.strip() else (text, None)
