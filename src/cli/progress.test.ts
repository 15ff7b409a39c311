import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { createJsonProgress, createProgress } from './progress.ts';

interface FakeTerminal {
  readonly out: PassThrough & { isTTY: boolean; columns?: number };
  readonly text: () => string;
}

function terminal(isTTY: boolean, columns?: number): FakeTerminal {
  const out = Object.assign(new PassThrough(), { isTTY, ...(columns === undefined ? {} : { columns }) });
  return { out, text: () => String(out.read() ?? '') };
}

describe('createProgress', () => {
  it('draws a line each for disk and S3 with bytes, rate and time left, and clears them', () => {
    let now = 0;
    const { out, text } = terminal(true);
    const progress = createProgress(out, () => now);
    progress.show({ store: 'local', bytes: 0, total: 100e6 });
    now = 1000;
    progress.show({ store: 'local', bytes: 50e6, total: 100e6 });
    progress.show({ store: 's3', bytes: 0, total: 100e6 });
    const drawn = text();
    expect(drawn).toContain('disk 50.0 MB of 100.0 MB (50 %), 50.0 MB/s, 1 s left');
    expect(drawn).toContain('S3   0.0 MB of 100.0 MB (0 %)');
    progress.clear();
    expect(text()).toBe('\u001b[2A\u001b[J');
  });

  it('redraws in place, and not more often than eyes can follow', () => {
    let now = 0;
    const { out, text } = terminal(true);
    const progress = createProgress(out, () => now);
    progress.show({ store: 'local', bytes: 0, total: 10 });
    text();
    now = 50;
    progress.show({ store: 'local', bytes: 1, total: 10 });
    expect(text()).toBe('');
    now = 150;
    progress.show({ store: 'local', bytes: 2, total: 10 });
    expect(text().startsWith('\u001b[1A\u001b[Jdisk')).toBe(true);
  });

  it('never draws a line that wraps, which could not be cleared', () => {
    const { out, text } = terminal(true, 20);
    createProgress(out, () => 0).show({ store: 'local', bytes: 50e6, total: 100e6 });
    expect(text().trimEnd().length).toBeLessThan(20);
  });

  it('takes a terminal that says it has no width for one that does not know', () => {
    const { out, text } = terminal(true, 0);
    createProgress(out, () => 0).show({ store: 'local', bytes: 50e6, total: 100e6 });
    expect(text()).toContain('50.0 MB of 100.0 MB');
  });

  it('does not guess the end of what is compressed on the way', () => {
    let now = 0;
    const { out, text } = terminal(true);
    const progress = createProgress(out, () => now);
    progress.show({ store: 's3', bytes: 0, total: undefined });
    now = 1000;
    progress.show({ store: 's3', bytes: 50e6, total: undefined });
    expect(text().split('\n').at(-2)).toMatch(/S3 {3}50\.0 MB, 50\.0 MB\/s$/);
  });

  it('says nothing in a pipe', () => {
    const { out, text } = terminal(false);
    const progress = createProgress(out, () => 0);
    progress.show({ store: 'local', bytes: 1, total: 2 });
    progress.clear();
    expect(text()).toBe('');
  });
});

describe('createJsonProgress', () => {
  it('tells the beginning and the end of each copy, and not more often than twice a second between', () => {
    let now = 0;
    const told: unknown[] = [];
    const progress = createJsonProgress(
      (line) => told.push(JSON.parse(line).progress.bytes),
      () => now,
    );
    for (const bytes of [0, 10, 20, 30, 40]) {
      progress.show({ store: 'local', bytes, total: 40 });
      now += 200;
    }
    expect(told).toEqual([0, 30, 40]);
  });

  it('tells the end of a copy whose size nobody knew, once', () => {
    const told: unknown[] = [];
    const progress = createJsonProgress(
      (line) => told.push(JSON.parse(line).progress),
      () => 0,
    );
    for (const bytes of [0, 10, 20]) progress.show({ store: 's3', bytes, total: undefined });
    progress.clear();
    progress.clear();
    expect(told).toEqual([
      { store: 's3', bytes: 0 },
      { store: 's3', bytes: 20 },
    ]);
  });
});
