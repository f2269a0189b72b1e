// libwebp.
import createEncoder from "@jsquash/webp/codec/enc/webp_enc_simd.js";
import { loader } from "./codec.mjs";
import compiled from "./webp_enc_simd.wasm";

export const loadWebp = loader("libwebp", createEncoder, compiled);
