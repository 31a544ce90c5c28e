"""The package `wyoming`, with which programs of Home Assistant speak the protocol."""

import warnings
from importlib import import_module
from types import SimpleNamespace

import pytest


def wyoming_package() -> SimpleNamespace:
    """What tests need of the package; without it, the test is skipped."""
    pytest.importorskip("wyoming", reason="needs the package wyoming")
    names: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it uses audioop, and has its own after that
        for module in ("event", "client", "asr", "audio", "error", "info"):
            names |= vars(import_module(f"wyoming.{module}"))
    return SimpleNamespace(**names)
