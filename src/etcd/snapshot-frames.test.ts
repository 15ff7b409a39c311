import { describe, expect, it } from 'vitest';
import { snapshotMessage as message } from '../../test/support/snapshot-message.ts';
import { SnapshotFrames } from './snapshot-frames.ts';

function read(wire: Buffer, size: number): { bytes: Buffer; frames: SnapshotFrames } {
  const frames = new SnapshotFrames();
  const slices: Uint8Array[] = [];
  for (let at = 0; at < wire.length; at += size)
    frames.push(wire.subarray(at, at + size), (s) => slices.push(s));
  return { bytes: Buffer.concat(slices), frames };
}

const blob = (bytes: number, fill: string) => Buffer.alloc(bytes, fill);
const stream36 = Buffer.concat([
  message({
    header: Buffer.from([8, 1, 16, 2]),
    remaining: 5_000_000_000,
    blob: blob(40_000, 'a'),
    version: '3.6.0',
  }),
  message({ remaining: 300, blob: blob(300, 'b'), version: '3.6.0' }),
  message({ blob: blob(32, 'h'), version: '3.6.0' }),
]);
const expected = Buffer.concat([blob(40_000, 'a'), blob(300, 'b'), blob(32, 'h')]);

describe('SnapshotFrames', () => {
  it.each([1, 2, 5, 6, 7, 13, 1000, 16_384, 1_000_000])(
    'reads messages that arrive in pieces of %i bytes',
    (size) => {
      const { bytes, frames } = read(stream36, size);
      expect(bytes.equals(expected)).toBe(true);
      expect(frames.atBoundary).toBe(true);
    },
  );

  it('knows the whole size after the first message, beyond 32 bits', () => {
    const frames = new SnapshotFrames();
    frames.push(stream36.subarray(0, 100), () => undefined);
    expect(frames.announced).toBeUndefined();
    frames.push(stream36.subarray(100), () => undefined);
    expect(frames.announced).toBe(40_000 + 5_000_000_000 + 32);
  });

  it('reads etcd 3.5, whose messages carry no version, and empty messages and blobs', () => {
    const wire = Buffer.concat([
      message({ blob: blob(512, 'x') }),
      message({}),
      message({ blob: blob(0, 'x') }),
    ]);
    const { bytes, frames } = read(wire, 3);
    expect(bytes.length).toBe(512);
    expect(frames.announced).toBe(544);
  });

  it('tells a stream that was cut inside a message', () => {
    for (const cut of [1, 4, 6, 20, stream36.length - 1]) {
      expect(read(stream36.subarray(0, cut), 1000).frames.atBoundary).toBe(false);
    }
  });

  it.each([
    ['a compressed message', Buffer.from([1, 0, 0, 0, 1, 0])],
    ['a message of 4 GiB', Buffer.from([0, 255, 255, 255, 255])],
    ['a field longer than its message', Buffer.from([0, 0, 0, 0, 2, 0x1a, 50])],
    ['a number that does not end', Buffer.from([0, 0, 0, 0, 2, 0x90, 0x90])],
    ['a wire type that etcd does not use', Buffer.from([0, 0, 0, 0, 2, 0x1d, 0])],
    ['an HTTP answer', Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')],
  ])('refuses %s', (_what, wire) => {
    expect(() => read(wire, 100)).toThrowError(expect.objectContaining({ code: 'protocol' }));
  });
});
