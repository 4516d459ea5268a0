"""Settings and hooks of gunicorn: gevent workers, graceful shutdown on SIGTERM, all records settled before exit."""

import logging
import os
import signal
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

from django.conf import settings

from project.server import open_files

wsgi_app = "project.wsgi:application"
bind = settings.BIND
workers = settings.WEB_CONCURRENCY
worker_class = "project.server.worker.DrainingWorker"
worker_connections = settings.MAX_CONNECTIONS + 500  # with those that are being closed; none is accepted above it
graceful_timeout = settings.GRACEFUL_TIMEOUT_S
keepalive = settings.CLIENT_IDLE_TIMEOUT_S  # also how long a request line and headers may take
timeout = 60
sendfile = False  # gevent's own reads and sends as gunicorn does without it, but has no deadline
http_parser = "python"  # "auto" depends on the installed packages
limit_request_line = 8_190
limit_request_fields = 60
limit_request_field_size = 8_190
forwarded_allow_ips = ""  # the gateway trusts proxies by TRUSTED_PROXIES
header_map = "drop"
control_socket_disable = True
accesslog = None  # the gateway logs one line per request


def on_starting(server):
    """Allow as many open files as the connections need. The workers inherit the limit."""
    open_files.raise_limit()


def post_fork(server, worker):
    """Reset the SIGTERM handler, first in the worker: the handler of the master would ignore the signal."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def post_worker_init(worker):
    """Start the application, after the worker has loaded it."""
    worker.wsgi.start()


def worker_exit(server, worker):
    """Settle all records and end the worker. A worker that did not load the application has nothing to settle."""
    application = getattr(worker, "wsgi", None)
    if application is None or worker.pid != os.getpid():
        return
    application.close()
    # Without finalizing the interpreter, which takes 0.3 to 0.5 s of CPU time in each worker. On a busy machine that
    # was longer than the margin after the drain, and the master killed the workers. `close` leaves nothing to finalize.
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    ending = sys.exc_info()[1]  # gunicorn's SystemExit: not 0 after an unhandled error
    os._exit(ending.code & 0xFF if isinstance(ending, SystemExit) and isinstance(ending.code, int) else 0)
