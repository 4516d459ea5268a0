"""Django settings, and the only reader of environment variables.

`.env.example` and `docs/configuration.md` list every variable. Objects that operators change at run time (upstreams,
routes, keys) are rows in the database, not variables.
"""

from datetime import timedelta
from pathlib import Path

import environ

from project.environment import Environment

BASE_DIR = Path(__file__).resolve().parent.parent

env = Environment()
ENV_FILE = Path(env.str("ENV_FILE", default=str(BASE_DIR / ".env")))
env.read_env(ENV_FILE)  # variables of the environment take precedence

# ---- Secrets, without defaults. `make run` generates them in .env; project/checks.py rejects empty ones.

SECRET_KEY: str = env.str("SECRET_KEY", default="")
API_KEY_PEPPERS: list[str] = env.list("API_KEY_PEPPERS", default=[])  # the first one signs, all verify
# Fernet keys; the first encrypts, all decrypt.
CREDENTIAL_ENCRYPTION_KEYS: list[str] = env.list("CREDENTIAL_ENCRYPTION_KEYS", default=[])

# The environment of commands that a page starts as processes of their own.
COMMAND_ENVIRONMENT: dict[str, str] = dict(env.ENVIRON.env)
MANAGE_PY = BASE_DIR / "manage.py"

# ---- Hosts and transport.

DEBUG: bool = env.flag("DEBUG", default=False)
ALLOWED_HOSTS: list[str] = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])
BIND: str = env.str("BIND", default="127.0.0.1:8000")
HTTPS: bool = env.flag("HTTPS", default=True)  # False: for http:// on this machine only
TRUSTED_PROXIES: list[str] = env.list("TRUSTED_PROXIES", default=[])  # senders of X-Forwarded-For and -Proto
WEB_CONCURRENCY: int = env.count("WEB_CONCURRENCY", default=1, at_least=1)  # worker processes, one per core

# ---- Access to the admin.

ADMIN_TWO_FACTOR: str = env.str("ADMIN_TWO_FACTOR", default="off")  # off, optional or required

# ---- Storage.

STATE_DIR = Path(env.str("STATE_DIR", default=str(BASE_DIR / ".var")))  # spool and, by default, the SQLite file
DATABASE_URL: str = env.str("DATABASE_URL", default=f"sqlite:///{STATE_DIR / 'gateway.sqlite3'}")

REDIS_URL: str = env.str("REDIS_URL", default="")  # Redis or Valkey: shared rate-limit and circuit state

# ---- Upstreams.

UPSTREAM_CA_FILE: str = env.str("UPSTREAM_CA_FILE", default="")  # PEM: replaces the default authorities
# Per worker: requests that continue after the client disconnected.
MAX_DETACHED_REQUESTS: int = env.count("MAX_DETACHED_REQUESTS", default=50)
# Interval of reading the model list of each upstream. 0: never.
MODEL_LIST_INTERVAL_S: float = env.seconds("MODEL_LIST_INTERVAL_S", default=3600.0, may_be_none=True)

# ---- Budget reservations, for what a request does not bound.

# Uses of a server tool without `max_uses`. 0: rejected under a cost budget.
SERVER_TOOL_USES: int = env.count("SERVER_TOOL_USES", default=0)
# Tokens that each use of a server tool may add to the input.
SERVER_TOOL_INPUT_TOKENS: int = env.count("SERVER_TOOL_INPUT_TOKENS", default=10_000)
# Output tokens of a compaction or an advisor whose model has no maximum in its price.
ASSUMED_MAX_OUTPUT_TOKENS: int = env.count("ASSUMED_MAX_OUTPUT_TOKENS", default=128_000, at_least=1)

# ---- Timeouts of the gateway. Timeouts of upstreams are fields of the upstream.

HEARTBEAT_S: float = env.seconds("HEARTBEAT_S", default=15.0)  # interval of pings in a stream without events
CLIENT_IDLE_TIMEOUT_S: int = env.count("CLIENT_IDLE_TIMEOUT_S", default=12, at_least=1)  # to the end of the next head
CLIENT_SEND_TIMEOUT_S: float = env.seconds("CLIENT_SEND_TIMEOUT_S", default=60.0)  # for each 64 KiB of a response
CLIENT_BODY_TIMEOUT_S: float = env.seconds("CLIENT_BODY_TIMEOUT_S", default=30.0)  # for the whole request body
GRACEFUL_TIMEOUT_S: int = env.count("GRACEFUL_TIMEOUT_S", default=30, at_least=1)  # from SIGTERM to the exit
DATABASE_TIMEOUT_S: float = env.seconds("DATABASE_TIMEOUT_S", default=1.0)  # for a lookup or a write of the ledger
REDIS_TIMEOUT_S: float = env.seconds("REDIS_TIMEOUT_S", default=0.05)  # for a command
# Cache TTL of keys, upstreams and routes.
CONFIG_CACHE_TTL_S: float = env.seconds("CONFIG_CACHE_TTL_S", default=5.0, may_be_none=True)

# ---- Capacity of a worker.

MAX_CONNECTIONS: int = env.count("MAX_CONNECTIONS", default=2_500, at_least=4)  # with idle ones
MAX_API_REQUESTS: int = env.count("MAX_API_REQUESTS", default=2_000, at_least=1)  # in flight
MAX_PAGE_REQUESTS: int = env.count("MAX_PAGE_REQUESTS", default=200, at_least=1)  # in flight, with static files

# ---- Logging.

LOG_LEVEL: str = env.choice("LOG_LEVEL", ["DEBUG", "INFO", "WARNING", "ERROR"], default="INFO")

# ---- The upstream that `make run` registers instead of the embedded model.

UPSTREAM_URL: str = env.str("UPSTREAM_URL", default="")
UPSTREAM_API_KEY: str = env.str("UPSTREAM_API_KEY", default="")
UPSTREAM_DIALECT: str = env.str("UPSTREAM_DIALECT", default="openai")
UPSTREAM_MODEL: str = env.str("UPSTREAM_MODEL", default="")
LOCAL_MODEL_PORT: int = env.count("LOCAL_MODEL_PORT", default=8081, at_least=1)

# ---- Alerts about budgets and key hygiene.

ALERT_EMAILS: list[str] = env.list("ALERT_EMAILS", default=[])  # recipients of every alert, besides the owners
ALERT_WEBHOOK_URL: str = env.str("ALERT_WEBHOOK_URL", default="")  # receives each alert as JSON
ALERT_WEBHOOK_SECRET: str = env.str("ALERT_WEBHOOK_SECRET", default="")  # signs the webhook requests
PUBLIC_URL: str = env.str("PUBLIC_URL", default="").rstrip("/")  # base URL of links in alerts
DEFAULT_FROM_EMAIL: str = env.str("EMAIL_FROM", default="messages-gateway@localhost")
vars().update(environ.Env.email_url_config(env.str("EMAIL_URL", default="consolemail://")))

# ---- Time. Stored in UTC; days in reports are days of the reporting time zone.

USE_TZ = True
TIME_ZONE: str = env.str("REPORTING_TIME_ZONE", default="UTC")

# ---- Request size.

FILE_UPLOAD_HANDLERS = [
    "lib.admin.upload_limit.UploadLimit",
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "django.core.files.uploadhandler.TemporaryFileUploadHandler",
]
MAX_BODY_BYTES = 32 * 1024 * 1024  # /api/ alone; the admin keeps Django's 2.5 MiB
# Per worker: bodies of more than 64 KiB that are read or whose requests are in flight. One of 32 MiB has to fit.
MAX_KEY_BODIES_MIB: int = env.count("MAX_KEY_BODIES_MIB", default=128, at_least=32)  # of one API key
MAX_BODIES_MIB: int = env.count("MAX_BODIES_MIB", default=512, at_least=32)

# ---- The ledger.

LEASE_GRACE_S = 60  # an open record becomes orphaned this long after the longest that its request can take
ORPHAN_SWEEP_S = 10.0  # interval of the search for orphaned records

# ---- Django.

INSTALLED_APPS = [
    "project.apps.GatewayAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "project.apps.GatewayStaticFilesConfig",
    "auditlog",
    "axes",
    "chartkick.django",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "keys",
    "messages_api",
    "staff",
    "project.apps.ProjectConfig",
]

MIDDLEWARE = [
    "messages_api.middleware.ApiMiddleware",
    "project.middleware.TrustedProxies",  # before anything looks at the scheme
    "project.middleware.PageHeaders",  # before middleware with error responses of its own
    "project.middleware.Capacity",
    "project.middleware.Endpoints",  # no middleware below is on the way to an endpoint
    "django.middleware.security.SecurityMiddleware",
    "project.middleware.StaticFiles",
    "project.middleware.Sessions",
    "project.middleware.Common",
    "django.middleware.csrf.CsrfViewMiddleware",
    "project.middleware.Authentication",
    "project.middleware.TwoFactor",
    "project.middleware.Audit",
    "project.middleware.Messages",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "project.urls"
WSGI_APPLICATION = "project.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_I18N = False

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "project" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

PASSWORD_HASHERS = ["staff.password_hashers.ThreadedPBKDF2Hasher"]

AUTHENTICATION_BACKENDS = ["staff.login_backend.LoginBackend"]

# ---- Failed logins, counted by user name and client IP, so that a client cannot lock out other users.

AXES_HANDLER = "staff.login_backend.LoginHandler"
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_CLIENT_IP_CALLABLE = "staff.login.throttled_address"
AXES_ENABLE_ADMIN = False  # staff/admin.py shows its tables
AXES_VERBOSE = False
SILENCED_SYSTEM_CHECKS = ["axes.W002"]  # its middleware is not needed: the login view checks for a lockout

# ---- Audit log. staff/audit_registry.py registers the models.

AUDITLOG_STORE_JSON_CHANGES = True
AUDITLOG_USE_FK_STRING_REPRESENTATION = True  # names, because IDs mean nothing after a row is deleted

# ---- Database. SQLite supports one writing process, PostgreSQL several.

DATABASES = {"default": env.database(DATABASE_URL)}
database = DATABASES["default"]
given = database.get("OPTIONS", {})  # from the query of DATABASE_URL, such as sslmode=require
if database["ENGINE"] == "django.db.backends.sqlite3":
    database["OPTIONS"] = {
        # IMMEDIATE: an upgrade from read to write would fail without waiting for the timeout.
        "transaction_mode": "IMMEDIATE",
        "timeout": 5,
        "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;PRAGMA journal_size_limit=67108864;",
        **given,
    }
elif database["ENGINE"] == "django.db.backends.postgresql":
    database["ENGINE"] = "project.postgresql"
    database["OPTIONS"] = {
        "connect_timeout": 2,  # the minimum of psycopg
        "options": "-c statement_timeout=5000 -c lock_timeout=2000",
        "answer_within_s": 6.0,  # per response, if the server does not enforce its own timeouts
        "tcp_user_timeout": 5000,
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        # Each greenlet counts as a thread: without a pool, every request would open a connection. The pool replaces a
        # lost connection on demand; its own reconnection backs off from a second to minutes.
        "pool": {"min_size": 1, "max_size": 8, "timeout": 5.0, "max_lifetime": 1800, "reconnect_timeout": 0.5},
        **given,
    }

# ---- Static files.

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "project" / "static"]
STATIC_ROOT = STATE_DIR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

# ---- Transport and cookies.

SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^api/(?!docs/?$)", r"^livez$", r"^readyz$"]  # an API request must never be redirected
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
SECURE_HSTS_PRELOAD = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None
COOKIE_PREFIX = "__Host-" if HTTPS else ""  # browsers then reject these cookies from other hosts and subdomains
SESSION_COOKIE_NAME = f"{COOKIE_PREFIX}sessionid"
CSRF_COOKIE_NAME = f"{COOKIE_PREFIX}csrftoken"
SESSION_COOKIE_SECURE = HTTPS
SESSION_COOKIE_SAMESITE = "Strict"
SESSION_COOKIE_AGE = 12 * 3600
CSRF_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SAMESITE = "Strict"
X_FRAME_OPTIONS = "DENY"
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"

CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)

PAGE_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

# The style sheet of Swagger UI contains its icons as data: URLs.
DOCS_CONTENT_SECURITY_POLICY = CONTENT_SECURITY_POLICY.replace("img-src 'self'", "img-src 'self' data:")

# ---- API. Settings of single views are attributes of the view.

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["keys.access.authentication.APIKeyAuthentication"],
    "DEFAULT_PARSER_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],  # the authentication rejects requests without a usable key
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "messages_api.openapi.description.TableSchema",
    "EXCEPTION_HANDLER": "messages_api.error_responses.exception_handler",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "messages-gateway",
    "DESCRIPTION": "One API for your upstreams, in two dialects.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "PREPROCESSING_HOOKS": ["messages_api.openapi.description.without_slash"],
    "POSTPROCESSING_HOOKS": ["messages_api.openapi.description.with_components"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "validatorUrl": None},
}

# ---- Logs: one line per request from the gateway. Credentials are redacted in every line.

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"secrets": {"()": "lib.redaction.RedactingFilter"}},
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "lib.log_batches.BatchedHandler", "filters": ["secrets"], "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        # The gateway logs failed requests itself; Django's line for a 4xx has fewer details.
        "django.request": {"level": "ERROR"},
        # The pool logs every failed connection. The ledger logs an outage of the database once.
        "psycopg.pool": {"level": "ERROR"},
        "axes": {"level": "WARNING"},
    },
}
