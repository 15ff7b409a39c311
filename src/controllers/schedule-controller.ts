import { asError } from '../errors.ts';
import type { Attempt } from '../reconcilers/scheduled-snapshot.ts';
import { dueRun, type Schedule } from '../snapshot/schedule.ts';
import { pause, rest, type Timers } from '../timers.ts';

export interface ScheduleControllerOptions {
  readonly schedule: Schedule;
  /** When it last ran in an earlier process, as far as that is known: what fell due since then is run once. */
  readonly lastRun: Date | undefined;
  /** Runs are put off by a random time up to this, so that the nodes of a cluster do not all begin at once. */
  readonly jitterMs: number;
  readonly timers: Timers;
  /** From 0 to below 1. */
  readonly random: () => number;
  readonly attempt: Attempt;
  /** Whenever it becomes known, and undefined when there will be no more. */
  readonly onNext: (at: Date | undefined) => void;
  /** A run was due while the last one was still going. @param at now */
  readonly onSkipped: (at: Date) => void;
  /** What `attempt` threw although it should not have. */
  readonly onError: (error: Error) => void;
}

/** The clock of the machine is looked at this often: it may jump, or the machine may have slept. */
const LOOK_EVERY_MS = 30_000;

/**
 * Runs the schedule until `stop` fires; resolves when a run that was going then has ended too. A time that passed while
 * the machine slept or no operator ran, or over which its clock was put forward, is run once; one that comes again, because the clock was put
 * back, is run again only when it is due anew.
 * @param stop no new run begins @param abort a run that is going ends
 */
export async function runSchedule(
  options: ScheduleControllerOptions,
  stop: AbortSignal,
  abort: AbortSignal,
): Promise<void> {
  const { schedule, timers } = options;
  const startedAt = timers.now();
  let settled = options.lastRun;
  let told: Date | undefined;
  let run: Run | undefined;
  while (!stop.aborted) {
    const now = timers.now();
    const decision = dueRun(schedule, settled, startedAt, now);
    settled = decision.settled;
    if (decision.due) {
      if (run?.working === true) options.onSkipped(now);
      else {
        // One that only waits to try again makes way for the run that is due.
        run?.giveUp();
        await run?.done;
        run = begin(options, stop, abort);
      }
    }
    const { next } = decision;
    if (next === undefined || next.getTime() !== told?.getTime()) options.onNext(next);
    told = next;
    if (next === undefined) break;
    const wait = Math.min(LOOK_EVERY_MS, Math.max(1, next.getTime() - now.getTime()));
    await rest(timers, wait, stop);
  }
  await run?.done;
}

interface Run {
  readonly working: boolean;
  readonly done: Promise<void>;
  giveUp(): void;
}

/** Attempts until one needs no other, each after the time that the last one asked for. */
function begin(options: ScheduleControllerOptions, stop: AbortSignal, abort: AbortSignal): Run {
  const { jitterMs, timers, random, attempt, onError } = options;
  const over = new AbortController();
  const waiting = AbortSignal.any([stop, abort, over.signal]);
  let working = false;
  const attempts = async () => {
    let wait: number | undefined = random() * jitterMs;
    for (let at = 0; wait !== undefined; at += 1) {
      await pause(timers, wait, waiting);
      working = true;
      wait = await attempt(at, abort).finally(() => {
        working = false;
      });
    }
  };
  const done = attempts().catch((error: unknown) => {
    if (!waiting.aborted) onError(asError(error));
  });
  return {
    get working() {
      return working;
    },
    done,
    giveUp: () => over.abort(),
  };
}
