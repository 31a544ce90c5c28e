"""Writes docs/options.md from the options dataclasses; with --check, says whether it is what it should be.

Usage: options_reference.py [--check]
"""

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pykaldi_server.cli.settings import SECTIONS, command_fields, help_sentence, option_name
from pykaldi_server.kaldi.feat.cmvn import OnlineCmvnOptions
from pykaldi_server.kaldi.feat.fbank import FbankOptions
from pykaldi_server.kaldi.feat.mfcc import MfccOptions
from pykaldi_server.kaldi.feat.plp import PlpOptions
from pykaldi_server.kaldi.online2 import OnlineIvectorExtractionConfig
from pykaldi_server.kaldi.online2.ivector_feature import OnlineSpliceOptions
from pykaldi_server.kaldi.online2.pitch_options import PitchOptions
from pykaldi_server.kaldi.util.options import RegisteredOption, registered_options
from pykaldi_server.session.formats.gmm import GmmOptions
from pykaldi_server.session.formats.gstreamer_yaml import NO_EFFECT, USE_VAD, plugin_options
from pykaldi_server.session.formats.online import OnlineOptions
from pykaldi_server.session.request_options import EndpointRule, RequestOptions
from pykaldi_server.worker.options import WorkerOptions
from pykaldi_server.worker.settings import LOGGING, OUT_DIR, SECONDS, TEXTS
from pykaldi_server.worker.settings import NO_EFFECT as NO_EFFECT_OF_WORKERS

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "options.md"

INTRODUCTION = """# Options

Every option with its default and what it does. This page is written by
`python scripts/options_reference.py`, from the texts of which the commands' own help is made:
`pykaldi-server serve -h`, `pykaldi-server model options`.
"""
SERVER = """## Server

Keys of a configuration file (`--config FILE`) in its sections `serve`, `master`, `worker` and `ray`, which
are options of the command line as well ([running.md](running.md)). What is a list in the file is given
several times on the command line, in the singular (`--model-option`).
"""
NETWORKS = """## Models with neural networks

In `conf/model.conf` (Vosk's layout), `conf/online.conf` (Kaldi's) and below `decoder:` of YAML files; on
the command line `--model-option beam=11`, in Python `Model.load(path, beam=11)`. Those that requests may
change as well have a mark; [protocol.md](protocol.md#options-of-a-request) says how. Most models bring
values of their own.
"""
GMMS = """## GMM models

In `conf/online_decoding.conf`. Options that networks have with the same default are not listed again.
"""
YAML = """## YAML files

The keys of kaldi-gstreamer-server's files; [models/samples](../models/samples/README.md) shows how they
look. Properties below `decoder:` are written with hyphens, underscores or dots. Besides those that are
listed here, all options of a session, of the search and, with `use-nnet2: True`, of networks may be used.
"""
FILES = {
    "`mfcc.conf`": MfccOptions,
    "`plp.conf`": PlpOptions,
    "`fbank.conf`": FbankOptions,
    "`online_pitch.conf`": PitchOptions,
    "`online_cmvn.conf`": OnlineCmvnOptions,
    "`splice.conf`": OnlineSpliceOptions,
    "`ivector_extractor.conf`": OnlineIvectorExtractionConfig,
}


def table(head: str, rows: Iterator[tuple[str, ...]]) -> str:
    """A table whose columns are named in ``head``, between bars."""
    names = [name.strip() for name in head.split("|")]
    lines = [names, ["---"] * len(names), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def shown(value: Any) -> str:
    """A default value as it is written in a configuration file."""
    if value is None or value in ("", ()):
        return ""
    text = str(value).lower() if isinstance(value, bool | float) else str(value)
    return f"`{text}`"


def effect(help: str) -> str:
    """A help text as a sentence, in which what looks like HTML stays as it is."""
    return help_sentence(help).replace("<", "&lt;")


def server_options(options: type[Any]) -> Iterator[tuple[str, ...]]:
    for field in command_fields(options):
        key = option_name(field.name).removeprefix("--")
        yield f"`{key}`", shown(field.default), effect(field.metadata["help"])


def named(options: Any) -> dict[str, RegisteredOption]:
    return {each.name: each for each in registered_options(options)}


def can_be_requested(option: RegisteredOption) -> bool:
    """Whether a request may change an option of a model."""
    prefix, dot, _ = option.name.rpartition(".")
    owner = EndpointRule if dot else RequestOptions
    in_request = not dot or prefix.startswith("endpoint.rule")
    return in_request and option.field in {each.name for each in dataclasses.fields(owner)}


def model_options(options: Mapping[str, RegisteredOption]) -> Iterator[tuple[str, ...]]:
    for name, each in sorted(options.items()):
        mark = "yes" if can_be_requested(each) else ""
        yield f"`{name}`", shown(each.value), mark, effect(each.help)


def others(options: Any, known: Mapping[str, RegisteredOption]) -> Iterator[tuple[str, ...]]:
    """Options that are not known, or have another default."""
    for name, each in sorted(named(options).items()):
        if name not in known or known[name].value != each.value:
            yield f"`{name}`", shown(each.value), effect(each.help)


def file_options(options: Any) -> Iterator[tuple[str, ...]]:
    for name, each in sorted(named(options).items()):
        yield f"`{name}`", shown(each.value), effect(each.help)


def worker_keys() -> Iterator[tuple[str, ...]]:
    fields = {each.name: each for each in dataclasses.fields(WorkerOptions)}
    for key, name in sorted({**TEXTS, **SECONDS, OUT_DIR: "out_dir"}.items()):
        yield f"`{key}`", shown(fields[name].default), effect(fields[name].metadata["help"])
    yield f"`{USE_VAD}`", "`false`", "The option of this name below `decoder`."
    yield f"`{LOGGING}`", "", "What Python's `logging.config.dictConfig` takes."
    for key, reason in NO_EFFECT_OF_WORKERS.items():
        yield f"`{key}`", "", f"No effect: {reason}."


def page() -> str:
    """The text of docs/options.md."""
    networks = named(OnlineOptions())
    parts = [INTRODUCTION, SERVER]
    for section, options in SECTIONS.items():
        parts += [f"### {section}\n", table("key | default | effect", server_options(options))]
    head = "option | default | in requests | effect"
    parts += [NETWORKS, table(head, model_options(networks))]
    parts += [GMMS, table("option | default | effect", others(GmmOptions(), networks))]
    parts.append(YAML)
    for use_nnet2, plugin in ((True, "kaldinnet2onlinedecoder"), (False, "onlinegmmdecodefaster")):
        heading = f"### Below `decoder`, with `use-nnet2: {use_nnet2}` ({plugin})\n"
        rows = others(plugin_options(use_nnet2), networks)
        parts += [heading, table("property | default | effect", rows)]
    without = ((f"`{name}`", reason[0].upper() + reason[1:] + ".") for name, reason in NO_EFFECT.items())
    parts += ["### Below `decoder`, without effect\n", table("property | reason", without)]
    parts += ["### Outside `decoder`\n", table("key | default | effect", worker_keys())]
    parts.append("## Configuration files of features\n")
    for name, options_class in FILES.items():
        parts += [f"### {name}\n", table("option | default | effect", file_options(options_class()))]
    return "\n".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="only say whether the page is current")
    if parser.parse_args().check:
        if PAGE.read_text(encoding="utf-8") == page():
            return 0
        print(f"{PAGE.relative_to(ROOT)} is out of date: run python scripts/options_reference.py")
        return 1
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
