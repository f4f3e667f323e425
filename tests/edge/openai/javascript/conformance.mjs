// What the official JavaScript client makes of each kind of answer, as JSON. The
// test that starts this scripts the engine, in the order of the calls below.
import OpenAI, { NotFoundError } from "openai";

const model = process.env.MODEL;
const messages = [{ role: "user", content: "What is 17 * 23?" }];
const tools = [{ type: "function", function: { name: "weather", parameters: { type: "object" } } }];
const client = new OpenAI({ maxRetries: 0 });
const seen = {};

seen.models = (await client.models.list()).data.map((each) => each.id);

const whole = await client.chat.completions.create({ model, messages });
seen.whole = [whole.choices[0].message.content, whole.usage.completion_tokens];

seen.streamed = "";
const stream = await client.chat.completions.create({
  model,
  messages,
  stream: true,
  stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  seen.streamed += chunk.choices[0]?.delta.content ?? "";
  seen.usage = chunk.usage?.completion_tokens ?? seen.usage;
}

const called = await client.chat.completions.create({ model, messages, tools });
seen.call = called.choices[0].message.tool_calls[0].function;

const runner = client.chat.completions.stream({ model, messages, tools });
seen.accumulated = (await runner.finalChatCompletion()).choices[0].message.tool_calls[0].function.arguments;

const said = await client.chat.completions.create({
  model,
  messages,
  n: 2,
  temperature: 1,
  logprobs: true,
  top_logprobs: 1,
  response_format: { type: "json_schema", json_schema: { name: "answer", schema: { type: "object" }, strict: true } },
});
seen.choices = said.choices.map((each) => [each.message.content, each.finish_reason]);
seen.logprob = said.choices[0].logprobs.content[0].top_logprobs[0].token;

seen.vectors = (await client.embeddings.create({ model: process.env.EMBEDDER, input: ["one", "two"] })).data.map(
  (each) => each.embedding.length,
);

seen.completed = (await client.completions.create({ model, prompt: "Once" })).choices[0].text;

seen.response = (await client.responses.create({ model, input: "Hello?" })).output_text;

seen.events = [];
for await (const event of await client.responses.create({ model, input: "Hello?", stream: true })) {
  seen.events.push(event.type);
}

try {
  await client.chat.completions.create({ model: "none", messages });
} catch (error) {
  seen.refused = [error instanceof NotFoundError, error.status, error.code, error.param];
}

seen.before = "";
try {
  for await (const chunk of await client.chat.completions.create({ model, messages, stream: true })) {
    seen.before += chunk.choices[0].delta.content ?? "";
  }
} catch (error) {
  seen.failed = [error.code, error.type];
}

console.log(JSON.stringify(seen));
