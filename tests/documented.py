"""The blocks of code and the commands in the documents, and whether programs would take the commands."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from pykaldi_server.cli import main

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[^>\n]+) -->\n)?(?P<indent> *)```(?P<language>\w*)\n(?P<code>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)
INLINE = re.compile(r"(?<!`)`(pykaldi-server [^`]+)`(?!`)")
IN_COMMENT = re.compile(r"^ *#.*?\b(pykaldi-server (?!is |are )[a-z].*)$", re.MULTILINE)
SHELL = ("sh", "console", "bash", "zsh", "fish")
ENDS_A_COMMAND = {"|", "||", "&&", ";", "&", ">", "<", ">>", "2>", "<("}


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        mark: what a comment of HTML above it says of it, such as ``runs``; '' if there is none.
        code: its lines, without the prompts of a console.
        language: as it is written after the backquotes.
    """

    document: str
    mark: str
    code: str
    language: str = "sh"

    @property
    def shell(self) -> str:
        """The program that runs it."""
        return self.language if self.language in ("zsh", "fish") else "bash"

    def steps(self) -> Iterator[tuple[str, str]]:
        """Yields each command, and the output that comments on the lines after it promise."""
        lines = self.code.replace("\\\n", " ").splitlines()
        while lines:
            command, promised = lines.pop(0), []
            while lines and not is_whole(command):
                command += f"\n{lines.pop(0)}"
            while lines and lines[0].startswith("# "):
                promised.append(lines.pop(0).removeprefix("# "))
            if command.strip() and not command.startswith("#"):
                yield command, "\n".join(promised)


def is_whole(command: str) -> bool:
    """Whether all quotes of a command are closed."""
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return False
    return True


def documents() -> list[Path]:
    """The documents that people read, and the YAML files to start from."""
    places = ("*.md", "docs/**/*.md", "models/**/*.md", "models/**/*.yaml", "scripts/**/*.md")
    return sorted(path for place in places for path in ROOT.glob(place))


def all_blocks(document: Path) -> list[Block]:
    """The blocks of code in a document."""
    text = document.read_text(encoding="utf-8")
    name = document.relative_to(ROOT).as_posix()
    return [
        Block(name, match["mark"] or "", re.sub(r"^ *\$ ", "", match["code"], flags=re.M), match["language"])
        for match in BLOCK.finditer(text)
    ]


def blocks(document: Path) -> list[Block]:
    """The blocks of shell commands in a document."""
    return [block for block in all_blocks(document) if block.language in SHELL]


def code_blocks(document: Path, language: str) -> list[str]:
    """The blocks of a language in a document."""
    text = document.read_text(encoding="utf-8")
    return [match["code"] for match in BLOCK.finditer(text) if match["language"] == language]


def mentioned_commands(document: Path) -> Iterator[str]:
    """Commands of `pykaldi-server` between backquotes, and in comments of other code."""
    text = document.read_text(encoding="utf-8")
    if document.suffix == ".md":
        yield from (" ".join(match.split()) for match in INLINE.findall(text))
        others = [match["code"] for match in BLOCK.finditer(text) if match["language"] not in SHELL]
        text = "\n".join(others)
    yield from IN_COMMENT.findall(text)


def simple_commands(line: str) -> Iterator[list[str]]:
    """The words of each program that a line of shell calls, without assignments before it."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word in ENDS_A_COMMAND:
            if words:
                yield words
            words = []
        elif words or not re.fullmatch(r"\w+=.*", word):
            words.append(word)


def refusal(words: list[str], *, is_whole: bool) -> str | None:
    """Why a command of the program `pykaldi-server` would refuse its arguments; None if it takes them.

    Args:
        words: the arguments; files that they name need not exist, and ``...`` stands for others.
        is_whole: whether a required argument that is not given is a reason, too.
    """
    words = [word for word in words if word != "..."]
    command: click.Command = main
    context = click.Context(command, info_name="pykaldi-server", **main.context_settings)
    try:
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            name, found, words = command.resolve_command(context, words)
            assert found is not None
            context = click.Context(found, parent=context, info_name=name)
            command = found
        if isinstance(command, click.Group):
            return None
        given, rest, _ = command.make_parser(context).parse_args(list(words))
        if rest:
            return f"unexpected arguments: {' '.join(rest)}"
        for parameter in command.get_params(context):
            value = given.get(parameter.name)
            is_given = isinstance(value, str | bool | list | tuple)  # else None, or click's own sign of it
            if is_whole and parameter.required and not is_given:
                raise click.MissingParameter(ctx=context, param=parameter)
            is_file = isinstance(parameter.type, click.Path | click.File)
            if is_given and not is_file and not parameter.is_eager:
                parameter.type_cast_value(context, value)
    except click.ClickException as error:
        return error.format_message()
    return None
