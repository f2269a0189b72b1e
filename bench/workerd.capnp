# The transform role as deployed, and beside it a Worker that only reads what it is sent: the difference is the work.
# @TRANSFORM@ and @DRAIN@ are addresses, @SECRET@ is drawn for the run.

using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "transform", worker = .transform),
    (name = "drain", worker = .drain),
    (name = "nowhere", network = (allow = [])),
  ],
  sockets = [
    (name = "transform", address = "@TRANSFORM@", http = (), service = "transform"),
    (name = "drain", address = "@DRAIN@", http = (), service = "drain"),
  ],
);

const transform :Workerd.Worker = (
  modules = [
    (name = "entry.js", esModule = embed "worker/entry.js"),
    (name = "index_bg.wasm", wasm = embed "worker/index_bg.wasm"),
    (name = "avif_enc.wasm", wasm = embed "worker/avif_enc.wasm"),
    (name = "kado_edge_av1.wasm", wasm = embed "worker/kado_edge_av1.wasm"),
    (name = "webp_enc_simd.wasm", wasm = embed "worker/webp_enc_simd.wasm"),
  ],
  compatibilityDate = "2026-11-01",
  bindings = [
    (name = "ROLE", text = "transform"),
    (name = "ENVIRONMENT", text = "development"),
    (name = "EDGE_SECRET", text = "@SECRET@"),
  ],
  globalOutbound = "nowhere",
);

const drain :Workerd.Worker = (
  modules = [(name = "drain.mjs", esModule = embed "drain.mjs")],
  compatibilityDate = "2026-11-01",
  globalOutbound = "nowhere",
);
