#!/usr/bin/env bash
# One large number, or NaN, and a collector refuses every event of the batch that it was in.
#
# Packages: @opentelemetry/exporter-logs-otlp-http, exporter-logs-otlp-proto, sdk-logs, api-logs 0.223.1 (npm),
#   go.opentelemetry.io/collector/pdata v1.71.0 (Go module: what the collector's receiver reads with).
# Seen: three log records in one batch, the one in the middle with an attribute. With 5, 1.5 or 2**62 the receiver
#   reads three. With 2**63, 1e20 or 1e21 the exporter has written an `intValue` that no 64 bits hold, with NaN
#   or Infinity a `doubleValue` of null, and the receiver refuses all three: 400, which is not sent again.
# Not expected because: all of these are numbers that the API takes, OTLP has doubles for them, and the exporter
#   for protobuf in the same release sends a double.
# For users: an amount in a currency's smallest unit (100 ether are 1e20 wei), or a score that came out as NaN, takes
#   with it the decisions that other requests logged in the same second. Log such numbers as text, or use
#   exporter-logs-otlp-proto.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without npm or Go.
set -euo pipefail
command -v npm >/dev/null || { echo "skipped: npm is not installed"; exit 77; }
command -v go >/dev/null || { echo "skipped: Go is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export GOTOOLCHAIN=auto GOFLAGS=
cd "$folder"
cat >main.go <<'GO'
// Answers requests of logs as a collector does: 200, or 400 with what cannot be read.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr())
	panic(http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(err)
		}
		request := plogotlp.NewExportRequest()
		if r.Header.Get("Content-Type") == "application/json" {
			err = request.UnmarshalJSON(body)
		} else {
			err = request.UnmarshalProto(body)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Println(request.Logs().LogRecordCount())
	})))
}
GO
go mod init example/receiver 2>/dev/null
go get go.opentelemetry.io/collector/pdata@v1.71.0 2>/dev/null
go mod tidy 2>/dev/null
go build -o receiver .
npm init -y >/dev/null
npm install --silent --no-fund --no-audit @opentelemetry/exporter-logs-otlp-http@0.223.1 \
  @opentelemetry/exporter-logs-otlp-proto@0.223.1 @opentelemetry/sdk-logs@0.223.1 @opentelemetry/api-logs@0.223.1
cat >send.mjs <<'JS'
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { OTLPLogExporter as JsonExporter } from '@opentelemetry/exporter-logs-otlp-http'
import { OTLPLogExporter as ProtobufExporter } from '@opentelemetry/exporter-logs-otlp-proto'
import { BatchLogRecordProcessor, LoggerProvider } from '@opentelemetry/sdk-logs'

const receiver = spawn('./receiver', { stdio: ['ignore', 'pipe', 'inherit'] })
const lines = createInterface({ input: receiver.stdout })[Symbol.asyncIterator]()
const url = `http://${(await lines.next()).value}/v1/logs`

// Whether the receiver took a batch of three records, the second one with this value.
async function send(Exporter, value) {
  const exporter = new Exporter({ url })
  let result
  const kept = exporter.export.bind(exporter)
  exporter.export = (records, done) => kept(records, answer => { result = answer; done(answer) })
  const provider = new LoggerProvider({ processors: [new BatchLogRecordProcessor({ exporter })] })
  const logger = provider.getLogger('decisions')
  for (const attributes of [{ request: 1 }, { request: 2, amount: value }, { request: 3 }])
    logger.emit({ body: 'allowed', attributes })
  await provider.forceFlush().catch(() => {})
  if (result.code === 0) return `${(await lines.next()).value} records arrived`
  return `refused, ${String(result.error?.message).slice(0, 60)}`
}

let status = 0
for (const [value, fits] of [
  [5, true], [1.5, true], [2 ** 62, true],
  [2 ** 63, false], [1e20, false], [1e21, false], [NaN, false], [Infinity, false],
]) {
  const json = await send(JsonExporter, value)
  const protobuf = await send(ProtobufExporter, value)
  console.log(`${value}: JSON: ${json}; protobuf: ${protobuf}`)
  if (json.startsWith('3 ') !== fits || !protobuf.startsWith('3 ')) { console.log('changed: other answers'); status = 1; break }
}
receiver.kill()
process.exit(status)
JS
node send.mjs
