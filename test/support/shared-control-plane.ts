import type { TestProject } from 'vitest/node';
import { provideTools, toolSets } from '../tools/toolbox.ts';
import { startControlPlane } from './control-plane.ts';
import { bundlePrograms } from './programs.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** Kubeconfig of an administrator; each test uses a node name of its own. */
    kubeconfig: string;
  }
}

/** One control plane for the whole run: starting one takes seconds, and most tests only need a corner of it. */
export async function setup(project: TestProject): Promise<() => PromiseLike<void>> {
  // Here and not in the first test that needs one: a build from nothing outlasts the time of a test.
  await provideTools(toolSets['--test']);
  const [plane, programs] = await Promise.all([startControlPlane(), bundlePrograms()]);
  project.provide('kubeconfig', plane.kubeconfig);
  return async () => {
    await Promise.all([plane[Symbol.asyncDispose](), programs[Symbol.asyncDispose]()]);
  };
}
