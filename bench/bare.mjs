// The least that a Worker can do for an answer like the gateway's: find it in the cache or have it ready, with the same
// headers, and write the same line on the log. It limits nothing, checks nothing and negotiates nothing.
const ready = new Map();
// Headers that a cache does not give back, by address.
const beside = new Map();

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

// Whatever host it is asked as.
const key = (url) => `http://kept${url.pathname}`;

async function found(url) {
  const cached = await caches.default.match(key(url));
  if (!cached) return new Response("nothing is stored here", { status: 404 });
  const answer = new Response(cached.body, cached);
  for (const [name, value] of beside.get(url.pathname)) answer.headers.set(name, value);
  return answer;
}

// Headers come as JSON in one header, and with a status other than 200 an answer is kept in memory.
async function keep(request, url) {
  const headers = new Headers(JSON.parse(request.headers.get("kept-headers")));
  const status = Number(request.headers.get("kept-status"));
  const body = await request.arrayBuffer();
  if (status === 200) {
    await caches.default.put(key(url), new Response(body, { headers }));
    const back = await caches.default.match(key(url));
    await back.arrayBuffer();
    beside.set(url.pathname, [...headers].filter(([name, value]) => back.headers.get(name) !== value));
  } else {
    ready.set(url.pathname, { status, headers, body });
  }
  return new Response("kept");
}
