// Reads a body as the transform role does, and does nothing with it.
const AT_ONCE = 256 * 1024;

export default {
  async fetch(request) {
    let bytes = 0;
    const chunks = [];
    const reader = request.body.getReader({ mode: "byob" });
    for (;;) {
      const { value } = await reader.read(new Uint8Array(AT_ONCE), { min: AT_ONCE });
      if (value.length === 0) break;
      chunks.push(value);
      bytes += value.length;
    }
    return new Response(String(bytes));
  },
};
