import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundle } from '../../scripts/bundle.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** What tests start as processes of their own, by the name of the file. */
const sources = {
  main: 'src/main.ts',
  'operator-main': 'test/support/operator-main.ts',
  'restore-main': 'test/support/restore-main.ts',
  'lock-contender': 'test/support/lock-contender.ts',
  'lease-candidate': 'test/support/lease-candidate.ts',
} as const;

/** Set for the workers of a run whose programs are bundled. */
const BUNDLED = 'ETCD_SNAPSHOT_TEST_PROGRAMS';

/**
 * Bundles all of them, once per run: from the source each start takes half a second to two of CPU time, and a run of all
 * tests starts many hundreds. The bundles go when the result is disposed of.
 */
export async function bundlePrograms(): Promise<AsyncDisposable> {
  // Right below the repository, like dist/: the command line reads its version from the package.json above it.
  const folder = await mkdtemp(join(root, '.test-programs-'));
  await bundle(Object.values(sources), folder);
  process.env[BUNDLED] = folder;
  return { [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }) };
}

/** Path of a program for Node: the bundle of this run, or the source outside of one (`bench/`, the demo). */
export function programPath(name: keyof typeof sources): string {
  const bundled = process.env[BUNDLED];
  return bundled === undefined ? join(root, sources[name]) : join(bundled, `${name}.js`);
}
