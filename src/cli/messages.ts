import { styleText } from 'node:util';
import type { Config } from '../config/types.ts';
import { isSnapshotError } from '../errors.ts';
import { createJsonLogger, createLogger, type Logger, type Paint } from '../logger.ts';
import { describeError, printable } from './error-text.ts';
import { createJsonProgress, createProgress, type Progress } from './progress.ts';
import type { Terminal } from './root.ts';

/** What a command tells people, or with `--progress=json` programs, on stderr. */
export interface Messages {
  readonly logger: Logger;
  readonly progress: Progress;
  readonly warn: (warnings: readonly Error[]) => void;
  readonly fail: (failures: readonly Error[]) => void;
}

/** Those of k3s. */
const COLOURS = { DEBU: 'gray', INFO: 'cyan', WARN: 'yellow', ERRO: 'red' } as const;

type Wishes = Pick<Config, 'debug' | 'quiet' | 'progress' | 'skippedKeys'>;

/** Begins with what is to be known of the settings. */
export function openMessages(config: Wishes, terminal: Terminal): Messages {
  const messages = config.progress === 'json' ? forPrograms(config, terminal) : forPeople(config, terminal);
  if (config.skippedKeys !== undefined) messages.logger.info({}, printable(config.skippedKeys));
  return messages;
}

/** Every line is a JSON object. */
export function forPrograms({ debug, quiet }: Wishes, { stderr }: Terminal): Messages {
  const write = (line: string) => stderr.write(line);
  const logger = createJsonLogger(write, { debug, quiet });
  return {
    logger,
    progress: quiet ? silent : createJsonProgress(write, Date.now),
    warn(errors) {
      for (const error of errors) logger.warn(factsOf(error), printable(error.message));
    },
    fail(errors) {
      for (const error of errors) logger.error(factsOf(error), printable(error.message));
    },
  };
}

function forPeople({ debug, quiet, progress }: Wishes, terminal: Terminal): Messages {
  const { stderr, env } = terminal;
  const logger = createLogger((line) => stderr.write(line), {
    debug,
    quiet,
    began: Date.now(),
    now: Date.now,
    ...(takesColour(terminal) ? { paint } : {}),
  });
  const bar = progress === 'auto' && !quiet && env['TERM'] !== 'dumb';
  return {
    logger,
    progress: bar ? createProgress(stderr, Date.now) : silent,
    warn(errors) {
      for (const error of errors) logger.warn({}, describeError(error, debug));
    },
    fail(errors) {
      for (const error of errors) logger.error({}, describeError(error, debug));
    },
  };
}

const paint: Paint = (level, text) => styleText(COLOURS[level], text, { validateStream: false });

const silent: Progress = { show: () => {}, clear: () => {} };

/** As https://no-color.org says, every value but an empty one counts. */
function takesColour({ stderr, env }: Terminal): boolean {
  return stderr.isTTY === true && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb';
}

/** What, why and cure as fields. */
function factsOf(error: Error): Record<string, unknown> {
  if (!isSnapshotError(error)) return {};
  const { code, why, hint } = error;
  return {
    code,
    ...(why === undefined ? {} : { why: printable(why) }),
    ...(hint === undefined ? {} : { hint: printable(hint) }),
  };
}
