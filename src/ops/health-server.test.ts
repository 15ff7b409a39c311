import { describe, expect, it } from 'vitest';
import { startHealthServer } from './health-server.ts';
import { createMetrics } from './metrics.ts';
import { createReadiness, type PartState } from './readiness.ts';

async function start() {
  const changes: [string, PartState][] = [];
  const readiness = createReadiness(['kubernetes'], (part, state) => changes.push([part, state]));
  const metrics = createMetrics('prod');
  const server = await startHealthServer({ host: '127.0.0.1', port: 0, readiness, metrics });
  const get = async (path: string, method = 'GET') => {
    const answer = await fetch(`http://127.0.0.1:${server.address.port}${path}`, { method });
    return { status: answer.status, text: await answer.text() };
  };
  return {
    readiness,
    metrics,
    changes,
    get,
    server,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

describe('the health server', () => {
  it('is alive at once, and ready when every part that is needed says so', async () => {
    await using it = await start();
    expect(await it.get('/healthz')).toEqual({ status: 200, text: 'ok\n' });
    expect((await it.get('/readyz')).status).toBe(503);
    it.readiness.set('kubernetes', { ready: true });
    it.readiness.set('s3', { ready: false, reason: 'no Secret' }, { optional: true });
    const { status, text } = await it.get('/readyz?verbose');
    expect(status).toBe(200);
    expect(JSON.parse(text)).toEqual({
      ready: true,
      parts: {
        kubernetes: { ready: true, optional: false },
        s3: { ready: false, reason: 'no Secret', optional: true },
      },
    });
    it.readiness.set('kubernetes', { ready: false, reason: 'away' });
    expect((await it.get('/readyz')).status).toBe(503);
  });

  it('tells each change of a part once', async () => {
    await using it = await start();
    for (const reason of ['away', 'away', 'forbidden'])
      it.readiness.set('kubernetes', { ready: false, reason });
    it.readiness.set('kubernetes', { ready: true });
    it.readiness.set('kubernetes', { ready: true });
    expect(it.changes.map(([, state]) => state.reason ?? 'ready')).toEqual(['away', 'forbidden', 'ready']);
  });

  it("serves metrics under k3s's names, and the cluster as a label", async () => {
    await using it = await start();
    it.metrics.observe('save', 0.02, true);
    it.metrics.observe('reconcile_s3', 3, false);
    it.metrics.succeeded('etcd-snapshot', 's3', new Date('2026-01-01T00:00:00Z'));
    it.metrics.nextRun('etcd-snapshot', ['local', 's3'], new Date('2026-01-01T12:00:00Z'));
    const { text } = await it.get('/metrics');
    for (const line of [
      'k3s_etcd_snapshot_save_duration_seconds_bucket{le="0.016",cluster="prod",status="success"} 0',
      'k3s_etcd_snapshot_save_duration_seconds_bucket{le="0.032",cluster="prod",status="success"} 1',
      'k3s_etcd_snapshot_save_duration_seconds_bucket{le="131.072",cluster="prod",status="success"} 1',
      'k3s_etcd_snapshot_reconcile_s3_duration_seconds_count{cluster="prod",status="error"} 1',
      'k3s_etcd_snapshot_last_success_timestamp_seconds{schedule="etcd-snapshot",store="s3",cluster="prod"} 1767225600',
      'k3s_etcd_snapshot_next_run_timestamp_seconds{schedule="etcd-snapshot",store="local",cluster="prod"} 1767268800',
    ]) {
      expect(text).toContain(`${line}\n`);
    }
  });

  it('serves what is asked of every process: start, processor time, memory', async () => {
    await using it = await start();
    const { text } = await it.get('/metrics');
    const value = (name: string) =>
      Number(new RegExp(`^${name}\\{cluster="prod"\\} (\\S+)$`, 'm').exec(text)?.[1]);
    expect(value('process_resident_memory_bytes')).toBeGreaterThan(value('nodejs_heap_size_used_bytes'));
    expect(value('nodejs_heap_size_used_bytes')).toBeGreaterThan(1e6);
    expect(value('process_start_time_seconds')).toBeLessThan(Date.now() / 1000);
    const before = value('process_cpu_seconds_total');
    expect(before).toBeGreaterThan(0);
    const { text: again } = await it.get('/metrics');
    const after = Number(/^process_cpu_seconds_total\{.*\} (\S+)$/m.exec(again)?.[1]);
    expect(after).toBeGreaterThanOrEqual(before);
    // Counted once, however often it is asked for.
    expect(after).toBeLessThan(before * 2);
  });

  it('knows no other path and no other method', async () => {
    await using it = await start();
    expect((await it.get('/')).status).toBe(404);
    expect((await it.get('/constructor')).status).toBe(404);
    expect((await it.get('/healthz', 'POST')).status).toBe(405);
  });

  it('says which flag is wrong when its port is taken', async () => {
    await using it = await start();
    const { port } = it.server.address;
    const second = startHealthServer({
      host: '127.0.0.1',
      port,
      readiness: it.readiness,
      metrics: it.metrics,
    });
    await expect(second).rejects.toMatchObject({ code: 'usage', why: 'another process has that port' });
  });
});
