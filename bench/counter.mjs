// Counts the WebAssembly modules that are instantiated from here on; imported before what instantiates them.
export const counter = { instances: 0 };

const { Instance, instantiate } = WebAssembly;

WebAssembly.Instance = new Proxy(Instance, {
  construct(target, parameters) {
    counter.instances += 1;
    return new target(...parameters);
  },
});
WebAssembly.instantiate = (...parameters) => {
  counter.instances += 1;
  return instantiate(...parameters);
};
