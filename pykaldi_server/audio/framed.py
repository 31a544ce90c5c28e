"""Audio formats without a file header: a run of frames, each of which starts with a few fixed bits.

A few bits turn up in raw audio, too. So a stream is taken for one of these formats only if several frames
follow each other exactly where the lengths in their headers say.

Sources: ISO/IEC 11172-3, 13818-3 (MPEG audio), 13818-1 (transport streams), 13818-7 (ADTS), 14496-3 (LOAS);
ETSI TS 102 366 (AC-3, E-AC-3), TS 102 114 (DTS), EN 300 961 with RFC 3551 (GSM); Bluetooth A2DP (SBC).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "AC3_FRAMES",
    "ADTS_FRAMES",
    "DTS_FRAMES",
    "EAC3_FRAMES",
    "GSM_FRAMES",
    "LOAS_FRAMES",
    "MPEG_AUDIO_FRAMES",
    "SBC_FRAMES",
    "TRANSPORT_PACKETS",
    "FramedFormat",
]


@dataclass(frozen=True, slots=True)
class FramedFormat:
    """How frames of a format are recognised.

    Attributes:
        first_bytes: what the first byte of a frame may be.
        header_bytes: how much of a frame the functions below look at.
        frame_bytes: length of the frame that starts with this header; None where it does not start a frame.
        num_frames: number of frames that must follow each other.
        constant_bits: the part of a header that all frames of a stream share.
    """

    first_bytes: bytes
    header_bytes: int
    frame_bytes: Callable[[bytes], int | None]
    num_frames: int
    constant_bits: Callable[[bytes], object] = lambda header: None

    def matches(self, head: bytes, is_all: bool) -> bool | None:
        """Whether a stream is a run of such frames; where it is all there, two whole ones are enough.

        Args:
            head: the first bytes of the stream.
            is_all: no more bytes will come.

        Returns:
            True or False, or None where the bytes so far fit but are too few.
        """
        offset = 0
        first_bits: object = None
        for num_frames in range(self.num_frames):
            header = head[offset : offset + self.header_bytes]
            if header and header[0] not in self.first_bytes:
                return False
            if len(header) < self.header_bytes:
                return (num_frames >= 2 and offset == len(head)) if is_all else None
            length = self.frame_bytes(header)
            bits = self.constant_bits(header)
            if length is None or (num_frames > 0 and bits != first_bits):
                return False
            first_bits = bits
            offset += length
        return True


def _mpeg_audio_frame_bytes(header: bytes) -> int | None:
    """MPEG-1, 2 and 2.5, layers I, II and III."""
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bitrate_index, rate_index, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if header[1] < 0xE0 or version == 1 or layer == 4 or rate_index == 3 or bitrate_index in (0, 15):
        return None
    is_mpeg1 = version == 3
    bitrate_bps = 1000 * _MPEG_BITRATES_KBPS[is_mpeg1, layer][bitrate_index - 1]
    rate_hz = (44100, 48000, 32000)[rate_index] // {3: 1, 2: 2, 0: 4}[version]
    if layer == 1:
        return (12 * bitrate_bps // rate_hz + padding) * 4
    samples = 576 if layer == 3 and not is_mpeg1 else 1152
    return samples // 8 * bitrate_bps // rate_hz + padding


_MPEG_BITRATES_KBPS = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}

MPEG_AUDIO_FRAMES = FramedFormat(
    b"\xff",
    header_bytes=4,
    frame_bytes=_mpeg_audio_frame_bytes,
    num_frames=3,
    constant_bits=lambda header: (header[1], header[2] & 0x0C),  # version, layer, sample rate
)


def _adts_frame_bytes(header: bytes) -> int | None:
    """AAC frames of an ADTS stream; a channel has 768 bytes at most."""
    if header[1] & 0xF6 != 0xF0 or header[2] >> 2 & 15 > 12:
        return None
    length = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    num_channels = ((header[2] & 1) << 2 | header[3] >> 6) or 8
    return length if 7 < length < 768 * num_channels + 64 else None


ADTS_FRAMES = FramedFormat(
    b"\xff",
    header_bytes=6,
    frame_bytes=_adts_frame_bytes,
    num_frames=3,
    constant_bits=lambda header: (header[1], header[2] & 0xFC),  # version, profile, sample rate
)


def _loas_frame_bytes(header: bytes) -> int | None:
    """AAC in LATM, as digital radio and television have it; of frames of 4 KB and more there are none."""
    length = (header[1] & 0x1F) << 8 | header[2]
    return 3 + length if header[1] & 0xF0 == 0xE0 and length else None


LOAS_FRAMES = FramedFormat(b"\x56", header_bytes=3, frame_bytes=_loas_frame_bytes, num_frames=4)


def _ac3_frame_bytes(header: bytes) -> int | None:
    rate_index, size_index = header[4] >> 6, header[4] & 0x3F
    if header[1] != 0x77 or header[5] >> 3 > 10 or rate_index == 3 or size_index >= 38:
        return None
    bitrate_kbps = _AC3_BITRATES_KBPS[size_index >> 1]
    if rate_index == 1:  # 44.1 kHz: a frame is not a whole number of words
        return 2 * (320 * bitrate_kbps // 147 + (size_index & 1))
    return bitrate_kbps * (6 if rate_index == 2 else 4)


_AC3_BITRATES_KBPS = (
    *(32, 40, 48, 56, 64, 80, 96, 112, 128, 160),
    *(192, 224, 256, 320, 384, 448, 512, 576, 640),
)

AC3_FRAMES = FramedFormat(
    b"\x0b",
    header_bytes=6,
    frame_bytes=_ac3_frame_bytes,
    num_frames=3,
    constant_bits=lambda header: (header[4] & 0xC0, header[5]),  # sample rate, version, kind of service
)


def _eac3_frame_bytes(header: bytes) -> int | None:
    if header[1] != 0x77 or not 10 < header[5] >> 3 <= 16:
        return None
    return 2 * (((header[2] & 7) << 8 | header[3]) + 1)


EAC3_FRAMES = FramedFormat(b"\x0b", header_bytes=6, frame_bytes=_eac3_frame_bytes, num_frames=3)


def _dts_frame_bytes(header: bytes) -> int | None:
    """DTS core frames, in words of 16 bits, or of 14 bits in 16, in either byte order."""
    order: Literal["big", "little"] = "big" if header[0] in (0x7F, 0x1F) else "little"
    words = [int.from_bytes(header[i : i + 2], order) for i in range(0, 10, 2)]
    width = 14 if words[0] == 0x1FFF else 16
    bits = "".join(f"{word & (1 << width) - 1:0{width}b}" for word in words)
    if int(bits[:32], 2) != 0x7FFE8001:
        return None
    length = int(bits[46:60], 2) + 1
    return None if length < 96 else length * 16 // width


DTS_FRAMES = FramedFormat(b"\x7f\xfe\x1f\xff", header_bytes=10, frame_bytes=_dts_frame_bytes, num_frames=3)


def _sbc_frame_bytes(header: bytes) -> int | None:
    """Bluetooth's codec."""
    num_blocks, num_subbands = 4 * ((header[1] >> 4 & 3) + 1), 8 if header[1] & 1 else 4
    mode, bitpool = header[1] >> 2 & 3, header[2]
    is_joint, is_mono, num_channels_coded = mode == 3, mode == 0, 2 if mode == 1 else 1
    if not 2 <= bitpool <= num_subbands * (16 if mode < 2 else 32):
        return None
    num_bits = num_blocks * num_channels_coded * bitpool + is_joint * num_subbands
    return 4 + num_subbands * (1 if is_mono else 2) // 2 + -(-num_bits // 8)


SBC_FRAMES = FramedFormat(
    b"\x9c",
    header_bytes=3,
    frame_bytes=_sbc_frame_bytes,
    num_frames=4,
    constant_bits=lambda header: header[1],  # everything but the bit pool
)


def _gsm_frame_bytes(header: bytes) -> int | None:
    """GSM 06.10: the first four bits are 1101. So are those of each byte of silence in A-law."""
    return None if sum(byte >> 4 == 0xD for byte in header) > 8 else 33


GSM_FRAMES = FramedFormat(bytes(range(0xD0, 0xE0)), 33, _gsm_frame_bytes, num_frames=25)


def _transport_packets(offset: int, packet_bytes: int) -> FramedFormat:
    """MPEG transport stream whose packets have their synchronisation byte at this offset."""
    return FramedFormat(
        b"\x47" if offset == 0 else bytes(range(256)),
        header_bytes=offset + 1,
        frame_bytes=lambda header: packet_bytes if header[offset] == 0x47 else None,
        num_frames=5,
    )


TRANSPORT_PACKETS = (
    _transport_packets(0, 188),
    _transport_packets(0, 204),  # with error correction
    _transport_packets(4, 192),  # with time stamps, as cameras and Blu-rays have it
)
