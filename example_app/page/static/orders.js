// Placing, processing and cancelling orders, and the list of them.

import { act } from "./actions.js";
import { follow, send } from "./api.js";
import { answered, failed } from "./connection.js";
import { clearList, element, say, showList } from "./dom.js";
import { money, status } from "./format.js";
import { tableHead, tableRow } from "./table.js";

const ORDERS = `query ($customerId: String) {
  customers { id name }
  orders(customerId: $customerId) { id customerId item totalCents status }
}`;
const PLACE = `mutation ($customerId: String!, $item: String!, $totalCents: Int!) {
  placeOrder(customerId: $customerId, item: $item, totalCents: $totalCents) { id }
}`;
const PLACE_AND_PROCESS = `mutation ($customerId: String!, $item: String!, $totalCents: Int!) {
  placeAndProcessOrder(customerId: $customerId, item: $item, totalCents: $totalCents) { order { id } workflowRunId }
}`;
const PROCESS = `mutation ($orderId: String!, $customerId: String!) {
  triggerOrderProcessing(orderId: $orderId, customerId: $customerId) { workflowRunId }
}`;
const CANCEL = `mutation ($orderId: String!) { cancelOrder(orderId: $orderId) { id customerId } }`;

const MOST = 20;
const COLUMNS = ["Order", "Customer", "Item", "Price", "Status", "Actions"];

const form = document.getElementById("place");
const heading = document.getElementById("orders-heading");
const problem = document.getElementById("orders-problem");
const list = document.getElementById("orders");
const others = document.getElementById("orders-others");

list.before(tableHead(COLUMNS));

/**
 * Show the orders of a caller, or all to a manager.
 *
 * @param changed Called when something was done.
 */
export function showOrders(caller, changed) {
  say(heading, caller.isManager ? "All orders" : "Your orders");
  clearList(list);
  const following = follow(
    () => send(ORDERS, { customerId: caller.isManager ? null : caller.id }),
    ({ customers, orders }) => {
      answered();
      say(problem, "");
      offer(customers, caller);
      showList(list, orders.reverse().slice(0, MOST), ({ id }) => id, (order) => row(order, done), heading);
      tellOfOthers(orders.length - MOST);
    },
    (error) => failed(error, problem),
  );
  const done = () => {
    following.refresh();
    changed();
  };
  form.onsubmit = (event) => {
    event.preventDefault();
    place(done);
  };
  return following;
}

function offer(customers, caller) {
  const select = form.elements.customer;
  const offered = customers.map(({ id }) => id).join();
  if (select.dataset.caller === caller.id && select.dataset.offered === offered) return;
  select.replaceChildren(...customers.map(({ id, name }) => element("option", { value: id }, name)));
  if (customers.some(({ id }) => id === caller.id)) select.value = caller.id;
  Object.assign(select.dataset, { caller: caller.id, offered });
}

function tellOfOthers(count) {
  if (list.children.length === 0) say(others, "There are no orders yet.");
  else say(others, count > 0 ? `Older ones that are not shown here: ${count}.` : "");
}

async function place(done) {
  const given = new FormData(form);
  const variables = {
    customerId: given.get("customer"),
    item: given.get("item"),
    totalCents: Math.round(Number(given.get("price")) * 100),
  };
  const isDone = given.has("at-once")
    ? await act(PLACE_AND_PROCESS, variables, ({ placeAndProcessOrder: { order, workflowRunId } }) =>
        `Order ${order.id} is placed, and processed by run ${workflowRunId}.`)
    : await act(PLACE, variables, ({ placeOrder }) => `Order ${placeOrder.id} is placed.`);
  if (isDone) done();
}

function row(order, done) {
  return tableRow({}, [
    ["Order", element("code", {}, order.id)],
    ["Customer", order.customerId],
    ["Item", order.item],
    ["Price", money(order.totalCents)],
    ["Status", status(order.status)],
    ["Actions", ...(order.status === "PLACED" ? buttons(order, done) : [])],
  ]);
}

function buttons({ id, customerId }, done) {
  const process = () =>
    act(PROCESS, { orderId: id, customerId }, ({ triggerOrderProcessing: { workflowRunId } }) =>
      `Order ${id} is being processed by run ${workflowRunId}.`);
  const cancel = () =>
    act(CANCEL, { orderId: id }, ({ cancelOrder }) => `Order ${id} is cancelled; ${cancelOrder.customerId} is told.`);
  return [button("Process", id, process, done), button("Cancel", id, cancel, done)];
}

function button(label, id, action, done) {
  const onclick = async () => (await action()) && done();
  return element("button", { type: "button", onclick, "aria-label": `${label} ${id}`, "data-focus": `${label} ${id}` }, label);
}
