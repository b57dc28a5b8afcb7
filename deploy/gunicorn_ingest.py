"""gunicorn for ingest: `gunicorn -c deploy/gunicorn_ingest.py ingest.asgi:app`."""

from typing import Any

from deploy.gunicorn_common import (
    DRAIN_SECONDS,
    GRACEFUL_SECONDS,
    KEEPALIVE_SECONDS,
    NoAccessLog,
    drain_within,
    freeze_heap,
    log_config,
    settings_or_exit,
    take_stops,
)

_settings = settings_or_exit()

bind = _settings.ingest_bind
worker_class = "asgi"
asgi_loop = "uvloop"
asgi_lifespan = "on"
workers = 1
worker_connections = 1000
keepalive = KEEPALIVE_SECONDS
graceful_timeout = GRACEFUL_SECONDS
post_fork = drain_within(DRAIN_SECONDS)
timeout = 30
logger_class = NoAccessLog
logconfig_dict = log_config(_settings.log_level)
control_socket_disable = True


def post_worker_init(worker: Any) -> None:
    freeze_heap()
    take_stops(worker)
