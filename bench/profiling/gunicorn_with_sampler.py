"""gunicorn's settings of the gateway in the working directory, with a sampler in the worker."""

import os
import sys

sys.path.append(os.path.dirname(os.path.abspath(__file__)))

import sampler  # type: ignore[import-not-found]

_FILES = ("project/server/gunicorn.py", "project/gunicorn.py")
_file = next(name for name in _FILES if os.path.exists(name))
with open(_file) as _source:
    exec(compile(_source.read(), os.path.abspath(_file), "exec"))
_start = globals()["post_worker_init"]


def post_worker_init(worker):
    _start(worker)
    sampler.install(os.getcwd(), os.environ["PROFILE"])
