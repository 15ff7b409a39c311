import { expect, it } from 'vitest';
import type { SnapshotStore } from '../snapshot/ports.ts';
import { createRetiringStore } from './retiring-store.ts';

const never = new AbortController().signal;

/** A store whose answers a test gives, and how often it was closed. */
function world() {
  const answers: ((found: undefined) => void)[] = [];
  let closed = 0;
  const inner = {
    kind: 's3',
    stat: () => new Promise<undefined>((resolve) => answers.push(resolve)),
    async open() {
      return (async function* () {
        yield Buffer.from('bytes');
      })();
    },
    [Symbol.dispose]: () => {
      closed += 1;
    },
  } as unknown as SnapshotStore & Disposable;
  return { ...createRetiringStore(inner), answers, closed: () => closed };
}

it('a store that nobody uses is closed when it is retired, and not before', async () => {
  const { store, retire, answers, closed } = world();
  const asked = store.stat('a', never);
  answers[0]?.(undefined);
  await asked;
  expect(closed()).toBe(0);
  retire();
  expect(closed()).toBe(1);
});

it('a store that is in use is closed with the end of the last use, also of one that began later', async () => {
  const { store, retire, answers, closed } = world();
  const first = store.stat('a', never);
  retire();
  const second = store.stat('b', never);
  answers[0]?.(undefined);
  await first;
  expect(closed()).toBe(0);
  answers[1]?.(undefined);
  await second;
  expect(closed()).toBe(1);
});

it('what is read from a store is in use until its end', async () => {
  const { store, retire, closed } = world();
  const bytes = await store.open('a', never);
  const reader = bytes[Symbol.asyncIterator]();
  await reader.next();
  retire();
  expect(closed()).toBe(0);
  await reader.next();
  expect(closed()).toBe(1);
});
