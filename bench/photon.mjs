// A body to photon-rs: `/?width=..&quality=..` answers the smaller JPEG.
import { initSync, thumbnail } from "./kado_bench_photon.js";
import compiled from "./kado_bench_photon_bg.wasm";

let memory;

export default {
  async fetch(request) {
    memory ??= initSync({ module: compiled }).memory;
    const asked = new URL(request.url).searchParams;
    const picture = new Uint8Array(await request.arrayBuffer());
    const bytes = thumbnail(picture, Number(asked.get("width")), Number(asked.get("quality")));
    const mebibytes = Math.ceil((memory.buffer.byteLength + picture.length) / 1048576);
    return new Response(bytes, { headers: { "Content-Type": "image/jpeg", "Kado-Image": `mem=${mebibytes}MiB` } });
  },
};
