"""`pykaldi-server model ...`: look at models, and prepare them; `model_library` has what gets them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from pykaldi_server.cli.common import plain_errors
from pykaldi_server.cli.model_library import catalogue_entry, catalogue_facts, library_facts
from pykaldi_server.cli.settings import FILE, help_sentence

__all__ = ["model"]


@click.group()
def model() -> None:
    """Get, list, inspect and prepare models."""


@model.command()
@click.argument("path", metavar="MODEL|FILE")
def info(path: str) -> None:
    """Describe a model or one of its files.

    MODEL is a directory, a YAML file, or the name or language of a model that `model list` lists; of one that
    is not installed, what the catalogue has is printed.
    """
    from pykaldi_server.models.library import find_model
    from pykaldi_server.session.formats.description import describe

    with plain_errors():
        name = path.partition(":")[0]
        known = None if Path(path).exists() else find_model(name)
        entry = None if known or Path(path).exists() else catalogue_entry(name)
        if entry is not None:
            facts = catalogue_facts(entry)
        else:
            facts = [] if known is None else library_facts(known)
            facts += describe(Path(path))
        for what, text in facts:
            click.echo(f"{what:<18} {text}")


@model.command()
@click.argument("words", nargs=-1)
@click.option(
    "--gmm", is_flag=True, help="List the options of GMM models instead of those of neural networks."
)
def options(words: tuple[str, ...], gmm: bool) -> None:
    """List the options that --model-option and YAML files of models accept.

    With WORDS, only options whose name or help contains all of them are listed.
    """
    for name, default, text in model_options(gmm):
        if all(word.lower() in f"{name} {text}".lower() for word in words):
            click.echo(f"{name}={default}")
            click.echo(click.wrap_text(text, width=100, initial_indent="    ", subsequent_indent="    "))


def model_options(gmm: bool) -> Iterator[tuple[str, str, str]]:
    """Yields name, default and help of every option of a kind of model."""
    from pykaldi_server.kaldi.util.options import registered_options
    from pykaldi_server.session.formats.gmm import GmmOptions
    from pykaldi_server.session.formats.online import OnlineOptions

    known: Any = GmmOptions() if gmm else OnlineOptions()
    for each in sorted(registered_options(known), key=lambda each: each.name):
        default = str(each.value).lower() if isinstance(each.value, bool) else str(each.value)
        yield each.name, default, help_sentence(each.help)


@model.command("compile")
@click.argument("path", metavar="MODEL")
@click.option(
    "--cache", is_flag=True, help="Write the graph to the user's cache instead of the model's directory."
)
def compile_(path: str, cache: bool) -> None:
    """Compose a graph that comes in two parts (HCLr.fst and Gr.fst) in advance.

    Workers find the compiled graph and use it for as long as its parts do not change.
    """
    from rich.progress import Progress

    from pykaldi_server.kaldi.fstext import compile_graph
    from pykaldi_server.session.graph import COMPILED_NAME, is_lookahead
    from pykaldi_server.session.graph_cache import cached_path, prune_cache
    from pykaldi_server.session.loading import read_source

    with plain_errors(), Progress(transient=True) as progress:
        graph = read_source(path, {}).graph
        if not is_lookahead(graph):
            raise click.ClickException(
                f"{graph}: expected a graph in two parts, found one that is ready for use"
            )
        out = cached_path(graph.parent) if cache else graph.parent / COMPILED_NAME
        out.parent.mkdir(parents=True, exist_ok=True)
        task = progress.add_task("", total=None)

        def show(what: str, done: int, total: int) -> None:
            progress.update(task, description=what, completed=done, total=total or None)

        compile_graph(graph.parent, out, show)
        prune_cache()
    click.echo(f"{out}: {out.stat().st_size / 2**20:.1f} MiB")


@model.command("const-arpa")
@click.argument("arpa", type=FILE)
@click.argument("output", type=FILE)
@click.option(
    "--words", type=FILE, help="Table of words (words.txt); without it, the words in ARPA must be integers."
)
@click.option(
    "--bos-symbol",
    metavar="WORD",
    default="<s>",
    show_default=True,
    help="Word that begins sentences, or its integer.",
)
@click.option(
    "--eos-symbol",
    metavar="WORD",
    default="</s>",
    show_default=True,
    help="Word that ends sentences, or its integer.",
)
@click.option("--unk-symbol", metavar="WORD", help="Word that replaces unknown words, or its integer.")
def const_arpa(
    arpa: Path, output: Path, words: Path | None, bos_symbol: str, eos_symbol: str, unk_symbol: str | None
) -> None:
    """Build G.carpa, the language model for rescoring, from an n-gram model in ARPA format."""
    from rich.progress import Progress

    from pykaldi_server.kaldi.fstext import SymbolTable
    from pykaldi_server.kaldi.lm import build_const_arpa

    with plain_errors(), Progress(transient=True) as progress:
        task = progress.add_task(f"{arpa} -> {output}", total=None)
        left_out = build_const_arpa(
            arpa,
            output,
            bos_symbol=_word_or_id(bos_symbol),
            eos_symbol=_word_or_id(eos_symbol),
            unk_symbol=-1 if unk_symbol is None else _word_or_id(unk_symbol),
            symbols=SymbolTable.read_text(str(words)) if words else None,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    click.echo(
        f"{output} is ready; {left_out:,} n-grams were left out because their words are not in the table"
    )


def _word_or_id(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdecimal() else text
