"""Settings of realtime sessions, in both of their forms."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykaldi_server.protocols.openai import RequestError, choose_model, is_transcriber
from pykaldi_server.protocols.realtime_settings import AudioFormat, Settings
from pykaldi_server.protocols.worker import WorkerInfo
from pykaldi_server.session.request_options import RequestOptions

MODELS = {
    "big": WorkerInfo("big", "en-US"),
    "small": WorkerInfo("small", "en-GB"),
    "eesti": WorkerInfo("eesti", "et"),
    "x": WorkerInfo("x"),
}
LOGPROBS = "item.input_audio_transcription.logprobs"
VAD = {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
)


def choose(name: str, language: str) -> str | None:
    return choose_model(name, language, MODELS, "big")


def updated(session: object, before: Settings | None = None) -> Settings:
    return (before or Settings.default()).updated(session, choose)


def current(**audio_input: Any) -> dict[str, Any]:
    return {"type": "transcription", "audio": {"input": audio_input}}


@pytest.mark.parametrize(
    ("now", "beta"),
    [
        (current(format={"type": "audio/pcm", "rate": 24000}), {"input_audio_format": "pcm16"}),
        (current(format={"type": "audio/pcmu"}), {"input_audio_format": "g711_ulaw"}),
        (current(format={"type": "audio/pcma"}), {"input_audio_format": "g711_alaw"}),
        (
            current(transcription={"model": "eesti", "language": "et", "prompt": "p"}),
            {"input_audio_transcription": {"model": "eesti", "language": "et", "prompt": "p"}},
        ),
        (
            current(noise_reduction={"type": "near_field"}),
            {"input_audio_noise_reduction": {"type": "near_field"}},
        ),
        (current(turn_detection=None), {"turn_detection": None}),
        (
            current(turn_detection={"type": "server_vad", "silence_duration_ms": 800}),
            {"turn_detection": {"silence_duration_ms": 800, "create_response": False}},
        ),
        (
            current(turn_detection={"type": "semantic_vad", "eagerness": "high"}),
            {"turn_detection": {"type": "semantic_vad", "eagerness": "high"}},
        ),
        ({"type": "transcription", "include": [LOGPROBS]}, {"include": [LOGPROBS]}),
    ],
)
def test_both_forms_mean_the_same(now: dict[str, Any], beta: dict[str, Any]) -> None:
    settings = updated(now)
    assert settings == updated(beta) != Settings.default() or now == current(
        format={"type": "audio/pcm", "rate": 24000}
    )
    # What a client is told about its session it may send back, in either form.
    assert updated(settings.session_object("sess_x")) == settings
    assert updated(settings.beta_session_object("sess_x")) == settings


def test_what_is_not_named_stays() -> None:
    settings = updated(
        current(transcription={"model": "eesti", "prompt": "p"}, format={"type": "audio/pcma"})
    )
    settings = updated(current(transcription={"language": "et"}), settings)
    assert settings.transcription == {"model": "eesti", "prompt": "p", "language": "et"}
    assert (settings.model, settings.audio_format) == ("eesti", AudioFormat.ALAW)
    settings = updated(current(turn_detection={"type": "server_vad", "threshold": 0.9}), settings)
    settings = updated(current(turn_detection={"prefix_padding_ms": 0}), settings)
    assert settings.turn_detection == {**VAD, "threshold": 0.9, "prefix_padding_ms": 0}
    settings = updated(current(turn_detection={"type": "semantic_vad"}), settings)
    assert settings.turn_detection == {"type": "semantic_vad", "eagerness": "auto"}
    settings = updated(current(turn_detection={"type": "server_vad"}), settings)
    assert settings.turn_detection == VAD
    assert updated(current(transcription=None), settings).model is None


def test_the_request_to_the_recogniser() -> None:
    info = Settings.default().request_info("sess_x")
    assert info.content_type is not None
    assert info.content_type.endswith("format=(string)S16LE, channels=(int)1, rate=(int)24000")
    assert (info.model, info.content_id, info.options) == (None, "sess_x", {})

    settings = updated(current(format={"type": "audio/pcmu"}, transcription={"model": "small"}))
    settings = updated(current(turn_detection={"type": "server_vad", "silence_duration_ms": 750}), settings)
    info = settings.request_info("sess_x")
    assert info.content_type is not None
    assert info.content_type.endswith("format=(string)MULAW, channels=(int)1, rate=(int)8000")
    assert info.model == "small"
    options = RequestOptions.parse(info.options)
    rules = (options.endpoint_rule2, options.endpoint_rule3, options.endpoint_rule4)
    assert [rule.min_trailing_silence for rule in rules] == [0.75] * 3
    assert options.endpoint_rule1.min_trailing_silence is None
    assert updated(current(turn_detection=None), settings).request_info("sess_x").options == {}


@pytest.mark.parametrize(
    ("session", "param", "text"),
    [
        (None, "session", "expected an object, found None"),
        ({"type": "realtime"}, "session.type", "this server holds no conversations, found 'realtime'"),
        ({"voice": "alloy"}, "session.voice", "unknown field; expected one of audio, include"),
        ({"audio": []}, "session.audio", r"expected an object, found \[\]"),
        (
            current(format={"type": "audio/opus"}),
            "session.audio.input.format.type",
            "audio/pcmu or audio/pcma",
        ),
        (
            current(format={"type": "audio/pcm", "rate": 16000}),
            "session.audio.input.format.rate",
            "24000, found 16000",
        ),
        ({"input_audio_format": ["pcm16"]}, "session.input_audio_format", "pcm16 or g711_ulaw or g711_alaw"),
        (
            current(transcription={"model": "englisch"}),
            "session.audio.input.transcription.model",
            "no model 'englisch'; those that there are: big, eesti, small, x",
        ),
        (
            {"input_audio_transcription": {"language": "de"}},
            "session.input_audio_transcription.language",
            "no model for language 'de'; those that there are: en-GB, en-US, et",
        ),
        (
            current(transcription={"model": "eesti", "language": "en"}),
            "session.audio.input.transcription.language",
            "no model for language 'en'; those that there are: et",
        ),
        (current(transcription={"prompt": 5}), "session.audio.input.transcription.prompt", "a text"),
        (
            current(turn_detection={"type": "none"}),
            "session.audio.input.turn_detection.type",
            "server_vad or semantic_vad, found 'none'",
        ),
        (
            current(turn_detection={"type": "server_vad", "threshold": 2}),
            "session.audio.input.turn_detection.threshold",
            "from 0.0 to 1.0, found 2",
        ),
        (
            current(turn_detection={"type": "server_vad", "silence_duration_ms": 5}),
            "session.audio.input.turn_detection.silence_duration_ms",
            "a whole number from 100 to 60000, found 5",
        ),
        (
            current(turn_detection={"type": "semantic_vad", "threshold": 0.5}),
            "session.audio.input.turn_detection.threshold",
            "unknown field",
        ),
        (current(noise_reduction={"type": "x"}), "session.audio.input.noise_reduction.type", "far_field"),
        ({"include": ["words"]}, "session.include", f"may contain {LOGPROBS}, found"),
    ],
)
def test_errors_name_the_field(session: Any, param: str, text: str) -> None:
    with pytest.raises(RequestError, match=text) as refused:
        updated(session)
    assert refused.value.param == param
    assert str(refused.value).startswith(f"{param}: ") or repr(param) in str(refused.value)


NAMES = [
    "audio",
    "input",
    "format",
    "transcription",
    "turn_detection",
    "type",
    "model",
    "include",
    "threshold",
]


@given(
    st.recursive(
        JSON, lambda inner: st.dictionaries(st.sampled_from(NAMES), inner, max_size=4), max_leaves=12
    )
)
def test_any_settings_are_understood_or_refused(session: Any) -> None:
    with suppress(RequestError):
        updated(session).request_info("sess_x")
    with suppress(RequestError):
        updated(current(turn_detection=session, transcription=session, noise_reduction=session))


@pytest.mark.parametrize(
    ("name", "language", "model"),
    [
        ("", "", None),
        ("gpt-4o-transcribe", "", None),
        ("whisper-1", "et", "eesti"),
        ("gpt-4o-transcribe", "en", "big"),
        ("small", "en", "small"),
        ("x", "fr", "x"),  # which does not say what it speaks
    ],
)
def test_the_model_that_a_client_means(name: str, language: str, model: str | None) -> None:
    assert choose(name, language) == model
    assert choose_model(name, language, {}, None) == (
        None if name.startswith(("gpt", "wh")) or not name else name
    )


def test_models_that_transcribe() -> None:
    for name in ("gpt-4o-mini-transcribe", "gpt-realtime-whisper", "whisper-1", "eesti"):
        assert is_transcriber(name, MODELS)
    for name in ("gpt-realtime", "", "english"):
        assert not is_transcriber(name, MODELS)
