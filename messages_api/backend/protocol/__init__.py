"""Translation between the Anthropic Messages API and OpenAI Chat Completions, without I/O."""
