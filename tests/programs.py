"""Post-processors of tests: small Python programs, good and bad, as shell commands."""

import shlex
import sys
from pathlib import Path

UPPER = "print(line.upper(), flush=True)"


def command(code: str) -> str:
    """The shell command of a Python program."""
    return f"exec {shlex.quote(sys.executable)} -c {shlex.quote(code)}"


def for_each_line(body: str, before: str = "", after: str = "") -> str:
    """A program that does something with each line of its input, which is in `line`."""
    loop = "import sys, os\n" + before + "\nfor line in sys.stdin:\n    line = line.rstrip('\\n')\n"
    return command(loop + "".join(f"    {each}\n" for each in body.splitlines()) + after)


def for_each_result(body: str) -> str:
    """A program of the full form: changes `result`, which is the message of a final result."""
    code = "import sys, json\nfor text in iter(lambda: ''.join(iter(sys.stdin.readline, '\\n')), ''):\n"
    lines = ("result = json.loads(text)", *body.splitlines(), "print(json.dumps(result) + '\\n', flush=True)")
    return command(code + "".join(f"    {each}\n" for each in lines))


def hung_after(num_answers: int) -> str:
    """Answers a number of lines, then nothing any more."""
    return for_each_line(
        f"n += 1\nif n > {num_answers}: import time; time.sleep(1000)\n" + UPPER, before="n = 0"
    )


def is_running(pid: int) -> bool:
    """Whether there is such a process, dead but not waited for included."""
    return Path(f"/proc/{pid}").exists()
