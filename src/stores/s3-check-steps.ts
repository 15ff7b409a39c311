import { abortError, asError, isSnapshotError, type SnapshotError } from '../errors.ts';
import type { CheckCause, CheckedStep, CheckStep, Finding } from '../snapshot/store-check.ts';
import { isS3Error } from './s3-failure.ts';

/** What a step of a check saw; with a cause it is a warning. */
export type Seen = Finding & { readonly cause?: CheckCause };

/** The result of a failed step that knows better what is wrong than its error tells. */
export class CheckFailure extends Error {
  readonly finding: Finding & { readonly cause: CheckCause };

  constructor(finding: Finding & { readonly cause: CheckCause }, cause?: unknown) {
    super(finding.says, { cause });
    this.finding = finding;
  }
}

/** The steps of one check, in the order in which they were done. */
export class CheckSteps {
  readonly #done: CheckedStep[] = [];
  readonly #onStep: (step: CheckedStep) => void;
  readonly #signal: AbortSignal;

  constructor(onStep: (step: CheckedStep) => void, signal: AbortSignal) {
    this.#onStep = onStep;
    this.#signal = signal;
  }

  get done(): readonly CheckedStep[] {
    return this.#done;
  }

  /** Does a step. That it fails is a result; only an interruption is thrown. @returns what it saw, when it did not fail */
  async try<T extends Seen>(step: CheckStep, work: () => Promise<T>): Promise<T | undefined> {
    if (this.#signal.aborted) throw abortError(this.#signal);
    try {
      const seen = await work();
      const { says, cure, seconds, chain, cause } = seen;
      const outcome = cause === undefined ? 'pass' : 'warn';
      this.#add(bare({ step, outcome, says, cause, cure, seconds, chain }));
      return seen;
    } catch (thrown) {
      if (this.#signal.aborted) throw abortError(this.#signal);
      this.#add({ step, outcome: 'fail', ...findingOf(step, thrown) });
      return undefined;
    }
  }

  /** @param says why it is not tried */
  passOver(step: CheckStep, says: string): void {
    this.#add({ step, outcome: 'skip', says });
  }

  #add(step: CheckedStep): void {
    this.#done.push(step);
    this.#onStep(step);
  }
}

/** What an error means for the reader of a check. Its first line, which says what could not be done, goes without saying. */
function findingOf(step: CheckStep, thrown: unknown): Omit<CheckedStep, 'step' | 'outcome'> {
  const error = asError(thrown);
  const original = error instanceof CheckFailure ? error.cause : error;
  const code = isSnapshotError(original) ? original.code : undefined;
  if (error instanceof CheckFailure) return bare({ ...error.finding, code });
  if (!isSnapshotError(error)) return { says: error.message, cause: 'server' };
  const { why = error.message, hint: cure } = error;
  return bare({ says: why, cause: causeOf(step, error), cure, code });
}

const OF_NAME: Readonly<Record<string, CheckCause>> = {
  SignatureDoesNotMatch: 'signature',
  PermanentRedirect: 'region',
  AuthorizationHeaderMalformed: 'region',
  IllegalLocationConstraintException: 'region',
  SecondLevelDomainForbidden: 'path-style',
  NoSuchBucket: 'bucket',
  InvalidBucketName: 'bucket',
  InvalidStorageClass: 'object-settings',
  InvalidTag: 'object-settings',
  AccessControlListNotSupported: 'object-settings',
};

function causeOf(step: CheckStep, error: SnapshotError): CheckCause {
  if (step === 'dns' || step === 'tcp' || step === 'proxy' || step === 'tls') return step;
  for (const [name, cause] of Object.entries(OF_NAME)) if (isS3Error(error, name)) return cause;
  switch (error.code) {
    case 'forbidden':
      return 'missing-right';
    case 'unauthenticated':
      return 'keys';
    case 'clock-skew':
      return 'clock';
    case 'timeout':
    case 'tls':
      return error.code;
    default:
      return 'server';
  }
}

/** Without what is undefined. */
function bare<T extends object>(fields: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const kept = Object.entries(fields).filter(([, value]) => value !== undefined);
  return Object.fromEntries(kept) as { [K in keyof T]: Exclude<T[K], undefined> };
}
