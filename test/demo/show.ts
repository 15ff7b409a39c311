import type { ControlPlane } from '../support/control-plane.ts';

export function say(text: string): void {
  process.stdout.write(`\n\u25b6 ${text}\n`);
}

/** Runs kubectl as a reader of the demo would, and shows what it says. @throws Error when it fails */
export async function showKubectl(plane: ControlPlane, args: readonly string[]): Promise<void> {
  say(`kubectl ${args.join(' ')}`);
  const { stdout, stderr, code } = await plane.kubectl(args);
  process.stdout.write(stdout);
  if (code !== 0) throw new Error(`kubectl ${args.join(' ')} failed:\n${stderr}`);
}
