import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { createMetrics } from '../ops/metrics.ts';

const source = fileURLToPath(new URL('../', import.meta.url));
const page = readFileSync(new URL('../../docs/operations.md', import.meta.url), 'utf8');

/** The first words in code of the tables' rows below that heading. */
function rowsOf(heading: string): readonly string[] {
  const [, below = ''] = page.split(`## ${heading}\n`);
  const [section = ''] = below.split('\n## ');
  return [...section.matchAll(/^\| `([^`]+)`/gm)].map(([, name = '']) => name).toSorted();
}

/** What the pattern's first group finds in the source, tests left out. */
function inSource(pattern: RegExp): readonly string[] {
  const files = readdirSync(source, { recursive: true, encoding: 'utf8' });
  const texts = files
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))
    .map((file) => readFileSync(`${source}${file}`, 'utf8'));
  const found = texts.flatMap((text) => [...text.matchAll(pattern)].map(([, name = '']) => name));
  return [...new Set(found)].toSorted();
}

describe('docs/operations.md', () => {
  it('names every metric that is ours, and no other', async () => {
    const text = await createMetrics(undefined).text();
    const names = [...text.matchAll(/^# TYPE (k3s_\S+)/gm)].map(([, name = '']) => name).toSorted();
    expect(rowsOf('Metrics')).toEqual(names);
  });

  it('names every reason of an Event, and no other', () => {
    const kinds = /^ETCDSnapshotFile(List)?$/;
    const reasons = inSource(/'(ETCDSnapshots?[A-Z]\w+)'/g).filter((name) => !kinds.test(name));
    expect(rowsOf('Events')).toEqual(reasons);
  });

  it('names every part that reports of itself', () => {
    const looks = ['local', 's3', 'etcd', 'departed', 'leftovers'];
    const parts = inSource(/\b(?:report|readiness\.set)\(\s*'([\w-]+)'/g);
    expect(rowsOf('Parts')).toEqual([...new Set([...looks, ...parts])].toSorted());
  });
});
