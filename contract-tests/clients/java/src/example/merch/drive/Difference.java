package example.merch.drive;

/** A mismatch between expected and received values. */
final class Difference extends Exception {
  private static final long serialVersionUID = 1L;

  Difference(String message) {
    super(message);
  }

  /** "expected WHAT EXPECTED, got ACTUAL". */
  static Difference of(String what, Object expected, Object got) {
    return new Difference("expected " + what + " " + Json.show(expected) + ", got " + Json.show(got));
  }
}
