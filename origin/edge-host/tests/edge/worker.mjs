// A Worker that does on demand what the tests need. Same exports and bindings as the real one.
import { DurableObject } from 'cloudflare:workers';

export class RateLimiter extends DurableObject {
  async fetch() {
    const n = ((await this.ctx.storage.get('n')) ?? 0) + 1;
    await this.ctx.storage.put('n', n);
    return new Response(String(n));
  }
}
export class Flight extends DurableObject {}
export class Snapshot extends DurableObject {}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const tried = (work) => work().then((x) => x, (error) => 'threw ' + error.message);

async function gateway(request, env) {
  const url = new URL(request.url);
  switch (url.pathname) {
    case '/api/health/liveness': return new Response('alive');
    case '/env': {
      const texts = Object.entries(env).filter(([, value]) => typeof value === 'string');
      return Response.json({ texts: Object.fromEntries(texts), all: Object.keys(env).sort() });
    }
    case '/count': return env.RATE_LIMITER.get(env.RATE_LIMITER.idFromName('a')).fetch(request);
    case '/origin': return env.ORIGIN.fetch(request);
    case '/sleep': await sleep(Number(url.searchParams.get('ms'))); return new Response('slept');
    case '/network': return new Response(await tried(async () => (await fetch(url.searchParams.get('to'))).status));
    case '/transform':
      return env.TRANSFORM.fetch('http://transform/v1/transform', { method: 'POST', headers: request.headers });
  }
  return new Response('unknown', { status: 404 });
}

let done = 0;
const kept = [];

async function work(command, argument, request, env) {
  switch (command) {
    case 'count': return new Response(String(done));
    case 'sleep': await sleep(Number(argument)); return new Response('slept');
    case 'spin': { const end = Date.now() + Number(argument); while (Date.now() < end); return new Response('span'); }
    case 'hog': kept.push(new Uint8Array(Number(argument) * 1048576).fill(1)); return new Response('held');
    case 'echo': return new Response(request.body, { headers: { 'x-job': request.headers.get('x-more') ?? '' } });
    case 'large': return new Response(new Uint8Array(Number(argument)).fill(7));
    case 'network': return new Response(await tried(async () => String((await fetch(argument)).status)));
    case 'source': {
      const [url, ...flags] = argument.split(' ');
      const headers = { 'kado-source': url, 'kado-max-bytes': '100000' };
      if (flags.includes('private')) headers['kado-allow-private'] = '1';
      if (flags.includes('port')) headers['kado-allow-port'] = '1';
      return new Response(await tried(async () => {
        const answer = await env.SOURCES.fetch('http://egress/v1/fetch', { headers, redirect: 'manual' });
        const error = answer.headers.get('kado-egress-error');
        const bytes = (await answer.arrayBuffer()).byteLength;
        return [answer.status, error ?? bytes, answer.headers.get('location') ?? ''].join(' ').trim();
      }));
    }
  }
  return new Response('unknown ' + command, { status: 400 });
}

async function transform(request, env) {
  const url = new URL(request.url);
  if (url.pathname !== '/v1/transform') return new Response(null, { status: 404 });
  const job = JSON.parse(atob(request.headers.get('kado-job').replaceAll('-', '+').replaceAll('_', '/')));
  const [command, argument] = job.options.split('=', 2);
  const answer = await work(command, argument, request, env);
  if (command !== 'count') done += 1;
  return answer;
}

export default {
  fetch(request, env) {
    return env.ROLE === 'gateway' ? gateway(request, env) : transform(request, env);
  },
};
