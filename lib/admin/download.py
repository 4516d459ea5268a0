"""Downloads of files that are written for them."""

import tempfile
import weakref
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import IO

from django.http import FileResponse

from lib.pace import pace

IN_MEMORY_BYTES = 1024 * 1024
CSV = "text/csv; charset=utf-8"


def download(write: Callable[[IO[bytes]], None], *, filename: str, content_type: str) -> FileResponse:
    """Return a response with what a function writes.

    It is written to a temporary file first: a client that downloads slowly would keep the rows' database connection,
    and eight such clients all of the worker's pool.
    """
    with ExitStack() as on_error:
        file = on_error.enter_context(tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES))
        write(file)
        file.seek(0)
        on_error.pop_all()  # the response closes it
    response = FileResponse(file, as_attachment=True, filename=filename, content_type=content_type)
    weakref.finalize(response, file.close)  # one that no server has sent is not closed
    return response


def csv_download(lines: Iterable[str], *, filename: str) -> FileResponse:
    """Return a response with the lines."""

    def write(file: IO[bytes]) -> None:
        step = pace()
        for line in lines:
            file.write(line.encode())
            step()

    return download(write, filename=filename, content_type=CSV)
