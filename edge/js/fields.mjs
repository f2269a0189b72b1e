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
  respond(status, text, body) {
    const parts = text.split("\n");
    const headers = new Headers();
    for (let at = 0; at + 1 < parts.length; at += 2) headers.append(parts[at], parts[at + 1]);
    return new Response(body, { status, headers });
  },
};
