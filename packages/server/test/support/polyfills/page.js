/**
 * The page of event-source-polyfills.test.ts: each EventSource polyfill opens a stream as its own documentation shows, and notes what it
 * gets. In JavaScript, since some of them have no types.
 */

import { fetchEventSource } from '@microsoft/fetch-event-source';
import { EventSourcePolyfill } from 'event-source-polyfill';
import { EventSource as EventSourcePackage } from 'eventsource';
import { EventSource as ExtendedEventSource } from 'extended-eventsource';
import ReconnectingEventSource from 'reconnecting-eventsource';

/** @param {EventSource} source */
function listen(source, note) {
	source.addEventListener('subscribed', () => note.opened());
	source.addEventListener('message', (event) => note.message(event.data));
	source.addEventListener('gap', () => note.gap());
}

const CLIENTS = {
	'the browser itself': (url, note) => listen(new EventSource(url), note),
	'event-source-polyfill': (url, note) => listen(new EventSourcePolyfill(url), note),
	eventsource: (url, note) => listen(new EventSourcePackage(url), note),
	'extended-eventsource': (url, note) => listen(new ExtendedEventSource(url), note),
	'reconnecting-eventsource': (url, note) => listen(new ReconnectingEventSource(url), note),
	'@microsoft/fetch-event-source': (url, note) =>
		fetchEventSource(url, {
			openWhenHidden: true,
			onmessage({ event, data }) {
				if (event === 'subscribed') note.opened();
				else if (event === 'gap') note.gap();
				else if (event === '') note.message(data);
			},
			// It takes the end of a stream for the end of the work, unless this throws.
			onclose() {
				throw new Error('the stream has ended');
			},
		}),
};

/** What each client got: `{ [client]: { opened, gaps, messages: [[topic, payload]] } }`. */
window.seen = Object.fromEntries(Object.keys(CLIENTS).map((name) => [name, { opened: 0, gaps: 0, messages: [] }]));

/** Opens a stream with each client, at an address of its own. */
window.openAll = (urls) => {
	for (const [name, open] of Object.entries(CLIENTS)) {
		const seen = window.seen[name];
		open(urls[name], {
			opened: () => seen.opened++,
			gap: () => seen.gaps++,
			message(text) {
				const { topic, payload } = JSON.parse(text);
				seen.messages.push([topic, payload.n]);
			},
		});
	}
};
