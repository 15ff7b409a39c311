import { describe, expect, it } from 'vitest';
import { parseBoolean, parseDuration } from './duration.ts';

describe('parseDuration', () => {
  it.each([
    ['5m0s', 300_000],
    ['5m', 300_000],
    ['1.5h', 5_400_000],
    ['2h45m30.5s', 9_930_500],
    ['300ms', 300],
    ['0', 0],
  ])('reads %s', (text, milliseconds) => {
    expect(parseDuration(text)).toBe(milliseconds);
  });

  it.each(['', '5', '1d', '5m0', '-5m', 'five', '5 m', 'm'])('refuses %j', (text) => {
    expect(parseDuration(text)).toBeUndefined();
  });
});

describe('parseBoolean', () => {
  it('reads what Go reads, and nothing else', () => {
    expect(['1', 't', 'T', 'TRUE', 'true', 'True'].map(parseBoolean)).toEqual(
      Array.from({ length: 6 }, () => true),
    );
    expect(['0', 'f', 'F', 'FALSE', 'false', 'False'].map(parseBoolean)).toEqual(
      Array.from({ length: 6 }, () => false),
    );
    expect(['yes', 'on', '', 'tRUE'].map(parseBoolean)).toEqual(Array.from({ length: 4 }, () => undefined));
  });
});
