package example.merch.drive;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeMap;

/** Runs steps: calls, compares the status, stores variables, compares headers and body. */
final class Runner {
  /** Limit of pages in a walk. */
  private static final int MANY_PAGES = 1000;

  private final Calls calls;
  private final Variables variables;

  Runner(Calls calls, Variables variables) {
    this.calls = calls;
    this.variables = variables;
  }

  void take(Step step) throws Difference, Fault {
    Answer got = step.walk() == null ? send(step, resolve(step.query())) : walk(step);
    for (Map.Entry<String, String> kept : new TreeMap<>(step.keep()).entrySet()) {
      String place = kept.getValue();
      Object value = place.startsWith("/") ? Json.at(got.body(), place) : got.header(place);
      if (value == null) {
        throw new Difference("expected " + place + ", to keep it as " + kept.getKey() + ", got nothing");
      }
      variables.keep(kept.getKey(), value);
    }
    for (Map.Entry<String, Object> header : new TreeMap<>(step.expect().headers()).entrySet()) {
      compare("the header " + header.getKey(), variables.resolve(header.getValue()), got.header(header.getKey()));
    }
    for (Map.Entry<String, Object> member : new TreeMap<>(step.expect().body()).entrySet()) {
      compare(member.getKey(), variables.resolve(member.getValue()), Json.at(got.body(), member.getKey()));
    }
    if (step.expect().code() != null) {
      compareProblem(step.expect().code(), got);
    }
  }

  /** Calls the operation and compares the status. */
  private Answer send(Step step, Map<String, Object> query) throws Difference, Fault {
    Object token = variables.resolve(step.token());
    if (token != null && !(token instanceof String)) {
      throw new Fault("expected a text as token, got " + Json.show(token));
    }
    Arguments arguments = new Arguments((String) token, resolve(step.path()), query, resolve(step.header()), resolve(step.body()));
    Answer got = calls.call(step.operation(), arguments);
    if (got.status() != step.expect().status()) {
      String said = got.problem() == null ? "" : " (code " + got.problem().getCode() + ": " + got.problem().getDetail() + ")";
      throw new Difference("expected status " + step.expect().status() + ", got " + got.status() + said);
    }
    return got;
  }

  private Map<String, Object> resolve(Map<String, Object> arguments) throws Fault {
    Map<String, Object> resolved = new HashMap<>();
    for (Map.Entry<String, Object> argument : arguments.entrySet()) {
      resolved.put(argument.getKey(), variables.resolve(argument.getValue()));
    }
    return resolved;
  }

  private static void compare(String what, Object expected, Object got) throws Difference, Fault {
    if (!(expected instanceof Map<?, ?> members) || !members.containsKey("$type")) {
      if (!Objects.equals(expected, got)) {
        throw Difference.of(what, expected, got);
      }
      return;
    }
    Object type = members.get("$type");
    boolean fits;
    if ("string".equals(type)) {
      fits = got instanceof String text && !text.isEmpty();
    } else if ("integer".equals(type)) {
      fits = got instanceof Long;
    } else {
      throw new Fault("expected the $type string or integer in the journey, got " + Json.show(type));
    }
    if (!fits) {
      throw Difference.of(what + " to be of type", type, got);
    }
  }

  private static void compareProblem(String code, Answer got) throws Difference, Fault {
    if (got.problem() == null) {
      throw Difference.of("a Problem with the code", code, got.body());
    }
    compare("code", code, got.problem().getCode());
    compare("/status", (long) got.status(), got.problem().getStatus().longValue());
    if (got.header("X-Request-Id") == null) {
      throw new Difference("expected the header X-Request-Id, got nothing");
    }
    compare("/request_id as in X-Request-Id,", got.header("X-Request-Id"), got.problem().getRequestId());
  }

  /** Compares the list on one page with the list page by page. Returns the body {"ids": […]}. */
  private Answer walk(Step step) throws Difference, Fault {
    Map<String, Object> query = resolve(step.query());
    query.put("limit", step.walk().whole());
    Answer got = send(step, query);
    compare("all on one page of " + step.walk().whole() + ", next_page", null, nextPage(got));
    List<Object> all = ids(got);

    List<Object> walked = new ArrayList<>();
    query.put("limit", step.walk().limit());
    for (int page = 1; query != null; page++) {
      if (page > MANY_PAGES) {
        throw new Difference("expected the last page, got one after " + MANY_PAGES + " others");
      }
      got = send(step, query);
      List<Object> ids = ids(got);
      if (ids.size() > step.walk().limit()) {
        throw new Difference("expected at most " + step.walk().limit() + " items on page " + page + ", got " + ids.size());
      }
      walked.addAll(ids);
      Object next = nextPage(got);
      query = next == null ? null : Map.of("page_token", next, "limit", step.walk().limit());
    }
    compare("the ids of all pages", all, walked);
    Set<Object> seen = new HashSet<>();
    for (Object id : walked) {
      if (!seen.add(id)) {
        throw new Difference("expected each id once, got " + Json.show(id) + " twice");
      }
    }
    return new Answer(got.status(), Map.of(), Map.of("ids", walked), null);
  }

  private static Object nextPage(Answer page) {
    return Json.at(page.body(), "/next_page");
  }

  private static List<Object> ids(Answer page) throws Difference {
    if (!(Json.at(page.body(), "/items") instanceof List<?> items)) {
      throw new Difference("expected a page with items, got " + Json.show(page.body()));
    }
    List<Object> ids = new ArrayList<>();
    for (Object item : items) {
      ids.add(Json.at(item, "/id"));
    }
    return ids;
  }
}
