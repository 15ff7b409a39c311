import { describe, expect, it } from 'vitest';
import { exampleSnapshot } from '../../test/support/example-snapshots.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';
import { createWaits, driven } from './new-uploads.ts';

const START = 1_730_308_810;
const APART = 600;
const at = (seconds: number, nodeName = 'n1') =>
  exampleSnapshot(`etcd-snapshot-${nodeName}-${START + seconds}`, { nodeName });
/** Recorded when it was begun. */
const recordedAt = ({ createdAt }: Snapshot) => createdAt.getTime();
const decide = (snapshots: readonly Snapshot[]) => snapshots.map((snapshot) => ({ snapshot, why: '' }));

/** Of each plan: how many wait, and who is stuck. @param ruled what was begun until then drives nothing out */
function see(
  ruled: number,
  plans: readonly (readonly [doomed: readonly Snapshot[], kept: readonly Snapshot[]])[],
) {
  const waits = createWaits(APART * 1_000);
  const since = new Date((START + ruled) * 1_000);
  const mayGoNow = driven({ after: { since, apartMs: APART * 1_000, waits } }, recordedAt);
  return plans.map(([doomed, kept]) => {
    const plan = { delete: decide(doomed), keep: decide(kept) };
    waits.seen(plan, mayGoNow(plan), recordedAt);
    return [waits.count(), waits.stuck(since)?.message];
  });
}

const stuck = 'Old snapshots of node n1 stay on S3';

describe('what is past retention and waits', () => {
  it('is told as stuck once its node has uploaded since, well after, and drove nothing out', () => {
    const waits = [[at(0)], [at(100)]] as const;
    const soon = [[at(0), at(100)], [at(100 + APART - 1)]] as const;
    const late = [[at(0), at(100)], [at(100 + APART)]] as const;
    expect(see(9_999, [waits, waits, soon, late, late, [[], [at(100 + APART)]]])).toEqual([
      [1, undefined],
      [1, undefined],
      [2, undefined],
      [2, stuck],
      [2, stuck],
      [0, undefined],
    ]);
  });

  it('is not stuck where something goes, nor because of what another node uploads', () => {
    const often = [0, 400, 800, 1_200, 1_600].map(
      (now) => [[at(now), at(now + 300)], [at(now + 700)]] as const,
    );
    expect(see(-1, often).map(([, who]) => who)).toEqual(often.map(() => undefined));
    const other = [[at(0)], [at(100), at(5_000, 'n2')]] as const;
    expect(see(9_999, [[[at(0)], [at(100)]], other])).toEqual([
      [1, undefined],
      [1, undefined],
    ]);
  });

  it('is seen anew after there was nothing', () => {
    const waits = [[at(0)], [at(5_000)]] as const;
    expect(see(9_999, [[[at(0)], [at(1)]], waits, [[], []], waits])).toEqual([
      [1, undefined],
      [1, stuck],
      [0, undefined],
      [1, undefined],
    ]);
  });
});
