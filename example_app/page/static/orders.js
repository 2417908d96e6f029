// The list of orders, and what can be done with one.

import { act } from "./actions.js";
import { send } from "./api.js";
import { clearList, element, say, showList } from "./dom.js";
import { money, shortId, status } from "./format.js";
import { offerCustomers, process } from "./place.js";
import { follow } from "./polling.js";
import { tableHead, tableRow } from "./table.js";

const ORDERS = `query ($customerId: String) {
  customers { id name }
  orders(customerId: $customerId) { id customerId item totalCents status }
}`;
const CANCEL = `mutation ($orderId: String!) { cancelOrder(orderId: $orderId) { id customerId } }`;

const MOST = 12;
const COLUMNS = ["Order", "Customer", "Item", "Price", "Status", "Actions"];
const WHO = "the orders";

const part = (name) => document.getElementById(`orders-${name}`);
const list = document.getElementById("orders");

list.before(tableHead(COLUMNS));

/**
 * Show the orders of a caller, or all to a manager.
 *
 * @param changed Called when something was done, with the ID of the run if one was started.
 */
export function showOrders(caller, changed) {
  say(part("heading"), caller.isManager ? "All orders" : "Your orders");
  clearList(list);
  return follow(
    WHO,
    part("problem"),
    () => send(ORDERS, { customerId: caller.isManager ? null : caller.id }),
    ({ customers, orders }) => {
      offerCustomers(customers, caller);
      showList(list, orders.reverse().slice(0, MOST), ({ id }) => id, (order) => row(order, changed), part("heading"));
      tellOfOthers(orders.length - MOST);
    },
  );
}

function tellOfOthers(count) {
  if (list.children.length === 0) say(part("others"), "There are no orders yet.");
  else say(part("others"), count > 0 ? `Older ones that are not shown here: ${count}.` : "");
}

function row(order, changed) {
  return tableRow({}, [
    ["Order", shortId(order.id)],
    ["Customer", order.customerId],
    ["Item", order.item],
    ["Price", money(order.totalCents)],
    ["Status", status(order.status)],
    ["Actions", ...(order.status === "PLACED" ? buttons(order, changed) : [])],
  ]);
}

function buttons(order, changed) {
  const { id } = order;
  const tell = ({ cancelOrder }) => `Order ${id} is cancelled; ${cancelOrder.customerId} is told.`;
  const cancel = async () => (await act(CANCEL, { orderId: id }, tell)) && changed(null);
  return [button("Process", id, () => process(order, changed)), button("Cancel", id, cancel)];
}

function button(label, id, onclick) {
  const name = `${label} ${id}`;
  return element("button", { type: "button", onclick, "aria-label": name, "data-focus": name }, label);
}
