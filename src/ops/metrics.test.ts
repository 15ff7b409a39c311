import { expect, it } from 'vitest';
import { createMetrics } from './metrics.ts';

it('the number of snapshots on S3 is told by the leader only: one that leads no more does not go on telling its last', async () => {
  const metrics = createMetrics(undefined);
  metrics.leading(true);
  metrics.snapshots('local', 3);
  metrics.snapshots('s3', 7);
  expect(await metrics.text()).toContain('k3s_etcd_snapshot_snapshots{store="s3"} 7');
  metrics.leading(false);
  const text = await metrics.text();
  expect(text).not.toContain('snapshots{store="s3"}');
  expect(text).toContain('k3s_etcd_snapshot_snapshots{store="local"} 3');
});
