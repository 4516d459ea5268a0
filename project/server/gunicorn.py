"""gunicorn's settings and hooks: one gevent worker a core, an honest end on SIGTERM, every row settled before exit."""

import os
import signal

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
    """The last thing that a worker does. A worker that never loaded the application has nothing to close."""
    application = getattr(worker, "wsgi", None)
    if application is not None and worker.pid == os.getpid():
        application.close()
