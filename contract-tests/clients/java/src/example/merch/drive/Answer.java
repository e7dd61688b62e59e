package example.merch.drive;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JavaType;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.introspect.BeanPropertyDefinition;
import example.merch.client.ApiException;
import example.merch.client.ApiResponse;
import example.merch.client.model.Problem;
import java.util.List;
import java.util.Map;

/**
 * An answer as the client has read it.
 *
 * @param body what the client made of the body, as plain JSON values; null where there is none
 * @param problem the body, if it is one
 */
record Answer(int status, Map<String, List<String>> headers, Object body, Problem problem) {

  /** What the client hands over after a success. */
  static Answer of(ApiResponse<?> response, ObjectMapper mapper) throws Difference {
    return new Answer(response.getStatusCode(), response.getHeaders(), plain(response.getData(), mapper), null);
  }

  /** What the client throws for everything else, 304 as well. */
  static Answer of(ApiException refused, ObjectMapper mapper) throws Difference {
    if (refused.getResponseHeaders() == null) {
      // No answer came, or none that the client could read.
      Throwable reason = refused.getCause() == null ? refused : refused.getCause();
      throw new Difference("expected an answer that the client can read, came " + reason);
    }
    Map<String, List<String>> headers = refused.getResponseHeaders().map();
    String text = refused.getResponseBody();
    if (refused.getCode() < 400) {
      if (text != null && !text.isBlank()) {
        throw new Difference("expected no body with status " + refused.getCode() + ", came " + text);
      }
      return new Answer(refused.getCode(), headers, null, null);
    }
    String type = refused.getResponseHeaders().firstValue("Content-Type").orElse("none");
    if (!type.equals("application/problem+json")) {
      throw new Difference("expected Content-Type application/problem+json with status " + refused.getCode() + ", came " + type);
    }
    try {
      Problem problem = mapper.readValue(text, Problem.class);
      return new Answer(refused.getCode(), headers, plain(problem, mapper), problem);
    } catch (JsonProcessingException unreadable) {
      throw new Difference("expected a Problem, came " + text + ": " + unreadable.getOriginalMessage());
    }
  }

  /** The first value of a header; null where it is absent. */
  Object header(String name) {
    for (Map.Entry<String, List<String>> header : headers.entrySet()) {
      if (header.getKey().equalsIgnoreCase(name)) {
        return header.getValue().get(0);
      }
    }
    return null;
  }

  private static Object plain(Object typed, ObjectMapper mapper) throws Difference {
    if (typed == null) {
      return null;
    }
    complete(typed, "", mapper);
    try {
      return Json.parse(mapper.writeValueAsString(typed));
    } catch (JsonProcessingException unwritable) {
      throw new Difference("expected a body that the client can write, came " + unwritable.getOriginalMessage());
    }
  }

  /** The generated types take an object that lacks a required member, and have null there. */
  private static void complete(Object typed, String pointer, ObjectMapper mapper) throws Difference {
    if (typed instanceof List<?> items) {
      for (int index = 0; index < items.size(); index++) {
        complete(items.get(index), pointer + "/" + index, mapper);
      }
      return;
    }
    if (typed == null || typed instanceof Enum<?> || !typed.getClass().getPackage().equals(Problem.class.getPackage())) {
      return;
    }
    JavaType type = mapper.constructType(typed.getClass());
    for (BeanPropertyDefinition member : mapper.getSerializationConfig().introspect(type).findProperties()) {
      Object value = member.getAccessor().getValue(typed);
      String at = pointer + "/" + member.getName();
      if (value == null && member.isRequired()) {
        throw new Difference("expected " + at + ", which is required, came nothing");
      }
      complete(value, at, mapper);
    }
  }
}
