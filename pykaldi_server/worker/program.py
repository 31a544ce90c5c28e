"""A program of the user's that answers requests, one after the other, through its standard input and output.

The program is not trusted to keep to that. It may be slow, hang, die, print too much or print without being
asked; whatever it does, `Program.ask` returns in time, an answer is never taken for that of another request,
and no process is left behind:

* A thread waits for the program to end and starts it again: at once if it has answered something, otherwise
  after a pause that doubles each time.
* An answer that came too late is still read, and discarded, before the next request is sent.
* What else has been printed is discarded, too. After its first answers a program is listened to for a moment
  longer, so that one that prints two lines for one is noticed.
* Everything that a command starts belongs to one process group, which is killed as a whole. A guard does so
  if this process is killed and cannot.
"""

import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from pykaldi_server.errors import ConfigError, PykaldiServerError
from pykaldi_server.protocols.credentials import without_token

__all__ = ["END_S", "Program"]

logger = logging.getLogger(__name__)

TakeAnswer = Callable[[bytearray], bytes | None]
"""Removes the first complete answer from what a program has printed; None if there is none yet."""

FIRST_PAUSE_S = 0.5
LAST_PAUSE_S = 30.0
END_S = 1.0
SURPLUS_S = 0.05
ANSWERS_TO_TRUST = 3
"""After this many answers without surplus, a program is not listened to for `SURPLUS_S` any more."""
MAX_ANSWER_BYTES = 16 * 1024**2
MAX_SURPLUS_BYTES = 1024**2
MAX_SURPLUS_S = 1.0
READ_BYTES = 64 * 1024
NOT_STARTED = {126: "it cannot be executed", 127: "there is no such command"}
"""Exit codes of a shell that could not run its command."""


class NoAnswerError(PykaldiServerError):
    """A process can give no more answers: it has ended, or does not keep to the rules."""


class Program:
    """A command of the shell, kept running. Any number of threads may use it.

    Args:
        command: as for ``/bin/sh -c``, run in the current directory.
        name: of the option that sets the command, for errors and log lines.
        timeout_s: a program that has not answered a request for this long is killed and started again.
        take_answer: finds an answer in what the program prints.
        environment: variables that are set in addition to those of this process.

    Raises:
        ConfigError: there is no shell.
    """

    def __init__(
        self,
        command: str,
        *,
        name: str,
        timeout_s: float,
        take_answer: TakeAnswer,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        self._command = command
        self._timeout_s = timeout_s
        self._take_answer = take_answer
        self._environment = {**without_token(os.environ), **_python_environment(), **(environment or {})}
        self._turn = threading.Lock()  # held by the thread whose request is being answered
        self._changed = threading.Condition()  # guards the following
        self._process: _Process | None = None  # None while it is being started again
        self._is_resting = False  # it has failed, and is not started again for a while
        self._is_closed = False
        self._start_error: str | None = None
        try:
            self._guard = _Guard()
            self._process = self._start()
        except OSError as error:
            raise ConfigError(f"{name}: cannot run {command!r}: {error}") from error
        self._keeper = threading.Thread(target=self._keep, args=(self._process,), name=name, daemon=True)
        self._keeper.start()

    def check(self) -> None:
        """Finds out whether the shell knows the command, if it has said so by now.

        Raises:
            ConfigError: it does not.
        """
        with self._changed:
            if self._start_error is not None:
                raise ConfigError(f"{self.name}: cannot run {self._command!r}: {self._start_error}")

    def ask(self, request: bytes, deadline_s: float) -> bytes | None:
        """Has the program answer a request.

        Args:
            request: with all line ends that belong to it.
            deadline_s: when to give up, as `time.monotonic` counts.

        Returns:
            The answer; None if there is none in time. The log says why.
        """
        if not self._turn.acquire(timeout=max(0.0, deadline_s - time.monotonic())):
            logger.warning("%s: busy with other requests for too long", self.name)
            return None
        try:
            answer = self._exchange(request, deadline_s)
            # It may have been about to end, as programs do that answer a fixed number of times.
            return self._exchange(request, deadline_s) if answer is None else answer
        except TimeoutError:
            logger.warning(
                "%s: no answer within %g s; does the program flush its output after each line?",
                self.name,
                self._timeout_s,
            )
            return None
        finally:
            self._turn.release()

    def ask_if_idle(self, request: bytes, patience_s: float) -> bytes | None:
        """Has the program answer a request, unless it is busy; an answer that takes longer is dropped."""
        if not self._turn.acquire(blocking=False):
            return None
        try:
            process = self._current(deadline_s=0.0)
            if process is None or not self._is_idle(process):
                return None
            return self._exchange(request, time.monotonic() + patience_s)
        except TimeoutError:
            return None
        finally:
            self._turn.release()

    def close(self, patience_s: float = END_S) -> None:
        """Ends the program and waits until it has ended; from now on there are no answers.

        Args:
            patience_s: how long it may take to end by itself once its input is closed.
        """
        with self._changed:
            self._is_closed = True
            process = self._process
            self._changed.notify_all()
        if process is not None:
            process.end(patience_s)
        self._keeper.join()
        self._guard.close()

    def _exchange(self, request: bytes, deadline_s: float) -> bytes | None:
        """One try; None if the program has ended or been ended. Raises TimeoutError."""
        process = self._current(deadline_s)
        if process is None:
            return None
        try:
            return process.exchange(request, deadline_s)
        except NoAnswerError as error:
            self._give_up(process, str(error))
            return None
        except TimeoutError:
            if process.overdue_s() >= self._timeout_s - SURPLUS_S:
                self._give_up(process, f"has not answered for {process.overdue_s():.1f} s")
            raise

    def _is_idle(self, process: "_Process") -> bool:
        """Whether all earlier answers have come; one that is overdue ends the process."""
        try:
            if process.settle():
                return True
        except NoAnswerError as error:
            self._give_up(process, str(error))
            return False
        if process.overdue_s() >= self._timeout_s:
            self._give_up(process, f"has not answered for {process.overdue_s():.1f} s")
        return False

    def _current(self, deadline_s: float) -> "_Process | None":
        """The running process; waits for one that is being started, not for one that has failed."""
        with self._changed:
            while self._process is None and not self._is_resting and not self._is_closed:
                left_s = deadline_s - time.monotonic()
                if left_s <= 0 or not self._changed.wait(left_s):
                    return None
            return None if self._is_closed else self._process

    def _give_up(self, process: "_Process", reason: str) -> None:
        """Kills the process; the keeper starts the next one."""
        with self._changed:
            if self._process is not process or self._is_closed:
                return
            self._process = None
        logger.warning("%s: process %d %s: started again", self.name, process.pid, reason)
        process.kill()

    def _start(self) -> "_Process":
        process = _Process(self._command, self._environment, self._take_answer)
        self._guard.watch(process.pid)
        logger.info("%s: process %d started: %s", self.name, process.pid, self._command)
        return process

    def _keep(self, process: "_Process") -> None:
        """What the keeper's thread does: waits for the process to end, and starts the next one."""
        failures = 0
        current: _Process | None = process
        while current is not None:
            code = current.wait()
            failures = 0 if current.has_answered else failures + 1
            with self._changed:
                if self._is_closed:
                    return
                if not current.has_answered and code in NOT_STARTED:
                    self._start_error = NOT_STARTED[code]
                self._process = None
                self._is_resting = failures > 0
                self._changed.notify_all()
            pause_s = _pause_s(failures)
            text = "%s: process %d has ended with code %d; next start in %g s"
            logger.warning(text, self.name, current.pid, code, pause_s)
            current = self._start_again(failures)

    def _start_again(self, failures: int) -> "_Process | None":
        """Starts the next process, after a pause; None once the program has been closed."""
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._is_closed, _pause_s(failures)):
                    return None
            try:
                process = self._start()
            except OSError as error:
                failures += 1
                logger.warning("%s: cannot be started: %s", self.name, error)
                continue
            with self._changed:
                if not self._is_closed:
                    self._process = process
                    self._is_resting = False
                    self._changed.notify_all()
                    return process
            process.kill()
            process.wait()
            return None


def _python_environment() -> dict[str, str]:
    """What makes ``python`` in a command this Python, and has it print at once."""
    path = os.pathsep.join((os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)))
    return {"PATH": path, "PYTHONUNBUFFERED": "1"}


def _pause_s(failures: int) -> float:
    return min(FIRST_PAUSE_S * 2.0 ** (failures - 1), LAST_PAUSE_S) if failures else 0.0


class _Guard:
    """A shell that kills the process group of a program when this process ends without having done so.

    It reads the numbers of groups from a pipe that only this process writes to. When the pipe ends, this
    process has ended too, whatever the reason.
    """

    SCRIPT = 'while read -r group; do last=$group; done; [ -z "$last" ] || kill -s KILL -- "-$last"'

    def __init__(self) -> None:
        self._popen = subprocess.Popen(  # a script of our own  # nosec B603
            ("/bin/sh", "-c", self.SCRIPT),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,  # what kills this process and its group does not kill the guard
        )
        assert self._popen.stdin is not None
        self._stdin = self._popen.stdin

    def watch(self, group: int) -> None:
        """Has the guard watch this process group in place of the one before."""
        self._write(str(group))

    def close(self) -> None:
        """Ends the guard; it kills nothing any more. May be called again."""
        if not self._stdin.closed:
            self._write("")
            self._stdin.close()
            self._popen.wait()

    def _write(self, line: str) -> None:
        try:
            self._stdin.write(f"{line}\n".encode())
        except BrokenPipeError:
            logger.warning("the guard of process groups has been killed; a program may outlive this process")


class _Process:
    """One run of a program. One thread at a time asks it; another one waits for its end."""

    def __init__(self, command: str, environment: dict[str, str], take_answer: TakeAnswer) -> None:
        self._popen = subprocess.Popen(
            command,
            shell=True,  # a command of the operator's configuration  # nosec B602
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=environment,
            start_new_session=True,  # a process group of its own, and no Ctrl+C before the worker has drained
        )
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._stdin, self._stdout = self._popen.stdin, self._popen.stdout
        self.pid = self._popen.pid
        self.has_answered = False
        self._take_answer = take_answer
        self._has_ended = threading.Event()
        self._signalling = threading.Lock()  # no signal is sent to a process that has been waited for
        self._talking = threading.Lock()  # guards the following, and the pipes
        self._outgoing = bytearray()
        self._incoming = bytearray()
        self._asked_s: float | None = None  # since when an answer is due
        self._clean_answers = 0
        self._has_warned = False
        for pipe in (self._stdin, self._stdout):
            os.set_blocking(pipe.fileno(), False)

    def exchange(self, request: bytes, deadline_s: float) -> bytes:
        """Sends a request and returns its answer.

        Raises:
            TimeoutError: there is none in time; it is discarded when it comes.
            NoAnswerError: the process has ended or does not keep to the rules.
        """
        with self._talking:
            self._settle(deadline_s)
            self._outgoing += request
            self._asked_s = time.monotonic()
            answer = self._receive(deadline_s)
            try:
                listen_s = SURPLUS_S if self._clean_answers < ANSWERS_TO_TRUST else 0.0
                is_clean = not self._drop_surplus(listen_s)
                self._clean_answers = self._clean_answers + 1 if is_clean else 0
            except NoAnswerError:
                logger.debug("process %d has given its last answer", self.pid)  # the next request finds out
            return answer

    def settle(self) -> bool:
        """Discards a late answer; whether no more answers are due. Raises NoAnswerError."""
        with self._talking:
            try:
                self._settle(deadline_s=0.0)
            except TimeoutError:
                return False
            return True

    def overdue_s(self) -> float:
        """How long ago the request was sent whose answer is due; 0 if none is."""
        asked_s = self._asked_s
        return 0.0 if asked_s is None else time.monotonic() - asked_s

    def wait(self) -> int:
        """Waits for the process to end, ends what it has left behind, and returns its exit code."""
        if hasattr(os, "waitid"):
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        else:  # macOS before Python 3.13; the number of a group is not reused while the group has members
            self._popen.wait()
        self.kill()
        with self._signalling:
            code = self._popen.wait()
            self._has_ended.set()
        with self._talking:
            self._stdin.close()
            self._stdout.close()
        return code

    def end(self, patience_s: float) -> None:
        """Has the process end: by closing its input, or by a signal if that takes long or it is busy."""
        if self._talking.acquire(blocking=False):
            try:
                self._stdin.close()
            finally:
                self._talking.release()
            self._has_ended.wait(patience_s)
        self.kill()

    def kill(self) -> None:
        """Kills the process and everything that it has started."""
        with self._signalling:
            if not self._has_ended.is_set():
                with suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)

    def _settle(self, deadline_s: float) -> None:
        """Reads what should not be taken for the answer of the next request."""
        if self._asked_s is not None:
            self._receive(deadline_s)
        if self._drop_surplus(0.0):
            self._clean_answers = 0

    def _receive(self, deadline_s: float) -> bytes:
        """Waits for the answer that is due."""
        while True:
            answer = None if self._outgoing else self._take_answer(self._incoming)
            if answer is not None:
                self.has_answered = True
                self._asked_s = None
                return answer
            if len(self._incoming) > MAX_ANSWER_BYTES:
                raise NoAnswerError(f"answered with more than {MAX_ANSWER_BYTES} bytes")
            if not self._transfer(deadline_s - time.monotonic()):
                raise TimeoutError

    def _drop_surplus(self, listen_s: float) -> bool:
        """Discards what has been printed without being asked for; whether there was anything.

        Args:
            listen_s: how long to wait for it. Once there is something, its end is waited for.
        """
        start_s = time.monotonic()
        num_bytes = 0
        while self._incoming or self._transfer(listen_s):
            num_bytes += len(self._incoming)
            self._incoming.clear()
            if num_bytes > MAX_SURPLUS_BYTES or time.monotonic() - start_s > MAX_SURPLUS_S:
                raise NoAnswerError("prints without being asked")
            listen_s = SURPLUS_S
        if num_bytes and not self._has_warned:
            self._has_warned = True
            logger.warning("process %d prints more than it is asked for, which is discarded", self.pid)
        return num_bytes > 0

    def _transfer(self, wait_s: float) -> bool:
        """Moves what the pipes take and have; False if that is nothing within the time."""
        if self._stdin.closed:
            raise NoAnswerError("has ended")
        poll = select.poll()
        poll.register(self._stdout, select.POLLIN)
        if self._outgoing:
            poll.register(self._stdin, select.POLLOUT)
        ready = [file for file, _ in poll.poll(max(0.0, wait_s) * 1000)]
        if self._stdin.fileno() in ready:
            try:
                del self._outgoing[: self._stdin.write(self._outgoing) or 0]
            except BrokenPipeError:
                raise NoAnswerError("does not read its input any more") from None
        if self._stdout.fileno() in ready:
            data = self._stdout.read(READ_BYTES)
            if data == b"":
                raise NoAnswerError("has closed its output")
            self._incoming += data or b""
        return bool(ready)
