"""What a gateway uses to record its traffic. Nothing but the standard library is imported.

AnalyticsClient         records events and sends them in the background; an asyncio twin
asgi.AnalyticsMiddleware, wsgi.AnalyticsMiddleware
                        record what an OpenAI-compatible application serves
annotate                adds to the record what only a handler knows
"""

from routiium_client.buffer import Counts
from routiium_client.client import AnalyticsClient, AsyncAnalyticsClient, Recorder
from routiium_client.notes import annotate

__all__ = ["AnalyticsClient", "AsyncAnalyticsClient", "Counts", "Recorder", "annotate"]
