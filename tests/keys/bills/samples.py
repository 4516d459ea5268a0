"""Exports of providers, invented, one of each: the same requests of one day."""

import csv
import io
import json
import zipfile
from typing import Any

DAY = "2026-11-20"
NEXT_DAY = "2026-11-21"
MODEL = "claude-opus-5-5"
TOKENS = {
    "uncached_input_tokens": 12_345,
    "cache_creation.ephemeral_5m_input_tokens": 2_000,
    "cache_creation.ephemeral_1h_input_tokens": 3_000,
    "cache_read_input_tokens": 40_000,
    "output_tokens": 5_678,
}
CENTS = {
    "uncached_input_tokens": "4.938000",
    "cache_creation.ephemeral_5m_input_tokens": "1.000000",
    "cache_creation.ephemeral_1h_input_tokens": "2.400000",
    "cache_read_input_tokens": "0.800000",
    "output_tokens": "11.356000",
}
PICOS = {kind: int(float(cents) * 10**6) * 10**4 for kind, cents in CENTS.items()}
DIMENSIONS = {
    "model": MODEL,
    "service_tier": "standard",
    "context_window": "0-200k",
    "inference_geo": "global",
    "speed": "standard",
    "workspace_id": "wrkspc_EXAMPLE",
}


def page(*buckets: tuple[str, str, list[dict[str, Any]]], **fields: Any) -> bytes:
    """Return a page of Anthropic's API."""
    data = [
        {"starting_at": f"{first}T00:00:00Z", "ending_at": f"{last}T00:00:00Z", "results": results}
        for first, last, results in buckets
    ]
    return json.dumps({"data": data, "has_more": False, "next_page": None} | fields, indent=1).encode()


def usage_result(**changes: Any) -> dict[str, Any]:
    return (
        DIMENSIONS
        | {
            "api_key_id": "apikey_EXAMPLE",
            "uncached_input_tokens": 12_345,
            "cache_creation": {"ephemeral_1h_input_tokens": 3_000, "ephemeral_5m_input_tokens": 2_000},
            "cache_read_input_tokens": 40_000,
            "output_tokens": 5_678,
            "server_tool_use": {"web_search_requests": 3},
        }
        | changes
    )


def cost_result(token_type: str | None, amount: str, **changes: Any) -> dict[str, Any]:
    common = {"amount": amount, "currency": "USD", "cost_type": "tokens", "token_type": token_type}
    return DIMENSIONS | common | {"description": f"Usage - {token_type}"} | changes


SEARCH = cost_result(None, "3.000000", cost_type="web_search", description="Web Search Usage") | dict.fromkeys(
    ("model", "service_tier", "context_window", "inference_geo", "speed")
)
ANTHROPIC_USAGE = page((DAY, NEXT_DAY, [usage_result()]))
ANTHROPIC_COST = page((DAY, NEXT_DAY, [*(cost_result(*pair) for pair in CENTS.items()), SEARCH]))
ANALYTICS_COST = page(
    (
        DAY,
        NEXT_DAY,
        [cost_result(kind, cents, list_amount=cents, product=None, requests=None) for kind, cents in CENTS.items()],
    )
)
ANALYTICS_USAGE = page((DAY, NEXT_DAY, [usage_result(product=None, requests=7)]))

CONSOLE_USAGE = (
    "usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,"
    "usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,"
    "usage_output_tokens,web_search_count,inference_geo,speed\n"
    "2026-11-20,claude-opus-5-5,example-key,Default,standard,≤ 200k,12345,2000,3000,40000,5678,3,global,\n"
).encode()
_CONSOLE = "2026-11-20,Claude Opus 5.5,Default,example-key,message,≤ 200k,{},{},{},token,global,,apikey_EXAMPLE,active"
CONSOLE_COST = "\n".join(
    [
        "usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,list_price_usd,cost_type,"
        "inference_geo,speed,api_key_id,api_key_status",
        _CONSOLE.format("input_no_cache", "0.05", "0.05"),
        _CONSOLE.format("input_cache_write_5m", "0.01", "0.01"),
        _CONSOLE.format("input_cache_write_1h", "0.02", "0.02"),
        _CONSOLE.format("input_cache_read", "0.01", "0.01"),
        _CONSOLE.format("output", "0.11", "0.11"),
    ]
).encode()

OPENAI_DAY = {"object": "bucket", "start_time": 1_795_132_800, "end_time": 1_795_219_200}
OPENAI_ITEMS = {"input": (1_000, 0.002), "cached input": (4_000, 0.0008), "cache write": (5_000, 0.0125)}
OPENAI_ITEMS["output"] = (1_000, 0.01)


def openai_page(*results: dict[str, Any]) -> bytes:
    return json.dumps({"object": "page", "data": [OPENAI_DAY | {"results": results}], "has_more": False}).encode()


OPENAI_COSTS = openai_page(
    *(
        {
            "object": "organization.costs.result",
            "amount": {"value": dollars, "currency": "usd"},
            "line_item": f"gpt-6-sol, {item}",
            "quantity": tokens,
            "quantity_unit": "tokens",
            "project_id": "proj_EXAMPLE",
            "api_key_id": None,
        }
        for item, (tokens, dollars) in OPENAI_ITEMS.items()
    )
)
OPENAI_USAGE = openai_page(
    {
        "object": "organization.usage.completions.result",
        "input_tokens": 10_000,
        "output_tokens": 1_000,
        "num_model_requests": 1,
        "input_cached_tokens": 4_000,
        "input_uncached_tokens": 1_000,
        "input_cache_write_tokens": 5_000,
        "input_cache_write_30m_tokens": 5_000,
        "input_cache_write_12h_tokens": 0,
        "input_text_tokens": 1_000,
        "output_text_tokens": 1_000,
        "input_cached_text_tokens": 4_000,
        "project_id": "proj_EXAMPLE",
        "api_key_id": "key_EXAMPLE",
        "model": "gpt-6-sol",
        "batch": False,
        "service_tier": "default",
    }
)
OPENAI_USAGE_CSV = b"""\
start_time,end_time,start_time_iso,end_time_iso,project_id,num_model_requests,user_id,api_key_id,model,batch,\
service_tier,input_tokens,output_tokens,input_cached_tokens,input_uncached_tokens,input_text_tokens
1795046400,1795132800,2026-11-19T00:00:00+00:00,2026-11-20T00:00:00+00:00
1795132800,1795219200,2026-11-20T00:00:00+00:00,2026-11-21T00:00:00+00:00,proj_EXAMPLE,1.0,user-EXAMPLE,key_EXAMPLE,\
gpt-6-sol,FALSE,default,10000.0,1000.0,4000.0,1000.0,1000.0
"""
OPENAI_COSTS_CSV = b"""\
start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,quantity,quantity_unit,line_item,user_id,\
api_key_id,project_id,organization_id,project_name,organization_name,user_email,api_source
1795046400,1795132800,2026-11-19T00:00:00+00:00,2026-11-20T00:00:00+00:00,,,,,,,,,,,,,
1795132800,1795219200,2026-11-20T00:00:00+00:00,2026-11-21T00:00:00+00:00,0.025300000000000000000000000000,usd,,,,,,,\
org-EXAMPLE,,Example Org,,
"""
OPENROUTER_DAILY = b"""\
Date,Slug,Usage,BYOK Usage,Requests,Prompt Tokens,Completion Tokens,Reasoning Tokens
2026-11-20 00:00:00,openai/gpt-example,0.00014,0,1,194,2,0
"""
OPENROUTER_GENERATIONS = b"""\
generation_id,created_at,cost_total,cost_web_search,cost_cache,cost_file_processing,byok_usage_inference,tokens_prompt,\
tokens_completion,tokens_reasoning,tokens_cached,model_permaslug,provider_name,variant,cancelled,streamed,user,\
api_key_name,app_name
gen-1795176000-EXAMPLE,2026-11-20 12:00:00.000,0.00014,0,0,0,0,194,2,0,0,openai/gpt-example,OpenAI,standard,false,\
true,,example-key,example-app
"""
DEEPSEEK_AMOUNT = b"""\
user_id,start_time_iso,end_time_iso,model,api_key_name,api_key,type,price,amount
u1,2026-11-20T12:00:00+00:00,2026-11-20T13:00:00+00:00,deepseek-flash,example-key,sk-***,input_cache_hit_tokens,\
0.000000003,8000
u1,2026-11-20T12:00:00+00:00,2026-11-20T13:00:00+00:00,deepseek-flash,example-key,sk-***,input_cache_miss_tokens,\
0.00000015,2000
u1,2026-11-20T12:00:00+00:00,2026-11-20T13:00:00+00:00,deepseek-flash,example-key,sk-***,output_tokens,0.0000006,500
u1,2026-11-20T12:00:00+00:00,2026-11-20T13:00:00+00:00,deepseek-flash,example-key,sk-***,request_count,,1
"""
DEEPSEEK_COST = b"""\
user_id,start_time_iso,end_time_iso,model,wallet_type,cost,currency
u1,2026-11-20T12:00:00+00:00,2026-11-20T13:00:00+00:00,deepseek-flash,topped_up,0.000624,USD
"""


def zipped(**entries: bytes) -> bytes:
    """Return a zip file. An underscore in a name is a hyphen, and .csv is appended."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(f"{name.replace('_', '-')}.csv", content)
    return packed.getvalue()


DEEPSEEK_ZIP = zipped(amount_2026_11=DEEPSEEK_AMOUNT, cost_2026_11=DEEPSEEK_COST)


def with_semicolons(content: bytes) -> bytes:
    """Return a CSV file as a spreadsheet of another country writes it: with a BOM, semicolons and CRLF."""
    written = io.StringIO()
    csv.writer(written, delimiter=";").writerows(csv.reader(io.StringIO(content.decode())))
    return b"\xef\xbb\xbf" + written.getvalue().encode()
