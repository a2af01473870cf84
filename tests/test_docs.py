"""The documentation against the repository: the layout is complete, links lead somewhere, the table of engines is whole."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY

from h2k_rt.bundle import Bundle

PAGES = [
    REPOSITORY / "README.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
    *sorted((REPOSITORY / "bench" / "results").glob("*.md")),
]


def section(page: str, heading: str) -> str:
    """The text below a heading, up to the next one."""
    return page.split(f"\n### {heading}\n")[1].split("\n### ")[0]


@pytest.mark.parametrize(("heading", "folder"), [("h2k_rt", "h2k_rt"), ("engines/h2k_engines", "engines/h2k_engines")])
def test_layout_names_every_module(heading: str, folder: str) -> None:
    text = section((REPOSITORY / "docs" / "development.md").read_text(encoding="utf-8"), heading)
    named = set(re.findall(r"`([\w/.]+)`", text))
    there = {path.name for path in (REPOSITORY / folder).glob("*.py") if not path.name.startswith("__")}
    there |= {f"{path.name}/" for path in (REPOSITORY / folder).iterdir() if path.is_dir() and not path.name.startswith("__")}
    assert named == there


def anchors(page: Path) -> set[str]:
    """How a page's headings are linked to."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if "://" not in target:
                yield page, target


def test_links_lead_somewhere() -> None:
    found = list(links())
    assert len(found) > 20
    for page, target in found:
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        assert file.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(file), f"{page.name} links to {target}"


def test_every_shipped_model_has_its_card() -> None:
    """In the docs and, the same text, in the bundle."""
    spec = importlib.util.spec_from_file_location("cards", REPOSITORY / ".ci" / "cards.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    made = script.cards()
    bundles = [path.parent for path in (REPOSITORY / "h2k_rt" / "models").glob("*/model.toml")]
    assert {path.parent for path in made} == set(bundles) and bundles
    for path, text in made.items():
        assert path.read_text(encoding="utf-8") == text, "run python .ci/cards.py"
        assert "](" not in text and "![" not in text
        for word in ("licence", "trained on", "Hardware", "Figures", "cannot do", "Fair use"):
            assert word in text, f"{path}: says nothing of {word}"


def test_table_of_rtx_engines_is_whole() -> None:
    """Every network of the models that ship, as they are, and of whatever else was built, for RTX 30, 40 and 50, as one engine."""
    rows = json.loads((REPOSITORY / "bench" / "results" / "rtx_engines.json").read_text(encoding="utf-8"))
    architectures = {"sm86", "sm89", "sm120"}
    shipped = [Bundle.open(name) for name in ("small", "views-small")]
    graphs = {(b.name, name, p): b.sha256(name, p) for b in shipped for name in b.networks for p in b.precisions(name)}
    found: dict[tuple[str, str, str], set[str]] = {}
    for row in rows:
        found.setdefault((row["model"], row["network"], row["precision"]), set()).add(row["sm"])
        key = (row["model"], row["network"], row["precision"])
        assert row["graph"] == graphs.get(key, row["graph"]), f"{key}: engines of another graph; run bench/rtx_engines.py"
        assert row["engines"] == 1 and not row["outside"] and row["bytes"] > 100_000 and len(row["sha256"]) == 64
    assert graphs.keys() <= found.keys() and all(built == architectures for built in found.values())
