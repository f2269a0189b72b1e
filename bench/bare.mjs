// The least that a Worker can do for an answer like the gateway's: find it in the cache or have it ready, with the same
// headers, and write the same line on the log. It limits nothing, checks nothing and negotiates nothing.
const ready = new Map();

export default {
  async fetch(request) {
    const started = Date.now();
    const url = new URL(request.url);
    if (request.method === "PUT") return keep(request, url);
    const hello = ready.get(url.pathname);
    const answer = hello
      ? new Response(hello.body, { status: hello.status, headers: hello.headers })
      : await found(url);
    const requestId = crypto.randomUUID().replaceAll("-", "");
    answer.headers.set("x-request-id", requestId);
    console.log(
      JSON.stringify({
        level: "info",
        event: "request",
        role: "gateway",
        requestId,
        traceparent: `00-${requestId}-${requestId.slice(16)}-01`,
        method: request.method,
        route: hello ? "/api/{path}" : "/img/{options}/{source}",
        status: answer.status,
        ms: Date.now() - started,
        bytes: Number(answer.headers.get("content-length")),
        tenant: "00000000-0000-0000-0000-000000000001",
        user: null,
        cache: hello ? null : "hit",
        lane: null,
        clientIp: request.headers.get("x-real-ip"),
        limit: "images",
        limitResult: "allowed",
      }),
    );
    return answer;
  },
};

async function found(url) {
  const cached = await caches.default.match(url.href);
  return cached ? new Response(cached.body, cached) : new Response("nothing is stored here", { status: 404 });
}

// Headers come as JSON in one header, and with a status other than 200 an answer is kept in memory.
async function keep(request, url) {
  const headers = new Headers(JSON.parse(request.headers.get("kept-headers")));
  const status = Number(request.headers.get("kept-status"));
  const body = await request.arrayBuffer();
  if (status === 200) {
    await caches.default.put(url.href, new Response(body, { headers }));
  } else {
    ready.set(url.pathname, { status, headers, body });
  }
  return new Response("kept");
}
