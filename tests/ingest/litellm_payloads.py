"""LiteLLM's StandardLoggingPayload, as LiteLLM 1.110 builds it."""

from __future__ import annotations

from typing import Any

START = 1_700_000_000.25


def payload(*, text: str = "words", usage: Any = None, **changes: Any) -> dict[str, Any]:
    """A successful call of 10 and 5 tokens; `text` stands wherever LiteLLM carries content."""
    usage = usage or {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    message = {"role": "assistant", "content": text, "tool_calls": [{"arguments": text}]}
    whole = {
        "id": "chatcmpl-1",
        "litellm_call_id": "2f1e",
        "trace_id": "ab0b",
        "call_type": "acompletion",
        "cache_hit": None,
        "stream": None,
        "status": "success",
        "status_fields": {"llm_api_status": "success", "guardrail_status": "not_run"},
        "custom_llm_provider": "openai",
        "saved_cache_cost": 0.0,
        "startTime": START,
        "endTime": START + 1.5,
        "completionStartTime": START + 0.5,
        "response_time": 0.5,
        "model": "gpt-4o",
        "metadata": metadata(text, usage),
        "response_cost": 0.000075,
        "cost_breakdown": {
            "total_cost": 0.000075,
            "input_cost": 0.000025,
            "output_cost": 0.00005,
            "additional_costs": {text: 0.0},
        },
        "total_tokens": 15,
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "request_tags": [text],
        "end_user": text,
        "api_base": f"https://upstream.example/?key={text}",
        "model_group": "gpt-4o",
        "requester_ip_address": "203.0.113.9",
        "user_agent": "witness-agent/1.0",
        "messages": [{"role": "user", "content": [{"type": "text", "text": text}]}],
        "response": {"id": "chatcmpl-1", "choices": [{"message": message}], "usage": usage},
        "model_parameters": {"stop": [text], "user": text},
        "hidden_params": {"api_base": text, "additional_headers": {text: text}},
        "model_map_information": {"model_map_key": "gpt-4o", "model_map_value": {"key": text}},
        "error_str": None,
        "error_information": None,
        "guardrail_information": [{"guardrail_request": text, "guardrail_response": text}],
    }
    return {**whole, **changes}


def metadata(text: str, usage: Any) -> dict[str, Any]:
    return {
        "user_api_key_hash": "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b",
        "user_api_key_alias": "team-blue",
        "user_api_key_user_email": text,
        "user_api_key_end_user_id": text,
        "user_api_key_request_route": f"/v1/chat/completions?{text}",
        "spend_logs_metadata": {text: text},
        "requester_metadata": {text: text},
        "requester_custom_headers": {"x-prompt": text},
        "requester_ip_address": None,
        "user_agent": None,
        "prompt_management_metadata": {"prompt_variables": {text: text}},
        "mcp_tool_call_metadata": {
            "name": "search",
            "arguments": {"query": text},
            "result": text,
            "mcp_server_name": "web",
        },
        "vector_store_request_metadata": [{"query": text}],
        "applied_guardrails": [],
        "usage_object": usage,
        text: text,
    }


def failure(*, text: str = "words", code: Any = "429", **changes: Any) -> dict[str, Any]:
    """A call that failed; the exception quotes `text`."""
    error = {
        "error_code": code,
        "error_class": "RateLimitError",
        "llm_provider": "openai",
        "traceback": f'File "main.py", line 1: {text}',
        "error_message": f"litellm.RateLimitError: {text}",
        "error_rate_limit_category": "vendor_rate_limit",
        "normalized_error": text,
    }
    return payload(
        text=text,
        status="failure",
        error_str=f"litellm.RateLimitError: {text}",
        error_information=error,
        response={},
        response_cost=0.0,
        cost_breakdown=None,
        prompt_tokens=0,
        completion_tokens=0,
        total_tokens=0,
        metadata={**metadata(text, {})},
        **changes,
    )
