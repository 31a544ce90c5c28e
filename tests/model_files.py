"""Folders of links to the demo models, in which a test may replace files."""

from collections.abc import Mapping
from pathlib import Path

from pykaldi_server.kaldi.online2 import OnlineIvectorExtractionInfo
from pykaldi_server.session import Model
from pykaldi_server.session.acoustics.nnet3 import Nnet3Acoustics

WORDS = "two nine three four zero"
"""What is said in the recording that `recognised` uses."""

Content = bytes | str | Path | None
"""What a file of a model is replaced by: its content, a link to another file, or nothing."""


def replace_file(path: Path, content: Content) -> None:
    """Puts something else in the place of a file, which may be a link."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if isinstance(content, Path):
        path.symlink_to(content)
    elif content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def link_files(source: Path, target: Path, names: Mapping[str, str]) -> Path:
    """Links files of one folder into another one, under new names (new -> old)."""
    for new, old in names.items():
        replace_file(target / new, source / old)
    return target


DIGITS = {
    **{
        name: name
        for name in (
            *("am/final.mdl", "conf/mfcc.conf", "conf/model.conf"),
            *("ivector/final.dubm", "ivector/final.ie", "ivector/final.mat", "ivector/global_cmvn.stats"),
            *("ivector/online_cmvn.conf", "ivector/splice.conf"),
        )
    },
    **{
        f"graph/{name}": f"graph-digits/{name}"
        for name in (
            *("HCLG.fst", "words.txt", "phones.txt"),
            *("phones/word_boundary.int", "phones/silence.csl"),
        )
    },
}


def network(model: Model) -> Nnet3Acoustics:
    """The acoustic side of a model that has a network."""
    assert isinstance(model.acoustics, Nnet3Acoustics)
    return model.acoustics


def ivector_extractor(model: Model) -> OnlineIvectorExtractionInfo:
    """What a model extracts i-vectors with."""
    info = network(model).features.ivector_extractor_info
    assert info is not None
    return info


def normalising_model(english: Path, folder: Path) -> Model:
    """The digits with CMVN of the network's input, in Kaldi's layout.

    The network was trained without, so only the last of the 40 dimensions, which matter least, are
    normalised.
    """
    link_files(english, folder, {**DIGITS, "final.mdl": "am/final.mdl"})
    ivector = folder / "ivector"
    (folder / "am" / "final.mdl").unlink()
    (folder / "frame_subsampling_factor").write_text("3\n")
    (folder / "conf" / "cmvn.conf").write_text(f"--skip-dims={':'.join(map(str, range(35)))}\n")
    (folder / "conf" / "ivector.conf").write_text(
        f"--splice-config={ivector}/splice.conf\n--cmvn-config={ivector}/online_cmvn.conf\n"
        f"--lda-matrix={ivector}/final.mat\n--global-cmvn-stats={ivector}/global_cmvn.stats\n"
        f"--diag-ubm={ivector}/final.dubm\n--ivector-extractor={ivector}/final.ie\n"
    )
    (folder / "conf" / "online.conf").write_text(
        (folder / "conf" / "model.conf").read_text() + f"--mfcc-config={folder}/conf/mfcc.conf\n"
        f"--ivector-extraction-config={folder}/conf/ivector.conf\n"
        f"--cmvn-config={folder}/conf/cmvn.conf\n--global-cmvn-stats={ivector}/global_cmvn.stats\n"
    )
    (folder / "conf" / "model.conf").unlink()
    return Model.load(folder)
