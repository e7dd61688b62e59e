package example.merch.drive;

import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/** A call of an operation, or a walk over its pages. */
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

  /** The expected maximum number of items per page. */
  record Walk(long limit, long whole) {}

  /** The expected response. */
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

  /** Refuses unknown members: the driver could not compare them. */
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
