import { expect, it } from 'vitest';
import type { Recall } from '../../src/snapshot/ports.ts';
import { createS3Store } from '../../src/stores/s3-store.ts';
import { manyObjects } from '../support/many-objects.ts';
import { startS3Front } from '../support/s3-front.ts';
import { s3Servers, startS3 } from '../support/s3-server.ts';

const BUCKET = 'snapshots';
const COUNT = 10_000;
const never = new AbortController().signal;
const options = { program: 'k3s', nodeName: 'node-1', firstRetryMs: 1 } as const;

it.each(s3Servers)(
  'ten thousand objects on $kind, tls $tls, are listed in ten requests; metadata beside them make it eleven pages',
  async ({ kind, tls }) => {
    await using s3 = await startS3({ kind, tls });
    await s3.createBucket(BUCKET);
    const names = Array.from({ length: COUNT }, (_, number) => `on-demand-node-1-${1_730_300_000 + number}`);
    const keys = names.map((name) => `many/${name}`);
    await manyObjects(s3, BUCKET, keys);
    await using front = await startS3Front(s3);
    const settings = front.settings(BUCKET, 'many');
    const store = createS3Store(settings, options);
    const known: Recall = ({ name, size }) => ({
      name,
      size,
      nodeName: 'node-1',
      createdAt: new Date(0),
      compressed: false,
      location: { store: 'local', path: name },
    });
    const list = async () => (await store.list(never, known)).map(({ name }) => name).toSorted();

    expect(await list()).toEqual(names);
    expect(front.requests).toHaveLength(10);

    await manyObjects(s3, BUCKET, [`many/.metadata/${names[0]}`, `many/deeper/${names[0]}`]);
    let refused = 0;
    front.setRule(({ path }) => {
      if (!path.includes('continuation-token') || refused === 3) return undefined;
      refused += 1;
      return { status: 503 };
    });
    const before = front.requests.length;
    expect(await list()).toEqual(names);
    const pages = front.requests.slice(before).filter(({ path }) => path.includes('list-type'));
    // The folders below count as entries; one page more tells of the metadata.
    expect(pages).toHaveLength(11 + 1 + refused);
  },
);
