import type { TypedDocumentString } from "./gql/graphql.js";

/** Sends an operation, and returns its data. */
export type Send = <Data, Variables>(query: TypedDocumentString<Data, Variables>, variables: Variables) => Promise<Data>;

/** What sends operations to an endpoint as a caller. */
export function sender(endpoint: string, token: string): Send {
  return async <Data, Variables>(query: TypedDocumentString<Data, Variables>, variables: Variables): Promise<Data> => {
    const response = await fetch(endpoint, {
      method: "POST",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: JSON.stringify({ query, variables }),
    });
    const { data, errors } = (await response.json()) as { data?: Data; errors?: { message: string }[] };
    if (!data || errors) throw new Error(errors?.map((error) => error.message).join("; "));
    return data;
  };
}
