"""Limit of uploaded files: a larger one is read to its end and not stored."""

from typing import Any

from django.core.files.uploadhandler import FileUploadHandler, SkipFile

MAX_UPLOAD_BYTES = 16 << 20
"""For every file that is sent to a page. Forms may allow less."""


class UploadLimit(FileUploadHandler):
    """Drop a file that is too large: its form then has no file. Otherwise a page would fill the disk."""

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        if start + len(raw_data) > MAX_UPLOAD_BYTES:
            raise SkipFile
        return raw_data

    def file_complete(self, file_size: int) -> Any:
        return None  # the next handler has the file
