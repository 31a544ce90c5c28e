"""From the end of a segment to hypotheses: transcripts, costs, times, confidences."""

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.session.events import Hypothesis
from pykaldi_server.session.model import Model
from pykaldi_server.session.nnet3_stream import Nnet3Stream


def transcript(model: Model, words: NDArray[np.int32]) -> str:
    """Joins the symbols of words by single spaces."""
    return " ".join(map(model.words.find_symbol, words.tolist()))


def final_hypotheses(model: Model, stream: Nnet3Stream) -> tuple[Hypothesis, ...]:
    """Hypotheses of a segment whose decoding has been finalised; the best first."""
    best = stream.decoder.get_best_path()
    return (
        Hypothesis(
            transcript=transcript(model, best.words), likelihood=-(best.graph_cost + best.acoustic_cost)
        ),
    )
