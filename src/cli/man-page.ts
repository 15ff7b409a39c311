import type { CommandName, Option } from '../config/option.ts';
import { commandWords, options } from '../config/options.ts';
import { exitCodeMeanings } from './exit-codes.ts';
import { examples, helpers, operandsOf, sections, summaries, valueWord } from './help.ts';

/** `etcd-snapshot(1)` in man's macros, made from the option table. */
export function manPage(): string {
  const commands = Object.keys(summaries) as CommandName[];
  return `.\\" Made from the option table by: node scripts/docs.ts
.TH ETCD\\-SNAPSHOT 1 "" "etcd\\-snapshot" "User Commands"
.SH NAME
etcd\\-snapshot \\- proven snapshots of etcd, on disk and on S3
.SH SYNOPSIS
${commands.map((command) => synopsis(command)).join('\n.br\n')}
.SH DESCRIPTION
${paragraphs([
  'Takes, lists and deletes snapshots of the etcd under K3s, RKE2, kubeadm or anything else, on the node whose etcd is meant. Names, files, objects and records are those of k3s etcd-snapshot.',
  'Flags stand before or after the command, as --flag=value or --flag value; a boolean takes its value only with =. A flag beats the config file, which beats the environment, which beats the default. Everything that is wrong is reported at once, before anything is begun.',
  'Messages and progress go to stderr, data to stdout.',
])}
.SH COMMANDS
${[
  ...commands.map((command) => [alsoCalled(command), summaries[command]] as const),
  ...Object.entries(helpers),
]
  .map(([word, summary]) => `.TP\n.B ${text(word)}\n${line(`${summary}.`)}`)
  .join('\n')}
.SH OPTIONS
${sections.map(sectionPart).join('\n')}
.SH ENVIRONMENT
${options
  .filter(({ env }) => env !== undefined)
  .map(({ env = [], flag }) => `.TP\n.B ${text(env.join(', '))}\n${line(`As --${flag}.`)}`)
  .join('\n')}
.TP
.B NO_COLOR
${line('Anything but empty: no colours.')}
.SH FILES
.TP
.I /etc/rancher/k3s/config.yaml, /etc/rancher/rke2/config.yaml, /etc/etcd\\-snapshot/config.yaml
${line('Settings: long flags without dashes as keys. Those of <file>.d/*.yaml come behind it. What is no flag of ours is skipped.')}
.SH EXIT STATUS
${[...exitCodeMeanings].map(([code, meaning]) => `.TP\n.B ${code}\n${line(`${meaning}.`)}`).join('\n')}
.SH EXAMPLES
${commands.map((command) => `.EX\n${examples[command].map(line).join('\n')}\n.EE`).join('\n.PP\n')}
.SH SEE ALSO
.BR etcdctl (1),
.BR kubectl (1)
`;
}

function synopsis(command: CommandName): string {
  return `.B etcd\\-snapshot ${text(command)}\n${text(`${operandsOf(command)}[flags]`)}`;
}

function alsoCalled(command: CommandName): string {
  return Object.keys(commandWords)
    .filter((word) => commandWords[word] === command)
    .join(', ');
}

function sectionPart(section: Option['section']): string {
  const rows = options.filter((option) => option.section === section);
  return `.SS ${text(section)}\n${rows.map(optionPart).join('\n')}`;
}

function optionPart(option: Option): string {
  const names = [
    ...(option.short === undefined ? [] : [`-${option.short}`]),
    `--${option.flag}`,
    ...(option.alias === undefined ? [] : [`--${option.alias}`]),
  ];
  const more = [
    ...(option.default === undefined ? [] : [`Default: ${option.default}.`]),
    ...(option.env === undefined ? [] : [`Environment: ${option.env.join(', ')}.`]),
    `Of ${option.commands.join(', ')}.`,
  ];
  return `.TP\n.B ${text(`${names.join(', ')}${valueWord(option)}`)}\n${line(`${option.help}. ${more.join(' ')}`)}`;
}

function paragraphs(texts: readonly string[]): string {
  return texts.map(line).join('\n.PP\n');
}

/** A line of text: one that begins with a dot or a quote would be taken for a macro. */
function line(words: string): string {
  return text(words).replace(/^(?=[.'])/, '\\&');
}

/** Plain ASCII, for readers of every age. */
function text(words: string): string {
  return words
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll(
      /[^\0-\x7f]/gu,
      (char) => `\\[u${(char.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}]`,
    );
}
