// The runs that the caller may see, a page at a time.

import { send } from "./api.js";
import { clearList, element, say, showList } from "./dom.js";
import { duration, moment, shortId, status } from "./format.js";
import { follow } from "./polling.js";
import { addressOf, selectedRun } from "./selection.js";
import { tableHead, tableRow } from "./table.js";

const RUNS = `query ($workflow: String!, $first: Int!, $after: String) {
  workflowRuns(workflowName: $workflow, first: $first, after: $after) {
    edges { node {
      id status createdAt startedAt finishedAt error
      ... on OrderProcessingRun { input { orderId } }
      ... on OrderReviewRun { review: input { orderId } }
    } }
    pageInfo { hasNextPage endCursor }
  }
}`;
const PAGE = 8;
const COLUMNS = ["Run", "Order", "Started", "Took", "Status"];
const WHO = "the runs";

const part = (name) => document.getElementById(`runs-${name}`);
const list = document.getElementById("runs");

list.before(tableHead(COLUMNS));

/**
 * Show the runs of a caller, or all to a manager.
 *
 * @param read Called with the runs of a page, and whether it is the first.
 */
export function showRuns(caller, read) {
  say(part("heading"), caller.isManager ? "All workflow runs" : "Your workflow runs");
  let pages = [null];
  let endCursor = null;
  clearList(list);

  const following = follow(
    WHO,
    part("problem"),
    () => {
      const asked = { workflow: part("workflow").value, first: PAGE, after: pages.at(-1) };
      return send(RUNS, asked).then(({ workflowRuns }) => ({ asked, workflowRuns }));
    },
    ({ asked, workflowRuns: { edges, pageInfo } }) => {
      endCursor = pageInfo.endCursor;
      part("newer").disabled = pages.length === 1;
      part("older").disabled = !pageInfo.hasNextPage;
      part("pager").hidden = pages.length === 1 && !pageInfo.hasNextPage;
      const runs = edges.map(({ node }) => node);
      read(runs, asked.after === null);
      const selected = selectedRun();
      const items = runs.map((run) => ({ ...run, isSelected: run.id === selected }));
      showList(list, items, ({ id }) => id, row, part("heading"));
      say(part("page"), `Page ${pages.length}`);
      say(part("others"), runs.length === 0 ? "There are no runs yet." : "");
    },
  );
  const turn = (to) => {
    pages = to;
    part("newer").disabled = part("older").disabled = true;
    following.refresh();
  };
  part("newer").onclick = () => turn(pages.slice(0, -1));
  part("older").onclick = () => turn([...pages, endCursor]);
  part("workflow").onchange = () => turn([null]);
  return following;
}

function row({ id, status: its, createdAt, startedAt, finishedAt, error, input, review, isSelected }) {
  const current = isSelected ? "true" : undefined;
  const link = element("a", { href: addressOf(id), "aria-current": current, "data-focus": id }, shortId(id));
  const order = input?.orderId ?? review?.orderId;
  const took = finishedAt ? duration(Date.parse(finishedAt) - Date.parse(startedAt ?? createdAt)) : "";
  return tableRow({ className: isSelected ? "selected" : "" }, [
    ["Run", link],
    ["Order", order && shortId(order)],
    ["Started", moment(startedAt ?? createdAt)],
    ["Took", took],
    ["Status", status(its), error && element("p", { className: "error" }, error)],
  ]);
}
