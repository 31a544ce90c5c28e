"""Where the tests of nnet3 find networks."""

from pathlib import Path

import pytest


@pytest.fixture
def golden_network(request: pytest.FixtureRequest, name: str, golden: Path) -> Path:
    """The folder that holds the network ``name``: the clone's, or the one with all golden data beside it."""
    if (golden / "networks" / f"{name}.raw").exists():
        return golden / "networks"
    shared: Path = request.getfixturevalue("shared_golden")
    return shared / "networks"
