/** What clients have sent, fit for the log: short, and without characters that move the cursor of a terminal or turn the text around. */

const LENGTH_MAX = 200;

/** The text, cut after so many characters, with a `?` for each that cannot be seen. */
export function printable(text: string, lengthMax = LENGTH_MAX): string {
	const seen = text
		.slice(0, lengthMax)
		.toWellFormed()
		.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cn}]/gu, '?');
	return text.length <= lengthMax ? seen : `${seen}…`;
}
