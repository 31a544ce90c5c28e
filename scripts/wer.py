"""Word error rate of a model on recordings whose words are known.

Each recording is decoded alone, in one segment. Usage: wer.py [--model MODEL] [--data FOLDER] [--prefix P]
FOLDER has wav/NAME.wav and a file text with lines "NAME words ...". Needs the extra `bench`.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jiwer

from pykaldi_server.session import Final, Model
from pykaldi_server.session.transcribe import transcribe

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(ROOT / "models" / "english"))
    parser.add_argument("--data", type=Path, default=ROOT / "tests" / "data" / "golden")
    parser.add_argument("--prefix", default="ps-librivox", help="only recordings whose names start so")
    args = parser.parse_args()
    model = Model.load(args.model, do_endpointing=False)
    references, hypotheses = [], []
    for line in (args.data / "text").read_text().splitlines():
        name, _, words = line.partition(" ")
        if not name.startswith(args.prefix):
            continue
        events = transcribe(model, args.data / "wav" / f"{name}.wav")
        said = [event.hypotheses[0].transcript for event in events if isinstance(event, Final)]
        references.append(words)
        hypotheses.append(" ".join(said))
        print(f"{name}\n  said       {words}\n  recognised {hypotheses[-1]}")
    found = jiwer.process_words(references, hypotheses)
    words = found.hits + found.substitutions + found.deletions
    print(
        f"{model.name}: {100 * found.wer:.1f} % word errors in {words} words ({found.substitutions} "
        f"substituted, {found.deletions} deleted, {found.insertions} inserted)"
    )


if __name__ == "__main__":
    main()
