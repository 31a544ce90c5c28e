"""What a worker process writes to its supervisor, over the socket that it was started with.

``named MODEL`` before the model is loaded, ``ready MODEL`` afterwards, and ``alive`` every second for as long
as the process works. Nothing is ever sent the other way: the end of the line means that the supervisor is
dead.
"""

import os

__all__ = ["ALIVE", "EXIT_MODEL", "NAMED", "READY"]

NAMED, READY, ALIVE = b"named", b"ready", b"alive"
EXIT_MODEL = os.EX_CONFIG
"""Exit code of a process that cannot load its model: starting it again would not help."""
