import { describe, expect, it } from 'vitest';
import { pathsOf } from './distribution.ts';
import { options } from './options.ts';

describe('pathsOf', () => {
  it.each(['k3s', 'rke2', 'kubeadm'] as const)(
    'puts the snapshots of %s where the reference says',
    (system) => {
      const said = options.find((option) => option.key === 'dir')?.default;
      const { dataDir, snapshotDir = 'none' } = pathsOf(system, undefined);
      expect(said).toContain(system === 'kubeadm' ? snapshotDir : snapshotDir.replace(dataDir, '<data-dir>'));
    },
  );
});
