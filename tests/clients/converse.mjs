// Holds conversations with the official client, which has only another base URL, key and number of retries.
// Each line of stdin is one: {baseURL, apiKey, maxRetries, how, request, toolResult}. The result is a line of stdout:
// {gives} or, for an error that the client raised, {error}.
import { createInterface } from "node:readline";

import Anthropic from "@anthropic-ai/sdk";
import { jsonSchemaOutputFormat } from "@anthropic-ai/sdk/helpers/json-schema";

const turns = {
  async create(client, request) {
    return { message: await client.messages.create(request) };
  },

  async stream(client, request) {
    const texts = [];
    const stream = client.messages.stream(request).on("text", (text) => texts.push(text));
    return { message: await stream.finalMessage(), texts };
  },

  async parse(client, request) {
    const format = jsonSchemaOutputFormat(request.output_config.format.schema);
    return { message: await client.messages.parse({ ...request, output_config: { format } }) };
  },
};

const lookups = {
  async countTokens(client, request) {
    return await client.messages.countTokens(request);
  },

  async models(client, { limit, id }) {
    const ids = [];
    for await (const model of client.models.list({ limit })) ids.push(model.id);
    return { ids, one: await client.models.retrieve(id) };
  },
};

// As long as the model calls tools, each tool call gets the same result and the client sends the next request.
async function converse(client, { how, request, toolResult }) {
  const taken = [];
  let { messages } = request;
  for (;;) {
    const turn = await turns[how](client, { ...request, messages });
    const { content, stop_reason: stopReason, _request_id: requestId } = turn.message;
    taken.push({ ...turn, requestId });
    if (stopReason !== "tool_use") return taken;
    const results = content
      .filter((block) => block.type === "tool_use")
      .map((block) => ({ type: "tool_result", tool_use_id: block.id, content: toolResult }));
    messages = [...messages, { role: "assistant", content }, { role: "user", content: results }];
  }
}

async function run({ baseURL, apiKey, maxRetries, ...conversation }) {
  const client = new Anthropic({ baseURL, apiKey, maxRetries });
  try {
    const lookup = lookups[conversation.how];
    return { gives: lookup ? await lookup(client, conversation.request) : await converse(client, conversation) };
  } catch (error) {
    if (!(error instanceof Anthropic.AnthropicError)) throw error;
    const { status = null, message, requestID: requestId = null, type = null } = error;
    return { error: { name: error.constructor.name, status, message, requestId, type } };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(JSON.stringify(await run(JSON.parse(line))) + "\n");
}
