// Reads streams with the official clients, without a network.
// Each line of stdin is one: {api, writes, beta, helper}. The result is a line of stdout: the message or completion that
// the client adds up, or {error}.
import { createInterface } from "node:readline";

import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

let writes = [];

async function fetch() {
  const encoder = new TextEncoder();
  const body = new ReadableStream({
    start(controller) {
      for (const write of writes) controller.enqueue(encoder.encode(write));
      controller.close();
    },
  });
  return new Response(body, { headers: { "content-type": "text/event-stream" } });
}

const anthropic = new Anthropic({ apiKey: "-", baseURL: "http://127.0.0.1", maxRetries: 0, fetch });
const openai = new OpenAI({ apiKey: "-", baseURL: "http://127.0.0.1", maxRetries: 0, fetch });
const request = { model: "m", max_tokens: 64, messages: [{ role: "user", content: "Hi" }] };

async function readMessage({ beta }) {
  const { messages } = beta ? anthropic.beta : anthropic;
  return await messages.stream(request).finalMessage();
}

// As most programs add up the chunks.
async function readCompletion() {
  const message = { content: "", reasoning_content: "", thinking_blocks: [], tool_calls: [] };
  let finishReason = null;
  let usage = null;
  for await (const chunk of await openai.chat.completions.create({ ...request, stream: true })) {
    usage = chunk.usage ?? usage;
    const [{ delta, finish_reason: finish }] = chunk.choices;
    finishReason = finish ?? finishReason;
    message.content += delta.content ?? "";
    message.reasoning_content += delta.reasoning_content ?? "";
    message.thinking_blocks.push(...(delta.thinking_blocks ?? []));
    for (const { index, id, function: piece } of delta.tool_calls ?? []) {
      message.tool_calls[index] ??= { id, function: { name: piece.name, arguments: "" } };
      message.tool_calls[index].function.arguments += piece.arguments ?? "";
    }
  }
  return { choices: [{ message, finish_reason: finishReason }], usage };
}

// As the client's own helper adds them up. Of fields that are not OpenAI's, it keeps the last piece.
async function readWithHelper() {
  let reasoning = "";
  const stream = openai.chat.completions.stream(request);
  stream.on("chunk", ({ choices: [{ delta }] }) => (reasoning += delta.reasoning_content ?? ""));
  const completion = await stream.finalChatCompletion();
  completion.choices[0].message.reasoning_content = reasoning;
  return completion;
}

async function read(stream) {
  writes = stream.writes;
  try {
    if (stream.api === "anthropic") return await readMessage(stream);
    return await (stream.helper ? readWithHelper() : readCompletion());
  } catch (error) {
    return { error: `${error.constructor.name}: ${error.message}` };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(JSON.stringify(await read(JSON.parse(line))) + "\n");
}
