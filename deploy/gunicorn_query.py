"""gunicorn for the query service: `gunicorn -c deploy/gunicorn_query.py query_api.wsgi:app`."""

from deploy.gunicorn_common import (
    DRAIN_SECONDS,
    GRACEFUL_SECONDS,
    KEEPALIVE_SECONDS,
    NoAccessLog,
    choose_arrow_pool,
    drain_within,
    forget_metrics,
    log_config,
    settings_or_exit,
    share_metrics,
    take_stops,
)

choose_arrow_pool()
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
# A cursor or a long list of filters makes a long request line.
limit_request_line = 8_190
