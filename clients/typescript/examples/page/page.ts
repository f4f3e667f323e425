// Asks a question over gRPC-Web and shows the answer, and each of its events, as they come.
import { toJsonString } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient, decodeBinaryHeader, type Interceptor } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { ErrorInfoSchema } from "parley-client/google/rpc/error_details_pb.js";
import { StatusSchema } from "parley-client/google/rpc/status_pb.js";
import { type ChatEvent, ChatEventSchema, FinishReason } from "parley-client/parley/inference/v1/chat_pb.js";
import { InferenceService } from "parley-client/parley/inference/v1/inference_service_pb.js";
import { Role } from "parley-client/parley/inference/v1/message_pb.js";

const form = document.querySelector("form")!;
const button = form.querySelector("button")!;
const field = (name: string) => form.elements.namedItem(name) as HTMLInputElement;
const place = (id: string) => document.getElementById(id)!;
let asked = new AbortController();

function clientOf(edge: string, credential: string) {
  const withCredential: Interceptor = (next) => (request) => {
    if (credential) request.header.set("authorization", `Bearer ${credential}`);
    return next(request);
  };
  const transport = createGrpcWebTransport({ baseUrl: edge, interceptors: [withCredential] });
  return createClient(InferenceService, transport);
}

function show({ event }: ChatEvent): void {
  if (event.case === "contentDelta") place("answer").append(event.value.text);
  if (event.case === "finished") place("end").textContent = FinishReason[event.value.reason] ?? null;
}

// Where the edge itself refuses, it does so with an HTTP status, and Connect then looks for no details:
// the headers have them all the same.
function complaint(error: unknown): string {
  const refused = ConnectError.from(error);
  const details = refused.metadata.get("grpc-status-details-bin");
  const status = details ? decodeBinaryHeader(details, StatusSchema) : undefined;
  const info = status?.details.map((detail) => anyUnpack(detail, ErrorInfoSchema)).find(Boolean);
  return `${Code[status?.code ?? refused.code]} ${info?.reason ?? ""}: ${refused.rawMessage}`;
}

async function ask(): Promise<void> {
  const client = clientOf(field("edge").value, field("credential").value);
  const question = { case: "text" as const, value: field("question").value };
  const request = { messages: [{ role: Role.USER, content: [{ part: question }] }] };
  const onHeader = (headers: Headers) => place("request").append(headers.get("x-request-id") ?? "");
  for await (const { event } of client.chat(request, { signal: asked.signal, onHeader })) {
    if (!event) continue;
    const line = document.createElement("li");
    line.textContent = toJsonString(ChatEventSchema, event);
    place("events").append(line);
    show(event);
  }
}

form.addEventListener("submit", async (submitted) => {
  submitted.preventDefault();
  for (const id of ["answer", "end", "request", "events"]) place(id).replaceChildren();
  asked = new AbortController();
  button.disabled = true; // one question at a time
  await ask().catch((error) => place("end").append(complaint(error)));
  button.disabled = false;
});
place("stop").addEventListener("click", () => asked.abort());
field("edge").value = location.origin;
