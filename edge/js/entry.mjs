// The Worker's main module: the default handler and the Durable Object classes, nothing else. worker-build's own entry
// would also export the bindings of every dependency.
// First: the others may queue tasks.
import "./microtasks.mjs";
import handler, { Flight, Outbox, RateLimiter, Snapshot } from "../build/index.js";
import { loadAv1 } from "./av1.mjs";
import { loadAvif } from "./avif.mjs";
import { kadoFields } from "./fields.mjs";
import { loadWebp } from "./webp.mjs";

// Where the Rust side finds the codec modules.
globalThis.kadoCodecs = { loadAv1, loadAvif, loadWebp };
globalThis.kadoFields = kadoFields;

export default handler;
export { Flight, Outbox, RateLimiter, Snapshot };
