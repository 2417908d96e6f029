// What waits for a manager's answer.

import { actOnce } from "./actions.js";
import { send } from "./api.js";
import { clearList, element, say, showList } from "./dom.js";
import { money, moment } from "./format.js";
import { follow } from "./polling.js";
import { addressOf } from "./selection.js";

const WAITING = `query {
  pendingWaitPoints(name: "approval", first: 20) {
    edges { node { id runId since ... on PendingApproval { request { orderId customer item totalCents } } } }
    pageInfo { hasNextPage }
  }
}`;
const RESOLVE = `mutation ($runId: ID!, $waitId: ID!, $approved: Boolean!, $note: String) {
  resolveApproval(runId: $runId, waitId: $waitId, approved: $approved, note: $note) { id status }
}`;
const WHO = "the approvals";

const part = (name) => document.getElementById(`approvals-${name}`);
const list = document.getElementById("approvals");

/**
 * Show what waits to a manager.
 *
 * @param changed Called with the ID of a run that was answered.
 */
export function showApprovals(caller, changed) {
  part("section").hidden = !caller.isManager;
  clearList(list);
  if (!caller.isManager) return null;
  return follow(
    WHO,
    part("problem"),
    () => send(WAITING),
    ({ pendingWaitPoints: { edges, pageInfo } }) => {
      const waits = edges.map(({ node }) => node);
      showList(list, waits, ({ id }) => id, (wait) => card(wait, changed), part("heading"));
      const more = pageInfo.hasNextPage ? "There are more, which are shown when these are answered." : "";
      say(part("others"), waits.length === 0 ? "Nothing waits for you." : more);
    },
  );
}

function card({ id, runId, since, request }, changed) {
  const { orderId, customer, item, totalCents } = request;
  const heading = element("h3", { id: `wait-${id}` }, `${item}, ${money(totalCents)}`);
  const note = element("input", { id: `note-${id}`, maxLength: 500, autocomplete: "off", "data-focus": `note ${id}` });
  const answer = async (approved) => {
    const variables = { runId, waitId: id, approved, note: note.value.trim() || null };
    const news = `${item} for ${customer} is ${approved ? "approved" : "refused"}.`;
    const resolve = async (key) => (await send(RESOLVE, variables, key), news);
    if (await actOnce(JSON.stringify([RESOLVE, variables]), resolve, { tries: 1 })) changed(runId);
  };
  return element(
    "div",
    { className: "card", role: "group", "aria-labelledby": `wait-${id}` },
    heading,
    element("p", { className: "hint" }, `${customer} · since `, moment(since), " · ", element("code", {}, orderId)),
    element("p", {}, element("label", { htmlFor: `note-${id}` }, "Note for the customer (optional)"), note),
    element(
      "p",
      { className: "buttons" },
      button("Approve", "primary", orderId, () => answer(true)),
      button("Refuse", "danger", orderId, () => answer(false)),
      element("a", { href: addressOf(runId), "data-focus": `show ${id}` }, "Show its run"),
    ),
  );
}

function button(label, className, orderId, onclick) {
  const name = `${label} ${orderId}`;
  return element("button", { type: "button", className, onclick, "aria-label": name, "data-focus": name }, label);
}
