// Header fields cross to the Rust side in one text each way: a call for every name and value costs more than the rest of
// a cached answer. Neither names nor values can hold a line feed, so that separates them.
//
// An object of fields is taken over as it is, where the runtime would copy `Headers`, and collecting the copy takes longer
// than making it.
function headersOf(text) {
  const parts = text.split("\n");
  const headers = Object.create(null);
  for (let at = 0; at + 1 < parts.length; at += 2) {
    if (parts[at] in headers) return pairs(parts);
    headers[parts[at]] = parts[at + 1];
  }
  return headers;
}

// The same where a name comes more than once.
function pairs(parts) {
  const headers = [];
  for (let at = 0; at + 1 < parts.length; at += 2) headers.push([parts[at], parts[at + 1]]);
  return headers;
}

export const kadoFields = {
  // All fields of a request or a response, names in lower case; several of one name are one, except Set-Cookie.
  of(message) {
    let text = "";
    for (const [name, value] of message.headers) text += `${name}\n${value}\n`;
    return text;
  },
  // What decides about a request: method, address, the peer as workerd tells it, and the fields.
  read(request) {
    return `${request.method}\n${request.url}\n${request.cf?.clientIp ?? ""}\n${kadoFields.of(request)}`;
  },
  // Asks an object and reads its answer: its status, and the text behind it.
  async ask(objects, name, method, url, body, timeoutMs) {
    const signal = timeoutMs < 0 ? undefined : AbortSignal.timeout(timeoutMs);
    const response = await objects.getByName(name).fetch(url, { method, body, signal });
    return `${response.status}\n${await response.text()}`;
  },
  // A request that is given up after so many milliseconds, or never where they are negative. Redirects are not followed.
  request(method, url, text, body, timeoutMs) {
    const signal = timeoutMs < 0 ? undefined : AbortSignal.timeout(timeoutMs);
    return new Request(url, { method, headers: headersOf(text), body, redirect: "manual", signal });
  },
  // Keys of stored entries and until when each matters, as `key\nmilliseconds\n`.
  untilTimes(entries) {
    let text = "";
    for (const [key, entry] of entries) text += `${key}\n${entry?.untilMs ?? 0}\n`;
    return text;
  },
  // Fulfilled when the client of a request goes away before its answer.
  left(request) {
    const { signal } = request;
    return new Promise((resolve) => {
      if (signal.aborted) resolve();
      else signal.addEventListener("abort", () => resolve(), { once: true });
    });
  },
  // A stream that breaks off where more than so many bytes have passed; then its field `over` is true.
  limited(stream, most) {
    let passed = 0;
    const { readable, writable } = new TransformStream({
      transform(chunk, controller) {
        passed += chunk.byteLength;
        if (passed <= most) return controller.enqueue(chunk);
        readable.over = true;
        controller.error(new Error(`more than ${most} bytes`));
      },
    });
    // Whoever reads the other end hears of it.
    stream.pipeTo(writable).catch(() => {});
    return readable;
  },
  respond(status, text, body) {
    return new Response(body, { status, headers: headersOf(text) });
  },
};
