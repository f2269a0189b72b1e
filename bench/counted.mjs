// The Worker, and how many WebAssembly modules it had instantiated when it had answered: the engine is one, each codec
// is another.
import { counter } from "./counter.mjs";
import Worker from "./entry.js";

export default class extends Worker {
  async fetch(request) {
    const answer = await super.fetch(request);
    const headers = new Headers(answer.headers);
    headers.set("Kado-Instances", String(counter.instances));
    return new Response(answer.body, { status: answer.status, headers });
  }
}
