"""Where tests find models and golden data, and which tests run."""

import asyncio
import logging
import os
import secrets
import signal
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import FakeTimeLoop, Harness
from hypothesis import HealthCheck, settings
from postgresql import PostgresqlServer

# Before NumPy loads its BLAS: threads that fight for few cores make small products many times slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# What may be missing on a machine that is otherwise complete; --strict-skips fails on anything else.
EXPECTED_SKIPS = (
    "needs chromium",
    "needs Node.js",
    "needs axe-core",
    "needs IPv6",
    "needs network namespaces",
    "needs bubblewrap, and user namespaces",
    "needs podman",
    "needs to mount",
    "needs the openssl command",
    "this FFmpeg has no encoder",
    "this processor cannot run",
    "needs the golden data beside the repository",
    "needs sounddevice",
    "needs zsh",
    "needs fish",
    "needs Debian's lists of packages",
)

REPOSITORY = Path(__file__).resolve().parent.parent

# Property tests try the same examples in every run, `make test-random` fresh ones; no test measures time.
RANDOM_PROFILE = "random"
UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("repeatable", UNTIMED, derandomize=True)
settings.register_profile(RANDOM_PROFILE, UNTIMED, derandomize=False, print_blob=True)
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow, too")
    parser.addoption(
        "--strict-skips",
        action="store_true",
        help="fail if a test is skipped for a reason that is not expected",
    )
    parser.addoption(
        "--hostile-clients",
        type=int,
        default=500,
        metavar="N",
        help="how many hostile clients of each kind the slow tests let come (default: 500)",
    )


def skip_reason(report: pytest.TestReport) -> str:
    """Why a test was skipped."""
    return str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)


class SkipWatch:
    """Fails the run if something was skipped that should have run."""

    def __init__(self) -> None:
        self.unexpected: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not any(reason in skip_reason(report) for reason in EXPECTED_SKIPS):
            self.unexpected.append(f"{report.nodeid}: {skip_reason(report)}")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.unexpected and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for line in self.unexpected:
            terminalreporter.write_line(f"unexpected skip: {line}", red=True)


@pytest.hookimpl(tryfirst=True)  # before Hypothesis reads its seed
def pytest_configure(config: pytest.Config) -> None:
    # A run that begins in the background ignores Ctrl-C, and so would all processes of the tests.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.option.hypothesis_profile == RANDOM_PROFILE and config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = str(secrets.randbelow(2**32))
    if config.getoption("--strict-skips"):
        config.pluginmanager.register(SkipWatch())


def how_to_repeat(config: pytest.Config) -> str | None:
    """Says how to repeat a run with random examples; None for every other run, which repeats itself."""
    profile, seed = config.option.hypothesis_profile, config.option.hypothesis_seed
    if profile != RANDOM_PROFILE:
        return None
    return f"random examples: repeat with --hypothesis-profile={profile} --hypothesis-seed={seed}"


def pytest_report_header(config: pytest.Config) -> str | None:
    return how_to_repeat(config)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
) -> None:
    if exitstatus == pytest.ExitCode.TESTS_FAILED and (text := how_to_repeat(config)):
        terminalreporter.write_line(text, yellow=True)


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


@pytest.fixture(autouse=True)
def own_log_level() -> Iterator[None]:
    """A command that sets up logging must not decide what later tests find in the log, nor must Dask.

    Dask keeps Tornado's messages to itself, and most of them from everybody, as soon as it is imported.
    """
    for name in ("tornado", "tornado.application"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)
        logger.propagate = True
    levels = {logger: logger.level for logger in (logging.getLogger(), logging.getLogger("tornado"))}
    yield
    for logger, level in levels.items():
        logger.setLevel(level)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps tests, and processes that they start, away from the user's cache and data."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


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


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    return Harness(tmp_path)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A running PostgreSQL server; a test that stops it starts it again."""
    server = PostgresqlServer()
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_name(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind, named as for ``--states``."""
    if request.param == "sqlite":
        yield str(tmp_path / "states.db")
        return
    server: PostgresqlServer = request.getfixturevalue("postgresql")
    yield server.url
    server.clear()


@pytest.fixture
def run_in_fake_time() -> Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]:
    """Runs a coroutine function in an event loop in which hours pass in a moment."""

    def run(scenario: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        with asyncio.Runner(loop_factory=FakeTimeLoop) as runner:
            return runner.run(scenario())

    return run
