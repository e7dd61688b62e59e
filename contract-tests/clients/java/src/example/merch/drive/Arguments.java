package example.merch.drive;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** The arguments of one call, by place and name. Each is taken once; a leftover is an error. */
final class Arguments {
  private final Map<String, Map<String, Object>> left = new HashMap<>();
  private final String token;
  private final List<String> faults = new ArrayList<>();
  private ObjectMapper mapper;

  /** Takes resolved arguments; `token` may be null. */
  Arguments(String token, Map<String, Object> path, Map<String, Object> query, Map<String, Object> header, Map<String, Object> body) {
    this.token = token;
    left.put("path", new HashMap<>(path));
    left.put("query", new HashMap<>(query));
    left.put("header", new HashMap<>(header));
    left.put("body", new HashMap<>(body));
  }

  /** Converts with the client's own mapper. */
  void use(ObjectMapper mapper) {
    this.mapper = mapper;
  }

  String token() {
    return token;
  }

  <T> T required(String place, String name, Class<T> type) {
    if (!left.get(place).containsKey(name)) {
      faults.add("the step does not say " + place + " " + name);
    }
    return optional(place, name, type);
  }

  /** Returns null for an absent argument. */
  <T> T optional(String place, String name, Class<T> type) {
    Object given = left.get(place).remove(name);
    try {
      return given == null ? null : mapper.convertValue(given, type);
    } catch (IllegalArgumentException unfit) {
      faults.add(place + " " + name + ": the client has no way to send " + Json.show(given) + ": " + unfit.getMessage());
      return null;
    }
  }

  /** Checks before the call that every argument was taken. */
  void done() throws Fault {
    left.forEach((place, arguments) -> arguments.keySet().forEach(name -> faults.add(place + " " + name + ": this driver does not hand it over")));
    if (!faults.isEmpty()) {
      throw new Fault(String.join("\n", faults));
    }
  }
}
