"""Hooks of mkdocs (mkdocs.yml): the site has what the pages in docs/ link to elsewhere in the repository.

README.md becomes the first page. Other documents and files outside docs/ that a page links to keep their
paths, below ``repository/``. A link to a folder leads to its README.md; where it has none, it becomes plain
text, as do links to hidden files, which mkdocs leaves out.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

__all__ = ["linked_files", "on_files", "on_page_markdown", "place_in_repository", "place_in_site", "relinked"]

ROOT = Path(__file__).resolve().parent.parent
PAGES = Path("docs")
FIRST_PAGE = Path("README.md")
ELSEWHERE = Path("repository")
# Code is passed over: what looks like a link there is none.
LINK_OR_CODE = re.compile(
    r"(?P<code>^```.*?^```|`[^`\n]+`)|\[(?P<text>(?:!\[[^\]]*\]\([^)]*\)|`[^`]*`|[^\]`])*)\]"
    r"\((?P<target>[^)#\s]*)(?P<anchor>#[^)\s]*)?\)",
    re.DOTALL | re.MULTILINE,
)


def place_in_site(path: Path) -> str:
    """Where the site has a file of the repository, relative to its first page."""
    if path == FIRST_PAGE:
        return "index.md"
    return (path.relative_to(PAGES) if path.is_relative_to(PAGES) else ELSEWHERE / path).as_posix()


def place_in_repository(place: str) -> Path:
    """The file that the site has at a place; the inverse of `place_in_site`."""
    path = Path(place)
    if place == "index.md":
        return FIRST_PAGE
    return path.relative_to(ELSEWHERE) if path.is_relative_to(ELSEWHERE) else PAGES / path


def target_of(link: re.Match[str], page: Path) -> Path | None:
    """The file or folder of the repository that a link leads to; None if it leads elsewhere."""
    target = link["target"]
    if not target or ":" in target:
        return None
    path = Path(os.path.normpath(page.parent / target))
    return path / "README.md" if (ROOT / path / "README.md").is_file() else path


def is_in_site(path: Path) -> bool:
    """Whether the site can have a file of the repository, or what is there is none."""
    return (ROOT / path).is_file() and not any(part.startswith(".") for part in path.parts)


def links(page: Path) -> Iterator[Path]:
    """The files of the repository that a document links to."""
    for link in LINK_OR_CODE.finditer((ROOT / page).read_text(encoding="utf-8")):
        if not link["code"] and (target := target_of(link, page)) and is_in_site(target):
            yield target


def linked_files() -> set[Path]:
    """All files outside docs/ that belong to the site: what its pages link to, and these in turn."""
    found = {FIRST_PAGE}
    unread = [FIRST_PAGE, *(path.relative_to(ROOT) for path in (ROOT / PAGES).glob("**/*.md"))]
    while unread:
        new = {path for path in links(unread.pop()) if not path.is_relative_to(PAGES)} - found
        found |= new
        unread += [path for path in new if path.suffix == ".md"]
    return found


def relinked(text: str, page: Path) -> str:
    """A document of the repository with links that hold in the site."""

    def change(link: re.Match[str]) -> str:
        target = None if link["code"] else target_of(link, page)
        if target is None:
            return link[0]
        words = LINK_OR_CODE.sub(change, link["text"])  # a picture in a link
        if not is_in_site(target):
            return words
        place = os.path.relpath(place_in_site(target), Path(place_in_site(page)).parent)
        return f"[{words}]({Path(place).as_posix()}{link['anchor'] or ''})"

    return LINK_OR_CODE.sub(change, text)


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Adds what is outside docs/."""
    from mkdocs.structure.files import File

    for path in sorted(linked_files()):
        files.append(File.generated(config, place_in_site(path), abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: "Page", config: "MkDocsConfig", files: "Files") -> str:
    """Changes the links of a page."""
    return relinked(markdown, place_in_repository(page.file.src_uri))
