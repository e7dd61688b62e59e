package example.merch.drive;

import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/** One call of an operation, or a walk over its pages, as it stands in journey.json. */
record Step(
    String name,
    String operation,
    Object token,
    Map<String, Object> path,
    Map<String, Object> query,
    Map<String, Object> header,
    Map<String, Object> body,
    Walk walk,
    Expectation expect,
    Map<String, String> keep,
    List<String> events,
    @JsonProperty("not_in") Map<String, String> notIn) {

  /** How many items the pages have at most: those walked over, and the one that has all. */
  record Walk(long limit, long whole) {}

  /** What the answer has to be. */
  record Expectation(int status, String code, Map<String, Object> headers, Map<String, Object> body) {
    Expectation {
      headers = orEmpty(headers);
      body = orEmpty(body);
    }
  }

  private record Journey(String about, List<Step> steps) {}

  Step {
    Objects.requireNonNull(expect, "a step without expect");
    path = orEmpty(path);
    query = orEmpty(query);
    header = orEmpty(header);
    body = orEmpty(body);
    keep = orEmpty(keep);
    notIn = orEmpty(notIn);
  }

  private static <T> Map<String, T> orEmpty(Map<String, T> members) {
    return members == null ? Map.of() : members;
  }

  /** Members that are not known are refused: what this driver does not know, it could not compare. */
  static List<Step> readAll(Path journey) throws IOException, Fault {
    JsonMapper mapper =
        JsonMapper.builder().enable(DeserializationFeature.USE_LONG_FOR_INTS).enable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES).build();
    List<Step> steps = mapper.readValue(journey.toFile(), Journey.class).steps();
    if (steps == null || steps.isEmpty()) {
      throw new Fault(journey + " has no steps");
    }
    return steps;
  }
}
