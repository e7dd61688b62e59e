package example.merch.drive;

/** An invalid journey or environment; not a fault of the store. */
final class Fault extends Exception {
  private static final long serialVersionUID = 1L;

  Fault(String message) {
    super(message);
  }
}
