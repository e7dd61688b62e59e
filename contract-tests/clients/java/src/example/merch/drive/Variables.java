package example.merch.drive;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Values from the environment and from earlier steps, by name. */
final class Variables {
  private static final Pattern REFERENCE = Pattern.compile("\\$\\{(\\w+)}");

  private final Map<String, Object> values = new HashMap<>();

  /** Sets a variable, once. */
  void keep(String name, Object value) throws Fault {
    if (values.putIfAbsent(name, value) != null) {
      throw new Fault("the variable " + name + " is set twice");
    }
  }

  /** Substitutes variables and computes sums; `$type` is left for {@link Runner}. */
  Object resolve(Object value) throws Fault {
    if (value instanceof String text) {
      return resolveText(text);
    }
    if (value instanceof List<?> items) {
      List<Object> resolved = new ArrayList<>();
      for (Object item : items) {
        resolved.add(resolve(item));
      }
      return resolved;
    }
    if (value instanceof Map<?, ?> members) {
      if (members.containsKey("$sum")) {
        long[] pair = pair(members, "$sum");
        return Math.addExact(pair[0], pair[1]);
      }
      if (members.containsKey("$product")) {
        long[] pair = pair(members, "$product");
        return Math.multiplyExact(pair[0], pair[1]);
      }
      Map<String, Object> resolved = new LinkedHashMap<>();
      for (Map.Entry<?, ?> member : members.entrySet()) {
        resolved.put((String) member.getKey(), resolve(member.getValue()));
      }
      return resolved;
    }
    return value;
  }

  private Object resolveText(String text) throws Fault {
    Matcher references = REFERENCE.matcher(text);
    if (references.matches()) {
      return value(references.group(1));
    }
    references.reset();
    StringBuilder resolved = new StringBuilder();
    while (references.find()) {
      references.appendReplacement(resolved, Matcher.quoteReplacement(value(references.group(1)).toString()));
    }
    return references.appendTail(resolved).toString();
  }

  private Object value(String name) throws Fault {
    Object value = values.get(name);
    if (value == null) {
      throw new Fault("the variable " + name + " is not set");
    }
    return value;
  }

  private long[] pair(Map<?, ?> members, String name) throws Fault {
    if (members.size() == 1
        && resolve(members.get(name)) instanceof List<?> operands
        && operands.size() == 2
        && operands.get(0) instanceof Long first
        && operands.get(1) instanceof Long second) {
      return new long[] {first, second};
    }
    throw new Fault("expected {\"" + name + "\": [a, b]} of two whole numbers, got " + Json.show(members));
  }
}
