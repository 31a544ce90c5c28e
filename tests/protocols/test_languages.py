"""Which model a client gets that asks for a language."""

import pytest

from pykaldi_server.errors import ProtocolError
from pykaldi_server.protocols.languages import model_for_language
from pykaldi_server.protocols.worker import WorkerInfo

MODELS = [
    WorkerInfo("big", "en-US"),
    WorkerInfo("small", "en-GB"),
    WorkerInfo("eesti", "et"),
    WorkerInfo("x"),
]


@pytest.mark.parametrize(
    ("language", "default", "expected"),
    [
        ("et", None, "eesti"),
        ("en_gb", None, "small"),
        ("en", None, "big"),
        ("en", "small", "small"),
        ("en-US", "small", "big"),
        ("en-AU", "eesti", "big"),
        ("et-EE", "x", "eesti"),
    ],
)
def test_the_model_of_a_language(language: str, default: str | None, expected: str) -> None:
    assert model_for_language(language, MODELS, default) == expected


def test_a_language_that_no_model_has() -> None:
    with pytest.raises(ProtocolError, match="'de'; those that there are: en-GB, en-US, et"):
        model_for_language("de", MODELS, "x")
    assert model_for_language("de", [WorkerInfo("x")], "x") is None
