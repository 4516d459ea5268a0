"""gunicorn's settings and hooks: one gevent worker a core, an honest end on SIGTERM, every row settled before exit."""

import logging
import os
import signal
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

from django.conf import settings

wsgi_app = "project.wsgi:application"
bind = settings.BIND
workers = settings.WEB_CONCURRENCY
worker_class = "project.server.worker.DrainingWorker"
worker_connections = 2_000
graceful_timeout = settings.GRACEFUL_TIMEOUT_S
keepalive = 12  # also how long a request line and headers may take
timeout = 60
http_parser = "python"  # "auto" takes whatever parser happens to be installed
limit_request_line = 8_190
limit_request_fields = 60
limit_request_field_size = 8_190
forwarded_allow_ips = ""  # the gateway itself decides whom it believes (TRUSTED_PROXIES)
header_map = "drop"
control_socket_disable = True
accesslog = None  # the gateway writes one line a call


def post_fork(server, worker):
    """In the worker, before anything else. Until it has handlers of its own, the master's would swallow a SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def post_worker_init(worker):
    """In the worker, after the application was loaded."""
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
