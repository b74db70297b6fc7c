#!/usr/bin/env bash
# An event whose data is `false`, 0, "" or null has no data once the JavaScript SDK has read it.
#
# Packages: cloudevents 10.0.0 (npm).
# Seen: a structured event is read with HTTP.toEvent and written with HTTP.structured. `"data": true` is
#   there again; `"data": false` is gone, as are 0, "" and null: the member is not in the output, and
#   the body in binary mode is undefined. "time":"2026-11-30T10:00:00.123456789+02:00" comes out as
#   "2026-11-30T08:00:00.123Z". No error, and validation passes.
# Not expected because: JSON's false is a value like true, the format says that data may be any JSON
#   value, and an event that is read and handed on should be the same event.
# For users: of a stream of events whose data is the decision, all denials arrive empty, and those which
#   allow are whole. Events within one millisecond lose their order, and no longer match a row by its
#   time or a signature over it. Put an object around the value, and a sequence number beside the time.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without npm or Node.
set -euo pipefail
command -v npm >/dev/null || { echo "skipped: npm is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund cloudevents@10.0.0
cat >main.mjs <<'JS'
import { HTTP } from "cloudevents";

const time = "2026-11-30T10:00:00.123456789+02:00";
const read = (data) =>
  HTTP.toEvent({
    headers: { "content-type": "application/cloudevents+json" },
    body: JSON.stringify({
      specversion: "1.0", id: "1", source: "/engine", type: "decided", time, datacontenttype: "application/json", data,
    }),
  });
for (const [data, kept] of [[true, true], ["no", true], [{ decision: false }, true],
  [false, false], [0, false], ["", false], [null, false]]) {
  const event = read(data);
  event.validate();
  const written = JSON.parse(HTTP.structured(event).body);
  const body = HTTP.binary(event).body;
  console.log(`data ${JSON.stringify(data)}: written ${JSON.stringify(written.data)}, binary body ${body}, time ${written.time}`);
  if ("data" in written !== kept || (body === undefined) === kept || written.time !== "2026-11-30T08:00:00.123Z") {
    console.log("changed: data or time of an event are handed on as they came");
    process.exit(1);
  }
}
JS
node main.mjs
