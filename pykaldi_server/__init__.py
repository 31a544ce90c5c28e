"""Live speech-to-text with Kaldi models: a server, a command line and a library."""

from pykaldi_server.version import __version__
