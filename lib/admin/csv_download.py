"""CSV downloads."""

import tempfile
from collections.abc import Iterable

from django.http import FileResponse

from lib.pace import pace

IN_MEMORY_BYTES = 1024 * 1024


def csv_download(lines: Iterable[str], *, filename: str) -> FileResponse:
    """Return a response with the lines.

    They are written to a temporary file first: a client that downloads slowly would keep the rows' database connection,
    and eight such clients all of the worker's pool.
    """
    file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115  # the response closes it
    step = pace()
    for line in lines:
        file.write(line.encode())
        step()
    file.seek(0)
    return FileResponse(file, as_attachment=True, filename=filename, content_type="text/csv; charset=utf-8")
