"""Files, tables and options (``kaldi.util``)."""

from pykaldi_server.kaldi.util.io import KaldiReader, KaldiWriter
