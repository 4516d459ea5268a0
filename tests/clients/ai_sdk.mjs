// Turns of the AI SDK at the gateway of GATEWAY_URL. Prints what they return, as JSON.

import { createAnthropic } from "@ai-sdk/anthropic";
import { generateText, isStepCount, streamText, tool } from "ai";
import { z } from "zod";

const { GATEWAY_URL, GATEWAY_KEY } = process.env;
const model = createAnthropic({ baseURL: `${GATEWAY_URL}/v1`, apiKey: GATEWAY_KEY })("claude-3");
const cities = [];
const weather = tool({
  description: "The weather in a city.",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => {
    cities.push(city);
    return `sunny in ${city}`;
  },
});

const told = await generateText({
  model,
  tools: { get_weather: weather },
  stopWhen: isStepCount(3),
  prompt: "How is the weather in Paris?",
  maxRetries: 0,
});
let stream = "";
for await (const text of streamText({ model, prompt: "Hi", maxRetries: 0 }).textStream) stream += text;
console.log(JSON.stringify({ cities, tool: told.text, stream }));
