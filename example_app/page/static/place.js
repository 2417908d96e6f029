// Placing an order, and processing it at once.

import { actOnce } from "./actions.js";
import { send } from "./api.js";

const PLACE = `mutation ($customerId: String!, $item: String!, $totalCents: Int!, $requestKey: String!) {
  placeOrder(customerId: $customerId, item: $item, totalCents: $totalCents, requestKey: $requestKey) { id customerId }
}`;
const PROCESS = `mutation ($orderId: String!, $customerId: String!) {
  triggerOrderProcessing(orderId: $orderId, customerId: $customerId) { workflowRunId }
}`;

const form = document.getElementById("place");

/**
 * Let a caller place orders.
 *
 * @param placed Called when that is done, with the ID of the run if there is one.
 */
export function offerOrdering(placed) {
  form.onsubmit = async (event) => {
    event.preventDefault();
    const given = new FormData(form);
    const order = {
      customerId: given.get("customer"),
      item: given.get("item"),
      totalCents: Math.round(Number(given.get("price")) * 100),
    };
    const isProcessed = given.has("at-once");
    let runId = null;
    const work = async (key) => {
      const { placeOrder } = await send(PLACE, { ...order, requestKey: key }, key);
      if (!isProcessed) return `Order ${placeOrder.id} is placed.`;
      runId = await started(placeOrder.id, placeOrder.customerId, key);
      return `Order ${placeOrder.id} is placed, and is being processed.`;
    };
    if (await actOnce(JSON.stringify([PLACE, order, isProcessed]), work)) placed(runId);
  };
}

/** Have an order processed. */
export async function process({ id, customerId }, placed) {
  let runId = null;
  const work = async (key) => {
    runId = await started(id, customerId, key);
    return `Order ${id} is being processed.`;
  };
  if (await actOnce(JSON.stringify([PROCESS, id]), work)) placed(runId);
}

async function started(orderId, customerId, key) {
  const { triggerOrderProcessing } = await send(PROCESS, { orderId, customerId }, key);
  return triggerOrderProcessing.workflowRunId;
}

/** Offer customers to order for, with one of them chosen; does nothing when they are offered already. */
export function offerCustomers(customers, caller) {
  const select = form.elements.customer;
  const offered = JSON.stringify([caller.id, customers]);
  if (select.dataset.offered === offered) return;
  select.replaceChildren(...customers.map(({ id, name }) => new Option(name, id)));
  if (customers.some(({ id }) => id === caller.id)) select.value = caller.id;
  select.dataset.offered = offered;
}
