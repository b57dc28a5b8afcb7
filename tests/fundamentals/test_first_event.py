"""The happy path: an event posted to ingest is answered by query_api, exactly once."""

from tests.harness import Pipeline, event


def test_an_event_is_queued_stored_and_answered(pipeline: Pipeline) -> None:
    answer = pipeline.post(event(1))

    assert answer.status_code == 202
    assert answer.json() == {"accepted": 1, "rejected": []}
    pipeline.wait_for_total(1)
    page = pipeline.get("events", start=1_700_000_000, end=1_700_000_100)
    assert [found["id"] for found in page["events"]] == ["event-1"]


def test_the_same_event_again_changes_nothing(pipeline: Pipeline) -> None:
    pipeline.post(event(2))
    pipeline.post([event(2), event(2), event(3)])

    pipeline.wait_for_total(3)
    figures = pipeline.get("aggregate", start=1_700_000_000, end=1_700_000_100)
    assert figures["total_requests"] == 3
    assert figures["total_input_tokens"] == 30
