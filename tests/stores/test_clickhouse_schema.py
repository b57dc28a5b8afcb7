"""The ClickHouse table as statements: its columns, on a cluster, and its settings."""

from __future__ import annotations

import pytest

from shared.errors import SettingsError
from shared.events import Auth, Cost, Event, Performance, Request, Response, Routing, TokenUsage
from shared.settings import load_settings
from shared.stores import check_store, require_shareable
from shared.stores.base import Position, Selection
from shared.stores.clickhouse_expiry import last_second
from shared.stores.clickhouse_rows import COLUMNS, event_of, row_of
from shared.stores.clickhouse_schema import Schema, literal, quoted
from shared.stores.clickhouse_server import CLUSTER_SETTINGS, ServerEngine
from shared.stores.clickhouse_sql import aggregate, condition, page, stats
from tests.stores.samples import EVER, extreme_events, wire

CLUSTER = Schema(database="analytics", cluster="main", ttl_seconds=86_400)
ONE = Schema(database="analytics")


def test_the_columns_are_the_events_fields_in_their_order() -> None:
    groups = (Request, Response, Performance, Auth, Routing, TokenUsage, Cost)
    fields = [*Event.__struct_fields__[:2], *(f for g in groups for f in g.__struct_fields__)]
    assert len(COLUMNS) == len(fields)
    for column, field in zip(COLUMNS, fields, strict=True):
        assert column.name in (field, f"request_{field}", f"response_{field}")


def test_a_row_is_its_event_again() -> None:
    assert wire(event_of(row_of(event)) for event in extreme_events()) == wire(extreme_events())


def test_one_server_has_a_plain_table_that_syncs_what_it_inserts() -> None:
    database, table = ONE.create()
    assert database == "CREATE DATABASE IF NOT EXISTS `analytics`"
    assert table.startswith("CREATE TABLE IF NOT EXISTS `analytics`.`routiium_events` (id String")
    assert "ENGINE = MergeTree PARTITION BY toYYYYMM(timestamp) ORDER BY (timestamp, id)" in table
    assert "fsync_after_insert = 1, fsync_part_directory = 1" in table
    assert "TTL" not in table
    assert "index_granularity = 512" in table
    assert "index_granularity" not in ONE.create(fine_grained=False)[1]


def test_a_cluster_has_replicated_tables_and_one_that_spans_the_shards() -> None:
    database, local, distributed = CLUSTER.create()
    assert database == "CREATE DATABASE IF NOT EXISTS `analytics` ON CLUSTER `main`"
    assert "`analytics`.`routiium_events_local` ON CLUSTER `main` (" in local
    path = "/clickhouse/tables/{shard}/{database}/{table}"
    assert f"ENGINE = ReplicatedReplacingMergeTree('{path}', '{{replica}}', precedence)" in local
    assert "PARTITION BY toYYYYMMDD(timestamp)" in local
    assert "TTL timestamp + toIntervalSecond(86400)" in local
    assert "precedence UInt64 MATERIALIZED 18446744073709551615 - " in local
    assert "deduplicate_merge_projection_mode = 'rebuild'" in local
    assert distributed == (
        "CREATE TABLE IF NOT EXISTS `analytics`.`routiium_events` ON CLUSTER `main` "
        "AS `analytics`.`routiium_events_local` "
        "ENGINE = Distributed('main', 'analytics', 'routiium_events_local', cityHash64(id))"
    )


def test_a_cluster_is_read_and_inserted_as_a_whole() -> None:
    insert = CLUSTER.insert("arrived", unless_known=True)
    assert insert.startswith("INSERT INTO `analytics`.`routiium_events` (id, ")
    assert "id_hash GLOBAL IN (SELECT halfMD5(id) FROM arrived)" in insert
    assert "GLOBAL" not in ONE.insert("arrived", unless_known=True)
    for question in (aggregate(CLUSTER, EVER), page(CLUSTER, EVER, 9, "asc", None)):
        assert "FROM `analytics`.`routiium_events` WHERE" in question
        assert "SETTINGS final = 1" in question
    assert "cluster('main', system.parts)" in stats(CLUSTER, EVER)
    alter = CLUSTER.alter_ttl("ReplicatedReplacingMergeTree … ORDER BY (timestamp, id)")
    assert alter == (
        "ALTER TABLE `analytics`.`routiium_events_local` ON CLUSTER `main` "
        "MODIFY TTL timestamp + toIntervalSecond(86400)"
    )


def test_a_cluster_acknowledges_what_most_replicas_have() -> None:
    engine = ServerEngine("clickhouse://127.0.0.1:1/analytics", "URL", cluster="main")
    assert engine._settings.items() >= CLUSTER_SETTINGS.items()
    assert CLUSTER_SETTINGS["insert_quorum"] == "auto"
    assert CLUSTER_SETTINGS["distributed_foreground_insert"] == 1


def test_text_is_quoted() -> None:
    assert literal("it's \\ \0") == "'it\\'s \\\\ \\0'"
    assert quoted("a`b") == "`a\\`b`"


def test_a_range_beyond_the_calendar_is_cut_or_empty() -> None:
    assert condition(Selection(start=-5, end=10**12)) == "timestamp BETWEEN 0 AND 4294967295"
    assert condition(Selection(start=10**11, end=10**12)) == "0"
    past = condition(Selection(start=0, end=50), Position(20, "x"), "asc")
    assert past == "timestamp BETWEEN 20 AND 50 AND (timestamp != 20 OR id > 'x')"


@pytest.mark.parametrize(
    ("partition", "second"),
    [
        ("20240229", 1_709_251_199),
        ("202402", 1_709_251_199),
        ("202412", 1_735_689_599),
        ("20241231", 1_735_689_599),
    ],
)
def test_a_partition_ends_with_its_day_or_month(partition: str, second: int) -> None:
    assert last_second(partition) == second


def test_the_embedded_engine_lives_in_one_process() -> None:
    settings = load_settings(None, clickhouse_url="chdb:///anywhere")
    assert settings.one_process
    with pytest.raises(SettingsError, match="lives in one process"):
        require_shareable(settings)
    assert not load_settings(None, clickhouse_url="clickhouse://h/db").one_process


def test_a_wrong_url_is_found_before_the_store_is_opened() -> None:
    with pytest.raises(SettingsError, match="ROUTIIUM_ANALYTICS_CLICKHOUSE_URL: must be such as"):
        check_store(load_settings(None, clickhouse_url="sqlite:///x"))
