// libaom.
import createEncoder from "../build/avif-enc.js";
import compiled from "./avif-enc.wasm";
import { loader } from "./codec.mjs";

export const loadAvif = loader("libaom", createEncoder, compiled);
