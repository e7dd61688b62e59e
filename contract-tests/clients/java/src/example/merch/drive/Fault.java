package example.merch.drive;

/** Something is wrong with the journey or with the environment, so that nothing can be said of the store. */
final class Fault extends Exception {
  private static final long serialVersionUID = 1L;

  Fault(String message) {
    super(message);
  }
}
