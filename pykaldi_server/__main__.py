"""`python -m pykaldi_server` is the command line."""

from pykaldi_server.cli import main

main()
