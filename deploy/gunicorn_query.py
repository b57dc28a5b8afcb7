"""gunicorn for the query service: `gunicorn -c deploy/gunicorn_query.py query_api.wsgi:app`."""

from deploy.gunicorn_common import (
    GRACEFUL_SECONDS,
    KEEPALIVE_SECONDS,
    log_config,
    settings_or_exit,
)

_settings = settings_or_exit()

bind = _settings.query_bind
worker_class = "gthread"
workers = 1
threads = 8
keepalive = KEEPALIVE_SECONDS
graceful_timeout = GRACEFUL_SECONDS
timeout = 60
logconfig_dict = log_config(_settings.log_level)
control_socket_disable = True
