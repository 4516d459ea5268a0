"""Names from users, made safe for terminals and e-mails."""


def printable(text: str) -> str:
    """Replace characters that move the cursor or break the line with `?`."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
