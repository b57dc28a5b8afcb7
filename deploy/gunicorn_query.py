"""gunicorn for the query service: `gunicorn -c deploy/gunicorn_query.py query_api.wsgi:app`."""

import sys

from deploy.gunicorn_common import (
    DRAIN_SECONDS,
    GRACEFUL_SECONDS,
    KEEPALIVE_SECONDS,
    NoAccessLog,
    drain_within,
    forget_metrics,
    log_config,
    settings_or_exit,
    share_metrics,
    take_stops,
)

_settings = settings_or_exit()

bind = _settings.query_bind
worker_class = "gthread"
workers = 1
threads = 8
on_starting = share_metrics
on_exit = forget_metrics
keepalive = KEEPALIVE_SECONDS
graceful_timeout = GRACEFUL_SECONDS
post_fork = drain_within(DRAIN_SECONDS)
post_worker_init = take_stops
timeout = 60
logger_class = NoAccessLog
logconfig_dict = log_config(_settings.log_level)
control_socket_disable = True
# Parquet exports: Arrow's default keeps what it once had, and the system's allocator leaves holes
# between what an export builds and drops, and the file's footer, which only grows.
raw_env = ["ARROW_DEFAULT_MEMORY_POOL=jemalloc"] if sys.platform == "linux" else []
# A cursor or a long list of filters makes a long request line.
limit_request_line = 8_190
