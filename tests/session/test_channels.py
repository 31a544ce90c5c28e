"""Several channels as several speakers, in the library."""

import asyncio
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from two_speakers import channels_of_call, wav_of

from pykaldi_server.errors import AudioError, ConfigError
from pykaldi_server.session import AdaptationState, Event, Final, Model, Partial
from pykaldi_server.session.channels import MOST_CHANNELS, SplitSession, parse_channels
from pykaldi_server.session.events import in_order_of_time
from pykaldi_server.session.transcribe import transcribe

Call = list[NDArray[np.int16]]


@pytest.fixture(scope="module")
def english(models: Path) -> Model:
    return Model.load(models / "english")


@pytest.fixture(scope="module")
def call(golden: Path) -> Call:
    return channels_of_call(golden)


@pytest.fixture(scope="module")
def alone(english: Model, call: Call) -> list[list[Event]]:
    """The events of each channel as a stream of its own."""
    return [list(transcribe(english, wav_of(channel))) for channel in call]


def of_channel(events: list[Event], channel: int | None) -> list[Event]:
    """The events of a channel, as those of a stream without channels."""
    return [replace(event, channel=None) for event in events if event.channel == channel]


def test_each_channel_is_as_if_it_were_alone(english: Model, call: Call, alone: list[list[Event]]) -> None:
    events = list(transcribe(english, wav_of(*call), channels="split"))
    assert {event.channel for event in events} == {0, 1}
    for channel, expected in enumerate(alone):
        assert of_channel(events, channel) == expected
        assert any(isinstance(event, Final) and event.words for event in expected)
    assert [event.channel for event in events if isinstance(event, AdaptationState)] == [0, 1]
    speaking = [event.channel for event in events if isinstance(event, Partial)]
    assert len(list(itertools.groupby(speaking))) > 2, "one channel has waited for the other"


def test_finals_in_the_order_of_time(english: Model, call: Call) -> None:
    events = list(transcribe(english, wav_of(*call), channels="split"))
    ordered = list(in_order_of_time(events))
    assert sorted(map(repr, ordered)) == sorted(map(repr, events))
    finals = [event for event in ordered if isinstance(event, Final)]
    assert finals[0].channel == 1
    starts = [final.words[0].start_s for final in finals]
    assert starts == sorted(starts)
    assert isinstance(ordered[-1], AdaptationState)


@pytest.mark.parametrize(("channels", "index"), [("left", 0), ("right", 1)])
def test_one_of_two_channels(
    english: Model, call: Call, alone: list[list[Event]], channels: str, index: int
) -> None:
    stereo = np.stack(call, axis=1)
    assert list(transcribe(english, wav_of(*call), channels=channels)) == alone[index]
    assert list(transcribe(english, stereo, channels=channels)) == alone[index]


@pytest.mark.parametrize("channels", ["mixed", "left", "right"])
def test_mono_audio_has_one_channel(
    english: Model, call: Call, alone: list[list[Event]], channels: str
) -> None:
    assert list(transcribe(english, wav_of(call[1]), channels=channels)) == alone[1]
    split = list(transcribe(english, wav_of(call[1]), channels="split"))
    assert of_channel(split, 0) == alone[1]


def test_arrays_and_streams(english: Model, call: Call, alone: list[list[Event]]) -> None:
    stereo = np.stack(call, axis=1)
    by_array = list(transcribe(english, stereo, channels="split"))
    for channel, expected in enumerate(alone):
        assert of_channel(by_array, channel) == expected

    async def stream(channels: str, *chunks: Any) -> list[Event]:
        return [event async for event in english.stream(chunks, channels=channels)]

    chunks = [stereo[begin : begin + 1234] for begin in range(0, len(stereo), 1234)]
    streamed = asyncio.run(stream("split", *chunks))
    for channel, expected in enumerate(alone):
        assert of_channel(streamed, channel) == expected
    assert asyncio.run(stream("right", *chunks)) == alone[1]
    mono = asyncio.run(stream("split", call[0].tobytes()))
    assert of_channel(mono, 0) == alone[0]
    with pytest.raises(AudioError, match="expected mono"):
        asyncio.run(stream("mixed", *chunks))


def test_more_than_two_channels(english: Model, call: Call, alone: list[list[Event]]) -> None:
    """With silence detection, a third channel without speech costs little."""
    nothing = np.zeros_like(call[0])
    events = list(transcribe(english, wav_of(nothing, call[1], nothing), channels="split"))
    assert of_channel(events, 1) == alone[1]
    assert {event.channel for event in events if isinstance(event, Final)} == {1}
    assert [event.channel for event in events if isinstance(event, AdaptationState)] == [0, 1, 2]


def test_inverted_channels_are_heard_as_they_are(english: Model, call: Call) -> None:
    """What is said on one line with opposite signs is silence when mixed without care; split never mixes."""
    events = list(transcribe(english, wav_of(call[1], -call[1]), channels="split"))
    texts = [
        [event.transcript for event in of_channel(events, i) if isinstance(event, Final)] for i in (0, 1)
    ]
    assert texts[0] == texts[1] != []


def test_options_and_text_processors_are_for_all_channels(english: Model, call: Call) -> None:
    class Capitals:
        def process(self, result: Any, request_id: str) -> Any:
            if isinstance(result, Partial):
                return replace(result, transcript=result.transcript.upper())
            louder = [replace(each, transcript=each.transcript.upper()) for each in result.hypotheses]
            return replace(result, hypotheses=tuple(louder))

    options = {"num-nbest": 2, "use-vad": True}
    events = list(
        transcribe(english, wav_of(*call), channels="split", options=options, text_processor=Capitals())
    )
    for channel in (0, 1):
        finals = [event for event in of_channel(events, channel) if isinstance(event, Final)]
        assert finals
        assert all(final.transcript.isupper() for final in finals)
        assert any(len(final.hypotheses) == 2 for final in finals)


def test_what_is_known_of_each_speaker(english: Model, call: Call, alone: list[list[Event]]) -> None:
    states = {
        event.channel: event.value
        for event in transcribe(english, wav_of(*call), channels="split")
        if isinstance(event, AdaptationState)
    }
    assert states[0] != states[1]
    known = {channel: value for channel, value in states.items() if channel is not None}
    events = list(transcribe(english, wav_of(*call), channels="split", adaptation_state=known))
    for channel in (0, 1):
        expected = list(transcribe(english, wav_of(call[channel]), adaptation_state=known[channel]))
        assert of_channel(events, channel) == expected != alone[channel]
    first_only = list(transcribe(english, wav_of(*call), channels="split", adaptation_state=known[0]))
    assert of_channel(first_only, 0) == of_channel(events, 0)
    assert of_channel(first_only, 1) == alone[1]


def test_a_split_session_can_be_reset_and_finalized(english: Model, call: Call) -> None:
    stereo = np.stack(call, axis=1)
    with SplitSession(lambda channel: english.session()) as session:
        assert session.sample_rate_hz == english.sample_rate_hz
        assert session.finalize_segment() == []
        first = session.accept(stereo) + session.reset()
        second = session.accept(stereo) + session.finalize_segment() + session.finish()
    texts = [
        [(event.channel, event.transcript) for event in events if isinstance(event, Final)]
        for events in (first, second)
    ]
    assert {channel for channel, _ in texts[0]} == {channel for channel, _ in texts[1]} == {0, 1}
    starts = [event.start_s for event in second if isinstance(event, Final)]
    assert min(starts) >= len(stereo) / 16_000 - 0.1


def test_audio_that_cannot_be_split(english: Model) -> None:
    with SplitSession(lambda channel: english.session()) as session:
        with pytest.raises(AudioError, match=rf"expected at most {MOST_CHANNELS} channels, found 17"):
            session.accept(np.zeros((10, 17), np.int16))
        with pytest.raises(AudioError, match=r"expected an array .*, found shape \(1, 2, 3\)"):
            session.accept(np.zeros((1, 2, 3), np.int16))
        session.accept(np.zeros((10, 2), np.int16))
        with pytest.raises(AudioError, match="expected 2 channels as before, found 3"):
            session.accept(np.zeros((10, 3), np.int16))


def test_no_audio_at_all(english: Model) -> None:
    events = list(transcribe(english, b"", channels="split"))
    assert [(type(event), event.channel) for event in events] == [(AdaptationState, 0)]


def test_a_session_has_one_channel(english: Model) -> None:
    with pytest.raises(ConfigError, match="channels: a session takes one channel"):
        english.session(options={"channels": "split"})
    with pytest.raises(
        ConfigError, match="channels: expected one of mixed, left, right, split, found 'both'"
    ):
        list(transcribe(english, b"", channels="both"))


def test_the_option_of_requests() -> None:
    assert parse_channels({}) == ("mix", {})
    assert parse_channels({"channels": "mixed", "beam": 9}) == ("mix", {"beam": 9})
    assert parse_channels({"channels": "split"}) == ("split", {})
    for value in ("both", 2, ["split"]):
        with pytest.raises(ConfigError, match="channels: expected one of mixed, left, right, split, found"):
            parse_channels({"channels": value})
