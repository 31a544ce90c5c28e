"""CPU time of the parts of a decode, for the scripts that measure whole ones."""

import functools
import time
from collections.abc import Callable

from pykaldi_server.kaldi.feat import OnlineMfcc
from pykaldi_server.kaldi.nnet3 import DecodableNnetLoopedOnline
from pykaldi_server.kaldi.online2 import OnlineIvectorFeature, OnlineSilenceWeighting

# What counts as which part. Parts nest, because features are pulled by i-vectors and the network: the time of
# an inner call counts for the inner part only.
PARTS = {
    "features": [(OnlineMfcc, "accept_waveform"), (OnlineMfcc, "input_finished")],
    "i-vectors": [
        (OnlineIvectorFeature, "get_frame"),
        (OnlineSilenceWeighting, "compute_current_traceback"),
        (OnlineSilenceWeighting, "get_delta_weights"),
    ],
    "network": [(DecodableNnetLoopedOnline, "advance")],
}
REST = "the rest (search, results)"


def watch_parts() -> dict[str, float]:
    """Replaces methods by ones that are timed.

    Returns:
        The CPU seconds of each part, which go on growing.
    """
    seconds = dict.fromkeys(PARTS, 0.0)
    inner = [0.0]  # CPU time of timed calls inside each call that is running

    def watch(part: str, owner: type, name: str) -> None:
        method: Callable = getattr(owner, name)

        @functools.wraps(method)
        def timed(*args, **kwargs):
            start = time.thread_time()
            inner.append(0.0)
            try:
                return method(*args, **kwargs)
            finally:
                spent = time.thread_time() - start
                seconds[part] += spent - inner.pop()
                inner[-1] += spent

        setattr(owner, name, timed)

    for part, methods in PARTS.items():
        for owner, name in methods:
            watch(part, owner, name)
    return seconds
