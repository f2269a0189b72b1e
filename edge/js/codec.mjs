// A codec as a module of its own, instantiated on first use and kept while its memory is small.

// A linear memory never shrinks: an instance that a large picture has blown up is let go after its job.
const KEPT_BYTES = 32 * 1024 * 1024;

export function loader(name, createEncoder, compiled) {
  let current;
  return async function load() {
    // A value, not a promise: a promise of one request must never be awaited by another.
    if (current) return current;
    let memory;
    const encoder = await createEncoder({
      noInitialRun: true,
      instantiateWasm(imports, ready) {
        const instance = new WebAssembly.Instance(compiled, imports);
        memory = Object.values(instance.exports).find((value) => value instanceof WebAssembly.Memory);
        ready(instance);
        return instance.exports;
      },
    });
    current = {
      encode(rgba, width, height, settings) {
        try {
          const bytes = encoder.encode(rgba, width, height, settings);
          if (!bytes) throw new Error(`${name} refused the picture`);
          return bytes;
        } catch (error) {
          // An instance that has trapped fails every later call: the next picture gets a new one.
          current = undefined;
          throw error;
        }
      },
      memoryBytes: () => memory.buffer.byteLength,
      release() {
        if (memory.buffer.byteLength > KEPT_BYTES) current = undefined;
      },
    };
    return current;
  };
}
