"""Trees of branches, as people see them."""

from __future__ import annotations

from tallystick_node.cli.tree import drawn


def draw(*parents: tuple[str, str]) -> list[str]:
    return [lines + item[0] for lines, item in drawn(parents, lambda item: item[0], lambda item: item[1])]


def test_each_stands_below_where_it_began() -> None:
    assert draw(("a", "main"), ("b", "a"), ("c", "main"), ("d", "a"), ("e", "c"), ("main", "")) == [
        "main",
        "├─ a",
        "│  ├─ b",
        "│  └─ d",
        "└─ c",
        "   └─ e",
    ]


def test_who_began_at_nothing_that_is_listed_is_a_root() -> None:
    assert draw(("a", "gone"), ("b", "a")) == ["a", "└─ b"]
    assert draw() == []
