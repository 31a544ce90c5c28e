"""The page's modules that know neither page nor network, by themselves: `*.test.mjs`, run by Node.js."""

import shutil
import subprocess
from pathlib import Path

import pytest

NODE = shutil.which("node")
HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
OLDEST_NODE = 18


def node_version() -> int:
    assert NODE is not None
    return int(subprocess.check_output([NODE, "--version"], text=True).removeprefix("v").partition(".")[0])


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the modules and their tests, which Node.js takes for what browsers take them for."""
    root = tmp_path_factory.mktemp("modules")
    for directory in ("pykaldi_server/web", "tests/web"):
        shutil.copytree(REPOSITORY / directory, root / directory)
    (root / "package.json").write_text('{"type": "module"}')
    return root


@pytest.mark.parametrize(
    "path", sorted(HERE.glob("*.test.mjs")), ids=lambda path: path.name.partition(".")[0]
)
def test_module(path: Path, modules: Path) -> None:
    if NODE is None or node_version() < OLDEST_NODE:
        pytest.skip(f"needs Node.js {OLDEST_NODE} or newer (apt install nodejs)")
    done = subprocess.run(
        [NODE, "--test", "--test-reporter=tap", f"tests/web/{path.name}"],
        cwd=modules,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\n# pass 0\n" not in done.stdout, done.stdout
