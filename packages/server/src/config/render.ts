/** The settings for people: the text of `--help` and the page docs/reference/config.md, both made from the table. */

import { CONFIG_FILES } from './file.ts';
import { IMPORT_FLAGS, OTHER_FLAGS } from './flags.ts';
import { fileKeyOf, flagOf, PROVIDER_SETTINGS, SETTING_GROUPS, type Setting, withFileSettings } from './schema.ts';
import { expected } from './values.ts';

const HELP_WIDTH = 100;
const HELP_INDENT = 6;

/** The text of `--help`: every flag with its meaning, its values and its default. Ends with a line feed. */
export function helpText(): string {
	const lines = [
		'Usage: pulsar-relay [flags]',
		'       pulsar-relay import --from-reference [--dry-run] [flags]',
		'',
		'A message relay: publish over HTTP, subscribe over WebSocket, long-poll or SSE, resume from any message id.',
		'',
		...OTHER_FLAGS.flatMap(({ usage, doc }) => flagHelp(usage, doc)),
		'',
		'import takes over accounts, sessions, topics and messages, and ends (docs/moving.md):',
		...IMPORT_FLAGS.flatMap(({ usage, doc }) => flagHelp(usage, doc)),
	];
	for (const { title, settings } of SETTING_GROUPS) {
		lines.push('', `${title}:`);
		for (const setting of withFileSettings(settings)) {
			const value = setting.type === 'bool' ? '' : ` <${placeholder(setting)}>`;
			const range = setting.type === 'int' ? `${setting.min} to ${setting.max}, ` : '';
			const limits = `[${range}default ${shown(setting)}]`;
			lines.push(...flagHelp(`${flagOf(setting)}${value}`, plain(setting.doc)), `${' '.repeat(HELP_INDENT)}${limits}`);
		}
	}
	lines.push(
		'',
		'Each flag is also a variable, as PULSAR_HOST for --host, and a key in the file, as host.',
		'Flags win over the environment, the environment over the file. Without --config the first of these is read:',
		`${CONFIG_FILES.join(', ')}.`,
	);
	return `${lines.join('\n')}\n`;
}

/** The page docs/reference/config.md. Ends with a line feed. */
export function referencePage(): string {
	const lines = [
		'# Settings',
		'',
		'<!-- Generated from packages/server/src/config/schema.ts by `npm run docs`; do not edit. -->',
		'',
		'Every setting can be given as a flag, as an environment variable, or in a file; flags win over the environment, the',
		'environment over the file, the file over the default. All wrong settings are reported at once, and the relay does not',
		'start (exit code 78). An environment variable without a value counts as not set.',
		'',
		'The file is YAML or TOML. It is named by `--config` or `PULSAR_CONFIG_FILE`, and must then exist; otherwise the first of',
		`${CONFIG_FILES.map((path) => `\`${path}\``).join(', ')} is read.`,
		'Its keys are flat: the name of the variable in lower case, without `PULSAR_`. Those with `__` in them may stand in tables instead:',
		'`oidc: {base_url: …}`.',
		'',
		'In variables and flags, booleans are 1/0, true/false, yes/no, on/off, t/f or y/n, and lists are JSON. Variables and keys that',
		'this version does not know are ignored with a warning; an unknown flag is an error.',
		'',
		'Every secret can be in a file instead, named by the variable that ends in `_FILE`: other users of the machine can read',
		'the flags of a process, and often its environment.',
	];
	for (const { title, settings } of SETTING_GROUPS) {
		lines.push(
			'',
			`## ${title}`,
			'',
			'| variable | flag | key in a file | values | default | meaning |',
			'|---|---|---|---|---|---|',
		);
		for (const setting of withFileSettings(settings)) lines.push(tableRow(setting));
	}
	lines.push(
		'',
		'## Sign-in providers',
		'',
		'For each provider, under a name of your choice in the place of `<NAME>`, which is also in its addresses at the relay. There are',
		'no flags for these. [Sign-in](../sign-in.md) has an example.',
		'',
		'| variable | values | default | meaning |',
		'|---|---|---|---|',
	);
	for (const setting of withFileSettings(PROVIDER_SETTINGS)) {
		lines.push(`| \`${setting.env}\` | ${expected(setting)} | \`${plainDefault(setting)}\` | ${setting.doc} |`);
	}
	return `${lines.join('\n')}\n`;
}

function tableRow(setting: Setting): string {
	const unit = setting.type === 'int' && setting.unit !== undefined ? ` (${setting.unit})` : '';
	const range = setting.type === 'int' ? `${setting.min} to ${setting.max}${unit}` : expected(setting);
	const cells = [
		`\`${setting.env}\``,
		`\`${flagOf(setting)}\``,
		`\`${fileKeyOf(setting)}\``,
		range,
		`\`${plainDefault(setting)}\`${inWords(setting)}`,
		setting.doc,
	];
	return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}

function flagHelp(usage: string, doc: string): string[] {
	const lines = [`  ${usage}`];
	let line = ' '.repeat(HELP_INDENT - 1);
	for (const word of doc.split(' ')) {
		if (line.length + 1 + word.length > HELP_WIDTH) {
			lines.push(line);
			line = ' '.repeat(HELP_INDENT - 1);
		}
		line += ` ${word}`;
	}
	return [...lines, line];
}

function placeholder(setting: Setting): string {
	switch (setting.type) {
		case 'int':
			return setting.unit === 's' ? 'seconds' : (setting.unit ?? 'number');
		case 'enum':
			return setting.values.join('|');
		case 'list':
			return 'json list';
		default:
			return 'text';
	}
}

function shown(setting: Setting): string {
	return `${plainDefault(setting)}${inWords(setting)}`;
}

function plainDefault(setting: Setting): string {
	if (setting.default === null) return 'none';
	return setting.type === 'list' ? JSON.stringify(setting.default) : `${setting.default}`;
}

/** A large number again in a unit that can be grasped: ` (32 MiB)`, ` (24 h)`. */
function inWords(setting: Setting): string {
	if (setting.type !== 'int') return '';
	const steps: readonly (readonly [size: number, unit: string])[] =
		setting.unit === 'bytes'
			? [
					[1024 ** 3, 'GiB'],
					[1024 ** 2, 'MiB'],
					[1024, 'KiB'],
				]
			: setting.unit === 's'
				? [
						[3600, 'h'],
						[60, 'min'],
					]
				: [];
	const step = steps.find(([size]) => setting.default > size && setting.default % size === 0);
	return step === undefined ? '' : ` (${setting.default / step[0]} ${step[1]})`;
}

function plain(markdown: string): string {
	return markdown.replaceAll('`', '');
}
