// Server-sent events out of a stream of bytes, as the HTML standard has them (section 9.2).

/**
 * The events of a stream, one after another; a comment, which keeps the connection alive, is one without a name.
 *
 * @param read Makes a promise of `{ done, value }`, with the next bytes.
 */
export async function* eventsOf(read) {
  const decoder = new TextDecoder();
  let text = "";
  for (let { done, value } = await read(); !done; { done, value } = await read()) {
    const blocks = (text + decoder.decode(value, { stream: true })).split(/\r?\n\r?\n/);
    text = blocks.pop();
    yield* blocks.map(parse);
  }
}

function parse(block) {
  const event = { name: "", data: "" };
  for (const line of block.split(/\r?\n/)) {
    const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (field === "event") event.name = value;
    if (field === "data") event.data += value;
  }
  return event;
}
