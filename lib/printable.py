"""Names that people chose, as they may go to a terminal or into a mail."""


def printable(text: str) -> str:
    """Without what would move a cursor, or look like another line."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
