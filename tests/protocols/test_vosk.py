"""What Vosk's clients say and hear: configurations, one reply per message, and the layout of replies."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pykaldi_server.errors import ProtocolError
from pykaldi_server.protocols.messages import Message
from pykaldi_server.protocols.vosk import (
    MOST_WORDS,
    Audio,
    Configuration,
    Configure,
    Dialogue,
    EndOfStream,
    Reset,
    parse_client_message,
)

RESET = '{"reset": true}'


def word(text: str, start_s: float, length_s: float, confidence: float = 1.0) -> Message:
    return {"word": text, "start": start_s, "length": length_s, "confidence": confidence}


def partial(text: str, *words: Message, start_s: float = 0.0) -> Message:
    hypothesis: Message = {"transcript": text}
    if words:
        hypothesis["word-alignment"] = list(words)
    result = {"hypotheses": [hypothesis], "final": False}
    return {"status": 0, "segment": 0, "segment-start": start_s, "result": result}


def final(*hypotheses: Message, start_s: float = 0.0) -> Message:
    return {"segment-start": start_s, "status": 0, "result": {"hypotheses": list(hypotheses), "final": True}}


def hypothesis(text: str, *words: Message, likelihood: float = 100.0) -> Message:
    return {"transcript": text, "likelihood": likelihood, "word-alignment": list(words)}


def dialogue(**configuration: Any) -> Dialogue:
    started = Dialogue(Configuration())
    started.receive(Configure(configuration))
    return started


TWO = hypothesis("two nine", word("two", 0.21, 0.21, 0.610711), word("nine", 0.42, 0.24, 0.5))


# Messages of clients


@pytest.mark.parametrize("text", ['{"eof" : 1}', '{"eof":1}', '{ "eof": true }'])
def test_the_end_in_any_spelling(text: str) -> None:
    assert parse_client_message(text) == EndOfStream()
    assert parse_client_message(text.encode()) == Audio(text.encode())


def test_a_reset_and_a_configuration() -> None:
    assert parse_client_message('{"reset" : 1}') == Reset()
    text = '{ "config" : { "sample_rate" : 16000.000000 } }'
    assert parse_client_message(text) == Configure({"sample_rate": 16000.0})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("EOS", "expected JSON, found 'EOS'"),
        ("", "expected JSON, found ''"),
        ("[]", r"expected a JSON object, found \[\]"),
        ('{"config": 16000}', "config: expected an object, found 16000"),
        ('{"config": ', "expected JSON"),
        ('{"eof": 0}', "expected one of config, eof, reset"),
        ("[" * 100_000, "expected JSON"),
    ],
)
def test_what_is_no_message_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        parse_client_message(text)


@given(st.text())
@example('{"reset":true}')
def test_any_text_is_a_message_or_a_protocol_error(text: str) -> None:
    with suppress(ProtocolError):
        assert isinstance(parse_client_message(text), Configure | EndOfStream | Reset)
    with pytest.raises(ProtocolError):
        parse_client_message(json.dumps({"config": text}))


@pytest.mark.parametrize("rate", [16000, 16000.0, "16000", "16000.0", " 16000 "])
def test_a_rate_in_any_form(rate: Any) -> None:
    info = Configuration().updated({"sample_rate": rate}).request_info(8000)
    assert info.content_type_for(11025) == (
        "audio/x-raw, layout=(string)interleaved, format=(string)S16LE, channels=(int)1, rate=(int)16000"
    )


def test_a_rate_that_nobody_states_is_the_servers_or_the_models() -> None:
    assert str(Configuration().request_info(8000).content_type_for(11025)).endswith("rate=(int)8000")
    assert str(Configuration().request_info(None).content_type_for(11025)).endswith("rate=(int)11025")


def test_configurations_add_up_and_unknown_keys_are_ignored() -> None:
    first = Configuration().updated(
        {"words": 0, "sample_rate": 8000, "spk_model": "/x", "max_alternatives": "3"}
    )
    second = first.updated({"partial_words": True, "max_alternatives": None})
    assert second == Configuration(8000, words=False, partial_words=True, max_alternatives=3)
    unlimited = first.updated({"words": 1, "max_alternatives": 0, "max_segment_words": 0})
    assert unlimited.request_info(None).options["max-segment-words"] == 0
    assert first.updated({"words": True, "max_alternatives": 0}).request_info(None).options == {
        "num-nbest": 1,
        "do-word-alignment": True,
        "partial-words": False,
        "max-segment-words": MOST_WORDS,
    }
    assert second.request_info(None).options == {
        "num-nbest": 3,
        "do-word-alignment": False,
        "partial-words": True,
    }


@pytest.mark.parametrize("words", [True, 1, 1.0, "true", "1"])
def test_switches_in_any_form(words: Any) -> None:
    assert Configuration(words=False).updated({"words": words}).words
    negated = {True: False, "true": "False", "1": "0"}.get(words, 0)
    assert not Configuration().updated({"words": negated}).words


@pytest.mark.parametrize("phrases", [["one two", "[unk]"], '["one two", "[unk]"]'])
def test_phrases_as_a_list_and_as_its_text(phrases: Any) -> None:
    assert Configuration().updated({"phrase_list": phrases}).phrases == ("one two", "[unk]")
    assert Configuration().updated({"phrase_list": ""}).phrases == ()


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("english", "english"),
        ("/opt/models/english/", "english"),
        (r"C:\models\english", "english"),
        ("/", None),
    ],
)
def test_of_a_path_only_the_name_counts(model: str, name: str | None) -> None:
    assert Configuration().updated({"model": model}).request_info(None).model == name


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        ({"sample_rate": "fast"}, "sample_rate: expected a number, found 'fast'"),
        ({"sample_rate": True}, "sample_rate: expected a number, found True"),
        ({"sample_rate": 0}, "sample_rate: expected 1000 to 768000 Hz, found 0"),
        ({"sample_rate": 1e6}, "sample_rate: expected 1000 to 768000 Hz, found 1000000.0"),
        ({"sample_rate": float("inf")}, "sample_rate: expected a number, found inf"),
        ({"sample_rate": 10**400}, "sample_rate: expected a number"),
        ({"sample_rate": [8000]}, "sample_rate: expected a number"),
        ({"max_alternatives": -1}, "max_alternatives: expected a whole number from 0 to 1000, found -1"),
        ({"max_alternatives": 1.5}, "max_alternatives: expected a whole number"),
        ({"words": "many"}, "words: expected a number, found 'many'"),
        ({"phrase_list": "one two"}, "phrase_list: expected a list of texts, found 'one two'"),
        ({"phrase_list": [1]}, "phrase_list: expected a list of texts"),
        ({"model": 3}, "model: expected the name of a model, found 3"),
    ],
)
def test_invalid_values_are_refused_by_name(properties: Message, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        Configuration().updated(properties)


# One reply per message


def test_each_binary_message_has_one_reply_when_it_has_been_processed() -> None:
    talk = dialogue()
    assert talk.receive(Audio(b"12345678")) == [b"12345678"]
    assert talk.receive(Audio(b"1234")) == [b"1234"]
    assert talk.replies() == []
    talk.consumed(7)  # a piece of the first message
    assert talk.replies() == []
    talk.hear(partial("two"))
    talk.consumed(8)
    assert talk.replies() == ['{\n  "partial" : "two"\n}']
    assert talk.replies() == []
    talk.consumed(12)
    assert talk.replies() == ['{\n  "partial" : "two"\n}']


def test_empty_messages_have_replies_and_the_order_is_kept() -> None:
    talk = dialogue()
    assert talk.receive(Audio(b"")) == []
    assert talk.replies() == ['{\n  "partial" : ""\n}']
    talk.receive(Audio(b"1234"))
    talk.receive(Audio(b""))
    assert talk.replies() == []
    talk.hear(final(hypothesis("two")))
    talk.consumed(4)
    assert [json.loads(reply) for reply in talk.replies()] == [{"text": "two"}, {"partial": ""}]


def test_a_final_takes_the_place_of_the_partial() -> None:
    talk = dialogue()
    talk.receive(Audio(b"1234"))
    talk.hear(partial("to"))
    talk.hear(final(TWO))
    talk.consumed(4)
    (reply,) = talk.replies()
    assert json.loads(reply)["text"] == "two nine"


def test_several_finals_in_one_message_are_one_reply() -> None:
    talk = dialogue()
    talk.receive(Audio(b"1234"))
    talk.hear(final(hypothesis("two", word("two", 0.21, 0.21))))
    talk.hear(final(hypothesis(""), start_s=1.0))
    talk.hear(final(hypothesis("nine", word("nine", 0.5, 0.25)), start_s=2.0))
    talk.consumed(4)
    (reply,) = map(json.loads, talk.replies())
    assert reply["text"] == "two nine"
    assert [(each["start"], each["end"]) for each in reply["result"]] == [(0.21, 0.42), (2.5, 2.75)]


def test_a_reset_has_one_final() -> None:
    talk = dialogue()
    assert talk.receive(Reset()) == []  # before all audio nobody needs to recognise anything
    assert talk.replies() == ['{"text": ""}']
    talk.receive(Audio(b"1234"))
    assert talk.receive(Reset()) == [RESET]
    talk.receive(Audio(b"1234"))
    talk.consumed(4)
    assert [json.loads(reply) for reply in talk.replies()] == [{"partial": ""}]
    talk.hear(final(hypothesis("two")))
    talk.consumed(4 + len(RESET))
    assert [json.loads(reply) for reply in talk.replies()] == [{"text": "two"}]
    talk.consumed(8 + len(RESET))
    assert [json.loads(reply) for reply in talk.replies()] == [{"partial": ""}]


def test_the_end_has_one_final_after_all_other_replies() -> None:
    talk = dialogue()
    talk.receive(Audio(b"1234"))
    assert talk.receive(EndOfStream()) == ["EOS"]
    assert talk.is_over
    assert talk.receive(Audio(b"late")) == []
    talk.consumed(4)
    first = talk.replies()
    talk.hear(final(hypothesis("two")))
    assert [json.loads(reply) for reply in first + talk.last_replies()] == [{"partial": ""}, {"text": "two"}]


def test_replies_that_are_due_at_the_end_are_not_forgotten() -> None:
    """A worker of kaldi-gstreamer-server may close before everything written to it has been counted."""
    talk = dialogue()
    talk.receive(Audio(b"1234"))
    talk.receive(Audio(b"1234"))
    talk.receive(EndOfStream())
    talk.hear(final(hypothesis("two")))
    assert [json.loads(reply) for reply in talk.last_replies()] == [
        {"text": "two"},
        {"partial": ""},
        {"text": ""},
    ]


def test_what_looks_like_the_end_in_another_protocol_is_audio() -> None:
    talk = dialogue()
    assert talk.receive(Audio(b"EOS")) == [b"E", b"OS"]
    talk.consumed(1)
    assert talk.replies() == []
    talk.consumed(3)
    assert len(talk.replies()) == 1
    assert not talk.is_over


def test_without_audio_the_end_needs_no_recogniser() -> None:
    talk = dialogue()
    talk.receive(Audio(b""))
    assert talk.receive(EndOfStream()) == []
    assert talk.last_replies() == ['{\n  "partial" : ""\n}', '{"text": ""}']
    other = dialogue(max_alternatives=2)
    other.receive(EndOfStream())
    assert other.last_replies() == ['{"alternatives" : [{"text": "", "confidence" : 1.0}] }']


def test_silence_alone_has_an_empty_final_in_the_usual_layout() -> None:
    talk = dialogue()
    talk.receive(Audio(b"1234"))
    talk.receive(EndOfStream())
    assert talk.last_replies() == ['{\n  "partial" : ""\n}', '{\n  "text" : ""\n}']


def test_a_recognition_that_is_cut_off_reports_what_it_had() -> None:
    talk = dialogue()
    talk.receive(Audio(b"1234"))
    assert talk.unreported() == []
    talk.hear(final(hypothesis("two")))
    assert [json.loads(reply) for reply in talk.unreported()] == [{"text": "two"}]
    assert talk.unreported() == []


def test_a_configuration_after_the_first_audio_has_no_effect() -> None:
    talk = dialogue(sample_rate=8000)
    talk.receive(Audio(b""))
    talk.receive(Configure({"sample_rate": 16000}))
    assert talk.configuration.sample_rate_hz == 16000
    talk.receive(Audio(b"12"))
    talk.receive(Configure({"sample_rate": 44100}))
    assert talk.configuration.sample_rate_hz == 16000


def test_events_that_are_no_results_are_no_concern() -> None:
    talk = dialogue()
    talk.receive(Audio(b"1234"))
    talk.hear(partial("two"))
    talk.hear({"status": 0, "adaptation_state": {"value": "abc"}})
    talk.consumed(4)
    assert [json.loads(reply) for reply in talk.replies()] == [{"partial": "two"}]


@given(st.lists(st.integers(0, 5), max_size=30), st.randoms(use_true_random=False))
def test_replies_are_as_many_as_messages_however_positions_come(sizes: list[int], random: Any) -> None:
    talk = dialogue()
    count = 0
    for size in sizes:
        talk.receive(Audio(bytes(size)))
        if random.random() < 0.5:
            talk.consumed(random.randint(talk._consumed_bytes, talk._sent_bytes))
            count += len(talk.replies())
    talk.consumed(talk._sent_bytes)
    assert count + len(talk.replies()) == len(sizes)


# The layout of replies


def reply_to(talk: Dialogue, event: Message) -> str:
    talk.receive(Audio(b"12"))
    talk.hear(event)
    talk.consumed(2)
    (reply,) = talk.replies()
    return reply


def test_a_final_looks_like_the_originals() -> None:
    assert reply_to(dialogue(), final(TWO)) == (
        "{\n"
        '  "result" : [{\n'
        '      "conf" : 0.610711,\n'
        '      "end" : 0.420000,\n'
        '      "start" : 0.210000,\n'
        '      "word" : "two"\n'
        "    }, {\n"
        '      "conf" : 0.500000,\n'
        '      "end" : 0.660000,\n'
        '      "start" : 0.420000,\n'
        '      "word" : "nine"\n'
        "    }],\n"
        '  "text" : "two nine"\n'
        "}"
    )


def test_a_segment_of_many_words_fits_into_the_buffer_of_a_client() -> None:
    """The C# client's, of 4,096 bytes; a Cyrillic letter takes two of them."""
    words = [word("слово", 1.0 * number, 0.5) for number in range(MOST_WORDS + 1)]
    event = final(hypothesis(" ".join(each["word"] for each in words), *words), start_s=3600.0)
    assert len(reply_to(dialogue(), event).encode()) <= 4096


def test_a_final_without_words_looks_like_the_originals() -> None:
    assert reply_to(dialogue(words=False), final(TWO)) == '{\n  "text" : "two nine"\n}'
    assert reply_to(dialogue(), final(hypothesis("two nine"))) == '{\n  "text" : "two nine"\n}'


@pytest.mark.parametrize(
    "alignment",
    [[{"word": "two"}], ["two"], {"word": "two"}, None, 3, [{**word("two", 0, 1), "confidence": "nan"}]],
)
def test_words_that_a_post_processor_has_spoilt_are_left_out(alignment: Any) -> None:
    spoilt = {"transcript": "Two", "word-alignment": alignment}
    assert reply_to(dialogue(), final(spoilt)) == '{\n  "text" : "Two"\n}'
    alternatives = json.loads(reply_to(dialogue(max_alternatives=1), final(spoilt)))["alternatives"]
    assert alternatives == [{"text": "Two", "confidence": 0.0}]


@pytest.mark.parametrize("likelihood", [None, "likely", [], "nan"])
def test_so_is_a_likelihood(likelihood: Any) -> None:
    spoilt = {"transcript": "Two", "likelihood": likelihood}
    alternatives = json.loads(reply_to(dialogue(max_alternatives=2), final(spoilt)))["alternatives"]
    assert alternatives == [{"text": "Two", "confidence": 0.0}]


def test_alternatives_look_like_the_originals() -> None:
    other = hypothesis("to", word("to", 0.21, 0.21), likelihood=137.36071)
    best = hypothesis("two", word("two", 0.21, 0.21), likelihood=138.657211)
    nothing = hypothesis("", likelihood=130.0)
    assert reply_to(dialogue(max_alternatives=3), final(best, nothing, other)) == (
        "{\n"
        '  "alternatives" : [{\n'
        '      "confidence" : 138.657211,\n'
        '      "result" : [{\n'
        '          "end" : 0.420000,\n'
        '          "start" : 0.210000,\n'
        '          "word" : "two"\n'
        "        }],\n"
        '      "text" : "two"\n'
        "    }, {\n"
        '      "confidence" : 137.360710,\n'
        '      "result" : [{\n'
        '          "end" : 0.420000,\n'
        '          "start" : 0.210000,\n'
        '          "word" : "to"\n'
        "        }],\n"
        '      "text" : "to"\n'
        "    }]\n"
        "}"
    )


def test_alternatives_without_words() -> None:
    talk = dialogue(max_alternatives=1, words=False)
    assert reply_to(talk, final(TWO)) == (
        '{\n  "alternatives" : [{\n      "confidence" : 100.000000,\n      "text" : "two nine"\n    }]\n}'
    )


def test_partials_with_words_look_like_the_originals() -> None:
    event = partial("to", word("to", 0.21, 0.209922, 0.91695), start_s=2.0)
    assert reply_to(dialogue(partial_words=True), event) == (
        "{\n"
        '  "partial" : "to",\n'
        '  "partial_result" : [{\n'
        '      "conf" : 0.916950,\n'
        '      "end" : 2.419922,\n'
        '      "start" : 2.210000,\n'
        '      "word" : "to"\n'
        "    }]\n"
        "}"
    )
    assert reply_to(dialogue(), event) == '{\n  "partial" : "to"\n}'
    assert reply_to(dialogue(partial_words=True), partial("")) == '{\n  "partial" : ""\n}'


def test_words_of_any_language_are_written_as_they_are() -> None:
    reply = reply_to(dialogue(), final(hypothesis('šõna "日本" \\', word('"日本"', 0.0, 0.5))))
    assert '"text" : "šõna \\"日本\\" \\\\"' in reply
    assert json.loads(reply)["result"][0]["word"] == '"日本"'


def test_the_best_readings_of_two_segments_are_the_best_pairs() -> None:
    talk = dialogue(max_alternatives=3)
    talk.receive(Audio(b"12"))
    talk.hear(
        final(
            hypothesis("a", likelihood=10.0), hypothesis("b", likelihood=9.0), hypothesis("c", likelihood=1.0)
        )
    )
    talk.hear(
        final(
            hypothesis("x", likelihood=5.0), hypothesis("y", likelihood=4.5), hypothesis("z", likelihood=3.0)
        )
    )
    talk.consumed(2)
    (reply,) = map(json.loads, talk.replies())
    assert [(each["text"], each["confidence"]) for each in reply["alternatives"]] == [
        ("a x", 15.0),
        ("a y", 14.5),
        ("b x", 14.0),
    ]
