"""Post-processor, line form: writes numbers as digits, so that "twenty five" becomes "25".

It needs text2num (``pip install 'pykaldi-server[numbers]'``), which knows English, French, Spanish,
Portuguese, German, Dutch, Danish and Italian. The argument is the language's code; English without one::

    post-processor: python numbers_from_words.py de
"""

import sys

from text_to_num import alpha2digit


def main() -> None:
    """Answers each line of standard input by one line."""
    language = sys.argv[1] if len(sys.argv) > 1 else "en"
    for line in sys.stdin:
        print(alpha2digit(line.rstrip("\n"), language), flush=True)


if __name__ == "__main__":
    main()
