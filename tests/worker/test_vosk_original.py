"""The same conversation with vosk-server's original, Vosk's library, and with this server: same replies.

With Vosk's recipe (see docs/models.md) and features that are not random.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from live_worker import running_worker
from vosk_library import STEP_S, Vosk, copy_without_dither, load_vosk

from pykaldi_server.protocols.messages import Message
from pykaldi_server.protocols.vosk import layout
from pykaldi_server.session import Model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

RATE_HZ = 16000
AUDIO_S = 30
RECIPE: dict[str, Any] = {"lmwt_scale": 0.9, "chunk_length_in_secs": STEP_S, "decode_mbr": True}
EOF = '{"eof" : 1}'
# The server rounds times to the millisecond. Costs are sums in single precision, so one side may have a path
# at the edge of the lattice that the other has not. The confidences of two words in a hundred differ by more
# than 0.001, one of them by 0.0133.
TIME_TOLERANCE_S = 0.002
CONFIDENCE_TOLERANCE = 0.02
LIKELIHOOD_TOLERANCE = 1e-3  # relative


@pytest.fixture(scope="module")
def english(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_without_dither(models / "english", tmp_path_factory.mktemp("english"))


@pytest.fixture(scope="module")
def original(english: Path) -> Vosk:
    return load_vosk(english)


@pytest.fixture(scope="module")
def messages(golden: Path) -> list[bytes]:
    """Sentences with pauses between them, in pieces of the length in which Vosk decodes."""
    data = (golden / "long" / "long.wav").read_bytes()[44 : 44 + 2 * RATE_HZ * AUDIO_S]
    step = 2 * int(STEP_S * RATE_HZ)
    return [data[begin : begin + step] for begin in range(0, len(data), step)]


def converse(
    harness: Any, model: Path, messages: list[bytes], configuration: Message, **options: Any
) -> list[str]:
    """The replies of this server."""
    replies: list[str] = []
    loaded = Model.load(model, **{**RECIPE, **options})

    async def scenario() -> None:
        async with harness.master() as master, running_worker(loaded, master, sessions=1):
            client = await harness.connect(f"{master.url.replace('http', 'ws')}/vosk")
            unlimited = {"sample_rate": RATE_HZ, "max_segment_words": 0}
            await client.send({"config": {**unlimited, **configuration}})
            for message in [*messages, EOF]:
                await client.send(message)
                replies.append(await client.read())

    harness.run(scenario)
    return replies


def assert_same_words(ours: list[Message], theirs: list[Message]) -> None:
    assert [word["word"] for word in ours] == [word["word"] for word in theirs]
    for our, their in zip(ours, theirs, strict=True):
        assert list(our) == list(their)
        assert our["start"] == pytest.approx(their["start"], abs=TIME_TOLERANCE_S)
        assert our["end"] == pytest.approx(their["end"], abs=TIME_TOLERANCE_S)
        assert our["conf"] == pytest.approx(their["conf"], abs=CONFIDENCE_TOLERANCE)


def test_the_words_and_times_of_the_original_in_reply_to_the_same_messages(
    harness: Any, english: Path, original: Vosk, messages: list[bytes]
) -> None:
    theirs = original.converse(messages, RATE_HZ)
    ours = converse(harness, english, messages, {}, traceback_period_in_secs=0.0)
    finals = 0
    for our, their in zip(ours, theirs, strict=True):
        our_reply, their_reply = json.loads(our), json.loads(their)
        if "result" not in their_reply:
            assert our == their
            continue
        finals += 1
        assert list(our_reply) == list(their_reply)
        assert our_reply["text"] == their_reply["text"]
        assert_same_words(our_reply["result"], their_reply["result"])
    assert finals > 3


def test_without_words_replies_are_the_same_to_the_byte(
    harness: Any, english: Path, original: Vosk, messages: list[bytes]
) -> None:
    theirs = original.converse(messages, RATE_HZ, words=0)
    ours = converse(harness, english, messages, {"words": False}, traceback_period_in_secs=0.0)
    assert ours == theirs


def test_the_best_alternatives_of_the_original(
    harness: Any, english: Path, original: Vosk, messages: list[bytes]
) -> None:
    theirs = original.converse(messages, RATE_HZ, max_alternatives=3)
    ours = converse(harness, english, messages, {"max_alternatives": 3}, decode_mbr=False)
    compared = 0
    for our, their in zip(map(json.loads, ours), map(json.loads, theirs), strict=True):
        assert our.keys() == their.keys()
        if not their.get("alternatives", [{}])[0].get("text"):
            continue
        compared += 1
        best, expected = our["alternatives"][0], their["alternatives"][0]
        assert list(best) == list(expected)
        assert best["text"] == expected["text"]
        assert best["confidence"] == pytest.approx(expected["confidence"], rel=LIKELIHOOD_TOLERANCE)
        assert [list(word) for word in best["result"]] == [list(word) for word in expected["result"]]
    assert compared > 3


@pytest.mark.parametrize(
    "configuration",
    [{}, {"words": 0}, {"partial_words": 1}, {"max_alternatives": 3}, {"max_alternatives": 2, "words": 0}],
)
def test_a_result_of_the_original_is_written_as_the_original_writes_it(
    original: Vosk, messages: list[bytes], configuration: dict[str, int]
) -> None:
    replies = original.converse(messages, RATE_HZ, **configuration)
    assert len({"partial" in json.loads(reply) for reply in replies}) == 2
    for reply in replies:
        assert layout(json.loads(reply)) == reply
