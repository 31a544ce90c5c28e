"""Post-processors: the user's programs that change the text of results.

There are two forms, both those of kaldi-gstreamer-server:

* *Line*: a transcript in, a line; the changed transcript out, a line. ``\\n`` in the answer is a line break.
* *Full*: a whole final result in, JSON and an empty line; the result to be sent in its place out, the same
  way. Where there is a program of this form, it gets the final results, and the line form only partial ones.

One program serves all requests of a worker, in order. A partial result is passed on as it is when the program
is busy or takes longer than `PARTIAL_PATIENCE_S`; a final result waits, up to a timeout. Whatever the program
does, a result goes out, if need be as it was.
"""

import logging
import re
import time
from dataclasses import replace
from pathlib import Path

from pykaldi_server.errors import PykaldiServerError
from pykaldi_server.protocols.messages import dumps, excerpt, parse_object
from pykaldi_server.session.events import Final, Hypothesis, Partial
from pykaldi_server.session.text_processor import Result
from pykaldi_server.worker.event_messages import event_message, final_from_message
from pykaldi_server.worker.options import PostProcessorOptions
from pykaldi_server.worker.program import END_S, Program

__all__ = ["PARTIAL_PATIENCE_S", "PostProcessor"]

logger = logging.getLogger(__name__)

PARTIAL_PATIENCE_S = 0.2
DIRECTORY_VARIABLE = "PYKALDI_SERVER_CONFIG_DIR"
"""Environment variable of the programs: the directory of the configuration file that names them."""

_BLANK_LINE = re.compile(rb"\n[ \t\r]*\n")


class PostProcessor:
    """Runs post-processors, from construction until `close`; a `TextProcessor`. Any thread may use it.

    Args:
        options: the commands. They run in the current directory.
        directory: of the configuration file that names them, if there is one.

    Raises:
        ConfigError: an option is invalid, or there is no shell.
    """

    def __init__(self, options: PostProcessorOptions, directory: Path | None = None) -> None:
        options.validate()
        self._timeout_s = options.post_processor_timeout_s
        environment = {} if directory is None else {DIRECTORY_VARIABLE: str(directory.resolve())}
        self._line = self._full = None
        if options.post_processor:
            self._line = Program(
                options.post_processor,
                name="post-processor",
                timeout_s=self._timeout_s,
                take_answer=_take_line,
                environment=environment,
            )
        if options.full_post_processor:
            self._full = Program(
                options.full_post_processor,
                name="full-post-processor",
                timeout_s=self._timeout_s,
                take_answer=_take_paragraph,
                environment=environment,
            )

    @classmethod
    def start(cls, options: PostProcessorOptions, directory: Path | None = None) -> "PostProcessor | None":
        """Starts what the options name; None if they name nothing."""
        if not (options.post_processor or options.full_post_processor):
            return None
        return cls(options, directory)

    def __enter__(self) -> "PostProcessor":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def check(self) -> None:
        """Finds out whether the commands could be started, as far as that is known by now.

        Raises:
            ConfigError: one could not.
        """
        for program in self._programs():
            program.check()

    def process(self, result: Result, request_id: str) -> Result:
        """Returns a result with its text changed, or as it is if no program answers in time.

        Hypotheses of final results get an ``original_transcript``.
        """
        match result:
            case Partial():
                return self._partial(result)
            case Final():
                originals = tuple(replace(h, original_transcript=h.transcript) for h in result.hypotheses)
                final = replace(result, hypotheses=originals)
                deadline_s = time.monotonic() + self._timeout_s
                if self._full is not None:
                    return self._full_final(self._full, final, request_id, deadline_s)
                if self._line is not None:
                    return self._line_final(self._line, final, request_id, deadline_s)
                return result

    def close(self, patience_s: float = END_S) -> None:
        """Ends the programs; results are passed on as they are from now on.

        Args:
            patience_s: how long a program may take to end by itself once its input is closed.
        """
        for program in self._programs():
            program.close(patience_s)

    def _programs(self) -> list[Program]:
        return [program for program in (self._line, self._full) if program is not None]

    def _partial(self, partial: Partial) -> Partial:
        if self._line is None or not partial.transcript:
            return partial
        answer = self._line.ask_if_idle(_line(partial.transcript), PARTIAL_PATIENCE_S)
        text = None if answer is None else _transcript(answer)
        return (
            partial if text is None else replace(partial, transcript=text, stable_prefix="", final_prefix="")
        )

    def _line_final(self, program: Program, final: Final, request_id: str, deadline_s: float) -> Final:
        def changed(hypothesis: Hypothesis) -> Hypothesis:
            answer = program.ask(_line(hypothesis.transcript), deadline_s)
            text = None if answer is None else _transcript(answer)
            if text is None:
                reason = "no answer" if answer is None else f"expected UTF-8, found {excerpt(answer)}"
                _warn(request_id, program, reason)
                return hypothesis
            return replace(hypothesis, transcript=text)

        return replace(final, hypotheses=tuple(changed(each) for each in final.hypotheses))

    def _full_final(self, program: Program, final: Final, request_id: str, deadline_s: float) -> Final:
        request = dumps(event_message(final, request_id)).encode() + b"\n\n"
        answer = program.ask(request, deadline_s)
        if answer is None:
            _warn(request_id, program, "no answer")
            return final
        try:
            return final_from_message(parse_object(answer, "its answer"), final, request_id)
        except PykaldiServerError as error:
            _warn(request_id, program, str(error))
            return final


def _warn(request_id: str, program: Program, reason: str) -> None:
    logger.warning("%s: %s: the result is sent as it is: %s", request_id, program.name, reason)


def _line(transcript: str) -> bytes:
    """A transcript as one line, whatever is in it."""
    return " ".join(transcript.splitlines()).encode() + b"\n"


def _transcript(answer: bytes) -> str | None:
    """The transcript in a program's line; None if it is not UTF-8."""
    try:
        return answer.decode().strip().replace("\\n", "\n")
    except UnicodeDecodeError:
        return None


def _take_line(printed: bytearray) -> bytes | None:
    """Removes the first line."""
    end = printed.find(b"\n")
    if end < 0:
        return None
    line = bytes(printed[:end])
    del printed[: end + 1]
    return line


def _take_paragraph(printed: bytearray) -> bytes | None:
    """Removes the first lines up to a blank one; blank lines before them do not count."""
    start = len(printed) - len(printed.lstrip())
    end = _BLANK_LINE.search(printed, start)
    if end is None:
        return None
    paragraph = bytes(printed[start : end.start()])
    del printed[: end.end()]
    return paragraph
