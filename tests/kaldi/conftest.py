"""What tests of the C++ core share."""

import pytest

from pykaldi_server.kaldi._core import available_cpu_kernels


@pytest.fixture(scope="session", params=("baseline", "avx2", "avx512"))
def kernels(request: pytest.FixtureRequest) -> str:
    """The name of each kind of kernels, in turn."""
    name: str = request.param
    if name not in available_cpu_kernels():
        pytest.skip(f"this processor cannot run {name} kernels")
    return name
