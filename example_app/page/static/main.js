// Brings the parts of the page together.

import { chooseCaller } from "./caller.js";
import { say } from "./dom.js";
import { showExecutors } from "./executors.js";
import { showOrders } from "./orders.js";
import { showRuns } from "./runs.js";

let following = [];

chooseCaller((caller) => {
  following.forEach((one) => one.stop());
  for (const id of ["news", "problem", "orders-problem", "runs-problem", "executors-problem"]) {
    say(document.getElementById(id), "");
  }
  const others = [showRuns(caller), showExecutors(caller)].filter(Boolean);
  const orders = showOrders(caller, () => others.forEach((one) => one.refresh()));
  following = [orders, ...others];
});
