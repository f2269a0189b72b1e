// The Worker under miniflare, for `cargo xtask test`: the bundle and the bindings of a running system's edge, with
// miniflare's cache, objects and front in the place of `kado edge`'s. Says where it listens once it does, in one line of
// JSON, and ends with its standard input.
//
//   node tests/miniflare.mjs MINIFLARE BUNDLE WORKERD_CONFIG
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [miniflare, bundle, configuration] = process.argv.slice(2);
const { Miniflare, convertV4MiniflareOptions } = await import(pathToFileURL(miniflare).href);
const text = readFileSync(configuration, "utf8");

// The first capture of a pattern that the configuration must match.
const found = (pattern) => {
  const match = text.match(pattern);
  if (!match) throw new Error(`${configuration} does not match ${pattern}`);
  return JSON.parse(match[1]);
};
const quoted = String.raw`("(?:[^"\\]|\\.)*")`;
const address = (service) => found(new RegExp(String.raw`name = "${service}", external = \(address = ${quoted}`));
const variable = (name) => found(new RegExp(String.raw`name = "${name}", text = ${quoted}`));
const external = (service) => ({ external: { address: address(service), http: {} } });

const wasm = ["index_bg.wasm", "avif-enc.wasm", "kado_edge_av1.wasm", "webp_enc_simd.wasm"];
const worker = {
  modulesRoot: bundle,
  modules: [
    { type: "ESModule", path: join(bundle, "entry.js") },
    ...wasm.map((name) => ({ type: "CompiledWasm", path: join(bundle, name) })),
  ],
  compatibilityDate: found(/const date :Text = ("[^"]*")/),
};
const secret = process.env.EDGE_SECRET;
const objects = { RATE_LIMITER: "RateLimiter", FLIGHT: "Flight", SNAPSHOT: "Snapshot", OUTBOX: "Outbox" };

const options = convertV4MiniflareOptions({
  host: "127.0.0.1",
  port: 0,
  workers: [
    {
      ...worker,
      name: "gateway",
      compatibilityFlags: ["enable_request_signal"],
      bindings: {
        ROLE: "gateway",
        CLIENT_IP: "cf",
        TRUSTED_PROXIES: "",
        ENVIRONMENT: variable("ENVIRONMENT"),
        EDGE_SECRET: secret,
      },
      serviceBindings: { ORIGIN: external("origin"), INTERNAL: external("internal"), TRANSFORM: "transform" },
      durableObjects: Object.fromEntries(
        Object.entries(objects).map(([name, className]) => [name, { className, useSQLite: true }]),
      ),
    },
    {
      ...worker,
      name: "transform",
      bindings: { ROLE: "transform", ENVIRONMENT: variable("ENVIRONMENT"), EDGE_SECRET: secret },
      serviceBindings: { INTERNAL: external("internal"), SOURCES: external("sources") },
    },
  ],
});
const running = new Miniflare(options);
const url = await running.ready;
process.stdout.write(`${JSON.stringify({ url: url.origin, node: process.version })}\n`);
process.stdin.resume().on("end", async () => {
  await running.dispose();
  process.exit(0);
});
