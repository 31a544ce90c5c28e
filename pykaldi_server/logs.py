"""Logging of a process: plain, one line an event, to standard error."""

import logging
import sys


def configure_logging(role: str, verbose: bool = False) -> None:
    """Sets up the root logger.

    Args:
        role: stands in every line, to tell the processes of one server apart.
        verbose: also log what is only of use for finding errors.
    """
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if verbose else logging.INFO,
        format=f"%(asctime)s %(levelname)-7s {role}: %(message)s",
        force=True,
    )
    for chatty in ("asyncio", "tornado.access"):
        logging.getLogger(chatty).setLevel(logging.INFO)
