"""Long recordings as people transcribe them: in parts, and into subtitles."""

import itertools
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from golden_data import read_wav
from numpy.typing import NDArray

from pykaldi_server.batch import bulk
from pykaldi_server.batch import parts as parts_module
from pykaldi_server.batch.parts import SHORTEST_PART_S, Heard, Part, joined
from pykaldi_server.batch.recognizer import Recognizer
from pykaldi_server.batch.tasks import Recognize, RecognizerOptions
from pykaldi_server.cli import main
from pykaldi_server.protocols.subtitles import LINE_CHARACTERS, LONGEST_MS, SHORTEST_MS, cues
from pykaldi_server.protocols.transcript import Transcript
from pykaldi_server.session.events import Final
from pykaldi_server.worker.event_messages import event_message

RATE_HZ = 16000


def recording(path: Path, golden: Path, prefix: str, pause_s: float, length_s: float) -> Path:
    """Writes recordings, without the silence around them, one after the other until they are so long."""
    speech = [without_silence(read_wav(each)[1]) for each in sorted((golden / "wav").glob(f"{prefix}*.wav"))]
    pause = np.zeros(round(pause_s * RATE_HZ), np.int16)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        for each in itertools.cycle(speech):
            file.writeframes(np.concatenate([each.astype(np.int16), pause]).astype("<i2").tobytes())
            if file.tell() >= length_s * RATE_HZ:
                return path
    raise AssertionError("a cycle has no end")


def without_silence(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cuts the silence before and after speech off."""
    loudness = np.convolve(np.abs(samples), np.ones(400) / 400, "same")
    loud = np.flatnonzero(loudness > 0.06 * loudness.max())
    return samples[max(0, loud[0] - 400) : loud[-1] + 800]


def options(models: Path) -> RecognizerOptions:
    return RecognizerOptions(model=str(models / "english"))


def ignore(done_s: float) -> None:
    """Takes reports of progress."""


def check_subtitles(path: Path, models: Path) -> None:
    """Cues are within their limits, and have the words that were recognised, each once."""
    with Recognizer(options(models)) as recognizer:
        finals = [each for each in recognizer.events(path, ignore) if isinstance(each, Final)]
    transcript = Transcript()
    for final in finals:
        transcript.add(event_message(final, "id"))
    assert max(final.length_s for final in finals) > 17, "segments that end by their length"
    found = cues(transcript.segments)
    words = [word for final in finals for word in final.words]
    assert " ".join(cue.text for cue in found).split() == [word.word for word in words]
    starts_ms = {round(1000 * word.start_s) for word in words}
    for cue, following in itertools.pairwise([*found, None]):
        assert cue is not None
        lines = cue.text.split("\n")
        assert len(lines) <= 2
        assert max(map(len, lines)) <= LINE_CHARACTERS
        assert SHORTEST_MS <= cue.end_ms - cue.start_ms <= LONGEST_MS
        assert cue.start_ms in starts_ms
        assert following is None or cue.end_ms <= following.start_ms


def test_subtitles_of_continuous_speech(golden: Path, models: Path, tmp_path: Path) -> None:
    check_subtitles(recording(tmp_path / "speech.wav", golden, "ps-librivox", 0.05, 45), models)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_subtitles_of_an_hour_of_continuous_speech(golden: Path, models: Path, tmp_path: Path) -> None:
    check_subtitles(recording(tmp_path / "speech.wav", golden, "ps-librivox", 0.05, 3600), models)


def test_parts_that_begin_at_the_start_are_the_whole(golden: Path, models: Path, tmp_path: Path) -> None:
    """The second part has heard all of the first one, so nothing may differ."""
    path = recording(tmp_path / "speech.wav", golden, "ps-", 0.3, 30)
    parts = [Part(0.0, 14.0), Part(14.0)]
    reports: list[float] = []
    with Recognizer(options(models)) as recognizer:
        whole = [each for each in recognizer.events(path, reports.append) if isinstance(each, Final)]
        heard = [recognizer.run(Recognize(path, part), ignore) for part in parts]
    assert reports == sorted(reports)
    assert reports[-1] == pytest.approx(whole[-1].end_s, abs=0.2)
    together = []
    for part, each in zip(parts, heard, strict=True):
        assert isinstance(each, Heard)
        together.append((part, each))
    assert 14 < together[0][1].end_s < 30
    assert joined(together) == whole


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_long_file_has_the_words_of_one_run(
    golden: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At least 99.5 % of them, in the same places, where two processes or two workers of Dask share it."""
    path = recording(tmp_path / "speech.wav", golden, "ps-", 0.5, 4 * SHORTEST_PART_S)

    def rows(*arguments: str) -> list[tuple[str, float]]:
        out = tmp_path / "-".join(arguments)
        command = ["transcribe", str(path), "-f", "ctm", "-o", str(out), *arguments]
        assert CliRunner().invoke(main, command).exit_code == 0
        (transcript,) = out.glob("*.ctm")
        return [
            (fields[4], float(fields[2])) for fields in map(str.split, transcript.read_text().splitlines())
        ]

    plans: list[list[Part]] = []

    def plan(*arguments: Any) -> list[Part]:
        plans.append(parts_module.plan_parts(*arguments))
        return plans[-1]

    monkeypatch.setattr(bulk, "plan_parts", plan)
    near = 0.1
    alone = rows("-j1")
    for shared in rows("-j2"), rows("-j2", "--scheduler=local"):
        equal = sum(
            any(word == other and abs(start_s - other_s) <= near for other, other_s in shared)
            for word, start_s in alone
        )
        assert equal >= 0.995 * len(alone), f"{equal} of {len(alone)} words are equal"
        assert len(shared) <= 1.005 * len(alone)
    assert [len(parts) for parts in plans] == [2]


def test_parts_that_are_warmed_up(
    golden: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times stay those of the recording; what a part is not to hear, it does not."""
    monkeypatch.setattr(parts_module, "_OVERLAP_S", 12.0)
    path = recording(tmp_path / "digits.wav", golden, "ps-tidigits", 0.4, 40)
    part = Part(28.0, warm_up_s=6.0)
    assert (part.first_s, part.heard_from_s) == (6.0, 12.0)
    with Recognizer(RecognizerOptions(model=f"{models}/english:graph-digits")) as recognizer:
        whole = [each for each in recognizer.events(path, ignore) if isinstance(each, Final)]
        left, right = (recognizer.run(Recognize(path, each), ignore) for each in (Part(0.0, 28.0), part))
    assert isinstance(left, Heard)
    assert isinstance(right, Heard)
    assert right.finals[0].start_s == 12.0
    found = joined([(Part(0.0, 28.0), left), (part, right)])
    words = [
        [(word.word, word.start_s) for each in finals for word in each.words] for finals in (found, whole)
    ]
    assert [word for word, _ in words[0]] == [word for word, _ in words[1]]
    assert [start_s for _, start_s in words[0]] == pytest.approx(
        [start_s for _, start_s in words[1]], abs=0.1
    )
