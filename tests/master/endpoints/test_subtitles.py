"""Subtitles of a transcript that a client has already, by HTTP."""

import asyncio
import json
from typing import Any

import pytest

from pykaldi_server.master.endpoints import subtitles
from pykaldi_server.protocols.transcript import Segment, Word

PATH = "/client/dynamic/subtitles"
SEGMENT = Segment("one two", 1.0, 4.0, words=(Word("one", 1.5, 2.0), Word("two", 2.0, 3.5)), channel=1)


def body_of(*segments: Any) -> bytes:
    return json.dumps({"status": 0, "segments": segments}).encode()


@pytest.mark.parametrize(
    ("query", "content_type", "text"),
    [
        ("", "application/x-subrip", "1\n00:00:01,500 --> 00:00:03,500\nChannel 2: one two\n"),
        ("?format=vtt", "text/vtt", "WEBVTT\n\n00:00:01.500 --> 00:00:03.500\n<v Channel 2>one two\n"),
        (
            "?format=TTML",
            "application/ttml+xml",
            'begin="00:00:01.500" end="00:00:03.500">Channel 2: one two<',
        ),
    ],
)
def test_subtitles_of_an_answer_with_words(harness: Any, query: str, content_type: str, text: str) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            body = body_of(SEGMENT.message())
            response = await harness.fetch(master, PATH + query, method="POST", body=body)
            assert (response.code, response.headers["Content-Type"]) == (
                200,
                f"{content_type}; charset=UTF-8",
            )
            assert text in response.body.decode()

    harness.run(scenario)


@pytest.mark.parametrize(
    ("query", "body", "error"),
    [
        ("?format=doc", body_of(), "format: expected one of srt, vtt, ttml, found 'doc'"),
        ("", b"\xff", "expected JSON, found other text"),
        ("", b"[" * 100_000, "expected JSON, found other text"),
        ("", b"[]", "segments: expected a list of segments with words, found none"),
        ("", body_of({"text": 5}), "text: expected text, found 5"),
    ],
)
def test_what_is_no_transcript_is_refused_by_name(harness: Any, query: str, body: bytes, error: str) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            response = await harness.fetch(master, PATH + query, method="POST", body=body)
            assert response.code == 400
            assert response.body.decode().startswith(error)

    harness.run(scenario)


def test_long_transcripts_pass_and_endless_ones_are_refused(
    harness: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subtitles, "MAX_BODY_BYTES", 2_000_000)

    async def scenario() -> None:
        async with harness.master() as master:
            body = body_of(SEGMENT.message()) + 1_900_000 * b" "
            response = await harness.fetch(master, PATH, method="POST", body=body)
            assert response.code == 200
            response = await harness.fetch(master, PATH, method="POST", body=body + body)
            assert (response.code, response.body) == (413, b"expected at most 2000000 bytes, found more\n")

    harness.run(scenario)


def test_many_large_transcripts_at_once_take_bounded_memory(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master(max_message_bytes=1_000_000) as master:
            body = body_of(SEGMENT.message()) + 1_500_000 * b" "
            responses = await asyncio.gather(
                *(harness.fetch(master, PATH, method="POST", body=body) for _ in range(20))
            )
            codes = {response.code for response in responses}
            assert codes == {200, 503}
            assert master.hub.arriving.held_bytes == 0
            response = await harness.fetch(master, PATH, method="POST", body=body)
            assert response.code == 200

    harness.run(scenario)
