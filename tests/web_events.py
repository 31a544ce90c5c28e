"""What scripted workers say in tests of the page, and how the page is asked what it shows."""

import json
from typing import Any

from browser import Browser
from harness import Socket

__all__ = [
    "ADAPTATION_STATE",
    "PHASE",
    "WORKER",
    "activity",
    "by_take",
    "final",
    "partial",
    "position",
    "shows",
]

WORKER = "model=english&language=en&protocol=2"
ADAPTATION_STATE = {"id": "x", "value": "abc", "type": "string+gzip+base64", "time": "2020-01-01T00:00:00"}
PHASE = "document.querySelector('.take')?.dataset.phase"


def partial(text: str, segment: int = 0) -> dict[str, Any]:
    result = {"hypotheses": [{"transcript": text}], "final": False}
    return {"status": 0, "segment": segment, "id": "x", "result": result}


def final(words: list[tuple[str, float, float, float]], start_s: float, length_s: float) -> dict[str, Any]:
    """A final result; each word is its text, start, length and confidence."""
    alignment = [
        {"word": word, "start": start, "length": length, "confidence": confidence}
        for word, start, length, confidence in words
    ]
    hypothesis = {"transcript": " ".join(word[0] for word in words), "word-alignment": alignment}
    return {
        "status": 0,
        "segment": 0,
        "id": "x",
        "segment-start": start_s,
        "segment-length": length_s,
        "total-length": start_s + length_s,
        "result": {"hypotheses": [hypothesis], "final": True},
    }


def position(num_bytes: int, seconds: float, *, is_end: bool = False) -> dict[str, Any]:
    return {"position": {"bytes": num_bytes, "seconds": seconds, "end": is_end}}


def activity(text: str) -> str:
    """The condition that the line below the microphone says this."""
    return f"document.getElementById('activity').textContent === {json.dumps(text)}"


def shows(text: str) -> str:
    """The condition that the transcripts have this text somewhere."""
    return f"document.getElementById('takes').textContent.includes({json.dumps(text)})"


async def by_take(browser: Browser, workers: list[Socket]) -> list[Socket]:
    """Reads how requests begin; returns their workers in the order of the takes that they serve."""
    begun = {(await worker.read_json())["content_id"]: worker for worker in workers}
    takes = await browser.evaluate("[...document.querySelectorAll('.take h2')].map((each) => each.id)")
    return [begun[take.removeprefix("take-")] for take in takes if take.removeprefix("take-") in begun]
