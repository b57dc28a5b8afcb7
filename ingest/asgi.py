"""What gunicorn serves: `gunicorn -c deploy/gunicorn_ingest.py ingest.asgi:app`."""

from shared.settings import load_settings
from shared.stream import EventQueue, connect

from ingest.app import create_app

settings = load_settings()
app = create_app(EventQueue(connect(settings.broker_url)), settings)
