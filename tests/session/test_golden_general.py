"""General English on Kaldi's own static graph: segments of a long recording, and a speaker who returns."""

from pathlib import Path

import numpy as np
import pytest
from golden_data import best_paths, lines, read_wav

from pykaldi_server.session import Final, Model
from pykaldi_server.session.adaptation import state_from_text

# Costs are sums over hundreds of frames of log-likelihoods that agree to 1e-2.
COST_TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def model(models: Path, shared_golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The English model with the general graph that Kaldi composed."""
    return Model.load(model_folder(models, shared_golden, tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def rescoring_model(models: Path, shared_golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The same with the larger language model, decoding each recording as a whole."""
    folder = model_folder(models, shared_golden, tmp_path_factory.mktemp("model"), "rescore")
    return Model.load(folder, chunk_length_in_secs=0.18, do_endpointing=False)


def model_folder(models: Path, shared_golden: Path, folder: Path, *more: str) -> Path:
    for name in ("am", "conf", "ivector", *more):
        (folder / name).symlink_to(models / "english" / name)
    graph = folder / "graph"
    graph.mkdir()
    (graph / "HCLG.fst").symlink_to(shared_golden / "general" / "HCLG.fst")
    for name in ("words.txt", "phones.txt", "phones"):
        (graph / name).symlink_to(models / "english" / "graph" / name)
    return folder


def test_rescored_words_are_kaldis(rescoring_model, shared_golden):
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


def test_segments(model, shared_golden):
    expected = best_paths(shared_golden / "segments" / "best_path.txt")
    bounds = [fields[1:] for fields in lines(shared_golden / "segments" / "segments.txt")]
    _, samples = read_wav(shared_golden / "long" / "long.wav")
    stream = model.acoustics.start(model.graph, model.endpoint)
    found = []

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


def test_session_gives_these_segments(model, shared_golden):
    expected = best_paths(shared_golden / "segments" / "best_path.txt")
    _, samples = read_wav(shared_golden / "long" / "long.wav")
    session = model.session()
    events = session.accept(samples) + session.finish()
    finals = [event for event in events if isinstance(event, Final)]
    spoken = [best.words for best in expected.values() if best.words]
    assert [final.hypotheses[0].transcript.split() for final in finals] == spoken


def test_returning_speakers(model, shared_golden):
    expected = best_paths(shared_golden / "returning" / "best_path.txt")
    speakers = dict(lines(shared_golden / "utt2spk"))
    states: dict[str, str] = {}
    step = int(0.18 * 16000)
    for name, best in expected.items():
        _, samples = read_wav(shared_golden / "wav" / f"{name}.wav")
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
        states[speakers[name]] = stream.adaptation_state()
        compare_states(states[speakers[name]], shared_golden / "returning" / f"{name}.adaptation.txt", name)


def compare_states(found: str, path: Path, name: str) -> None:
    ours, kaldis = state_from_text(found), state_from_text(path.read_text())
    for left, right in (
        (ours.ivector_stats.linear_term, kaldis.ivector_stats.linear_term),
        (ours.ivector_stats.quadratic_term, kaldis.ivector_stats.quadratic_term),
        (ours.cmvn_state.speaker_cmvn_stats, kaldis.cmvn_state.speaker_cmvn_stats),
    ):
        assert np.abs(left - right).max() < 1e-3 * np.abs(right).max(), name
