"""Runs of the tests: the same random examples every time, or fresh ones that can be repeated."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
PROPERTY_TEST = """
from hypothesis import given, strategies as st

@given(st.integers(0, 2**64))
def test_numbers(number):
    print("tried", number)

@given(st.integers(0, 2**64))
def test_fails(number):
    assert number < 1000
"""


def run(folder: Path, *arguments: str) -> str:
    """Runs property tests under this conftest, in a process of its own."""
    (folder / "test_property.py").write_text(PROPERTY_TEST)
    command = [sys.executable, "-m", "pytest", "-rP", "-p", "conftest", "-p", "no:cacheprovider", *arguments]
    environment = {**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"}
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == pytest.ExitCode.TESTS_FAILED, ran.stdout + ran.stderr
    return ran.stdout


def tried(output: str) -> list[str]:
    numbers = re.findall(r"^tried \d+", output, re.MULTILINE)
    assert len(numbers) > 50
    return numbers


def test_the_default_run_tries_the_same_examples_every_time(tmp_path: Path) -> None:
    first = run(tmp_path)
    assert tried(first) == tried(run(tmp_path))
    assert "random examples" not in first


def test_random_runs_try_fresh_examples_and_say_how_to_repeat_them(tmp_path: Path) -> None:
    first, second = (run(tmp_path, "--hypothesis-profile=random") for _ in range(2))
    assert tried(first) != tried(second)
    assert "@reproduce_failure" in first
    (repeat,) = set(re.findall(r"random examples: repeat with (--\S+ --\S+)", first))
    assert tried(run(tmp_path, *repeat.split())) == tried(first)
