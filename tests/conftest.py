"""Where tests find models and golden data, and which tests run."""

import os
from pathlib import Path

import pytest

# Before NumPy loads its BLAS: threads that fight for few cores make small products many times slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="slow: run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


def find_shared_golden() -> Path | None:
    """The folder of golden data beside the repository (or named by PYKALDI_SERVER_SHARED), if it is there."""
    named = os.environ.get("PYKALDI_SERVER_SHARED")
    places = [Path(named)] if named else [REPOSITORY.parent / "shared", REPOSITORY.parent.parent / "shared"]
    return next((place / "golden" for place in places if (place / "golden").is_dir()), None)


@pytest.fixture(scope="session")
def models() -> Path:
    """The demo models of the repository."""
    return REPOSITORY / "models"


@pytest.fixture(scope="session")
def golden() -> Path:
    """The golden data that every clone has."""
    return REPOSITORY / "tests" / "data" / "golden"


@pytest.fixture(scope="session")
def shared_golden() -> Path:
    """All golden data; the test is skipped where a clone stands alone."""
    found = find_shared_golden()
    if found is None:
        pytest.skip("needs the golden data beside the repository (../shared/golden)")
    return found
