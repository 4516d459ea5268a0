"""Profile presets: capabilities of known servers, for selection in the admin.

They follow the providers' documentation, not measurements. Where a server differs, override the field.
"""

from typing import Any

PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "portable": ("Other (most portable)", {}),
    "anthropic": ("Anthropic", {"auth_style": "x-api-key"}),
    "openai": (
        "OpenAI",
        {
            "max_tokens_field": "max_completion_tokens",
            "system_role": "developer",
            "mid_system": "keep",
            "text_parts": True,
            "efforts": ["none", "minimal", "low", "medium", "high", "xhigh"],
            "max_stop": 4,
            "strict": True,
            "user_field": "safety_identifier",
            "files": True,
            "tool_id_format": "40_characters",
            "tool_extras": False,
            "service_tiers": ["auto", "default", "fast", "flex", "priority", "scale"],
        },
    ),
    "vllm": (
        "vLLM",
        {
            "reasoning_history": "reasoning",
            "thinking_toggle": "enable_thinking",
            "top_k": True,
            "bills_unreadable": False,
        },
    ),
    "sglang": (
        "SGLang",
        {
            "reasoning_history": "reasoning_content",
            "thinking_toggle": "enable_thinking",
            "top_k": True,
            "bills_unreadable": False,
        },
    ),
    "llama.cpp": (
        "llama.cpp",
        {
            "reasoning_history": "reasoning_content",
            "thinking_toggle": "enable_thinking",
            "top_k": True,
            # Small models write broken JSON at times, and one broken tool call loses the whole response in the client.
            "buffer_tool_calls": True,
            "bills_unreadable": False,
        },
    ),
    "ollama": (
        "Ollama",
        {
            "efforts": ["none", "low", "medium", "high"],
            "parallel_tool_calls": False,
            "buffer_tool_calls": True,
            "bills_unreadable": False,
        },
    ),
    "openrouter": (
        "OpenRouter",
        {
            "text_parts": True,
            "reasoning_history": "reasoning",
            "efforts": ["none", "minimal", "low", "medium", "high", "xhigh"],
            "top_k": True,
            "user_field": "user",
            "files": True,
            "cache_control": True,
        },
    ),
    "deepseek": (
        "DeepSeek",
        {
            "reasoning_history": "reasoning_content",
            "reasoning_required": True,
            "efforts": ["low", "high", "max"],
            "thinking_toggle": "deepseek",
            "max_stop": 16,
            "json_schema": False,
            "parallel_tool_calls": False,
            "tool_extras": False,
        },
    ),
    "mistral": (
        "Mistral",
        {
            "text_parts": True,
            "tool_id_format": "9_alphanumeric",
            "text_after_tool_result": "tool",
            "tool_extras": False,
        },
    ),
}
