// Values as people read them.

import { element } from "./dom.js";

const euros = new Intl.NumberFormat(undefined, { style: "currency", currency: "EUR" });
const ofDay = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const ofYear = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export function money(cents) {
  return euros.format(cents / 100);
}

/** A moment, in the time zone of who looks at it; without the date when it is today's. */
export function moment(text) {
  if (text === null) return document.createTextNode("–");
  const date = new Date(text);
  const isToday = date.toDateString() === new Date().toDateString();
  return element("time", { dateTime: text, title: date.toString() }, (isToday ? ofDay : ofYear).format(date));
}

/** A length of time, from milliseconds. */
export function duration(milliseconds) {
  const seconds = Math.max(milliseconds, 0) / 1000;
  if (seconds < 0.0995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 59.5) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (seconds < 3570) return `${Math.floor(Math.round(seconds) / 60)} min ${Math.round(seconds) % 60} s`;
  return minutes < 1440 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${Math.round(minutes / 1440)} days`;
}

/** A status in words. */
export function statusText(name) {
  return name === "SUSPEND" ? "suspended" : name.toLowerCase().replaceAll("_", " ");
}

/** A status as text, with a colour to find it by. */
export function status(name) {
  return element("span", { className: `status status-${name.toLowerCase()}` }, statusText(name));
}

/** The end of an ID, which tells one from another; the whole of it where the pointer is. */
export function shortId(id) {
  return element("code", { title: id }, id.length > 10 ? `…${id.slice(-8)}` : id);
}
