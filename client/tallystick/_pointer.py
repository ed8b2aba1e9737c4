"""JSON Pointer (RFC 6901) in the client: its tokens to text and back. Whether a text is one is for `ops` to check."""

from __future__ import annotations


def pointer(*tokens: str | int) -> str:
    """The pointer of these tokens.

    Example:
        >>> pointer("a/b", 0)
        '/a~1b/0'
    """
    return "".join("/" + str(token).replace("~", "~0").replace("/", "~1") for token in tokens)


def tokens_of(path: str) -> list[str]:
    """The tokens of a pointer.

    Example:
        >>> tokens_of("/a~1b/0")
        ['a/b', '0']
    """
    return [token.replace("~1", "/").replace("~0", "~") for token in path.split("/")[1:]]
