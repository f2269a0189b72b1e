// The AV1 decoder, rav1d: a module of our own, with a linear memory of its own.
import compiled from "./kado_edge_av1.wasm";

// A linear memory never shrinks: an instance that a large picture has blown up is let go after it.
const KEPT_BYTES = 32 * 1024 * 1024;
const FACTS = ["width", "height", "layout", "depth", "primaries", "transfer", "matrix", "fullRange"];
const REASONS = [, "there is not enough memory for the picture", "the AV1 data is damaged, or more than it says"];

let instance;

function decode(data, mostBytes) {
  const decoder = (instance ??= new WebAssembly.Instance(compiled, {})).exports;
  let kept = false;
  try {
    const at = decoder.reserve(data.length);
    if (!at) throw new Error(REASONS[1]);
    new Uint8Array(decoder.memory.buffer, at, data.length).set(data);
    const refused = decoder.decode(mostBytes);
    if (refused) {
      kept = true;
      throw new Error(REASONS[refused]);
    }
    const picture = Object.fromEntries(FACTS.map((name, number) => [name, decoder.fact(number)]));
    picture.planes = (picture.layout ? [0, 1, 2] : [0]).map((index) => {
      const start = decoder.plane_start(index) >>> 0;
      return {
        // Looked at before anything else is decoded, and copied there.
        bytes: new Uint8Array(decoder.memory.buffer, start, decoder.plane_bytes(index)),
        stride: decoder.plane_stride(index),
      };
    });
    kept = true;
    return picture;
  } finally {
    // An instance that has trapped fails every later call: the next picture gets a new one.
    if (!kept) instance = undefined;
  }
}

function release() {
  if (!instance) return;
  if (instance.exports.memory.buffer.byteLength > KEPT_BYTES) instance = undefined;
  else instance.exports.release();
}

const decoder = {
  decode,
  release,
  memoryBytes: () => instance?.exports.memory.buffer.byteLength ?? 0,
};

// As the encoders' modules are loaded, although there is nothing to wait for.
export const loadAv1 = async () => decoder;
