"""What is plainly not audio, and raw audio that must not be taken for it."""

import io
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from golden_data import read_wav
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pykaldi_server.audio.foreign import recognise_foreign
from pykaldi_server.audio.pcm import RawFormat, RawSource

HTML = b"<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head></html>\n"


def zip_archive() -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("speech.wav", b"RIFF")
        return file.getvalue()


def tar_archive() -> bytes:
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("recordings/speech.wav"))
        return file.getvalue()


FOREIGN = [
    (HTML, "an HTML page ('<!DOCTYPE html>\\n<html><head><t')"),
    (b"\xef\xbb\xbf\n <html lang='de'>" + bytes(0), "an HTML page"),
    (b'<?xml version="1.0"?>\n<speech/>\n', "XML"),
    (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "XML"),
    (b'{"eof" : 1}', "JSON"),
    (b'{"eof":true}', "JSON"),
    (b'[{"a":1}]', "JSON"),
    (b'  {\n  "config": {"sample_rate": 16000}\n}', "JSON"),
    (b"#EXTM3U\n#EXTINF:10,\nspeech.ts\n", "a playlist"),
    (b"[playlist]\nFile1=speech.mp3\n", "a playlist"),
    (b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n", "a session description"),
    (b"data:audio/wav;base64,UklGRiTuAgBXQVZF", "a data URL"),
    (b"UklGRiTuAgBXQVZFZm10IBAAAAABAAEAgD4AAAB9AAACABAAZGF0YQ==", "Base64 text"),
    (b"#!/bin/sh\nexec true\n", "a script"),
    (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "text ('version https://git-lfs",
    ),
    ("Guten Tag, schöne Grüße!".encode(), "text"),
    ("你好，世界，今天天气很好".encode(), "text"),
    (b"%PDF-1.7\n", "a PDF document"),
    (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a PNG image"),
    (b"\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG image"),
    (b"\xff\xd8\xff\xe1\0\x18Exif\0\0", "a JPEG image"),
    (b"GIF89a\1\0\1\0", "a GIF image"),
    (b"RIFF\x24\0\0\0WEBPVP8 ", "a WebP image"),
    (b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", "a BMP image"),
    (zip_archive(), "a ZIP archive"),
    (tar_archive(), "a tar archive"),
    (b"BZh91AY&SY", "a bzip2 file"),
    (b"\xfd7zXZ\0\0\4", "an xz file"),
    (b"\x28\xb5\x2f\xfd\x04\x58", "a Zstandard file"),
    (b"7z\xbc\xaf\x27\x1c\0\4", "a 7-Zip archive"),
    (b"\x7fELF\2\1\1\0", "a program"),
    (b"MZ".ljust(78, b"\0") + b"This program cannot be run in DOS mode", "a program"),
    (b"MThd\0\0\0\6\0\1", "MIDI notes"),
    (b"\x1f\x43\xb6\x75\x01\xff\xff\xff", "a WebM or Matroska cluster without the head"),
    (3 * (b"\xa3\x40\x50\x81\0\x3c\x80" + bytes(76)), "WebM or Matroska blocks without the head"),
    (3 * (b"\xa3\x90\x81\0\x3c\x80" + bytes(12)), "WebM or Matroska blocks without the head"),
    (b"\0\0\0\x18stypmsdh", "a fragment of an MP4 file without the head"),
    (b"\0\0\0\x68moof\0\0\0\x10mfhd", "a fragment of an MP4 file without the head"),
    (b"OggS\0\0" + bytes(21), "Ogg pages without the first one"),
]


@pytest.mark.parametrize(("data", "description"), FOREIGN, ids=[name for _, name in FOREIGN])
def test_is_told_in_whole_and_in_pieces(data: bytes, description: str) -> None:
    found = recognise_foreign(data, is_all=True)
    assert found
    assert found.startswith(description)
    verdicts = [recognise_foreign(data[:length], is_all=False) for length in range(len(data) + 1)]
    assert set(verdicts) <= {None, found}


def test_long_text_is_told_before_its_end() -> None:
    assert recognise_foreign(HTML * 10, is_all=False) == recognise_foreign(HTML, is_all=True)
    assert recognise_foreign((HTML * 10)[:500], is_all=False) is None


RAW_FORMATS = ["S16LE", "S16BE", "S8", "U8", "MULAW", "ALAW", "S24LE", "S32LE", "F32LE", "F64LE"]


def encoded(samples: NDArray[np.float32], sample_format: str) -> bytes:
    """Samples in one of `RAW_FORMATS`; G.711 by a search in the table of what each byte means."""
    integers = samples.astype(np.int16)
    match sample_format:
        case "MULAW" | "ALAW":
            [audio] = RawSource(RawFormat(sample_format)).feed(bytes(range(256)))
            levels = audio.frames[:, 0]
            order = np.argsort(levels)
            places = np.searchsorted(levels[order], integers).clip(0, 255)
            return bytes(order[places].tolist())
        case "S8":
            return (integers >> 8).astype("i1").tobytes()
        case "U8":
            return ((integers >> 8) + 128).astype("u1").tobytes()
        case "S24LE":
            wide = integers.astype("<i4")[:, np.newaxis] << 16
            return wide.view("u1")[:, 1:].tobytes()
        case "S32LE":
            return (integers.astype("<i4") << 16).tobytes()
        case "F32LE" | "F64LE":
            return (samples / 32768).astype("<f4" if sample_format == "F32LE" else "<f8").tobytes()
    return integers.astype("<i2" if sample_format == "S16LE" else ">i2").tobytes()


@pytest.mark.parametrize("sample_format", RAW_FORMATS)
def test_recordings_are_none_of_it_wherever_they_begin(golden: Path, sample_format: str) -> None:
    for path in sorted((golden / "wav").glob("*.wav")):
        _, samples = read_wav(path)
        data = encoded(samples, sample_format)
        for begin in range(0, len(data) - 2000, 1999):
            head = data[begin : begin + 2000]
            assert recognise_foreign(head, is_all=False) == ""
            assert recognise_foreign(head[: 20 + begin % 50], is_all=True) == ""


@pytest.mark.parametrize("byte", [0x00, 0x55, 0x7F, 0x80, 0xD5, 0xFF])
def test_silence_is_none_of_it(byte: int) -> None:
    for length in (1, 2, 7, 8, 100, 10000):
        assert recognise_foreign(bytes([byte]) * length, is_all=True) == ""


@given(st.binary(max_size=1500))
def test_an_answer_does_not_change_with_more_bytes(data: bytes) -> None:
    for length in (1, 7, 30, 600):
        verdict = recognise_foreign(data[:length], is_all=False)
        if verdict is not None and len(data) > length:
            assert recognise_foreign(data, is_all=False) == verdict


def test_compressed_text_is_not_text() -> None:
    assert recognise_foreign(zlib.compress(HTML * 100), is_all=True) == ""
