"""Models that a test may change: folders of links to the demo models."""

from collections.abc import Callable
from pathlib import Path

import pytest
from model_files import DIGITS, link_files, replace_file

from pykaldi_server.session import Final, Model
from pykaldi_server.session.transcribe import transcribe


@pytest.fixture
def digits(models: Path, tmp_path: Path) -> Path:
    """The digits model in Vosk's layout, with its graph in ``graph``."""
    return link_files(models / "english", tmp_path / "digits", DIGITS)


@pytest.fixture
def flat(models: Path, tmp_path: Path) -> Path:
    """The digits model in Vosk's older layout, which has no file of options."""
    moved = {"am": "", "conf": "", "graph/phones": "", "graph": ""}
    names = {}
    for new, old in DIGITS.items():
        folder, _, name = new.rpartition("/")
        names[f"{moved.get(folder, folder)}/{name}".strip("/")] = old
    del names["model.conf"]
    return link_files(models / "english", tmp_path / "flat", names)


@pytest.fixture
def online(models: Path, tmp_path: Path) -> Callable[[object], Path]:
    """Makes the digits model as ``prepare_online_decoding.sh`` lays it out; takes the place that it names."""

    def make(place: object) -> Path:
        root = tmp_path / "online"
        link_files(
            models / "english",
            root,
            {
                "final.mdl": "am/final.mdl",
                "graph/HCLG.fst": "graph-digits/HCLG.fst",
                "graph/words.txt": "graph-digits/words.txt",
                "conf/mfcc.conf": "conf/mfcc.conf",
                "conf/splice.conf": "ivector/splice.conf",
                "conf/online_cmvn.conf": "ivector/online_cmvn.conf",
                "ivector_extractor/final.dubm": "ivector/final.dubm",
                "ivector_extractor/final.ie": "ivector/final.ie",
                "ivector_extractor/final.mat": "ivector/final.mat",
                "ivector_extractor/global_cmvn.stats": "ivector/global_cmvn.stats",
            },
        )
        sep = "\\" if "\\" in str(place) else "/"
        files = {
            "splice-config": "conf/splice.conf",
            "cmvn-config": "conf/online_cmvn.conf",
            "lda-matrix": "ivector_extractor/final.mat",
            "global-cmvn-stats": "ivector_extractor/global_cmvn.stats",
            "diag-ubm": "ivector_extractor/final.dubm",
            "ivector-extractor": "ivector_extractor/final.ie",
        }
        lines = [f"--{name}={place}{sep}{file.replace('/', sep)}" for name, file in files.items()]
        replace_file(root / "conf/ivector_extractor.conf", "\n".join([*lines, "--max-count=100\n"]))
        replace_file(
            root / "conf/online.conf",
            f"--mfcc-config={place}{sep}conf{sep}mfcc.conf\n"
            f"--ivector-extraction-config={place}{sep}conf{sep}ivector_extractor.conf\n"
            "--endpoint.silence-phones=1:2:3:4:5\n",
        )
        return root

    return make


@pytest.fixture
def recognised(golden: Path) -> Callable[[Model], str]:
    """What a model makes of a recording of digits: the transcripts of its segments, joined."""

    def recognise(model: Model) -> str:
        events = transcribe(model, golden / "wav" / "ps-tidigits-2934z.wav")
        return " ".join(event.hypotheses[0].transcript for event in events if isinstance(event, Final))

    return recognise
