"""`routiium-analytics`, the command line.

It speaks HTTP with ingest and query_api, as any other client of them does. Unlike the rest of
`routiium_client` it needs typer, rich and msgspec, which come with the project.
"""
