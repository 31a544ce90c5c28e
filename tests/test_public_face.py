"""What `import pykaldi_server` offers: every name that it lists, typed, and no module before it is needed."""

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pykaldi_server

PACKAGES = [
    "pykaldi_server",
    "pykaldi_server.audio",
    "pykaldi_server.batch",
    "pykaldi_server.kaldi.feat",
    "pykaldi_server.kaldi.gmm",
    "pykaldi_server.kaldi.lm",
    "pykaldi_server.kaldi.nnet3",
    "pykaldi_server.kaldi.online2",
    "pykaldi_server.kaldi.util",
    "pykaldi_server.session",
]
# What is imported with the name of a model; anything else waits for `Model.load`.
LIGHT_MODULES = {
    "pykaldi_server",
    "pykaldi_server.lazy",
    "pykaldi_server.version",
    "pykaldi_server.session",
    "pykaldi_server.session.model",
    "pykaldi_server.session.model_parts",
}
# What a model with a network, whose audio has its own rate, has no use for.
UNUSED_MODULES = {
    *("av", "numpy.ma", "numpy.random", "webrtcvad", "yaml"),
    *("pykaldi_server.audio.decoder", "pykaldi_server.audio.vad", "pykaldi_server.kaldi.gmm.am_diag_gmm"),
    *(
        "pykaldi_server.kaldi.nnet2",
        "pykaldi_server.kaldi.util.table",
        "pykaldi_server.session.acoustics.gmm",
    ),
}
USER_PROGRAM = """
from pykaldi_server import AudioError, Final, Hypothesis, Model, Partial, RequestOptions, Session, transcribe


def words(path: str, options: RequestOptions) -> list[str]:
    model: Model = Model.load(path)
    session: Session = model.session(options=options)
    try:
        events = session.accept(b"") + session.finish()
        best: list[Hypothesis] = [event.hypotheses[0] for event in events if isinstance(event, Final)]
    except AudioError as error:
        return [str(error)]
    partial: Partial = session.partial
    return [partial.transcript, *(hypothesis.transcript for hypothesis in best)]


for event in transcribe(Model.load("model"), "speech.wav", options={"num-nbest": 2}):
    reveal_type(event)
"""


def test_the_names_that_people_use() -> None:
    names = "Model Session Partial Final AdaptationState Hypothesis AlignedWord RequestOptions SessionOptions"
    errors = "PykaldiServerError AudioError ConfigError DecoderError ModelFormatError AdaptationStateError"
    expected = {*names.split(), *errors.split(), "AudioDecoder", "transcribe", "__version__"}
    assert expected <= set(pykaldi_server.__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_listed_name_is_there(package: str) -> None:
    module = importlib.import_module(package)
    for name in module.__all__:
        value = getattr(module, name)
        if isinstance(value, type) and value.__module__ != "builtins":
            assert value.__name__ == name
    assert set(module.__all__) <= set(dir(module))
    assert module.__all__ == sorted(module.__all__)
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'Modell'"):
        getattr(module, "Modell")  # noqa: B009


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_see_the_same_names(package: str) -> None:
    module = importlib.import_module(package)
    tree = ast.parse(Path(str(module.__file__)).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    typed = {
        (node.module, alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    lazy = {(source, name) for source, names in module._MODULES.items() for name in names}
    assert typed == lazy
    eager = {alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    eager -= {"TYPE_CHECKING", "lazy_names"}
    assert {name for _, name in lazy} | eager == set(module.__all__)


def imported_by(statement: str) -> set[str]:
    """Modules of this package, and of others that are not Python's own, that a statement imports."""
    script = (
        f"import sys; before = set(sys.modules); {statement}; after = set(sys.modules) - before\n"
        "print(*[name for name in after if name.partition('.')[0] not in sys.stdlib_module_names])"
    )
    run = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True)
    return set(run.stdout.split())


def test_a_name_imports_only_what_it_needs() -> None:
    assert imported_by("import pykaldi_server") == {
        "pykaldi_server",
        "pykaldi_server.lazy",
        "pykaldi_server.version",
    }
    assert imported_by("from pykaldi_server import Model") == LIGHT_MODULES
    assert imported_by("from pykaldi_server.session import Model") == LIGHT_MODULES
    with_events = imported_by("from pykaldi_server import Final, AudioError")
    assert not {name for name in with_events if not name.startswith("pykaldi_server")}


def test_a_batch_starts_its_processes_before_it_imports_what_takes_long() -> None:
    """They need it, and import it side by side; nobody waits for the same in the process that starts them."""
    modules = ("cli.transcribe", "cli.batch_report", "batch.runner", "batch.tasks", "batch.outputs")
    imported = imported_by("import " + ", ".join(f"pykaldi_server.{module}" for module in modules))
    assert "pykaldi_server.batch.pool" in imported
    assert not imported & {"numpy", "av", "pykaldi_server.batch.recognizer", "pykaldi_server.session.session"}
    assert "av" not in imported_by("import pykaldi_server.audio.duration"), "WAV files do not need it"


def test_batches_without_a_cluster_need_no_dask() -> None:
    """Nor does the command line, unless `--scheduler` is given."""
    names = "Batch, Ledger, Outputs, RecognizerOptions, find_recordings, read_manifest"
    imported = imported_by(f"from pykaldi_server.batch import {names}")
    imported |= imported_by("import pykaldi_server.cli.transcribe, pykaldi_server.cli.bulk")
    assert not {name.partition(".")[0] for name in imported} & {
        "dask",
        "distributed",
        "dask_jobqueue",
        "fsspec",
    }


def test_loading_a_model_imports_only_what_it_needs(models: Path) -> None:
    path = str(models / "english:graph-digits")
    imported = imported_by(f"from pykaldi_server import Model; Model.load({path!r}).session()")
    assert {"numpy", "pykaldi_server.session.acoustics.nnet3"} <= imported
    assert not imported & UNUSED_MODULES


def test_wave_audio_of_the_right_rate_needs_no_ffmpeg(golden: Path) -> None:
    path = str(golden / "wav" / "ps-tidigits-2934z.wav")
    program = "from pykaldi_server import AudioDecoder; decoder = AudioDecoder(None, {rate}); "
    program += f"assert len(decoder.push(open({path!r}, 'rb').read()))"
    assert "av" not in imported_by(program.format(rate=16000))
    assert "av" in imported_by(program.format(rate=8000))


def test_everything_can_be_imported_at_once() -> None:
    imported = imported_by("from pykaldi_server import *; Model, Session, transcribe, __version__")
    assert "pykaldi_server.session.transcribe" in imported


def test_a_program_of_a_user_is_typed(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="needs mypy")
    program = tmp_path / "program.py"
    program.write_text(USER_PROGRAM)
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", str(program)]
    environment = {**os.environ, "MYPYPATH": str(Path(pykaldi_server.__file__).parent.parent)}
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Partial" in run.stdout
    assert "error" not in run.stdout
