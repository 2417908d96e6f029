// npm graphql-sse follows runs, in its distinct connections mode, and reads single results and errors.
import assert from "node:assert/strict";
import { createClient } from "graphql-sse";
import { CALLER, ENDPOINT, checkFollowing } from "./shop.mjs";

const connect = (address, headers = CALLER) =>
  createClient({ url: `http://${address}`, headers, retryAttempts: 100, retry: async () => {} });

await checkFollowing(connect);

const client = connect(`${ENDPOINT.host}${ENDPOINT.pathname}`);
const results = [];
for await (const result of client.iterate({ query: "{ __typename }" })) results.push(result);
assert.deepEqual(results, [{ data: { __typename: "Query" } }]);
const query = 'subscription { workflowRunUpdates(id: "00000000-0000-4000-8000-000000000000") { cursor } }';
const [{ value: refused }] = [await client.iterate({ query }).next()];
assert.equal(refused.errors[0].extensions.code, "NOT_FOUND");
await client.dispose();

const stranger = connect(`${ENDPOINT.host}${ENDPOINT.pathname}`, { authorization: "Bearer nobody" });
await assert.rejects(
  async () => { for await (const _ of stranger.iterate({ query: "{ __typename }" })); },
  (error) => error.response.status === 401,
);
await stranger.dispose();
