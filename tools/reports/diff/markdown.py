"""Text from a change as Markdown: it can neither end its table cell nor become a link, an image, HTML or a mention."""

from __future__ import annotations

import re


def cell(text: str) -> str:
    """Escape a text for a code span in a table cell."""
    return _without_bars(text).replace("`", "ˋ")


def code(text: str) -> str:
    """A code span."""
    return f"`{cell(text)}`"


def plain(text: str) -> str:
    """Escape Markdown, HTML and mentions in a text from outside."""
    return _inert(cell(re.sub(r"([\\*_])", r"\\\1", text)))


def words(text: str) -> str:
    """Escape a sentence of ours that quotes values in code spans. A value that closes its span is text, as inert as the rest."""
    parts = re.sub("``+", "ˋ", _without_bars(text)).split("`")  # a run of backticks would only be closed by an equal one
    if len(parts) % 2 == 0:  # an unbalanced backtick
        parts[-2:] = [f"{parts[-2]}ˋ{parts[-1]}"]
    return "`".join(part if number % 2 else _inert(part) for number, part in enumerate(parts))


def _without_bars(text: str) -> str:
    """One line whose bars do not end the cell: not even after a backslash, which could escape ours. The same for backticks."""
    return re.sub(r"\\(?=\\*[|`])", "∖", re.sub(r"\s+", " ", text)).replace("|", "\\|")


def _inert(text: str) -> str:
    """No link, image, HTML, mention or automatic link (GitHub Flavored Markdown, "Autolinks")."""
    text = re.sub(r"([\[\]])", r"\\\1", text).replace("<", "&lt;").replace("@", "@\u200b")
    return text.replace("://", ":\u200b//").replace("www.", "www\u200b.")
