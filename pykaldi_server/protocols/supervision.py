"""What a worker process and its supervisor write to each other, over the socket that it was started with.

``named MODEL`` before the model is loaded, ``ready MODEL`` afterwards, ``serving`` when all its slots have
reached the master for the first time, ``recycle`` when a new process should take its place, and ``alive``
every second for as long as the process works. The supervisor writes only ``retire``, when another process has
taken its place: it then ends after its requests, however long these take. The end of the line means that the
supervisor is dead.
"""

import os

__all__ = ["ALIVE", "EXIT_MODEL", "EXIT_RECYCLE", "NAMED", "READY", "RECYCLE", "RETIRE", "SERVING"]

NAMED, READY, SERVING, RECYCLE, ALIVE = b"named", b"ready", b"serving", b"recycle", b"alive"
RETIRE = b"retire"
EXIT_MODEL = os.EX_CONFIG
"""Exit code of a process that cannot load its model: starting it again would not help."""
EXIT_RECYCLE = os.EX_TEMPFAIL
"""Exit code of a process without a supervisor that has done enough and wants to be started again."""
