// Whether the shop answers, said once when that changes.

import { AwayError } from "./api.js";
import { say } from "./dom.js";

const region = document.getElementById("connection");
const BACK_MS = 6000;

const lost = new Set();
let timer = null;

/** What was asked for came. */
export function answered(who) {
  if (!lost.delete(who) || lost.size > 0) return;
  document.body.classList.remove("away");
  say(region, "Connected again.");
  timer = setTimeout(() => say(region, ""), BACK_MS);
}

/** Nobody asks for this any more. */
export function forgotten(who) {
  answered(who);
}

/**
 * What was asked for did not come.
 *
 * @param who Asked; the connection is back when everybody who missed an answer has one.
 * @param problem Where an answer that refuses it is told of.
 */
export function failed(who, error, problem) {
  if (!(error instanceof AwayError)) {
    say(problem, error.message);
    return;
  }
  lost.add(who);
  clearTimeout(timer);
  document.body.classList.add("away");
  say(region, "Connection lost, trying again. What you see may be out of date.");
}
