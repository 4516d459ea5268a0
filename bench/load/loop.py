"""The event loop of the load: uvloop where it is installed, else asyncio's own."""

import asyncio
from collections.abc import Coroutine
from typing import Any

try:
    import uvloop
except ImportError:
    run = asyncio.run
    NAME = "asyncio"
else:
    NAME = f"uvloop {uvloop.__version__}"

    def run(main: Coroutine[Any, Any, Any]) -> Any:  # type: ignore[misc]
        return uvloop.run(main)
