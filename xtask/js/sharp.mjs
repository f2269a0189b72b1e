// The yardstick: sharp, asked line by line over standard input, so that its times and ours can be taken in turns.
import { createInterface } from "node:readline";
import { readFile, writeFile } from "node:fs/promises";
import sharp from "sharp";

// One thread and no memory of former results: what is measured is the work.
sharp.concurrency(1);
sharp.cache(false);

let libaom;

async function loadLibaom() {
  const { default: create } = await import("../../node_modules/icodec/dist/avif-enc.js");
  const file = new URL("../../node_modules/icodec/dist/avif-enc.wasm", import.meta.url);
  const compiled = await WebAssembly.compile(await readFile(file));
  return create({
    noInitialRun: true,
    instantiateWasm(imports, ready) {
      const instance = new WebAssembly.Instance(compiled, imports);
      ready(instance);
      return instance.exports;
    },
  });
}

const actions = {
  // A large picture of many small ones: the entropy of real photographs at any size.
  async mosaic({ files, first = 0, width, height, output, format = "jpeg", settings = { quality: 88, chromaSubsampling: "4:2:0" } }) {
    const columns = Math.ceil(width / 600);
    const rows = Math.ceil(height / 600);
    const [tileWidth, tileHeight] = [Math.ceil(width / columns), Math.ceil(height / rows)];
    const tiles = await Promise.all(
      files.map((file) => sharp(file).resize(tileWidth, tileHeight, { fit: "cover" }).removeAlpha().toBuffer()),
    );
    const parts = Array.from({ length: columns * rows }, (_, index) => ({
      input: tiles[(first + index * 5 + Math.floor(index / columns)) % tiles.length],
      left: (index % columns) * tileWidth,
      top: Math.floor(index / columns) * tileHeight,
    }));
    const canvas = { width: columns * tileWidth, height: rows * tileHeight, channels: 3, background: "#000" };
    // In two steps: the canvas may be a few pixels larger than the picture. Compositing adds an alpha channel.
    const composed = sharp({ create: canvas, limitInputPixels: false }).composite(parts).removeAlpha().raw();
    const { data: whole, info: raw } = await composed.toBuffer({ resolveWithObject: true });
    if (raw.channels !== 3) throw new Error(`the mosaic has ${raw.channels} channels`);
    await sharp(whole, { raw, limitInputPixels: false })
      .extract({ left: 0, top: 0, width, height })
      .toFormat(format, settings)
      .toFile(output);
    return {};
  },

  async resize({ file, width, quality }) {
    const input = await readFile(file);
    const started = process.hrtime.bigint();
    const output = await sharp(input, { limitInputPixels: false })
      .rotate()
      .resize({ width, withoutEnlargement: true })
      .jpeg({ quality })
      .toBuffer();
    return { milliseconds: Number(process.hrtime.bigint() - started) / 1e6, bytes: output.length };
  },

  // The same with any output; `output` is a file to look at, written outside the measured time.
  async transform({ file, width, format, settings, output }) {
    const input = await readFile(file);
    const started = process.hrtime.bigint();
    const bytes = await sharp(input, { limitInputPixels: false })
      .rotate()
      .resize({ width, withoutEnlargement: true })
      .toFormat(format, settings)
      .toBuffer();
    const milliseconds = Number(process.hrtime.bigint() - started) / 1e6;
    if (output) await writeFile(output, bytes);
    return { milliseconds, bytes: bytes.length };
  },

  // How a file is coded, as far as two answers have to agree in it.
  async coding({ file }) {
    const { format, width, height, chromaSubsampling, isProgressive, hasAlpha } = await sharp(file).metadata();
    return { format, width, height, chromaSubsampling, isProgressive, hasAlpha };
  },

  // A file's pixels, as rows of RGB and nothing else.
  async pixels({ file, output }) {
    const { data, info } = await sharp(file, { limitInputPixels: false })
      .rotate()
      .toColourspace("srgb")
      .removeAlpha()
      .raw()
      .toBuffer({ resolveWithObject: true });
    if (info.channels !== 3) throw new Error(`${file} has ${info.channels} channels`);
    await writeFile(output, data);
    return { width: info.width, height: info.height };
  },

  // The way back.
  async png({ file, width, height, output }) {
    await sharp(await readFile(file), { raw: { width, height, channels: 3 } }).png({ compressionLevel: 1 }).toFile(output);
    return {};
  },

  // The Worker's AVIF encoder, with the settings that the engine gives it.
  async libaom({ file, settings, output }) {
    libaom ??= await loadLibaom();
    const { data, info } = await sharp(file).ensureAlpha().raw().toBuffer({ resolveWithObject: true });
    const bytes = libaom.encode(data, info.width, info.height, settings);
    if (!bytes) throw new Error("libaom refused the picture");
    await writeFile(output, bytes);
    return { bytes: bytes.length };
  },

  async version() {
    return { sharp: sharp.versions.sharp, vips: sharp.versions.vips };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { action, ...parameters } = JSON.parse(line);
  let answer;
  try {
    answer = await actions[action](parameters);
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
