# What `cargo xtask bench edge` compares the gateway with: a Worker that does nothing but the work itself, with the same
# cache service. The address comes from the command line, @CACHE@ is the running system's.

using Workerd = import "/workerd/workerd.capnp";

const bare :Workerd.Config = (
  services = [
    (name = "bare", worker = .bareWorker),
    (name = "cache", external = (address = "@CACHE@", http = (style = proxy))),
    (name = "nowhere", network = (allow = [])),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "bare")],
);

const bareWorker :Workerd.Worker = (
  modules = [(name = "bare.mjs", esModule = embed "bare.mjs")],
  compatibilityDate = "2026-11-01",
  cacheApiOutbound = "cache",
  globalOutbound = "nowhere",
);
