/**
 * The few pages that the relay shows to people. Each is one small document without scripts and without anything from elsewhere;
 * what is put into one is escaped unless it is markup made here.
 */

import { hash } from 'node:crypto';

/** Markup, as {@link html} makes it. */
export interface Html {
	readonly markup: string;
}

type Part = Html | string | readonly Html[] | null;

/** Makes markup. Texts that are put in become text, whatever is in them. */
export function html(texts: TemplateStringsArray, ...parts: readonly Part[]): Html {
	return { markup: texts.map((text, i) => `${text}${i < parts.length ? markupOf(parts[i] ?? null) : ''}`).join('') };
}

/** By name, as existing clients and their tests look for them in a page; the apostrophe as HTML libraries commonly write it. */
const ENTITIES: ReadonlyMap<string, string> = new Map([
	['&', '&amp;'],
	['<', '&lt;'],
	['>', '&gt;'],
	['"', '&quot;'],
	["'", '&#x27;'],
]);

function markupOf(part: Part): string {
	if (part === null) return '';
	if (typeof part === 'string') return part.replace(/[&<>"']/g, (character) => ENTITIES.get(character) ?? '');
	return 'markup' in part ? part.markup : part.map(({ markup }) => markup).join('');
}

const STYLE = `
:root { color-scheme: light dark; --back: #f3f4f7; --card: #fff; --text: #1b1f2a; --soft: #555d6e; --line: #c9ced8; --accent: #2f4bd0; --on-accent: #fff; --bad: #a8141f; }
@media (prefers-color-scheme: dark) { :root { --back: #12151c; --card: #1c212c; --text: #e9ecf3; --soft: #a5aec0; --line: #414a5c; --accent: #93a8ff; --on-accent: #0d1433; --bad: #ff9aa0; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; grid-template-columns: minmax(0, 1fr); place-items: center; padding: 1.5rem; background: var(--back); color: var(--text); font: 1rem/1.55 system-ui, sans-serif; }
main { width: 100%; max-width: 26rem; padding: 2rem; background: var(--card); border: 1px solid var(--line); border-radius: .75rem; }
.relay { margin: 0 0 .25rem; color: var(--soft); font-size: .875rem; }
h1 { margin: 0 0 1rem; font-size: 1.4rem; line-height: 1.25; }
p { margin: 0 0 1rem; overflow-wrap: anywhere; }
dl { margin: 0 0 1rem; display: grid; grid-template-columns: auto 1fr; gap: .25rem 1rem; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
.code { font: 600 1.25rem/1.3 ui-monospace, monospace; letter-spacing: .08em; }
.bad { color: var(--bad); font-weight: 600; }
.or { margin: 1.25rem 0 .75rem; color: var(--soft); font-size: .875rem; }
label { display: block; margin-bottom: .25rem; font-weight: 600; }
input { width: 100%; margin-bottom: 1rem; padding: .6rem .75rem; font: inherit; color: inherit; background: transparent; border: 1px solid var(--soft); border-radius: .4rem; }
input.code { text-transform: uppercase; }
button, .button { display: block; width: 100%; margin-top: .6rem; padding: .65rem 1rem; font: inherit; font-weight: 600; text-align: center; text-decoration: none; color: var(--accent); background: transparent; border: 1px solid var(--accent); border-radius: .4rem; cursor: pointer; }
main.wide { max-width: 46rem; }
h2 { margin: 1.5rem 0 .5rem; font-size: 1rem; }
ul { margin: 0 0 1rem; padding-left: 1.25rem; }
a { color: var(--accent); }
code, pre { font: .8125rem/1.5 ui-monospace, monospace; }
pre { margin: 0; padding: .75rem 1rem; overflow-x: auto; background: var(--back); border: 1px solid var(--line); border-radius: .4rem; }
button.main { color: var(--on-accent); background: var(--accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
`;

/** What a page may load, do and be put into: nothing but its own style and its own forms. */
const POLICY = [
	"default-src 'none'",
	`style-src 'sha256-${hash('sha256', STYLE, 'base64')}'`,
	'img-src data:',
	"form-action 'self'",
	"base-uri 'none'",
	"frame-ancestors 'none'",
].join('; ');

/** The headers of every page. */
export const PAGE_HEADERS: Readonly<Record<string, string>> = {
	'content-type': 'text/html; charset=utf-8',
	'content-security-policy': POLICY,
	'x-frame-options': 'DENY',
	'x-content-type-options': 'nosniff',
	'referrer-policy': 'same-origin',
	'cross-origin-opener-policy': 'same-origin',
	'cache-control': 'no-store',
};

/** A whole page; `wide` leaves room for commands. */
export function page(relay: string, title: string, content: Html, width: 'narrow' | 'wide' = 'narrow'): string {
	return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title} · ${relay}</title>
<link rel="icon" href="data:,">
<style>${{ markup: STYLE }}</style>
</head>
<body>
<main class="${width}">
<p class="relay">${relay}</p>
<h1>${title}</h1>
${content}
</main>
</body>
</html>
`.markup;
}

/** What went wrong, where people see it and screen readers say it. */
export function problem(text: string): Html {
	return html`<p class="bad" role="alert">${text}</p>`;
}
