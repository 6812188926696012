"""HTML that is escaped by construction: text becomes markup only through ``element``, which escapes it.

What clients can influence (ids, metric names, details) reaches a page only as an argument of these functions.
"""

from __future__ import annotations

import html
import re

from monitor.words import clean


class Html(str):
    """Markup that is safe to put into a page as it is."""

    __slots__ = ()


Node = Html | str | int | None  # a plain text is escaped, None is nothing
Attribute = str | int | float | bool | None

_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*\Z")
_VOID = frozenset({"meta", "br", "col", "line", "rect", "path"})
_MAX_TEXT = 2_000  # characters of one text in the page
EMPTY = Html("")


def element(tag: str, *children: Node, **attributes: Attribute) -> Html:
    """Build one element; ``class_`` and ``data_x`` become ``class`` and ``data-x``, None and False leave one out."""
    written = "".join(_attribute(name, value) for name, value in attributes.items())
    if tag in _VOID and not children:
        return Html(f"<{tag}{written}>" if tag in ("meta", "br", "col") else f"<{tag}{written}/>")
    return Html(f"<{tag}{written}>{join(*children)}</{tag}>")


def join(*children: Node) -> Html:
    """Put nodes after each other, escaping those that are not markup."""
    return Html("".join(map(_escape, children)))


def preformatted(text: str) -> Html:
    """Show several lines of text as they are: each line is escaped and cleaned on its own."""
    return element("pre", element("code", Html("\n".join(map(_escape, text.splitlines())))), tabindex=0)


def _escape(node: Node) -> str:
    if isinstance(node, Html):
        return node
    return "" if node is None else html.escape(clean(node, _MAX_TEXT), quote=True)


def _attribute(name: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    key = name.rstrip("_").replace("_", "-")
    if not _NAME.match(key):
        raise ValueError(f"{key!r} is not the name of an attribute")
    if key.lower().startswith("on") or key in ("href", "src"):
        raise ValueError(f"the report has no {key}: it runs no script and loads nothing")
    return f" {key}" if value is True else f' {key}="{html.escape(clean(value, _MAX_TEXT * 100), quote=True)}"'
