"""`pykaldi-server doctor`."""

from pathlib import Path

from click.testing import CliRunner

from pykaldi_server.cli import main


def test_doctor_reports_what_is_wrong() -> None:
    ran = CliRunner().invoke(main, ["doctor", "no-such-model"])
    assert ran.exit_code == 1
    lines = ran.output.splitlines()
    assert any(line.startswith("ok    numpy") for line in lines)
    assert any(line.startswith("ok    C++ extension") for line in lines)
    assert any("PyKaldi" in line and "placeholder" in line for line in lines)
    assert any(line.startswith("ERROR model") and "no-such-model" in line for line in lines)


def test_doctor_loads_models(models: Path) -> None:
    ran = CliRunner().invoke(main, ["doctor", f"{models}/english-gmm"])
    assert ran.exit_code == 0
    assert "english-gmm-digits: 16000 Hz, loaded in" in ran.output
    (mapped,) = [line for line in ran.output.splitlines() if line.startswith("ok    mapped files")]
    assert "HCLG.fst" in mapped
    assert mapped.endswith("replace them by renaming new files, never in place")
