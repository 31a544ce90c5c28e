"""What a stream is, by the bytes that it starts with: a container, something that is not audio, or raw audio.

A stream without a known signature is raw audio. A signature must not be found in raw audio by chance: it has
at least 24 fixed bits, and formats that are mere runs of frames are told by several frames, see `framed`.
FFmpeg's own guesses are not asked for: they are made for files that do have a format, and find one in noise.

Sources: the formats' own specifications; ISO/IEC 14496-12 (MP4), https://id3.org (ID3v2), RFC 1952 (gzip).
"""

import struct
from dataclasses import dataclass, replace
from enum import Enum, auto

from pykaldi_server.audio.foreign import recognise_foreign
from pykaldi_server.audio.framed import (
    AC3_FRAMES,
    ADTS_FRAMES,
    DTS_FRAMES,
    EAC3_FRAMES,
    GSM_FRAMES,
    LOAS_FRAMES,
    MPEG_AUDIO_FRAMES,
    SBC_FRAMES,
    TRANSPORT_PACKETS,
    FramedFormat,
)
from pykaldi_server.audio.signatures import Signature, matches_signature

__all__ = [
    "ADTS",
    "ENOUGH_BYTES",
    "G722",
    "GSM",
    "KNOWN_DEMUXERS",
    "MP4",
    "MPEG_AUDIO",
    "MPEG_TS",
    "SIGNATURES",
    "WAV",
    "Access",
    "Container",
    "Gzip",
    "Id3Tag",
    "NotAudio",
    "Recognised",
    "Verdict",
    "find_container",
]

ENOUGH_BYTES = 65536
"""With this many bytes at hand, `find_container` always decides."""


class Access(Enum):
    """How a demuxer moves in a file whose bytes are still arriving."""

    FORWARD = auto()
    """Only forward: it would look for the end of the file first if it could go anywhere."""
    BACK = auto()
    """Forward, and now and then back a little."""
    WHOLE = auto()
    """Anywhere: the file can be read only when all of it is there."""


@dataclass(frozen=True, slots=True)
class Container:
    """A container format.

    Attributes:
        name: for people.
        demuxer: FFmpeg's name of its reader; None lets FFmpeg find out.
        access: how FFmpeg may move in the file.
        streams_appear: the streams of the file become known only while it is read.
        block_bytes: FFmpeg gets the bytes in blocks of this length, where it fails with shorter ones.
    """

    name: str
    demuxer: str | None
    access: Access = Access.BACK
    streams_appear: bool = False
    block_bytes: int = 1


@dataclass(frozen=True, slots=True)
class NotAudio:
    """Bytes that are plainly not audio.

    Attributes:
        description: what they are, for an error.
    """

    description: str


@dataclass(frozen=True, slots=True)
class Id3Tag:
    """Title, pictures and the like, put in front of MPEG audio, AAC and others.

    Attributes:
        num_bytes: length of the tag; audio follows it.
    """

    num_bytes: int


class Gzip:
    """Something compressed by gzip."""


class Verdict(Enum):
    """What `find_container` returns when it finds nothing that it knows."""

    NO_CONTAINER = "not a container"
    MORE_BYTES_NEEDED = "more bytes are needed"


Recognised = Container | NotAudio | Id3Tag | Gzip | Verdict

_FORWARD, _WHOLE = Access.FORWARD, Access.WHOLE
WAV = Container("WAV", "wav", _FORWARD)
MP4 = Container("MP4", "mov")
MPEG_AUDIO = Container("MPEG audio", "mp3")
MPEG_TS = Container("MPEG-TS", "mpegts", streams_appear=True)
ADTS = Container("AAC (ADTS)", "aac")
GSM = Container("GSM", "gsm")
G722 = Container("G.722", "g722")
_AIFF_C = Container("AIFF-C", "aiff", _FORWARD)
_CAF = Container("CAF", "caf", _FORWARD)

SIGNATURES: list[tuple[Container, Signature]] = [
    (WAV, [(0, b"RIFF"), (8, b"WAVE")]),
    (replace(WAV, name="WAV (RIFX)"), [(0, b"RIFX"), (8, b"WAVE")]),
    (replace(WAV, name="WAV (RF64)"), [(0, b"RF64"), (8, b"WAVE")]),
    (replace(WAV, name="WAV (BW64)"), [(0, b"BW64"), (8, b"WAVE")]),
    (Container("AVI", "avi", _FORWARD), [(0, b"RIFF"), (8, b"AVI ")]),
    (Container("AMV", "avi", _FORWARD), [(0, b"RIFF"), (8, b"AMV ")]),
    (Container("QCP", "qcp"), [(0, b"RIFF"), (8, b"QLCM")]),
    (Container("XWMA", "xwma"), [(0, b"RIFF"), (8, b"XWMA")]),
    (Container("Wave64", "w64", _FORWARD), [(0, b"riff\x2e\x91\xcf\x11")]),
    (Container("Ogg", "ogg"), [(0, b"OggS\0\2")]),
    (Container("Ogg", "ogg"), [(0, b"OggS\0\6")]),
    (Container("FLAC", "flac"), [(0, b"fLaC")]),
    (Container("Matroska or WebM", "matroska"), [(0, b"\x1a\x45\xdf\xa3")]),
    (Container("AMR", "amr"), [(0, b"#!AMR")]),
    (Container("iLBC", "ilbc"), [(0, b"#!iLBC")]),
    (Container("AIFF", "aiff", _FORWARD), [(0, b"FORM"), (8, b"AIFF")]),
    (_AIFF_C, [(0, b"FORM"), (8, b"AIFC")]),
    (Container("IFF", "iff", _FORWARD), [(0, b"FORM"), (8, b"8SVX")]),
    (Container("IFF", "iff", _FORWARD), [(0, b"FORM"), (8, b"16SV")]),
    (Container("DSDIFF", "iff", _FORWARD), [(0, b"FRM8"), (12, b"DSD ")]),
    # CAF with packets of varying length needs their table, which usually comes last.
    (replace(_CAF, access=_WHOLE), [(0, b"caff"), (36, bytes(4))]),
    (_CAF, [(0, b"caff")]),
    (Container("NIST SPHERE", "nistsphere"), [(0, b"NIST_1A")]),
    (Container("AU", "au"), [(0, b".snd")]),
    (Container("ASF or WMA", "asf"), [(0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11")]),
    (MP4, [(4, b"ftyp")]),
    (MP4, [(4, b"moov")]),
    (MP4, [(4, b"mdat")]),
    (MP4, [(4, b"wide")]),
    (MP4, [(4, b"pnot")]),
    (Container("FLV", "flv", streams_appear=True), [(0, b"FLV\1"), (5, b"\0\0\0\x09")]),
    (Container("MPEG-PS", "mpeg", streams_appear=True), [(0, b"\0\0\1\xba")]),
    (Container("MXF", "mxf", _WHOLE), [(0, b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02")]),
    (Container("WTV", "wtv", _WHOLE), [(0, b"\xb7\xd8\0\x20\x37\x49\xda\x11")]),
    (Container("GXF", "gxf", streams_appear=True), [(0, b"\0\0\0\0\1\xbc"), (14, b"\xe1\xe2")]),
    (Container("NUT", "nut"), [(0, b"nut/multimedia container\0")]),
    (Container("RealMedia", "rm"), [(0, b".RMF")]),
    (Container("RealAudio", "rm"), [(0, b".ra\xfd")]),
    *((Container("Flash", "swf", streams_appear=True), [(0, b"FWS" + bytes([i]))]) for i in range(3, 20)),
    (Container("WavPack", "wv"), [(0, b"wvpk")]),
    (Container("TTA", "tta"), [(0, b"TTA1")]),
    (Container("Monkey's Audio", "ape"), [(0, b"MAC ")]),
    (Container("Musepack", "mpc"), [(0, b"MP+\x07")]),
    (Container("Musepack", "mpc"), [(0, b"MP+\x17")]),
    (Container("Musepack", "mpc8"), [(0, b"MPCK")]),
    (Container("TAK", "tak"), [(0, b"tBaK")]),
    (Container("Shorten", "shn"), [(0, b"ajkg")]),
    (Container("DSF", "dsf"), [(0, b"DSD ")]),
    (Container("Dolby TrueHD", "truehd"), [(4, b"\xf8\x72\x6f\xba")]),
    (Container("MLP", "mlp"), [(4, b"\xf8\x72\x6f\xbb")]),
    (Container("DTS-HD", "dtshd"), [(0, b"DTSHDHDR")]),
    (Container("S/PDIF", "spdif"), [(0, b"\x72\xf8\x1f\x4e")]),
    (Container("VOC", "voc"), [(0, b"Creative Voice File\x1a")]),
    *((Container("IRCAM", "ircam"), [(0, b"\x64\xa3" + bytes([i, 0]))]) for i in range(1, 5)),
    *((Container("IRCAM", "ircam"), [(0, bytes([0, i]) + b"\xa3\x64")]) for i in range(1, 5)),
    (Container("SoX", "sox"), [(0, b".SoX")]),
    (Container("SoX", "sox"), [(0, b"XoS.")]),
    (Container("DSS", "dss"), [(0, b"\2dss")]),
    (Container("DSS", "dss"), [(0, b"\3dss")]),
    (Container("Sony OpenMG", "oma"), [(0, b"ea3\3")]),
    (Container("Sony OpenMG", "oma"), [(0, b"EA3\1")]),
    (Container("TwinVQ", "vqf"), [(0, b"TWIN9701")]),
    (Container("Psion", "wve"), [(0, b"ALawSoundFile**")]),
    (Container("AVR", "avr"), [(0, b"2BIT")]),
    (Container("PVF", "pvf"), [(0, b"PVF1\n")]),
    (Container("PAF", "paf"), [(0, b" paf")]),
    (Container("PAF", "paf"), [(0, b"fap ")]),
    (Container("QOA", "qoa"), [(0, b"qoaf")]),
    (Container("OSQ", "osq"), [(0, b"OSQ ")]),
    (Container("LC3", "lc3"), [(0, b"\x1c\xcc\x12\0")]),
    (Container("SMAF", "mmf"), [(0, b"MMMD"), (8, b"CNTI")]),
    (Container("SMJPEG", "smjpeg"), [(0, b"\0\nSMJPEG")]),
    (Container("RoQ", "roq", streams_appear=True), [(0, b"\x84\x10\xff\xff\xff\xff")]),
    (Container("AST", "ast"), [(0, b"STRM")]),
    (Container("ADX", "adx"), [(0, b"\x80\0"), (4, b"\3\x12\4")]),
    (Container("Argonaut ASF", "argo_asf"), [(0, b"ASF\0")]),
    (Container("ALP", "alp"), [(0, b"ALP "), (8, b"ADPCM")]),
    (Container("APM", "apm"), [(0, b"\0\x20"), (20, b"vs12")]),
    (Container("KVAG", "kvag"), [(0, b"KVAG")]),
    (Container("Westwood AUD", "wsaud"), [(11, b"\x63"), (16, b"\xaf\xde\0\0")]),
]
"""What files with a header start with; the first that fits counts."""

_FRAMED: list[tuple[Container, FramedFormat]] = [
    (MPEG_AUDIO, MPEG_AUDIO_FRAMES),
    (ADTS, ADTS_FRAMES),
    (Container("AC-3", "ac3"), AC3_FRAMES),
    (Container("E-AC-3", "eac3"), EAC3_FRAMES),
    (Container("DTS", "dts"), DTS_FRAMES),
    (Container("AAC (LATM)", "loas"), LOAS_FRAMES),
    (Container("SBC", "sbc", block_bytes=1024), SBC_FRAMES),
    (GSM, GSM_FRAMES),
    *((MPEG_TS, packets) for packets in TRANSPORT_PACKETS),
]

KNOWN_DEMUXERS = frozenset(
    container.demuxer for container, _ in (*SIGNATURES, *_FRAMED, (G722, None)) if container.demuxer
)
"""FFmpeg's names of all readers that are used; none of them opens other files or addresses."""


def find_container(head: bytes, is_all: bool) -> Recognised:
    """Recognises a stream; what it returns for some bytes it returns for more of them, too.

    Args:
        head: the first bytes of a stream.
        is_all: no more bytes will come.
    """
    is_all |= len(head) >= ENOUGH_BYTES
    head = head[:ENOUGH_BYTES]
    more: Recognised = Verdict.NO_CONTAINER if is_all else Verdict.MORE_BYTES_NEEDED
    prefix = _find_prefix(head, is_all)
    if prefix is not None:
        return prefix
    for container, signature in SIGNATURES:
        matches = matches_signature(head, signature)
        if matches:
            return _with_layout(container, head, is_all) if container is MP4 else container
        if matches is None and not is_all:
            return more
    for container, framed_format in _FRAMED:
        matches = framed_format.matches(head, is_all)
        if matches:
            return container
        if matches is None:
            return more
    foreign = recognise_foreign(head, is_all)
    if foreign is None:
        return more
    if not foreign and len(head) >= 12 and head[:4] in (b"RIFF", b"RIFX", b"FORM"):
        foreign = f"an IFF or RIFF file of the kind {head[8:12]!r}"
    return NotAudio(foreign) if foreign else Verdict.NO_CONTAINER


def _find_prefix(head: bytes, is_all: bool) -> Id3Tag | Gzip | Verdict | None:
    """A tag before the audio or a compressed file around it; None where there is neither."""
    starts = head[:3] in (b"", b"I", b"ID", b"ID3") or head[:3] in (b"\x1f", b"\x1f\x8b", b"\x1f\x8b\x08")
    if not starts:
        return None
    if len(head) < 10:
        return None if is_all else Verdict.MORE_BYTES_NEEDED
    if head[:3] == b"ID3" and head[3] in (2, 3, 4) and max(head[6:10]) < 0x80:
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        return Id3Tag(10 + size + (10 if head[5] & 0x10 else 0))
    if head[:3] == b"\x1f\x8b\x08" and head[3] < 0x20:
        return Gzip()
    return None


def _with_layout(container: Container, head: bytes, is_all: bool) -> Container | NotAudio | Verdict:
    """An MP4 file is a stream only if its index (``moov``) comes before its audio (``mdat``)."""
    offset = 0
    while len(head) >= offset + 8:
        size, kind = struct.unpack_from(">I4s", head, offset)
        if kind == b"moov":
            return container
        if kind == b"mdat" or size < 8:
            return replace(container, access=Access.WHOLE)
        offset += size
    if is_all or offset >= ENOUGH_BYTES:
        return replace(container, access=Access.WHOLE)
    return Verdict.MORE_BYTES_NEEDED
