// npm graphql-ws follows runs, and runs operations beside each other on one WebSocket.
import assert from "node:assert/strict";
import { createClient } from "graphql-ws";
import { WebSocket } from "ws";
import { CALLER, ENDPOINT, FOLLOW, checkFollowing, send, startRun } from "./shop.mjs";

const connect = (address) =>
  createClient({
    url: `ws://${address}`,
    webSocketImpl: WebSocket,
    connectionParams: CALLER,
    retryAttempts: 100,
    retryWait: async () => {},
  });

await checkFollowing(connect);

const client = connect(`${ENDPOINT.host}${ENDPOINT.pathname}`);
const id = await startRun();
const updates = client.iterate({ query: FOLLOW, variables: { id } });
assert.ok((await updates.next()).value.data);
for await (const { data } of client.iterate({ query: "{ __typename }" })) assert.deepEqual(data, { __typename: "Query" });
await assert.rejects(
  async () => { for await (const _ of client.iterate({ query: "{ nothing }" })); },
  (errors) => errors[0].extensions.code === "GRAPHQL_VALIDATION_FAILED",
);
await updates.return(); // the run goes on, though nobody follows it
for await (const { data } of client.iterate({ query: "{ __typename }" })) assert.ok(data);
assert.ok((await send("query ($id: ID!) { workflowRun(id: $id) { id } }", { id })).workflowRun);
await client.dispose();

const stranger = createClient({
  url: `ws://${ENDPOINT.host}${ENDPOINT.pathname}`,
  webSocketImpl: WebSocket,
  connectionParams: { authorization: "Bearer nobody" },
  retryAttempts: 0,
});
await assert.rejects(
  async () => { for await (const _ of stranger.iterate({ query: "{ __typename }" })); },
  (event) => event.code === 4401,
);
