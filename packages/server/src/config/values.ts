/**
 * Reading one value against its setting: text from the environment or the command line, or whatever a YAML or TOML file holds.
 */

import { masked } from './masked.ts';
import type { BoolSetting, EnumSetting, IntSetting, Setting, StringSetting } from './schema.ts';

/** A value of a setting in its own type. */
export type SettingValue = string | number | boolean | null | readonly string[];

/** A good value, or what is wrong with it: a clause that goes on after the setting's name, without a full stop. */
export type ReadValue =
	| { readonly status: 'ok'; readonly value: SettingValue }
	| { readonly status: 'wrong'; readonly problem: string };

const PRINTED_LENGTH_MAX = 80;

/**
 * Reads `raw` as a value of `setting`. Numbers, booleans and lists may be native (from a file) or text (from anywhere); text is
 * never guessed from another type, so that a YAML `1.10` does not turn into `1.1`. Surrounding blanks do not count.
 */
export function readValue(setting: Setting, raw: unknown): ReadValue {
	const given = typeof raw === 'string' ? raw.trim() : raw;
	if (typeof given === 'string' && /^(["']).*\1$/s.test(given)) {
		return wrong(`${printed(setting, given)} is in quotes, which count as part of the value here; leave them out`);
	}
	switch (setting.type) {
		case 'int':
			return readInt(setting, given);
		case 'bool':
			return readBool(setting, given);
		case 'enum':
			return readEnum(setting, given);
		case 'list':
			return readList(setting, given);
		case 'string':
			if (typeof given === 'string') return readString(setting, given);
			return wrong(`${printed(setting, given)} is not text; put it in quotes`);
	}
}

/** The values a setting takes, in words: `a whole number from 1 to 9`, `one of a, b`. */
export function expected(setting: Setting): string {
	switch (setting.type) {
		case 'int':
			return `a whole number from ${setting.min} to ${setting.max}`;
		case 'bool':
			return 'yes or no (also true, false, on, off, 1, 0)';
		case 'enum':
			return setting.values.length === 1 ? `${setting.values[0]}` : `one of ${setting.values.join(', ')}`;
		case 'list':
			return 'a list of texts, as JSON outside a file: ["a", "b"]';
		case 'string':
			return setting.form?.words ?? 'text';
	}
}

function readString(setting: StringSetting, text: string): ReadValue {
	if (text === '') return wrong('is empty');
	return setting.form === undefined || setting.form.pattern.test(text) ? good(text) : notExpected(setting, text);
}

function readInt(setting: IntSetting, raw: unknown): ReadValue {
	const value = typeof raw === 'string' && /^[+-]?[0-9]+$/.test(raw) ? Number(raw) : raw;
	const fits = typeof value === 'number' && Number.isSafeInteger(value) && value >= setting.min && value <= setting.max;
	return fits ? good(value === 0 ? 0 : value) : notExpected(setting, raw);
}

const BOOLEANS: ReadonlyMap<string, boolean> = new Map([
	...['1', 'true', 'yes', 'on', 't', 'y'].map((word) => [word, true] as const),
	...['0', 'false', 'no', 'off', 'f', 'n'].map((word) => [word, false] as const),
]);

function readBool(setting: BoolSetting, raw: unknown): ReadValue {
	const value = typeof raw === 'object' ? undefined : BOOLEANS.get(String(raw).toLowerCase());
	return value === undefined ? notExpected(setting, raw) : good(value);
}

function readEnum(setting: EnumSetting, raw: unknown): ReadValue {
	const word = typeof raw === 'string' ? raw.toLowerCase() : undefined;
	if (word === undefined) return notExpected(setting, raw);
	const value = setting.aliases !== undefined && Object.hasOwn(setting.aliases, word) ? setting.aliases[word] : word;
	if (value !== undefined && setting.values.includes(value)) return good(value);
	const refusal = setting.refused !== undefined && Object.hasOwn(setting.refused, word) ? setting.refused[word] : undefined;
	return refusal === undefined ? notExpected(setting, raw) : wrong(`${printed(setting, raw)} is not available: ${refusal}`);
}

function readList(setting: Setting, raw: unknown): ReadValue {
	const value = typeof raw === 'string' ? parsedJson(raw) : raw;
	const isListOfTexts = Array.isArray(value) && value.every((item) => typeof item === 'string');
	return isListOfTexts ? good(Object.freeze([...value])) : notExpected(setting, raw);
}

function parsedJson(text: string): unknown {
	try {
		return JSON.parse(text);
	} catch {
		// Not JSON is not a list; the caller says what a list looks like.
		return undefined;
	}
}

function good(value: SettingValue): ReadValue {
	return { status: 'ok', value };
}

function wrong(problem: string): ReadValue {
	return { status: 'wrong', problem };
}

function notExpected(setting: Setting, raw: unknown): ReadValue {
	return wrong(`${printed(setting, raw)} is not ${expected(setting)}`);
}

function printed(setting: Setting, raw: unknown): string {
	if (setting.secret) return 'the value';
	// Not JSON: what a YAML file holds may contain itself.
	if (Array.isArray(raw)) return 'a list';
	if (typeof raw === 'object' && raw !== null) return raw instanceof Date ? 'a date' : 'a table';
	const text = typeof raw === 'string' ? JSON.stringify(masked(raw)) : String(raw);
	return text.length <= PRINTED_LENGTH_MAX ? text : `${text.slice(0, PRINTED_LENGTH_MAX)}…`;
}
