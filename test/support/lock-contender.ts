import { createInterface } from 'node:readline';
import { isSnapshotError } from '../../src/errors.ts';
import { lockFolder } from '../../src/stores/folder-lock.ts';

/** A process for tests of the folder lock: takes `lock` and `release` as lines, answers each with one line of JSON. */
const [dir = ''] = process.argv.slice(2);
const say = (answer: object) => process.stdout.write(`${JSON.stringify(answer)}\n`);
let held: AsyncDisposable | undefined;

say({ state: 'ready', pid: process.pid });
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'release') {
    await held?.[Symbol.asyncDispose]();
    say({ state: 'released' });
    continue;
  }
  try {
    held = await lockFolder(dir, new AbortController().signal);
    say({ state: 'held' });
  } catch (error) {
    if (!isSnapshotError(error)) throw error;
    say({ state: error.code, why: error.why });
  }
}
