// Header fields cross to the Rust side in one text each way: a call for every name and value costs more than the rest of
// a cached answer. Neither names nor values can hold a line feed, so that separates them.
export const kadoFields = {
  // All fields of a request or a response, names in lower case; several of one name are one, except Set-Cookie.
  of(message) {
    let text = "";
    for (const [name, value] of message.headers) text += `${name}\n${value}\n`;
    return text;
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
    const parts = text.split("\n");
    const headers = new Headers();
    for (let at = 0; at + 1 < parts.length; at += 2) headers.append(parts[at], parts[at + 1]);
    return new Response(body, { status, headers });
  },
};
