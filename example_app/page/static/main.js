// Brings the parts of the page together.

import { showApprovals } from "./approvals.js";
import { chooseCaller } from "./caller.js";
import { say } from "./dom.js";
import { showExecutors } from "./executors.js";
import { showOrders } from "./orders.js";
import { offerOrdering } from "./place.js";
import { showRun } from "./run.js";
import { showRuns } from "./runs.js";
import { onSelection, selectedRun, selectRun } from "./selection.js";

const REGIONS = ["news", "problem", "orders-problem", "runs-problem", "executors-problem", "approvals-problem"];

let parts = [];
let run = null;
let isFirst = true;

chooseCaller((caller) => {
  parts.forEach((one) => one.stop());
  run?.stop();
  REGIONS.forEach((id) => say(document.getElementById(id), ""));
  if (!isFirst) selectRun(null);
  isFirst = false;

  const refresh = () => parts.forEach((one) => one.refresh());
  const look = (id) => {
    run?.stop();
    run = showRun(id, refresh);
    refresh();
  };
  const changed = (runId) => (runId === null ? refresh() : selectRun(runId));
  onSelection((id, isByLink) => {
    look(id);
    if (isByLink) document.getElementById("run-heading").focus();
  });
  offerOrdering(changed);
  const orders = showOrders(caller, changed);
  const runs = showRuns(caller, (found, isNewest) => {
    const its = found.find(({ id }) => id === selectedRun());
    if (its) run.noticed(its.status);
    else if (selectedRun() === null && isNewest && found.length > 0) selectRun(found[0].id);
  });
  parts = [orders, runs, showExecutors(caller), showApprovals(caller, changed)].filter(Boolean);
  look(selectedRun());
});
