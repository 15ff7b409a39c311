/** Units of Go's `time.ParseDuration`, in milliseconds. */
const UNITS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** `5m0s`, `1.5h`, `300ms` as Go reads them → milliseconds; undefined for anything else (a bare number, a negative one). */
export function parseDuration(text: string): number | undefined {
  if (text === '0') return 0;
  if (!/^((\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h))+$/.test(text)) return undefined;
  let sum = 0;
  for (const [, value, unit] of text.matchAll(/(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)/g)) {
    sum += Number(value) * (UNITS[unit ?? ''] ?? 0);
  }
  return sum;
}
