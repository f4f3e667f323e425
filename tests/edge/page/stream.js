// Calls a method over gRPC-Web with nothing but fetch, and shows what comes.
//
// A frame is one byte of flags (0x80: trailers), four bytes of length, big
// endian, and the content (gRPC over HTTP/2 and gRPC-Web, PROTOCOL-WEB.md).

const TRAILERS = 0x80;

function framed(message) {
  const frame = new Uint8Array(5 + message.length);
  new DataView(frame.buffer).setUint32(1, message.length);
  frame.set(message, 5);
  return frame;
}

async function* frames(body) {
  let held = new Uint8Array(0);
  for await (const chunk of body) {
    const joined = new Uint8Array(held.length + chunk.length);
    joined.set(held);
    joined.set(chunk, held.length);
    held = joined;
    while (held.length >= 5) {
      const length = new DataView(held.buffer, held.byteOffset).getUint32(1);
      if (held.length < 5 + length) break;
      yield { flags: held[0], content: held.slice(5, 5 + length) };
      held = held.slice(5 + length);
    }
  }
}

function show(id, tag, text) {
  const node = document.createElement(tag);
  node.textContent = text;
  document.getElementById(id).append(node);
}

// Called by the test: `request` is the serialized message in base64.
window.callMethod = async (url, token, request, options = {}) => {
  const message = Uint8Array.from(atob(request), (letter) => letter.charCodeAt(0));
  const stop = new AbortController();
  window.stopCall = () => stop.abort();
  const answer = await fetch(url, {
    method: "POST",
    signal: stop.signal,
    headers: {
      "content-type": "application/grpc-web+proto",
      "x-grpc-web": "1",
      ...(token ? { authorization: `Bearer ${token}` } : {}),
      ...options.headers,
    },
    body: framed(message),
  });
  let status = answer.headers.get("grpc-status");
  for await (const frame of frames(answer.body)) {
    if (frame.flags & TRAILERS) {
      status = /grpc-status:\s*(\d+)/.exec(new TextDecoder().decode(frame.content))[1];
    } else {
      show("words", "li", new TextDecoder().decode(frame.content));
    }
  }
  show("end", "b", `status ${status}`);
  return { status, requestId: answer.headers.get("x-request-id") };
};
