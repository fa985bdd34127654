"""Text that came from a file, made safe where it is shown: on a terminal, and in a cell of a spreadsheet."""

import unicodedata

# Controls, what reorders or hides text, halves of characters, and ends of lines that are none to a program.
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def visible(text: str, *, kept: str = "") -> str:
    r"""Return text in which every character shows: what would move a cursor or reorder letters is written as its code.

    Args:
        text: The text.
        kept: A character that stays, e.g. a line's end in text of many lines.

    >>> visible("a\x1b[2Jb\n"), visible("a\n\x07", kept="\n"), visible("é \u202e")
    ('a\\x1b[2Jb\\n', 'a\n\\x07', 'é \\u202e')
    """
    if "".join(text.split(kept) if kept else (text,)).isprintable():
        return text
    return "".join(
        letter
        if letter == kept or unicodedata.category(letter) not in _HIDDEN
        else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def harmless_cell(value: object) -> object:
    """Return a value for a CSV file; text that a spreadsheet would compute gets a quotation mark in front.

    >>> [harmless_cell(value) for value in ("=1+1", "@a", "-1.5", -1.5, "+a", "a=b")]
    ["'=1+1", "'@a", '-1.5', -1.5, "'+a", 'a=b']
    """
    if not isinstance(value, str) or not value.startswith(_FORMULA) or _is_number(value):
        return value
    return f"'{value}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
