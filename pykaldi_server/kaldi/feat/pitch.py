"""Pitch features of streams and of whole recordings (``feat/pitch-functions.h``)."""

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.kaldi.feat.online_feature import FloatFrames, OnlineFeatureInterface, OnlineMatrixFeature
from pykaldi_server.kaldi.feat.pitch_extraction import OnlinePitchFeature
from pykaldi_server.kaldi.feat.pitch_options import PitchExtractionOptions, ProcessPitchOptions
from pykaldi_server.kaldi.feat.pitch_processing import OnlineProcessPitch

__all__ = [
    "OnlinePitchFeature",
    "OnlineProcessPitch",
    "PitchExtractionOptions",
    "ProcessPitchOptions",
    "compute_and_process_kaldi_pitch",
    "compute_kaldi_pitch",
    "process_pitch",
]


def compute_kaldi_pitch(opts: PitchExtractionOptions, wave: NDArray[np.float32]) -> FloatFrames:
    """Computes correlation and pitch of a recording.

    Args:
        opts: the options, of which ``frames_per_chunk`` and ``simulate_first_pass_online`` count only here.
        wave: (samples,), float32, int16 range, at ``opts.samp_freq``.

    Returns:
        (frames, 2), float32: correlation, pitch in Hz.

    Raises:
        ConfigError: an option is invalid.
    """
    extractor = OnlinePitchFeature(opts)
    return _run(opts, wave, extractor, extractor)


def process_pitch(opts: ProcessPitchOptions, pitch: FloatFrames, noise_seed: int | None = 0) -> FloatFrames:
    """Computes features from correlation and pitch.

    Args:
        opts: which features to compute.
        pitch: (frames, 2), as `compute_kaldi_pitch` returns them.
        noise_seed: see `OnlineProcessPitch`.

    Returns:
        (frames + opts.delay, opts.dim()), float32.

    Raises:
        ConfigError: an option is invalid.
    """
    features = OnlineProcessPitch(opts, OnlineMatrixFeature(pitch), noise_seed)
    return features.get_frames(0, features.num_frames_ready())


def compute_and_process_kaldi_pitch(
    pitch_opts: PitchExtractionOptions,
    process_opts: ProcessPitchOptions,
    wave: NDArray[np.float32],
    noise_seed: int | None = 0,
) -> FloatFrames:
    """Does both; ``simulate_first_pass_online`` returns the features as online decoding first sees them."""
    extractor = OnlinePitchFeature(pitch_opts)
    return _run(pitch_opts, wave, extractor, OnlineProcessPitch(process_opts, extractor, noise_seed))


def _run(
    opts: PitchExtractionOptions,
    wave: NDArray[np.float32],
    extractor: OnlinePitchFeature,
    features: OnlineFeatureInterface,
) -> FloatFrames:
    chunk_samples = int(opts.frames_per_chunk * opts.samp_freq * opts.frame_shift_ms / 1000) or max(
        len(wave), 1
    )
    seen_first = [np.zeros((0, features.dim()), np.float32)]
    num_seen = 0
    for begin in range(0, len(wave), chunk_samples):
        extractor.accept_waveform(opts.samp_freq, wave[begin : begin + chunk_samples])
        if begin + chunk_samples >= len(wave):
            extractor.input_finished()
        ready = features.num_frames_ready()
        if opts.simulate_first_pass_online:
            seen_first.append(features.get_frames(num_seen, ready))
        num_seen = ready
    if opts.simulate_first_pass_online:
        return np.concatenate(seen_first)
    return features.get_frames(0, num_seen)
