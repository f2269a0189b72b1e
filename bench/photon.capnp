# The transform role beside photon-rs, in one workerd. A file of its own, since what it embeds takes minutes to build.

using Workerd = import "/workerd/workerd.capnp";
using Bench = import "workerd.capnp";

const photon :Workerd.Config = (
  services = [
    (name = "transform", worker = Bench.transformWorker),
    (name = "drain", worker = Bench.drainWorker),
    (name = "photon", worker = .photonWorker),
    Bench.nowhere,
  ],
  sockets = [
    (name = "transform", address = "127.0.0.1:0", http = (), service = "transform"),
    (name = "drain", address = "127.0.0.1:0", http = (), service = "drain"),
    (name = "photon", address = "127.0.0.1:0", http = (), service = "photon"),
  ],
);

const photonWorker :Workerd.Worker = (
  modules = [
    (name = "photon.mjs", esModule = embed "photon.mjs"),
    (name = "kado_bench_photon.js", esModule = embed "photon/kado_bench_photon.js"),
    (name = "kado_bench_photon_bg.wasm", wasm = embed "photon/kado_bench_photon_bg.wasm"),
  ],
  compatibilityDate = Bench.date,
  globalOutbound = "nowhere",
);
