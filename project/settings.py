"""The only reader of the environment.

Every setting is in `.env.example` and `docs/configuration.md`. What an operator changes while the gateway runs
(upstreams, routes, keys) is a row in the database, not a variable.
"""

from datetime import timedelta
from pathlib import Path

import environ

from project.environment import Environment

BASE_DIR = Path(__file__).resolve().parent.parent

env = Environment()
ENV_FILE = Path(env.str("ENV_FILE", default=str(BASE_DIR / ".env")))
env.read_env(ENV_FILE)  # what is set in the environment already wins

# ---- Secrets. None has a default: `make run` generates them into .env, and project/checks.py refuses empty ones.

SECRET_KEY: str = env.str("SECRET_KEY", default="")
API_KEY_PEPPERS: list[str] = env.list("API_KEY_PEPPERS", default=[])  # the first one signs, all verify
CREDENTIAL_ENCRYPTION_KEYS: list[str] = env.list(
    "CREDENTIAL_ENCRYPTION_KEYS", default=[]
)  # Fernet keys; the first encrypts, all decrypt

# ---- Where the gateway is reached.

DEBUG: bool = env.flag("DEBUG", default=False)
ALLOWED_HOSTS: list[str] = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])
BIND: str = env.str("BIND", default="127.0.0.1:8000")
HTTPS: bool = env.flag("HTTPS", default=True)  # False only for http:// on this machine: cookies are then sent in clear
TRUSTED_PROXIES: list[str] = env.list("TRUSTED_PROXIES", default=[])  # whose X-Forwarded-For and -Proto are believed
WEB_CONCURRENCY: int = env.count("WEB_CONCURRENCY", default=1, at_least=1)  # worker processes, one a core

# ---- Who may enter the admin.

ADMIN_TWO_FACTOR: str = env.str("ADMIN_TWO_FACTOR", default="off")  # off, optional or required

# ---- Where it keeps things.

STATE_DIR = Path(env.str("STATE_DIR", default=str(BASE_DIR / ".var")))  # spool and, by default, the SQLite file
DATABASE_URL: str = env.str("DATABASE_URL", default=f"sqlite:///{STATE_DIR / 'gateway.sqlite3'}")

REDIS_URL: str = env.str("REDIS_URL", default="")  # Redis or Valkey, for what several workers know together

# ---- Towards upstreams.

UPSTREAM_CA_FILE: str = env.str("UPSTREAM_CA_FILE", default="")  # PEM: authorities trusted in place of the usual ones
MAX_DETACHED_REQUESTS: int = env.count(
    "MAX_DETACHED_REQUESTS", default=50
)  # how many calls of a worker are read on without a caller

# ---- Deadlines of the gateway itself. Those towards an upstream are fields of the upstream.

HEARTBEAT_S: float = env.seconds("HEARTBEAT_S", default=15.0)  # a silent stream gets a ping
CLIENT_SEND_TIMEOUT_S: float = env.seconds("CLIENT_SEND_TIMEOUT_S", default=60.0)  # a caller who reads nothing is cut
CLIENT_BODY_TIMEOUT_S: float = env.seconds(
    "CLIENT_BODY_TIMEOUT_S", default=30.0
)  # how long a request body may take to arrive
GRACEFUL_TIMEOUT_S: int = env.count("GRACEFUL_TIMEOUT_S", default=30, at_least=1)  # from SIGTERM to the end
DATABASE_TIMEOUT_S: float = env.seconds(
    "DATABASE_TIMEOUT_S", default=1.0
)  # how long a call waits for the ledger's database
REDIS_TIMEOUT_S: float = env.seconds("REDIS_TIMEOUT_S", default=0.05)  # how long a call waits for Redis
# How long a changed key, upstream or route may still look as before.
CONFIG_CACHE_TTL_S: float = env.seconds("CONFIG_CACHE_TTL_S", default=5.0, may_be_none=True)

# ---- What it says of itself.

LOG_LEVEL: str = env.choice("LOG_LEVEL", ["DEBUG", "INFO", "WARNING", "ERROR"], default="INFO")

# ---- What `make run` sets up when it is given an upstream instead of the embedded model.

UPSTREAM_URL: str = env.str("UPSTREAM_URL", default="")
UPSTREAM_API_KEY: str = env.str("UPSTREAM_API_KEY", default="")
UPSTREAM_DIALECT: str = env.str("UPSTREAM_DIALECT", default="openai")
UPSTREAM_MODEL: str = env.str("UPSTREAM_MODEL", default="")
LOCAL_MODEL_PORT: int = env.count("LOCAL_MODEL_PORT", default=8081, at_least=1)

# ---- Warnings: about budgets, and about keys that need attention.

ALERT_EMAILS: list[str] = env.list("ALERT_EMAILS", default=[])  # who gets all of them, besides whom they are about
ALERT_WEBHOOK_URL: str = env.str("ALERT_WEBHOOK_URL", default="")  # gets each warning as JSON
ALERT_WEBHOOK_SECRET: str = env.str("ALERT_WEBHOOK_SECRET", default="")  # signs what the webhook gets
PUBLIC_URL: str = env.str("PUBLIC_URL", default="").rstrip("/")  # where people reach the gateway: links begin with it
DEFAULT_FROM_EMAIL: str = env.str("EMAIL_FROM", default="messages-gateway@localhost")
vars().update(environ.Env.email_url_config(env.str("EMAIL_URL", default="consolemail://")))

# ---- Time. Stored in UTC; reports count their days in the reporting time zone.

USE_TZ = True
TIME_ZONE: str = env.str("REPORTING_TIME_ZONE", default="UTC")

# ---- Limits of a request (bytes).

MAX_BODY_BYTES = 32 * 1024 * 1024  # /api/ alone; the admin keeps Django's 2.5 MiB

# ---- The ledger.

LEASE_GRACE_S = 60  # an admitted row may stay open this much longer than the upstream's total deadline
ORPHAN_SWEEP_S = 10.0  # how often a worker looks for rows whose worker has died

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
    "project.trusted_proxies.TrustedProxies",  # before anything looks at the scheme
    "messages_api.middleware.ApiMiddleware",
    "project.middleware.PageHeaders",  # outside of whatever may refuse a request: error pages need them too
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

AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]

# ---- Wrong passwords: counted by user name and address, so that nobody can lock others out.

AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False  # the end stands when it begins
AXES_CLIENT_IP_CALLABLE = "staff.login.throttled_address"
AXES_ONLY_ADMIN_SITE = True
AXES_ENABLE_ADMIN = False  # our own pages show its tables
AXES_SENSITIVE_PARAMETERS = ["username", "csrfmiddlewaretoken", "code"]  # kept out of what it stores and logs
AXES_VERBOSE = False
SILENCED_SYSTEM_CHECKS = ["axes.W002"]  # its middleware: the one view that logs in asks it, no other request pays

# ---- The audit log (staff/audited.py says of what).

AUDITLOG_STORE_JSON_CHANGES = True
AUDITLOG_USE_FK_STRING_REPRESENTATION = True  # names, since ids mean nothing once a row is gone

# ---- The database. SQLite for one process that writes, PostgreSQL for more.

DATABASES = {"default": env.database(DATABASE_URL)}
database = DATABASES["default"]
given = database.get("OPTIONS", {})  # what stands behind the ? of DATABASE_URL, such as sslmode=require
if database["ENGINE"] == "django.db.backends.sqlite3":
    database["OPTIONS"] = {
        # IMMEDIATE: an upgrade from read to write fails at once, whatever the timeout says.
        "transaction_mode": "IMMEDIATE",
        "timeout": 5,
        "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;PRAGMA journal_size_limit=67108864;",
        **given,
    }
elif database["ENGINE"] == "django.db.backends.postgresql":
    database["ENGINE"] = "project.postgresql"
    database["OPTIONS"] = {
        "connect_timeout": 2,  # the least that psycopg takes
        "options": "-c statement_timeout=5000 -c lock_timeout=2000",
        "answer_within_s": 6.0,  # for each answer: the server's own limits come first, if it lives
        "tcp_user_timeout": 5000,
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        # Every greenlet is its own thread to Django: without a pool, connections would multiply. A connection that was
        # lost is asked for anew by whoever needs one (the pool's own back-off doubles from a second to minutes).
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
SECURE_REDIRECT_EXEMPT = [r"^api/(?!docs/?$)", r"^livez$", r"^readyz$"]  # a caller's POST must never become a redirect
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
SECURE_HSTS_PRELOAD = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None
COOKIE_PREFIX = "__Host-" if HTTPS else ""  # with it, browsers take these cookies from no other host and no subdomain
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

# Swagger UI's style sheet holds its icons as data: addresses.
DOCS_CONTENT_SECURITY_POLICY = CONTENT_SECURITY_POLICY.replace("img-src 'self'", "img-src 'self' data:")

# ---- The API. Everything else that a view needs stands on the view.

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["keys.access.authentication.APIKeyAuthentication"],
    "DEFAULT_PARSER_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],  # who has no usable key is refused by the authentication
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "messages_api.openapi.description.TableSchema",
    "EXCEPTION_HANDLER": "messages_api.error_responses.exception_handler",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "messages-gateway",
    "DESCRIPTION": "One API in front of your model servers, in two dialects.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "PREPROCESSING_HOOKS": ["messages_api.openapi.description.without_slash"],
    "POSTPROCESSING_HOOKS": ["messages_api.openapi.description.with_components"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "validatorUrl": None},
}

# ---- Logs: one line a call, written by the gateway; secrets are masked whatever is logged.

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"secrets": {"()": "lib.redaction.RedactingFilter"}},
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "filters": ["secrets"], "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        # A refused call is the caller's matter and has its own line; Django would add one that says less.
        "django.request": {"level": "ERROR"},
        # Each connection that it loses or cannot make, many a second: the ledger says once that the database is away.
        "psycopg.pool": {"level": "ERROR"},
        "axes": {"level": "WARNING"},
    },
}
