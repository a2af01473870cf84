"""Write the model cards of the shipped bundles from their pages in docs: ``python .ci/cards.py``."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def cards() -> dict[Path, str]:
    """Each bundle's ``card.md``: its page without pictures, and with the names of what the page links to."""
    found = {}
    for page in sorted((ROOT / "docs").glob("model-*.md")):
        text = re.sub(r"^!\[[^\]]*\]\([^)]*\)\n\n[^\n]*\n\n", "", page.read_text(encoding="utf-8"), flags=re.M)
        text = re.sub(r"\[([^\]]+)\]\((?!https?:)[^)]+\)", r"\1", text)
        found[ROOT / "h2k_rt" / "models" / page.stem.removeprefix("model-") / "card.md"] = text
    return found


if __name__ == "__main__":
    for path, text in cards().items():
        path.write_text(text, encoding="utf-8")
