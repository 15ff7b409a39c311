import type { CommandName, Option } from '../config/option.ts';
import { commandWords, options } from '../config/options.ts';
import { exitCodeMeanings } from './exit-codes.ts';

export const sections = ['Schedule', 'Snapshot', 'S3', 'etcd', 'Operator', 'General'] as const;

export const summaries: Readonly<Record<CommandName, string>> = {
  save: 'Take a snapshot of etcd now: on the disk of this node and, if asked, on S3',
  ls: 'List the snapshots on the disk of this node and, if asked, on S3',
  delete:
    'Delete snapshots by name, with what belongs to them: on the disk of this node and, if asked, on S3',
  prune: 'Delete the snapshots that are past retention: on the disk of this node and, if asked, on S3',
  s3: 'Try all that snapshots need of S3, with objects of its own, and tell what is wrong and what helps',
  operator: 'Run on an etcd node: scheduled snapshots, and records that are always in step with disk and S3',
};

/** Commands that touch neither etcd nor a snapshot. */
export const helpers = {
  help: 'Show the help of a command',
  completion: 'Write the completion script for bash, zsh or fish',
  man: 'Write the manual page',
} as const;

export const examples: Readonly<Record<CommandName, readonly string[]>> = {
  save: [
    'etcd-snapshot save',
    'etcd-snapshot save --name=pre-upgrade --snapshot-compress',
    '# keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY',
    'etcd-snapshot save --s3 --s3-bucket=backups --s3-folder=prod',
    '# any etcd',
    'etcd-snapshot save --distribution=custom --dir=/backup --etcd-servers=https://10.0.0.1:2379 \\',
    '  --etcd-cafile=ca.crt --etcd-certfile=client.crt --etcd-keyfile=client.key',
  ],
  ls: [
    'etcd-snapshot ls',
    'etcd-snapshot ls -o json',
    'etcd-snapshot ls --s3 --s3-bucket=backups --s3-folder=prod',
  ],
  delete: [
    'etcd-snapshot delete on-demand-server-1-1730308816',
    '# there and on S3',
    'etcd-snapshot delete --s3 --s3-bucket=backups --s3-folder=prod on-demand-server-1-1730308816.zip',
  ],
  prune: [
    '# of those made with save, 5 stay',
    'etcd-snapshot prune',
    'etcd-snapshot prune --snapshot-retention=10 --dry-run',
    'etcd-snapshot prune --name=etcd-snapshot --s3 --s3-bucket=backups --s3-folder=prod',
  ],
  s3: [
    'etcd-snapshot s3 check --s3-bucket=backups --s3-folder=prod',
    'etcd-snapshot s3 check --s3-config-secret=k3s-etcd-snapshot-s3-config -o json',
  ],
  operator: [
    'etcd-snapshot operator --s3 --s3-config-secret=k3s-etcd-snapshot-s3-config',
    "etcd-snapshot operator --snapshot-schedule-cron='0 */6 * * *' --snapshot-retention=10",
    '# only keep records in step; no schedule',
    'etcd-snapshot operator --disable-snapshots --deletion-policy=Retain',
  ],
};

const exitCodeText = `Exit codes:
${[...exitCodeMeanings].map(([code, meaning]) => `  ${String(code).padEnd(3)}  ${meaning}\n`).join('')}`;

export function overview(): string {
  return `Proven snapshots of etcd, on disk and on S3.

Usage: etcd-snapshot <command> [flags]

Commands:
${Object.entries(summaries)
  .map(([command, summary]) => `  ${command.padEnd(10)}  ${summary}\n`)
  .join('')}${Object.entries(helpers)
  .map(([command, summary]) => `  ${command.padEnd(10)}  ${summary}\n`)
  .join('')}
Examples:
  etcd-snapshot save
  etcd-snapshot save --s3 --s3-bucket=backups --s3-folder=prod
  etcd-snapshot ls -o json

Flags stand before or after the command. See etcd-snapshot <command> --help.

${exitCodeText}`;
}

/** The help of one command, from the option table. */
export function helpOf(command: CommandName): string {
  const rows = options.filter((option) => option.commands.includes(command));
  const width = Math.max(...rows.map((option) => left(option).length));
  const parts = sections.map((section) => {
    const lines = rows.filter((option) => option.section === section).map((option) => line(option, width));
    return lines.length === 0 ? '' : `${section}:\n${lines.join('')}\n`;
  });
  return `${summaries[command]}.

Usage: etcd-snapshot ${command} ${operandsOf(command)}[flags]${alsoCalled(command)}

Examples:
${examples[command].map((example) => `  ${example}\n`).join('')}
${parts.join('')}Flags of the sections Schedule, Snapshot and S3 may also be spelled as for k3s server: --etcd-s3-bucket, --etcd-snapshot-dir, …

${exitCodeText}`;
}

/** What stands behind a command besides flags. */
export function operandsOf(command: CommandName): string {
  if (command === 's3') return 'check ';
  return command === 'delete' ? 'NAME… ' : '';
}

function alsoCalled(command: CommandName): string {
  const aliases = Object.keys(commandWords).filter(
    (word) => commandWords[word] === command && word !== command,
  );
  return aliases.length === 0 ? '' : `\nAlso:  ${aliases.join(', ')}`;
}

/** What stands behind a flag for its value; empty for none. */
export function valueWord(option: Option): string {
  return {
    boolean: '',
    choice: ` <${option.choices?.join('|') ?? 'word'}>`,
    count: ' <number>',
    duration: ' <time>',
    list: ' <text>,…',
    string: option.path === undefined ? ' <text>' : ` <${option.path}>`,
  }[option.type];
}

function left(option: Option): string {
  return `  ${option.short === undefined ? '    ' : `-${option.short}, `}--${option.flag}${valueWord(option)}`;
}

function line(option: Option, width: number): string {
  const more = [
    ...(option.env === undefined ? [] : [option.env.map((name) => `$${name}`).join(', ')]),
    ...(option.default === undefined ? [] : [`default ${option.default}`]),
  ];
  return `${left(option).padEnd(width)}  ${option.help}${more.length === 0 ? '' : ` [${more.join('; ')}]`}\n`;
}
