"""Halves of characters: upstreams cut an emoji into two surrogates, and send each in a piece of its own."""

HIGH = range(0xD800, 0xDC00)
REPLACEMENT = "\ufffd"


class SurrogateJoiner:
    """Join the halves of a character that two pieces of a text share. A half without the other becomes U+FFFD."""

    def __init__(self) -> None:
        self.half = ""
        """The half that waits for the next piece."""

    def join(self, piece: str) -> str:
        """Return a piece of text that can be encoded. A half at its end is kept for the next piece."""
        if not self.half and is_encodable(piece):
            return piece
        text, self.half = self.half + piece, ""
        if text and ord(text[-1]) in HIGH:
            text, self.half = text[:-1], text[-1]
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    def end(self) -> str:
        """Return U+FFFD for a half that no piece completed, else nothing."""
        half, self.half = self.half, ""
        return REPLACEMENT if half else ""


def is_encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def encodable(text: str) -> str:
    """Return a complete text that can be encoded: joined halves, and U+FFFD for a half without the other."""
    joiner = SurrogateJoiner()
    return joiner.join(text) + joiner.end()
