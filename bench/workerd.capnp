# What `cargo xtask bench imaging` runs in workerd. Addresses come from the command line, @SECRET@ is drawn for the run.

using Workerd = import "/workerd/workerd.capnp";

# The transform role as deployed, and beside it a Worker that only reads what it is sent: the difference is the work.
const transform :Workerd.Config = (
  services = [
    (name = "transform", worker = .transformWorker),
    (name = "drain", worker = .drainWorker),
    .nowhere,
  ],
  sockets = [
    (name = "transform", address = "127.0.0.1:0", http = (), service = "transform"),
    (name = "drain", address = "127.0.0.1:0", http = (), service = "drain"),
  ],
);

# One Worker each, to be started with.
const drain :Workerd.Config = (
  services = [(name = "drain", worker = .drainWorker), .nowhere],
  sockets = [(name = "drain", address = "127.0.0.1:0", http = (), service = "drain")],
);
const transformAlone :Workerd.Config = (
  services = [(name = "transform", worker = .transformWorker), .nowhere],
  sockets = [(name = "transform", address = "127.0.0.1:0", http = (), service = "transform")],
);
const gateway :Workerd.Config = (
  services = [(name = "gateway", worker = .gatewayWorker), .nowhere],
  sockets = [(name = "gateway", address = "127.0.0.1:0", http = (), service = "gateway")],
);

# The transform role, which says after each answer how many modules it has instantiated.
const counted :Workerd.Config = (
  services = [(name = "counted", worker = .countedWorker), .nowhere],
  sockets = [(name = "transform", address = "127.0.0.1:0", http = (), service = "counted")],
);

const nowhere :Workerd.Service = (name = "nowhere", network = (allow = []));

const transformWorker :Workerd.Worker = (
  modules = .modules,
  compatibilityDate = .date,
  bindings = .transformBindings,
  globalOutbound = "nowhere",
);

const gatewayWorker :Workerd.Worker = (
  modules = .gatewayModules,
  compatibilityDate = .date,
  bindings = [
    (name = "ROLE", text = "gateway"),
    (name = "ENVIRONMENT", text = "development"),
    (name = "EDGE_SECRET", text = "@SECRET@"),
  ],
  globalOutbound = "nowhere",
);

const countedWorker :Workerd.Worker = (
  modules = [
    (name = "counted.mjs", esModule = embed "counted.mjs"),
    (name = "counter.mjs", esModule = embed "counter.mjs"),
    (name = "entry.js", esModule = embed "worker/entry.js"),
    (name = "index_bg.wasm", wasm = embed "worker/index_bg.wasm"),
    (name = "avif-enc.wasm", wasm = embed "worker/avif-enc.wasm"),
    (name = "kado_edge_av1.wasm", wasm = embed "worker/kado_edge_av1.wasm"),
    (name = "webp_enc_simd.wasm", wasm = embed "worker/webp_enc_simd.wasm"),
  ],
  compatibilityDate = .date,
  bindings = .transformBindings,
  globalOutbound = "nowhere",
);

const drainWorker :Workerd.Worker = (
  modules = [(name = "drain.mjs", esModule = embed "drain.mjs")],
  compatibilityDate = .date,
  globalOutbound = "nowhere",
);

const date :Text = "2026-11-01";

const transformBindings :List(Workerd.Worker.Binding) = [
  (name = "ROLE", text = "transform"),
  (name = "ENVIRONMENT", text = "development"),
  (name = "EDGE_SECRET", text = "@SECRET@"),
];

const modules :List(Workerd.Worker.Module) = [
  (name = "entry.js", esModule = embed "worker/entry.js"),
  (name = "index_bg.wasm", wasm = embed "worker/index_bg.wasm"),
  (name = "avif-enc.wasm", wasm = embed "worker/avif-enc.wasm"),
  (name = "kado_edge_av1.wasm", wasm = embed "worker/kado_edge_av1.wasm"),
  (name = "webp_enc_simd.wasm", wasm = embed "worker/webp_enc_simd.wasm"),
];

# As deployed: what the gateway does not use is empty.
const gatewayModules :List(Workerd.Worker.Module) = [
  (name = "entry.js", esModule = embed "worker/entry.js"),
  (name = "index_bg.wasm", wasm = embed "worker/index_bg.wasm"),
  (name = "avif-enc.wasm", wasm = .emptyModule),
  (name = "kado_edge_av1.wasm", wasm = .emptyModule),
  (name = "webp_enc_simd.wasm", wasm = .emptyModule),
];

# The first eight bytes of every WebAssembly module.
const emptyModule :Data = 0x"00 61 73 6d 01 00 00 00";
