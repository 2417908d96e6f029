// What happens by itself, and what came of it: for managers.

import { send } from "./api.js";
import { clearList, element, say, showList } from "./dom.js";
import { moment, shortId, status } from "./format.js";
import { follow } from "./polling.js";
import { addressOf } from "./selection.js";
import { tableHead, tableRow } from "./table.js";

const EXECUTORS = `query {
  executors { name description disabled triggerKind triggerDetail operationKind operationDetail nextTime }
}`;
const FIRINGS = `fragment firings on ExecutorJobConnection {
  edges { node { id status createdAt attempts argumentsHash error skipped workflowRunId } }
}`;
const LATEST = 5;
const COLUMNS = ["When", "Status", "Attempts", "Arguments", "Outcome"];
const WHO = "the executors";

const section = document.getElementById("executors-section");
const heading = document.getElementById("executors-heading");
const problem = document.getElementById("executors-problem");
const list = document.getElementById("executors");

/** Show the executors to a caller who may see them. */
export function showExecutors(caller) {
  section.hidden = !caller.isManager;
  clearList(list);
  if (!caller.isManager) return null;
  return follow(
    WHO,
    problem,
    read,
    (executors) => showList(list, executors, ({ name }) => name, card, heading),
  );
}

async function read() {
  const { executors } = await send(EXECUTORS);
  if (executors.length === 0) return [];
  const parameters = executors.map((_, index) => `$name${index}: String!`).join(", ");
  const fields = executors
    .map((_, index) => `of${index}: executorJobs(executor: $name${index}, first: ${LATEST}) { ...firings }`)
    .join(" ");
  const names = Object.fromEntries(executors.map(({ name }, index) => [`name${index}`, name]));
  const found = await send(`query (${parameters}) { ${fields} } ${FIRINGS}`, names);
  return executors.map((executor, index) => ({
    ...executor,
    firings: found[`of${index}`].edges.map(({ node }) => node),
  }));
}

function card(executor) {
  const id = `executor-${executor.name}`;
  return element(
    "article",
    { "aria-labelledby": id },
    element("h3", { id }, executor.name, executor.disabled && " ", executor.disabled && status("DISABLED")),
    element("p", {}, executor.description),
    element(
      "dl",
      {},
      ...fact("Waits for", kind(executor.triggerKind), executor.triggerDetail),
      ...fact("Does", kind(executor.operationKind), executor.operationDetail),
      ...(executor.nextTime ? fact("Next time", moment(executor.nextTime)) : []),
    ),
    executor.firings.length > 0 ? firings(executor) : element("p", { className: "hint" }, "It has not fired yet."),
  );
}

function kind(name) {
  return name.toLowerCase().replaceAll("_", " ");
}

function fact(name, value, detail) {
  const shownDetail = detail && element("code", {}, detail);
  return [element("dt", {}, name), element("dd", {}, value, detail && ": ", shownDetail)];
}

function firings({ name, firings: found }) {
  const id = `firings-${name}`;
  return element(
    "table",
    { role: "table", "aria-labelledby": id },
    element("caption", { id }, `Latest firings of ${name}`),
    tableHead(COLUMNS),
    element("tbody", { role: "rowgroup" }, ...found.map(firing)),
  );
}

function firing(one) {
  return tableRow({}, [
    ["When", moment(one.createdAt)],
    ["Status", status(one.status)],
    ["Attempts", String(one.attempts)],
    ["Arguments", element("code", { title: `SHA-256 ${one.argumentsHash}` }, one.argumentsHash.slice(0, 8))],
    ["Outcome", outcome(one)],
  ]);
}

function outcome({ error, skipped, workflowRunId }) {
  if (error) return element("span", { className: "error" }, error);
  if (skipped) return "skipped: the condition was not met";
  if (!workflowRunId) return "";
  const link = element("a", { href: addressOf(workflowRunId), "data-focus": workflowRunId }, shortId(workflowRunId));
  return element("span", {}, "started run ", link);
}
