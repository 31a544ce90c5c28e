"""Events of a session as messages of the protocol."""

import json
from datetime import datetime

from pykaldi_server.protocols import gstreamer as protocol
from pykaldi_server.protocols.gstreamer import SetAdaptationState
from pykaldi_server.session.events import (
    AdaptationState,
    AlignedPhone,
    AlignedWord,
    Final,
    Hypothesis,
    Partial,
)
from pykaldi_server.worker.event_messages import event_message, final_from_message


def test_partial_result() -> None:
    assert event_message(Partial(segment=2, transcript="one two"), "some-id") == {
        "status": 0,
        "segment": 2,
        "id": "some-id",
        "result": {"hypotheses": [{"transcript": "one two"}], "final": False},
    }


def test_a_stable_prefix_is_a_field_of_its_own() -> None:
    partial = Partial(segment=0, transcript="one two", stable_prefix="one")
    hypotheses = event_message(partial, "some-id")["result"]["hypotheses"]
    assert hypotheses == [{"transcript": "one two", "stable-prefix": "one"}]
    partial = Partial(segment=0, transcript="one two", stable_prefix="one", final_prefix="one")
    hypotheses = event_message(partial, "some-id")["result"]["hypotheses"]
    assert hypotheses == [{"transcript": "one two", "stable-prefix": "one", "final-prefix": "one"}]


def test_events_of_channels_say_so() -> None:
    final = Final(0, 1.0, 1.2, 2.2, (Hypothesis("one", 1.0),), channel=1)
    state = AdaptationState("state", channel=2)
    messages = [event_message(event, "some-id") for event in (Partial(0, "one", channel=0), final, state)]
    assert [message["channel"] for message in messages] == [0, 1, 2]
    assert messages[2]["adaptation_state"]["channel"] == 2
    answer = {"result": {"hypotheses": [{"transcript": "ONE"}]}}
    changed = final_from_message(answer, final, "some-id")
    assert changed.channel == 1
    assert event_message(changed, "some-id")["channel"] == 1


def test_words_of_a_partial_result_count_from_its_segment_as_those_of_a_final_one() -> None:
    partial = Partial(segment=2, transcript="one", words=(AlignedWord("one", 1.5, 0.25, 0.75),), start_s=1.2)
    message = event_message(partial, "some-id")
    assert message["segment-start"] == 1.2
    assert message["result"]["hypotheses"] == [
        {
            "transcript": "one",
            "word-alignment": [{"word": "one", "start": 0.3, "length": 0.25, "confidence": 0.75}],
        }
    ]


def test_final_result() -> None:
    best = Hypothesis(
        transcript="one",
        likelihood=123.5,
        confidence=0.75,
        words=(AlignedWord("one", 0.30000000000000004, 0.5, 0.75),),
        phones=(AlignedPhone("W_B", 0.3, 0.06, 1.0),),
    )
    second = Hypothesis(transcript="won", likelihood=120.0)
    event = Final(segment=0, start_s=1.0, length_s=1.2, total_length_s=2.2, hypotheses=(best, second))
    assert event_message(event, "some-id") == {
        "status": 0,
        "segment": 0,
        "id": "some-id",
        "segment-start": 1.0,
        "segment-length": 1.2,
        "total-length": 2.2,
        "result": {
            "final": True,
            "hypotheses": [
                {
                    "transcript": "one",
                    "likelihood": 123.5,
                    "confidence": 0.75,
                    "word-alignment": [{"word": "one", "start": 0.3, "length": 0.5, "confidence": 0.75}],
                    "phone-alignment": [{"phone": "W_B", "start": 0.3, "length": 0.06, "confidence": 1.0}],
                },
                {"transcript": "won", "likelihood": 120.0},
            ],
        },
    }


def test_the_state_of_cmvn_is_a_field_of_its_own() -> None:
    ivector = "<OnlineIvectorExtractorAdaptationState> <CmvnState> <OnlineCmvnState> </OnlineCmvnState> "
    ivector += "</OnlineIvectorExtractorAdaptationState> "
    cmvn = "<OnlineCmvnState> </OnlineCmvnState> "
    for value, expected in (
        (ivector, (ivector, None)),
        (ivector + cmvn, (ivector, cmvn)),
        (cmvn, ("", cmvn)),
    ):
        state = event_message(AdaptationState(value), "some-id")["adaptation_state"]
        found = protocol.decode_adaptation_state(state), protocol.decode_cmvn_state(state)
        assert found == expected
        assert ("cmvn_state" in state) == (expected[1] is not None)


def test_adaptation_state_event() -> None:
    now = datetime(2014, 11, 14, 11, 8, 49)
    message = event_message(AdaptationState("<OnlineIvectorAdaptationState>"), "some-id", now)
    state = message["adaptation_state"]
    assert message == {"status": 0, "id": "some-id", "adaptation_state": state}
    assert (state["id"], state["type"], state["time"]) == (
        "some-id",
        "string+gzip+base64",
        "2014-11-14T11:08:49",
    )
    # What the server sends is what a client sends back.
    sent_back = protocol.parse_client_message(json.dumps({"adaptation_state": state}))
    assert isinstance(sent_back, SetAdaptationState)
    assert protocol.decode_adaptation_state(sent_back.properties) == "<OnlineIvectorAdaptationState>"
