"""Body of a plain request, read from its connection into the pieces that the application asks for."""

from typing import Any

from gunicorn.http.body import Body


class DirectBody(Body):
    """gunicorn's body of a known length, without its buffers, which copy each byte of a large body up to ten times."""

    def read(self, size: int | None = None) -> bytes:
        """Return `size` bytes, fewer at the end of the body or of the connection."""
        if self.buf.tell():  # what `readline` has read ahead
            return bytes(super().read(size))
        missing = min(self.getsize(size), self.reader.length)
        pieces: list[bytes] = []
        try:
            while missing and (piece := self._receive(missing)):
                pieces.append(piece)
                missing -= len(piece)
        except Exception:
            self.failed = True
            raise
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _receive(self, most: int) -> bytes:
        """Return the next bytes, at most those of the body. What follows them stays for the next request."""
        unreader: Any = self.reader.unreader
        piece: bytes = unreader.take_buffered() or unreader.chunk(most)
        if len(piece) > most:
            piece, rest = piece[:most], piece[most:]
            unreader.unread(rest)
        self.reader.length -= len(piece)
        return piece
