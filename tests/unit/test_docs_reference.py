"""The docs against the code and against themselves: generated pages are fresh, tables complete, links good."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

import tallystick
from scripts import generate_docs
from tallystick.errors import REASONS, Reason
from tallystick_node.config.settings import SETTINGS
from tallystick_node.core import limits

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = sorted(
    str(path.relative_to(ROOT))
    for folder in ("docs", "examples", "client", "node")
    for path in [*ROOT.glob("*.md"), *(ROOT / folder).rglob("*.md")]
)
_LINK: Final = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
_FENCED: Final = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
_CODE: Final = re.compile(r"`[^`\n]+`")


def _anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    heads = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def _broken(page: Path) -> list[str]:
    text = _CODE.sub("", _FENCED.sub("", page.read_text(encoding="utf-8")))
    broken = []
    for target in _LINK.findall(text):
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        if not there.exists() or (anchor and anchor not in _anchors(there)):
            broken.append(target)
    return broken


@pytest.mark.parametrize("page", sorted(set(PAGES)))
def test_links_lead_somewhere(page: str) -> None:
    assert _broken(ROOT / page) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A head\n[a](page.md#a-head) [b](#no-head) [c](none.md) [d](https://example.org) `[e](none.md)`\n"
    )
    assert _broken(page) == ["#no-head", "none.md"]


def test_every_page_can_be_found_from_the_readme() -> None:
    reached: set[Path] = set()
    ahead = [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        targets = _LINK.findall(_FENCED.sub("", page.read_text(encoding="utf-8")))
        ahead += [(page.parent / target.partition("#")[0]).resolve() for target in targets if "://" not in target]
    docs = {path for path in (ROOT / "docs").rglob("*.md") if path != ROOT / "docs" / "README.md"}
    # The figures are written by `make bench`, and linked from where they are explained.
    assert {page.name for page in docs - reached} <= {"benchmarks.md"}


def test_generated_pages_are_fresh() -> None:
    assert generate_docs.stale() == []


def test_a_stale_page_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate_docs, "DOCS", tmp_path)
    assert len(generate_docs.stale()) == 3
    generate_docs.write()
    assert generate_docs.stale() == []
    (tmp_path / "reference" / "limits.md").write_text("more or less")
    assert generate_docs.stale() == ["reference/limits.md"]


def test_generated_pages_hold_every_row() -> None:
    pages = generate_docs.render()
    assert set(REASONS) == set(Reason)
    assert all(f"| `{reason}` |" in pages["reference/errors.md"] for reason in Reason)
    assert all(f"| `{setting.name}` |" in pages["reference/configuration.md"] for setting in SETTINGS)
    names = [name for name in vars(limits) if name.isupper()]
    assert len(names) > 15
    assert all(f"| `{name}` |" in pages["reference/limits.md"] for name in names)


@pytest.mark.parametrize("owner", [tallystick.Client, tallystick.Agent, tallystick.Members])
def test_the_page_of_the_client_names_every_method(owner: type) -> None:
    page = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    missing = [
        name for name in vars(owner) if not name.startswith("_") and f"{name}(" not in page and f"`{name}`" not in page
    ]
    assert set(missing) <= {"name", "namespace", "endpoints"}


def test_the_changelog_has_this_version() -> None:
    assert tallystick.__version__ in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
