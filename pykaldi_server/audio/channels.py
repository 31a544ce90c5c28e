"""Which channels of a recording are heard: their mix, one of them, or each by itself.

The mix is the mean. Where channels carry the same signal with opposite signs (a balanced line wired the wrong
way, "surround" effects, an inverted leg of a call), their mean is silence. So each channel is compared with
the mix of those before it, over blocks of 10 ms with a memory of `_MEMORY_S`. A channel whose correlation
with that mix is below `_INVERTED_BELOW` is inverted, until the correlation is positive again. Recordings in
which this never happens, which are nearly all, are their mean to the last bit.

A block is judged by itself and what came before it, so that nothing is lost at the start. Sums are taken over
whole numbers, which makes them exact: the result does not depend on how the audio is cut.
"""

import logging
import math
from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pykaldi_server.audio.pcm import Audio
from pykaldi_server.errors import ConfigError

__all__ = ["ChannelSelector", "Channels"]

logger = logging.getLogger(__name__)

Channels = Literal["mix", "left", "right", "split"]

_BLOCKS_PER_S = 100
_MEMORY_S = 0.5
_INVERTED_BELOW = -0.8
_MOST_COMPARED_CHANNELS = 8


class ChannelSelector:
    """Chooses or mixes the channels of one stream, whose rate and channels may change on the way.

    Args:
        channels: ``mix`` for the mean (with inverted channels put right), ``left`` for the first channel,
            ``right`` for the second one (or the only one), ``split`` for all of them as they are.

    Raises:
        ConfigError: `channels` is none of these.
    """

    def __init__(self, channels: Channels) -> None:
        if channels not in get_args(Channels):
            raise ConfigError(f"channels: expected {', '.join(get_args(Channels))}, found {channels!r}")
        self._channels = channels
        self._num_channels = None if channels == "split" else 1
        self._mixer: _Mixer | None = None

    @property
    def num_channels(self) -> int | None:
        """Number of channels that come out; None while that is not known."""
        return self._num_channels

    def select(self, audio: Audio) -> Iterator[Audio]:
        """Yields what the next piece of audio completes, with `num_channels` channels."""
        num_channels = audio.frames.shape[1]
        if self._channels == "split":
            yield Audio(audio.rate_hz, self._all_channels(audio.frames))
        elif self._channels != "mix" or num_channels == 1 or num_channels > _MOST_COMPARED_CHANNELS:
            yield from self.finish()
            yield Audio(audio.rate_hz, self._one_channel(audio.frames))
        else:
            if self._mixer is None or not self._mixer.fits(audio):
                yield from self.finish()
                self._mixer = _Mixer(audio.rate_hz, num_channels)
            yield Audio(audio.rate_hz, self._mixer.mix(audio.frames)[:, np.newaxis])

    def finish(self) -> Iterator[Audio]:
        """Yields what was waiting for the end of a block."""
        mixer, self._mixer = self._mixer, None
        if mixer is not None:
            yield Audio(mixer.rate_hz, mixer.finish()[:, np.newaxis])

    def _one_channel(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._channels == "mix" and frames.shape[1] > 1:
            return _mean(frames)[:, np.newaxis]
        index = 1 if self._channels == "right" and frames.shape[1] > 1 else 0
        return frames[:, index : index + 1]

    def _all_channels(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """The frames with the number of channels that the stream has started with."""
        if self._num_channels is None:
            self._num_channels = frames.shape[1]
        if frames.shape[1] == self._num_channels:
            return frames
        logger.warning("expected %d channels as before, found %d: mixed", self._num_channels, frames.shape[1])
        return np.repeat(_mean(frames)[:, np.newaxis], self._num_channels, axis=1)


class _Mixer:
    """Mixes audio of one rate and some channels, block by block."""

    def __init__(self, rate_hz: int, num_channels: int) -> None:
        self.rate_hz = rate_hz
        self._block_frames = max(1, rate_hz // _BLOCKS_PER_S)
        self._incomplete_block = np.zeros((0, num_channels), np.float32)
        self._decay = math.exp(-1 / (_MEMORY_S * _BLOCKS_PER_S))
        # Powers of the channels, and in the upper triangle their cross terms. A few numbers per block, for
        # which lists are faster than arrays.
        self._powers = [[0.0] * num_channels for _ in range(num_channels)]
        self._signs = [1.0] * num_channels

    def fits(self, audio: Audio) -> bool:
        """Whether audio has this rate and this number of channels."""
        return (audio.rate_hz, audio.frames.shape[1]) == (self.rate_hz, len(self._signs))

    def mix(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mixes the blocks that `frames`, shape (n, channels), complete: shape (m,)."""
        frames = np.concatenate([self._incomplete_block, frames])
        num_blocks = len(frames) // self._block_frames
        num_frames = num_blocks * self._block_frames
        self._incomplete_block = frames[num_frames:].copy()
        return self._mix_blocks(frames[:num_frames].reshape(num_blocks, self._block_frames, len(self._signs)))

    def finish(self) -> NDArray[np.float32]:
        """Mixes the rest, as a block that is shorter."""
        return self._mix_blocks(self._incomplete_block[np.newaxis])

    def _mix_blocks(self, blocks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mixes blocks of shape (blocks, frames, channels)."""
        rounded = np.rint(blocks).astype(np.float64)
        mixed = _mean(blocks)
        for i, powers in enumerate(np.einsum("bfi,bfj->bij", rounded, rounded).tolist()):
            is_start = not any(self._powers[0])
            before = self._signs
            self._signs = self._judge(powers)
            if not is_start and before != self._signs:
                fade = np.linspace(0, 1, blocks.shape[1], dtype=np.float32)[:, np.newaxis]
                gains = np.array(before, np.float32) * (1 - fade) + np.array(self._signs, np.float32) * fade
                mixed[i] = _mean(blocks[i] * gains)
            elif -1.0 in self._signs:
                mixed[i] = _mean(blocks[i] * np.array(self._signs, np.float32))
        return mixed.reshape(-1)

    def _judge(self, block_powers: list[list[float]]) -> list[float]:
        """Takes the powers of the next block, and returns the signs that the channels get in it."""
        signs = list(self._signs)
        for j, powers in enumerate(self._powers):
            for k in range(j, len(signs)):
                powers[k] = powers[k] * self._decay + block_powers[j][k]
        power = self._powers[0][0]  # of the mix of the channels up to j
        for j in range(1, len(signs)):
            cross = sum(signs[k] * self._powers[k][j] for k in range(j))
            own = self._powers[j][j]
            if cross < _INVERTED_BELOW * math.sqrt(power * own):
                signs[j] = -1.0
            elif cross > 0:
                signs[j] = 1.0
            power = max(0.0, power + 2 * signs[j] * cross + own)
        return signs


def _mean(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean over channels, which are the last axis."""
    mean: NDArray[np.float32] = frames.mean(axis=-1, dtype=np.float32)
    return mean
