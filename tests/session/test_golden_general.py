"""General English against Kaldi: segments of a long recording, a speaker who returns, rescoring.

Kaldi searched the static graph that OpenFst had composed. Ours is composed in the search, or compiled, or the
same.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
from golden_data import GOLDEN_FRAMES_PER_CHUNK, best_paths, lines, read_wav

from pykaldi_server.kaldi._core import BestPath as DecodedPath
from pykaldi_server.kaldi.fstext import CompiledGraph, LookaheadFst, StdConstFst, compile_graph
from pykaldi_server.session import Final, Model
from pykaldi_server.session.adaptation import SpeakerState
from pykaldi_server.session.graph import COMPILED_NAME

# Costs are sums over hundreds of frames of log-likelihoods that agree to 1e-2.
COST_TOLERANCE = 1e-3
# Of the largest value of a vector; rounding in single precision leaves 1e-6 on the way.
STATE_TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def model(request: pytest.FixtureRequest, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The English model without its larger language model; the parameter is the class of its graph."""
    kind = getattr(request, "param", LookaheadFst)
    folder = tmp_path_factory.mktemp("model")
    for name in ("am", "conf", "ivector"):
        (folder / name).symlink_to(models / "english" / name)
    shutil.copytree(models / "english" / "graph", folder / "graph")
    if kind is CompiledGraph:
        compile_graph(folder / "graph", folder / "graph" / COMPILED_NAME)
    elif kind is StdConstFst:
        static = request.getfixturevalue("shared_golden") / "general" / "HCLG.fst"
        (folder / "graph" / "HCLG.fst").symlink_to(static)
    model = Model.load(folder, frames_per_chunk=GOLDEN_FRAMES_PER_CHUNK)
    assert type(model.graph) is kind
    return model


@pytest.fixture(scope="module")
def rescoring_model(models: Path) -> Model:
    """With the larger language model, decoding each recording as a whole."""
    return Model.load(
        models / "english",
        frames_per_chunk=GOLDEN_FRAMES_PER_CHUNK,
        chunk_length_in_secs=0.18,
        do_endpointing=False,
    )


def test_rescored_words_are_kaldis(rescoring_model: Model, shared_golden: Path) -> None:
    assert rescoring_model.rescorer is not None
    different = []
    for name, *fields in lines(shared_golden / "general" / "rescored.txt"):
        rate_hz, samples = read_wav(shared_golden / "wav" / f"{name}.wav")
        session = rescoring_model.session(sample_rate_hz=rate_hz)
        events = session.accept(samples) + session.finish()
        words = [event.hypotheses[0].transcript for event in events if isinstance(event, Final)]
        expected = [field for field in fields if not is_number(field) and field != "words"]
        if " ".join(words).split() != expected:
            different.append(name)
    assert different == []


def is_number(text: str) -> bool:
    return text.replace(".", "").replace("-", "").isdecimal()


@pytest.mark.parametrize("model", [LookaheadFst, CompiledGraph, StdConstFst], indirect=True)
def test_segments(model: Model, golden: Path) -> None:
    expected = best_paths(golden / "segments" / "best_path.txt")
    bounds = [fields[1:] for fields in lines(golden / "segments" / "segments.txt")]
    _, samples = read_wav(golden / "long" / "long.wav")
    stream = model.acoustics.start(model.graph, model.endpoint)
    found: list[DecodedPath] = []

    def end_segment(accepted: int, why: str) -> None:
        segment = [str(stream.first_frame), str(stream.num_frames_decoded()), str(accepted), why]
        assert segment == bounds[len(found)]
        stream.decoder.finalize_decoding()
        found.append(stream.decoder.get_best_path())
        stream.next_segment()

    for begin in range(0, len(samples), 800):
        end = begin + 800
        if end >= len(samples):
            stream.finish(samples[begin:])
            end_segment(len(samples), "end")
        elif stream.accept(samples[begin:end]) and stream.endpoint_detected():
            end_segment(end, "endpoint")
    assert len(found) == len(bounds)
    for path, (name, best) in zip(found, expected.items(), strict=False):
        assert [model.words.find_symbol(word) for word in path.words.tolist()] == best.words, name
        assert path.alignment.tolist() == best.alignment, name
        assert (path.graph_cost, path.acoustic_cost) == pytest.approx(
            (best.graph_cost, best.acoustic_cost), rel=COST_TOLERANCE
        ), name


def test_session_gives_these_segments(model: Model, golden: Path) -> None:
    expected = best_paths(golden / "segments" / "best_path.txt")
    _, samples = read_wav(golden / "long" / "long.wav")
    session = model.session()
    events = session.accept(samples) + session.finish()
    finals = [event for event in events if isinstance(event, Final)]
    spoken = [best.words for best in expected.values() if best.words]
    assert [final.hypotheses[0].transcript.split() for final in finals] == spoken


@pytest.mark.parametrize("recordings", ["golden", "shared_golden"])
def test_returning_speakers(model: Model, recordings: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(recordings)
    expected = best_paths(folder / "returning" / "best_path.txt")
    speakers = dict(lines(folder / "utt2spk"))
    states: dict[str, str] = {}
    compared = 0
    step = int(0.18 * 16000)
    for name, best in expected.items():
        _, samples = read_wav(folder / "wav" / f"{name}.wav")
        state = states.get(speakers[name])
        stream = model.acoustics.start(model.graph, None, state)
        for begin in range(0, len(samples), step):
            if begin + step >= len(samples):
                stream.finish(samples[begin:])
            else:
                stream.accept(samples[begin : begin + step])
        stream.decoder.finalize_decoding()
        path = stream.decoder.get_best_path()
        assert path.alignment.tolist() == best.alignment, name
        learned = stream.adaptation_state()
        assert learned is not None
        states[speakers[name]] = learned
        golden_state = folder / "returning" / f"{name}.adaptation.txt"
        if golden_state.exists():  # a clone has the last one of each speaker
            compare_states(states[speakers[name]], golden_state, name)
            compared += 1
    assert compared >= 2


def compare_states(found: str, path: Path, name: str) -> None:
    ours, kaldis = (SpeakerState.from_text(text).ivector for text in (found, path.read_text()))
    assert ours is not None
    assert kaldis is not None
    for left, right in (
        (ours.ivector_stats.linear_term, kaldis.ivector_stats.linear_term),
        (ours.ivector_stats.quadratic_term, kaldis.ivector_stats.quadratic_term),
        *zip(ours.cmvn_state.speaker_cmvn_stats, kaldis.cmvn_state.speaker_cmvn_stats, strict=True),
    ):
        assert np.abs(left - right).max() < STATE_TOLERANCE * np.abs(right).max(), name
