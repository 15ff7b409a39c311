import { pino } from 'pino';

/** A constant message and facts as fields. */
export interface Logger {
  debug(facts: Record<string, unknown>, message: string): void;
  info(facts: Record<string, unknown>, message: string): void;
  warn(facts: Record<string, unknown>, message: string): void;
  error(facts: Record<string, unknown>, message: string): void;
}

type Level = 'DEBU' | 'INFO' | 'WARN' | 'ERRO';

/** Colours the word of a level for a terminal. */
export type Paint = (level: Level, text: string) => string;

const SECRETS = [
  'accessKey',
  'secretKey',
  'token',
  'password',
  '*.accessKey',
  '*.secretKey',
  '*.token',
  '*.password',
];

/** Log lines in the form k3s users know: `INFO[0002] Snapshot saved. name=…`, seconds counted from `began`. */
export function createLogger(
  write: (line: string) => void,
  options: { debug: boolean; began: number; now: () => number; quiet?: boolean; paint?: Paint },
): Logger {
  const { debug, quiet = false, paint = (_level, text) => text } = options;
  return pino(
    { level: levelOf(debug, quiet), base: null, timestamp: false, redact: SECRETS },
    {
      write(line: string) {
        write(`${format(line, Math.floor((options.now() - options.began) / 1000), paint)}\n`);
      },
    },
  );
}

/** Log lines for programs: a JSON object each, with `level` as a word and `time` in RFC 3339. */
export function createJsonLogger(
  write: (line: string) => void,
  options: { debug: boolean; quiet?: boolean },
): Logger {
  return pino(
    {
      level: levelOf(options.debug, options.quiet ?? false),
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (level) => ({ level }) },
      redact: SECRETS,
    },
    { write },
  );
}

const LEVELS: Readonly<Record<number, Level>> = { 20: 'DEBU', 30: 'INFO', 40: 'WARN', 50: 'ERRO' };

function levelOf(debug: boolean, quiet: boolean): string {
  if (debug) return 'debug';
  return quiet ? 'warn' : 'info';
}

function format(line: string, seconds: number, paint: Paint): string {
  const { level, msg, ...facts } = JSON.parse(line) as Record<string, unknown>;
  const fields = Object.entries(facts).map(([key, value]) => {
    const text = typeof value === 'string' ? value : JSON.stringify(value);
    return ` ${key}=${/[\s"=]/.test(text) ? JSON.stringify(text) : text}`;
  });
  const word = LEVELS[Number(level)] ?? 'INFO';
  return `${paint(word, word)}[${String(seconds).padStart(4, '0')}] ${String(msg)}${fields.join('')}`;
}
