// Reads a body as the transform role does, and does nothing with it.
export default {
  async fetch(request) {
    let bytes = 0;
    const chunks = [];
    for await (const chunk of request.body ?? []) {
      chunks.push(chunk);
      bytes += chunk.length;
    }
    return new Response(String(bytes));
  },
};
