"""Archives of Kaldi's, as their publishers pack them: downloaded by name from a mirror, and used as they are.

The demo model of English digits is laid out as each of them is, with the paths of another machine in its
configuration, and with what else recipes put into their archives.
"""

import hashlib
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from click.testing import CliRunner
from mirror import running_mirror
from model_files import WORDS, link_files, replace_file

from pykaldi_server.cli import main
from pykaldi_server.models import catalogue
from pykaldi_server.models.catalogue import CatalogueEntry, find_entry
from pykaldi_server.models.library import models_folder
from pykaldi_server.session.loading import find_name

GRAPH = {"HCLG.fst": "graph-digits/HCLG.fst", "words.txt": "graph-digits/words.txt"}
FEATURES = {"conf/mfcc.conf": "conf/mfcc.conf"}
EXTRACTOR = {
    f"ivector_extractor/{name}": f"ivector/{name}"
    for name in ("final.dubm", "final.ie", "final.mat", "global_cmvn.stats")
}
IVECTOR_CONFIGS = {f"conf/{name}": f"ivector/{name}" for name in ("splice.conf", "online_cmvn.conf")}
ONLINE = {"final.mdl": "am/final.mdl", **FEATURES, **EXTRACTOR, **IVECTOR_CONFIGS}
RECIPE = "recipe_with_hclg"

Lay = Callable[[Path, Path], None]
"""Lays out a model (the first folder) as an archive has it (the second one)."""


def lay_online(model: Path, folder: Path, config: str, place: str, graph: str = "") -> None:
    """An online directory of ``prepare_online_decoding.sh``, which was made in another place."""
    files = {**ONLINE, **{f"{graph}{new}": old for new, old in GRAPH.items()}}
    link_files(model, folder, files)
    replace_file(
        folder / "conf" / config,
        "--feature-type=mfcc\n"
        f"--mfcc-config={place}/conf/mfcc.conf\n"
        f"--ivector-extraction-config={place}/conf/ivector_extractor.conf\n"
        "--endpoint.silence-phones=1:2:3:4:5\n",
    )
    replace_file(
        folder / "conf" / "ivector_extractor.conf",
        f"--splice-config={place}/conf/splice.conf\n"
        f"--cmvn-config={place}/conf/online_cmvn.conf\n"
        f"--lda-matrix={place}/ivector_extractor/final.mat\n"
        f"--global-cmvn-stats={place}/ivector_extractor/global_cmvn.stats\n"
        f"--diag-ubm={place}/ivector_extractor/final.dubm\n"
        f"--ivector-extractor={place}/ivector_extractor/final.ie\n"
        "--max-count=100\n",
    )


def lay_multi_cn(model: Path, folder: Path) -> None:
    name = "multi_cn_chain_sp_online"
    lay_online(model, folder / name, "online.conf", f"/export/a01/multi_cn/s5/exp/chain/{name}")


def lay_tedlium(model: Path, folder: Path) -> None:
    name = "english/tedlium_nnet_ms_sp_online"
    lay_online(model, folder / name, "online_nnet2_decoding.conf", f"test/models/{name}")
    more = ("phones.txt", "phones/word_boundary.int")
    link_files(model, folder / name, {Path(old).name: f"graph-digits/{old}" for old in more})


def lay_api_ai(model: Path, folder: Path) -> None:
    """All files side by side, and the i-vectors that the demo model needs where Vosk has them."""
    root = folder / "api.ai-kaldi-asr-model"
    files = {"final.mdl": "am/final.mdl", "mfcc.conf": "conf/mfcc.conf", **GRAPH}
    extractor = {f"ivector/{path.name}": f"ivector/{path.name}" for path in (model / "ivector").iterdir()}
    link_files(model, root, {**files, **extractor})
    replace_file(root / "frame_subsampling_factor", "3\n")
    replace_file(root / "README", "Model\n")


def lay_recipe(model: Path, folder: Path) -> None:
    """As the ASpIRE model (kaldi-asr.org, M1) is once ``prepare_online_decoding.sh`` has run in it.

    There is no such archive in the catalogue, but users pack their recipes like this.
    """
    online = "exp/tdnn_7b_chain_online"
    place = f"/export/b03/somebody/aspire/s5/{online}"
    lay_online(model, folder / online, "online.conf", place, "graph_pp/")
    replace_file(folder / online / "frame_subsampling_factor", "3\n")
    replace_file(folder / "README.txt", "How to use it\n")
    link_files(
        model,
        folder,
        {
            "conf/mfcc_hires.conf": "conf/mfcc.conf",
            "data/lang_pp_test/words.txt": "graph/words.txt",
            "exp/chain/tdnn_7b/final.mdl": "am/final.mdl",
            "exp/nnet3/extractor/final.ie": "ivector/final.ie",
            "exp/nnet3/extractor/final.mat": "ivector/final.mat",
            "exp/nnet3/extractor/global_cmvn.stats": "ivector/online_cmvn.conf",
        },
    )


# How an archive is laid out, and where the model is once its outermost folder, if there is one, is gone.
LAYOUTS: dict[str, tuple[Lay, str]] = {
    "0011_multi_cn_chain_sp_online_v2": (lay_multi_cn, ""),
    "tedlium_nnet_ms_sp_online": (lay_tedlium, "tedlium_nnet_ms_sp_online"),
    "api.ai-kaldi-asr-model": (lay_api_ai, ""),
    RECIPE: (lay_recipe, "exp/tdnn_7b_chain_online"),
}


def pack(folder: Path, archive: Path) -> None:
    """Packs what is in a folder, with the folders themselves and no links."""
    paths = sorted(folder.rglob("*"))
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            for path in paths:
                packed.write(path, path.relative_to(folder))
        return
    mode: Literal["w:bz2", "w:gz"] = "w:bz2" if archive.suffix == ".bz2" else "w:gz"
    with tarfile.open(archive, mode, dereference=True) as packed_tar:
        for path in paths:
            packed_tar.add(path, path.relative_to(folder), recursive=False)


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_archive_is_downloaded_found_and_used(
    name: str, models: Path, golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    lay, inside = LAYOUTS[name]
    lay(models / "english", tmp_path / "laid")
    (tmp_path / "mirror").mkdir()
    entry = entry_of(name)
    archive = tmp_path / "mirror" / entry.file_name
    pack(tmp_path / "laid", archive)
    if name == RECIPE:
        entry = with_sum(entry, archive)
        monkeypatch.setattr(catalogue, "read_catalogue", lambda: (entry,))

    with running_mirror(tmp_path / "mirror") as mirror:
        ran = run("model", "download", name, "--mirror", mirror.url)
    place = models_folder() / name / inside
    assert f"is ready in {place}\n" in ran
    assert mirror.asked == [None]
    assert run("transcribe", "-m", name, str(golden / "wav" / "ps-tidigits-2934z.wav")) == f"{WORDS}\n"
    assert find_name(name) == name
    assert f"directory          {place}\n" in run("model", "info", name)


def test_how_they_are_listed() -> None:
    rows = [line.split() for line in run("model", "list", "multi_cn", "tedlium", "api.ai").splitlines()]
    assert [row[:5] for row in rows] == [
        ["0011_multi_cn_chain_sp_online_v2", "zh", "size", "not", "published"],
        ["tedlium_nnet_ms_sp_online", "en-US", "1,553", "MB", "TED"],
        ["api.ai-kaldi-asr-model", "en-US", "size", "not", "published"],
    ]
    info = run("model", "info", "0011_multi_cn_chain_sp_online_v2")
    assert "licence            not known here; see the publisher's page\n" in info
    assert "\nsize " not in info


def run(*arguments: str) -> str:
    ran = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    return ran.stdout


def entry_of(name: str) -> CatalogueEntry:
    if name == RECIPE:
        return CatalogueEntry(name=name, language="en-US", url=f"https://models.example/{name}.tar.bz2")
    return find_entry(name)


def with_sum(entry: CatalogueEntry, archive: Path) -> CatalogueEntry:
    content = archive.read_bytes()
    return CatalogueEntry(
        name=entry.name,
        language=entry.language,
        url=entry.url,
        size_bytes=len(content),
        md5=hashlib.md5(content, usedforsecurity=False).hexdigest(),
    )
