// Asks one question over gRPC and prints the answer as it comes: npm run ask "What is 17 * 23?"
//
// PARLEY_ADDRESS is where the edge listens (localhost:8443), PARLEY_API_KEY says who asks, and
// PARLEY_AUTHORITY_PATH names the authority's certificate where the edge's was signed by no public one.
import { readFileSync } from "node:fs";
import { Code, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { ErrorInfoSchema } from "parley-client/google/rpc/error_details_pb.js";
import { FinishReason } from "parley-client/parley/inference/v1/chat_pb.js";
import { InferenceService } from "parley-client/parley/inference/v1/inference_service_pb.js";
import { Role } from "parley-client/parley/inference/v1/message_pb.js";

const { PARLEY_ADDRESS, PARLEY_API_KEY, PARLEY_AUTHORITY_PATH } = process.env;
const [text = "What is 17 * 23?"] = process.argv.slice(2);

const withKey: Interceptor = (next) => (request) => {
  request.header.set("authorization", `Bearer ${PARLEY_API_KEY}`);
  return next(request);
};

const transport = createGrpcTransport({
  baseUrl: `https://${PARLEY_ADDRESS}`,
  interceptors: [withKey],
  nodeOptions: PARLEY_AUTHORITY_PATH ? { ca: readFileSync(PARLEY_AUTHORITY_PATH) } : {},
});

async function ask(): Promise<void> {
  const client = createClient(InferenceService, transport);
  const answer = client.chat({
    messages: [{ role: Role.USER, content: [{ part: { case: "text", value: text } }] }],
    serverTools: { all: true },
  });
  for await (const { event } of answer) {
    switch (event?.event.case) {
      case "contentDelta":
        process.stdout.write(event.event.value.text);
        break;
      case "toolCall":
        console.log(`[${event.event.value.call?.name} ${event.event.value.call?.arguments}]`);
        break;
      case "finished":
        console.log(`\nfinished: ${FinishReason[event.event.value.reason]}`);
    }
  }
}

try {
  await ask();
} catch (error) {
  const refused = ConnectError.from(error);
  const [info] = refused.findDetails(ErrorInfoSchema);
  console.error(`${Code[refused.code]} ${info?.reason ?? ""}: ${refused.rawMessage}`);
  process.exitCode = 1;
}
