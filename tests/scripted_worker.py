"""Processes that follow a script in place of workers, with a real line to their supervisor."""

import sys

from pykaldi_server.serve.supervisor import WorkerCommand

PREAMBLE = """
import os, socket, sys, time
line = socket.socket(fileno=int(sys.argv[1]))
def say(*words):
    line.sendall("".join(f"{each}\\n" for each in words).encode())
def stay():
    while True:
        say("alive")
        time.sleep(0.1)
"""
SERVE = "say('named m', 'ready m', 'serving')\nstay()\n"


class ScriptedCommand(WorkerCommand):
    """A command whose model is a Python script."""

    __slots__ = ()

    def arguments(self, supervisor_fd: int) -> list[str]:
        return [sys.executable, "-c", PREAMBLE + self.model, str(supervisor_fd)]


def scripted(script: str, name: str = "") -> WorkerCommand:
    return ScriptedCommand(script, ("ws://localhost:1",), sessions=1, name=name)
