"""Checks that every link to a file in the Markdown documents leads somewhere."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(#[^)]*)?\)")


def documents() -> list[Path]:
    """The documents that people read."""
    return sorted(
        [
            *ROOT.glob("*.md"),
            *ROOT.glob("docs/**/*.md"),
            *ROOT.glob("models/**/*.md"),
            *ROOT.glob("scripts/**/*.md"),
        ]
    )


def broken_links(document: Path) -> list[str]:
    """Links of a document to files that do not exist."""
    targets = (match.group(1) for match in LINK.finditer(document.read_text(encoding="utf-8")))
    local = (target for target in targets if "://" not in target and not target.startswith("mailto:"))
    return [target for target in local if not (document.parent / target).exists()]


def main() -> int:
    found = [(document, target) for document in documents() for target in broken_links(document)]
    for document, target in found:
        print(f"{document.relative_to(ROOT)}: there is no {target}")
    print(f"{len(documents())} documents, {len(found)} broken links")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
