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

/** A status as text, with a colour to find it by. */
export function status(name) {
  return element("span", { className: `status status-${name.toLowerCase()}` }, name.toLowerCase().replace("_", " "));
}

/** The end of an ID, which tells one from another; the whole of it where the pointer is. */
export function shortId(id) {
  return element("code", { title: id }, `…${id.slice(-8)}`);
}
