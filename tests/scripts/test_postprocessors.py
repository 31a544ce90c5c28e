"""The sample post-processors, as a worker runs them, and the YAML files of the models that use them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pykaldi_server.session import Final, Model
from pykaldi_server.session.events import AlignedWord, Hypothesis
from pykaldi_server.session.transcribe import transcribe
from pykaldi_server.worker.options import PostProcessorOptions
from pykaldi_server.worker.post_processor import PostProcessor
from pykaldi_server.worker.settings import WorkerSettings

REPOSITORY = Path(__file__).resolve().parent.parent.parent
SAMPLES = REPOSITORY / "scripts" / "postprocessors"


def final(transcript: str, **fields: Any) -> Final:
    return Final(0, 0.0, 1.0, 1.0, (Hypothesis(transcript, -1.0, **fields),))


def changed(result: Final, line: str = "", full: str = "") -> Hypothesis:
    options = PostProcessorOptions(
        post_processor=f"python {SAMPLES / line}" if line else "",
        full_post_processor=f"python {SAMPLES / full}" if full else "",
    )
    with PostProcessor(options) as processor:
        processed = processor.process(result, "id")
    assert isinstance(processed, Final)
    return processed.hypotheses[0]


@pytest.mark.parametrize(
    ("program", "transcript", "expected"),
    [
        ("remove_noise.py", "<UNK> one [noise] two !SIL <unk>", "one two"),
        ("remove_noise.py", "<UNK>", ""),
        ("remove_noise.py 'uh' '<UNK>'", "uh one <UNK> [noise]", "one [noise]"),
    ],
)
def test_noise(program: str, transcript: str, expected: str) -> None:
    hypothesis = changed(final(transcript), line=program)
    assert (hypothesis.transcript, hypothesis.original_transcript) == (expected, transcript)


@pytest.mark.parametrize(
    ("program", "transcript", "expected"),
    [
        ("numbers_from_words.py", "she has twenty five apples", "she has 25 apples"),
        ("numbers_from_words.py de", "es sind dreiundzwanzig", "es sind 23"),
    ],
)
def test_numbers(program: str, transcript: str, expected: str) -> None:
    pytest.importorskip("text_to_num", reason="needs the extra numbers")
    assert changed(final(transcript), line=program).transcript == expected


WORDS = (
    AlignedWord("one", 0.0, 0.2, 0.9),
    AlignedWord("two", 0.3, 0.2, 0.3),
    AlignedWord("six", 0.5, 0.2, 0.6),
)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [("", "one six"), ("--threshold 0.7 --replacement '?'", "one ? ?"), ("--threshold 1", "")],
)
def test_confidence(arguments: str, expected: str) -> None:
    result = final("one two six", words=WORDS)
    hypothesis = changed(result, full=f"confidence_filter.py {arguments}")
    assert hypothesis.transcript == expected
    assert [each.word for each in hypothesis.words] == expected.replace("?", "").split()
    assert hypothesis.original_transcript == "one two six"


@pytest.mark.parametrize(("confidence", "expected"), [(0.9, "one two"), (0.1, "")])
def test_confidence_of_a_result_without_words(confidence: float, expected: str) -> None:
    assert (
        changed(final("one two", confidence=confidence), full="confidence_filter.py").transcript == expected
    )


def test_samples_pass_on_what_they_do_not_know() -> None:
    message = {"status": 0, "extra": [1], "result": {"hypotheses": [{"transcript": "a"}], "final": True}}
    ran = subprocess.run(
        [sys.executable, SAMPLES / "confidence_filter.py"],
        input=json.dumps(message, indent=1) + "\n\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(ran.stdout) == message


def recognized(yaml: Path, recording: Path) -> Iterator[Final]:
    worker = WorkerSettings.read(str(yaml))
    options = worker.complete(PostProcessorOptions())
    with PostProcessor(options, worker.directory) as processor:
        model = Model.load(worker.model)
        for event in transcribe(model, recording, text_processor=processor):
            if isinstance(event, Final):
                yield event


@pytest.mark.parametrize("name", ["english", "digits"])
def test_yaml_files_of_the_english_model(
    models: Path, golden: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """They give what the model's directory gives, but for the post-processor; no key is unknown."""
    pytest.importorskip("text_to_num", reason="needs the extra numbers")
    recording = golden / "wav" / "ps-tidigits-2934z.wav"
    (result,) = recognized(models / "english" / f"{name}.yaml", recording)
    (hypothesis,) = result.hypotheses
    assert hypothesis.original_transcript == "two nine three four zero"
    expected = "2 9 3 4 0" if name == "english" else "two nine three four zero"
    assert hypothesis.transcript == expected
    assert [word.word for word in hypothesis.words] == ["two", "nine", "three", "four", "zero"]
    assert not caplog.records

    graph = "graph" if name == "english" else "graph-digits"
    (plain,) = (
        event
        for event in transcribe(Model.load(models / f"english:{graph}"), recording)
        if isinstance(event, Final)
    )
    assert plain.hypotheses[0].transcript == hypothesis.original_transcript
    assert [word.start_s for word in plain.words] == pytest.approx([word.start_s for word in result.words])
