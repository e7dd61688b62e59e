package example.merch.drive;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.util.List;
import java.util.Map;

/** JSON as comparable values: Map, List, String, Boolean, null, and Long for every integer. */
final class Json {
  private static final ObjectMapper PLAIN =
      JsonMapper.builder()
          .enable(DeserializationFeature.USE_LONG_FOR_INTS)
          .enable(JsonParser.Feature.STRICT_DUPLICATE_DETECTION)
          .build();

  private Json() {}

  static Object parse(String text) throws JsonProcessingException {
    return PLAIN.readValue(text, Object.class);
  }

  /** Returns the value at a JSON pointer, or null. */
  static Object at(Object value, String pointer) {
    for (String token : pointer.isEmpty() ? new String[0] : pointer.substring(1).split("/", -1)) {
      String name = token.replace("~1", "/").replace("~0", "~");
      if (value instanceof Map<?, ?> members) {
        value = members.get(name);
      } else if (value instanceof List<?> items && name.matches("[0-9]{1,9}") && Integer.parseInt(name) < items.size()) {
        value = items.get(Integer.parseInt(name));
      } else {
        return null;
      }
    }
    return value;
  }

  /** Formats a value for people. */
  static String show(Object value) {
    try {
      return value == null ? "nothing" : PLAIN.writeValueAsString(value);
    } catch (JsonProcessingException unwritable) {
      return value.toString();
    }
  }
}
