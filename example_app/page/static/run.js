// The run that is looked at: what it is, its timeline, and what can be done with it.

import { act } from "./actions.js";
import { RefusedError, serverNow } from "./api.js";
import { answered, failed, forgotten } from "./connection.js";
import { element, say } from "./dom.js";
import { duration, moment, shortId, status } from "./format.js";
import { FINAL, followRun } from "./live.js";
import { inWords } from "./run-state.js";
import { timeline } from "./timeline.js";

const CANCEL = "mutation ($id: ID!) { cancelWorkflowRun(id: $id) { id status } }";
const RESUME = "mutation ($id: ID!) { resumeWorkflowRun(id: $id) { id status } }";
const RESUMABLE = new Set(["FAILED", "CANCELED"]);
const TICK_MS = 200;

const part = (name) => document.getElementById(`run-${name}`);
const WHO = "the timeline";

/**
 * Show a run.
 *
 * @param id The run's; null for none.
 * @param changed Called when it has another status.
 * @returns `noticed(status)` takes what others know of it, `stop()` ends it.
 */
export function showRun(id, changed) {
  const chart = timeline(part("axis"), part("jobs"));
  clear(id === null ? "Place an order, and watch here how it is processed." : "Looking for the run …");
  if (id === null) return { noticed() {}, stop() {} };
  let shown = null;

  const following = followRun(id, {
    connected: () => answered(WHO),
    received(state, changes) {
      const hasChanged = shown?.run.status !== state.run.status;
      announce(shown === null ? inWords([statusOf(state.run)]) : inWords(changes));
      shown = state;
      say(part("problem"), "");
      part("content").hidden = false;
      say(part("empty"), "");
      showFacts(state.run);
      showActions(state.run, () => following.goOn());
      chart.show(state);
      if (hasChanged) changed();
    },
    failed(error) {
      failed(WHO, error, part("problem"));
      if (error instanceof RefusedError && shown === null) say(part("empty"), "");
    },
  });
  const ticking = setInterval(() => {
    chart.tick();
    if (shown !== null && !FINAL.has(shown.run.status)) say(part("took"), took(shown.run));
  }, TICK_MS);

  return {
    noticed(its) {
      if (shown !== null && FINAL.has(shown.run.status) && !FINAL.has(its)) following.goOn();
    },
    stop() {
      clearInterval(ticking);
      following.stop();
      forgotten(WHO);
    },
  };
}

function statusOf({ status: its }) {
  return { __typename: "WorkflowRunStatusChange", status: its };
}

/** Say it to who can't see it; what was said before stays, for who has not heard it yet. */
function announce(text) {
  if (text) say(part("announcer"), text);
}

function clear(text) {
  part("content").hidden = true;
  part("jobs").replaceChildren();
  part("actions").replaceChildren();
  for (const name of ["announcer", "problem", "id", "status"]) part(name).replaceChildren();
  say(part("empty"), text);
}

function showFacts(run) {
  part("id").replaceChildren(shortId(run.id));
  if (part("status").textContent !== status(run.status).textContent) part("status").replaceChildren(status(run.status));
  part("workflow").replaceChildren(run.workflowName);
  part("order").replaceChildren(run.input?.orderId ? element("code", {}, run.input.orderId) : "–");
  part("started").replaceChildren(moment(run.startedAt ?? run.createdAt));
  say(part("took"), took(run));
  say(part("outcome"), outcome(run));
  part("outcome").className = run.error === null ? "outcome" : "outcome error";
}

function took({ createdAt, startedAt, finishedAt }) {
  return duration((finishedAt === null ? serverNow() : Date.parse(finishedAt)) - Date.parse(startedAt ?? createdAt));
}

function outcome({ status: its, error, output }) {
  if (error !== null) return error;
  if (its === "WAITING") return "It waits for a manager's approval, and goes on when that is given.";
  if (its === "CANCELED") return "It was canceled. Resumed, it goes on where it was: what is done is not done again.";
  const note = output?.note ? ` “${output.note}”` : "";
  if (output?.isRefused) return `A manager refused the order.${note}`;
  return note ? `A manager approved the order.${note}` : "";
}

function showActions({ id, status: its }, resumed) {
  const region = part("actions");
  const wanted = RESUMABLE.has(its) ? "Resume" : FINAL.has(its) ? "" : "Cancel";
  if (region.dataset.shows === wanted && region.children.length === (wanted ? 1 : 0)) return;
  const hadFocus = region.contains(document.activeElement);
  region.dataset.shows = wanted;
  region.replaceChildren();
  if (wanted) region.append(wanted === "Resume" ? resumeButton(id, resumed) : cancelButton(id));
  if (hadFocus) (region.firstElementChild ?? part("heading")).focus();
}

function cancelButton(id) {
  const cancel = () => act(CANCEL, { id }, () => "The run is being canceled.");
  return element("button", { type: "button", className: "danger", onclick: cancel }, "Cancel this run");
}

function resumeButton(id, resumed) {
  const resume = async () => {
    if (await act(RESUME, { id }, () => "The run goes on where it was.")) resumed();
  };
  return element("button", { type: "button", className: "primary", onclick: resume }, "Resume this run");
}
