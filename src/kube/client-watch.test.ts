import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type Exchange, type ScriptedApi, startScriptedApi } from '../../test/support/scripted-api.ts';
import { connect, type KubeClient } from './client.ts';

const never = new AbortController().signal;
const path = '/apis/k3s.cattle.io/v1/etcdsnapshotfiles';

let api: ScriptedApi;
let client: KubeClient;

beforeEach(async () => {
  api = await startScriptedApi();
  client = await connect(await api.kubeconfig({ token: 'first' }), { timeoutMs: 5_000 });
});

afterEach(async () => {
  await client[Symbol.asyncDispose]();
  await api[Symbol.asyncDispose]();
});

/** A watch that runs, and its end of the wire. */
async function begin(options: { signal?: AbortSignal; idleMs?: number } = {}) {
  const watch = client.watch({ path, signal: never, ...options })[Symbol.asyncIterator]();
  const first = watch.next();
  // Whoever asks for it sees the error; until then nobody does.
  void Promise.allSettled([first]);
  return { watch, first, wire: await api.requests.take() };
}

describe('a watch', () => {
  it('asks as it is told to, and yields each line as it comes', async () => {
    const opened = vi.fn();
    const query = { resourceVersion: '7', labelSelector: '' };
    const watch = client.watch({ path, query, signal: never, onOpen: opened })[Symbol.asyncIterator]();
    const first = watch.next();
    const wire = await api.requests.take();
    expect(wire).toMatchObject({ path, query: { watch: '1', resourceVersion: '7' } });
    expect(wire.query).not.toHaveProperty('labelSelector');
    expect(wire.headers.authorization).toBe('Bearer first');
    expect(opened).not.toHaveBeenCalled();
    wire.open();
    await vi.waitFor(() => expect(opened).toHaveBeenCalledOnce());
    wire.send({ n: 1 });
    expect(await first).toEqual({ done: false, value: { n: 1 } });
    wire.send({ n: 2 }, { n: 3 });
    expect(await watch.next()).toEqual({ done: false, value: { n: 2 } });
    expect(await watch.next()).toEqual({ done: false, value: { n: 3 } });
    wire.end();
    expect(await watch.next()).toEqual({ done: true, value: undefined });
  });

  it('puts lines together from pieces, in the middle of a character too', async () => {
    const { watch, first, wire } = await begin();
    const line = Buffer.from(`{"who":"Jörg"}\n\n{"b":1}\n`);
    const cut = line.indexOf(0xc3) + 1;
    wire.open();
    wire.sendRaw(line.subarray(0, cut));
    wire.sendRaw(line.subarray(cut));
    expect((await first).value).toEqual({ who: 'Jörg' });
    expect((await watch.next()).value).toEqual({ b: 1 });
  });

  it.each<[string, (wire: Exchange) => void, string, boolean]>([
    ['is cut in the middle of a line', (wire) => wire.cut(), 'unavailable', true],
    ['ends in the middle of a line', (wire) => wire.end(), 'unavailable', true],
    ['goes on with what is not JSON', (wire) => wire.sendRaw('\n'), 'protocol', false],
  ])('fails when it %s', async (_, act, code, retryable) => {
    const { watch, first, wire } = await begin();
    wire.send({ n: 1 });
    wire.sendRaw('{"type":"ADDED","obj');
    await first;
    const second = watch.next();
    void Promise.allSettled([second]);
    act(wire);
    await expect(second).rejects.toMatchObject({
      code,
      retryable,
      message: 'Cannot watch etcdsnapshotfiles.k3s.cattle.io in Kubernetes',
    });
  });

  it('fails on a line without an end instead of keeping it all', async () => {
    const { first, wire } = await begin();
    for (let mebibytes = 0; mebibytes < 33; mebibytes++) wire.sendRaw('x'.repeat(1024 * 1024));
    await expect(first).rejects.toMatchObject({
      code: 'protocol',
      why: expect.stringContaining('a line of more than'),
    });
    await wire.closed;
  });

  it.each([
    [403, 'forbidden'],
    [404, 'not-found'],
    [410, 'conflict'],
    [429, 'unavailable'],
    [500, 'unavailable'],
  ])('translates the status %i as for a call', async (status, code) => {
    const opened = vi.fn();
    const watch = client.watch({ path, signal: never, onOpen: opened })[Symbol.asyncIterator]();
    const first = watch.next();
    void Promise.allSettled([first]);
    (await api.requests.take()).reply(status, { kind: 'Status', message: 'no' });
    await expect(first).rejects.toMatchObject({ code });
    expect(opened).not.toHaveBeenCalled();
  });

  it('names the verb watch when it is forbidden', async () => {
    const { first, wire } = await begin();
    wire.reply(403, { kind: 'Status', reason: 'Forbidden' });
    await expect(first).rejects.toMatchObject({ hint: expect.stringContaining('"watch" etcdsnapshotfiles') });
  });

  it('gives up on a server that never answers, and on one that falls silent', async () => {
    const mute = await begin({ idleMs: 50 });
    await expect(mute.first).rejects.toMatchObject({ code: 'timeout', retryable: true });
    const silent = await begin({ idleMs: 800 });
    silent.wire.send({ n: 1 });
    await silent.first;
    await expect(silent.watch.next()).rejects.toMatchObject({
      code: 'timeout',
      why: `${api.url} sent nothing for 0.8 s`,
    });
    await Promise.all([mute.wire.closed, silent.wire.closed]);
  });

  it('does not take a slow consumer for a silent server', async () => {
    const { watch, first, wire } = await begin({ idleMs: 500 });
    wire.send({ n: 1 }, { n: 2 });
    await first;
    await new Promise((resolve) => setTimeout(resolve, 800));
    expect((await watch.next()).value).toEqual({ n: 2 });
    wire.send({ n: 3 });
    expect((await watch.next()).value).toEqual({ n: 3 });
  });

  it('ends at once when the signal fires: before, while it waits, with lines in hand', async () => {
    const stop = new AbortController();
    const waiting = await begin({ signal: stop.signal });
    const busy = await begin({ signal: stop.signal });
    waiting.wire.open();
    busy.wire.send({ n: 1 }, { n: 2 });
    await busy.first;
    stop.abort();
    await expect(waiting.first).rejects.toMatchObject({ code: 'aborted' });
    await expect(busy.watch.next()).rejects.toMatchObject({ code: 'aborted' });
    const late = client.watch({ path, signal: stop.signal })[Symbol.asyncIterator]();
    await expect(late.next()).rejects.toMatchObject({ code: 'aborted' });
    expect(api.requests.left).toEqual([]);
    await vi.waitFor(() => expect(api.connections).toBe(0));
  });

  it('hangs up when its consumer has seen enough', async () => {
    const { watch, first, wire } = await begin();
    wire.send({ n: 1 });
    await first;
    await watch.return?.();
    await wire.closed;
    await vi.waitFor(() => expect(api.connections).toBe(0));
  });

  it('does not hold up calls, however many there are', async () => {
    const stop = new AbortController();
    const watches = await Promise.all(Array.from({ length: 8 }, () => begin({ signal: stop.signal })));
    for (const { wire } of watches) wire.open();
    const call = client.request({ method: 'GET', path, signal: never });
    (await api.requests.take()).reply(200, { ok: true });
    expect(await call).toEqual({ ok: true });
    stop.abort();
  });
});

describe('credentials that are refused', () => {
  it('are read anew, and the call and the watch are made with them', async () => {
    const call = client.request({ method: 'GET', path, signal: never });
    await api.kubeconfig({ token: 'second' });
    (await api.requests.take()).reply(401, {});
    const again = await api.requests.take();
    expect(again.headers.authorization).toBe('Bearer second');
    again.reply(200, { ok: true });
    expect(await call).toEqual({ ok: true });

    const { first, wire } = await begin();
    await api.kubeconfig({ token: 'third' });
    wire.reply(401, {});
    const renewed = await api.requests.take();
    expect(renewed.headers.authorization).toBe('Bearer third');
    renewed.send({ n: 1 });
    expect((await first).value).toEqual({ n: 1 });
  });

  it('are not tried twice when there are no others, and others are tried once', async () => {
    const same = client.request({ method: 'GET', path, signal: never });
    (await api.requests.take()).reply(401, {});
    await expect(same).rejects.toMatchObject({ code: 'unauthenticated' });
    const other = client.request({ method: 'GET', path, signal: never });
    await api.kubeconfig({ token: 'second' });
    (await api.requests.take()).reply(401, {});
    const again = await api.requests.take();
    await api.kubeconfig({ token: 'third' });
    again.reply(401, {});
    await expect(other).rejects.toMatchObject({ code: 'unauthenticated' });
    expect(api.requests.left).toEqual([]);
  });
});
