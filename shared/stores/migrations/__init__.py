"""The schema's versions, applied in order by Alembic when a store is opened."""
