"""`pykaldi-server states`: states that a master keeps, listed, shown and deleted."""

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from pykaldi_server.cli.main import main
from pykaldi_server.database.database import Database
from pykaldi_server.database.states import StoredState, save_state
from pykaldi_server.protocols.gstreamer import ADAPTATION_STATE_TYPE, encode_adaptation_state


@pytest.fixture
def name(database_name: str) -> str:
    database = Database(database_name)
    states = (("english", "anna", 1000.0), ("english", "берта", time.time()), ("estonian", "anna", 2000.0))
    for model, user, ended_s in states:
        value = encode_adaptation_state(f"<State> {user}\n")
        state = StoredState(model, user, ended_s, ADAPTATION_STATE_TYPE, value)
        database.run(lambda each, state=state: save_state(each, state))  # type: ignore[misc]
    database.close()
    return database_name


def states(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["states", *arguments])
    assert result.exit_code == code, result.output
    return result.output


def users(*arguments: str) -> list[list[str]]:
    return [line.split()[3:] for line in states("list", *arguments).splitlines()]


def test_list(name: str) -> None:
    expected = [["english", "anna"], ["english", "берта"], ["estonian", "anna"]]
    assert users("--states", name) == expected
    assert users("--states", name, "--user", "anna") == [expected[0], expected[2]]
    assert users("--states", name, "--user", "anna", "--model", "english") == [expected[0]]


def test_show(name: str) -> None:
    shown = json.loads(states("show", "--states", name, "--model", "english", "--user", "берта"))
    assert shown["adaptation_state"]["value"] == encode_adaptation_state("<State> берта\n")
    text = states("show", "--states", name, "--model", "english", "--user", "берта", "--text")
    assert text.strip() == "<State> берта"
    missing = states("show", "--states", name, "--model", "english", "--user", "x", code=1)
    assert missing == "Error: no state of user 'x' for model 'english'\n"


def test_delete(name: str) -> None:
    assert "name a model, a user or a number of days" in states("delete", "--states", name, code=2)
    assert states("delete", "--states", name, "--user", "anna", "--model", "estonian") == "1 deleted\n"
    assert users("--states", name) == [["english", "anna"], ["english", "берта"]]
    assert states("delete", "--states", name, "--days", "30") == "1 deleted\n"
    assert users("--states", name) == [["english", "берта"]]


def test_a_database_that_cannot_be_used(tmp_path: Path) -> None:
    for path in (tmp_path / "missing" / "states.db", tmp_path / "mistyped.db"):
        assert states("list", "--states", str(path), code=1) == (
            f"Error: sqlite:///{path}: No such file or directory\n"
        )
        assert not path.exists()
    assert "expected a file, or a URL that begins with" in states("list", "--states", "oracle://x", code=1)


def test_the_default_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert states("list") == ""
    assert (tmp_path / "pykaldi-server" / "states.db").exists()
