"""The command line."""

from pykaldi_server.cli.main import main

__all__ = ["main"]
