import { pino } from 'pino';

/** A constant message and facts as fields. */
export interface Logger {
  debug(facts: Record<string, unknown>, message: string): void;
  info(facts: Record<string, unknown>, message: string): void;
  warn(facts: Record<string, unknown>, message: string): void;
  error(facts: Record<string, unknown>, message: string): void;
}

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
  options: { debug: boolean; began: number; now: () => number },
): Logger {
  return pino(
    { level: options.debug ? 'debug' : 'info', base: null, timestamp: false, redact: SECRETS },
    {
      write(line: string) {
        write(`${format(line, Math.floor((options.now() - options.began) / 1000))}\n`);
      },
    },
  );
}

/** Log lines for programs: a JSON object each, with `level` as a word and `time` in RFC 3339. */
export function createJsonLogger(write: (line: string) => void, options: { debug: boolean }): Logger {
  return pino(
    {
      level: options.debug ? 'debug' : 'info',
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (level) => ({ level }) },
      redact: SECRETS,
    },
    { write },
  );
}

const LEVELS: Readonly<Record<number, string>> = { 20: 'DEBU', 30: 'INFO', 40: 'WARN', 50: 'ERRO' };

function format(line: string, seconds: number): string {
  const { level, msg, ...facts } = JSON.parse(line) as Record<string, unknown>;
  const fields = Object.entries(facts).map(([key, value]) => {
    const text = typeof value === 'string' ? value : JSON.stringify(value);
    return ` ${key}=${/[\s"=]/.test(text) ? JSON.stringify(text) : text}`;
  });
  return `${LEVELS[Number(level)] ?? 'INFO'}[${String(seconds).padStart(4, '0')}] ${String(msg)}${fields.join('')}`;
}
