import { describe, expect, it } from 'vitest';
import { SnapshotError } from '../errors.ts';
import { describeError, printable } from './error-text.ts';

const cause = new Error('connect ECONNREFUSED');
const error = new SnapshotError('unavailable', 'No answer from etcd', { hint: 'Start it.', cause });

describe('describeError', () => {
  it('tells what, why and what to do, a line each', () => {
    expect(describeError(error, false)).toBe(
      'No answer from etcd\n  why: connect ECONNREFUSED\n  do:  Start it.',
    );
  });

  it('adds code and causes for --debug, and survives a circle of them', () => {
    const circle = new Error('outer');
    circle.cause = circle;
    expect(describeError(circle, true)).toContain('outer');
    expect(describeError(error, true)).toMatch(/code: unavailable[\s\S]*SnapshotError[\s\S]*Error: connect/);
  });
});

describe('printable', () => {
  it('keeps letters of any language, lines and tabs', () => {
    expect(printable('größe 大\n\tx')).toBe('größe 大\n\tx');
  });

  it.each([
    ['escape sequences', '\u001b[2Jx', '?[2Jx'],
    ['one-byte escapes', '\u009b2Jx', '?2Jx'],
    ['carriage returns', 'a\rb', 'a?b'],
    ['turned writing', 'a\u202eb', 'a?b'],
  ])('disarms %s', (_what, text, shown) => {
    expect(printable(text)).toBe(shown);
  });
});
