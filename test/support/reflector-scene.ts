import { expect, vi } from 'vitest';
import { type ConnectOptions, connect, type KubeClient } from '../../src/kube/client.ts';
import { type Reflector, type ReflectorOptions, startReflector } from '../../src/kube/reflector.ts';
import { type FakeTimers, fakeTimers } from './fake-clock.ts';
import { type Exchange, type ScriptedApi, startScriptedApi } from './scripted-api.ts';
import { list, page, type Thing } from './things.ts';

export const path = '/apis/k3s.cattle.io/v1/etcdsnapshotfiles';

export const until = (check: () => void) => vi.waitFor(check, { timeout: 10_000, interval: 5 });

/** A reflector under a fake clock, before a server that says what a test has it say. */
export class ReflectorScene implements AsyncDisposable {
  readonly api: ScriptedApi;
  readonly timers: FakeTimers = fakeTimers();
  readonly stop = new AbortController();
  /** `name:now<before` */
  readonly changes: string[] = [];
  /** `synced`, and the code of the error. */
  readonly states: string[] = [];
  readonly #clients: [KubeClient, ...KubeClient[]];
  #reflector: Reflector<string, 'color'> | undefined;

  constructor(api: ScriptedApi, client: KubeClient) {
    this.api = api;
    this.#clients = [client];
  }

  get reflector(): Reflector<string, 'color'> {
    if (this.#reflector === undefined) throw new Error('not started');
    return this.#reflector;
  }

  /** What the cache keeps of a thing is its color. */
  start(options: Partial<ReflectorOptions<Thing, string, 'color'>> = {}): void {
    this.#reflector = startReflector<Thing, string, 'color'>({
      client: this.#clients[0],
      path,
      transform: ({ color }) => color,
      indexes: { color: (color) => color },
      timers: this.timers,
      random: () => 0.5,
      onChange: (name, now, before) => this.changes.push(`${name}:${now}<${before}`),
      onState: ({ synced, error }) => {
        this.states.push([synced ? 'synced' : '', error?.code ?? ''].join(' ').trim());
      },
      signal: this.stop.signal,
      ...options,
    });
  }

  /** A client with other limits. */
  async connect(options: ConnectOptions): Promise<KubeClient> {
    const client = await connect(await this.api.kubeconfig(), options);
    this.#clients.push(client);
    return client;
  }

  next(): Promise<Exchange> {
    return this.api.requests.take();
  }

  /** Answers the listing, and returns the watch that follows it. */
  async beginWatch(version: string, ...items: Thing[]): Promise<Exchange> {
    (await this.next()).reply(200, list(version, ...items));
    const watch = await this.next();
    watch.open();
    return watch;
  }

  /** Answers the question where the collection is, and returns the watch that follows it. */
  async resumeWatch(latest: string): Promise<Exchange> {
    const question = await this.next();
    expect(question.query).toEqual({ limit: '1' });
    question.reply(200, page(latest));
    return this.next();
  }

  /** Until the reflector has nothing to do but to wait. */
  waits(): Promise<void> {
    return until(() => expect(this.timers.waiting).toBe(1));
  }

  /** Expects the next attempt after that time, in whole milliseconds, and not before. */
  async nextAfter(ms: number): Promise<Exchange> {
    await this.waits();
    await this.timers.advance(ms - 1);
    expect(this.timers.waiting).toBe(1);
    expect(this.api.requests.left).toEqual([]);
    await this.timers.advance(1);
    return this.next();
  }

  /** Ends it all, and sees that nothing is left and that there were never two watches. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.stop.abort();
    try {
      await this.#reflector?.stopped;
      expect(this.api.watchesAtOnce).toBeLessThanOrEqual(1);
      expect(this.timers.waiting).toBe(0);
      await until(() => expect(this.api.watching).toBe(0));
    } finally {
      for (const client of this.#clients) await client[Symbol.asyncDispose]();
      await this.api[Symbol.asyncDispose]();
    }
  }
}

export async function startReflectorScene(): Promise<ReflectorScene> {
  const api = await startScriptedApi();
  return new ReflectorScene(api, await connect(await api.kubeconfig()));
}
