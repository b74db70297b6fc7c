#!/usr/bin/env bash
# Java's CloudEvents SDK makes the text "null" of an extension that is null, and hands it on as that.
#
# Packages: io.cloudevents:cloudevents-json-jackson 4.0.1 (Maven), github.com/cloudevents/sdk-go/v2 v2.16.2 (Go module,
#   where Go is installed).
# Seen: an event in JSON with `"subject": null` and the extension `"approver": null` is read and written. Java has no
#   subject, and the extension approver as a String of four letters: it writes "approver":"null". In Go neither
#   is there any more. `"approver": "null"`, which is another event, has the same bytes behind Java.
# Not expected because: CloudEvents' JSON format lets attributes that are not set be written as null and says that whoever
#   reads null must take the attribute for one that is not set, and its own example of an event has such an extension.
# For users: "has an approver" is true of each event that passed a Java service and nobody approved, and a search
#   for events without one finds none. Leave attributes out that are not set, before they reach such a service.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without Maven or Java 17.
set -euo pipefail
for tool in mvn java; do
  command -v "$tool" >/dev/null || { echo "skipped: $tool is not installed"; exit 77; }
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export GOTOOLCHAIN=auto GOFLAGS=
cd "$folder"
cat >pom.xml <<'XML'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>example</groupId>
  <artifactId>events</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>io.cloudevents</groupId>
      <artifactId>cloudevents-json-jackson</artifactId>
      <version>4.0.1</version>
    </dependency>
  </dependencies>
</project>
XML
mvn -q -B dependency:copy-dependencies -DoutputDirectory=lib
cat >Copy.java <<'JAVA'
import io.cloudevents.CloudEvent;
import io.cloudevents.jackson.JsonFormat;

/** Reads an event from standard input and writes it again. */
public class Copy {
  public static void main(String[] arguments) throws Exception {
    JsonFormat format = new JsonFormat();
    CloudEvent event = format.deserialize(System.in.readAllBytes());
    if (event.getSubject() != null) throw new Exception("changed: a subject that is null is there");
    System.out.println(new String(format.serialize(event)));
  }
}
JAVA
cat >main.go <<'GO'
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/cloudevents/sdk-go/v2/event"
)

func main() {
	var read event.Event
	if err := json.NewDecoder(os.Stdin).Decode(&read); err != nil {
		panic(err)
	}
	written, err := json.Marshal(read)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(written))
}
GO
check() { # language, approver as it is sent, what is expected of it, command
  local seen
  seen=$(echo "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\",\"type\":\"t\",\"subject\":null$2}" | "${@:4}")
  echo "$1, sent ${2#,}: $seen"
  [ "$seen" = "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\",\"type\":\"t\"$3}" ] || {
    echo "changed: expected $3"
    exit 1
  }
}
copy() { java -cp "lib/*" Copy.java 2>/dev/null; }
check Java ',"approver":"ann"' ',"approver":"ann"' copy
check Java ',"approver":null' ',"approver":"null"' copy
check Java ',"approver":"null"' ',"approver":"null"' copy
if command -v go >/dev/null; then
  go mod init example/events 2>/dev/null
  go get github.com/cloudevents/sdk-go/v2@v2.16.2 2>/dev/null
  go mod tidy 2>/dev/null
  go build -o copy .
  check Go ',"approver":"ann"' ',"approver":"ann"' ./copy
  check Go ',"approver":null' '' ./copy
fi
