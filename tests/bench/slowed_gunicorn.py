"""gunicorn's settings of the gateway, slowed by a share of its own CPU time: by 30 % with SLOWED_BY=0.3."""

import os
import time

_FILE = "project/server/gunicorn.py"
with open(_FILE) as _source:
    exec(compile(_source.read(), os.path.abspath(_FILE), "exec"))
_start = globals()["post_worker_init"]


class SlowedApplication:
    """Burns CPU time before each request, until all of it is the given share of what the process used otherwise."""

    def __init__(self, application, share):
        self._application, self._share, self._burned = application, share, 0.0
        self._started = time.process_time()

    def __call__(self, environ, start_response):
        used = time.process_time() - self._started - self._burned
        missing = used * self._share - self._burned
        started = time.thread_time()
        while time.thread_time() - started < missing:
            pass
        self._burned += max(0.0, missing)
        return self._application(environ, start_response)

    def __getattr__(self, name):
        return getattr(self._application, name)


def post_worker_init(worker):
    _start(worker)
    worker.wsgi = SlowedApplication(worker.wsgi, float(os.environ["SLOWED_BY"]))
