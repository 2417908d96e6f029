import { graphql } from "./gql/index.js";
import { sender } from "./send.js";

const PLACE = graphql(`
  mutation Place($customerId: String!, $item: String!, $totalCents: Int!) {
    placeOrder(customerId: $customerId, item: $item, totalCents: $totalCents) { id }
  }
`);

const PROCESS = graphql(`
  mutation Process($orderId: String!, $customerId: String!) {
    triggerOrderProcessing(orderId: $orderId, customerId: $customerId) { workflowRunId }
  }
`);

const RUN = graphql(`
  query Run($id: ID!) {
    workflowRun(id: $id) { __typename status error ...OrderReceipt }
  }
  fragment OrderReceipt on OrderProcessingRun {
    output { orderId totalCents customer { name email } }
  }
`);

/** Place an order, wait until it is processed, and say what it cost. */
export async function processOrder(endpoint: string, token: string): Promise<string> {
  const send = sender(endpoint, token);
  const { placeOrder } = await send(PLACE, { customerId: "alice", item: "A pound of tea", totalCents: 450 });
  const { triggerOrderProcessing } = await send(PROCESS, { orderId: placeOrder.id, customerId: "alice" });
  const id = triggerOrderProcessing.workflowRunId;
  for (;;) {
    const { workflowRun: run } = await send(RUN, { id });
    if (run?.__typename === "OrderProcessingRun" && run.output) {
      return `${run.output.customer.name} pays ${(run.output.totalCents / 100).toFixed(2)}`;
    }
    if (!run || run.status === "FAILED" || run.status === "CANCELED") throw new Error(run?.error ?? "It was canceled.");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
