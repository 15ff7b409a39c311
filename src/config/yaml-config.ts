/** Settings files are small; a large one is another file. */
const MOST_BYTES = 1024 * 1024;

/**
 * The keys of a YAML mapping and their values, in order: texts as they are written (`0123` stays `0123`), lists and mappings
 * of them. A key that stands twice counts as it stands last. A string says what is wrong, without showing any of the text,
 * which may be secret.
 */
export async function parseConfig(text: string): Promise<ReadonlyMap<string, unknown> | string> {
  if (text.length > MOST_BYTES) return 'it is larger than 1 MiB';
  const { LineCounter, parseDocument } = await import('./yaml-parser.ts');
  const lines = new LineCounter();
  const options = { schema: 'failsafe', uniqueKeys: false, prettyErrors: false, lineCounter: lines } as const;
  const document = parseDocument(text, options);
  const [error] = document.errors;
  if (error !== undefined) {
    const { line } = lines.linePos(error.pos[0]);
    return `line ${line} is no YAML (${error.code.toLowerCase().replaceAll('_', ' ')})`;
  }
  if (document.contents === null) return new Map();
  let value: unknown;
  try {
    value = document.toJS({ mapAsMap: true });
  } catch (error) {
    // Anchors that nobody set, or that multiply without end.
    if (error instanceof ReferenceError) return 'an alias in it cannot be resolved';
    throw error;
  }
  // A file of comments, or of nothing but a blank value.
  if (value === null || value === '') return new Map();
  if (!(value instanceof Map)) return 'it is no mapping of keys to values';
  return new Map([...value].map(([key, one]) => [String(key), one]));
}
