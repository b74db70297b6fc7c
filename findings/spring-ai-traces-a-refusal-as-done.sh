#!/usr/bin/env bash
# In Spring AI's trace a tool call that was refused is one that succeeded.
#
# Packages: spring-ai-model 2.0.1 (Maven), with its micrometer-observation.
# Seen: one turn has three calls: a tool that pays, one that throws "denied by policy", and one whose arguments
#   do not fit. Each is an observation "spring.ai.tool", from which traces and metrics are made. All three
#   stop without an error, and among their keys is none for an outcome; the refusal's text is the call's
#   result, as "paid" is. The answers that the model reads do not tell them apart either (issue 6994, closed).
#   The same exception, thrown within an observation of one's own, is that one's error.
# Not expected because: Micrometer's `observe` marks what throws, and calls that failed are what a trace is read
#   for; issue 6435 has `onError` of an observation's handler as the place to learn of them. The exception is
#   made a text inside of the observation, where nothing sees it. (Issue 3853, open, asks for a count of failures.)
# For users: the count of failed calls is nought, and the span of a call that was denied says that it was done: a
#   trace is no evidence of what ran. Mark it in the tool: give the exception to the registry's current
#   observation (`error(…)`) before it is thrown.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without Maven or Java 17.
set -euo pipefail
for tool in mvn javac; do
  command -v "$tool" >/dev/null || { echo "skipped: $tool is not installed"; exit 77; }
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >pom.xml <<'XML'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>example</groupId>
  <artifactId>traces</artifactId>
  <version>1</version>
  <dependencies>
    <dependency><groupId>org.springframework.ai</groupId><artifactId>spring-ai-model</artifactId><version>2.0.1</version></dependency>
  </dependencies>
</project>
XML
mvn -q -B dependency:copy-dependencies -DoutputDirectory=lib
cat >Traces.java <<'JAVA'
import io.micrometer.observation.Observation;
import io.micrometer.observation.ObservationHandler;
import io.micrometer.observation.ObservationRegistry;
import java.util.ArrayList;
import java.util.List;
import org.springframework.ai.chat.messages.AssistantMessage;
import org.springframework.ai.chat.messages.ToolResponseMessage;
import org.springframework.ai.chat.messages.UserMessage;
import org.springframework.ai.chat.model.ChatResponse;
import org.springframework.ai.chat.model.Generation;
import org.springframework.ai.chat.prompt.Prompt;
import org.springframework.ai.model.tool.ToolCallingChatOptions;
import org.springframework.ai.model.tool.ToolCallingManager;
import org.springframework.ai.support.ToolCallbacks;
import org.springframework.ai.tool.annotation.Tool;

/** Runs three calls of one turn, and says how each stands in the observations. */
public class Traces {
  public static class Tools {
    private final ObservationRegistry registry;

    Tools(ObservationRegistry registry) { this.registry = registry; }

    @Tool public String pay(int amount) { return "paid"; }
    @Tool public String remove(String what) { throw new IllegalStateException("denied by policy"); }

    @Tool public String erase(String what) {
      IllegalStateException denied = new IllegalStateException("denied by policy");
      registry.getCurrentObservation().error(denied);
      throw denied;
    }
  }

  static AssistantMessage.ToolCall call(String id, String name, String arguments) {
    return new AssistantMessage.ToolCall(id, "function", name, arguments);
  }

  public static void main(String[] arguments) {
    ObservationRegistry registry = ObservationRegistry.create();
    List<String> stopped = new ArrayList<>();
    registry.observationConfig().observationHandler(new ObservationHandler<Observation.Context>() {
      @Override public boolean supportsContext(Observation.Context context) { return true; }

      @Override public void onStop(Observation.Context context) {
        String outcome = context.getAllKeyValues().toString().toLowerCase().matches(".*(error|outcome|status|denied).*") ? " told" : "";
        stopped.add(context.getName() + " " + (context.getError() == null ? "done" : "failed") + outcome);
      }
    });
    var tools = ToolCallbacks.from(new Tools(registry));
    var turn = AssistantMessage.builder().content("").toolCalls(List.of(
        call("1", "pay", "{\"amount\": 5}"), call("2", "remove", "{\"what\": \"all\"}"),
        call("3", "pay", "{\"amount\": \"five\"}"), call("4", "erase", "{\"what\": \"all\"}"))).build();
    var prompt = new Prompt(List.of(new UserMessage("Go on.")), ToolCallingChatOptions.builder().toolCallbacks(tools).build());
    var manager = ToolCallingManager.builder().observationRegistry(registry).build();
    var result = manager.executeToolCalls(prompt, new ChatResponse(List.of(new Generation(turn))));
    var answers = ((ToolResponseMessage) result.conversationHistory().get(2)).getResponses();
    for (int i = 0; i < answers.size(); i++) {
      System.out.println(answers.get(i).name() + ": " + stopped.get(i) + ", answered " + answers.get(i).responseData().lines().findFirst().get());
    }
    if (!stopped.equals(List.of("spring.ai.tool done", "spring.ai.tool done", "spring.ai.tool done", "spring.ai.tool failed"))) {
      System.out.println("changed: an observation tells how a call has ended: " + stopped);
      System.exit(1);
    }
    stopped.clear();
    try {
      Observation.createNotStarted("own", registry).observe(() -> { throw new IllegalStateException("denied by policy"); });
    } catch (IllegalStateException expected) {
      System.out.println("an observation of one's own: " + stopped);
    }
    if (!stopped.equals(List.of("own failed"))) {
      System.out.println("changed: an observation does not have what was thrown within it");
      System.exit(1);
    }
  }
}
JAVA
javac -parameters -cp 'lib/*' -d classes Traces.java
java -cp 'lib/*:classes' Traces 2>log || { status=$?; tail -n 3 log; exit "$status"; }
