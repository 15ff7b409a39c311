import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import type { Snapshot } from '../snapshot/snapshot.ts';
import { formatSnapshots } from './output.ts';

const name = 'on-demand-k3s-server-1-1730308816';
const local: Snapshot = {
  name,
  nodeName: 'k3s-server-1',
  createdAt: new Date('2024-10-30T17:20:16Z'),
  size: 2_891_808,
  compressed: false,
  location: { store: 'local', path: `/snapshots/${name}` },
};

describe('formatSnapshots', () => {
  it('prints the table of k3s: header, bytes, time', () => {
    const [header, row] = formatSnapshots([local], 'table', 'k3s').split('\n');
    expect(header?.split(/ +/)).toEqual(['Name', 'Location', 'Size', 'Created']);
    expect(row?.split(/ +/).slice(0, 3)).toEqual([name, `file:///snapshots/${name}`, '2891808']);
    expect(new Date(row?.split(/ +/)[3] ?? '')).toEqual(local.createdAt);
  });

  it('prints only the header when there is nothing', () => {
    expect(formatSnapshots([], 'table', 'k3s')).toBe('Name Location Size Created\n');
  });

  it.each([
    ['json', (text: string): unknown => JSON.parse(text)],
    ['yaml', (text: string): unknown => parse(text)],
  ] as const)('prints one List as %s', (format, read) => {
    const list: unknown = read(formatSnapshots([local], format, 'k3s'));
    expect(list).toMatchObject({
      apiVersion: 'v1',
      kind: 'List',
      items: [
        {
          kind: 'ETCDSnapshotFile',
          metadata: { name: `local-${name}` },
          spec: { snapshotName: name },
          status: { size: '2891808', readyToUse: true },
        },
      ],
    });
  });

  it('disarms names that would steer the terminal', () => {
    const text = formatSnapshots([{ ...local, name: 'x\u001b[2J' }], 'table', 'k3s');
    expect(text).not.toContain('\u001b');
    expect(text).toContain('x?[2J');
  });

  it('indents JSON by four', () => {
    expect(formatSnapshots([], 'json', 'k3s')).toContain('\n    "kind": "List"');
  });
});
