"""The code blocks of README.md, CONTRIBUTING.md and docs/, and why some of them are not run."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"(?:^<!-- not run: (?P<reason>.+?) -->\n+)?^```(?P<language>\S*)\n(?P<text>.*?)^```", re.S | re.M)
_NEXT_COMMAND = re.compile(r"\s(?:&&|\||;)\s")


@dataclass(frozen=True)
class Block:
    """A code block of a page.

    Attributes:
        page: The file.
        line: The number of its first line of code.
        language: What stands behind the three backticks; empty where nothing does.
        text: The code.
        not_run: Why no test runs it, from an HTML comment before the block, `<!-- not run: why -->`; empty if one does.
    """

    page: Path
    line: int
    language: str
    text: str
    not_run: str

    @property
    def module(self) -> str | None:
        """The name of the file that a block of Python is, from a comment in its first line."""
        match = re.match(r"# (\w+\.py)\n", self.text)
        return match[1] if match and self.language == "python" else None

    @property
    def commands(self) -> list[str]:
        """The commands of a shell's block, in order, comments included; none of another language."""
        if self.language != "bash":
            return []
        lines = self.text.replace("\\\n", " ").splitlines()
        return [part.strip() for line in lines for part in _NEXT_COMMAND.split(line) if part.strip()]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    """The code blocks of a page, from top to bottom."""
    text = page.read_text()
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("text")) + 1
        yield Block(page, line, match["language"], match["text"], match["reason"] or "")


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
