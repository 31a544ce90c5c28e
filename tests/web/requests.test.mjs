import assert from "node:assert/strict";
import { test } from "node:test";

import { Requests } from "../../pykaldi_server/web/requests.js";
import { Settings } from "../../pykaldi_server/web/settings.js";
import { FileSource } from "../../pykaldi_server/web/source.js";
import { Take } from "../../pykaldi_server/web/take.js";

// What Node.js lacks of a browser: the addresses that are connected to are noted, nothing is sent.
const addresses = [];
globalThis.document = { baseURI: "http://localhost:8888/" };
globalThis.sessionStorage = { getItem: () => null };
globalThis.WebSocket = class extends EventTarget {
  constructor(url) {
    super();
    addresses.push(url);
  }
};

function optionsOf(take, settings) {
  new Requests(settings).connect({ take, source: new FileSource(new Blob(["x"])) }, {});
  return JSON.parse(addresses.at(-1).searchParams.get("options") ?? "{}");
}

test("channels are split as they were when the file was opened, whatever the settings have become", () => {
  const settings = new Settings(null);
  const about = { id: "1", title: "a.wav", kind: "file" };
  const [joint, split] = [new Take(about), new Take({ ...about, splitsChannels: true })];
  for (const value of [false, true]) {
    settings.set("splitsChannels", value);
    assert.deepEqual(optionsOf(joint, settings), {});
    assert.deepEqual(optionsOf(split, settings), { channels: "split" });
  }
});
