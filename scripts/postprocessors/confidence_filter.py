"""Post-processor, full form: removes words of which the recogniser is unsure.

A word goes when its confidence is below a threshold, from the transcript and from the word alignment. Where a
result has no confidences of words, that of the whole hypothesis decides about all of its words::

    full-post-processor: python confidence_filter.py --threshold 0.5 --replacement '[?]'
"""

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any, TextIO


def filtered(hypothesis: dict[str, Any], threshold: float, replacement: str) -> dict[str, Any]:
    """A hypothesis of a final result without its unsure words.

    Args:
        hypothesis: as the recogniser sends it.
        threshold: least confidence, 0..1, of a word that stays.
        replacement: what is written for a word that goes; may be empty.
    """
    words = hypothesis.get("word-alignment")
    if not words:
        is_sure = hypothesis.get("confidence", 1.0) >= threshold
        return hypothesis if is_sure else {**hypothesis, "transcript": replacement}
    texts = [word["word"] if word["confidence"] >= threshold else replacement for word in words]
    return {
        **hypothesis,
        "transcript": " ".join(filter(None, texts)),
        "word-alignment": [word for word in words if word["confidence"] >= threshold],
    }


def results(lines: TextIO) -> Iterator[dict[str, Any]]:
    """The results in a stream: JSON that may span lines, each followed by an empty line."""
    text = ""
    for line in lines:
        text += line
        if text.strip() and not line.strip():
            yield json.loads(text)
            text = ""


def main() -> None:
    """Answers each result of standard input by one result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--threshold", type=float, default=0.5, help="least confidence of a word that stays")
    parser.add_argument("--replacement", default="", help="written for each word that goes")
    options = parser.parse_args()
    for message in results(sys.stdin):
        result = message["result"]
        result["hypotheses"] = [
            filtered(each, options.threshold, options.replacement) for each in result["hypotheses"]
        ]
        print(json.dumps(message), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
