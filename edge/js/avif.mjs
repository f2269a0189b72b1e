// libaom.
import createEncoder from "@jsquash/avif/codec/enc/avif_enc.js";
import compiled from "./avif_enc.wasm";
import { loader } from "./codec.mjs";

export const loadAvif = loader("libaom", createEncoder, compiled);
