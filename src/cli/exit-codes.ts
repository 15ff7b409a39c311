/** The exit codes of every command. */
export const exitCodes = { done: 0, failed: 1, usage: 2, notEverywhere: 3, interrupted: 130 } as const;

/** What each means, for the help and the documentation. */
export const exitCodeMeanings: ReadonlyMap<number, string> = new Map([
  [exitCodes.done, 'done'],
  [exitCodes.failed, 'failed, or not all that was asked for was done or works; nothing half-made was left'],
  [exitCodes.usage, 'the command line or a setting is wrong; nothing was begun'],
  [exitCodes.notEverywhere, 'saved, but not everywhere that was asked for'],
  [exitCodes.interrupted, 'interrupted'],
]);
