"""A program that answers requests: real processes, good ones and those that do everything wrong."""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import Watched, children
from programs import UPPER, command, for_each_line, hung_after, is_running

from pykaldi_server.errors import ConfigError
from pykaldi_server.protocols.credentials import TOKEN_VARIABLE
from pykaldi_server.worker import program as module
from pykaldi_server.worker.program import Program

FAR_S = 60.0


def take_line(printed: bytearray) -> bytes | None:
    line, end, rest = bytes(printed).partition(b"\n")
    if not end:
        return None
    printed[:] = rest
    return line


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Program]]:
    """Starts programs; at the end no process and no thread of theirs may be left."""
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(module, "LAST_PAUSE_S", 0.01)
    before, threads = set(children(os.getpid())), threading.active_count()
    started: list[Program] = []

    def start(shell_command: str, timeout_s: float = FAR_S, **more: Any) -> Program:
        program = Program(
            shell_command, name="post-processor", timeout_s=timeout_s, take_answer=take_line, **more
        )
        started.append(program)
        return program

    yield start
    for each in started:
        each.close()
    assert set(children(os.getpid())) <= before
    assert threading.active_count() == threads


def ask(program: Program, text: str, timeout_s: float = FAR_S) -> str | None:
    answer = program.ask(text.encode() + b"\n", time.monotonic() + timeout_s)
    return None if answer is None else answer.decode()


def ask_until_answered(program: Program, text: str) -> str:
    """Asks until the program, which may be resting, answers."""
    while (answer := ask(program, text)) is None:
        pass
    return answer


def test_answers_in_order(run: Any) -> None:
    program = run(for_each_line(UPPER))
    assert [ask(program, text) for text in ("one", "two", "", "three")] == ["ONE", "TWO", "", "THREE"]


def test_many_threads_get_their_own_answers(run: Any) -> None:
    program = run(for_each_line(UPPER))
    answers: dict[str, str | None] = {}

    def ask_some(thread: int) -> None:
        for number in range(20):
            text = f"request {thread} {number}"
            answers[text] = ask(program, text)

    threads = [threading.Thread(target=ask_some, args=(each,)) for each in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {text: text.upper() for text in answers}
    assert len(answers) == 160


def test_the_shell_runs_it_here_with_more_variables(run: Any) -> None:
    program = run(
        'while read line; do echo "$line $PLACE $(pwd)"; done | cat', environment={"PLACE": "there"}
    )
    assert ask(program, "I am") == f"I am there {os.getcwd()}"


def test_a_program_does_not_learn_the_token_of_the_worker(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "secret")
    program = run(f'while read line; do echo "$line ${{{TOKEN_VARIABLE}:-nothing}}"; done')
    assert ask(program, "found") == "found nothing"


def test_a_program_that_does_not_flush_is_not_left_to_its_buffer(run: Any) -> None:
    assert ask(run(for_each_line("print(line.upper())")), "one") == "ONE"


def test_a_request_larger_than_all_pipes(run: Any) -> None:
    text = "x" * 3_000_000
    assert ask(run(for_each_line(UPPER)), text) == text.upper()


@pytest.mark.parametrize("surplus", ["print('more', flush=True)", "print(flush=True)", "print('x' * 100000)"])
def test_two_lines_for_one_shift_nothing(run: Any, surplus: str, caplog: pytest.LogCaptureFixture) -> None:
    program = run(for_each_line(f"{UPPER}\n{surplus}"))
    texts = [f"text {number}" for number in range(10)]
    assert [ask(program, text) for text in texts] == [text.upper() for text in texts]
    assert caplog.text.count("prints more than it is asked for") == 1


def test_a_greeting_is_not_an_answer(run: Any) -> None:
    program = run(for_each_line(UPPER, before="print('ready to serve', flush=True)"))
    process = program._process
    while not process._incoming:  # until it has said so
        process._transfer(FAR_S)
    assert ask(program, "one") == "ONE"


def test_endless_output_is_no_answer(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    program = run("yes")
    program._process._transfer(FAR_S)
    assert ask(program, "one") is None
    assert "prints without being asked" in caplog.text


def test_an_endless_line_is_no_answer(
    run: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MAX_ANSWER_BYTES", 100_000)
    body = "while line == 'much': sys.stdout.write('x' * 1000)\n" + UPPER
    program = run(for_each_line(body))
    assert ask(program, "one") == "ONE"
    assert ask(program, "much") is None
    assert "more than 100000 bytes" in caplog.text
    assert ask_until_answered(program, "two") == "TWO"


def test_one_that_hangs_is_started_again(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    program = run(hung_after(1), timeout_s=0.3)
    assert ask(program, "one") == "ONE"
    pid = program._process.pid
    assert ask(program, "two", timeout_s=0.3) is None
    assert "no answer within 0.3 s" in caplog.text
    assert ask(program, "three") == "THREE"
    assert not is_running(pid)


def test_a_late_answer_is_not_taken_for_the_next(run: Any, tmp_path: Any) -> None:
    """The program waits for a file before it answers `slow`."""
    go = tmp_path / "go"
    body = f"while line == 'slow' and not os.path.exists({str(go)!r}): pass\n" + UPPER
    program = run(for_each_line(body))
    assert program.ask_if_idle(b"fast\n", FAR_S) == b"FAST"
    assert program.ask_if_idle(b"slow\n", 0.01) is None
    assert program.ask_if_idle(b"skipped\n", FAR_S) is None
    go.touch()
    assert ask(program, "next") == "NEXT"
    assert program.ask_if_idle(b"fast\n", FAR_S) == b"FAST"


def test_nobody_waits_for_a_program_that_is_asked_by_another(run: Any, tmp_path: Any) -> None:
    go = tmp_path / "go"
    program = run(for_each_line(f"while not os.path.exists({str(go)!r}): pass\n" + UPPER))
    answers: list[str | None] = []
    other = threading.Thread(target=lambda: answers.append(ask(program, "slow")))
    other.start()
    while not program._turn.locked():
        pass
    assert program.ask_if_idle(b"one\n", FAR_S) is None
    assert ask(program, "two", timeout_s=0.01) is None
    go.touch()
    other.join()
    assert answers == ["SLOW"]


def test_a_hung_program_that_only_partial_results_ask_is_started_again(run: Any) -> None:
    program = run(hung_after(1), timeout_s=0.1)
    assert ask(program, "one") == "ONE"
    pid = program._process.pid
    while is_running(pid):
        program.ask_if_idle(b"two\n", 0.01)
    assert ask_until_answered(program, "three") == "THREE"


def test_one_that_dies_between_requests_is_there_for_the_next(run: Any) -> None:
    program = run(for_each_line(UPPER, after="\n").replace("for line in sys.stdin", "for line in [input()]"))
    assert [ask(program, text) for text in ("one", "two", "three")] == ["ONE", "TWO", "THREE"]


def test_one_that_a_request_kills_serves_the_next(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    program = run(for_each_line("if line == 'poison': os._exit(3)\n" + UPPER))
    assert ask(program, "one") == "ONE"
    assert ask(program, "poison") is None
    assert ask_until_answered(program, "two") == "TWO"
    assert "ended with code 3" in caplog.text


def test_half_an_answer_is_none(run: Any) -> None:
    program = run(for_each_line("sys.stdout.write('half'); sys.stdout.flush(); os._exit(0)"))
    assert ask(program, "one") is None


def test_one_that_dies_at_once_holds_nobody_up(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", FAR_S)
    monkeypatch.setattr(module, "LAST_PAUSE_S", FAR_S)
    program = run("exit 1")
    assert ask(program, "one") is None
    assert ask(program, "two") is None
    program.check()


@pytest.mark.parametrize(
    ("shell_command", "reason"),
    [("no-such-program-anywhere", "no such command"), ("/etc/passwd", "cannot be executed")],
)
def test_a_command_that_cannot_be_run(
    run: Any, monkeypatch: pytest.MonkeyPatch, shell_command: str, reason: str
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", FAR_S)
    monkeypatch.setattr(module, "LAST_PAUSE_S", FAR_S)
    program = run(shell_command)
    assert ask(program, "one") is None  # returns when the shell has ended
    with pytest.raises(ConfigError, match=f"post-processor: cannot run '{shell_command}'.*{reason}"):
        program.check()


def test_closing_does_not_wait_for_a_busy_program(run: Any) -> None:
    program = run(hung_after(0))
    answers: list[str | None] = []
    other = threading.Thread(target=lambda: answers.append(ask(program, "one")))
    other.start()
    while program._process.overdue_s() == 0:
        pass
    program.close()
    other.join()
    assert answers == [None]
    assert ask(program, "two") is None


@pytest.mark.parametrize("has_waitid", [True, False])
def test_all_that_a_command_starts_ends_with_it(
    run: Any, tmp_path: Any, has_waitid: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipeline of which one part ignores the end of its input, with and without a function of Linux."""
    if not has_waitid:
        monkeypatch.delattr(os, "waitid")
    sleeper = command(
        f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(1000)"
    )
    program = run(f"({sleeper}) & {for_each_line(UPPER)}")
    assert ask(program, "one") == "ONE"
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        pass
    pid = int((tmp_path / "pid").read_text())
    program.close()
    while is_running(pid):  # init waits for it
        pass


def test_a_program_does_not_outlive_a_killed_worker(tmp_path: Path) -> None:
    """It ignores the end of its input, and so does what it has started."""
    pids = tmp_path / "pids"
    note = f"import os, time; open({str(pids)!r}, 'a').write(f'{{os.getpid()}} '); time.sleep(1000)"
    code = (
        "import time\n"
        "from pykaldi_server.worker.program import Program\n"
        f"Program({f'({command(note)}) & {command(note)}'!r}, name='n', timeout_s=9, take_answer=bytes)\n"
        "time.sleep(1000)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as worker:
        while not pids.exists() or len(pids.read_text().split()) < 2:
            pass
        watched = [Watched(int(pid)) for pid in pids.read_text().split()]
        worker.kill()
    for each in watched:
        each.wait()


def test_the_output_of_errors_is_not_an_answer(run: Any, capfd: pytest.CaptureFixture[str]) -> None:
    program = run(for_each_line("print('a warning', file=sys.stderr, flush=True)\n" + UPPER))
    assert ask(program, "one") == "ONE"
    program.close()
    assert "a warning" in capfd.readouterr().err


@pytest.fixture(autouse=True)
def log_all(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
