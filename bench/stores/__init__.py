"""Benchmarks of the stores: loading, querying, and both against the bare server."""
