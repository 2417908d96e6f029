// npm graphql-http audits the endpoint by the GraphQL over HTTP specification: MUST, SHOULD and MAY.
import { serverAudits } from "graphql-http";

const failed = [];
const audits = serverAudits({ url: process.env.SHOP_ENDPOINT });
for (const audit of audits) {
  const result = await audit.fn();
  if (result.status !== "ok") failed.push(`${audit.id} ${audit.name}: ${result.reason}`);
}
console.log(`${audits.length - failed.length} of ${audits.length} audits passed`);
if (failed.length) {
  console.error(failed.join("\n"));
  process.exitCode = 1;
}
