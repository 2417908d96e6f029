// Whether the shop answers, said once when that changes.

import { AwayError } from "./api.js";
import { say } from "./dom.js";

const region = document.getElementById("connection");

/** What was asked for came. */
export function answered() {
  if (document.body.classList.contains("away")) {
    document.body.classList.remove("away");
    say(region, "The shop answers again.");
  }
}

/**
 * What was asked for did not come.
 *
 * @param problem Where an answer that refuses it is told of.
 */
export function failed(error, problem) {
  if (error instanceof AwayError) {
    document.body.classList.add("away");
    say(region, "The shop does not answer. What you see may be out of date; this page goes on trying.");
  } else {
    say(problem, error.message);
  }
}
