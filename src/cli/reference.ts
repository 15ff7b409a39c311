import type { CommandName, Option } from '../config/option.ts';
import { commandWords, options } from '../config/options.ts';
import { s3Options, s3SecretKeys } from '../config/s3-options.ts';
import { CA_NAME_KEY } from '../config/s3-secret.ts';
import { exitCodeMeanings } from './exit-codes.ts';
import { examples, operandsOf, sections, summaries } from './help.ts';

/** The content of `docs/cli.md`, in Markdown, from the same tables as the help. */
export function cliReference(): string {
  const names = Object.keys(summaries) as CommandName[];
  return `# Command line

<!-- Made from the option table by \`node scripts/docs.ts\`; edit the table, not this file. -->

\`etcd-snapshot <command> [flags]\`, on the node whose etcd is meant. Flags stand before or after the command, as \`--flag=value\` or
\`--flag value\`; a boolean takes its value only with \`=\`. A flag beats the [config file](#config-file), which beats the
environment, which beats the default; an empty value counts as none, but for \`--name\`. Of a flag that is given twice the last one counts; what is a
list grows. Everything that is wrong is reported at once, before anything is begun. Snapshot options of \`k3s server\` that a command has no
use for, such as \`--etcd-snapshot-schedule-cron\`, are taken and do nothing.

Log lines and the progress bar go to stderr, data to stdout. Without a terminal there is no progress bar. Colours are for terminals, and never
with \`NO_COLOR\` set. With \`--progress=json\` each line of stderr is a JSON object: \`level\`, \`time\` and \`msg\`, for errors \`code\`, \`why\` and \`hint\`, and for
progress \`progress.store\` (\`local\` or \`s3\`), \`progress.bytes\` and \`progress.total\`, where it is known. Only what is wrong with the command line itself is
told as text.
Both spellings of a flag mean the same; given with different values they are refused.

${names.map(commandPart).join('\n')}
${filePart()}
${secretPart()}
## Exit codes
${table(
  ['code', 'meaning'],
  [...exitCodeMeanings].map(([code, meaning]) => [String(code), meaning]),
)}`;
}

function filePart(): string {
  return `## Config file

\`/etc/rancher/k3s/config.yaml\` of a server works as it is, with RKE2 \`/etc/rancher/rke2/config.yaml\`, everywhere else
\`/etc/etcd-snapshot/config.yaml\`, or the file of \`K3S_CONFIG_FILE\` or \`--config\`. One that was named must exist.

\`\`\`yaml
etcd-snapshot-retention: 10
etcd-s3: true
etcd-s3-bucket: backups
etcd-s3-folder: prod
\`\`\`

- Keys are long flags in either spelling, without dashes. A list counts as a flag that is given again and again.
- Then come \`<file>.d/*.yaml\` and \`*.yml\` in the order of their names. A later file replaces a key, \`key+\` adds to what was there, an empty value takes
  it back.
- Keys that are no flags of ours are skipped, and named in one line; a warning tells when one looks like a mistyped one of ours. Keys of other commands of ours
  are skipped without a word.
- \`etcd-disable-snapshots\` is skipped, for it is how a K3s or RKE2 server is told to leave the schedule to the operator; \`disable-snapshots\` means the
  operator. \`etcd-snapshot-name\` is the name of scheduled snapshots, and so counts for the operator only.
- Settings of S3 in a file count as set: the Secret of \`--s3-config-secret\` is ignored beside them.
- Addresses (\`https://…\`), which K3s takes, are refused: what decides where all Secrets of a cluster go should not come from a network.
`;
}

/** The settings of S3 for `docs/s3.md`, in Markdown: flag, variable, key of the Secret and of the config file, default. */
export function s3SettingsTable(): string {
  const rows = s3Options.map((option) => {
    const key = option.alias ?? option.flag;
    const [, ...rest] = row(option);
    return [`\`--${option.flag}\``, s3SecretKeys.has(key) ? `\`${key}\`` : '', ...rest];
  });
  const ofSecret = ['', `\`${CA_NAME_KEY}\``, '', '', CA_NAME_MEANING];
  return table(['flag', 'key of the Secret', 'environment', 'default', 'meaning'], [...rows, ofSecret]);
}

const CA_NAME_MEANING = 'ConfigMap in kube-system with one or more PEM bundles, in `data` or `binaryData`';

function secretPart(): string {
  const rows = [...s3SecretKeys].map(([key, option]) => [
    `\`${key}\``,
    option.key === 's3EndpointCA'
      ? 'CA of the S3 server, as PEM; no file of the node is read'
      : `as \`--${option.flag}\``,
  ]);
  return `## The Secret of \`--s3-config-secret\`

With \`--s3\` and \`--s3-config-secret\` alone, all settings of S3 come from that Secret in kube-system (type
\`etcd.k3s.cattle.io/s3-config-secret\`), which is read anew for each command through \`--kubeconfig\`. Beside any other setting of S3, flag or
environment, it is ignored with a warning; a value that equals its default, and \`--s3-retention\`, do not count. An empty key counts as
missing. Everything that is wrong in it is reported at once, by key and never with a value.
${table(['key', 'meaning'], [...rows, [`\`${CA_NAME_KEY}\``, CA_NAME_MEANING]])}`;
}

function commandPart(name: CommandName): string {
  const aliases = Object.keys(commandWords).filter((word) => commandWords[word] === name && word !== name);
  const also = aliases.length === 0 ? '' : ` Also: ${aliases.map((alias) => `\`${alias}\``).join(', ')}.`;
  const parts = sections.map((section) => {
    const rows = options.filter((option) => option.section === section && option.commands.includes(name));
    return rows.length === 0
      ? ''
      : `\n### ${section}\n${table(['flag', 'environment', 'default', 'meaning'], rows.map(row))}`;
  });
  return `## ${name}

${summaries[name]}.${also}${operandsOf(name) === '' ? '' : ` Usage: \`etcd-snapshot ${name} ${operandsOf(name)}[flags]\`.`}

\`\`\`sh
${examples[name].join('\n')}
\`\`\`
${parts.join('')}`;
}

function row(option: Option): string[] {
  const flags = [
    `--${option.flag}`,
    ...(option.alias === undefined ? [] : [`--${option.alias}`]),
    ...(option.short === undefined ? [] : [`-${option.short}`]),
  ];
  return [
    flags.map((flag) => `\`${flag}\``).join(' '),
    (option.env ?? []).map((name) => `\`${name}\``).join(', '),
    option.default === undefined ? (option.type === 'boolean' ? 'false' : '') : cell(option.default),
    cell(option.choices === undefined ? option.help : `${option.help}; one of ${option.choices.join(', ')}`),
  ];
}

function cell(text: string): string {
  return text.replaceAll('<', '&lt;').replaceAll('|', '\\|');
}

/** Padded as the formatter pads tables, so that it leaves the file alone. */
function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = header.map((title, column) =>
    Math.max(3, title.length, ...rows.map((cells) => (cells[column] ?? '').length)),
  );
  const line = (cells: readonly string[]) =>
    `| ${cells.map((text, column) => text.padEnd(widths[column] ?? 0)).join(' | ')} |\n`;
  return `\n${line(header)}${line(widths.map((width) => '-'.repeat(width)))}${rows.map(line).join('')}`;
}
