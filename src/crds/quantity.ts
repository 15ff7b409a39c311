const QUANTITY = /^([+-]?(?:\d+\.?\d*|\.\d+))(?:([KMGTPE]i)|([numkMGTPE])|[eE]([+-]?\d+))?$/;
const BINARY = ['Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'];
const DECIMAL: Readonly<Record<string, number>> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
};

/**
 * The whole number that a Kubernetes quantity stands for, rounded up as Kubernetes does; undefined when it is none.
 * k3s writes sizes in canonical form, where 3000000 bytes are `3M`.
 */
export function parseQuantity(quantity: string | number): number | undefined {
  const match = QUANTITY.exec(String(quantity));
  if (match === null) return undefined;
  const [, digits, binary, decimal, exponent] = match;
  let factor = 1;
  if (binary !== undefined) factor = 1024 ** (BINARY.indexOf(binary) + 1);
  else if (decimal !== undefined) factor = DECIMAL[decimal] ?? 1;
  else if (exponent !== undefined) factor = 10 ** Number(exponent);
  return Math.ceil(Number(digits) * factor);
}
