"""The models that this machine has or can get, by name and language."""

from pathlib import Path

__all__ = ["CHECKOUT_MODELS", "WHEEL_MODELS"]

_PACKAGE = Path(__file__).resolve().parents[1]

WHEEL_MODELS = _PACKAGE / "models" / "bundled"
"""Where a wheel has its models; setup.py puts them there."""
CHECKOUT_MODELS = _PACKAGE.parent / "models"
"""Where a checkout of the repository has its models."""
