"""`pykaldi-server model ...`."""

from pathlib import Path

from click.testing import CliRunner

from pykaldi_server.cli import main

ARPA = """\\data\\
ngram 1=4
ngram 2=2

\\1-grams:
-99 <s> -0.3
-0.6 </s>
-0.5 one -0.2
-0.7 two -0.1

\\2-grams:
-0.2 <s> one
-0.4 one two

\\end\\
"""


def test_info(models: Path) -> None:
    ran = CliRunner().invoke(main, ["model", "info", str(models / "english" / "ivector" / "final.mat")])
    assert ran.exit_code == 0
    lines = [line.split(maxsplit=1) for line in ran.output.splitlines()]
    assert lines == [["kind", "matrix"], ["shape", "40 x 281"], ["values", "-0.023861 to 0.0453046"]]


def test_options() -> None:
    ran = CliRunner().invoke(main, ["model", "options"])
    assert ran.exit_code == 0
    names = {line.partition("=")[0] for line in ran.output.splitlines() if not line.startswith(" ")}
    assert {"beam", "num-nbest", "frames-per-chunk", "endpoint.rule1.min-trailing-silence"} <= names
    gmm = CliRunner().invoke(main, ["model", "options", "--gmm"]).output
    assert "\nadaptation-first-utt-delay=" in gmm
    assert "\nframes-per-chunk=" not in gmm


def test_options_are_found_by_words() -> None:
    ran = CliRunner().invoke(main, ["model", "options", "NUMBER", "hypotheses"])
    assert ran.output == "num-nbest=1\n    Number of hypotheses in a final result.\n"


def test_const_arpa(tmp_path: Path) -> None:
    (tmp_path / "lm.arpa").write_text(ARPA)
    (tmp_path / "words.txt").write_text("<eps> 0\none 1\ntwo 2\n<s> 3\n</s> 4\n")
    arguments = ["model", "const-arpa", str(tmp_path / "lm.arpa"), str(tmp_path / "G.carpa")]
    ran = CliRunner().invoke(main, [*arguments, "--words", str(tmp_path / "words.txt")])
    assert ran.exit_code == 0, ran.output
    assert "0 n-grams were left out because their words are not in the table" in ran.output
    assert (tmp_path / "G.carpa").stat().st_size > 100
    ran = CliRunner().invoke(main, arguments)
    assert ran.exit_code == 1
    assert "expected an integer for <s>" in ran.output


def test_compile_of_a_graph_that_is_ready(models: Path) -> None:
    ran = CliRunner().invoke(main, ["model", "compile", str(models / "english-gmm")])
    assert ran.exit_code == 1
    assert "expected a graph in two parts, found one that is ready for use" in ran.output
