"""What gunicorn serves: `gunicorn -c deploy/gunicorn_query.py query_api.wsgi:app`."""

import os

from shared.queue_admin import QueueAdmin
from shared.settings import load_settings
from shared.stores import open_shared_store

from query_api.app import create_app

settings = load_settings()
app = create_app(
    open_shared_store(settings),
    QueueAdmin.from_url(settings.broker_url),
    settings,
    shared_metrics="PROMETHEUS_MULTIPROC_DIR" in os.environ,
)
