"""A set in which adding wins: an element that one replica adds while another removes it stays.

Rules of this file:
- Each writer has a key of its own for each element. Removing deletes the keys that are seen; a key that is set anew
  meanwhile is another item of the document, which that deletion does not touch.
- So adding always writes, also what is there already: otherwise a removal that did not see it would win.
- Elements are scalars, equal when their JSON is: 1 and True are two elements.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableSet
from typing import TypeAlias, TypeGuard, TypeVar

from tallystick.contexts.views.roots import MapRoot, View
from tallystick.contexts.views.shapes import Kind, element_key, element_text, set_elements, set_texts
from tallystick.contexts.views.values import check_key, normalise
from tallystick.errors import Invalid, Reason

Element: TypeAlias = str | int | float | bool | None
"""What a set holds."""

T = TypeVar("T")


class SetView(View[MapRoot], MutableSet[Element]):
    """A root that is a set, used like one; it comes sorted by the elements' JSON. Looking into it reads all its keys.

    Raises:
        Invalid: `INVALID_VALUE`: no scalar; `TOO_LARGE`; `TYPE_CLASH`: the root is of another kind.
    """

    kind = Kind.SET

    def __contains__(self, element: object) -> bool:
        text = _text_of(element)
        return text is not None and text in set_texts(self._root().keys())

    def __iter__(self) -> Iterator[Element]:
        return iter(self.elements())

    def __len__(self) -> int:
        return len(set_texts(self._root().keys()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r}, {self.elements()!r:.200})"

    def elements(self) -> list[Element]:
        """All of it, as it is now."""
        return [element for element in set_elements(self._root().keys()) if _is_scalar(element)]

    def add(self, element: Element) -> None:
        """Adds it. Always an edit, see the module; who adds in a loop asks `in` first."""
        self.update([element])

    def update(self, elements: Iterable[Element]) -> None:
        """Adds all of them, in one edit."""
        writer = self._held.writer
        keys = [element_key(self._checked(element), writer) for element in elements]
        if not keys:
            return
        with self._edit() as root:
            for key in keys:
                root[key] = True

    def discard(self, element: Element) -> None:
        """Removes it, if it is there; who adds it elsewhere meanwhile wins."""
        text = _text_of(element)
        self._remove({text} if text is not None else set())

    def clear(self) -> None:
        """Removes what is there now, in one edit; what is added elsewhere meanwhile stays."""
        self._remove(None)

    @classmethod
    def _from_iterable(cls, elements: Iterable[T]) -> set[T]:
        """What `|`, `&`, `-` and `^` give: a set that belongs to nobody."""
        return set(elements)

    def _remove(self, texts: set[str] | None) -> None:
        keys = [key for key in self._root().keys() if texts is None or key.rpartition("#")[0] in texts]  # noqa: SIM118
        if not keys:
            return
        with self._edit() as root:
            for key in keys:
                del root[key]

    def _checked(self, element: Element) -> Element:
        if not _is_scalar(element):
            raise Invalid(
                f"{element!r:.50} is no element: a str, a number, a bool or None, at {self._path}",
                reason=Reason.INVALID_VALUE,
                metadata={"path": self._path},
            )
        plain = normalise(element, self._path)
        check_key(element_key(plain, self._held.writer), self._path)
        return element if isinstance(plain, list | dict | bytes) else plain


def _is_scalar(element: object) -> TypeGuard[Element]:
    return element is None or isinstance(element, str | int | float)


def _text_of(element: object) -> str | None:
    """The element's text; None of what can be in no set."""
    if isinstance(element, str | int | float) or element is None:
        try:
            return element_text(normalise(element, ""))
        except Invalid:
            return None
    return None
