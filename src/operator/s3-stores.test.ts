import { expect, it, vi } from 'vitest';
import { GrowingBytes, MIB, someBytes } from '../../test/support/growing-bytes.ts';
import { scratchDir } from '../../test/support/scratch.ts';
import { startScriptedS3 } from '../../test/support/scripted-s3.ts';
import { bytesOf, snapshotBytes, uploadOf } from '../../test/support/store-contract.ts';
import type { S3Settings } from '../config/types.ts';
import { createLiveS3 } from '../controllers/live-s3.ts';
import type { S3Ready } from '../reconcilers/ports.ts';
import { createS3Opener } from './s3-stores.ts';

const never = new AbortController().signal;
const patient = { timeout: 15_000 };

/** S3 settings in a Secret, and a way to change its key. */
async function liveSettings(settings: S3Settings, snapshotDir: string) {
  const s3 = { kind: 'secret', name: 's3-config' } as const;
  const open = await createS3Opener(
    { s3, nodeName: 'node-1', snapshotDir },
    { program: 'k3s', assertLeading: () => {} },
  );
  const live = createLiveS3({
    source: s3,
    retention: undefined,
    defaultRetention: 5,
    open: ({ keys }) => open({ ...settings, keys }),
    onChange: () => {},
    now: () => new Date(0),
    onNotes: () => {},
  });
  return (key: string): S3Ready => {
    const values = { 'etcd-s3-access-key': 'AKIA', 'etcd-s3-secret-key': key, 'etcd-s3-bucket': 'bucket' };
    const data = Object.entries(values).map(([name, value]) => [name, btoa(value)]);
    live.secret({ name: 's3-config', data: Object.fromEntries(data) });
    const view = live.view();
    if (view.state !== 'ready') throw new Error(`S3 is ${view.state}`);
    return view;
  };
}

it('a hundred changes of the key leave the connections of one, and an upload that was under way comes to its end', async () => {
  await using scratch = await scratchDir('s3-stores-');
  await using s3 = await startScriptedS3();
  const rotate = await liveSettings(s3.settings, scratch.path);
  const slow = new GrowingBytes(someBytes(17 * MIB));
  slow.grow(16 * MIB);
  const upload = rotate('key-0').store.put(uploadOf('slow-node-1-1730308816', slow), never);
  await vi.waitFor(() => expect(s3.diary).toContain('part 1'), patient);
  for (let rotation = 1; rotation <= 100; rotation += 1) {
    const name = `quick-node-1-${1_730_308_816 + rotation}`;
    const view = rotate(`key-${rotation}`);
    await view.store.put(uploadOf(name, bytesOf(snapshotBytes(1))), never);
    await view.shared.remove(name, never);
  }
  const ofOne = 2;
  await vi.waitFor(async () => expect(await s3.connections()).toBeLessThanOrEqual(ofOne + 2), patient);
  slow.grow(MIB);
  slow.prove();
  expect((await upload).snapshot.size).toBe(17 * MIB);
  await vi.waitFor(async () => expect(await s3.connections()).toBeLessThanOrEqual(ofOne), patient);
});
