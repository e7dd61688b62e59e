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
 * A response as the client parsed it.
 *
 * @param body the parsed body as JSON values; null if there is none
 * @param problem the body, if it is one
 */
record Answer(int status, Map<String, List<String>> headers, Object body, Problem problem) {

  /** The result of a success. */
  static Answer of(ApiResponse<?> response, ObjectMapper mapper) throws Difference {
    return new Answer(response.getStatusCode(), response.getHeaders(), plain(response.getData(), mapper), null);
  }

  /** The exception of any other status, 304 included. */
  static Answer of(ApiException refused, ObjectMapper mapper) throws Difference {
    if (refused.getResponseHeaders() == null) {
      // No response, or one that the client could not parse.
      Throwable reason = refused.getCause() == null ? refused : refused.getCause();
      throw new Difference("expected an answer that the client can read, got " + reason);
    }
    Map<String, List<String>> headers = refused.getResponseHeaders().map();
    String text = refused.getResponseBody();
    if (refused.getCode() < 400) {
      if (text != null && !text.isBlank()) {
        throw new Difference("expected no body with status " + refused.getCode() + ", got " + text);
      }
      return new Answer(refused.getCode(), headers, null, null);
    }
    String type = refused.getResponseHeaders().firstValue("Content-Type").orElse("none");
    if (!type.equals("application/problem+json")) {
      throw new Difference("expected Content-Type application/problem+json with status " + refused.getCode() + ", got " + type);
    }
    try {
      Problem problem = mapper.readValue(text, Problem.class);
      return new Answer(refused.getCode(), headers, plain(problem, mapper), problem);
    } catch (JsonProcessingException unreadable) {
      throw new Difference("expected a Problem, got " + text + ": " + unreadable.getOriginalMessage());
    }
  }

  /** Returns the first value of a header, or null. */
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
      throw new Difference("expected a body that the client can write, got " + unwritable.getOriginalMessage());
    }
  }

  /** The generated types accept objects without required members. */
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
        throw new Difference("expected " + at + ", which is required, got nothing");
      }
      complete(value, at, mapper);
    }
  }
}
