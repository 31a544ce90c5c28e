"""Recognition in one object (``kaldi.asr``)."""

from pykaldi_server.kaldi.asr.recognizer import NnetLatticeFasterOnlineRecognizer

__all__ = ["NnetLatticeFasterOnlineRecognizer"]
