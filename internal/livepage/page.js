"use strict";
// Each event has the parts of the page that changed, by their ids. Without this script the page is
// loaded again every few seconds.
(() => {
	const note = document.getElementById("connection");
	const say = (text) => { if (note.textContent !== text) note.textContent = text; };
	const events = new EventSource("live");
	events.onopen = () => say("Live.");
	events.onerror = () => {
		if (events.readyState === EventSource.CLOSED) {
			say("Not live: the page is loaded again every 30 seconds.");
			setTimeout(() => location.reload(), 30000);
		} else {
			say("The connection is lost. What is shown may be old.");
		}
	};
	events.onmessage = (event) => {
		for (const [id, html] of Object.entries(JSON.parse(event.data))) {
			const part = document.getElementById(id);
			if (part) part.innerHTML = html;
		}
	};
})();
