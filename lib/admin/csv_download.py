"""CSV downloads."""

import tempfile
import weakref
from collections.abc import Iterable
from contextlib import ExitStack

from django.http import FileResponse

from lib.pace import pace

IN_MEMORY_BYTES = 1024 * 1024


def csv_download(lines: Iterable[str], *, filename: str) -> FileResponse:
    """Return a response with the lines.

    They are written to a temporary file first: a client that downloads slowly would keep the rows' database connection,
    and eight such clients all of the worker's pool.
    """
    with ExitStack() as on_error:
        file = on_error.enter_context(tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES))
        step = pace()
        for line in lines:
            file.write(line.encode())
            step()
        file.seek(0)
        on_error.pop_all()  # the response closes it
    response = FileResponse(file, as_attachment=True, filename=filename, content_type="text/csv; charset=utf-8")
    weakref.finalize(response, file.close)  # one that no server has sent is not closed
    return response
