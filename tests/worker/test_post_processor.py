"""Post-processors of both forms, with real programs: what they make of results, and what never happens."""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import children
from programs import UPPER, command, for_each_line, for_each_result, hung_after

from pykaldi_server.errors import ConfigError
from pykaldi_server.session.events import AlignedWord, Final, Hypothesis, Partial
from pykaldi_server.worker import program as program_module
from pykaldi_server.worker.event_messages import event_message
from pykaldi_server.worker.options import PostProcessorOptions
from pykaldi_server.worker.post_processor import PostProcessor

WORDS = (AlignedWord("one", 0.1, 0.2, 0.9), AlignedWord("two", 0.3, 0.2, 0.4))
FINAL = Final(3, 1.0, 2.0, 3.0, (Hypothesis("one two", -1.5, 0.65, WORDS), Hypothesis("one too", -2.5)))
PARTIAL = Partial(3, "one")


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., PostProcessor]]:
    monkeypatch.setattr(program_module, "FIRST_PAUSE_S", 0.01)
    before = set(children(os.getpid()))
    started: list[PostProcessor] = []

    def start_one(line: str = "", full: str = "", timeout_s: float = 60.0, **more: Any) -> PostProcessor:
        options = PostProcessorOptions(
            post_processor=line, full_post_processor=full, post_processor_timeout_s=timeout_s
        )
        started.append(PostProcessor(options, **more))
        return started[-1]

    yield start_one
    for each in started:
        each.close()
    assert set(children(os.getpid())) <= before


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING)
    return caplog


def transcripts(result: Final) -> list[tuple[str, str | None]]:
    return [(each.transcript, each.original_transcript) for each in result.hypotheses]


RAW = [("one two", "one two"), ("one too", "one too")]
CHANGED = [("ONE TWO", "one two"), ("ONE TOO", "one too")]


def test_every_hypothesis_is_changed_and_keeps_its_original(start: Any) -> None:
    processor = start(line=for_each_line(UPPER))
    result = processor.process(FINAL, "id")
    assert transcripts(result) == CHANGED
    assert result.hypotheses[0].words == WORDS
    assert (result.segment, result.start_s, result.total_length_s) == (3, 1.0, 3.0)
    message = event_message(result, "id")
    assert [each["original-transcript"] for each in message["result"]["hypotheses"]] == ["one two", "one too"]


def test_partial_results_are_changed_too(start: Any) -> None:
    processor = start(line="cat")
    processor.process(FINAL, "id")  # it has started by now
    assert processor.process(PARTIAL, "id") == PARTIAL
    assert processor.process(Partial(0, ""), "id") == Partial(0, "")


@pytest.mark.parametrize(
    ("transcript", "answer", "expected"),
    [
        ("one", r"one\ntwo", "one\ntwo"),
        ("one", "  spaces\\t ", "spaces\\t"),
        ("õunad ja 苹果", "õunad ja 苹果", "õunad ja 苹果"),
        ("one", "", ""),
    ],
)
def test_the_text_of_an_answer(start: Any, transcript: str, answer: str, expected: str) -> None:
    print_answer = f"sys.stdout.buffer.write({answer.encode()!r} + b'\\n'); sys.stdout.flush()"
    processor = start(line=for_each_line(print_answer))
    result = processor.process(Final(0, 0.0, 1.0, 1.0, (Hypothesis(transcript, 0.0),)), "id")
    assert transcripts(result) == [(expected, transcript)]


def test_the_program_gets_one_line_whatever_is_in_the_transcript(start: Any) -> None:
    processor = start(line=for_each_line("print(repr(line), flush=True)"))
    result = processor.process(Final(0, 0.0, 1.0, 1.0, (Hypothesis("one\ntwo õ", 0.0),)), "id")
    assert result.hypotheses[0].transcript == "'one two õ'"


BAD_LINES = {
    "hangs": hung_after(0),
    "dies at once": "exit 1",
    "dies when asked": for_each_line("os._exit(1)"),
    "invalid UTF-8": for_each_line("sys.stdout.buffer.write(b'\\xff\\xfe\\n'); sys.stdout.flush()"),
    "prints nothing": for_each_line("pass"),
    "reads nothing": command("import time; time.sleep(1000)"),
    "closes its output": command("import os, time; os.close(1); time.sleep(1000)"),
    "prints without end": "yes",
    "huge line": for_each_line("while True: sys.stdout.write('x' * 100_000)"),
}


@pytest.mark.parametrize("bad", BAD_LINES)
def test_no_result_is_lost_whatever_the_program_does(start: Any, bad: str, logged: Any) -> None:
    processor = start(line=BAD_LINES[bad], timeout_s=0.2)
    for _ in range(3):
        assert processor.process(PARTIAL, "id").segment == 3
        result = processor.process(FINAL, "id-7")
        if bad != "prints without end":  # what it prints may be taken for an answer
            assert transcripts(result) == RAW
        assert len(result.hypotheses) == 2
    if bad != "prints without end":
        assert "id-7: post-processor: the result is sent as it is" in logged.text


def test_full_results(start: Any) -> None:
    body = "best = result['result']['hypotheses'][0]\nbest['transcript'] += '.'\nbest['mood'] = 'calm'\n"
    body += "del result['result']['hypotheses'][1:], best['confidence']\nresult['speaker'] = 7"
    processor = start(full=for_each_result(body))
    result = processor.process(FINAL, "id")
    assert transcripts(result) == [("one two.", "one two")]
    assert result.hypotheses[0].words == WORDS
    assert result.hypotheses[0].confidence is None
    message = event_message(result, "id")
    assert (message["id"], message["segment"], message["speaker"]) == ("id", 3, 7)
    [best] = message["result"]["hypotheses"]
    assert best["mood"] == "calm"
    assert "confidence" not in best
    assert best["original-transcript"] == "one two"


def test_the_program_gets_the_message_as_it_would_be_sent(start: Any) -> None:
    processor = start(full=for_each_result("result['given'] = json.loads(text)"))
    message = event_message(processor.process(FINAL, "id"), "id")
    given = message.pop("given")
    assert given == message
    plain = event_message(FINAL, "id")
    for hypothesis in given["result"]["hypotheses"]:
        assert hypothesis.pop("original-transcript") == hypothesis["transcript"]
    assert given == plain


@pytest.mark.parametrize("form", ["json.dumps(result, indent=2)", "'\\n\\n' + json.dumps(result) + '\\n'"])
def test_forms_of_a_full_answer(start: Any, form: str) -> None:
    """JSON over several lines, and more blank lines than asked for."""
    answer = f"result['segment'] += 1\nprint({form} + '\\n', flush=True)\ncontinue"
    processor = start(full=for_each_result(answer))
    for _ in range(5):
        assert event_message(processor.process(FINAL, "id"), "id")["segment"] == 4


@pytest.mark.parametrize(
    "answer",
    [
        "print('garbage\\n', flush=True)",
        "print('[1, 2]\\n', flush=True)",
        "print('{}\\n', flush=True)",
        "result['result']['hypotheses'] = []",
        "del result['result']['hypotheses'][0]['transcript']",
        "result['result']['hypotheses'][0]['transcript'] = 5",
        "result['result'] = 'text'",
        "result['status'] = 9",
        "result['result']['final'] = False",
        "result['result']['hypotheses'][0]['likelihood'] = float('nan')",
        "sys.stdout.buffer.write(b'\\xff\\n\\n'); sys.stdout.flush()",
    ],
)
def test_an_answer_that_is_no_result_is_not_sent(start: Any, answer: str, logged: Any) -> None:
    code = answer + "\ncontinue" if "print" in answer or "buffer" in answer else answer
    processor = start(full=for_each_result(code))
    result = processor.process(FINAL, "id-7")
    assert transcripts(result) == RAW
    assert result.message is None
    assert "id-7: full-post-processor: the result is sent as it is" in logged.text


def test_an_answer_may_leave_out_what_is_known(start: Any) -> None:
    code = "result = {'result': {'hypotheses': [{'transcript': 'new'}]}}"
    message = event_message(start(full=for_each_result(code)).process(FINAL, "id"), "id")
    assert (message["status"], message["segment"], message["id"]) == (0, 3, "id")
    assert message["result"]["final"] is True
    assert message["result"]["hypotheses"] == [{"transcript": "new", "original-transcript": "one two"}]


def test_the_full_form_wins_for_final_results_only(start: Any) -> None:
    full = for_each_result("result['result']['hypotheses'][0]['transcript'] = 'full'")
    processor = start(line=for_each_line(UPPER), full=full)
    assert processor.process(FINAL, "id").hypotheses[0].transcript == "full"
    while processor.process(PARTIAL, "id") == PARTIAL:  # until it has started
        pass
    assert processor.process(PARTIAL, "id") == Partial(3, "ONE")


def test_partial_results_pass_a_full_form_by(start: Any) -> None:
    assert start(full=hung_after(0)).process(PARTIAL, "id") is PARTIAL


def test_programs_know_the_directory_of_their_configuration(start: Any, tmp_path: Path) -> None:
    script = tmp_path / "shout.py"
    script.write_text("for line in iter(input, None): print(line + '!')")
    processor = start(line='python "$PYKALDI_SERVER_CONFIG_DIR/shout.py"', directory=tmp_path)
    assert processor.process(FINAL, "id").hypotheses[0].transcript == "one two!"


def test_after_the_end_results_are_passed_on(start: Any) -> None:
    processor = start(line=for_each_line(UPPER), full=for_each_result("pass"))
    processor.close()
    assert transcripts(processor.process(FINAL, "id")) == RAW
    assert processor.process(PARTIAL, "id") == PARTIAL


def test_nothing_to_start() -> None:
    assert PostProcessor.start(PostProcessorOptions()) is None


def test_no_time_at_all() -> None:
    with pytest.raises(ConfigError, match="post_processor_timeout_s: expected more than 0, found 0"):
        PostProcessor(PostProcessorOptions(post_processor="cat", post_processor_timeout_s=0))
