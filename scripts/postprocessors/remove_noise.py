"""Post-processor, line form: removes words that are not speech, such as ``<UNK>`` and ``[noise]``.

Without arguments, it removes words in angle or square brackets and words that begin with an exclamation mark,
as in ``<UNK> [laughter] !SIL``; arguments name the words instead::

    post-processor: python remove_noise.py '<UNK>' '[noise]'
"""

import re
import sys

BRACKETED = re.compile(r"<.*>|\[.*\]|!.*")


def without_noise(line: str, noise: set[str]) -> str:
    """A transcript without noise words.

    Args:
        line: words, separated by spaces.
        noise: the words to remove; empty for all that look like noise.
    """

    def is_noise(word: str) -> bool:
        return word in noise if noise else BRACKETED.fullmatch(word) is not None

    return " ".join(word for word in line.split() if not is_noise(word))


def main() -> None:
    """Answers each line of standard input by one line."""
    noise = set(sys.argv[1:])
    for line in sys.stdin:
        print(without_noise(line, noise), flush=True)


if __name__ == "__main__":
    main()
