// The runs that the caller may see.

import { follow, send } from "./api.js";
import { answered, failed } from "./connection.js";
import { clearList, element, say, showList } from "./dom.js";
import { moment, shortId, status } from "./format.js";
import { tableHead, tableRow } from "./table.js";

// what executors did is shown with the executors
const RUNS = `query {
  workflowRuns(first: 30) { edges { node {
    __typename id workflowName status createdAt error progress progressMessage
    jobs { id name stackedName status progress progressMessage }
  } } }
}`;
const MOST = 12;
const COLUMNS = ["Run", "Workflow", "Started", "Status", "Jobs"];

const heading = document.getElementById("runs-heading");
const problem = document.getElementById("runs-problem");
const list = document.getElementById("runs");
const others = document.getElementById("runs-others");

list.before(tableHead(COLUMNS));

/** Show the runs of a caller, or all to a manager. */
export function showRuns(caller) {
  say(heading, caller.isManager ? "All workflow runs" : "Your workflow runs");
  clearList(list);
  return follow(
    () => send(RUNS),
    ({ workflowRuns }) => {
      answered();
      say(problem, "");
      const runs = workflowRuns.edges.map(({ node }) => node).filter((run) => run.__typename !== "ExecutorJob");
      showList(list, runs.slice(0, MOST), ({ id }) => id, row, heading);
      say(others, runs.length === 0 ? "There are no runs yet." : "");
    },
    (error) => failed(error, problem),
  );
}

function row(run) {
  return tableRow({ id: `run-${run.id}`, tabIndex: -1 }, [
    ["Run", shortId(run.id)],
    ["Workflow", run.workflowName],
    ["Started", moment(run.createdAt)],
    ["Status", status(run.status), run.error && element("p", { className: "error" }, run.error)],
    ["Jobs", element("ul", { className: "jobs" }, ...run.jobs.map(job))],
  ]);
}

function job({ name, stackedName, status: its, progress, progressMessage }) {
  const isGoingOn = its === "RUNNING" || its === "SUSPEND";
  const howFar = isGoingOn && progress !== null ? ` ${Math.round(progress * 100)} % ${progressMessage ?? ""}` : "";
  const depth = stackedName.split("/").length - 1;
  return element("li", { className: `depth-${Math.min(depth, 3)}` }, `${name} `, status(its), howFar);
}
