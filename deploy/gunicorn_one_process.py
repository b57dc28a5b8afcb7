"""gunicorn for all three services in one process, for a store that lives in one.

`gunicorn -c deploy/gunicorn_one_process.py deploy.one_process:app`
"""

from deploy.gunicorn_common import (
    DRAIN_SECONDS,
    GRACEFUL_SECONDS,
    KEEPALIVE_SECONDS,
    NoAccessLog,
    choose_arrow_pool,
    drain_within,
    log_config,
    settings_or_exit,
    take_stops,
)

choose_arrow_pool()
_settings = settings_or_exit(own_process=False)

bind = [_settings.ingest_bind, _settings.query_bind]
worker_class = "asgi"
asgi_loop = "uvloop"
asgi_lifespan = "on"
workers = 1
keepalive = KEEPALIVE_SECONDS
graceful_timeout = GRACEFUL_SECONDS
post_fork = drain_within(DRAIN_SECONDS)
post_worker_init = take_stops
timeout = 60
logger_class = NoAccessLog
logconfig_dict = log_config(_settings.log_level)
control_socket_disable = True
