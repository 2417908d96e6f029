import { graphql } from "./gql/index.js"; // made by @graphql-codegen, client preset
import type { Send } from "./send.js";

const START = graphql(`
  mutation Start($orderId: String!) { triggerOrderProcessing(orderId: $orderId, customerId: "alice") { workflowRunId } }
`);
const READ = graphql(`
  query Read($id: ID!) { workflowRun(id: $id) { __typename status ... on OrderProcessingRun { output { totalCents } } } }
`);

export async function total(send: Send, orderId: string): Promise<number | undefined> {
  const { triggerOrderProcessing } = await send(START, { orderId });
  const { workflowRun: run } = await send(READ, { id: triggerOrderProcessing.workflowRunId });
  return run?.__typename === "OrderProcessingRun" ? run.output?.totalCents : undefined; // a misspelt field is an error
}
